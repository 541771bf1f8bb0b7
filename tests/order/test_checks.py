"""Promises of a check: what it calls valid is accepted at once, and it writes nothing."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from grpc import aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan.order.v1 import risk_service_pb2 as risk_pb
from shoudan.order.v1 import risk_service_pb2_grpc as risk_grpc
from tests.order.harness import YUAN, OrderHarness, catalogue_pb, down_product, up_product

VALID = pb.CheckOrdersResponse.VERDICT_VALID
INVALID = pb.CheckOrdersResponse.VERDICT_INVALID
UNAVAILABLE = pb.CheckOrdersResponse.VERDICT_UNAVAILABLE


async def checked(harness: OrderHarness, *news: pb.NewOrder) -> list[Any]:
    answer = await harness.orders.CheckOrders(pb.CheckOrdersRequest(orders=news))
    return [one.check for one in answer.results]


async def rows_of(harness: OrderHarness) -> tuple[int, ...]:
    """How much there is of what an order writes."""
    tables = (
        "oms_order_info",
        "oms_order_delivery",
        "oms_notify_info",
        "task",
        "event",
        "oms_used_nonce",
    )
    counts = [await harness.sql(f"SELECT count(*) FROM {table}") for table in tables]
    return tuple(rows[0][0] for rows in counts)


async def test_a_valid_check_has_the_price_and_writes_nothing(harness: OrderHarness) -> None:
    before, balance = await rows_of(harness), harness.ledger.of("down_channel", "test")
    (one,) = await checked(harness, harness.new(notify_url="http://127.0.0.1/x"))
    assert (one.verdict, one.HasField("cause"), one.existed) == (VALID, False, False)
    assert (one.sell_amount_micros, one.service_amount_micros) == (180 * YUAN, 2 * YUAN)
    assert await rows_of(harness) == before
    assert harness.ledger.of("down_channel", "test") == balance


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"face_micros": 300 * YUAN}, "PRODUCT_NOT_FOUND"),
        ({"channel_no": "other"}, "CHANNEL_UNAVAILABLE"),
        ({"num": 11, "amount_micros": 11 * 198 * YUAN}, "NUM_TOO_HIGH"),
        ({"amount_micros": 100 * YUAN}, "PRICE_DIFFERS"),
        ({"max_amount_micros": 182 * YUAN - 10}, "PRICE_TOO_HIGH"),
        ({"num": 0}, "FIELD_INVALID"),
        ({"max_amount_micros": -10}, "FIELD_INVALID"),
    ],
)
async def test_an_order_is_refused_for_the_reason_of_its_check(
    harness: OrderHarness, changes: dict[str, Any], reason: str
) -> None:
    new = harness.new(**changes)
    (one,) = await checked(harness, new)
    assert (one.verdict, one.cause.reason) == (INVALID, f"ERROR_REASON_{reason}")
    assert one.sell_amount_micros == 0
    (made,) = await harness.create(new)
    assert made.refusal == one.cause


async def test_a_price_up_to_the_most_that_is_accepted_is_accepted(harness: OrderHarness) -> None:
    assert await harness.order(max_amount_micros=182 * YUAN)


async def test_a_price_that_rises_after_the_check_refuses_the_order_in_its_own_words(
    harness: OrderHarness,
) -> None:
    new = harness.new(max_amount_micros=182 * YUAN)
    (one,) = await checked(harness, new)
    assert (one.verdict, one.sell_amount_micros) == (VALID, 180 * YUAN)
    await harness.apply(down_products=[down_product(sell_discount_ppm=930_000)])
    before = await rows_of(harness)
    (made,) = await harness.create(new)
    assert made.refusal.reason == "ERROR_REASON_PRICE_TOO_HIGH"
    assert await rows_of(harness) == before
    (again,) = await checked(harness, new)
    assert (again.verdict, again.cause) == (INVALID, made.refusal)
    assert await harness.order(max_amount_micros=188 * YUAN)


async def test_what_no_supplier_can_deliver_is_unavailable_and_still_accepted(
    harness: OrderHarness,
) -> None:
    await harness.apply(up_products=[up_product(enabled=False)])
    new = harness.new()
    (one,) = await checked(harness, new)
    assert (one.verdict, one.cause.reason) == (UNAVAILABLE, "ERROR_REASON_NO_SUPPLIER")
    assert one.sell_amount_micros == 180 * YUAN
    assert (await harness.create(new))[0].HasField("order")


async def test_what_only_a_forbidden_supplier_could_deliver_says_so(harness: OrderHarness) -> None:
    await harness.apply(
        lines=[
            catalogue_pb.Line(
                line_id=1,
                line_name="加油卡",
                service_class=10,
                forbid_supplier_classes=["slow", "resold"],
            )
        ],
        up_channels=[
            catalogue_pb.UpChannel(
                channel_no="ycup", channel_name="一", enabled=True, risk_class="slow"
            )
        ],
    )
    (one,) = await checked(harness, harness.new())
    assert (one.verdict, one.cause.reason) == (UNAVAILABLE, "ERROR_REASON_SUPPLIER_FORBIDDEN")
    assert dict(one.cause.metadata) == {"channel_no": "test", "classes": "slow"}


async def test_what_would_only_be_bought_at_a_loss_is_unavailable(harness: OrderHarness) -> None:
    await harness.apply(
        lines=[
            catalogue_pb.Line(line_id=1, line_name="加油卡", service_class=10, loss_rule="refuse")
        ],
        up_products=[up_product(cost_discount_ppm=990_000)],
    )
    (one,) = await checked(harness, harness.new())
    assert one.verdict == UNAVAILABLE


async def test_a_request_no_that_is_taken_is_told_by_its_content(harness: OrderHarness) -> None:
    new = harness.new()
    assert (await harness.create(new))[0].HasField("order")
    other = pb.NewOrder()
    other.CopyFrom(new)
    other.recharge_account = "100011000000001"
    same, differs = await checked(harness, new, other)
    assert (same.verdict, same.existed) == (VALID, True)
    assert (differs.verdict, differs.cause.reason) == (INVALID, "ERROR_REASON_REQUEST_DIFFERS")
    await harness.apply(down_products=[down_product(enabled=False)])
    (kept,) = await checked(harness, new)
    assert (kept.verdict, kept.existed) == (VALID, True)
    (again,) = await harness.create(new)
    assert again.existed


async def test_a_check_needs_no_number(harness: OrderHarness) -> None:
    (one,) = await checked(harness, harness.new(request_no=""))
    assert one.verdict == VALID
    (made,) = await harness.create(harness.new(request_no=""))
    assert made.refusal.reason == "ERROR_REASON_FIELD_INVALID"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
async def test_what_is_valid_is_accepted_at_once(
    harness: OrderHarness, data: st.DataObject
) -> None:
    changes = {
        "num": data.draw(st.integers(0, 12)),
        "face_micros": data.draw(st.sampled_from([0, 100 * YUAN, 200 * YUAN])),
        "amount_micros": data.draw(st.sampled_from([0, 180 * YUAN, 198 * YUAN, 1800 * YUAN])),
        "max_amount_micros": data.draw(st.sampled_from([0, 181 * YUAN, 182 * YUAN, 1820 * YUAN])),
        "invoice_type": data.draw(st.integers(0, 3)),
        "province_no": data.draw(st.sampled_from(["", "CQ", "*", "x" * 9])),
        "channel_no": data.draw(st.sampled_from(["test", "test", "none", ""])),
        "carrier_no": data.draw(st.sampled_from(["ZSH", "ZSH", "ZSY"])),
    }
    new = harness.new(**changes)
    (one,) = await checked(harness, new)
    (made,) = await harness.create(new)
    assert made.HasField("order") == (one.verdict != INVALID)
    if one.verdict == INVALID:
        assert made.refusal == one.cause


RULES = (
    risk_pb.RiskRule(
        rule_id="units", per=risk_pb.RiskRule.PER_ACCOUNT, within=risk_pb.RiskRule.WITHIN_DAY,
        amount_max_micros=9 * 180 * YUAN, enabled=True,
    ),
    risk_pb.RiskRule(
        rule_id="all", per=risk_pb.RiskRule.PER_CHANNEL, within=risk_pb.RiskRule.WITHIN_MONTH,
        count_max=16, enabled=True,
    ),
    risk_pb.RiskRule(
        rule_id="again", per=risk_pb.RiskRule.PER_ACCOUNT_FACE, confirmable=True, minutes=60,
        within=risk_pb.RiskRule.WITHIN_SINCE_LAST, enabled=True,
    ),
)  # fmt: skip


async def test_what_is_valid_under_risk_rules_is_accepted_at_once(harness: OrderHarness) -> None:
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        stub: Any = risk_grpc.RiskServiceStub(channel)
        for one in RULES:
            await stub.SetRule(risk_pb.SetRuleRequest(rule=one, by="ops", reason="test"))
        blocked = risk_pb.SetEntryRequest(recharge_account="4", by="ops", reason="stolen")
        await stub.SetEntry(blocked)
    seen: set[str] = set()
    for num, account, confirmed in product((1, 4, 4), "1234", (False, True)):
        new = harness.new(
            num=num,
            amount_micros=num * 198 * YUAN,
            recharge_account=account,
            confirm_repeat=confirmed,
        )
        (one,) = await checked(harness, new)
        (made,) = await harness.create(new)
        assert made.HasField("order") == (one.verdict == VALID)
        assert made.HasField("order") or made.refusal == one.cause
        seen.add(one.cause.reason.removeprefix("ERROR_REASON_RISK_"))
    assert seen == {"", "BLOCKED", "LIMIT", "REPEATED"}
    # Valid, and then a named state changes: the last order of the month is another's.
    ((left,),) = await harness.sql(
        "SELECT 16 - order_count FROM oms_risk_counter WHERE rule_id = 'all'"
    )
    fresh = [harness.new(recharge_account=f"10{at}") for at in range(left + 1)]
    assert [one.verdict for one in await checked(harness, *fresh)] == [VALID] * len(fresh)
    answers = [one.refusal.reason for one in await harness.create(*fresh)]
    assert answers == [*[""] * left, "ERROR_REASON_RISK_LIMIT"]
