"""Bring the console's translations up to date: every text of its code and templates, and the compiled file.

With --check, only say what is missing, left over or not compiled.
"""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

PACKAGE: Final = Path(__file__).parents[1] / "console" / "shoudan_console"
FOLDER: Final = PACKAGE / "locale" / "zh" / "LC_MESSAGES"
PO: Final = FOLDER / "console.po"
MO: Final = FOLDER / "console.mo"
METHODS: Final = [("**.py", "python"), ("templates/**.html", "jinja2")]
MADE: Final = datetime(2026, 1, 1, tzinfo=UTC)  # no date of the day it is compiled
OPTIONS: Final = {"templates/**.html": {"trimmed": "true", "silent": "false"}}


def texts() -> set[str]:
    """Every text that the console shows."""
    found = extract_from_dir(str(PACKAGE), METHODS, OPTIONS)
    return {message if isinstance(message, str) else message[0] for _, _, message, _, _ in found}


def known() -> dict[str, str]:
    """The translations that there are."""
    if not PO.exists():
        return {}
    with PO.open("rb") as file:
        return {str(one.id): str(one.string) for one in read_po(file, locale="zh") if one.id}


def catalog(wanted: set[str], given: dict[str, str]) -> Catalog:
    """The texts in order, each with its translation or without one; nothing that is not shown."""
    made = Catalog(locale="zh", fuzzy=False, domain="console", charset="utf-8")
    for text in sorted(wanted):
        made.add(text, given.get(text, ""))
    return made


def written(made: Catalog) -> tuple[bytes, bytes]:
    """The text and the compiled form. Neither says when it was made: the same texts are the same files."""
    po, mo = io.BytesIO(), io.BytesIO()
    write_po(po, made, omit_header=True, sort_output=True, width=10_000)
    header = (
        'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n"Language: zh\\n"\n\n'
    )
    body = header.encode() + po.getvalue()
    plain = read_po(io.BytesIO(body), locale="zh")
    plain.creation_date = plain.revision_date = MADE
    write_mo(mo, plain)
    return body, mo.getvalue()


def missing(wanted: set[str], given: dict[str, str]) -> list[str]:
    """Texts without a translation."""
    return sorted(text for text in wanted if not given.get(text))


def main() -> None:
    """Write, or check."""
    wanted, given = texts(), known()
    po, mo = written(catalog(wanted, given))
    if "--check" not in sys.argv:
        FOLDER.mkdir(parents=True, exist_ok=True)
        PO.write_bytes(po)
        MO.write_bytes(mo)
    elif PO.read_bytes() != po or MO.read_bytes() != mo:
        sys.exit("run: just texts")
    if untranslated := missing(wanted, given):
        sys.exit("without a translation:\n" + "\n".join(untranslated))


if __name__ == "__main__":
    main()
