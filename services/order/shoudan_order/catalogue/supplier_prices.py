"""Takes over what suppliers state of prices and stock, each by the rule of its product (decision 0044)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shoudan_kit import log, metrics
from shoudan_kit.money import ppm_to_rate
from shoudan_kit.tasks.kinds import Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import kinds
from shoudan_order.catalogue import admin, price_rules
from shoudan_order.catalogue.index import Catalogue
from shoudan_order.catalogue.model import UpProduct
from shoudan_order.catalogue.price_rules import Judged, Outcome, PriceRule, Stated
from shoudan_order.context import Context
from shoudan_order.store import catalogue as catalogue_store
from shoudan_order.store import supplier_prices as store
from shoudan_order.store.supplier_prices import Supplied

STATED: Final = metrics.counter(
    "supplier_prices_total",
    "Prices and stock that suppliers stated, by what came of them.",
    ["outcome"],
)
# Of several facts the one that went furthest is answered.
_FURTHEST: Final = tuple(Outcome)

_log = log.get_logger("supplier_prices")


@dataclass(slots=True)
class _Batch:
    """What one transaction reads and changes, by product."""

    catalogue: Catalogue
    now: datetime
    products: dict[int, UpProduct]
    kept: dict[int, Supplied]
    changed: set[int]

    def put(self, made: Judged) -> None:
        """Keep what was made of one statement."""
        product_id = made.product.product_id
        if made.product != self.products[product_id]:
            self.changed.add(product_id)
        self.products[product_id], self.kept[product_id] = made.product, made.supplied


async def take(context: Context, stated: Sequence[Stated]) -> list[Outcome]:
    """Judge statements in the order given, each supplier's in one transaction; what came of each, in order.

    Repeats, late and reordered ones change nothing. What is ignored is not kept.
    """
    await admin.refresh(context)
    outcomes = [Outcome.UNKNOWN] * len(stated)
    for channel_no in dict.fromkeys(one.channel_no for one in stated):
        places = [at for at, one in enumerate(stated) if one.channel_no == channel_no]
        made = await _take(context, channel_no, [stated[at] for at in places])
        for at, outcome in zip(places, made, strict=True):
            outcomes[at] = outcome
    for one, outcome in zip(stated, outcomes, strict=True):
        STATED(outcome.value).inc()
        if outcome in {Outcome.UNKNOWN, Outcome.INVALID}:
            _log.warning(
                "supplier_price_unusable",
                channel_no=one.channel_no,
                product=one.product,
                why=outcome.value,
            )
    return outcomes


async def _take(context: Context, channel_no: str, stated: Sequence[Stated]) -> list[Outcome]:
    """The statements of one supplier."""
    now = context.catalogue
    ids = [_named(now, one) for one in stated]
    heeded = sorted(
        {
            product_id
            for one, ones in zip(stated, ids, strict=True)
            for product_id in ones
            if one.carrier_no or _heeds(now, product_id)
        }
    )
    if not heeded:
        return [Outcome.IGNORED if ones else Outcome.UNKNOWN for ones in ids]
    async with context.app.work("catalogue.supplier_prices") as work:
        batch = await _locked(context, work, heeded)
        outcomes = [_judge(batch, work, one, ones) for one, ones in zip(stated, ids, strict=True)]
        await _write(context, work, batch, f"supplier {channel_no}")
    if batch.changed:
        await admin.refresh(context)
    return outcomes


def _named(catalogue: Catalogue, one: Stated) -> Sequence[int]:
    """The products that a statement is about."""
    if one.carrier_no:
        return catalogue.stocked_as.get((one.channel_no, one.carrier_no, one.face_micros), ())
    return catalogue.bought_as.get((one.channel_no, one.product), ())


def _heeds(catalogue: Catalogue, product_id: int) -> bool:
    rule, _ = price_rules.rule_of(catalogue, catalogue.up_products[product_id])
    return rule is not PriceRule.IGNORE


async def _locked(context: Context, work: UnitOfWork, product_ids: Sequence[int]) -> _Batch:
    """The products as they are stored, which nothing else changes before this transaction ends."""
    kept = await store.lock(work.db, product_ids)
    await catalogue_store.hold(work.db)
    rows = await catalogue_store.read_kind(work.db, "up_products", product_ids)
    products: Iterable[UpProduct] = (admin.of_columns("up_products", row) for row in rows)
    return _Batch(
        context.catalogue,
        await store.now(work.db),
        {one.product_id: one for one in products},
        kept,
        set(),
    )


def _judge(batch: _Batch, work: UnitOfWork, one: Stated, product_ids: Iterable[int]) -> Outcome:
    """One statement, for every product of its number."""
    found = [Outcome.UNKNOWN]
    if not price_rules.is_valid(one, batch.now):
        return Outcome.INVALID
    for product_id in product_ids:
        if product_id not in batch.products:
            found.append(Outcome.IGNORED)
            continue
        product = batch.products[product_id]
        if price_rules.is_absurd(one, product):
            found.append(Outcome.INVALID)
            continue
        made = price_rules.state(
            product,
            price_rules.rule_of(batch.catalogue, product),
            batch.kept[product_id],
            one,
            batch.now,
            work.ids.next(),
        )
        batch.put(made)
        found += made.outcomes
        if Outcome.WAITING in made.outcomes:
            _enforce_later(work, made.supplied, batch.now)
    return max(found, key=_FURTHEST.index)


def _enforce_later(work: UnitOfWork, kept: Supplied, now: datetime) -> None:
    assert kept.due_time is not None, "it waits for its time"
    step = kinds.PriceStep(kept.product_id, kept.price_version)
    delay_s = max(0.0, (kept.due_time - now).total_seconds())
    work.tasks.add(kinds.PRICE, step, delay_s=delay_s)


async def _write(context: Context, work: UnitOfWork, batch: _Batch, by: str) -> None:
    await store.write(work.db, list(batch.kept.values()))
    if batch.changed:
        rows = [batch.products[one] for one in sorted(batch.changed)]
        await admin.write(context, work, admin.Rows({"up_products": rows}), by)


async def enforce(context: Context, tasks: Sequence[Task[kinds.PriceStep]]) -> None:
    """Judge the prices that are in force from now on; those that a newer one has replaced are over."""
    wanted = {one.payload.product_id for one in tasks}
    async with context.app.work("catalogue.price_due") as work:
        batch = await _locked(context, work, sorted(wanted))
        for task in tasks:
            kept = batch.kept[task.payload.product_id]
            if kept.due_time is None or kept.price_version != task.payload.price_version:
                work.tasks.finish(task)
            elif kept.due_time > batch.now:
                task.retry_after((kept.due_time - batch.now).total_seconds())
            else:
                product = batch.products[kept.product_id]
                rule = price_rules.rule_of(batch.catalogue, product)
                batch.put(
                    price_rules.judge(Judged(product, kept), rule, batch.now, work.ids.next())
                )
                work.tasks.finish(task)
        await _write(context, work, batch, "supplier, by its date")
    await admin.refresh(context)


async def decide(
    context: Context,
    asked: store.Asked,
    by: str,
    record: Callable[[UnitOfWork], None],
    *,
    accept: bool,
) -> bool:
    """A person takes a stated price over, or refuses it; `record` in the same transaction.

    False when it does not wait any more: a newer one has replaced it.
    """
    async with context.app.work("catalogue.price_decided") as work:
        batch = await _locked(context, work, [asked.product_id])
        kept, product = batch.kept[asked.product_id], batch.products[asked.product_id]
        if kept.asked_id != asked.asked_id:
            return False
        if accept:
            batch.put(price_rules.take(Judged(product, kept), kept.stated_ppm))
        else:
            batch.put(price_rules.refuse(Judged(product, kept)))
        await _write(context, work, batch, by)
        record(work)
    await admin.refresh(context)
    return True


def words(one: store.Asked) -> str:
    """What a person is asked, in words."""
    return (
        f"{one.channel_no} states {ppm_to_rate(one.stated_ppm)} of the face"
        f" instead of {ppm_to_rate(one.cost_discount_ppm)}"
    )
