"""Promises: an archived part holds every row as it was, is proved before the part goes, and is found."""

from __future__ import annotations

import asyncio
import errno
import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from shoudan_cli.main import collected
from shoudan_kit.archive import write
from shoudan_kit.archive.place import ArchiveFailed, Manifest, Place
from shoudan_kit.archive.read import find
from shoudan_kit.archive.write import archive
from shoudan_kit.db.partitions import Part, ended, month_after, parts_of
from shoudan_kit.db.shard_map import parse
from shoudan_kit.embedded import DatabaseUrls, Postgres
from tests.conftest import Databases
from tests.kit.db.test_partitions import connected, turn
from tests.shard_maps import Maps

ODD = ("", "\\N", '"', "\n", ",", "\t", "a\r\nb", "卡密", "'", "\\", "\x1f", " ", "NULL", '""')
KINDS = """CREATE TABLE odd (id bigint PRIMARY KEY, t text, v varchar(20), b bytea, o boolean, i integer,
    s smallint, z timestamptz, d date, n numeric(12,4), m numeric, j jsonb, a text[])
    PARTITION BY RANGE (id)"""


@pytest.fixture
async def urls(new_database: Databases) -> DatabaseUrls:
    return await new_database("delivery")


async def filled(urls: DatabaseUrls, count: int = 7) -> list[int]:
    """Events of the part that is older than all months; their numbers."""
    numbers = [5 + at for at in range(count)]
    async with connected(urls.owner) as db:
        await write_events(db, numbers)
    return numbers


async def write_events(db: Any, numbers: list[int]) -> None:
    await db.executemany(
        """INSERT INTO event (event_id, subject, key, tag, text, body, create_time)
        VALUES ($1, 'shoudan.events.test', $2, '', $3, $4, now())""",
        [(one, f"k{one % 2}", ODD[one % len(ODD)], bytes([one])) for one in numbers],
    )


async def first_part(urls: DatabaseUrls, table: str = "event") -> Part:
    return next(one for one in await parts_of(urls.owner) if one.name == f"{table}_first")


async def archived(
    urls: DatabaseUrls, place: Place, *parts: Part, again: bool = False
) -> list[tuple[Manifest, bool]]:
    seen: list[tuple[Manifest, bool]] = []

    def done(one: Manifest, new: bool) -> None:
        seen.append((one, new))

    await archive(urls.owner, "delivery", parts, place, done, again=again)
    return seen


@pytest.fixture
def command(
    postgres: Postgres, urls: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Awaitable[Any]]:
    """`await command("archive", …)`: shoudan db … on a database half a year later."""
    monkeypatch.setenv("SHOUDAN_DELIVERY_DATABASE_URL", urls.service)
    monkeypatch.setenv("SHOUDAN_DELIVERY_OWNER_DATABASE_URL", urls.owner)

    async def run(*words: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, collected(), ["db", *words])

    return run


async def test_every_kind_of_value_comes_back_as_it_was(urls: DatabaseUrls, tmp_path: Path) -> None:
    moment = datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)
    async with connected(urls.owner) as db:
        await db.execute(KINDS)
        await db.execute(
            "CREATE TABLE odd_first PARTITION OF odd FOR VALUES FROM (MINVALUE) TO (99)"
        )
        await db.execute("INSERT INTO odd (id) VALUES (1)")
        await db.execute(
            """INSERT INTO odd VALUES (2, '', '', '', true, -2147483648, -32768, '1970-01-01', '0001-01-01',
            -99999999.9999, 1e-9, '{"a": [1, "x"]}', '{"", NULL, "a,b"}'),
            (3, 'x', 'y', '\\x00ff', false, 0, 0, $1, '9999-12-31', 0, 123456789012345678901234567890, 'null',
            '{}')""",
            moment,
        )
        await db.executemany(
            "INSERT INTO odd (id, t, v) VALUES ($1, $2, CAST($2 AS text))",
            [(10 + n, t) for n, t in enumerate(ODD)],
        )
    place = Place(str(tmp_path))
    part = await first_part(urls, "odd")
    ((manifest, new),) = await archived(urls, place, part)
    assert (manifest.rows, new) == (3 + len(ODD), True)
    rows = duckdb.connect().execute("SELECT * FROM read_parquet(?)", [place.data(manifest)])
    names = [one[0] for one in rows.description or ()]
    back = {row[0]: dict(zip(names, row, strict=True)) for row in rows.fetchall()}
    assert set(back[1].values()) == {1, None}
    assert (back[2]["t"], back[2]["v"], back[2]["b"], back[2]["o"]) == ("", "", b"", True)
    assert (back[3]["b"], back[3]["z"]) == (b"\x00\xff", moment)
    assert str(back[2]["n"]) == "-99999999.9999"
    assert back[3]["m"] == "123456789012345678901234567890"
    assert json.loads(back[2]["j"]) == {"a": [1, "x"]}
    assert [back[10 + n]["t"] for n in range(len(ODD))] == list(ODD)
    assert [back[10 + n]["v"] for n in range(len(ODD))] == list(ODD)


