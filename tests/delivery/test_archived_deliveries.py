"""Promises: a delivery that has left the database is answered as before; nothing is deleted that its files
do not hold, wherever a run dies; what a court holds stays."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan_cli.main import collected
from shoudan_delivery.store.retention import DELIVERIES
from shoudan_kit import faults
from shoudan_kit.archive.ended import Done
from shoudan_kit.archive.place import Place
from shoudan_kit.db.ended import GOES, Hold, before_of, counted
from shoudan_kit.db.owner import as_owner
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.ids import first_of
from tests import archived as runs
from tests.delivery.conftest import House, house, key
from tests.delivery.test_notifies import tell
from tests.delivery.test_shards import in_turn
from tests.poll import eventually
from tests.shard_maps import Maps, of_shards

SUCCEEDED, FAILED = 0, 90
TABLES = tuple(one.table for one in DELIVERIES.members)
DIFFERS = "ERROR_REASON_DELIVERY_DIFFERS"


@pytest.fixture
async def urls(new_database: Callable[[str], Awaitable[DatabaseUrls]]) -> DatabaseUrls:
    """A database of its own for each test."""
    return await new_database("delivery")


@pytest.fixture
async def running(urls: DatabaseUrls, tmp_path: Path) -> AsyncIterator[House]:
    async with house(urls.service, tmp_path / "journal.jsonl") as started:
        yield started


async def settled(urls: DatabaseUrls, count: int) -> None:
    """So many deliveries may go."""

    async def may_go() -> bool:
        return (await runs.stay(urls.owner, DELIVERIES)).get(GOES) == count

    await eventually(may_go)


async def archived(urls: DatabaseUrls, place: Path, **bounds: Any) -> list[Done]:
    return await runs.archived(urls.owner, "delivery", DELIVERIES, place, **bounds)


async def left(running: House) -> list[int]:
    """How many rows there are in each table."""
    return [(await running.rows(f"SELECT count(*) FROM {table}"))[0][0] for table in TABLES]


def item(number: int, **changes: Any) -> pb.CreateDeliveriesRequest.Item:
    """What House.send asks for."""
    facts = {
        "key": key(number), "channel_no": "up", "carrier_no": "ZSH", "face_micros": 100_000_000,
        "num": 1, "account": "0000", "timeout_s": 300, "order_id": "1",
    }  # fmt: skip
    return pb.CreateDeliveriesRequest.Item(**facts | changes)


async def repeated(running: House, number: int, **changes: Any) -> Any:
    request = pb.CreateDeliveriesRequest(items=[item(number, **changes)])
    return (await running.deliveries.CreateDeliveries(request)).results[0]


async def test_a_delivery_that_has_left_is_answered_as_before(
    running: House, urls: DatabaseUrls, tmp_path: Path
) -> None:
    numbers = [*await running.send("0000", "0000"), *await running.send("0001")]
    before = [await running.ends(number) for number in numbers]
    await settled(urls, 3)
    done = await archived(urls, tmp_path, lot_rows=2)
    assert [(one.gone, one.stayed) for one in done] == [(2, 0), (1, 0)]
    assert await left(running) == [0, 0, 0]

    assert [await running.query(number) for number in numbers] == before
    again = await repeated(running, numbers[0])
    assert (again.existed, again.delivery) == (True, before[0])
    other = await repeated(running, numbers[0], face_micros=50_000_000)
    assert other.refusal.reason == DIFFERS
    # Its account is kept nowhere: it is not compared.
    assert (await repeated(running, numbers[0], account="0009")).existed
    asked = pb.AskSupplierRequest(key=key(numbers[0]))
    assert (await running.deliveries.AskSupplier(asked)).delivery == before[0]
    decided = pb.ResolveDeliveryRequest(
        key=key(numbers[0]), status=SUCCEEDED, by="ops", reason="said so"
    )
    assert (await running.deliveries.ResolveDelivery(decided)).delivery == before[0]
    assert (await left(running))[0] == 0
    running.witness()

    manifest = Place(str(tmp_path)).manifest("delivery", "vds_order_info", done[0].lot_no)
    assert manifest is not None
    kept = duckdb.execute(
        "SELECT DISTINCT account FROM read_parquet(?)", [Place(str(tmp_path)).data(manifest)]
    )
    assert kept.fetchall() == [("",)]
    assert await archived(urls, tmp_path) == []


async def test_a_late_notify_of_one_that_has_left_is_taken_and_a_contradiction_reported_once(
    running: House, urls: DatabaseUrls, tmp_path: Path
) -> None:
    (number,) = await running.send("0000")
    ended = await running.ends(number)
    await settled(urls, 1)
    await archived(urls, tmp_path)
    body = {"order_no": ended.order_no, "code": "R_0000", "amount": "100"}
    assert await tell(running, body) == (200, "success")
    assert await running.query(number) == ended
    against = body | {"code": "R_5124", "desc": "of 13800000000"}
    for _ in range(2):
        assert await tell(running, against) == (200, "success")
    await eventually(lambda: number in running.orders.against)
    after = await running.query(number)
    assert (after.status, after.conflict) == (SUCCEEDED, True)
    assert len([one for one in await running.incidents(number) if "contradicts" in one]) == 1
    assert await running.rows("SELECT 1 FROM vds_order_exp WHERE ext_params LIKE '%1380000%'") == []
    unknown = body | {"order_no": str(int(ended.order_no) + 1)}
    assert (await tell(running, unknown))[0] == 403


# What makes each reason true of a delivery that has succeeded.
REASONS = {
    "open": "UPDATE vds_order_info SET status = 30, request_finish_time = NULL, succ_face_micros = 0",
    "conflict": "UPDATE vds_order_info SET conflict = true",
    "report": "UPDATE vds_order_notify SET status = 90",
    "task": """INSERT INTO task (task_id, name, queue_name, order_no, exclusive, msg_content, status,
        count, max_count, next_interval, delete_interval, create_time, next_execute_time, max_execute_time)
        SELECT 1, 'delivery.ask', 'q', CAST(order_no AS text), true, '{}', 90, 1, 1, 1, 1, now(), now(), now()
        FROM vds_order_info""",
    "cards": "UPDATE vds_order_info SET service_class = 20",
    "changed": "UPDATE vds_order_info SET last_update_time = now() + interval '300 d'",
}


async def test_whatever_may_still_happen_to_a_delivery_keeps_it_and_is_named(
    running: House, urls: DatabaseUrls
) -> None:
    (number,) = await running.send("0000")
    await running.ends(number)
    await settled(urls, 1)
    assert {one.word for one in DELIVERIES.stays} == {*REASONS}
    async with as_owner(urls.owner) as db:
        for reason, change in REASONS.items():
            async with db.begin() as transaction:
                await db.execute(
                    text("ALTER TABLE vds_order_info DISABLE TRIGGER vds_order_info_lifecycle")
                )
                await db.exec_driver_sql(change)
                before = await before_of(db, timedelta(seconds=-runs.LATER_S))
                assert await counted(db, DELIVERIES, before, ()) == {reason: 1}
                await transaction.rollback()


# The order was made a day before its delivery: its number says so. From July 2027 on it has a digit more.
@pytest.mark.parametrize(
    "made",
    [datetime.now(UTC) - timedelta(days=1), datetime(2088, 1, 1, tzinfo=UTC)],
    ids=["yesterday", "a later year"],
)
async def test_what_a_court_holds_is_held_by_its_order_channel_and_the_time_of_its_order(
    running: House, urls: DatabaseUrls, tmp_path: Path, made: datetime
) -> None:
    hour, order_id = timedelta(hours=1), first_of(made)
    (number,) = await running.send("0000", order_id=str(order_id))
    await running.ends(number)
    await settled(urls, 1)
    for hold, holds in (
        (Hold(order_id, "", None, None), True),
        (Hold(order_id + 1, "", None, None), False),
        (Hold(0, "down", None, None), True),
        (Hold(0, "other", None, None), False),
        (Hold(0, "", made - hour, made + hour), True),
        (Hold(0, "", made + hour, None), False),
        (Hold(0, "down", None, made - hour), False),
    ):
        found = await runs.stay(urls.owner, DELIVERIES, hold)
        assert found == ({"hold": 1} if holds else {GOES: 1}), hold
    looks = 0

    async def late() -> Sequence[Hold]:
        nonlocal looks
        looks += 1
        return [Hold(order_id, "", None, None)] if looks > 1 else []

    (lot,) = await archived(urls, tmp_path, holds=late)
    assert (lot.gone, lot.stayed) == (0, 1)
    assert (await left(running))[0] == 1
    assert await running.rows("SELECT 1 FROM vds_archived_order") == []


class _Killed(BaseException):
    """The process is gone here: nothing of it runs any more, its session ends."""


@pytest.mark.parametrize(
    ("point", "times"),
    [("chosen", 1), ("file", 1), ("file", 3), ("written", 1), ("batch", 1), ("deleted", 1)],
)
async def test_a_run_killed_anywhere_is_finished_by_the_next_and_loses_nothing(
    running: House,
    urls: DatabaseUrls,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    times: int,
) -> None:
    numbers = await running.send("0000", "0000", "0001")
    before = [await running.ends(number) for number in numbers]
    await settled(urls, 3)
    still = times

    def hit(name: str) -> None:
        nonlocal still
        still -= name == f"archive.{point}"
        if not still:
            raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(faults, "hit", hit)
        with pytest.raises(_Killed):
            await archived(urls, tmp_path)
    assert [await running.query(number) for number in numbers] == before
    assert (await repeated(running, numbers[1])).existed
    await archived(urls, tmp_path)
    assert await left(running) == [0, 0, 0]
    assert [await running.query(number) for number in numbers] == before
    assert (await repeated(running, numbers[1])).delivery == before[1]
    running.witness()


async def test_a_contradiction_while_its_files_are_written_keeps_a_delivery(
    running: House, urls: DatabaseUrls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = await running.send("0000", "0000")
    ended = [await running.ends(number) for number in numbers]
    await settled(urls, 2)

    def hit(name: str) -> None:
        if name == "archive.written":
            raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(faults, "hit", hit)
        with pytest.raises(_Killed):
            await archived(urls, tmp_path)
    body = {"order_no": ended[0].order_no, "code": "R_5124", "amount": "100"}
    assert await tell(running, body) == (200, "success")
    (lot,) = await archived(urls, tmp_path)
    assert (lot.gone, lot.stayed) == (1, 1)
    assert (await running.query(numbers[0])).conflict
    assert await running.query(numbers[1]) == ended[1]


async def test_deliveries_asked_for_while_they_leave_are_never_sent_twice(
    running: House, urls: DatabaseUrls, tmp_path: Path
) -> None:
    numbers = await running.send(*["0000"] * 30)
    first = {number: (await running.ends(number)).order_no for number in numbers}
    await settled(urls, 30)

    async def repeat() -> None:
        for _ in range(10):
            request = pb.CreateDeliveriesRequest(items=[item(number) for number in numbers])
            answer = await running.deliveries.CreateDeliveries(request)
            for number, one in zip(numbers, answer.results, strict=True):
                assert (one.existed, one.delivery.order_no) == (True, first[number])

    run = archived(urls, tmp_path, lot_rows=7, batch_rows=3)
    done, *_ = await asyncio.gather(run, repeat(), repeat())
    assert sum(one.gone for one in done) == 30
    await repeat()
    assert (await left(running))[0] == 0
    assert running.sandbox.journal.attempts == 30
    running.witness()


async def test_deliveries_of_several_shards_leave_to_one_place_and_are_answered_by_their_own(
    new_map: Maps, tmp_path: Path
) -> None:
    own, file = await new_map("delivery", 4)
    async with house(own.service, tmp_path / "journal.jsonl", shards=file) as started:
        started.number = in_turn(4)
        numbers = await started.send(*["0000"] * 8)
        before = [await started.ends(number) for number in numbers]

        async def acknowledged() -> bool:
            found = await of_shards(
                started.process, "SELECT 1 FROM vds_order_notify WHERE status = 0"
            )
            return [len(one) for one in found] == [2] * 4

        await eventually(acknowledged)
        place = tmp_path / "archive"
        assert await runs.archived_everywhere(own, file, "delivery", DELIVERIES, place) == [2] * 4
        assert await of_shards(started.process, "SELECT 1 FROM vds_order_info") == [[]] * 4
        asked = pb.QueryDeliveriesRequest(keys=[key(number) for number in numbers])
        answer = await started.deliveries.QueryDeliveries(asked)
        assert [one.delivery for one in answer.results] == before
        books = pb.QuerySupplierNumbersRequest(keys=[key(number) for number in numbers])
        named = await started.deliveries.QuerySupplierNumbers(books)
        assert [one.order_no for one in named.results] == [one.order_no for one in before]
        assert {one.account for one in named.results} == {""}
        again = pb.CreateDeliveriesRequest(items=[item(number) for number in numbers])
        made = await started.deliveries.CreateDeliveries(again)
        assert [(one.existed, one.delivery) for one in made.results] == [(True, b) for b in before]
        body = {"order_no": before[3].order_no, "code": "R_0000", "amount": "100"}
        assert await tell(started, body) == (200, "success")
        started.witness()


async def test_commands_ask_the_order_service_s_database_for_holds_and_refuse_without(
    running: House,
    urls: DatabaseUrls,
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (number,) = await running.send("0000")
    await running.ends(number)
    await settled(urls, 1)
    orders = await new_database("order")

    def names(service: str, found: DatabaseUrls) -> Mapping[str, str]:
        upper = f"SHOUDAN_{service.upper()}"
        return {f"{upper}_DATABASE_URL": found[0], f"{upper}_OWNER_DATABASE_URL": found[1]}

    for name, url in (names("delivery", urls) | names("order", orders)).items():
        monkeypatch.setenv(name, url)

    async def run(*words: str) -> Any:
        return await asyncio.to_thread(
            CliRunner().invoke, collected(), ["db", *words, "--keep-days", "100"]
        )

    counted_by = await run("ended", "delivery")
    assert counted_by.exit_code == 0, counted_by.output
    assert "holds are those of order" in counted_by.output
    done = await run("archive-ended", "delivery", str(tmp_path), "--yes")
    assert re.search(r"delivery: 0 of vds_order_info may go", done.output), done.output
    for name, url in names("order", DatabaseUrls(*urls)).items():  # a database without holds
        monkeypatch.setenv(name, url)
    refused = await run("archive-ended", "delivery", str(tmp_path), "--yes")
    assert (refused.exit_code, "the holds cannot be read" in refused.output) == (1, True)
