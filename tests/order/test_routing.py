"""Promises about the choice of a supplier: shares converge, none starves, bad ones rest and return."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoudan.order.v1 import catalogue_service_pb2 as pb
from shoudan_kit.clock import BEIJING
from shoudan_kit.db.text_statements import watched
from shoudan_order import binding, routes
from shoudan_order.catalogue import routing
from shoudan_order.catalogue.index import Catalogue
from shoudan_order.catalogue.model import RoutePolicy
from shoudan_order.catalogue.routing import Facts
from shoudan_order.store import routes as store
from tests.order.harness import OrderHarness, catalogue_pb, up_product
from tests.order.test_binding import YUAN, down, draft, market, new, up
from tests.poll import eventually

CHANNELS = ("s300", "s301", "s302")


def shop(policy: str, weights: Any = (), terms: Any = (), **downs: Any) -> Catalogue:
    """Three suppliers of one product, at 0.80, 0.81 and 0.82 of the face."""
    ups = [up(300 + at, cost_discount_ppm=800_000 + at * 10_000) for at in range(3)]
    made = market([down(**downs)], ups)
    line = replace(
        made.lines[1],
        route_policy=policy,
        route_weights=dict(weights),
        route_terms=dict(terms),
    )
    return replace(made, lines={1: line})


def chosen(catalogue: Catalogue, facts: Any, orders: int, *excluded: str) -> Counter[str]:
    """How many orders each supplier would get; "" for none."""
    found: Counter[str] = Counter()
    for order_id in range(1, orders + 1):
        order = draft(catalogue, new(), order_id)
        parts = binding.plan(catalogue, order, 0, excluded, facts=facts)
        found[parts[0].offer.channel_no if parts else ""] += 1
    return found


def all_well(**but: Facts) -> dict[tuple[int, str], Facts]:
    return {(1, no): but.get(no, Facts(100, 100, 1_000, 30, 30)) for no in CHANNELS}


@given(
    st.lists(
        st.tuples(st.sampled_from([50, 100, 200]), st.integers(700, 999)), min_size=1, max_size=6
    ),
    st.booleans(),
    st.booleans(),
)
def test_cheapest_ranks_as_the_catalogue_does(
    products: list[tuple[int, int]], packaged: bool, split: bool
) -> None:
    ups = [
        up(300 + at, face_micros=face * YUAN, cost_discount_ppm=rate * 1_000)
        for at, (face, rate) in enumerate(products)
    ]
    made = market([down(can_split_order=split)], ups, packaged=packaged)
    order = draft(made, new(), 1)
    offers = made.index.offers(binding.supply_request(made, order))
    facts = {(1, one.channel_no): Facts(100, 0, 9_000, 100, 0) for one in offers}
    assert routing.rank(made.lines[1], offers, facts, 1).offers is offers
    assert binding.plan(made, order, 0, facts=facts) == binding.plan(made, order, 0)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 100), min_size=3, max_size=3).filter(any))
def test_shares_converge_to_the_weights(weights: list[int]) -> None:
    given_ = dict(zip(CHANNELS, weights, strict=True))
    found = chosen(shop(RoutePolicy.WEIGHTED, given_), {}, 1_500)
    for channel_no, weight in given_.items():
        # Six deviations of 1500 draws are at most 117.
        assert abs(found[channel_no] - 1_500 * weight // sum(weights)) <= 120
        assert bool(found[channel_no]) <= bool(weight)


def test_a_supplier_that_failed_leaves_its_share_to_the_others_by_weight() -> None:
    shared = shop(RoutePolicy.WEIGHTED, {"s300": 50, "s301": 30, "s302": 10})
    found = chosen(shared, {}, 2_000, "s300")
    assert found["s300"] == 0
    assert abs(found["s301"] - 1_500) <= 120


def test_a_policy_without_an_allowed_supplier_binds_nothing() -> None:
    assert chosen(shop(RoutePolicy.WEIGHTED, {"other": 1}), {}, 3) == {"": 3}


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 500))
def test_the_best_is_chosen_but_for_the_share_of_exploration(explore: int) -> None:
    facts = all_well(s300=Facts(100, 60, 1_000, 30, 20))
    found = chosen(shop(RoutePolicy.OUTCOME, {}, {"explore_per_mille": explore}), facts, 2_000)
    assert abs(found["s301"] - 2 * (1_000 - explore)) <= 130
    assert abs(found["s300"] - explore) <= 130
    assert abs(found["s302"] - explore) <= 130


@pytest.mark.parametrize(
    ("facts", "best"),
    [
        ({}, "s300"),  # nothing is known: the cheapest
        (all_well(s300=Facts(100, 70, 1_000, 0, 0)), "s301"),  # fails often
        (all_well(s300=Facts(100, 100, 2_000_000, 0, 0)), "s301"),  # slow
        (all_well(s300=Facts(100, 95, 1_000, 0, 0)), "s300"),  # cheap enough all the same
    ],
)
def test_cost_success_and_time_are_weighed(facts: Any, best: str) -> None:
    made = shop(RoutePolicy.OUTCOME, {}, {"explore_per_mille": 0})
    assert chosen(made, facts, 20) == {best: 20}


def test_a_bad_supplier_is_excluded_and_returns_by_exploration() -> None:
    made = shop(RoutePolicy.OUTCOME)
    bad = all_well(s300=Facts(100, 20, 1_000, 25, 5))
    assert chosen(made, bad, 1_000)["s300"] == 0
    few = all_well(s300=Facts(100, 20, 1_000, 19, 0))  # too few of the last quarter to judge by
    assert 0 < chosen(made, few, 1_000)["s300"] <= 60
    assert chosen(made, all_well(), 1_000)["s300"] > 900


def test_the_excluded_are_asked_only_where_no_other_can_deliver() -> None:
    made = shop(RoutePolicy.OUTCOME)
    bad = {(1, no): Facts(100, 20, 1_000, 25, 5) for no in CHANNELS}
    assert chosen(made, bad, 50) == {"s300": 50}
    one = all_well(s300=Facts(100, 20, 1_000, 25, 5))
    assert chosen(made, one, 50, "s301", "s302") == {"s300": 50}


def test_every_process_chooses_alike_and_says_why() -> None:
    made = shop(RoutePolicy.OUTCOME, {}, {"explore_per_mille": 500})
    order = draft(made, new(), 77)
    one, two = (binding.plan(made, order, 0, facts=all_well()) for _ in range(2))
    assert one == two
    reason = routing.decoded(one[0].route_reason)
    assert reason is not None
    assert {candidate.channel_no for candidate in reason.candidates} == set(CHANNELS)
    assert reason.candidates[0].channel_no == one[0].offer.channel_no
    for policy in RoutePolicy:
        (part,) = binding.plan(shop(policy, {"s302": 1}), order, 0)
        said = routes.words(part.route_reason, part.offer.channel_no)
        assert said.startswith(f"{policy}, ")
        assert part.offer.channel_no in said


async def second(harness: OrderHarness, **line: Any) -> None:
    """A second supplier, one hundredth dearer, and the line's policy."""
    await harness.apply(
        up_channels=[pb.UpChannel(channel_no="s2", channel_name="二", enabled=True)],
        up_shelves=[
            pb.UpShelf(
                shelf_id=2,
                shelf_name="二",
                channel_no="s2",
                delivery_overtime_s=300,
                return_overtime_s=300,
                enabled=True,
            )
        ],
        up_products=[up_product(product_id=301, shelf_id=2, cost_discount_ppm=810_000)],
        lines=[catalogue_pb.Line(line_id=1, line_name="加油卡", service_class=10, **line)],
    )


