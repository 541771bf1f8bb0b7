"""Promises of prices that suppliers state: taken over by a rule, newest only, asked about beyond it."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from shoudan.core.v1 import work_service_pb2 as work_pb
from shoudan.core.v1 import work_service_pb2_grpc as work_grpc
from shoudan.order.v1 import catalogue_service_pb2 as pb
from shoudan_kit.embedded import Postgres
from shoudan_kit.tasks.open_work import Decision
from shoudan_order import open_work
from shoudan_order.catalogue import price_rules
from shoudan_order.catalogue.model import UpProduct
from shoudan_order.catalogue.price_rules import Judged, Outcome, PriceRule, Stated
from shoudan_order.store.supplier_prices import Supplied
from tests.order.harness import YUAN, OrderHarness, down_product, up_product
from tests.poll import eventually

NOW = datetime(2026, 12, 1, tzinfo=UTC)
FACE = 200 * YUAN
FIVE_PERCENT = 50_000
BOUND = """
SELECT o.sell_amount_micros + o.service_amount_micros, d.cost_amount_micros
FROM oms_order_info o JOIN oms_order_delivery d ON d.order_id = o.order_id
"""


def product(**changes: Any) -> UpProduct:
    facts: dict[str, Any] = {
        "product_id": 300,
        "shelf_id": 1,
        "line_id": 1,
        "carrier_no": "ZSH",
        "province_no": "*",
        "city_no": "*",
        "invoice_type": 1,
        "ext_product_no": "sku",
        "can_refund": True,
        "face_micros": FACE,
        "cost_discount_ppm": 800_000,
        "commission_discount_ppm": 0,
        "service_discount_ppm": 0,
        "limit_count": 10,
    }
    return UpProduct(**(facts | changes))


def stated(version: int, ppm: int | None = None, **more: Any) -> Stated:
    price = None if ppm is None else FACE * ppm // 1_000_000
    as_of = NOW + timedelta(seconds=version)
    return Stated("ycup", "sku", as_of, version, price_micros=price, **more)


def after(*all_: Stated, rule: PriceRule = PriceRule.ACCEPT) -> Judged:
    """The product and what is kept of it, after these."""
    made = Judged(product(), Supplied(300))
    for at, one in enumerate(all_, 1):
        made = price_rules.state(made.product, (rule, FIVE_PERCENT), made.supplied, one, NOW, at)
    return made


VERSIONS = st.lists(
    st.tuples(st.integers(1, 8), st.integers(700_000, 900_000), st.booleans()),
    min_size=1,
    max_size=8,
)


@given(VERSIONS, st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_late_reordered_and_repeated_statements_change_nothing(drawn: Any, rnd: Any) -> None:
    one_each = {version: (ppm, available) for version, ppm, available in drawn}
    all_ = [stated(v, ppm, available=available) for v, (ppm, available) in sorted(one_each.items())]
    mixed = [*all_, *all_]
    rnd.shuffle(mixed)
    newest, (ppm, available) = max(one_each.items())
    straight, shuffled = after(*all_), after(*mixed)
    for made in (straight, shuffled):
        assert made.supplied.price_version == made.supplied.supply_version == newest
        assert made.product.enabled == available
        within = abs(ppm - 800_000) * 1_000_000 <= FIVE_PERCENT * 800_000
        assert (made.supplied.asked_id is None) == within
        if within:
            assert made.product.cost_discount_ppm == ppm
        # What is not the newest is taken only where it was in force before, and never beyond the rule.
        assert 760_000 <= made.product.cost_discount_ppm <= 840_000
    again = after(*mixed, *mixed)
    assert (again.product, again.supplied.stated_ppm) == (
        shuffled.product,
        shuffled.supplied.stated_ppm,
    )


@given(st.lists(st.integers(790_000, 1_000_000), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_small_steps_never_add_up_to_more_than_one_may_be(steps: list[int]) -> None:
    made = after(*(stated(at, ppm) for at, ppm in enumerate(steps, 1)))
    assert made.product.cost_discount_ppm <= 840_000


def test_a_cost_that_a_person_sets_is_what_prices_are_judged_against() -> None:
    made = after(stated(1, 830_000))
    assert made.supplied.reference_ppm == 800_000
    set_by_hand = product(cost_discount_ppm=900_000)
    made = price_rules.state(
        set_by_hand, (PriceRule.ACCEPT, FIVE_PERCENT), made.supplied, stated(2, 930_000), NOW, 9
    )
    assert (made.product.cost_discount_ppm, made.supplied.reference_ppm) == (930_000, 900_000)


def test_a_price_is_rounded_to_the_dearer_side() -> None:
    assert price_rules.cost_ppm(1, 3) == 333_334
    assert price_rules.cost_ppm(100, 100) == 1_000_000


def test_an_answer_to_our_asking_that_was_overtaken_changes_nothing() -> None:
    slow = Stated("ycup", "sku", NOW, 0, price_micros=FACE * 81 // 100)
    quick = Stated("ycup", "sku", NOW + timedelta(seconds=9), 0, price_micros=FACE * 82 // 100)
    made = after(quick, slow)
    assert (made.product.cost_discount_ppm, made.outcomes) == (820_000, (Outcome.LATE,))


def test_only_what_a_supplier_took_off_is_put_back_by_it() -> None:
    off_by_hand = product(enabled=False)
    rule = PriceRule.ACCEPT, FIVE_PERCENT
    made = price_rules.state(off_by_hand, rule, Supplied(300), stated(1, available=True), NOW, 1)
    assert not made.product.enabled
    made = after(stated(1, available=False), stated(2, available=True))
    assert made.product.enabled


# ---------------------------------------------------------------- the service
async def ruled(
    harness: OrderHarness, rule: str = "accept", most: int = FIVE_PERCENT, **more: Any
) -> None:
    await harness.apply(
        up_channels=[
            pb.UpChannel(
                channel_no="ycup",
                channel_name="上游",
                enabled=True,
                price_rule=rule,
                price_move_max_ppm=most,
            )
        ],
        up_products=[up_product(ext_product_no="sku", **more)],
    )


def message(version: int, **facts: Any) -> pb.StatedPrice:
    as_of = Timestamp()
    as_of.FromDatetime(datetime.now(UTC))
    return pb.StatedPrice(
        **{"channel_no": "ycup", "product": "sku", "version": version, "as_of": as_of} | facts
    )


async def told(harness: OrderHarness, *prices: pb.StatedPrice) -> list[str]:
    answer = await harness.catalogue.ReportPrices(pb.ReportPricesRequest(prices=prices))
    return list(answer.outcomes)


def cost(harness: OrderHarness) -> int:
    return harness.context.catalogue.up_products[300].cost_discount_ppm


async def items(harness: OrderHarness) -> list[Any]:
    (source,) = [one for one in open_work.sources(harness.context) if one.kind == "supplier_price"]
    return list(await source.page("", 10))


async def test_a_price_within_the_rule_is_taken_over_with_its_history(
    harness: OrderHarness,
) -> None:
    await ruled(harness)
    version = harness.context.catalogue.version
    assert await told(harness, message(5, price_micros=164 * YUAN)) == ["taken"]
    assert (cost(harness), harness.context.catalogue.version) == (820_000, version + 1)
    late = message(4, price_micros=160 * YUAN), message(5, price_micros=161 * YUAN)
    assert await told(harness, *late) == ["late", "late"]
    assert (cost(harness), harness.context.catalogue.version) == (820_000, version + 1)
    rows = await harness.sql("SELECT operator, detail FROM oms_operation ORDER BY operation_id")
    assert rows[-1].operator == "supplier ycup"
    assert "cost_discount_ppm 800000 -> 820000" in str(rows[-1].detail)


async def test_without_a_rule_nothing_is_taken_over_or_kept(harness: OrderHarness) -> None:
    await harness.apply(up_products=[up_product(ext_product_no="sku")])
    assert await told(harness, message(1, price_micros=1)) == ["ignored"]
    assert await harness.sql("SELECT product_id FROM oms_supplier_price") == []
    assert cost(harness) == 800_000


async def test_a_product_has_a_rule_of_its_own(harness: OrderHarness) -> None:
    await ruled(harness, "accept", price_rule="ignore")
    assert await told(harness, message(1, price_micros=162 * YUAN)) == ["ignored"]


@pytest.mark.parametrize(
    ("facts", "outcome"),
    [
        ({"product": "nobody's"}, "unknown"),
        ({"channel_no": "nobody"}, "unknown"),
        ({"price_micros": 0}, "invalid"),
        ({"price_micros": -1}, "invalid"),
        ({"price_micros": 2001 * YUAN}, "invalid"),
        ({"price_micros": 2**62}, "invalid"),
        ({}, "invalid"),
        ({"version": -1, "price_micros": YUAN}, "invalid"),
    ],
)
async def test_what_cannot_be_judged_changes_nothing(
    harness: OrderHarness, facts: dict[str, Any], outcome: str
) -> None:
    await ruled(harness)
    version = harness.context.catalogue.version
    given = {"version": 1} | facts
    assert await told(harness, message(**given)) == [outcome]
    assert (cost(harness), harness.context.catalogue.version) == (800_000, version)
    # The mistake does not stand in the way of what comes under the same number.
    assert await told(harness, message(1, price_micros=162 * YUAN)) == ["taken"]


async def test_beyond_the_rule_a_person_is_asked_once_and_decides(harness: OrderHarness) -> None:
    await ruled(harness)
    assert await told(harness, message(1, price_micros=180 * YUAN)) == ["asked"]
    (item,) = await items(harness)
    assert item.reason == "ycup states 0.9 of the face instead of 0.8"
    assert cost(harness) == 800_000
    assert await told(harness, message(2, price_micros=180 * YUAN)) == ["same"]
    assert [one.key for one in await items(harness)] == [item.key]
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{harness.process.port}")
    work = work_grpc.WorkServiceStub(channel)
    decide = work_pb.DecideWorkRequest(
        kind="supplier_price", key=item.key, decision="accept", by="kate", reason="agreed"
    )
    assert not (await work.DecideWork(decide)).repeated
    assert (await work.DecideWork(decide)).repeated
    await channel.close()
    assert cost(harness) == 900_000
    assert await items(harness) == []
    # What a person took over is what the next is judged against.
    assert await told(harness, message(3, price_micros=186 * YUAN)) == ["taken"]


async def test_a_refused_price_is_not_asked_about_again_until_it_changes(
    harness: OrderHarness,
) -> None:
    await ruled(harness)
    await told(harness, message(1, price_micros=180 * YUAN))
    (source,) = [one for one in open_work.sources(harness.context) if one.kind == "supplier_price"]
    (item,) = await source.page("", 10)
    await source.decide(item, Decision("refuse", "kate", "too dear"))
    assert await told(harness, message(2, price_micros=180 * YUAN)) == ["same"]
    assert (await items(harness), cost(harness)) == ([], 800_000)
    assert await told(harness, message(3, price_micros=182 * YUAN)) == ["asked"]


async def test_a_newer_price_replaces_what_a_person_is_asked(harness: OrderHarness) -> None:
    await ruled(harness)
    await told(harness, message(1, price_micros=180 * YUAN))
    (source,) = [one for one in open_work.sources(harness.context) if one.kind == "supplier_price"]
    (item,) = await source.page("", 10)
    assert await told(harness, message(2, price_micros=162 * YUAN)) == ["taken"]
    assert await items(harness) == []
    with pytest.raises(Exception, match="NOT_FOUND"):
        await source.decide(item, Decision("accept", "kate", "late"))
    assert cost(harness) == 810_000


async def test_no_stock_takes_a_product_off_and_stock_puts_it_back(harness: OrderHarness) -> None:
    await ruled(harness)
    assert await told(harness, message(1, available=False)) == ["taken"]
    assert not harness.context.catalogue.up_products[300].enabled
    assert await told(harness, message(2, available=True)) == ["taken"]
    order_id = await harness.order(amount_micros=180 * YUAN)
    assert order_id


async def test_what_our_own_stock_has_holds_without_a_rule_for_all_of_a_face(
    harness: OrderHarness,
) -> None:
    def stock(*, available: bool, face: int = 200, seconds: int = 0) -> pb.StatedPrice:
        made = message(0, available=available, carrier_no="ZSH", face_micros=face * YUAN)
        made.product = f"ZSH/{face}"
        made.as_of.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
        return made

    await ruled(harness, "ignore")
    version = harness.context.catalogue.version
    assert await told(harness, stock(available=False, face=100)) == ["unknown"]
    assert await told(harness, stock(available=True)) == ["same"]
    assert harness.context.catalogue.version == version
    assert await told(harness, stock(available=False, seconds=1)) == ["taken"]
    assert not harness.context.catalogue.up_products[300].enabled
    assert await told(harness, stock(available=True)) == ["late"]
    shown = await harness.catalogue.ListProducts(
        pb.ListProductsRequest(channel_no="test", since_version=version)
    )
    assert [(one.product_id, one.in_stock) for one in shown.products] == [(300, False)]
    assert await told(harness, stock(available=True, seconds=2)) == ["taken"]
    assert harness.context.catalogue.up_products[300].enabled


async def test_a_price_comes_into_force_at_its_time_unless_a_newer_one_replaces_it(
    harness: OrderHarness, postgres: Postgres
) -> None:
    await ruled(harness)
    start = Timestamp()
    start.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    first = message(1, price_micros=164 * YUAN, from_time=start)
    assert await told(harness, first) == ["waiting"]
    assert cost(harness) == 800_000
    assert await told(harness, message(2, price_micros=166 * YUAN, from_time=start)) == ["waiting"]
    await harness.turn_clock(postgres, 3_700)
    await eventually(lambda: cost(harness) == 830_000, 20)
    assert await told(harness, first) == ["late"]


async def test_of_two_replicas_that_take_the_same_statements_each_counts_once(
    harness: OrderHarness,
) -> None:
    await ruled(harness, most=200_000)
    version = harness.context.catalogue.version
    prices = [message(n, price_micros=(160 + n % 3) * YUAN) for n in range(1, 21)]
    both = await asyncio.gather(*(told(harness, one) for one in [*prices, *reversed(prices)]))
    taken = sum(one == ["taken"] for one in both)
    assert harness.context.catalogue.version == version + taken
    assert cost(harness) == 810_000  # of version 20


async def test_prices_that_move_while_orders_are_bound_never_sell_at_a_loss_or_above_the_safe_price(
    harness: OrderHarness,
) -> None:
    """The cost of a part is one that was in force, and one that its order earns on."""
    await harness.apply(
        lines=[pb.Line(line_id=1, line_name="加油卡", service_class=10, loss_rule="refuse")]
    )
    await ruled(harness, most=200_000)
    numbers = itertools.count(1)
    placed: list[Any] = []

    async def move() -> None:
        for _ in range(12):
            await told(harness, message(next(numbers), price_micros=170 * YUAN))
            await told(harness, message(next(numbers), price_micros=190 * YUAN))
            await harness.apply(down_products=[down_product(sell_discount_ppm=930_000)])
            await harness.apply(down_products=[down_product(sell_discount_ppm=900_000)])

    async def order() -> None:
        for _ in range(12):
            news = [
                harness.new(amount_micros=182 * YUAN, max_amount_micros=183 * YUAN)
                for _ in range(5)
            ]
            placed.extend(await harness.create(*news))

    await asyncio.gather(move(), order())
    await told(harness, message(next(numbers), price_micros=170 * YUAN))
    accepted = [one.order.order_id for one in placed if one.HasField("order")]
    refused = {one.refusal.reason for one in placed if not one.HasField("order")}
    assert accepted
    assert refused <= {"ERROR_REASON_PRICE_TOO_HIGH"}

    rows: list[Any] = []

    async def some_bound() -> bool:
        rows[:] = await harness.sql(BOUND)
        return bool(rows)

    # Orders that met the dear price wait for a cheaper one; those that did not are bound by now.
    await eventually(some_bound)
    for paid, bought in rows:
        assert paid <= 183 * YUAN
        assert bought in {160 * YUAN, 170 * YUAN}  # at 190 it would lose
