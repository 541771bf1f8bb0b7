"""How suppliers do, kept in memory for the choice among them; what was chosen, and what would be.

Decision 0036.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.exc import DBAPIError

from shoudan_kit import log
from shoudan_kit.ids import first_of
from shoudan_order import binding
from shoudan_order.catalogue import routing
from shoudan_order.catalogue.index import Catalogue, Offer
from shoudan_order.catalogue.model import Line, RoutePolicy
from shoudan_order.context import Context
from shoudan_order.refusals import NotFound
from shoudan_order.states import DeliveryStatus
from shoudan_order.store import deliveries as delivery_store
from shoudan_order.store import orders as order_store
from shoudan_order.store import routes as store
from shoudan_order.store.rows import DeliveryState, Order

REFRESH_S: Final = 15.0
MINUTE: Final = timedelta(minutes=1)
WINDOW: Final = timedelta(hours=1)
RECENT: Final = timedelta(minutes=15)
# A delivery is stamped before it is committed: a minute is read when it is over for this long.
SETTLED: Final = timedelta(seconds=5)
KEPT: Final = timedelta(days=40)
DAY: Final = timedelta(days=1)

_log = log.get_logger("routes")


async def gather(context: Context) -> None:
    """Write the minutes that are over and not yet known, of the last hour."""
    end = (context.app.clock.now() - SETTLED).replace(second=0, microsecond=0)
    async with context.app.work("route.gather") as work:
        last = await store.last_minute(work.db)
        start = end - WINDOW if last is None else max(last + MINUTE, end - WINDOW)
        if start < end:
            await store.gather(work.db, start, end)


async def refresh(context: Context) -> None:
    """Load how suppliers did; orders that are bound from now on are chosen by it."""
    now = context.app.clock.now()
    async with context.app.db.connect() as db:
        context.route_facts = await store.facts(db, now - WINDOW, now, now - RECENT)


async def poll(context: Context) -> None:
    """Gather and refresh every REFRESH_S; while the database is away the last facts hold."""
    while True:
        await asyncio.sleep(REFRESH_S)
        try:
            if "tasks" in context.app.roles:
                await gather(context)
            await refresh(context)
        except (DBAPIError, OSError, TimeoutError) as error:
            _log.warning("route_facts_failed", error=type(error).__name__)


async def forget_forever(context: Context) -> None:
    """Delete minutes of long ago, forever; several processes share the work."""
    while True:
        async with context.app.work("route.forget") as work:
            more = await store.forget(work.db, context.app.clock.now() - KEPT)
        if not more:
            await asyncio.sleep(3_600)


async def explain(context: Context, order_id: int) -> tuple[list[tuple[DeliveryState, str]], str]:
    """Each part of an order and why its supplier; what keeps suppliers from the rest. Refuses: NotFound."""
    async with context.app.db.connect() as db:
        found = await order_store.order_facts(db, [order_id])
        if not found:
            raise NotFound("order", order_id)
        parts = await delivery_store.deliveries_of(db, [order_id])
    order = found[order_id]
    carried = sum(
        one.delivery.total_face_micros
        for one in parts
        if one.delivery_status != DeliveryStatus.FAILED
    )
    unbound = ""
    if carried < order.total_face_micros:
        unbound = _forbidden_words(binding.forbidden(context.catalogue, order))
    return [
        (one, words(one.delivery.route_reason, one.delivery.up_channel_no)) for one in parts
    ], unbound


def _forbidden_words(offers: Sequence[Offer]) -> str:
    """Which suppliers an order's line forbids, as the catalogue is now; empty when it forbids none."""
    return f"its line forbids {', '.join(routing.named(offers))}" if offers else ""


def words(stored: str, chosen: str) -> str:
    """A stored reason in words."""
    reason = routing.decoded(stored)
    if reason is None:
        return "bound before reasons were stored"
    if reason.policy == RoutePolicy.WEIGHTED:
        how = f"draw {reason.draw} of {reason.of}, in the order of the names"
    elif reason.policy == RoutePolicy.OUTCOME and reason.why == "explored":
        how = f"explored: draw {reason.draw} of 1000 is below {reason.of}"
    elif reason.policy == RoutePolicy.OUTCOME:
        how = "the lowest score"
    else:
        how = "the lowest cost"
    if reason.candidates and reason.candidates[0].channel_no != chosen:
        how += "; those before it could not carry the part"
    named = ", ".join(_candidate_words(reason.policy, one) for one in reason.candidates)
    without = f". Forbidden by the line: {', '.join(reason.forbidden)}" if reason.forbidden else ""
    return f"{reason.policy}, {how}: {chosen}. Preferred in this order: {named}{without}"


