"""Promises of matching, pricing and binding: exact region first, cheapest of the largest face, rules kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoudan_kit.secrets.sealing import KeyRing, SealedColumn
from shoudan_order import binding, order_totals, pricing
from shoudan_order.catalogue.index import Catalogue, ProductRequest
from shoudan_order.catalogue.model import (
    DownChannel,
    DownProduct,
    DownShelf,
    Line,
    UpChannel,
    UpProduct,
    UpShelf,
)
from shoudan_order.pricing import NewOrder
from shoudan_order.refusals import ChannelUnavailable, NumTooHigh, PriceDiffers, ProductNotFound
from shoudan_order.states import (
    BindStatus,
    FailRefundStatus,
    NotifyStatus,
    OrderStatus,
    PaymentStatus,
)
from shoudan_order.store.rows import Order, OrderState

YUAN = 1_000_000
ACCOUNTS = SealedColumn("oms_order_info", KeyRing({"k1": b"1" * 32}, b"i" * 32))


def draft(catalogue: Catalogue, wanted: NewOrder, order_id: int) -> Order:
    return pricing.draft(catalogue, wanted, order_id, ACCOUNTS)


def down(product_id: int = 300, **changes: Any) -> DownProduct:
    base = DownProduct(
        product_id, 1, 1, "ZSH", "*", "*", 1, "", True, 200 * YUAN, 900_000, 20_000, 10_000, 5_000,
        False, 0, 10,
    )  # fmt: skip
    return replace(base, **changes)


def up(product_id: int = 300, **changes: Any) -> UpProduct:
    base = UpProduct(
        product_id, product_id, 1, "ZSH", "*", "*", 1, "", True, 200 * YUAN, 800_000, 0, 0, 10
    )
    return replace(base, shelf_id=product_id, **changes)


def market(downs: list[DownProduct], ups: list[UpProduct], *, packaged: bool = False) -> Catalogue:
    """A catalogue in which each up product has a shelf and a supplier of its own: `s<product_id>`."""
    return Catalogue(
        lines={1: Line(1, "line", can_package_delivery=packaged)},
        down_channels={"test": DownChannel("test", "test")},
        down_shelves={1: DownShelf(1, "shelf", "test")},
        down_products={p.product_id: p for p in downs},
        up_channels={f"s{p.product_id}": UpChannel(f"s{p.product_id}", "up") for p in ups},
        up_shelves={p.product_id: UpShelf(p.product_id, "shelf", f"s{p.product_id}") for p in ups},
        up_products={p.product_id: p for p in ups},
    )


def new(**changes: Any) -> NewOrder:
    base = NewOrder("test", "r1", 1, "ZSH", "", "", 1, 1, 200 * YUAN, 198 * YUAN, "", "1")
    return msgspec.structs.replace(base, **changes)


def bound_whole(order: Order) -> OrderState:
    """A paid order that is bound whole."""
    return OrderState(
        7, OrderStatus.DELIVERING, PaymentStatus.PAID, BindStatus.DELIVERING,
        FailRefundStatus.NOT_STARTED, NotifyStatus.NOT_STARTED, 1, 1, order.total_face_micros,
        *[0] * 10, 600, "", "", "",
    )  # fmt: skip


def bought(catalogue: Catalogue, wanted: NewOrder, *excluded: str) -> list[tuple[int, int]]:
    order = draft(catalogue, wanted, 1)
    return [
        (s.offer.product.product_id, s.num) for s in binding.plan(catalogue, order, 0, excluded)
    ]


def test_an_exact_region_is_sold_before_the_wildcard() -> None:
    catalogue = market([down(300), down(301, province_no="CQ")], [])
    wish = ProductRequest("test", 1, "ZSH", "CQ", "*", 200 * YUAN, 1, 1)
    sold = catalogue.index.sold_as(wish)
    assert sold is not None
    assert sold[0].product_id == 301
    elsewhere = catalogue.index.sold_as(replace(wish, province_no="BJ"))
    assert elsewhere is not None
    assert elsewhere[0].product_id == 300


@pytest.mark.parametrize(
    ("asked", "offered", "fits"),
    [(0, 1, True), (0, 2, True), (1, 0, True), (1, 1, True), (1, 2, False), (2, 1, False)],
)
def test_invoice_types_match_as_documented(asked: int, offered: int, fits: bool) -> None:
    catalogue = market([down(invoice_type=offered)], [])
    wish = ProductRequest("test", 1, "ZSH", "*", "*", 200 * YUAN, 1, asked)
    assert (catalogue.index.sold_as(wish) is not None) == fits


def test_the_cheapest_of_the_largest_face_is_bought() -> None:
    ups = [up(300), up(301, cost_discount_ppm=790_000), up(302, face_micros=100 * YUAN)]
    assert bought(market([down()], ups), new()) == [(301, 1)]


def test_equal_costs_prefer_the_more_exact_then_the_older_product() -> None:
    ups = [up(301), up(300), up(302, province_no="CQ")]
    assert bought(market([down()], ups), new(province_no="CQ")) == [(302, 1)]
    assert bought(market([down()], ups), new()) == [(300, 1)]


def test_a_refundable_sale_is_bought_where_it_can_be_returned() -> None:
    ups = [up(300, can_refund=False, cost_discount_ppm=1), up(301)]
    assert bought(market([down()], ups), new()) == [(301, 1)]
    assert bought(market([down(can_refund=False)], ups), new()) == [(300, 1)]


def test_a_needed_invoice_is_bought_where_the_supplier_invoices() -> None:
    ups = [up(300), up(301, invoice_type=2)]
    assert bought(market([down(invoice_type=2)], ups), new(invoice_type=2)) == [(301, 1)]


def test_units_travel_one_by_one_unless_the_line_packages() -> None:
    wanted = new(num=3, amount_micros=3 * 180 * YUAN)
    assert bought(market([down()], [up()]), wanted) == [(300, 1)] * 3
    assert bought(market([down()], [up()], packaged=True), wanted) == [(300, 3)]


def test_an_order_that_may_not_be_split_needs_one_supplier_with_room_for_all() -> None:
    wanted = new(num=3, amount_micros=3 * 180 * YUAN)
    ups = [up(300, limit_count=2, cost_discount_ppm=1), up(301, limit_count=3)]
    assert bought(market([down()], ups, packaged=True), wanted) == [(301, 3)]
    split = market([down(can_split_order=True)], ups, packaged=True)
    assert bought(split, wanted) == [(300, 2), (300, 1)]


def test_an_excluded_supplier_gets_nothing() -> None:
    ups = [up(300), up(301, cost_discount_ppm=810_000)]
    assert bought(market([down()], ups), new(), "s300") == [(301, 1)]


def test_a_face_nobody_sells_is_refused_with_the_documented_facts() -> None:
    with pytest.raises(ProductNotFound) as refused:
        draft(market([down()], []), new(face_micros=300 * YUAN), 1)
    assert refused.value.metadata == {"channel_no": "test", "face": "300"}


@pytest.mark.parametrize(
    ("sold", "ups", "packaged", "num", "num_max"),
    [
        (down(limit_count=2), [up()], False, 3, 2),
        (down(can_split_order=True, split_order_face_micros=100 * YUAN), [up()], False, 2, 1),
        (down(), [up(limit_count=2), up(301, limit_count=1)], True, 3, 2),
        (down(), [up(limit_count=9, face_micros=100 * YUAN), up(301, limit_count=1)], True, 2, 1),
    ],
    ids=[
        "above the product's limit",
        "two of what is split",
        "above any supplier's",
        "of this face",
    ],
)
def test_more_units_than_can_ever_be_delivered_are_refused_at_once_and_truthfully(
    sold: DownProduct, ups: list[UpProduct], packaged: bool, num: int, num_max: int
) -> None:
    catalogue = market([sold], ups, packaged=packaged)
    with pytest.raises(NumTooHigh) as refused:
        draft(catalogue, new(num=num, amount_micros=num * 180 * YUAN), 1)
    assert refused.value.metadata == {
        "channel_no": "test", "num": str(num), "num_max": str(num_max)
    }  # fmt: skip
    draft(catalogue, new(num=num_max, amount_micros=num_max * 180 * YUAN), 1)


def test_what_nobody_supplies_yet_is_sold_and_waits_for_a_supplier() -> None:
    draft(market([down()], [], packaged=True), new(num=10, amount_micros=1800 * YUAN), 1)


def test_a_price_too_far_from_ours_is_refused() -> None:
    catalogue = market([down()], [])
    draft(catalogue, new(amount_micros=200 * YUAN), 1)  # exactly 0.1
    with pytest.raises(PriceDiffers) as refused:
        draft(catalogue, new(amount_micros=200 * YUAN + 10), 1)
    assert refused.value.difference.startswith("-0.1")


def test_an_unknown_or_disabled_channel_is_refused() -> None:
    with pytest.raises(ChannelUnavailable):
        draft(market([down()], []), new(channel_no="nobody"), 1)


@given(
    st.lists(st.sampled_from([10, 20, 30, 50, 100, 200]), min_size=1, max_size=5, unique=True),
    st.sampled_from([0, 50, 100]),
)
def test_bug_01_what_is_bound_is_the_face_of_what_is_delivered(faces: list[int], part: int) -> None:
    ups = [up(300 + i, face_micros=face * YUAN) for i, face in enumerate(faces)]
    sold = down(can_split_order=True, split_order_face_micros=part * YUAN)
    catalogue = market([sold], ups)
    order = draft(catalogue, new(), 7)
    plan_deliveries = binding.plan(catalogue, order, 0)
    parts = [binding.delivery_of(order, s, i) for i, s in enumerate(plan_deliveries)]
    bound = sum(p.total_face_micros for p in parts)
    assert bound == sum(p.face_micros * p.num for p in parts) <= order.total_face_micros
    assert all(s.offer.product.face_micros <= (part or 200) * YUAN for s in plan_deliveries)


@given(st.integers(1, 20), st.integers(0, 1_000_000), st.integers(0, 300_000))
def test_the_profit_formula_holds_however_an_order_comes_in(num: int, ppm: int, fee: int) -> None:
    sold = down(sell_discount_ppm=ppm, payment_fee_discount_ppm=fee, limit_count=20)
    catalogue = market([sold], [up()])
    wanted = new(num=num, amount_micros=num * 200 * ppm // 10 * 10)
    order = draft(catalogue, wanted, 7)
    now = order_totals.as_is(bound_whole(order))
    for index, one in enumerate(binding.plan(catalogue, order, 0)):
        part = binding.delivery_of(order, one, index)
        now = order_totals.delivered(order, now, part, part.cost_amount_micros)
    assert now.order_status == OrderStatus.SUCCEEDED
    assert now.success_sell_amount_micros == order.sell_amount_micros
    assert now.profit_micros == (
        now.success_sell_amount_micros
        - now.success_commission_micros
        + now.success_service_micros
        - now.success_fee_micros
        - now.success_cost_amount_micros
        + now.success_up_commission_micros
        + now.success_up_service_micros
    )
    gone = order_totals.refunded(order, now, order.total_face_micros)
    assert (gone.success_sell_amount_micros, gone.success_fee_micros) == (0, 0)