async def delivered(harness: OrderHarness, order_id: int) -> None:
    async def is_over() -> bool:
        return (await harness.get(order_id)).state.status == 0

    await eventually(is_over)


async def test_a_weighted_line_buys_by_weight_and_says_so(harness: OrderHarness) -> None:
    await second(harness, route_policy="weighted", route_weights={"s2": 1})
    order_id = await harness.order()
    await delivered(harness, order_id)
    found = await harness.catalogue.GetRoute(pb.GetRouteRequest(order_id=order_id))
    (part,) = found.parts
    assert (part.up_channel_no, part.delivery_status) == ("s2", 0)
    assert part.words.startswith("weighted, draw 0 of 1")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await harness.catalogue.GetRoute(pb.GetRouteRequest(order_id=1))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


async def test_facts_are_gathered_once_and_choose(harness: OrderHarness) -> None:
    await second(harness, route_policy="outcome", route_terms={"explore_per_mille": 0})
    harness.delivery.script = lambda item: item.channel_no != "ycup"
    for _ in range(3):
        await delivered(harness, await harness.order())
    context = harness.context
    now = context.app.clock.now()
    for _ in range(2):  # a second process writes nothing twice
        async with context.app.work("route.gather") as work:
            await store.gather(work.db, now - timedelta(minutes=5), now + timedelta(minutes=1))
    await routes.refresh(context)
    facts = {no: (one.ended, one.succeeded) for (_, no), one in context.route_facts.items()}
    assert facts == {"ycup": (3, 0), "s2": (3, 3)}
    order_id = await harness.order()
    await delivered(harness, order_id)
    found = await harness.catalogue.GetRoute(pb.GetRouteRequest(order_id=order_id))
    assert [part.up_channel_no for part in found.parts] == ["s2"]
    day = now.astimezone(BEIJING).date().isoformat()
    request = pb.CheckRouteRequest(day=day, line_id=1, page_size=3)
    page = await harness.catalogue.CheckRoute(request)
    assert (page.orders, page.moved, page.compared) == (3, 0, 3)
    assert (page.was_ended, page.was_succeeded) == (6, 3)
    assert page.was_cost_micros == 3 * 162 * YUAN
    assert page.would_cost_micros == 3 * 160 * YUAN
    request.page_token, request.route_policy = page.next_page_token, "outcome"
    rest = await harness.catalogue.CheckRoute(request)
    assert (rest.orders, rest.moved, rest.next_page_token) == (1, 0, "")
    assert dict(rest.would) == {"s2": 1}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"route_policy": "dearest"}, "route_policy"),
        ({"route_policy": "weighted"}, "route_weights"),
        ({"route_policy": "weighted", "route_weights": {"nobody": 1}}, "not a supplier"),
        ({"route_weights": {"ycup": 10_001}}, "0 to 10000"),
        ({"route_terms": {"explore_per_mille": 501}}, "0 to 500"),
        ({"route_terms": {"luck": 1}}, "luck"),
    ],
)
async def test_a_policy_that_means_nothing_is_refused(
    harness: OrderHarness, line: Any, why: str
) -> None:
    facts = {"line_id": 1, "line_name": "加油卡", "service_class": 10, **line}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await harness.apply(lines=[catalogue_pb.Line(**facts)])
    assert why in str(refused.value.details())


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            {"day": day}
            for day in ("yesterday", "20260131", "2026-W05-6", "0001-01-01", "9999-12-31")
        ),
        *({"line_id": 9}, {"page_token": "x"}, {"page_token": "9" * 19}, {"page_size": -1}),
    ],
)
async def test_a_simulation_of_nothing_is_refused(harness: OrderHarness, wrong: Any) -> None:
    request = pb.CheckRouteRequest(**({"day": "2026-01-31", "line_id": 1} | wrong))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await harness.catalogue.CheckRoute(request)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_no_policy_costs_a_statement(harness: OrderHarness) -> None:
    counts: list[Counter[str]] = []
    for policy in ("cheapest", "outcome"):
        await second(harness, route_policy=policy)
        seen: list[str] = []
        with watched(seen.append):
            await delivered(harness, await harness.order())
        # Background loops aside: what names a table of orders or deliveries, or of routes.
        ours = [one for one in seen if "INTO oms_order" in one or "oms_route" in one]
        counts.append(Counter(ours))
    assert counts[0] == counts[1]
    assert counts[0].total() > 0
    assert not any("oms_route" in one for one in counts[0])


