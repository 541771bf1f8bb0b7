"""A system goes on from its backup: what was taken before it is there once, the ledger is whole."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from shoudan_cli import backup
from shoudan_cli.clients import Failed
from shoudan_cli.system import System
from tests.poll import eventually
from tests.system.conftest import Partner
from tests.system.invariants import check

COUNT = 5


@asynccontextmanager
async def started(home: Path) -> AsyncIterator[Partner]:
    async with System.start(profile="test", ephemeral=False, data_dir=home) as system:
        clients = system.clients()
        async with aiohttp.ClientSession() as http:
            yield Partner(system, http, clients, prefix="kept")
        await clients.close()


def damaged(file: Path, copy: Path) -> None:
    """A copy of which one byte of the databases is another, and half a copy."""
    half = file.read_bytes()
    copy.with_name("short.tar.gz").write_bytes(half[: len(half) // 2])
    with tarfile.open(file) as archive, tarfile.open(copy, "w:gz", compresslevel=1) as made:
        for one in archive:
            content = archive.extractfile(one)
            data = bytearray(content.read()) if content is not None else None
            if data and one.name.endswith("global/pg_control"):
                data[100] ^= 1
            made.addfile(one, io.BytesIO(data) if data is not None else None)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user may enter when the tests are root's."""
    with tempfile.TemporaryDirectory(prefix="shoudan-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.system
@pytest.mark.slow
async def test_a_system_goes_on_from_its_backup(open_folder: Path) -> None:
    file, again = open_folder / "kept.tar.gz", open_folder / "again"
    async with started(open_folder / "first") as partner:
        inbox = f"{partner.system.sandbox_url}/inbox/test"
        numbers = [partner.number() for _ in range(COUNT)]
        for number in numbers:
            status, _ = await partner.order(request_no=number, notify_url=inbox)
            assert status == 200
        system = partner.system
        writing = asyncio.to_thread(backup.write, system.home, system.id, file)
        meanwhile = partner.number()
        _, placed = await asyncio.gather(
            writing, partner.order(request_no=meanwhile, notify_url=inbox)
        )
        assert placed[0] == 200
        await partner.all_ended("kept", COUNT + 1)
    assert file.stat().st_mode & 0o777 == 0o600

    damaged(file, open_folder / "damaged.tar.gz")
    for name in ("damaged.tar.gz", "short.tar.gz"):
        with pytest.raises(Failed, match=r"damaged: postgres/data/|cannot be read"):
            await asyncio.to_thread(backup.read, open_folder / name, open_folder / "none")
    notes = await asyncio.to_thread(backup.read, file, again)
    assert notes["system"] == system.id
    async with started(again) as partner:
        assert partner.system.id == system.id
        for number in [*numbers, meanwhile]:  # as a partner does that had no answer
            status, _ = await partner.order(request_no=number, notify_url=inbox)
            assert status == 200
        # A notify of before may have an address that nobody listens at any more: of orders alone.
        orders = "SELECT count(*) FROM oms_order_info WHERE order_status = 0"
        everything = COUNT + 1

        async def all_delivered() -> bool:
            return await partner.sql("order", orders) == everything

        await eventually(all_delivered, 60)
        assert await partner.sql("order", "SELECT count(*) FROM oms_order_info") == everything
        await partner.ledger_is_whole()
        # By the supplier's own journal, too, which is kept beside the databases.
        await check(partner.system)


def packed(file: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        for name, content in members:
            one = tarfile.TarInfo(name)
            one.size = len(content)
            archive.addfile(one, io.BytesIO(content))
    return file


def notes(**changes: object) -> tuple[str, bytes]:
    postgres = backup.postgres_version(backup._programs())
    given = {
        "format": 1,
        "system": "x",
        "time": "",
        "shoudan": "0",
        "postgres": postgres,
        "files": {},
    }
    return backup.NOTES, json.dumps(given | changes).encode()


WRONG = {
    "no archive": ((), "cannot be read"),
    "another archive": ((("a.txt", b"a"),), "no file of `shoudan backup`"),
    "no notes in it": (((backup.NOTES, b"{"),), "no file of `shoudan backup`"),
    "a later format": ((notes(format=2, shoudan="9.9"),), "shoudan 9.9"),
    "another PostgreSQL": ((notes(postgres="17.1"),), "of PostgreSQL 17.1"),
    "a file less": ((notes(files={"ledger.keys": "0"}),), "ledger.keys is missing"),
    "a file more": ((notes(), ("more", b"x")), "more is one too many"),
    "a file changed": (
        (notes(files={"keys": "0"}), ("keys", b"x")),
        "keys is not as it was written",
    ),
    "no databases": ((notes(),), "have no list"),
    "a way out of the folder": ((notes(), ("../out", b"x")), "cannot be read"),
    "a way in from outside": ((notes(), ("/etc/out", b"x")), "etc/out is one too many"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_backup_makes_no_system(tmp_path: Path, what: str) -> None:
    members, why = WRONG[what]
    file, home = tmp_path / "file.tar.gz", tmp_path / "home"
    if members:
        packed(file, *members)
    else:
        file.write_bytes(b"no archive")
    with pytest.raises(Failed, match=why):
        backup.read(file, home)
    assert not home.exists()
    assert [one.name for one in tmp_path.iterdir()] == ["file.tar.gz"]


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "keys").write_text("mine")
    with pytest.raises(Failed, match="not empty"):
        backup.read(packed(tmp_path / "file", notes()), tmp_path / "home")
    assert (tmp_path / "home" / "keys").read_text() == "mine"


def test_a_system_that_is_not_up_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "home" / "postgres").mkdir(parents=True)
    with pytest.raises(Failed, match="no database serves"):
        backup.write(tmp_path / "home", "x", tmp_path / "file")
    assert [one.name for one in tmp_path.iterdir()] == ["home"]
