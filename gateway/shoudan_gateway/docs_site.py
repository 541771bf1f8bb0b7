"""The partners' documentation at /docs: a folder that was built before (tools/partner_site.py), in memory.

Its manifest lists every path that may be asked for: a request's path is looked up in it, never in a folder.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from shoudan_gateway.protocol import Inbound, Outbound

FOLDER: Final = Path(__file__).parent / "site"
ROOT: Final = "/docs"
# Assets carry a hash in their names; pages are asked for anew, which their tag makes cheap.
FOR_LONG: Final = "public, max-age=86400"
ANEW: Final = "no-cache"
SAFE: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Entry(msgspec.Struct, frozen=True):
    """One row of the manifest."""

    file: str
    type: str
    etag: str
    gzip: bool = False


class Manifest(msgspec.Struct, frozen=True):
    """What may be served: files by their paths, and the hashes of scripts that stand in pages."""

    files: dict[str, Entry]
    scripts: list[str]


class Shown(msgspec.Struct, frozen=True):
    """A file as it is sent; `packed`: its bytes are gzip."""

    body: bytes
    type: str
    packed: bool
    headers: dict[str, str]


class DocsSite:
    """The pages by their paths; empty where none were built or they are switched off."""

    def __init__(self, folder: Path | None = None, *, on: bool = True) -> None:
        """Reads every file once. A folder that was not built, and `on` false, is a site without pages."""
        folder = folder or FOLDER
        manifest = folder / "manifest.json"
        self._shown: Mapping[str, Shown] = {}
        if on and manifest.exists():
            read = msgspec.json.decode(manifest.read_bytes(), type=Manifest)
            self._shown = {
                path: _shown(folder, path, entry, read.scripts)
                for path, entry in read.files.items()
            }

    @property
    def paths(self) -> frozenset[str]:
        """Every path that is answered with a page or a file."""
        return frozenset(self._shown)

    def answer(self, inbound: Inbound) -> Outbound | None:
        """The page of a path, or where it stands; None where it is no page."""
        shown = self._shown.get(inbound.path)
        if shown is None:
            if f"{inbound.path}/" not in self._shown:
                return None
            # A path of ours alone, so that it leads nowhere else.
            return Outbound(308, b"", "text/plain", headers={"Location": f"{inbound.path}/"})
        if shown.headers["ETag"] in inbound.headers.get("If-None-Match", ""):
            return Outbound(304, b"", shown.type, headers=shown.headers)
        if not shown.packed:
            return Outbound(200, shown.body, shown.type, headers=shown.headers)
        if "gzip" in inbound.headers.get("Accept-Encoding", ""):
            headers = shown.headers | {"Content-Encoding": "gzip"}
            return Outbound(200, shown.body, shown.type, headers=headers)
        return Outbound(200, gzip.decompress(shown.body), shown.type, headers=shown.headers)


def _shown(folder: Path, path: str, entry: Entry, scripts: list[str]) -> Shown:
    headers: dict[str, Any] = {
        **SAFE,
        "ETag": f'"{entry.etag}"',
        "Cache-Control": FOR_LONG if path.startswith(f"{ROOT}/assets/") else ANEW,
        "Vary": "Accept-Encoding",
    }
    if entry.type.startswith("text/html"):
        headers["Content-Security-Policy"] = policy(scripts)
    return Shown((folder / entry.file).read_bytes(), entry.type, entry.gzip, headers)


def policy(scripts: list[str]) -> str:
    """Nothing from elsewhere; of scripts in pages those that were built."""
    ours = " ".join(["'self'", *(f"'{one}'" for one in scripts)])
    return (
        f"default-src 'none'; script-src {ours}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