def classed(catalogue: Catalogue, classes: Any, *forbidden: str) -> Catalogue:
    """The same with classes of suppliers, and a line that forbids some."""
    ups = {
        no: replace(one, risk_class=classes.get(no, ""))
        for no, one in catalogue.up_channels.items()
    }
    line = replace(catalogue.lines[1], forbid_supplier_classes=forbidden)
    return replace(catalogue, up_channels=ups, lines={1: line})


CLASSES = st.sampled_from(["", "slow", "resold"])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*RoutePolicy]),
    st.fixed_dictionaries(dict.fromkeys(CHANNELS, CLASSES)),
    st.sets(st.sampled_from(["slow", "resold", "other"])),
    st.sets(st.sampled_from(CHANNELS)),
    st.fixed_dictionaries(dict.fromkeys(CHANNELS, st.integers(0, 100))),
    st.booleans(),
    st.integers(1, 1_000),
)
def test_a_forbidden_supplier_is_never_chosen_and_an_allowed_one_always_is(
    policy: RoutePolicy,
    classes: dict[str, str],
    forbidden: set[str],
    excluded: set[str],
    good: dict[str, int],
    at_loss: bool,
    order_id: int,
) -> None:
    made = classed(shop(policy, dict.fromkeys(CHANNELS, 1)), classes, *sorted(forbidden))
    facts = {(1, no): Facts(100, one, 1_000, 30, one * 30 // 100) for no, one in good.items()}
    order = draft(made, new(), order_id)
    parts = binding.plan(made, order, 0, excluded, at_loss=at_loss, facts=facts)
    banned = {no for no in CHANNELS if classes[no] in forbidden}
    found = {one.offer.channel_no for one in parts}
    assert not found & (banned | excluded)
    assert bool(found) is bool(set(CHANNELS) - banned - excluded)
    assert {one.channel_no for one in binding.forbidden(made, order)} == banned
    for one in parts:
        said = routes.words(one.route_reason, one.offer.channel_no)
        assert all((f"{no} ({classes[no]})" in said) for no in banned - excluded)
        assert ("Forbidden by the line" in said) is bool(banned - excluded)


def test_a_reason_without_what_is_forbidden_is_read_as_before() -> None:
    stored = '["cheapest","cost",0,0,[["s300",800000]]]'
    assert routes.words(stored, "s300").endswith("s300 (costs 800000 ppm)")


async def slow(harness: OrderHarness, *forbidden: str) -> None:
    """The only supplier is slow, and the line forbids these classes."""
    facts = {"line_id": 1, "line_name": "加油卡", "service_class": 10}
    await harness.apply(
        up_channels=[
            pb.UpChannel(channel_no="ycup", channel_name="一", enabled=True, risk_class="slow")
        ],
        lines=[catalogue_pb.Line(**facts, forbid_supplier_classes=forbidden)],
    )


async def test_an_order_whose_suppliers_are_forbidden_waits_and_says_why(
    harness: OrderHarness,
) -> None:
    await slow(harness, "slow")
    order_id = await harness.order()

    async def is_paid() -> bool:
        return (await harness.get(order_id)).state.status == 20

    await eventually(is_paid)
    found = await harness.catalogue.GetRoute(pb.GetRouteRequest(order_id=order_id))
    assert (list(found.parts), found.unbound) == ([], "its line forbids ycup (slow)")
    assert not harness.delivery.sent
    await slow(harness, "resold")  # of another class: the order that waits is bound
    await harness.sql(
        "UPDATE task SET next_execute_time = shoudan_now() WHERE order_no = :no AND name = 'order.bind'",
        no=str(order_id),
    )
    await delivered(harness, order_id)
    found = await harness.catalogue.GetRoute(pb.GetRouteRequest(order_id=order_id))
    assert (len(found.parts), found.unbound) == (1, "")


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ({"lines": {"forbid_supplier_classes": [""]}}, "not a class"),
        ({"lines": {"forbid_supplier_classes": ["slow "]}}, "not a class"),
        ({"lines": {"forbid_supplier_classes": [f"c{n}" for n in range(17)]}}, "more than 16"),
        ({"lines": {"service_class": 20, "require_carrier_serial": True}}, "vouchers"),
        ({"up_channels": {"risk_class": "slow one"}}, "one word"),
        ({"up_channels": {"risk_class": "x" * 33}}, "one word"),
    ],
)
async def test_classes_that_mean_nothing_are_refused(
    harness: OrderHarness, rows: dict[str, Any], why: str
) -> None:
    usual: dict[str, Any] = {
        "lines": {"line_id": 1, "line_name": "加油卡", "service_class": 10},
        "up_channels": {"channel_no": "ycup", "channel_name": "一", "enabled": True},
    }
    made = {"lines": pb.Line, "up_channels": pb.UpChannel}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await harness.apply(
            **{kind: [made[kind](**usual[kind] | one)] for kind, one in rows.items()}
        )
    assert why in str(refused.value.details())
