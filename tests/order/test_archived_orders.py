"""Promises: an order that has left the database is known by its keys, shown from its files, counted in
reports; nothing is deleted that its files do not hold, wherever a run dies."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from grpc import aio

from shoudan.order.v1 import audit_service_pb2 as audit_pb
from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_kit import faults
from shoudan_kit.archive.ended import Done, Wanted, archive_ended
from shoudan_kit.archive.place import ArchiveFailed, Place
from shoudan_kit.clock import BEIJING
from shoudan_kit.db.ended import Hold, before_of, holds_of
from shoudan_kit.db.owner import as_owner
from shoudan_kit.embedded import DatabaseUrls, Postgres
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_order.store.retention import ORDERS
from tests.order.harness import Inbox, OrderHarness, running
from tests.order.test_refunds import MANDATORY, ask, delivered, ends, returns_end
from tests.order.test_reports import Kind, report
from tests.order.test_retention import LATER_S, stay
from tests.poll import eventually

TABLES = tuple(one.table for one in ORDERS.members)


async def archived(
    harness: OrderHarness, place: Place, *, lot_rows: int = 100, batch_rows: int = 2
) -> list[Done]:
    """What a run does when everything is old."""
    seen: list[Done] = []
    async with as_owner(harness.owner_url) as held, as_owner(harness.owner_url) as db:

        async def holds() -> Sequence[Hold]:
            async with held.begin():
                return await holds_of(held, ORDERS)

        async with held.begin():
            before = await before_of(held, timedelta(seconds=-LATER_S))
        wanted = Wanted(before, holds, lot_rows, batch_rows)
        await archive_ended(db, "order", ORDERS, place, wanted, seen.append)
    return seen


async def settled(harness: OrderHarness, count: int) -> None:
    """So many orders may go."""

    async def may_go() -> bool:
        return (await stay(harness)).get("") == count

    await eventually(may_go)


async def rows(harness: OrderHarness, table: str) -> int:
    ((count,),) = await harness.sql(f"SELECT count(*) FROM {table}")
    return int(count)


async def shown(harness: OrderHarness, order: pb.Order) -> pb.Order:
    return await harness.get(order.state.order_id)


@pytest.fixture
async def harness(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], inbox: Inbox, tmp_path: Path
) -> AsyncIterator[OrderHarness]:
    """An order service that shows what lies in the archive."""
    async with running(await new_database("order"), inbox, archive=str(tmp_path)) as made:
        yield made


async def whole(harness: OrderHarness) -> list[Any]:
    """Every report, by labels."""
    now = datetime.now(UTC)
    start = datetime(now.year - 1, 12, 31, 16, tzinfo=UTC)
    end = datetime(now.year + 1, 12, 31, 16, tzinfo=UTC)
    found = [
        (kind, dict(line.labels), line.count, dict(line.sums_micros))
        for kind in (Kind.KIND_PROFIT, Kind.KIND_UP_CHANNEL, Kind.KIND_DOWN_CHANNEL)
        for line in await report(harness, kind, start, end)
    ]
    return sorted(found, key=str)


async def test_an_order_leaves_with_its_rows_and_everything_is_answered_as_before(
    harness: OrderHarness, tmp_path: Path
) -> None:
    harness.delivery.script = returns_end(True)
    first = harness.new(request_no="kept")
    (made,) = await harness.create(first)
    order = await delivered(harness)
    back = await delivered(harness)
    await ask(harness, back, "f1")
    await ends(harness, back, "f1", 0)
    forced = await delivered(harness)
    await ask(harness, forced, "m1", kind=MANDATORY)
    await ends(harness, forced, "m1", 0)
    await settled(harness, 4)
    reports, before = await whole(harness), await shown(harness, back)
    keys = [
        pb.OrderKey(channel_no="test", request_no=one.state.request_no) for one in (order, back)
    ]
    states = (await harness.orders.QueryOrders(pb.QueryOrdersRequest(keys=keys))).results

    done = await archived(harness, Place(str(tmp_path)), lot_rows=3)
    assert [(one.gone, one.stayed) for one in done] == [(3, 0), (1, 0)]
    assert [await rows(harness, table) for table in TABLES] == [0, 0, 0, 2, 1, 0]

    assert await whole(harness) == reports
    answer = await harness.orders.QueryOrders(pb.QueryOrdersRequest(keys=keys))
    assert list(answer.results) == list(states)
    (again,) = await harness.create(first)
    assert (again.existed, again.order.order_id) == (True, made.order.order_id)
    (other,) = await harness.create(harness.new(request_no="kept", num=2))
    assert other.refusal.reason == "ERROR_REASON_REQUEST_DIFFERS"
    assert await rows(harness, "oms_order_info") == 0
    refund = await ask(harness, order, "late")
    assert refund.refusal.reason == "ERROR_REASON_NOT_REFUNDABLE"
    forced_late = await ask(harness, order, "late", kind=MANDATORY)
    assert forced_late.refusal.reason == "ERROR_REASON_NOT_REFUNDABLE"
    repeated = await ask(harness, back, "f1")
    assert (repeated.existed, repeated.refund.status) == (True, 0)

    after = await shown(harness, back)
    assert after.archived == done[0].lot_no
    after.archived, after.request.recharge_account = "", before.request.recharge_account
    assert after == before
    key = pb.OrderKey(channel_no="test", request_no=back.state.request_no)
    by_key = await harness.orders.GetOrder(pb.GetOrderRequest(key=key))
    assert by_key.order.state.order_id == back.state.order_id
    life = await harness.orders.GetLifecycle(pb.GetLifecycleRequest(key=key))
    assert "created" in {one.subject.rpartition(".")[2] for one in life.moments}
    manifest = Place(str(tmp_path)).manifest("order", "oms_order_info", done[0].lot_no)
    assert manifest is not None
    kept = duckdb.execute(
        "SELECT DISTINCT rechage_account, request_hash FROM read_parquet(?)",
        [Place(str(tmp_path)).data(manifest)],
    )
    assert kept.fetchall() == [("", b"")]
    assert await archived(harness, Place(str(tmp_path))) == []


async def test_a_report_of_a_piece_of_a_day_with_archived_orders_is_refused(
    harness: OrderHarness, tmp_path: Path
) -> None:
    await delivered(harness)
    await settled(harness, 1)
    await archived(harness, Place(str(tmp_path)))
    now = datetime.now(UTC)
    with pytest.raises(aio.AioRpcError) as error:
        await report(harness, Kind.KIND_PROFIT, now - timedelta(minutes=1), now)
    assert "whole days" in refused_from_rpc(error.value).metadata["why"]
    day = now.astimezone(BEIJING).date().isoformat()
    for whose in ({"down_channel_no": "test"}, {"up_channel_no": "ycup"}):
        with pytest.raises(aio.AioRpcError) as error:
            await harness.audits.ListTrades(audit_pb.ListTradesRequest(day=day, **whose))
        assert "archived" in refused_from_rpc(error.value).metadata["why"], whose


async def test_what_changed_after_it_was_written_stays_and_goes_with_a_later_lot(
    harness: OrderHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [await delivered(harness) for _ in range(3)]
    await settled(harness, 3)
    place = Place(str(tmp_path))

    async def dies(lot: Any) -> None:
        raise ArchiveFailed("killed")

    changed = orders[0].state.order_id
    with monkeypatch.context() as patch:
        patch.setattr("shoudan_kit.archive.ended._Run.delete", lambda self, lot: dies(lot))
        with pytest.raises(ArchiveFailed):
            await archived(harness, place)
    await harness.sql(
        "UPDATE oms_order_delivery SET return_msg = 'x' WHERE order_id = :id", id=changed
    )
    (lot,) = await archived(harness, place)
    assert (lot.gone, lot.stayed) == (2, 1)
    assert (await harness.get(changed)).archived == ""
    (later,) = await archived(harness, place)
    assert (later.gone, later.stayed) == (1, 0)
    again = await harness.get(changed)
    assert (again.archived, again.deliveries[0].delivery_id) == (
        later.lot_no,
        orders[0].deliveries[0].delivery_id,
    )


async def test_a_full_archive_deletes_nothing_and_a_later_run_goes_on(
    harness: OrderHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await delivered(harness)
    await settled(harness, 1)
    place = Place(str(tmp_path))
    there = place.files.open

    def no_room(path: str, mode: str) -> Any:
        if "w" in mode and "oms_order_info" in path:
            raise OSError(errno.ENOSPC, "No space left on device")
        return there(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(place.files, "open", no_room)
        with pytest.raises(ArchiveFailed, match="No space left"):
            await archived(harness, place)
    assert await rows(harness, "oms_order_info") == 1
    # Its key is noted and its rows are here: it is answered, refunded and shown as any other.
    (again,) = await harness.create(harness.new(request_no=order.state.request_no))
    assert (again.existed, again.order.order_id) == (True, order.state.order_id)
    assert (await shown(harness, order)).archived == ""
    with pytest.raises(ArchiveFailed, match="finish it there"):
        await archived(harness, Place(str(tmp_path / "elsewhere")))
    assert [one.gone for one in await archived(harness, place)] == [1]


async def test_files_that_are_not_as_they_were_written_delete_nothing(
    harness: OrderHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await delivered(harness)
    await settled(harness, 1)
    place = Place(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr("shoudan_kit.archive.ended._Run.delete", None)
        with pytest.raises(TypeError):
            await archived(harness, place)
    (file,) = (tmp_path / "order" / "oms_order_delivery").glob("*.parquet")
    kept = file.read_bytes()
    file.write_bytes(kept[:-1])
    with pytest.raises(ArchiveFailed, match="is not the file"):
        await archived(harness, place)
    assert await rows(harness, "oms_order_delivery") == 1
    file.write_bytes(kept)
    assert [one.gone for one in await archived(harness, place)] == [1]


async def test_a_hold_set_while_a_run_works_keeps_its_orders(
    harness: OrderHarness, tmp_path: Path
) -> None:
    order = await delivered(harness)
    await settled(harness, 1)
    looks = 0

    async def holds() -> Sequence[Hold]:
        nonlocal looks
        looks += 1
        return [Hold(order.state.order_id, "", None, None)] if looks > 1 else []

    seen: list[Done] = []
    async with as_owner(harness.owner_url) as db:
        async with db.begin():
            before = await before_of(db, timedelta(seconds=-LATER_S))
        wanted = Wanted(before, holds)
        await archive_ended(db, "order", ORDERS, Place(str(tmp_path)), wanted, seen.append)
    assert [(one.gone, one.stayed) for one in seen] == [(0, 1)]
    assert (await shown(harness, order)).archived == ""
    assert await rows(harness, "oms_archived_order") == 0


class _Killed(BaseException):
    """The process is gone here: nothing of it runs any more, its session ends."""


@pytest.mark.parametrize(
    ("point", "times"),
    [
        ("chosen", 1),
        ("file", 1),
        ("file", 6),
        ("written", 1),
        ("batch", 1),
        ("batch", 2),
        ("deleted", 1),
    ],
)
async def test_a_run_killed_anywhere_is_finished_by_the_next_and_loses_nothing(
    harness: OrderHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, times: int
) -> None:
    orders = [await delivered(harness) for _ in range(3)]
    await settled(harness, 3)
    reports, left = await whole(harness), times

    def hit(name: str) -> None:
        nonlocal left
        left -= name == f"archive.{point}"
        if not left:
            raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(faults, "hit", hit)
        with pytest.raises(_Killed):
            await archived(harness, Place(str(tmp_path)))
    assert await whole(harness) == reports
    for one in orders:
        (again,) = await harness.create(harness.new(request_no=one.state.request_no))
        assert (again.existed, again.order.order_id) == (True, one.state.order_id)
        assert (await shown(harness, one)).state == one.state
    await archived(harness, Place(str(tmp_path)))
    assert [await rows(harness, table) for table in TABLES] == [0] * len(TABLES)
    assert await whole(harness) == reports
    assert len({(await shown(harness, one)).archived for one in orders}) == 1
    assert all([(await shown(harness, one)).deliveries for one in orders])


async def test_a_killed_process_is_followed_by_one_that_finishes(
    harness: OrderHarness, postgres: Postgres, tmp_path: Path
) -> None:
    order = await delivered(harness)
    await settled(harness, 1)
    await harness.turn_clock(postgres, LATER_S)
    words = [sys.executable, "-m", "shoudan_cli", "db", "archive-ended", "order", str(tmp_path)]
    environment = {
        **os.environ,
        "SHOUDAN_ORDER_DATABASE_URL": harness.process.app.settings.database_url.reveal(),
        "SHOUDAN_ORDER_OWNER_DATABASE_URL": harness.owner_url,
        "SHOUDAN_PROFILE": "test",
    }

    async def run(**more: str) -> tuple[int, str]:
        child = await asyncio.create_subprocess_exec(
            *words,
            "--keep-days",
            "100",
            "--yes",
            env=environment | more,
            stdout=PIPE,
            stderr=STDOUT,
        )
        output, _ = await child.communicate()
        return child.returncode or 0, output.decode()

    code, output = await run(SHOUDAN_FAULTS="archive.written:exit")
    assert code == faults.EXIT_CODE, output
    assert await rows(harness, "oms_order_info") == 1
    code, output = await run()
    assert (code, "archived: 1" in output) == (0, True), output
    assert (await shown(harness, order)).archived.startswith("lot_")


async def test_an_archive_that_cannot_be_read_is_said_and_no_error_of_ours(
    harness: OrderHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await delivered(harness)
    await settled(harness, 1)
    await archived(harness, Place(str(tmp_path)))
    settings = harness.process.app.settings
    for address in ("", "no-such-store://x", str(tmp_path / "nothing")):
        with monkeypatch.context() as patch:
            changed = settings.model_copy(update={"archive": address})
            patch.setattr(harness.process.app, "settings", changed)
            with pytest.raises(aio.AioRpcError) as error:
                await shown(harness, order)
        assert refused_from_rpc(error.value).reason == "ERROR_REASON_ORDER_ARCHIVED", address


async def test_orders_made_while_their_keys_leave_are_never_made_twice(
    harness: OrderHarness, tmp_path: Path
) -> None:
    news = [harness.new() for _ in range(30)]
    first = {one.order.request_no: one.order.order_id for one in await harness.create(*news)}
    await settled(harness, 30)

    async def repeat() -> None:
        for _ in range(10):
            for one in await harness.create(*news):
                assert (one.existed, one.order.order_id) == (True, first[one.order.request_no])

    run = archived(harness, Place(str(tmp_path)), lot_rows=7, batch_rows=3)
    done, *_ = await asyncio.gather(run, repeat(), repeat())
    assert sum(one.gone for one in done) == 30
    await repeat()
    assert await rows(harness, "oms_order_info") == 0
