"""Where an embedded server lives: its folder, the user it runs as, the lock against a second start."""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shoudan_kit.process.child import User

PREFIX: Final = "shoudan-"
_LOCK: Final = "shoudan.lock"
_LEFT_S: Final = 120  # a folder younger than this may still be on its way to its lock
_SWEPT_MAX: Final = 20


class EmbeddedError(RuntimeError):
    """An embedded server cannot be run; the text says why and what to do."""


def unprivileged_user() -> User | None:
    """Whom PostgreSQL, which refuses to be root, runs as: ourselves (None) unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return User(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "PostgreSQL does not run as root and there is neither a user postgres nor nobody: "
        "start shoudan as an ordinary user"
    )


def blocked_at(path: Path, user: User | None, *, mode: int = 0o5) -> Path | None:
    """The first folder on the way to `path`, or `path` itself, that `user` may not use; None if all is well.

    `mode` is what is needed of `path` itself (4 read, 2 write, 1 enter); its parents are to be entered.
    """
    if user is None:
        return None
    path = path.resolve()
    for place, bits in [*((parent, 1) for parent in reversed(path.parents)), (path, mode)]:
        if not _allowed(place, user, bits):
            return place
    return None


def _allowed(place: Path, user: User, bits: int) -> bool:
    try:
        status = place.stat()
    except FileNotFoundError:
        return True  # to be made by us
    shift = 6 if status.st_uid == user.uid else 3 if status.st_gid == user.gid else 0
    return (status.st_mode >> shift) & bits == bits


@dataclass(slots=True)
class Home:
    """A folder that belongs to one server; locked while it is open here."""

    path: Path
    user: User | None
    ephemeral: bool
    _lock: int = field(repr=False)

    @classmethod
    def open(cls, path: Path | None, what: str, user: User | None = None) -> Home:
        """The folder, made if need be (mode 0700, owned by `user`). None: a new one, gone on close.

        Raises EmbeddedError when another process has it open or `user` cannot work there. Folders
        that exist are never given other owners or modes.
        """
        if path is None:
            sweep(what)
            made = _temporary(what, user)
        else:
            made = path.absolute()
            _make(made, user)
        return cls(made, user, path is None, _lock(made, what))

    def close(self) -> None:
        """Let others have the folder; remove it if it was only for now. May be repeated."""
        if self._lock < 0:
            return
        if self.ephemeral:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1

    def secret(self, name: str) -> str:
        """The text of a file only the owner can read; a random one the first time."""
        file = self.path / name
        with suppress(FileNotFoundError):
            if kept := file.read_text("ascii").strip():
                return kept
        text = secrets.token_urlsafe(24)
        self.write(name, text)
        return text

    def write(self, name: str, text: str) -> Path:
        """Put a file (0600, owned by the home's user) whole or not at all."""
        file, draft = self.path / name, self.path / f"{name}.new"
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as out:
            out.write(text)
            if self.user:
                os.fchown(out.fileno(), self.user.uid, self.user.gid)
            out.flush()
            os.fsync(out.fileno())
        return draft.replace(file)

    def folder(self, name: str) -> Path:
        """A folder inside, 0700, owned by the home's user."""
        inside = self.path / name
        _make(inside, self.user)
        return inside


def _make(path: Path, user: User | None) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
        if user:
            os.chown(path, user.uid, user.gid)
    owner = user.uid if user else os.geteuid()
    if path.stat().st_uid != owner:
        name = user.name if user else "you"
        raise EmbeddedError(f"{path} does not belong to {name}: name another folder")
    if (place := blocked_at(path, user, mode=0o7)) is not None:
        raise EmbeddedError(
            f"the user {user.name if user else ''} may not enter {place}: "
            "name a data folder elsewhere, for example /var/lib/shoudan"
        )


def temporary_roots() -> Iterator[Path]:
    """Where folders that last as long as a run may be made, the wished place first."""
    yield from (Path(tempfile.gettempdir()), Path("/var/tmp"), Path("/tmp"))  # noqa: S108


def _temporary(what: str, user: User | None) -> Path:
    for root in temporary_roots():
        if root.is_dir() and os.access(root, os.W_OK) and blocked_at(root, user, mode=1) is None:
            made = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{what}-", dir=root))
            if user:
                os.chown(made, user.uid, user.gid)
            return made
    raise EmbeddedError("there is no folder for temporary data: set TMPDIR")


def _lock(path: Path, what: str) -> int:
    fd = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise EmbeddedError(
            f"{path}: the {what} data folder is in use by process {holder}; "
            "stop that first or name another folder"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    return fd


def sweep(what: str) -> None:
    """Remove temporary homes whose owners were killed: their lock is free and no server is left in them."""
    for root in set(temporary_roots()):
        for left in sorted(root.glob(f"{PREFIX}{what}-*"))[:_SWEPT_MAX]:
            with suppress(OSError):
                if _left_behind(left):
                    shutil.rmtree(left, ignore_errors=True)


def _left_behind(path: Path) -> bool:
    status = path.lstat()
    user = unprivileged_user()
    if status.st_uid not in {os.geteuid(), user.uid if user else os.geteuid()}:
        return False
    if time.time() - status.st_mtime < _LEFT_S or any(path.glob("*/postmaster.pid")):
        return False
    fd = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
