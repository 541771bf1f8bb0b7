"""What waits for a person about other platforms: refunds at ChinaUMS, notices to partners of Dingdang."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import aio

from shoudan.core.v1 import work_service_pb2 as work
from shoudan.core.v1 import work_service_pb2_grpc as stubs
from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan_fakes.chinaums import Script
from shoudan_kit import metrics
from shoudan_kit.tasks.open_work import gauge
from tests.pay.payserver.harness import number
from tests.pay.platforms.harness import DOMAIN, PlatformsHarness
from tests.poll import eventually

DESK = {"notice_count_max": 1}
LINKS = {"pay_url": "dingdang:", "refund_url": "dingdang:", "query_url": "dingdang:"}


async def call(harness: PlatformsHarness, rpc: str, request: Any) -> Any:
    async with aio.insecure_channel(f"127.0.0.1:{harness.payserver.pay.port}") as channel:
        return await getattr(stubs.WorkServiceStub(channel), rpc)(request)


async def waiting(harness: PlatformsHarness, kind: str, key: str) -> work.OpenWork | None:
    found = await call(harness, "ListOpenWork", work.ListOpenWorkRequest(kinds=[kind], key=key))
    return found.items[0] if found.items else None


async def decide(harness: PlatformsHarness, item: work.OpenWork, decision: str) -> None:
    request = work.DecideWorkRequest(
        kind=item.kind, key=item.key, decision=decision, by="li", reason="by phone"
    )
    await call(harness, "DecideWork", request)


async def fail_tasks(harness: PlatformsHarness, traction: str) -> None:
    """A day has passed: nothing asks any more."""
    await harness.payserver.sql(
        "UPDATE task SET status = 90, delete_time = now() + interval '30 days'"
        " WHERE order_no = :n AND name = 'chinaums.ask'",
        n=traction,
    )


async def forgotten(harness: PlatformsHarness, traction: str) -> work.OpenWork:
    """The item of a refund that is not asked about any more."""
    found: list[work.OpenWork] = []

    async def listed() -> bool:
        await fail_tasks(harness, traction)
        item = await waiting(harness, "ums_refund", traction)
        found.extend([item] if item is not None else [])
        return item is not None

    await eventually(listed)
    return found[-1]


@pytest.mark.parametrize(
    ("decision", "status", "theirs"),
    [("success", "refunded", "success"), ("failed", "refundFailed", "fail")],
)
async def test_a_refund_chinaums_is_not_asked_about_any_more_waits_and_ends_by_decision(
    harness: PlatformsHarness, decision: str, status: str, theirs: str
) -> None:
    mode = await harness.union_pay()
    await harness.app(mode.merchant_uuid)
    harness.ums.script = Script(questions=1_000_000)
    refund = await harness.refund(await harness.paid(mode, payAmount=100))
    harness.ums.script = Script()
    traction = refund["tractionNo"]
    assert await waiting(harness, "ums_refund", traction) is None
    item = await forgotten(harness, traction)
    assert (item.amount_micros, item.state) == (1_000_000, "processing")
    assert list(item.decisions) == ["retry", "success", "failed"]
    await decide(harness, item, "retry")
    rows = await harness.payserver.sql(
        "SELECT 1 FROM task WHERE order_no = :n AND name = 'chinaums.ask' AND status IN (20, 30)",
        n=traction,
    )
    assert len(rows) == 1
    assert await waiting(harness, "ums_refund", traction) is None
    item = await forgotten(harness, traction)
    await decide(harness, item, decision)
    assert await harness.status("refund_order", "traction_no", traction) == status
    assert await harness.status("ums_refund", "traction_no", traction) == theirs
    assert await waiting(harness, "ums_refund", traction) is None


async def test_a_given_up_notice_waits_and_is_sent_again_or_dropped(
    harness: PlatformsHarness,
) -> None:
    mode = await harness.payserver.component_mode()
    domain = number("d")
    nowhere = {"paid_url": "http://127.0.0.1:1/notify", "refunded_url": ""}
    await harness.domain(pb.ROLE_PLATFORM, mode.merchant_uuid, domain_id=domain, **nowhere)
    pay = await harness.paid(mode, payAmount=100)

    async def notice() -> tuple[str, str]:
        rows = await harness.payserver.sql(
            "SELECT notice_id, status FROM dingdang_notice WHERE traction_no = :n",
            n=pay["tractionNo"],
        )
        return str(rows[0][0]), rows[0][1]

    async def given_up() -> bool:
        return (await notice())[1] == "given_up"

    for decision in ("retry", "drop"):
        await eventually(given_up)
        item = await waiting(harness, "notice", (await notice())[0])
        assert item is not None
        assert item.reason == "given up after 1 attempts"
        assert pay["tractionNo"] in item.evidence
        assert list(item.decisions) == ["retry", "drop"]
        await decide(harness, item, decision)
    assert (await notice())[1] == "dropped"
    assert await waiting(harness, "notice", item.key) is None


async def order_trade(harness: PlatformsHarness) -> pb.Trade:
    """A trade that pays an order and no pay of ours."""
    mode = await harness.payserver.mode(None, name="叮当", **LINKS)
    await harness.domain(pb.ROLE_PARTNER, mode.merchant_uuid)
    trade = pb.Trade(
        domain_id=DOMAIN,
        trade_no=number("t"),
        total_fen=100,
        channel_no="c",
        request_no=number("q"),
    )
    await harness.platform.BindTrade(pb.BindTradeRequest(trade=trade))
    return trade


async def paid_notice(harness: PlatformsHarness, trade: pb.Trade, **changes: Any) -> str:
    members = {"transactionId": "DD1", "tradeNo": trade.trade_no, "totalAmt": 100} | changes
    return (await harness.skill("/dingdang/pay/notify", members))[1]["retCode"]


async def trade_item(harness: PlatformsHarness, trade: pb.Trade) -> work.OpenWork | None:
    return await waiting(harness, "trade", f"{trade.domain_id}:{trade.trade_no}")


@pytest.mark.parametrize(
    ("decision", "status", "paused"),
    [("success", "success", [True, False]), ("failed", "fail", [True])],
)
async def test_a_trade_of_an_order_told_another_amount_waits_and_ends_by_decision(
    harness: PlatformsHarness, decision: str, status: str, paused: list[bool]
) -> None:
    trade = await order_trade(harness)
    assert await trade_item(harness, trade) is None
    for _ in range(2):
        assert await paid_notice(harness, trade, totalAmt=99) == "FAIL"
    item = await trade_item(harness, trade)
    assert item is not None
    assert item.reason == "was told totalAmt 99 分 for 100 分: not booked"
    assert (item.state, item.amount_micros) == ("notpay", 1_000_000)
    assert f"pays order {trade.request_no} of c" in item.evidence
    assert list(item.decisions) == ["success", "failed"]
    await gauge(harness.payserver.pay.running.open_work, harness.payserver.pay.app.clock)
    assert 'shoudan_open_work{kind="trade"} 1.0' in metrics.exposition().decode()
    await decide(harness, item, decision)
    assert await trade_item(harness, trade) is None
    assert await harness.status("dingdang_trade", "trade_no", trade.trade_no) == status
    await eventually(lambda: harness.orders.of(trade.request_no) == paused)
    await decide(harness, item, decision)  # a repeat is answered
    if decision == "failed":
        # Paid all the same: contradicted, and no decision makes it another end.
        assert await paid_notice(harness, trade) == "SUCCESS"
        item = await trade_item(harness, trade)
        assert item is not None
        assert (item.reason, list(item.decisions)) == (
            "is fail, and was reported as success",
            ["keep"],
        )
        await decide(harness, item, "keep")
        assert await trade_item(harness, trade) is None


async def test_a_trade_of_an_order_that_waits_ends_by_a_right_notice(
    harness: PlatformsHarness,
) -> None:
    trade = await order_trade(harness)
    assert await paid_notice(harness, trade, totalAmt=99) == "FAIL"
    assert await paid_notice(harness, trade) == "SUCCESS"
    assert await trade_item(harness, trade) is None
    # Paid a second time: another transaction of the same trade.
    assert await paid_notice(harness, trade, transactionId="DD2") == "FAIL"
    item = await trade_item(harness, trade)
    assert item is not None
    assert item.reason == "was told transactionId DD2 beside DD1: not booked"
    await decide(harness, item, "keep")
    assert await trade_item(harness, trade) is None


async def test_a_trade_paid_for_an_order_that_has_failed_waits(harness: PlatformsHarness) -> None:
    trade = await order_trade(harness)
    harness.orders.failed.add(trade.request_no)
    assert await paid_notice(harness, trade) == "SUCCESS"
    found: list[work.OpenWork] = []

    async def waits() -> bool:
        item = await trade_item(harness, trade)
        found.extend([item] if item is not None else [])
        return item is not None

    await eventually(waits)
    assert found[0].reason == f"is paid, but order {trade.request_no} of c has failed"
    await decide(harness, found[0], "keep")
    assert await trade_item(harness, trade) is None
