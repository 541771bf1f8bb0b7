"""Where archived parts lie: a folder, or an address that an installed fsspec plug-in reaches.

`<place>/<service>/<table>/<part>.parquet`, and beside it `<part>.json`, its manifest. The manifest is written
last: a part without one is not archived.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import fsspec
import msgspec

BLOCK_BYTES: Final = 1 << 20
MANIFEST_BYTES_MAX: Final = 1 << 20


class ArchiveFailed(Exception):
    """A part was not archived, or what is archived is not what it should be; the database is unchanged."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What one file holds. `row_sum` is the sum of the rows' hashes, which both engines compute alike."""

    service: str
    table: str
    part: str
    revision: str
    low: int | None
    high: int
    rows: int
    row_sum: str
    columns: tuple[tuple[str, str], ...]
    bytes: int
    sha256: str
    made: str  # ISO 8601, UTC
    proved: str = ""  # when it was last compared with the part; as made where it is empty


class Place:
    """The archive of one system."""

    def __init__(self, address: str) -> None:
        try:
            self.files, self._root = fsspec.url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise ArchiveFailed(f"{address}: {error}") from error
        self.address = address
        self.local = "file" in self.files.protocol

    def path(self, service: str, table: str, name: str) -> str:
        """Where a file of a part lies."""
        return f"{self._root}/{service}/{table}/{name}"

    def data(self, manifest: Manifest) -> str:
        """The path of a part's rows."""
        return self.path(manifest.service, manifest.table, f"{manifest.part}.parquet")

    def manifest(self, service: str, table: str, part: str) -> Manifest | None:
        """Of a part that is archived. Raises ArchiveFailed when it cannot be read."""
        path = self.path(service, table, f"{part}.json")
        try:
            with self.files.open(path, "rb") as file:
                return msgspec.json.decode(file.read(MANIFEST_BYTES_MAX), type=Manifest)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise ArchiveFailed(f"{path}: cannot be read: {error}") from error

    def manifests(self, service: str, table: str = "*") -> list[Manifest]:
        """All of a service, or of one of its tables, by table and part."""
        found = sorted(self.files.glob(self.path(service, table, "*.json")))
        names = [path.rsplit("/", 2)[1:] for path in found]
        read = (self.manifest(service, table, name.removesuffix(".json")) for table, name in names)
        return [one for one in read if one is not None]

    def store(self, manifest: Manifest, rows: Path) -> None:
        """Write the rows, read them back, then the manifest. Raises ArchiveFailed; nothing half is left."""
        data = self.data(manifest)

        def copy(out: Any) -> None:
            with rows.open("rb") as file:
                while block := file.read(BLOCK_BYTES):
                    out.write(block)

        self._write(data, copy)
        self.check(manifest)
        self.describe(manifest)

    def describe(self, manifest: Manifest) -> None:
        """Write a manifest alone, whole or not at all. Raises ArchiveFailed."""
        text = msgspec.json.format(msgspec.json.encode(manifest))
        path = self.path(manifest.service, manifest.table, f"{manifest.part}.json")
        self._write(path, lambda out: out.write(text))

    def glance(self, manifest: Manifest) -> None:
        """The file is there and as large as written; it is not read. Raises ArchiveFailed."""
        path = self.data(manifest)
        try:
            size = int(self.files.size(path))
        except OSError as error:
            raise ArchiveFailed(f"{path}: cannot be read: {error}") from error
        if size != manifest.bytes:
            raise ArchiveFailed(f"{path}: is not the file that its manifest describes")

    def check(self, manifest: Manifest) -> None:
        """Read a file whole: its bytes are those of its manifest. Raises ArchiveFailed."""
        path, digest, size = self.data(manifest), hashlib.sha256(), 0
        try:
            with self.files.open(path, "rb") as file:
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
                    size += len(block)
        except OSError as error:
            raise ArchiveFailed(f"{path}: cannot be read: {error}") from error
        if (size, digest.hexdigest()) != (manifest.bytes, manifest.sha256):
            raise ArchiveFailed(f"{path}: is not the file that its manifest describes")

    def _write(self, path: str, fill: Callable[[Any], object]) -> None:
        """Whole or not at all, and on the disk when it is one."""
        draft = f"{path}.new"
        try:
            self.files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            with self.files.open(draft, "wb") as out:
                fill(out)
                if self.local:
                    out.flush()
                    os.fsync(out.fileno())
            self.files.mv(draft, path)
            if self.local:
                _sync(Path(path).parent)
        except OSError as error:
            with suppress(OSError):
                self.files.rm(draft)
            raise ArchiveFailed(f"{path}: cannot be written: {error}") from error


def _sync(folder: Path) -> None:
    """Make a rename last."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
