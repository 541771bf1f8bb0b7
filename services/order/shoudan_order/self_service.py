"""What a channel asks about its own business: accounts, lists of orders and refunds, its notifies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import grpc
import msgspec

from shoudan.pay.v1.ledger_service_pb2 import Account
from shoudan_kit.ids import first_of
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_order import retries
from shoudan_order.context import Context
from shoudan_order.refusals import NonceUsed, OrderNotFound, RefundNotFound
from shoudan_order.store import channel_lists as store
from shoudan_order.store import nonces
from shoudan_order.store import orders as order_store
from shoudan_order.store import refunds as refund_store
from shoudan_order.store.channel_lists import Values
from shoudan_order.store.nonces import CallNonce

NO_ACCOUNT: Final = "ERROR_REASON_ACCOUNT_NOT_FOUND"
READ_MAX: Final = 5_000  # orders that a page of some statuses looks at
GROUPS: Final = ("down_channel", "down_commission", "down_service")


class Accounts(msgspec.Struct, frozen=True):
    """What is on a channel's accounts, in micro-yuan."""

    balance_micros: int
    credit_micros: int
    locked: bool
    commission_micros: int
    service_micros: int
    spent_micros: int = 0  # within window_s, where it was asked for
    window_s: int = 0

    @property
    def available_micros(self) -> int:
        """What may still be spent."""
        return 0 if self.locked else max(0, self.balance_micros + self.credit_micros)


class Period(msgspec.Struct, frozen=True):
    """A page of a period; `after` is the last number of the page before."""

    start: datetime
    end: datetime
    after: int
    most: int
    newest_first: bool = False
    statuses: frozenset[int] = frozenset()  # any without one

    @property
    def numbers(self) -> tuple[int, int]:
        """The numbers that lie behind the page before and in the period: after, end."""
        first, end = first_of(self.start) - 1, first_of(self.end)
        if self.newest_first:
            return first, min(self.after or end, end)
        return max(self.after, first), end


class Notify(msgspec.Struct, frozen=True):
    """A notify with its newest attempts."""

    values: Values
    attempts: Sequence[Values] = ()


async def accounts(context: Context, channel_no: str, *, spending: bool = False) -> Accounts:
    """The accounts of a channel as the ledger has them; what it has none for is 0."""
    main, commission, service = await asyncio.gather(
        *(_account(context, channel_no, groups) for groups in GROUPS)
    )
    spent_micros, window_s = 0, 0
    if spending and main.account_id:
        spent_micros, window_s = await context.pay_client.spending(channel_no)
    return Accounts(
        main.balance_micros,
        main.credit_micros,
        main.locked,
        commission.balance_micros,
        service.balance_micros,
        spent_micros,
        window_s,
    )


async def _account(context: Context, channel_no: str, groups: str) -> Account:
    try:
        return await context.pay_client.account(channel_no, groups)
    except grpc.RpcError as error:
        refused = refused_from_rpc(error)
        if refused is not None and refused.reason == NO_ACCOUNT:
            return Account()
        raise


async def orders(context: Context, channel_no: str, period: Period) -> tuple[list[Values], str]:
    """A page of a channel's orders, in the order asked for, and the token of the next.

    Of some statuses at most READ_MAX orders are looked at: a page may have fewer, and a next.
    """
    reads = READ_MAX if period.statuses else period.most
    async with context.app.db.connect() as db:
        found = await store.orders(
            db, channel_no, *period.numbers, reads, newest_first=period.newest_first
        )
    if not period.statuses:
        return found, _token(found, "order_id", period.most)
    shown = [one for one in found if one["order_status"] in period.statuses][: period.most]
    return shown, _token(shown, "order_id", period.most) or _token(found, "order_id", reads)


async def order(context: Context, key: tuple[str, str]) -> list[Values]:
    """A channel's order by the channel's number, or none."""
    async with context.app.db.connect() as db:
        return await store.order(db, *key)


async def refunds_of(context: Context, key: tuple[str, str]) -> list[Values]:
    """The refunds of an order by the channel's number, oldest first."""
    async with context.app.db.connect() as db:
        return await store.refunds_of(db, *key)


async def refunds(context: Context, channel_no: str, period: Period) -> tuple[list[Values], str]:
    """A page of a channel's refunds, oldest first, and the token of the next."""
    async with context.app.db.connect() as db:
        found = await store.refunds(db, channel_no, *period.numbers, period.most)
    return found, _token(found, "refund_id", period.most)


def _token(found: Sequence[Values], name: str, most: int) -> str:
    return str(found[-1][name]) if len(found) == most else ""


async def notifies(
    context: Context, key: tuple[str, str], after: int, most: int
) -> tuple[list[Notify], str]:
    """The notifies of an order with their attempts; without a request_no those given up of the channel.

    Refuses OrderNotFound.
    """
    channel_no, request_no = key
    async with context.app.db.connect() as db:
        if not request_no:
            dead = await store.dead_notifies(db, channel_no, after, most)
            return [Notify(one) for one in dead], _token(dead, "notify_id", most)
        order = (await order_store.orders_by_keys(db, [key])).get(key)
        if order is None:
            raise OrderNotFound(*key)
        found = await store.notifies_of(db, order.order_id, after, most)
        tried = await store.attempts(db, [one["notify_id"] for one in found])
    shown = [Notify(one, tried.get(one["notify_id"], ())) for one in found]
    # The notify of the order's own end has no refund, 0: so the token is where the next page begins.
    return shown, str(found[-1]["refund_id"] + 1) if len(found) == most else ""


async def resend(
    context: Context, key: tuple[str, str], refund_no: str, nonce: CallNonce | None
) -> tuple[Notify | None, bool]:
    """The notify of an order's end, or of a refund's, and whether it is sent again: only one given up is.

    None: there is none. The nonce is used up whatever follows. Refuses OrderNotFound, RefundNotFound,
    NonceUsed.
    """
    there = await _find(context, key, refund_no, nonce)
    if there is None:
        return None, False
    notify_id = there["notify_id"]
    count = await retries.resend(context, [notify_id], "", f"channel {key[0]}")
    async with context.app.db.connect() as db:
        (found,) = await store.notifies_of(db, there["order_id"], there["refund_id"], 1)
        tried = await store.attempts(db, [notify_id])
    return Notify(found, tried.get(notify_id, ())), bool(count)


async def _find(
    context: Context, key: tuple[str, str], refund_no: str, nonce: CallNonce | None
) -> Values | None:
    """The notify of an order's end or of a refund's; None where none was ever owed."""
    async with context.app.work("notify.resend_own") as work:
        if nonce and await nonces.use_nonces(work.db, [nonce]):
            raise NonceUsed(key[0])
        order = (await order_store.orders_by_keys(work.db, [key])).get(key)
        refund_id = await _refund_id(work.db, key, refund_no) if order and refund_no else 0
        found = (
            await store.notifies_of(work.db, order.order_id, refund_id, 1)
            if order is not None and refund_id is not None
            else []
        )
    if order is None:
        raise OrderNotFound(*key)
    if refund_id is None:
        raise RefundNotFound(*key, refund_no)
    return next((one for one in found if one["refund_id"] == refund_id), None)


async def _refund_id(db: Any, key: tuple[str, str], refund_no: str) -> int | None:
    """Our number of a refund of this order; None when there is none."""
    wanted = (key[0], refund_no)
    found = (await refund_store.refunds_by_keys(db, [wanted])).get(wanted)
    return found.refund_id if found is not None and found.request_no == key[1] else None