async def test_a_repeat_writes_nothing_and_a_draft_of_a_killed_run_is_no_obstacle(
    urls: DatabaseUrls, tmp_path: Path
) -> None:
    await filled(urls)
    place, part = Place(str(tmp_path)), await first_part(urls)
    folder = tmp_path / "delivery" / "event"
    folder.mkdir(parents=True)
    (folder / "event_first.parquet.new").write_bytes(b"half")
    (folder / "event_first.parquet").write_bytes(b"without a manifest")
    ((first, new),) = await archived(urls, place, part)
    assert (first.rows, new) == (7, True)
    written = (folder / "event_first.json").stat().st_mtime_ns
    assert await archived(urls, place, part) == [(first, False)]
    assert (folder / "event_first.json").stat().st_mtime_ns == written
    assert sorted(one.name for one in folder.iterdir()) == [
        "event_first.json",
        "event_first.parquet",
    ]


async def test_a_repeat_compares_rows_only_where_that_is_wanted(
    urls: DatabaseUrls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(urls)
    place, part = Place(str(tmp_path)), await first_part(urls)
    ((first, _),) = await archived(urls, place, part)
    async with connected(urls.owner) as db:
        await db.execute("UPDATE event SET text = 'other' WHERE event_id = 5")
    assert await archived(urls, place, part) == [(first, False)]
    with pytest.raises(
        ArchiveFailed, match="event_first holds 7 rows and its archive 7, or others"
    ):
        await archived(urls, place, part, again=True)
    async with connected(urls.owner) as db:
        await db.execute("UPDATE event SET text = $1 WHERE event_id = 5", ODD[5 % len(ODD)])
    monkeypatch.setattr(write, "_now", lambda: "2027-01-01T00:00:00+00:00")
    ((proved, new),) = await archived(urls, place, part, again=True)
    assert (proved.proved, proved.made, new) == ("2027-01-01T00:00:00+00:00", first.made, False)
    assert place.manifest("delivery", "event", part.name) == proved
    (tmp_path / "delivery" / "event" / "event_first.parquet").write_bytes(b"cut")
    with pytest.raises(ArchiveFailed, match="is not the file that its manifest describes"):
        await archived(urls, place, part)


async def test_a_full_destination_is_said_and_leaves_nothing(
    urls: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(urls)
    place = Place("memory://full")
    there = place.files.open

    def no_room(path: str, mode: str) -> Any:
        if "w" in mode:
            raise OSError(errno.ENOSPC, "No space left on device")
        return there(path, mode)

    monkeypatch.setattr(place.files, "open", no_room)
    with pytest.raises(ArchiveFailed, match="No space left"):
        await archived(urls, place, await first_part(urls))
    assert place.manifests("delivery") == []


async def test_parts_of_several_shards_are_archived_dropped_and_found_as_one_service(
    postgres: Postgres,
    new_map: Maps,
    command: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, file = await new_map("delivery", 2)
    homes = parse(file.read_text(), *own, owner=True).homes
    monkeypatch.setenv("SHOUDAN_DELIVERY_DATABASE_URL", own.service)
    monkeypatch.setenv("SHOUDAN_DELIVERY_OWNER_DATABASE_URL", own.owner)
    monkeypatch.setenv("SHOUDAN_DELIVERY_SHARDS", str(file))
    for home in homes:
        async with connected(home.owner_url) as db:
            await db.execute(f"SET search_path = {home.schema}")
            await write_events(db, [home.shard * 100 + n for n in range(3)])
        later = await turn(postgres, DatabaseUrls(home.url, home.owner_url), 300)
    until = month_after(later, -4).strftime("%Y-%m-%d")
    at = str(tmp_path / "archive")
    held = await command("hold", "delivery", "event_first", "--reason", "asked")
    assert held.exit_code == 0, held.output
    made = await command("archive", "delivery", at, "--before", until)
    assert made.output.count("event_first  archived: 3 rows") == 2
    assert "shard_01.event_first  archived: 3 rows" in made.output
    drop = ("drop-parts", "delivery", "--before", until, "--archived", at, "--yes")
    refused = await command(*drop)
    assert (refused.exit_code, "event_first is on hold" in refused.stderr) == (1, True)
    await command("release", "delivery", "event_first")
    dropped = await command(*drop)
    assert dropped.exit_code == 0, dropped.output
    for home in homes:
        there = {one.name for one in await parts_of(home.owner_url, home.schema)}
        assert "event_rest" in there
        assert "event_first" not in there
    shown = await command("archived", "delivery", at, "--verify")
    assert (shown.exit_code, "shard_01" in shown.output) == (0, True)
    names = [one.part for one in Place(at).manifests("delivery", "event")]
    assert [one for one in names if one.endswith("event_first")] == [
        "event_first",
        "shard_01.event_first",
    ]
    found = await command("find", "delivery", "event", "key", "k1", "--at", at)
    assert [json.loads(one)["event_id"] for one in found.stdout.splitlines()] == [1, 101]


async def test_another_store_than_a_folder_works_alike(urls: DatabaseUrls) -> None:
    await filled(urls)
    place = Place("memory://archive")
    await archived(urls, place, await first_part(urls))
    found = list(find(place, "delivery", "event", "key", "k1", 10))
    assert [one["event_id"] for one in found] == [5, 7, 9, 11]


async def test_rows_are_found_again_in_the_parts_that_are_gone(
    postgres: Postgres, urls: DatabaseUrls, tmp_path: Path, command: Any
) -> None:
    numbers = await filled(urls)
    later = await turn(postgres, urls, 300)
    until = month_after(later, -4).strftime("%Y-%m-%d")
    at = str(tmp_path / "archive")
    planned = await command("archive", "delivery", at, "--before", until, "--dry-run")
    assert "event_first" in planned.output
    assert not (tmp_path / "archive").exists()
    made = await command("archive", "delivery", at, "--before", until, "--table", "event")
    assert "event_first  archived: 7 rows" in made.output
    shown = await command("archived", "delivery", at, "--verify")
    assert (shown.exit_code, "event_first" in shown.output) == (0, True)
    refused = await command("drop-parts", "delivery", "--before", until, "--archived", at, "--yes")
    assert refused.exit_code == 1
    assert re.search(r"delivery: vds_\w+ is not archived there", refused.stderr), refused.stderr
    await command("archive", "delivery", at, "--before", until)
    dropped = await command("drop-parts", "delivery", "--before", until, "--archived", at, "--yes")
    assert dropped.exit_code == 0, dropped.output
    assert "event_first" not in {one.name for one in await parts_of(urls.owner)}
    words = ("find", "delivery", "event", "key", "k1", "--at", at)
    lines = (await command(*words)).stdout.splitlines()
    assert [json.loads(line)["event_id"] for line in lines] == [one for one in numbers if one % 2]
    assert len((await command(*words, "--limit", "2")).stdout.splitlines()) == 2
    wrong = await command("find", "delivery", "event", "nothing", "x", "--at", at)
    assert (wrong.exit_code, "has no column nothing" in wrong.stderr) == (1, True)


@pytest.mark.parametrize("harm", ["file cut", "file gone", "manifest garbled", "rows added"])
async def test_a_part_whose_archive_does_not_hold_it_is_not_dropped(
    postgres: Postgres, urls: DatabaseUrls, tmp_path: Path, command: Any, harm: str
) -> None:
    await filled(urls)
    until = month_after(await turn(postgres, urls, 300), -4).strftime("%Y-%m-%d")
    at = str(tmp_path)
    await command("archive", "delivery", at, "--before", until)
    file = tmp_path / "delivery" / "event" / "event_first.parquet"
    match harm:
        case "file cut":
            file.write_bytes(file.read_bytes()[:-1])
        case "file gone":
            file.unlink()
        case "manifest garbled":
            file.with_suffix(".json").write_text("{")
        case _:
            async with connected(urls.owner) as db:
                await db.execute("UPDATE event SET text = 'other' WHERE event_id = 5")
    refused = await command("drop-parts", "delivery", "--before", until, "--archived", at, "--yes")
    assert refused.exit_code == 1, refused.output
    assert "event_first" in refused.stderr
    assert "event_first" in {one.name for one in await parts_of(urls.owner)}
    verified = await command("archived", "delivery", at, "--verify")
    assert verified.exit_code == (0 if harm == "rows added" else 1)


async def test_a_part_on_hold_stays_until_it_is_released(
    postgres: Postgres, urls: DatabaseUrls, command: Any
) -> None:
    until = month_after(await turn(postgres, urls, 300), -4).strftime("%Y-%m-%d")
    held = await command("hold", "delivery", "event_first", "--reason", "case 12's")
    assert held.exit_code == 0, held.output
    assert "case 12's" in (await command("parts", "delivery")).output
    drop = ("drop-parts", "delivery", "--before", until, "--unarchived", "--yes")
    refused = await command(*drop)
    assert (refused.exit_code, "event_first is on hold: case 12's" in refused.stderr) == (
        1,
        True,
    )
    await command("release", "delivery", "event_first")
    assert (await command(*drop)).exit_code == 0
    unknown = await command("hold", "delivery", "event_nothing", "--reason", "x")
    assert (unknown.exit_code, "there is no part event_nothing" in unknown.stderr) == (1, True)


async def test_a_part_that_still_grows_is_not_archived(urls: DatabaseUrls, command: Any) -> None:
    ahead = (datetime.now(UTC) + timedelta(days=40)).strftime("%Y-%m-%d")
    refused = await command("archive", "delivery", "/nowhere", "--before", ahead)
    assert (refused.exit_code, "rows are still added" in refused.stderr) == (1, True)
    assert await ended(urls.owner, datetime.now(UTC)) == []
    both = await command("archive", "delivery", "/nowhere", "--before", ahead, "--keep-days", "3")
    assert both.exit_code == 2


async def test_an_address_nothing_reads_is_refused(command: Any) -> None:
    refused = await command("archived", "delivery", "no-such-store://x")
    assert (refused.exit_code, "no-such-store" in refused.stderr) == (1, True)
