"""Fetch the console's assets from npm, each release pinned by its hash, and list every file with its own.

By hand, where npm can be reached, after a version below has changed; commit what it writes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[1] / "console" / "shoudan_console" / "static" / "vendor"
MANIFEST: Final = "manifest.json"
BYTES_MAX: Final = 1_500_000


@dataclass(frozen=True)
class Package:
    """A release, the SHA-256 of its tarball, and which of its files are kept under which names."""

    name: str
    version: str
    sha256: str
    licence: str
    files: Mapping[str, str]


PACKAGES: Final = (
    Package(
        "htmx.org",
        "4.0.1",
        "5fba65616ca148a86d377e9771bcada7f35faee3558651feb929eea425e13b3c",
        "0BSD",
        {"dist/htmx.min.js": "htmx.min.js", "LICENSE": "htmx.LICENSE"},
    ),
    Package(
        "@tabler/core",
        "1.6.1",
        "d02d679e51f6c179b21f035e154c13cdcb2ae8b18579e56ea606408ba7fc7a87",
        "MIT",
        {"dist/css/tabler.min.css": "tabler.min.css"},
    ),
)


def fetched(package: Package, folder: Path) -> Path:
    """The tarball, as pinned. Ends the program when it is another."""
    command = ["npm", "pack", f"{package.name}@{package.version}", "--silent"]
    made = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    tarball = folder / made.stdout.strip().splitlines()[-1]
    found = hashlib.sha256(tarball.read_bytes()).hexdigest()
    if found != package.sha256:
        sys.exit(f"{package.name} {package.version}: SHA-256 {found}, pinned {package.sha256}")
    return tarball


def kept(package: Package, tarball: Path) -> Iterator[tuple[str, bytes]]:
    """The files to keep, by the names they get. A source map is not kept, so no file points at one."""
    with tarfile.open(tarball) as archive:
        for path, name in package.files.items():
            member = archive.extractfile(f"package/{path}")
            if member is None:
                sys.exit(f"{package.name} {package.version} has no {path}")
            lines = member.read().splitlines(keepends=True)
            yield name, b"".join(one for one in lines if b"sourceMappingURL=" not in one)


def main() -> None:
    """Write the files and their list."""
    manifest: dict[str, dict[str, str]] = {}
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            for name, body in kept(package, fetched(package, Path(folder))):
                (FOLDER / name).write_bytes(body)
                manifest[name] = {
                    "package": package.name,
                    "version": package.version,
                    "licence": package.licence,
                    "sha256": hashlib.sha256(body).hexdigest(),
                }
    if (size := sum((FOLDER / name).stat().st_size for name in manifest)) > BYTES_MAX:
        sys.exit(f"{size} bytes of assets, at most {BYTES_MAX}")
    (FOLDER / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
