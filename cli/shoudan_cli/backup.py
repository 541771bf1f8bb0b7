"""`shoudan backup` and `restore`: one file with everything a system of this machine needs to go on.

It holds PostgreSQL's databases at one moment and the keys and files beside them. What NATS holds is not in
it: a stream that is found empty is filled again from the databases.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final

import typer

from shoudan_cli.clients import Failed, console, run
from shoudan_cli.system import default_data_dir
from shoudan_cli.systems import NAME_VARIABLE, Known, meant, running
from shoudan_kit.embedded.binaries import postgres_bin, postgres_version
from shoudan_kit.embedded.home import unprivileged_user
from shoudan_kit.embedded.postgres import SUPERUSER

FORMAT: Final = 1
NOTES: Final = "backup.json"
DATA: Final = PurePosixPath("postgres/data")
# A copy that is packed at once: the file is written down for good, not the copy.
CHECKED: Final = ("--manifest-checksums", "SHA256", "--no-sync")
MANIFEST: Final = "backup_manifest"
SERVER: Final = ("roles.json", "superuser.password")
# What a system makes anew, or what belongs to the processes of before.
LEFT_OUT: Final = frozenset({"logs", "nats", "postgres"})
# Copied before the databases: one that is newer than its ledger would say that something was cut off.
FIRST: Final = "statements"
NOTES_MAX: Final = 1 << 20
MIB: Final = 1 << 20


def backup(
    file: Annotated[Path, typer.Argument(help="New file, .tar.gz; only its owner can read it.")],
) -> None:
    """Keep a running system of this machine in one file, at one moment, while it goes on."""
    if file.exists():
        raise typer.BadParameter(f"{file} exists: name a new file")
    began = time.monotonic()
    system = run(lambda: asyncio.to_thread(_write_meant, file))
    size = file.stat().st_size / MIB
    console.print(
        f"{file}: system {system.name}, {size:.1f} MiB, {time.monotonic() - began:.1f} s, proved whole\n"
        "It holds the system's keys: whoever can read it can act as the system.\n"
        f"The way back: shoudan restore {file} --data FOLDER, then shoudan up --data FOLDER",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def restore(
    file: Annotated[Path, typer.Argument(help="What `shoudan backup` wrote.", exists=True)],
    data: Annotated[
        Path | None, typer.Option(help="New data folder; that of `up` without it.")
    ] = None,
) -> None:
    """Make a system's data folder again from what `shoudan backup` wrote; `up` goes on from there."""
    home = (data or default_data_dir()).absolute()
    notes = run(lambda: asyncio.to_thread(read, file, home))
    console.print(
        f"{home}: as it was at {notes['time']} UTC\nGo on: shoudan up --data {home}\n"
        "What suppliers and partners were told after that moment is not known here: see docs/operations.md,"
        ' "Backup".',
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _write_meant(file: Path) -> Known:
    system = meant(os.environ.get(NAME_VARIABLE, ""), addressed=False)
    if system is None:
        raise Failed("no system is up here: start one with `shoudan up`")
    write(Path(system.home), system.id, file)
    return system


def write(home: Path, system_id: str, file: Path) -> None:
    """Write `file` (0600) whole or not at all, proved. Raises Failed."""
    file = file.absolute()
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=file.parent) as folder:
        draft = Path(folder)
        _copy(home, draft, [FIRST])
        _copy_databases(home, draft)
        made = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        _copy(home, draft, [one.name for one in home.iterdir() if one.name != FIRST])
        for name in SERVER:
            shutil.copy2(home / "postgres" / name, draft / "postgres" / name)
        notes = {
            "format": FORMAT,
            "system": system_id,
            "time": made,
            "shoudan": version("shoudan"),
            "postgres": postgres_version(_programs()),
            "files": {name: _digest(draft / name) for name in _small(draft)},
        }
        (draft / NOTES).write_text(json.dumps(notes, indent=1), "utf-8")
        _pack(draft, file)


def read(file: Path, home: Path) -> dict[str, Any]:
    """Make `home`, which is not there yet, from the file; what the file says of itself. Raises Failed."""
    if home.exists() and any(home.iterdir()):
        raise Failed(f"{home} is not empty: name a new folder, or move the old one away")
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=home.parent) as folder:
        draft = Path(folder) / "home"
        try:
            with tarfile.open(file, "r:gz") as archive:
                notes = _notes(archive)
                archive.extractall(draft, filter="data")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise Failed(f"{file} cannot be read: {type(error).__name__}") from None
        _prove(draft, notes)
        (draft / NOTES).unlink()
        _owned(draft)
        if home.exists():
            home.rmdir()
        os.sync()  # thousands of files: one by one takes minutes
        draft.rename(home)
    return notes


def _programs() -> Path:
    return postgres_bin(unprivileged_user())


def _copy(home: Path, draft: Path, names: Sequence[str]) -> None:
    for name in names:
        source = home / name
        if name in LEFT_OUT or not source.exists():
            continue
        if source.is_dir():
            shutil.copytree(source, draft / name)
        else:
            shutil.copy2(source, draft / name)


