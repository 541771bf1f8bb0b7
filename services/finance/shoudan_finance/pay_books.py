"""What ended in PayServer, by days: fetched once a day is over, whole or not at all; read by merchant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Final

from grpc import StatusCode, aio

from shoudan_finance.context import Context
from shoudan_finance.store import pay_trades as store
from shoudan_finance.store.trades import Trade
from shoudan_kit import faults

PAGE_ROWS: Final = 1000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


async def take(context: Context, day: date) -> bool:
    """Fetch what is missing; False when the day is not over there, or pay is of the release before.

    Raises grpc.RpcError when pay is away.
    """
    async with context.app.db.connect() as db:
        if await store.are_here(db, day):
            return True
    token = ""
    while True:
        try:
            page, token = await context.pay.ended_pays(day, token)
        except aio.AioRpcError as error:
            if error.code() in {StatusCode.INVALID_ARGUMENT, StatusCode.UNIMPLEMENTED}:
                return False
            raise
        async with context.app.work("finance.pays") as work:
            if page:
                await store.add(work.db, page)
            if not token:
                await store.all_here(work.db, day)
        faults.hit("finance.pays_stored")
        if not token:
            return True


async def of_merchant(context: Context, day: date, merchant: str) -> AsyncIterator[list[Trade]]:
    """A merchant's day that is here, by end_time and number, page by page."""
    after = _EPOCH, 0
    while True:
        async with context.app.db.connect() as db:
            found = await store.of_merchant(db, day, merchant, after=after, most=PAGE_ROWS)
        if found:
            yield found
            after = found[-1].end_time, found[-1].number
        if len(found) < PAGE_ROWS:
            return
