"""Every example of ChinaUMS (003) and Dingdang (004) over HTTP, by the running gateway and pay service."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan_pay.chinaums.protocol import Detail
from tests.conformance import Matching, body_of, cases, header_of
from tests.pay.payserver.harness import number
from tests.pay.platforms.harness import DOMAIN, PlatformsHarness

CASES = cases("003", "004")
# The examples were signed in 2017 and 2022.
DESK = {"ums_window_s": 20 * 365 * 86_400, "dingdang_window_s": 20 * 365 * 86_400}
PAY_NO, REFUND_NO = "124S2023071980881897", "124S2023071980959975"
TRADE, REFUND_TRADE = "T201806220001", "R201806220001"
TRANSACTION, REFUND_TRANSACTION = "DD201806220000000001", "DR201806220000000001"
TOLD = Detail(
    merchant_contribute_fen=500,
    other_contribute_fen=600,
    refund_target_order_id="50101606602023071990193380315",
    seq_id="35316064757N",
    settle_ref_id="35316064757N",
    target_order_id="50101006412023071920552876171",
    target_sys="WXPay",
    target_status="SUCCESS|SUCCESS",
    target_mid="2088510790622400",
    refund_funds="现金:12400",
    refund_funds_desc="现金退款124.00元",
    pay_time="2022-04-15 10:47:59",
    settle_date="2022-04-15",
    refund_invoice_fen=12_400,
    yxlm_fen=500,
    send_back_fen=600,
)


async def play(harness: PlatformsHarness, name: str, path: str = "") -> None:
    """Send the example as it stands and compare the answer."""
    case = CASES[name]
    status, answer = await harness.send(path or case["path"], body_of(name), header_of(name))
    assert status == case["expect"]["status"], answer
    assert Matching().unfit(case["expect"]["json"], answer) == []


@pytest.fixture(scope="module")
async def cash_desk(harness: PlatformsHarness) -> PlatformsHarness:
    """The refund of the example, as ChinaUMS has told of it."""
    mode = await harness.union_pay()
    await harness.app(mode.merchant_uuid)
    pay = await harness.paid(mode, payAmount=12_400, clientPayNo=PAY_NO)
    refund = await harness.refund(pay, clientRefundNo=REFUND_NO)
    await harness.becomes("refund_order", "client_refund_no", REFUND_NO, "refunded")
    await harness.payserver.sql(
        "UPDATE ums_refund SET detail = :detail WHERE traction_no = :number RETURNING traction_no",
        detail=msgspec.json.encode(TOLD).decode(),
        number=refund["tractionNo"],
    )
    return harness


async def test_003_refund_query(cash_desk: PlatformsHarness) -> None:
    await play(cash_desk, "003-refund-query")


async def test_003_refund_query_badsig(cash_desk: PlatformsHarness) -> None:
    await play(cash_desk, "003-refund-query-badsig")


@pytest.fixture(scope="module")
async def partner(harness: PlatformsHarness) -> PlatformsHarness:
    """The order of the example, unpaid, bound by a partner of Dingdang, with a refund asked for."""
    await harness.domain(pb.ROLE_PARTNER, number("m"))
    trade = pb.Trade(
        domain_id=DOMAIN, trade_no=TRADE, total_fen=100, channel_no="c", request_no="1"
    )
    await harness.platform.BindTrade(pb.BindTradeRequest(trade=trade))
    await harness.payserver.sql(
        "INSERT INTO dingdang_refund (domain_id, refund_trade_no, trade_no, refund_fen, traction_no,"
        " refund_transaction_id, status, create_time, modify_time) VALUES"
        " (:domain, :number, :trade, 40, '', '', 'processing', now(), now()) RETURNING trade_no",
        domain=DOMAIN,
        number=REFUND_TRADE,
        trade=TRADE,
    )
    return harness


async def _trade(harness: PlatformsHarness) -> pb.Trade:
    request = pb.GetTradeRequest(domain_id=DOMAIN, trade_no=TRADE)
    return (await harness.platform.GetTrade(request)).trade


async def test_004_notify_delivery_once_and_again(partner: PlatformsHarness) -> None:
    assert (await _trade(partner)).state == pb.TRADE_STATE_NOTPAY
    for _ in range(2):
        await play(partner, "004-notify-delivery", "/dingdang/pay/notify")
    trade = await _trade(partner)
    assert (trade.state, trade.transaction_id) == (pb.TRADE_STATE_SUCCESS, TRANSACTION)
    told = await partner.payserver.sql(
        "SELECT count(*) FROM event WHERE subject = 'shoudan.events.pay.dingdang.paid'"
    )
    assert told == [(1,)]


async def test_004_refund_notify(partner: PlatformsHarness) -> None:
    for _ in range(2):
        await play(partner, "004-refund-notify", "/dingdang/refund/notify")
    assert await partner.status("dingdang_refund", "refund_trade_no", REFUND_TRADE) == "success"


@pytest.fixture(scope="module")
async def transaction(harness: PlatformsHarness) -> str:
    """The order of the example, paid by a user of Dingdang; its transactionId is ours to give."""
    mode = await harness.payserver.component_mode(query_url=None)
    await harness.domain(pb.ROLE_PLATFORM, mode.merchant_uuid, paid_url="", refunded_url="")
    # Its refund runs: the component ends it when asked, and cannot be asked here.
    pay = await harness.paid(
        mode, payAmount=100, clientPayNo=TRADE, payParams={"payBarCode": "134853566181202002"}
    )
    return pay["tractionNo"]


@pytest.mark.parametrize("name", ["004-orderquery", "004-refund", "004-refundquery"])
async def test_004_the_platform_answers(
    harness: PlatformsHarness, transaction: str, name: str
) -> None:
    case = CASES[name]

    def ours(members: dict[str, Any]) -> dict[str, Any]:
        return {key: transaction if v == TRANSACTION else v for key, v in members.items()}

    raw, header = body_of(name), header_of(name)
    if TRANSACTION.encode() in raw:  # with another number, so it is signed again
        status, answer = await harness.skill(case["path"], ours(msgspec.json.decode(raw)))
    else:
        status, answer = await harness.send(case["path"], raw, header)
    assert status == 200
    assert Matching().unfit(ours(case["expect"]["json"]), answer) == []
