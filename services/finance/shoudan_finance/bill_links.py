"""Links to bills: a token that nothing but its holder knows, good for a while, for one file."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from shoudan_finance import bills
from shoudan_finance.bill_making import FUND
from shoudan_finance.context import Context
from shoudan_finance.refusals import (
    BillLinkNotFound,
    DayIncomplete,
    DayNotFound,
    FieldInvalid,
    TradeDayIncomplete,
    TradeDayNotFound,
)
from shoudan_finance.states import BillStatus
from shoudan_finance.store import bill_links as store
from shoudan_finance.store.bills import Bill, Spec
from shoudan_finance.trade_bills import TRADE

LINK_S: Final = 3600
LINK_S_MAX: Final = 86_400
TOKEN_BYTES: Final = 32
TOKEN_CHARS_MAX: Final = 64
CHANNELS: Final = "down_"  # how the groups of their accounts begin


@dataclass(frozen=True, slots=True)
class Link:
    """How far a bill is, and what its file is downloaded with once it is published."""

    bill: Bill | None  # None while its days are not complete
    token: str = ""
    expire_time: datetime | None = None


async def link(context: Context, spec: Spec, link_s: int) -> Link:
    """Ask for a bill, and for a link to it. Refuses FieldInvalid."""
    if not 0 <= link_s <= LINK_S_MAX:
        raise FieldInvalid("link_s", f"is not within 0..{LINK_S_MAX}")
    if spec.kind == FUND and not spec.ident:
        spec = replace(spec, ident=context.app.settings.trade_ident)
    try:
        bill = await bills.ask(context, spec)
    except (DayNotFound, DayIncomplete, TradeDayNotFound, TradeDayIncomplete):
        return Link(None)
    if bill.status is not BillStatus.PUBLISHED:
        return Link(bill)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    async with context.app.work("finance.bill_link") as work:
        until = await store.add(work.db, _digest(token), bill.bill_id, link_s or LINK_S)
    return Link(bill, token, until)


async def download(
    context: Context, token: str, channel_no: str = ""
) -> AsyncIterator[tuple[int, bytes]]:
    """The file that a token is for, with a channel only one of its own: its size, then piece by piece.

    Refuses BillLinkNotFound.
    """
    if not 0 < len(token) <= TOKEN_CHARS_MAX or not token.isascii():
        raise BillLinkNotFound
    async with context.app.db.connect() as db:
        bill_id = await store.find(db, _digest(token))
    if bill_id is None:
        raise BillLinkNotFound
    bill = await bills.get(context, bill_id)
    if channel_no and not is_of_channel(bill, channel_no):
        raise BillLinkNotFound
    total = bill.bytes
    async for _, body in bills.export(context, bill_id, 0):
        yield total, body
        total = 0


def is_of_channel(bill: Bill, channel_no: str) -> bool:
    """Whether it is a bill of this down channel: a supplier may have the same number."""
    trade = bill.kind == TRADE
    return bill.eid == channel_no and (trade or bill.groups.startswith(CHANNELS))


async def purge(context: Context) -> None:
    """Delete tokens that have expired, some at a time, until none is left."""
    more = True
    while more:
        async with context.app.work("finance.purge_links") as work:
            more = await store.purge(work.db)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
