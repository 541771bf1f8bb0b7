"""Checking orders that are not made: the rules of an order on the same input, nothing written."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from shoudan_kit.db.text_statements import holdable
from shoudan_order import binding
from shoudan_order.context import Context
from shoudan_order.pricing import NewOrder, content_hash, draft
from shoudan_order.refusals import NoSupplier, OrderRefusal, RequestDiffers, SupplierForbidden
from shoudan_order.risk import guard
from shoudan_order.store import orders as store
from shoudan_order.store.rows import Order, OrderSummary

NO_ID = 0  # of an order that is not made


class Checked(msgspec.Struct, frozen=True):
    """How an order would be answered; `cause` is set unless it is valid."""

    cause: OrderRefusal | None = None
    order: Order | None = None  # priced, where it would be accepted
    existed: bool = False


async def check(context: Context, news: Sequence[NewOrder]) -> list[Checked]:
    """How `orders.create` would answer each now, in order; a request_no may be empty.

    Unlike there, requests of one call do not see each other, and a nonce is neither looked at nor used up.
    Risk rules are looked at without a lock.
    """
    keys = {(new.channel_no, new.request_no) for new in news if new.request_no}
    stored: dict[tuple[str, str], OrderSummary] = {}
    if keys:
        async with context.app.db.connect() as db:
            stored = await store.orders_by_keys(db, list(filter(holdable, keys)))
    made = [_check(context, new, stored.get((new.channel_no, new.request_no))) for new in news]
    return await _with_risk(context, news, made) if guard.is_active(context) else made


async def _with_risk(
    context: Context, news: Sequence[NewOrder], made: list[Checked]
) -> list[Checked]:
    """The same, with what the risk rules refuse of each alone."""
    async with context.app.db.connect() as db:
        for index, one in enumerate(made):
            if one.order is not None and not one.existed:
                alone = [(news[index], one.order)]
                admitted = await guard.admit(context, db, alone, lock=False)
                if admitted.refused:
                    made[index] = Checked(admitted.refused[0])
    return made


def _check(context: Context, new: NewOrder, stored: OrderSummary | None) -> Checked:
    if stored is not None:
        content = content_hash(new)
        if stored.request_hash not in {context.accounts.ring.keyed(content), content}:
            return Checked(RequestDiffers(new.channel_no, new.request_no))
    try:
        order = draft(context.catalogue, new, NO_ID, context.accounts, context.segments)
    except OrderRefusal as refusal:
        # As there: what is refused now but was stored before is answered with the stored order.
        return Checked(existed=True) if stored is not None else Checked(refusal)
    if stored is not None:
        return Checked(order=order, existed=True)
    parts = binding.plan(context.catalogue, order, 0)
    if sum(part.total_face_micros for part in parts) < order.total_face_micros:
        return Checked(_no_supplier(context, order), order)
    return Checked(order=order)


def _no_supplier(context: Context, order: Order) -> OrderRefusal:
    """Why nothing, or not all, can be bound: where a forbidden supplier could, that it is forbidden."""
    classes = {one.risk_class for one in binding.forbidden(context.catalogue, order)}
    if classes:
        return SupplierForbidden(order.down_channel_no, ",".join(sorted(classes)))
    return NoSupplier(order.down_channel_no)
