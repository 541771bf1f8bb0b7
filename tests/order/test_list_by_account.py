"""Promises: the orders of one account are found, sealed or in clear, however a phone is written, and each
page reads a bounded part of the table."""

from __future__ import annotations

from typing import Any

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_kit.db import pages
from shoudan_kit.db.text_statements import watched
from tests.order.harness import OrderHarness

PHONE, OTHER = "13912345678", "13912345679"
WRITTEN = (PHONE, "+86 139-1234-5678", "8613912345678")
MANY = 2 * pages.WALK_MAX + 500
OTHERS = """
INSERT INTO oms_order_info SELECT made.* FROM (
    SELECT o, n FROM oms_order_info o, generate_series(1, CAST(:many AS integer)) n
    WHERE o.order_id = :like) AS given,
    jsonb_populate_record(given.o, jsonb_build_object('order_id', (given.o).order_id + given.n,
        'request_no', 'more' || given.n)) AS made
"""


async def listed(harness: OrderHarness, account: str, **given: Any) -> list[pb.Order]:
    """All pages."""
    request, found = pb.ListOrdersRequest(account=account, **given), []
    while True:
        page = await harness.orders.ListOrders(request)
        found += page.orders
        if not page.next_page_token:
            return found
        assert page.next_page_token != request.page_token
        request.page_token = page.next_page_token


async def test_the_orders_of_an_account_are_listed_however_it_is_written(
    harness: OrderHarness,
) -> None:
    mine = [await harness.order(recharge_account=PHONE) for _ in range(3)]
    mine.append(await harness.order(recharge_account="+86 139-1234-5678"))
    await harness.order(recharge_account=OTHER)
    stored = await harness.sql("SELECT rechage_account FROM oms_order_info")
    assert all(row[0].startswith("~1~") and PHONE not in row[0] for row in stored)
    for account in WRITTEN:
        for size in (1, 2, 0):
            found = await listed(harness, account, page_size=size)
            assert [one.state.order_id for one in found] == mine[::-1]
    shown = [one.request.recharge_account for one in await listed(harness, PHONE)]
    assert all(one.startswith("~1~") for one in shown)  # nobody needs to read it here
    assert await listed(harness, PHONE, channel_no="another") == []
    assert len(await listed(harness, PHONE, channel_no="test")) == 4
    assert await listed(harness, "13900000000") == []
    assert await listed(harness, "~1~") == []


async def test_orders_that_lie_in_clear_are_listed_beside_sealed_ones(
    harness: OrderHarness,
) -> None:
    numbers = [await harness.order(recharge_account=PHONE) for _ in range(3)]
    clear = "UPDATE oms_order_info SET rechage_account = :text WHERE order_id = :id"
    await harness.sql(clear, text=PHONE, id=numbers[0])
    await harness.sql(clear, text="+86 139-1234-5678", id=numbers[1])
    assert [one.state.order_id for one in await listed(harness, PHONE)] == [numbers[2], numbers[0]]
    as_written = await listed(harness, "+86 139-1234-5678")
    assert [one.state.order_id for one in as_written] == numbers[::-1]


async def test_a_page_of_an_account_with_few_orders_among_many_reads_a_bounded_part(
    harness: OrderHarness,
) -> None:
    mine = await harness.order(recharge_account=PHONE)
    like = await harness.order(recharge_account=OTHER)
    await harness.sql(OTHERS, many=MANY, like=like)
    request, calls = pb.ListOrdersRequest(account=PHONE), 0
    seen: list[str] = []
    with watched(seen.append):
        page = await harness.orders.ListOrders(request)
    assert (len(page.orders), page.next_page_token != "") == (0, True)
    assert (
        sum("oms_order_info" in sql for sql in seen) == 1
    )  # the end of the walk, by the key alone
    while page.next_page_token and not page.orders:
        request.page_token, calls = page.next_page_token, calls + 1
        page = await harness.orders.ListOrders(request)
    assert [one.state.order_id for one in page.orders] == [mine]
    assert calls == MANY // pages.WALK_MAX
    most = await harness.orders.ListOrders(pb.ListOrdersRequest(account=OTHER, page_size=2**31 - 1))
    assert len(most.orders) == 1_000
