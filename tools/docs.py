"""Write the generated pages and pictures of docs/; with --check, fail if anything would change."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import msgspec
import pictures
import recordings

from shoudan_cli import capacity
from shoudan_cli.observability.files import files
from shoudan_cli.reference.headings import LANGUAGES
from shoudan_cli.reference.lifecycles import page
from shoudan_cli.reference.pages import pages
from shoudan_gateway import advice

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
CAPACITY_PER_S: Final = 50_000  # orders


def generated() -> dict[Path, str]:
    """Every generated page by its path."""
    found = {DOCS / "lifecycles.md": page()}
    found[DOCS / "reference" / "http" / "errors.md"] = advice.page()
    found[DOCS.parent / "gateway/shoudan_gateway/recordings.json"] = recordings.page()
    measured = msgspec.json.decode((DOCS / "capacity.json").read_bytes(), type=capacity.Measured)
    found[DOCS / "capacity.md"] = capacity.page(measured, capacity.Machines(), CAPACITY_PER_S)
    found |= {DOCS.parent / path: text for path, text in files().items()}
    for language in LANGUAGES:
        folder = DOCS / "reference" / language
        found |= {folder / name: text for name, text in pages(language).items()}
    for path in sorted((DOCS / "ideas").glob("*.md")):
        found[path] = pictures.redrawn(path.read_text("utf-8"))
    return found


def main() -> int:
    """Write the pages, or with --check only compare; 1 when one is stale."""
    stale = {
        path: text
        for path, text in generated().items()
        if not path.exists() or path.read_text("utf-8") != text
    }
    if "--check" in sys.argv[1:]:
        for path in stale:
            name = path.relative_to(DOCS.parent)
            print(f"{name} is stale: run `just docs` and commit it", file=sys.stderr)
        return 1 if stale else 0
    for path, text in stale.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