def _copy_databases(home: Path, draft: Path) -> None:
    """All databases at the moment the copy ends, with the log that leads there."""
    port, place = _address(home)
    data = draft / DATA
    data.parent.mkdir(mode=0o700)
    password = (home / "postgres" / "superuser.password").read_text("ascii").strip()
    _call(
        ["pg_basebackup", "-D", str(data), "-X", "stream", "-c", "fast", *CHECKED],
        {
            "PGHOST": place,
            "PGPORT": port,
            "PGUSER": SUPERUSER,
            "PGPASSWORD": password,
            "PGOPTIONS": "-c statement_timeout=0 -c transaction_timeout=0",
        },
    )
    _prove_databases(data)


def _address(home: Path) -> tuple[str, str]:
    """Port and socket folder, as the server wrote them down."""
    try:
        lines = (home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
        return lines[3].strip(), lines[4].strip()
    except (OSError, IndexError):
        raise Failed(f"no database serves {home}") from None


def _call(argv: Sequence[str], env: Mapping[str, str]) -> None:
    """Run one of PostgreSQL's programs. Raises Failed with its last line."""
    program, *rest = argv
    done = subprocess.run(
        [str(_programs() / program), *rest],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", **env},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Failed(f"{program}: {said[-1] if said else done.returncode}")


def _prove_databases(data: Path) -> None:
    """By PostgreSQL's own list of what it wrote, and by reading the log that leads to the end of it.

    The pg_verifybackup that is carried for this does not run, so its two steps are taken here.
    """
    try:
        manifest = json.loads((data / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        raise Failed("damaged: the databases have no list of their files") from None
    for one in manifest["Files"]:
        file = data / one["Path"]
        if not file.is_file() or _digest(file) != one["Checksum"]:
            raise Failed(f"damaged: {DATA}/{one['Path']} is not as it was written")
    for span in manifest["WAL-Ranges"]:
        ends = ["-t", str(span["Timeline"]), "-s", span["Start-LSN"], "-e", span["End-LSN"]]
        _call(["pg_waldump", "--quiet", "--path", str(data / "pg_wal"), *ends], {})


def _small(draft: Path) -> Iterator[str]:
    """The files beside the databases, which have a list of their own."""
    for one in sorted(draft.rglob("*")):
        name = one.relative_to(draft)
        if one.is_file() and not PurePosixPath(name).is_relative_to(DATA):
            yield str(name)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _pack(draft: Path, file: Path) -> None:
    """Notes first, so that a reader knows what it reads."""
    new = draft / "new.tar.gz"
    names = [NOTES, *sorted(one.name for one in draft.iterdir() if one.name != NOTES)]
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with (
        os.fdopen(fd, "wb") as out,
        tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive,
    ):
        for name in names:
            archive.add(draft / name, name)
    with new.open("rb") as written:
        os.fsync(written.fileno())
    new.rename(file)


def _notes(archive: tarfile.TarFile) -> dict[str, Any]:
    """What the file says of itself. Raises Failed for one that is none of ours, or is of a later version."""
    first = archive.next()
    opened = archive.extractfile(first) if first is not None and first.name == NOTES else None
    if first is None or opened is None or first.size > NOTES_MAX:
        raise Failed("this is no file of `shoudan backup`")
    try:
        notes: dict[str, Any] = json.loads(opened.read())
    except ValueError:
        raise Failed("this is no file of `shoudan backup`") from None
    if notes.get("format") != FORMAT:
        raise Failed(f"written by shoudan {notes.get('shoudan')}, which this one cannot read")
    major = postgres_version(_programs()).partition(".")[0]
    if notes["postgres"].partition(".")[0] != major:
        raise Failed(f"of PostgreSQL {notes['postgres']}: this shoudan brings {major}")
    if any(one.id == notes["system"] for one in running()):
        raise Failed("the system itself is up here: two of it would act for one another; stop it")
    return notes


def _prove(draft: Path, notes: Mapping[str, Any]) -> None:
    """Every file is as it was written. Raises Failed with the first that is not."""
    there = {name for name in _small(draft) if name != NOTES}
    for name in sorted(there ^ notes["files"].keys()):
        raise Failed(f"damaged: {name} is {'one too many' if name in there else 'missing'}")
    for name, digest in notes["files"].items():
        if _digest(draft / name) != digest:
            raise Failed(f"damaged: {name} is not as it was written")
    _prove_databases(draft / DATA)


def _owned(draft: Path) -> None:
    """For its owner alone; PostgreSQL's part belongs to whom it runs as."""
    user = unprivileged_user()
    for one in [draft, *draft.rglob("*")]:
        if one.is_dir():
            one.chmod(0o700)
    if user is not None:
        draft.chmod(0o755)
        for one in [draft / "postgres", *(draft / "postgres").rglob("*")]:
            os.chown(one, user.uid, user.gid)
