"""Promises about parts that cost more than they sell for: allowed, parked or never bound, as a line says."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import grpc
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoudan.order.v1 import audit_service_pb2 as audit_pb
from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_kit import metrics
from shoudan_kit.money import PPM, micros_to_yuan
from shoudan_order import binding, order_totals, pay_client, transfers
from shoudan_order.states import LossRule
from tests.order.harness import YUAN, OrderHarness, catalogue_pb, up_product
from tests.order.test_audits import waiting
from tests.order.test_binding import bound_whole, down, draft, market, new, up
from tests.order.test_trouble import eventually_due, reaches, second_supplier, time_out
from tests.poll import eventually

RATES = st.integers(0, 120_000).map(lambda rate: rate * 10)  # of these no amount is rounded


def line(rule: str) -> Any:
    return catalogue_pb.Line(line_id=1, line_name="加油卡", service_class=10, loss_rule=rule)


async def dear(harness: OrderHarness, rule: str, **product: Any) -> None:
    """Its only supplier takes 0.95 of the face for what is sold at 0.9."""
    await harness.apply(
        lines=[line(rule)], up_products=[up_product(cost_discount_ppm=950_000, **product)]
    )


async def parked(harness: OrderHarness, order_id: int) -> pb.Order:
    async def is_parked() -> bool:
        return bool((await harness.get(order_id)).parked_reason)

    await eventually(is_parked)
    return await harness.get(order_id)


async def decide(harness: OrderHarness, status: int) -> Any:
    (audit,) = await waiting(harness.audits)
    return await harness.audits.DecideAudit(
        audit_pb.DecideAuditRequest(
            audit_id=audit.audit_id, status=status, by="ops", reason="agreed with the partner"
        )
    )


def bound_at_loss() -> float:
    found = re.findall(
        r'^shoudan_orders_at_loss_total{line="1"} (\S+)$',
        metrics.exposition().decode(),
        re.MULTILINE,
    )
    return float(found[0]) if found else 0.0


@given(st.tuples(*[RATES] * 7))
def test_the_margin_is_the_profit_of_the_whole_order(rates: tuple[int, ...]) -> None:
    sell, fee, service, commission, cost, up_commission, up_service = rates
    catalogue = market(
        [
            down(
                sell_discount_ppm=sell,
                payment_fee_discount_ppm=fee,
                service_discount_ppm=service,
                commission_discount_ppm=commission,
                face_micros=PPM * PPM,
            )
        ],
        [
            up(
                face_micros=PPM * PPM,
                cost_discount_ppm=cost,
                commission_discount_ppm=up_commission,
                service_discount_ppm=up_service,
            )
        ],
    )
    amount = PPM * sell
    order = draft(catalogue, new(face_micros=PPM * PPM, amount_micros=amount), 1)
    (one,) = binding.plan(catalogue, order, 0)
    part = binding.delivery_of(order, one, 2)
    now = order_totals.as_is(bound_whole(order))
    after = order_totals.delivered(order, now, part, part.cost_amount_micros)
    assert after.profit_micros == binding.margin(order, one.offer.product)


@pytest.mark.parametrize("rule", [LossRule.PARK, LossRule.REFUSE])
def test_a_guarded_line_buys_only_where_it_does_not_lose(rule: LossRule) -> None:
    ups = [up(300, cost_discount_ppm=950_000), up(301, face_micros=100 * YUAN)]
    catalogue = market([down(can_split_order=True)], ups)
    order = draft(catalogue, new(), 1)
    assert [one.offer.product.product_id for one in binding.plan(catalogue, order, 0)] == [300]
    guarded = replace(catalogue, lines={1: replace(catalogue.lines[1], loss_rule=rule)})
    found = binding.plan(guarded, order, 0)
    assert [one.offer.product.product_id for one in found] == [301, 301]
    lost = binding.plan(guarded, order, 0, at_loss=True)
    assert [one.offer.product.product_id for one in lost] == [300]


def test_what_earns_nothing_is_no_loss() -> None:
    catalogue = market([down()], [up(cost_discount_ppm=885_500)])
    order = draft(catalogue, new(), 1)
    (one,) = binding.plan(catalogue, order, 0)
    assert binding.margin(order, one.offer.product) == 0
    dearer = msgspec.structs.replace(order, payment_fee_discount_ppm=5_001)
    assert binding.margin(dearer, one.offer.product) < 0


async def test_an_allowed_loss_is_bound_counted_and_noted(harness: OrderHarness) -> None:
    await dear(harness, "")
    before = bound_at_loss()
    order = await reaches(harness, await harness.order(), 0)
    assert order.profit_micros < 0
    assert bound_at_loss() == before + 1
    (noted,) = await harness.sql(
        "SELECT text FROM event WHERE subject = 'shoudan.events.order.order.bound' AND key = :key",
        key=str(order.state.order_id),
    )
    assert noted[0].endswith("; 1 of 1 at a loss")


@given(st.tuples(*[RATES] * 7))
def test_a_part_is_booked_at_a_loss_exactly_when_the_order_loses_by_it(
    rates: tuple[int, ...],
) -> None:
    sell, fee, service, commission, cost, up_commission, up_service = rates
    down_terms = down(
        sell_discount_ppm=sell,
        payment_fee_discount_ppm=fee,
        service_discount_ppm=service,
        commission_discount_ppm=commission,
    )
    up_terms = up(
        cost_discount_ppm=cost,
        commission_discount_ppm=up_commission,
        service_discount_ppm=up_service,
    )
    catalogue = market([down_terms], [up_terms])
    order = draft(catalogue, new(amount_micros=200 * sell), 1)  # a face of 200 元
    (one,) = binding.plan(catalogue, order, 0)
    part = binding.delivery_of(order, one, 2)
    now = order_totals.as_is(bound_whole(order))
    after = order_totals.delivered(order, now, part, part.cost_amount_micros)
    booked = transfers.purchase(order, part).loss_micros
    assert booked == (-after.profit_micros if after.profit_micros < -30 else 0)


async def test_the_posting_of_a_loss_says_so_and_no_other_does(harness: OrderHarness) -> None:
    good = await reaches(harness, await harness.order(), 0)
    await dear(harness, "")
    lost = await reaches(harness, await harness.order(), 0)

    async def both_paid() -> bool:
        return all([(await harness.get(one.state.order_id)).up_paid for one in (good, lost)])

    await eventually(both_paid)
    (part,) = lost.deliveries
    words = f"{pay_client.LOSS_MEMO} {micros_to_yuan(-lost.profit_micros)} 元"
    assert harness.ledger.memos == {("up_channel", str(part.delivery_id)): words}
    assert words == "亏本 9.9 元"


async def test_a_refused_loss_is_never_bound_and_the_order_gets_its_money_back(
    harness: OrderHarness,
) -> None:
    await dear(harness, "refuse")
    before = harness.ledger.of("down_channel", "test")
    order_id = await harness.order()
    await reaches(harness, order_id, 20)
    await time_out(harness, order_id)
    order = await reaches(harness, order_id, 90)
    assert (order.deliveries, harness.delivery.sent) == ([], [])
    await eventually(lambda: harness.ledger.of("down_channel", "test") == before)


async def test_a_dearer_supplier_is_taken_where_the_cheap_one_would_lose(
    harness: OrderHarness,
) -> None:
    await second_supplier(harness)
    await dear(harness, "refuse")
    order = await reaches(harness, await harness.order(), 0)
    assert [part.up_channel_no for part in order.deliveries] == ["second"]


async def test_a_parked_loss_is_bound_when_a_person_says_so(harness: OrderHarness) -> None:
    await dear(harness, "park")
    order_id = await harness.order()
    order = await parked(harness, order_id)
    assert order.parked_reason == "only at a loss: ycup costs 4.95% of the face more than is earned"
    assert harness.delivery.sent == []
    (audit,) = await waiting(harness.audits)
    assert (audit.type, audit.order_id) == (audit_pb.AUDIT_TYPE_ORDER, order_id)
    await decide(harness, 0)
    order = await reaches(harness, order_id, 0)
    assert (order.parked_reason, len(order.deliveries)) == ("", 1)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await harness.audits.DecideAudit(
            audit_pb.DecideAuditRequest(audit_id=audit.audit_id, status=0, by="ops", reason="again")
        )
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION


async def test_a_parked_loss_is_ended_when_a_person_says_so(harness: OrderHarness) -> None:
    await dear(harness, "park")
    before = harness.ledger.of("down_channel", "test")
    order_id = await harness.order()
    await parked(harness, order_id)
    await decide(harness, 90)
    order = await reaches(harness, order_id, 90)
    assert (order.parked_reason, harness.delivery.sent) == ("", [])
    await eventually(lambda: harness.ledger.of("down_channel", "test") == before)


async def test_an_order_whose_profitable_supplier_fails_is_parked_before_it_loses(
    harness: OrderHarness,
) -> None:
    await second_supplier(harness, cost_discount_ppm=950_000)
    await harness.apply(lines=[line("park")])
    harness.delivery.script = lambda item: item.channel_no == "second"
    order_id = await harness.order()
    order = await parked(harness, order_id)
    assert [part.up_channel_no for part in order.deliveries] == ["ycup"]
    await decide(harness, 0)
    order = await reaches(harness, order_id, 0)
    assert [part.up_channel_no for part in order.deliveries] == ["ycup", "second"]


async def test_a_cost_that_rises_between_order_and_binding_is_judged_as_it_is_then(
    harness: OrderHarness,
) -> None:
    await harness.apply(lines=[line("park")])
    harness.ledger.limits["test"] = 0
    order_id = await harness.order()
    await eventually(lambda: harness.ledger.calls > 0)
    assert (await harness.get(order_id)).state.status == 10, "accepted at a cost that earns"
    await dear(harness, "park")
    harness.ledger.limits.clear()
    async with harness.process.app.db.begin() as db:
        await eventually_due(db)
    order = await parked(harness, order_id)
    assert order.parked_reason.startswith("only at a loss: ycup")
    assert (order.state.status, list(order.deliveries)) == (20, [])
    assert harness.delivery.sent == []


async def test_a_price_that_falls_frees_what_was_refused(harness: OrderHarness) -> None:
    await dear(harness, "refuse")
    order_id = await harness.order()
    await reaches(harness, order_id, 20)
    await harness.apply(up_products=[up_product()])
    await harness.sql(
        "UPDATE task SET next_execute_time = shoudan_now() WHERE order_no = :no AND name = 'order.bind'",
        no=str(order_id),
    )
    order = await reaches(harness, order_id, 0)
    assert order.profit_micros > 0


async def test_who_changes_the_catalogue_is_warned_of_what_it_sells_at_a_loss(
    harness: OrderHarness,
) -> None:
    assert list((await harness.apply(lines=[line("park")])).warnings) == []
    request = catalogue_pb.ApplyCatalogueRequest(
        catalogue=catalogue_pb.Catalogue(up_products=[up_product(cost_discount_ppm=950_000)]),
        by="tester",
        dry_run=True,
    )
    assert list((await harness.catalogue.ApplyCatalogue(request)).warnings) == [
        (
            "down_products 300: up_products 300 of ycup, which is bought first, costs 4.95% of the face"
            " more than is earned (loss_rule of its line: park)"
        )
    ]


async def test_an_unknown_loss_rule_is_refused(harness: OrderHarness) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await harness.apply(lines=[line("sometimes")])
    assert "loss_rule is not allow, park or refuse" in str(refused.value.details())
