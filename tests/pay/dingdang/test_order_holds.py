"""Orders that a Dingdang trade pays: held when bound, released when paid, stopped when refunded."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc import aio

from shoudan.pay.v1 import platform_service_pb2 as pb
from tests.pay.payserver.harness import number
from tests.pay.platforms.harness import DOMAIN, PlatformsHarness
from tests.poll import eventually

LINKS = {"pay_url": "dingdang:", "refund_url": "dingdang:", "query_url": "dingdang:"}


@pytest.fixture(autouse=True)
async def partner(harness: PlatformsHarness) -> None:
    """A merchant whose orders are paid at the platform."""
    mode = await harness.payserver.mode(None, name="叮当", **LINKS)
    await harness.domain(pb.ROLE_PARTNER, mode.merchant_uuid)


async def paid_notice(harness: PlatformsHarness, trade_no: str) -> tuple[int, Any]:
    """The platform tells that a trade is paid."""
    members = {"transactionId": "DD1", "tradeNo": trade_no, "totalAmt": 100}
    return await harness.skill("/dingdang/pay/notify", members)


async def bound(harness: PlatformsHarness, request_no: str) -> pb.Trade:
    """A trade that pays an order of ours."""
    trade = pb.Trade(
        domain_id=DOMAIN,
        trade_no=number("t"),
        total_fen=100,
        channel_no="c",
        request_no=request_no,
    )
    answer = await harness.platform.BindTrade(pb.BindTradeRequest(trade=trade))
    return answer.trade


async def test_a_paid_notice_releases_the_bound_order_once(harness: PlatformsHarness) -> None:
    orders, request_no = harness.orders, number("q")
    trade = await bound(harness, request_no)
    assert orders.of(request_no) == [True]
    orders.away = 1  # the order service is asked again until it has heard it
    for _ in range(3):
        assert (await paid_notice(harness, trade.trade_no))[1]["retCode"] == "SUCCESS"

    async def failed_once() -> bool:
        return orders.away == 0

    await eventually(failed_once)
    due = "UPDATE task SET next_execute_time = now() WHERE name = 'dingdang.release' RETURNING task_id"

    async def released() -> bool:
        await harness.payserver.sql(due)  # instead of waiting for its interval
        return orders.of(request_no) == [True, False]

    await eventually(released, every_s=0.2)
    # A repeat of the binding does not hold what has been let go.
    again = pb.BindTradeRequest(trade=trade)
    assert (await harness.platform.BindTrade(again)).trade.state == pb.TRADE_STATE_SUCCESS
    assert orders.of(request_no) == [True, False]


async def test_a_refunded_trade_stops_its_order_however_late_that_is_heard(
    harness: PlatformsHarness,
) -> None:
    orders, request_no, back = harness.orders, number("q"), number("b")
    trade = await bound(harness, request_no)
    await paid_notice(harness, trade.trade_no)
    await eventually(lambda: orders.of(request_no) == [True, False])
    await harness.payserver.sql(
        "INSERT INTO dingdang_refund VALUES (:domain, :refund, :trade, 100, '', '', 'unknown',"
        " now(), now()) RETURNING 1",
        domain=DOMAIN,
        refund=back,
        trade=trade.trade_no,
    )
    orders.away = 1
    told = {
        "transactionId": "DD1",
        "tradeNo": trade.trade_no,
        "refundTransactionId": "DR1",
        "refundTradeNo": back,
        "totalAmt": 100,
        "refundAmt": 100,
        "refundStatus": "SUCCESS",
    }
    for _ in range(2):
        answer = await harness.skill("/dingdang/refund/notify", told)
        assert answer[1]["retCode"] == "SUCCESS"
    due = "UPDATE task SET next_execute_time = now() WHERE name = 'dingdang.release' RETURNING task_id"

    async def stopped() -> bool:
        await harness.payserver.sql(due)
        return orders.of(request_no) == [True, False, True]

    await eventually(stopped, every_s=0.2)


async def test_nothing_is_bound_when_the_order_is_not_held(harness: PlatformsHarness) -> None:
    with pytest.raises(aio.AioRpcError, match="ORDER_NOT_FOUND"):
        await bound(harness, "nobody")
    harness.orders.away = 1
    with pytest.raises(aio.AioRpcError, match="ORDERS_AWAY"):
        await bound(harness, number("q"))
    kept = await harness.payserver.sql(
        "SELECT count(*) FROM dingdang_trade WHERE request_no = 'nobody'"
    )
    assert kept == [(0,)]


async def test_a_shard_of_orders_that_is_away_is_no_refusal_and_is_asked_again(
    harness: PlatformsHarness,
) -> None:
    orders, request_no = harness.orders, number("q")
    orders.shard_away = 1
    with pytest.raises(aio.AioRpcError, match="ORDERS_AWAY") as no:
        await bound(harness, request_no)
    assert no.value.code() is grpc.StatusCode.UNAVAILABLE
    trade = await bound(harness, request_no)
    orders.shard_away = 1
    await paid_notice(harness, trade.trade_no)
    due = "UPDATE task SET next_execute_time = now() WHERE name = 'dingdang.release' RETURNING task_id"

    async def released() -> bool:
        await harness.payserver.sql(due)
        return orders.of(request_no) == [True, False]

    await eventually(released, every_s=0.2)
    assert orders.shard_away == 0


async def test_a_pay_is_paid_by_one_trade(harness: PlatformsHarness) -> None:
    pay, request_no = number("P")[-9:], number("q")
    trade = pb.Trade(domain_id=DOMAIN, trade_no=number("t"), total_fen=100, pay_traction_no=pay)
    await harness.platform.BindTrade(pb.BindTradeRequest(trade=trade))
    trade.trade_no = number("t")
    trade.channel_no, trade.request_no = "c", request_no
    with pytest.raises(aio.AioRpcError, match="FIELD_INVALID") as raised:
        await harness.platform.BindTrade(pb.BindTradeRequest(trade=trade))
    assert "pay_traction_no" in str(raised.value.details())
    assert harness.orders.of(request_no) == []  # refused before its order is held


async def test_a_bound_trade_is_bound_to_one_content(harness: PlatformsHarness) -> None:
    trade = pb.Trade(domain_id=DOMAIN, trade_no=number("t"), total_fen=100)
    for _ in range(2):
        await harness.platform.BindTrade(pb.BindTradeRequest(trade=trade))
    trade.total_fen = 101
    with pytest.raises(Exception, match="TRADE_DIFFERS"):
        await harness.platform.BindTrade(pb.BindTradeRequest(trade=trade))
