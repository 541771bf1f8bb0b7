"""Promises of fetching: files of a folder, here or behind SFTP, are imported once, when they are whole."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncssh
import pytest

from shoudan_finance import fetching
from shoudan_finance.fetching import QUIET_S, REFUSED, Fetcher
from shoudan_finance.templates import TemplateWrong, Watched, load, places
from tests.finance.harness import FinanceHarness
from tests.finance.test_statement_imports import file_of

LONG_AGO = time.time() - 2 * QUIET_S


def put(folder: Path, name: str, data: bytes, changed: float = LONG_AGO) -> None:
    path = folder / name
    path.write_bytes(data)
    os.utime(path, (changed, changed))


async def imported(harness: FinanceHarness, source: str) -> list[str]:
    """The files of a source's statements."""
    query = "SELECT file_name FROM statement WHERE source = $1 ORDER BY statement_id"
    return [row[0] for row in await harness.sql(query, source)]


async def test_a_folder_is_read_once_by_name_and_what_is_still_written_waits(
    harness: FinanceHarness, tmp_path: Path
) -> None:
    place = Watched("plain-csv", source="folder", folder=str(tmp_path), pattern="*.csv")
    fetcher = Fetcher(harness.context)
    put(tmp_path, "b.csv", file_of(("b", 1)))
    put(tmp_path, "a.csv", file_of(("a", 1)))
    put(tmp_path, "new.csv", file_of(("new", 1)), time.time())
    put(tmp_path, "a.txt", file_of(("t", 1)))
    (tmp_path / "link.csv").symlink_to("/etc/hostname")
    (tmp_path / "folder.csv").mkdir()
    await fetcher.look(place)
    assert await imported(harness, "folder") == ["a.csv", "b.csv"]
    put(tmp_path, "new.csv", file_of(("new", 1)))
    await fetcher.look(place)
    await Fetcher(harness.context).look(place)  # another process
    assert await imported(harness, "folder") == ["a.csv", "b.csv", "new.csv"]


async def test_a_folder_that_is_never_emptied_still_gives_its_new_files(
    harness: FinanceHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "FILES_MAX", 3)
    place = Watched("plain-csv", source="full", folder=str(tmp_path), pattern="*.csv")
    fetcher = Fetcher(harness.context)
    for day in range(1, 6):
        put(tmp_path, f"{day:02d}.csv", file_of((f"d{day}", day)), LONG_AGO + day)
        put(tmp_path, f"{day:02d}.txt", b"another's", LONG_AGO + 10 + day)
        await fetcher.look(place)
    assert await imported(harness, "full") == [f"{day:02d}.csv" for day in range(1, 6)]


async def test_a_file_that_is_refused_is_counted_and_stops_no_other(
    harness: FinanceHarness, tmp_path: Path
) -> None:
    place = Watched("plain-csv", source="refused-files", folder=str(tmp_path))
    fetcher = Fetcher(harness.context)
    put(tmp_path, "a.csv", b"half a file")
    put(tmp_path, "b.csv", file_of(("b", 1)))
    await fetcher.look(place)
    assert await imported(harness, "refused-files") == ["b.csv"]
    assert REFUSED()._value.get() == 1
    put(tmp_path, "a.csv", file_of(("a", 1)), LONG_AGO + 5)
    await fetcher.look(place)
    assert await imported(harness, "refused-files") == ["b.csv", "a.csv"]
    assert REFUSED()._value.get() == 0


async def test_a_file_that_grew_beyond_the_bound_is_not_read_whole(
    harness: FinanceHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(harness.context.app.settings.__dict__, "statement_bytes_max", 100)
    put(tmp_path, "big.csv", b"x" * 101)
    fetcher = Fetcher(harness.context)
    await fetcher.look(Watched("plain-csv", source="big", folder=str(tmp_path)))
    assert await imported(harness, "big") == []
    assert REFUSED()._value.get() == 1


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Callable[..., Watched]]:
    """An SFTP server whose users see one folder; gives a place of it."""
    (tmp_path / "out").mkdir()
    host_key, user_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    user_key.write_private_key(tmp_path / "id")
    (tmp_path / "authorized").write_bytes(user_key.export_public_key())

    def jailed(channel: Any) -> asyncssh.SFTPServer:
        return asyncssh.SFTPServer(channel, chroot=bytes(tmp_path))

    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        authorized_client_keys=str(tmp_path / "authorized"),
        sftp_factory=jailed,
    )
    port = listener.get_port()
    known = f"[127.0.0.1]:{port} {host_key.export_public_key().decode()}"
    (tmp_path / "known").write_text(known)
    yield partial(
        Watched,
        "plain-csv",
        folder="/out",
        host="127.0.0.1",
        port=port,
        user="shoudan",
        key=str(tmp_path / "id"),
        known_hosts=str(tmp_path / "known"),
    )
    listener.close()
    await listener.wait_closed()


async def test_a_folder_behind_sftp_is_read_as_one_here(
    harness: FinanceHarness, server: Callable[..., Watched], tmp_path: Path
) -> None:
    put(tmp_path / "out", "s.csv", file_of(("s", 1)))
    (tmp_path / "out" / "link.csv").symlink_to("/etc/hostname")
    fetcher = Fetcher(harness.context)
    for _ in range(2):
        await fetcher.look(server(source="sftp"))
    assert await imported(harness, "sftp") == ["s.csv"]


async def test_a_host_with_another_key_is_not_spoken_to(
    harness: FinanceHarness, server: Callable[..., Watched], tmp_path: Path
) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    place = server(source="strange")
    (tmp_path / "known").write_text(f"[127.0.0.1]:{place.port} {other}")
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        await Fetcher(harness.context).look(place)


class Rested(Exception):
    """The loop has come to its sleep."""


async def test_a_place_that_is_away_stops_no_other(
    harness: FinanceHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.csv", file_of(("a", 1)))
    away = Watched("plain-csv", source="away", folder=str(tmp_path / "none"))
    there = Watched("plain-csv", source="there", folder=str(tmp_path))

    context = replace(harness.context, places=(away, there))

    async def rest(_: float) -> None:
        raise Rested

    stand_in = SimpleNamespace(sleep=rest, timeout=asyncio.timeout, to_thread=asyncio.to_thread)
    monkeypatch.setattr(fetching, "asyncio", stand_in)
    with pytest.raises(Rested):
        await fetching.fetch_forever(context)
    assert await imported(harness, "there") == ["a.csv"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ('template = "none"\nfolder = "/a"', "there is no template 'none'"),
        ('template = "plain-csv"\nfolder = "/a"', "source is missing"),
        ('template = "plain-csv"\nsource = "s"\nfolder = "a"', "folder begins with /"),
        ('template = "plain-csv"\nsource = "s"\nfolder = "/a"\nhost = "h"', "a host needs user"),
        ('template = "plain-csv"\nsource = "s"\nfolder = "/a"\npassword = "p"', "password"),
    ],
)
def test_a_mistake_in_a_place_is_named(tmp_path: Path, words: str, said: str) -> None:
    path = tmp_path / "templates.toml"
    path.write_text(f"[[place]]\n{words}\n", "utf-8")
    with pytest.raises(TemplateWrong, match=said):
        places(str(path), load(str(path)))


def test_places_stand_beside_the_templates(tmp_path: Path) -> None:
    path = tmp_path / "templates.toml"
    path.write_text('[[place]]\ntemplate = "plain-csv"\nsource = "s"\nfolder = "/in"\n', "utf-8")
    (one,) = places(str(path), load(str(path)))
    assert (one.template, one.source, one.name) == ("plain-csv", "s", "/in")
    assert places("", load("")) == ()
