"""The request log is read as it was stored, page by page, and forgotten after its days."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from typer.testing import CliRunner

from shoudan.order.v1 import request_log_service_pb2 as pb
from shoudan.order.v1.request_log_service_pb2_grpc import RequestLogServiceStub
from shoudan_order import request_commands, request_log
from shoudan_order.store import request_log as store
from tests.order.harness import OrderHarness

NOW = datetime.now(UTC).replace(microsecond=0)
PARTY = "channel test"


@pytest.fixture
async def log(harness: OrderHarness) -> AsyncIterator[Any]:
    """The request log of the harness."""
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        yield RequestLogServiceStub(channel)


def stamp(moment: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def record(at: datetime, number: int, **more: Any) -> dict[str, Any]:
    facts = {"t": int(at.timestamp() * 1000), "id": f"id{number}", "m": "GET", "p": "/order/query"}
    return facts | {"s": 200, "ms": 7, "ip": "127.0.0.1", "ok": True} | more


def block(records: list[dict[str, Any]], lost: int = 0, party: str = PARTY) -> pb.RequestBlock:
    last = max(one["t"] for one in records)
    return pb.RequestBlock(
        party=party,
        block_no=(last << request_log.SHIFT) + 5,
        record_count=len(records),
        lost_count=lost,
        data=zlib.compress(json.dumps(records).encode()),
    )


def wanted(**more: Any) -> pb.ListRequestsRequest:
    hour = timedelta(hours=1)
    facts = {"party": PARTY, "start_time": stamp(NOW - hour), "end_time": stamp(NOW + hour)}
    return pb.ListRequestsRequest(**(facts | more))


async def all_of(log: Any, request: pb.ListRequestsRequest) -> tuple[list[str], int, int]:
    """Ids of all pages, what was lost, and how many pages there were."""
    ids: list[str] = []
    lost = pages = 0
    while True:
        page = await log.ListRequests(request)
        ids += [one.request_id for one in page.requests]
        lost, pages = lost + page.lost_count, pages + 1
        request.page_token = page.next_page_token
        if not request.page_token:
            return ids, lost, pages


async def keep(log: Any, *blocks: pb.RequestBlock) -> None:
    await log.StoreRequestBlocks(pb.StoreRequestBlocksRequest(blocks=blocks))


async def test_pages_hold_every_request_once_and_every_loss_once(log: Any) -> None:
    blocks = [
        block([record(NOW + timedelta(seconds=at), at * 10 + i) for i in range(3)], lost=at)
        for at in range(4)
    ]
    await keep(log, *blocks)
    await keep(log, *blocks)  # as after an answer that was lost
    ids, lost, pages = await all_of(log, wanted(page_size=5))
    assert ids == [f"id{at * 10 + i}" for at in range(4) for i in range(3)]
    assert (lost, pages) == (0 + 1 + 2 + 3, 3)
    # Nor is it said twice by pages that end where blocks do.
    assert [(await all_of(log, wanted(page_size=size)))[:2] for size in (3, 6, 2)] == [(ids, 6)] * 3


async def test_a_page_reads_so_many_blocks_and_says_where_it_goes_on(
    log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_log, "BLOCKS_MAX", 2)
    await keep(log, *(block([record(NOW + timedelta(seconds=at), at)]) for at in range(5)))
    ids, _, pages = await all_of(log, wanted(request_id="id4"))
    assert (ids, pages) == (["id4"], 3)


async def test_a_request_is_shown_as_it_was_noted(log: Any) -> None:
    params = {"request_no": "r1", "sign": "***"}
    await keep(log, block([record(NOW, 1, s=403, c="SIGN_WRONG", ok=False, q=params)]))
    (one,) = (await log.ListRequests(wanted())).requests
    assert (one.request_id, one.method, one.path) == ("id1", "GET", "/order/query")
    assert (one.http_status, one.error_code, one.admitted) == (403, "SIGN_WRONG", False)
    assert (one.took_ms, one.remote_ip, dict(one.params)) == (7, "127.0.0.1", params)
    assert one.time.ToDatetime(UTC) == NOW


async def test_period_party_and_errors_choose(log: Any) -> None:
    second = timedelta(seconds=1)
    await keep(
        log,
        block([record(NOW - second, 0), record(NOW, 1), record(NOW + second, 2, s=406, c="X")]),
        block([record(NOW, 3)], party="channel other"),
    )
    inside = wanted(start_time=stamp(NOW), end_time=stamp(NOW + second))
    assert (await all_of(log, inside))[0] == ["id1"]
    assert (await all_of(log, wanted(failed=True)))[0] == ["id2"]
    assert (await all_of(log, wanted(party="channel other")))[0] == ["id3"]


async def test_a_block_that_cannot_be_read_hides_no_other(log: Any) -> None:
    broken = pb.RequestBlock(
        party=PARTY, block_no=int(NOW.timestamp() * 1000) << request_log.SHIFT, data=b"no zlib"
    )
    await keep(log, broken, block([record(NOW + timedelta(seconds=1), 1)]))
    assert (await all_of(log, wanted()))[0] == ["id1"]


@pytest.mark.parametrize(
    "request_",
    [
        wanted(end_time=stamp(NOW - timedelta(hours=2))),
        wanted(start_time=stamp(NOW - timedelta(days=40))),
        wanted(start_time=None),
        wanted(page_token="7"),
        wanted(page_token=f"{2**63}-0"),
        wanted(page_size=-1),
        wanted(party="a\0b"),
    ],
)
async def test_what_has_no_bounds_is_refused(log: Any, request_: pb.ListRequestsRequest) -> None:
    with pytest.raises(grpc.RpcError, match="ERROR_REASON_FIELD_INVALID"):
        await log.ListRequests(request_)


@pytest.mark.parametrize(
    "changes", [{"block_no": 0}, {"record_count": 2_001}, {"data": b"x" * (2**20 + 1)}]
)
async def test_a_block_out_of_bounds_is_refused(log: Any, changes: dict[str, Any]) -> None:
    facts = {"party": PARTY, "block_no": 1, "record_count": 1, "data": b""}
    with pytest.raises(grpc.RpcError, match="ERROR_REASON_FIELD_INVALID"):
        await keep(log, pb.RequestBlock(**(facts | changes)))


async def test_blocks_are_forgotten_after_their_days_and_no_earlier(
    harness: OrderHarness, log: Any
) -> None:
    await keep(log, *(block([record(NOW + timedelta(seconds=at), at)]) for at in range(2)))
    days = harness.context.settings.request_log_keep_days
    await harness.sql(
        "UPDATE oms_request_block SET create_time = shoudan_now() - make_interval(days => :days)"
        " WHERE block_no = (SELECT min(block_no) FROM oms_request_block)",
        days=days,
    )
    async with harness.context.app.work("test.forget") as work:
        assert not await store.forget(work.db, days)
    assert (await all_of(log, wanted()))[0] == ["id1"]


async def test_the_command_shows_them(harness: OrderHarness, log: Any) -> None:
    await keep(log, block([record(NOW - timedelta(minutes=1), 1, c="X", s=406)], lost=3))
    target = f"127.0.0.1:{harness.process.port}"
    args = ["ls", PARTY, "--target", target]

    async def shown(*more: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, request_commands.app, [*args, *more])

    plain, as_json = await shown(), await shown("--json", "--id", "id1", "--failed")
    assert (plain.exit_code, as_json.exit_code) == (0, 0)
    assert "GET /order/query  406 X  7 ms" in plain.output
    assert "3 more were lost" in plain.output
    assert json.loads(as_json.output.splitlines()[0])["request_id"] == "id1"
    assert "no such request" in (await shown("--id", "nope")).output


def counted(number: int, **calls: int) -> pb.RequestBlock:
    """A block of today whose calls are counted, by version."""
    made = block([record(NOW, number)])
    made.block_no += number
    made.calls.extend(
        pb.CallCount(protocol="channel", call="/order/query", version=version, count=count)
        for version, count in calls.items()
    )
    return made


async def usage_of(log: Any, **more: Any) -> list[tuple[str, str, str, int]]:
    """All pages of who called what."""
    found: list[tuple[str, str, str, int]] = []
    request = pb.ListUsageRequest(**({"days": 1} | more))
    while True:
        page = await log.ListUsage(request)
        found += [(one.party, one.call, one.version, one.count) for one in page.usage]
        request.page_token = page.next_page_token
        if not request.page_token:
            return found


async def test_calls_are_counted_once_for_each_block(log: Any, harness: OrderHarness) -> None:
    first, second = counted(1, **{"0": 3, "2026-12-01": 2}), counted(2, **{"0": 4})
    await keep(log, first)
    await keep(log, first, second)
    await keep(log, second)
    by_version = [(PARTY, "/order/query", "0", 7), (PARTY, "/order/query", "2026-12-01", 2)]
    assert await usage_of(log) == by_version
    assert await usage_of(log, page_size=1) == by_version
    assert await usage_of(log, party=PARTY) == by_version
    assert await usage_of(log, party="channel other") == []
    target = ("--target", f"127.0.0.1:{harness.process.port}")
    args = ["usage", "--version", "2026-12-01", *target]
    shown = await asyncio.to_thread(CliRunner().invoke, request_commands.app, args)
    assert "channel test  channel /order/query  version 2026-12-01  2 times" in shown.output
    await harness.sql("UPDATE oms_call_day SET day = day - 91")
    async with harness.context.app.work("t") as work:
        before = (NOW - timedelta(days=90)).date()
        assert await store.forget_days(work.db, before) is False
    assert await usage_of(log, days=90) == []


@pytest.mark.parametrize(
    "more", [{"days": 0}, {"days": 91}, {"page_token": "x"}, {"page_size": -1}]
)
async def test_a_list_of_usage_that_is_none_is_refused(log: Any, more: dict[str, Any]) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await log.ListUsage(pb.ListUsageRequest(**({"days": 1} | more)))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("calls", [{"": 1}, {"0": 0}, {"0": 2_001}])
async def test_a_count_that_is_none_is_refused(log: Any, calls: dict[str, int]) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await keep(log, counted(1, **calls))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
