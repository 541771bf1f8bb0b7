"""Fetching the movements of a closed day from the ledger by their key, until none is missing.

Nothing is added to a closed day, so what is here of it is the beginning of each account's chain, and the rest
is fetched behind it: a process that dies, a stream that breaks, an event lost or repeated change nothing.
An account has its sums when its last movement is here; the day goes on behind the last that has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

from shoudan_finance.chain_check import ChainCheck, missing, parted
from shoudan_finance.context import Context
from shoudan_finance.pay_client import PIECES_MAX
from shoudan_finance.store import days, movements
from shoudan_finance.store.days import AccountFact

RUN_MAX: Final = 200_000  # movements of one run, so that a process that stops is not waited for
PART_MAX: Final = 20_000  # movements of the accounts whose sums are stored together


async def fill(context: Context, day: date) -> bool:
    """Fetch what is missing of the day; False when there is more. Raises DayDiffers, grpc.RpcError."""
    async with context.app.db.connect() as db:
        after = await days.account_reached(db, day)
    fetched = 0
    async for page in context.pay.account_days(day, after):
        for start in range(0, len(page), PIECES_MAX):
            for part in parted(page[start : start + PIECES_MAX], PART_MAX):
                fetched += await _fetch(context, day, part)
                if fetched >= RUN_MAX:
                    return False
    return True


async def _fetch(context: Context, day: date, facts: Sequence[AccountFact]) -> int:
    """Fetch what is missing of these accounts, then store what they came to; how many movements came."""
    async with context.app.db.connect() as db:
        reached = await movements.reached(db, day, [one.account_id for one in facts])
    check, came = ChainCheck(facts, reached), 0
    if pieces := missing(facts, reached):
        async for page in context.pay.records(pieces):
            check.add(page)
            async with context.app.work("finance.movements") as work:
                await movements.append(work.db, page)
            came += len(page)
    check.end()
    async with context.app.work("finance.accounts") as work:
        await days.add_accounts(work.db, facts)
    return came