def _candidate_words(policy: str, one: routing.Candidate) -> str:
    if policy == RoutePolicy.WEIGHTED:
        return f"{one.channel_no} (weight {one.weighed})"
    if policy == RoutePolicy.CHEAPEST:
        return f"{one.channel_no} (costs {one.weighed} ppm)"
    out = ", excluded" if one.out else ""
    return (
        f"{one.channel_no} (score {one.weighed}: net cost {one.net_ppm} ppm,"
        f" {one.success_per_mille} of 1000 succeed, nine of ten within {one.p90_ms} ms,"
        f" {one.ended} deliveries known{out})"
    )


@dataclass(slots=True)
class Simulated:
    """What a policy would have chosen for a page of orders, beside what was."""

    orders: int = 0
    unbound: int = 0
    moved: int = 0
    compared: int = 0
    was_cost_micros: int = 0
    would_cost_micros: int = 0
    was_ended: int = 0
    was_succeeded: int = 0
    would_parts: int = 0
    would_per_mille_sum: int = 0
    was: Counter[str] = field(default_factory=Counter[str])
    would: Counter[str] = field(default_factory=Counter[str])
    next_after: int = 0


async def simulate(
    context: Context, line: Line, start: datetime, after: int, most: int
) -> Simulated:
    """Try a line's policy on the orders of a day, page by page, with the day's facts and today's catalogue.

    Cost is compared over orders that were delivered whole; a day has no last quarter, so none is excluded.
    """
    end = start + DAY
    async with context.app.db.connect() as db:
        facts = await store.facts(db, start, end, end)
        floor = max(after, first_of(start) - 1)
        page = await store.orders_between(db, floor, first_of(end), most)
        ids = [order_id for order_id, line_id in page if line_id == line.line_id]
        orders = await order_store.order_facts(db, ids)
        parts: dict[int, list[DeliveryState]] = {}
        for one in await delivery_store.deliveries_of(db, ids):
            parts.setdefault(one.delivery.order_id, []).append(one)
    now = context.catalogue
    tried = replace(now, lines={**now.lines, line.line_id: line})
    made = Simulated(next_after=page[-1][0] if len(page) == most else 0)
    for order_id, order in orders.items():
        if order_id in parts:
            _try(made, tried, order, parts[order_id], facts)
    return made


def _try(
    made: Simulated,
    catalogue: Catalogue,
    order: Order,
    parts: Sequence[DeliveryState],
    facts: routing.FactTable,
) -> None:
    """Add one order to the sums."""
    made.orders += 1
    ended = [
        one
        for one in parts
        if one.delivery_status in {DeliveryStatus.SUCCEEDED, DeliveryStatus.FAILED}
    ]
    good = [one for one in ended if one.delivery_status == DeliveryStatus.SUCCEEDED]
    made.was_ended += len(ended)
    made.was_succeeded += len(good)
    made.was.update(one.delivery.up_channel_no for one in parts)
    planned = binding.plan(catalogue, order, 0, facts=facts)
    if sum(one.total_face_micros for one in planned) < order.total_face_micros:
        made.unbound += 1
        return
    made.moved += planned[0].offer.channel_no != parts[0].delivery.up_channel_no
    made.would_parts += len(planned)
    for one in planned:
        channel_no = one.offer.channel_no
        made.would[channel_no] += 1
        known = facts.get((order.line_id, channel_no), routing.NO_FACTS)
        made.would_per_mille_sum += routing.success_per_mille(known)
    if sum(one.delivery.total_face_micros for one in good) >= order.total_face_micros:
        made.compared += 1
        made.was_cost_micros += sum(one.delivery.cost_amount_micros for one in good)
        made.would_cost_micros += sum(
            binding.delivery_of(order, one, 0).cost_amount_micros for one in planned
        )
