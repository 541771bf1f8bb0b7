"""The methods of this service that need two persons: decided results, and catalogue prices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache, partial
from typing import Any, Final

from shoudan.core.v1 import work_service_pb2 as work_pb
from shoudan.order.v1 import audit_service_pb2 as audit_pb
from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan_kit.audit_log.changes import lines_of
from shoudan_kit.money import micros_to_yuan, ppm_to_rate
from shoudan_kit.proposals.kinds import Applied, DayBound, Effect, Finish, Kind
from shoudan_kit.proposals.work import METHOD as DECIDE_WORK
from shoudan_kit.proposals.work import asked
from shoudan_kit.tasks.open_work import Decision
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import audits, open_work
from shoudan_order.catalogue import admin
from shoudan_order.catalogue.index import Catalogue
from shoudan_order.context import Context
from shoudan_order.open_work import STATUSES, WORDS, AuditKind
from shoudan_order.refusals import FieldInvalid
from shoudan_order.rpc.audit import read_decision
from shoudan_order.rpc.catalogue import read_rows
from shoudan_order.store import catalogue as catalogue_store
from shoudan_order.store.rows import Order, OrderState

PRICED: Final = ("down_products", "up_products")
# What a catalogue change may do to prices: every rate of a product, and its face.
PRICES: Final = ("face_micros", "split_order_face_micros")
MOVED: Final = (
    "order_status",
    "bind_face_micros",
    *(name for name in OrderState.__struct_fields__ if name.startswith("success_")),
    "profit_micros",
)
EFFECTS_MAX: Final = 1_000  # more than a person reads; the request has all of it


def kinds(context: Context) -> Sequence[Kind]:
    """Every method of this service with approvers."""
    by_kind = {one.kind: one for one in open_work.sources(context) if one.audit}
    return (
        Kind(
            "shoudan.order.v1.AuditService/DecideAudit",
            audit_pb.DecideAuditRequest,
            lambda _: None,
            partial(_try_audit, context),
            steps=partial(_decide_audit, context),
        ),
        Kind(
            DECIDE_WORK,
            work_pb.DecideWorkRequest,
            lambda given: None if given.kind in by_kind else 0,
            partial(_try_work, context, by_kind),
            steps=partial(_decide_work, context, by_kind),
        ),
        Kind(
            "shoudan.order.v1.CatalogueService/ApplyCatalogue",
            catalogue_pb.ApplyCatalogueRequest,
            partial(_price_amount, context),
            partial(_apply_catalogue, context),
            prepare=partial(_open_accounts, context),
            bound=DayBound(catalogue_store.CHANGED_ALONE, context.settings.price_alone_max_ppm),
        ),
    )


# ---------------------------------------------------------------- audits
async def _try_audit(
    context: Context, work: UnitOfWork, request: audit_pb.DecideAuditRequest
) -> Applied:
    return await _tried(context, work, request.audit_id, read_decision(request))


async def _decide_audit(
    context: Context, request: audit_pb.DecideAuditRequest, finish: Finish
) -> None:
    decision, before = read_decision(request), await audits.order_of(context, request.audit_id)

    async def ended(work: UnitOfWork, order: Order, now: OrderState) -> None:
        await finish(work, _applied(request.audit_id, decision, order, before or now, now))

    await audits.decide(context, request.audit_id, decision, finish=ended)


async def _try_work(
    context: Context,
    kinds_of: Mapping[str, AuditKind],
    work: UnitOfWork,
    request: work_pb.DecideWorkRequest,
) -> Applied:
    _, item, word = await asked(kinds_of, request)
    decision = audits.Decision(STATUSES[word.word], word.by, word.reason)
    return await _tried(context, work, int(item.key), decision)


async def _decide_work(
    context: Context,
    kinds_of: Mapping[str, AuditKind],
    request: work_pb.DecideWorkRequest,
    finish: Finish,
) -> None:
    number, before = int(request.key), await audits.order_of(context, int(request.key))
    word = Decision(request.decision, request.by, request.reason)
    decision = audits.Decision(STATUSES[word.word], word.by, word.reason)

    async def ended(work: UnitOfWork, order: Order, now: OrderState) -> None:
        await finish(work, _applied(number, decision, order, before or now, now))

    await kinds_of[request.kind].decide_audit(number, word, ended)


async def _tried(
    context: Context, work: UnitOfWork, audit_id: int, decision: audits.Decision
) -> Applied:
    order, was, now = await audits.try_out(context, work, audit_id, decision)
    return _applied(audit_id, decision, order, was, now)


def _applied(
    audit_id: int, decision: audits.Decision, order: Order, was: OrderState, now: OrderState
) -> Applied:
    word = WORDS[decision.status]
    effects = [Effect(f"audit {audit_id}", "waiting", word), *_moved(order.order_id, was, now)]
    subject = f"audit {audit_id} of order {order.order_id}: {word}"
    return Applied(effects, subject, order.total_face_micros)


def _moved(order_id: int, was: OrderState, now: OrderState) -> Iterator[Effect]:
    """The sums and the status of the order, but not what its later steps move by themselves."""
    for name in MOVED:
        before, after = getattr(was, name), getattr(now, name)
        if before == after:
            continue
        if name.endswith("_micros"):
            what = f"order {order_id} {name.removesuffix('_micros')}, 元"
            yield Effect(what, micros_to_yuan(before), micros_to_yuan(after))
        else:
            yield Effect(f"order {order_id} {name}", before.name.lower(), after.name.lower())


# ---------------------------------------------------------------- catalogue
def _price_amount(context: Context, request: catalogue_pb.ApplyCatalogueRequest) -> int | None:
    """The largest change of a price, in millionths of what it was; None when a price or a card key is new."""
    if request.dry_run:
        return 0
    if _opens_cards(context.catalogue, request):
        return None
    given = admin.Rows({kind: read_rows(kind, request.catalogue) for kind in PRICED})
    largest = 0
    for kind in PRICED:
        for row in given.of[kind]:
            change = _change_ppm(getattr(context.catalogue, kind).get(row.product_id), row)
            if change is None:
                return None
            largest = max(largest, change)
    return largest


def _opens_cards(now: Catalogue, request: catalogue_pb.ApplyCatalogueRequest) -> bool:
    """Whether cards would go out encrypted to another key: who has its private half has the goods."""
    for row in request.catalogue.down_channels:
        there = now.down_channels.get(row.channel_no)
        if row.card_key and (there is None or there.card_key != row.card_key):
            return True
    return False


def _change_ppm(there: Any, row: Any) -> int | None:
    """The largest change of a product's prices, rounded up; None when one is new, or was zero."""
    if there is None:
        return None
    kind: Any = row.__class__
    largest = 0
    for name in _price_names(kind):
        before = abs(getattr(there, name))
        change = abs(getattr(row, name) - getattr(there, name))
        if change and not before:
            return None
        largest = max(largest, -(-change * 1_000_000 // before) if change else 0)
    return largest


@cache
def _price_names(kind: Any) -> tuple[str, ...]:
    return tuple(
        one.name for one in fields(kind) if one.name.endswith("_ppm") or one.name in PRICES
    )


async def _apply_catalogue(
    context: Context, work: UnitOfWork, request: catalogue_pb.ApplyCatalogueRequest
) -> Applied:
    """Upsert the rows, with prices before and after."""
    if request.dry_run:
        raise FieldInvalid("dry_run", "is not proposed")
    given = admin.Rows({kind: read_rows(kind, request.catalogue) for kind in admin.TYPES})
    before = await admin.load(work.db)
    changes, _ = await admin.write(context, work, given, request.by, request.base)
    prices = list(_prices(before, given))
    others = [Effect(one, "", "changed") for one in lines_of(changes)]
    return Applied([*prices, *others][:EFFECTS_MAX], f"catalogue: {len(changes)} rows")


async def _open_accounts(context: Context, request: catalogue_pb.ApplyCatalogueRequest) -> None:
    given = admin.Rows({kind: read_rows(kind, request.catalogue) for kind in admin.TYPES})
    await admin.open_accounts(context, given)


def _prices(before: Catalogue, given: admin.Rows) -> Iterator[Effect]:
    for kind in PRICED:
        for row in given.of.get(kind, ()):
            there = getattr(before, kind).get(row.product_id)
            for one in fields(row):
                if not one.name.endswith("_ppm"):
                    continue
                old = None if there is None else getattr(there, one.name)
                if old != getattr(row, one.name):
                    what = f"{kind} {row.product_id} {one.name.removesuffix('_ppm')}"
                    old_text = "none" if old is None else ppm_to_rate(old)
                    yield Effect(what, old_text, ppm_to_rate(getattr(row, one.name)))
