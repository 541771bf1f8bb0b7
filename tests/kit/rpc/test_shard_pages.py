"""Promises: a list over shards has every item once and in order, wherever it lies, however its pages end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoudan.core.v1 import audit_log_service_pb2 as audit_pb
from shoudan.core.v1 import operations_service_pb2 as pb
from shoudan.core.v1 import proposal_service_pb2 as proposal_pb
from shoudan.core.v1 import shards_pb2, work_service_pb2
from shoudan.delivery.v1 import card_service_pb2 as card_pb
from shoudan.erp.v1 import erp_service_pb2 as erp_pb
from shoudan.order.v1 import audit_service_pb2 as audit_calls_pb
from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan.pay.v1 import ledger_service_pb2 as ledger_pb
from shoudan_kit.ids import EPOCH, first_of
from shoudan_kit.rpc.shard_pages import TokenInvalid, joined, lines, page, stream
from shoudan_kit.rpc.shard_router import NotForShards, Router
from shoudan_kit.rpc.shard_routes import Route, read_route, route_of

TASKS = route_of("shoudan.core.v1.OperationsService", "ListTasks")
WORK = route_of("shoudan.core.v1.WorkService", "ListOpenWork")
COUNTED = route_of("shoudan.core.v1.OperationsService", "RetryTasks")
EXPORT = route_of("shoudan.core.v1.AuditLogService", "ExportAuditLog")
REPORT = route_of("shoudan.order.v1.AuditService", "Report")
ACCOUNTS = route_of("shoudan.pay.v1.LedgerService", "ListAccounts")
DAYS = route_of("shoudan.pay.v1.LedgerService", "ListLedgerDays")
SHARDS = st.lists(st.sets(st.integers(1, 60)), min_size=1, max_size=4).map(
    lambda sets: [sorted(one - set().union(*sets[:n])) for n, one in enumerate(sets)]
)


def tasks_of(shards: Sequence[Sequence[int]], looked_at_max: int) -> Any:
    """Shards as services answer: a page looks at so many rows, so that it may be short, or empty."""

    async def ask(shard: int, request: pb.ListTasksRequest) -> pb.ListTasksResponse:
        after = int(request.page_token or 0)
        reached = after + looked_at_max
        rows = [one for one in shards[shard] if after < one <= reached][: request.page_size]
        full = len(rows) == request.page_size
        token = rows[-1] if full and rows else reached
        more = any(one > token for one in shards[shard])
        return pb.ListTasksResponse(
            tasks=[pb.Task(task_id=one) for one in rows], next_page_token=str(token) if more else ""
        )

    return ask


async def walk(route: Route | None, request: Any, shards: int, ask: Any) -> list[Any]:
    """Every page of a list."""
    assert route is not None
    pages: list[Any] = []
    for _ in range(500):
        pages.append(await page(route, request, shards, ask))
        request.page_token = pages[-1].next_page_token
        if not request.page_token:
            return pages
    raise AssertionError("the list has no end")


@given(shards=SHARDS, size=st.integers(1, 9), looked_at_max=st.integers(1, 30))
async def test_every_item_comes_once_and_in_order(shards, size, looked_at_max):
    ask = tasks_of(shards, looked_at_max)
    pages = await walk(TASKS, pb.ListTasksRequest(page_size=size), len(shards), ask)
    assert [one.task_id for each in pages for one in each.tasks] == sorted(
        one for shard in shards for one in shard
    )
    assert all(len(each.tasks) <= size for each in pages)


@given(shards=SHARDS, size=st.integers(1, 9))
async def test_without_an_order_one_shard_is_listed_after_the_other(shards, size):
    async def ask(shard: int, request: Any) -> Any:
        after = int(request.page_token or 0)
        rows = [one for one in shards[shard] if one > after][: request.page_size]
        more = rows and rows[-1] != shards[shard][-1]
        items = [work_service_pb2.OpenWork(key=str(one)) for one in rows]
        return work_service_pb2.ListOpenWorkResponse(
            items=items, next_page_token=str(rows[-1]) if more else "", kinds=["a", "b"]
        )

    request = work_service_pb2.ListOpenWorkRequest(page_size=size)
    pages = await walk(WORK, request, len(shards), ask)
    keys = [int(one.key) for each in pages for one in each.items]
    assert keys == [one for shard in shards for one in shard]
    assert all(list(each.kinds) == ["a", "b"] for each in pages)
    assert all(len(each.items) == size for each in pages[:-1])


def numbered(shards: Sequence[Sequence[int]]) -> Any:
    """Shards as the ledger lists its accounts: by number from an offset, or behind a token."""

    async def ask(shard: int, request: ledger_pb.ListAccountsRequest) -> Any:
        if request.offset >= 2**31:
            raise ValueError("too far")
        rows = [one for one in shards[shard] if one > int(request.page_token or 0)]
        rows = rows[0 if request.page_token else request.offset :]
        size = min(request.page_size, 7)  # a page may be short
        more = len(rows) > size
        return ledger_pb.ListAccountsResponse(
            accounts=[ledger_pb.Account(account_id=one) for one in rows[:size]],
            next_page_token=str(rows[size - 1]) if more else "",
            count=0 if request.page_token else len(shards[shard]),
        )

    return ask


@given(shards=SHARDS, size=st.integers(1, 9), offset=st.integers(0, 12))
async def test_a_page_by_number_is_that_of_the_whole_list(shards, size, offset):
    whole = sorted(one for shard in shards for one in shard)
    request = ledger_pb.ListAccountsRequest(page_size=size, offset=offset)
    assert ACCOUNTS is not None
    found = await page(ACCOUNTS, request, len(shards), numbered(shards))
    ids = [one.account_id for one in found.accounts]
    assert ids == whole[offset : offset + size]
    assert found.count == len(whole)


@pytest.mark.parametrize("offset", [200, 100_001])
async def test_a_page_by_number_that_is_too_far_is_refused_by_the_service(offset):
    many = [list(range(1, 300)), [500]]
    request = ledger_pb.ListAccountsRequest(page_size=1, offset=offset)
    assert ACCOUNTS is not None
    with pytest.raises(ValueError, match="too far"):
        await page(ACCOUNTS, request, 2, numbered(many))


DAYS_OF = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=4)


@given(shards=DAYS_OF, size=st.integers(1, 4))
async def test_days_are_given_when_every_shard_has_them_and_their_numbers_added(shards, size):
    """Each shard has the days from its first one on, as many as it has closed."""
    known = [[f"2026-01-{first + n:02}" for n in range(count)] for first, count in shards]

    async def ask(shard: int, request: ledger_pb.ListLedgerDaysRequest) -> Any:
        rows = [one for one in known[shard] if one > request.page_token]
        days = [ledger_pb.LedgerDay(day=one, accounts=shard + 1) for one in rows[:size]]
        for one in days:
            one.create_time.seconds = 100 + shard
        token = rows[size - 1] if len(rows) > size else ""
        return ledger_pb.ListLedgerDaysResponse(days=days, next_page_token=token)

    assert DAYS is not None
    found, request = list[Any](), ledger_pb.ListLedgerDaysRequest(page_size=size)
    for _ in range(50):
        answer = await joined(DAYS, request, len(shards), ask)
        found += answer.days
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    end = min((one[-1] if one else "" for one in known), default="")
    wanted = sorted({one for shard in known for one in shard if one <= end})
    assert [one.day for one in found] == wanted
    for one in found:
        those = [shard for shard, days in enumerate(known) if one.day in days]
        assert one.accounts == sum(shard + 1 for shard in those)
        assert one.create_time.seconds == 100 + max(those)


@given(counts=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=4))
async def test_counts_are_added_page_by_page(counts):
    async def ask(shard: int, request: Any) -> Any:
        place = int(request.page_token or 0)
        more = place + 1 < len(counts[shard])
        return pb.RetryTasksResponse(
            count=counts[shard][place], next_page_token=str(place + 1) if more else ""
        )

    pages = await walk(COUNTED, pb.RetryTasksRequest(failed_name="a"), len(counts), ask)
    assert sum(one.count for one in pages) == sum(sum(one) for one in counts)


@given(shards=SHARDS, at_once=st.integers(1, 7))
async def test_streams_are_merged_in_order(shards, at_once):
    async def rows(numbers: Sequence[int]) -> AsyncIterator[Any]:
        yield audit_pb.ExportAuditLogResponse()  # a message may have no rows
        for n in range(0, len(numbers), at_once):
            some = [audit_pb.AuditLogRow(id=one) for one in numbers[n : n + at_once]]
            yield audit_pb.ExportAuditLogResponse(rows=some)

    assert EXPORT is not None
    streams: Mapping[int, AsyncIterator[Any]] = {n: rows(one) for n, one in enumerate(shards)}
    found = [row.id async for message in stream(EXPORT, streams) for row in message.rows]
    assert found == sorted(one for shard in shards for one in shard)


@pytest.mark.parametrize(
    "token", ["x", "!", "W10", "W1swLCJhIl0sWzAsImEiXV0", "W1s3LCJhIl1d", "e30"]
)
async def test_a_token_that_is_not_ours_is_refused(token):
    assert TASKS is not None
    with pytest.raises(TokenInvalid):
        await page(TASKS, pb.ListTasksRequest(page_token=token), 2, tasks_of([[1], [2]], 5))


async def test_a_page_size_out_of_bounds_is_refused_in_the_services_words():
    async def ask(shard: int, request: Any) -> Any:
        return (shard, request.page_size, request.page_token)

    assert TASKS is not None
    assert await page(TASKS, pb.ListTasksRequest(page_size=1_001), 2, ask) == (0, 1_001, "")


WRONG = [
    (shards_pb2.Shards(), "names no shard"),
    (shards_pb2.Shards(key=["customer"]), "customer"),
    (shards_pb2.Shards(shard="which"), "which"),
    (shards_pb2.Shards(key=["filter.sender"], order=["nobody"], all=True), "nobody"),
    (shards_pb2.Shards(items="filter", key=["sender"], results="x"), "results is not a repeated"),
]


@pytest.mark.parametrize(("said", "why"), WRONG)
def test_an_option_that_cannot_be_so_is_refused(said, why):
    request, response = erp_pb.SearchTradesRequest, erp_pb.SearchTradesResponse
    with pytest.raises((KeyError, ValueError), match=why):
        read_route(said, request.DESCRIPTOR, response.DESCRIPTOR)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (shards_pb2.Shards(all=True, order=["unreadable"]), "neither a number, digits nor a time"),
        (shards_pb2.Shards(items="order_id"), "neither messages nor numbers"),
    ],
)
def test_an_option_of_a_list_that_cannot_be_so_is_refused(said, why):
    request, response = card_pb.ListCardsRequest, card_pb.ListCardsResponse
    with pytest.raises((KeyError, ValueError), match=why):
        read_route(said, request.DESCRIPTOR, response.DESCRIPTOR)


async def test_a_method_of_which_the_contract_says_no_shard_is_refused():
    served: dict[str, Any] = {}
    server = SimpleNamespace(add_registered_method_handlers=lambda _, found: served.update(found))
    router = Router(2)
    do = {"Do": grpc.unary_unary_rpc_method_handler(None)}
    router.add(0, [lambda capture: capture.add_registered_method_handlers("any.v1.Any", do)])
    router.register(server)
    with pytest.raises(NotForShards) as refused:
        await served["Do"].unary_unary(None, None)
    assert refused.value.reason == "ERROR_REASON_NOT_FOR_SHARDS"


def test_a_call_is_in_the_shard_of_the_call_that_stands_in_it():
    propose = route_of("shoudan.core.v1.ProposalService", "Propose")
    assert propose is not None
    inner = audit_calls_pb.DecideAuditRequest(
        audit_id=first_of(EPOCH + timedelta(days=2_000)) | 2 << 18
    )
    method = "shoudan.order.v1.AuditService/DecideAudit"
    asked = proposal_pb.ProposeRequest(method=method, request=inner.SerializeToString())
    assert propose.shard(asked, 4) == 2
    for wrong in (
        proposal_pb.ProposeRequest(method="nobody/Nothing"),
        proposal_pb.ProposeRequest(method=method, request=b"\xff"),
        proposal_pb.ProposeRequest(),
    ):
        assert propose.shard(wrong, 4) == 0


def test_a_number_goes_before_a_key_and_a_key_is_taken_without_one():
    get = route_of("shoudan.order.v1.OrderService", "GetOrder")
    assert get is not None
    key = order_pb.OrderKey(channel_no="BudweiserTmall")
    made = first_of(EPOCH + timedelta(days=2_000)) | 3 << 18
    number = order_pb.GetOrderRequest(order_id=made, key=key)
    assert (get.shard(number, 16), get.shard(order_pb.GetOrderRequest(key=key), 16)) == (3, 4)


@given(shards=st.lists(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9)), max_size=4))
async def test_lines_that_are_alike_are_added_and_none_is_lost(shards):
    async def report(given: Mapping[str, int]) -> AsyncIterator[Any]:
        for label, count in sorted(given.items()):
            sums = {"profit_micros": -count, "face_micros": 10 * count}
            yield audit_calls_pb.ReportResponse(
                labels={"line_id": label}, count=count, sums_micros=sums
            )

    assert REPORT is not None
    streams = {n: report(one) for n, one in enumerate(shards)}
    found = [one async for one in lines(REPORT, streams)]
    names = [one.labels["line_id"] for one in found]
    assert names == sorted({name for one in shards for name in one})
    for one in found:
        count = sum(shard.get(one.labels["line_id"], 0) for shard in shards)
        assert one.count == count
        assert one.sums_micros == {"profit_micros": -count, "face_micros": 10 * count}
