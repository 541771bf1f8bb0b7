"""What partners called: blocks as gateways send them, read request by request, forgotten after 28 days."""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec

from shoudan_kit import log
from shoudan_kit.clock import BEIJING
from shoudan_order.context import Context
from shoudan_order.store import request_log as store
from shoudan_order.store.request_log import Block, Call, Usage

_log = log.get_logger("request_log")

SHIFT: Final = 20  # of the random bits in a block's number
BLOCKS_MAX: Final = 50  # read for one page
# A block is numbered by its last request; its first one is at most so much older.
SPAN_MS: Final = 600_000
DATA_BYTES_MAX: Final = 2**24  # of one block, unpacked
FORGET_S: Final = 60
USAGE_DAYS: Final = 90


class Request(msgspec.Struct, frozen=True):
    """One request as its gateway noted it, under the names of its JSON."""

    t: int  # milliseconds since 1970
    id: str
    m: str
    p: str
    s: int
    c: str = ""
    ms: int = 0
    ip: str = ""
    ok: bool = False
    q: dict[str, str] = {}

    @property
    def time(self) -> datetime:
        """When it was answered."""
        return datetime.fromtimestamp(self.t / 1000, UTC)


class Wanted(msgspec.Struct, frozen=True):
    """Which requests: of a partner, in a period, by id, or errors alone; from `block_no` and `at` on."""

    party: str
    start_ms: int
    end_ms: int
    request_id: str
    failed: bool
    most: int
    block_no: int = 0
    at: int = 0

    def fits(self, one: Request) -> bool:
        """Whether a request is meant."""
        return (
            self.start_ms <= one.t < self.end_ms
            and self.request_id in {"", one.id}
            and (not self.failed or bool(one.c) or one.s >= 400)
        )


class Page(msgspec.Struct, frozen=True):
    """Requests, where the next page begins (0: nowhere), and how many were lost beside them."""

    requests: list[Request]
    block_no: int
    at: int
    lost_count: int


async def keep(
    context: Context, blocks: Sequence[Block], calls: Mapping[tuple[str, int], Mapping[Call, int]]
) -> None:
    """Store blocks, and count the calls in those that are new; repeats change nothing."""
    distinct = {(one.party, one.block_no): one for one in blocks}
    async with context.app.work("request_log.keep") as work:
        new = await store.insert_blocks(work.db, list(distinct.values()))
        counts: Counter[tuple[str, date, Call]] = Counter()
        for party, block_no in new:
            day = _day(datetime.fromtimestamp((block_no >> SHIFT) / 1000, UTC))
            for call, count in calls.get((party, block_no), {}).items():
                counts[party, day, call] += count
        if counts:
            await store.count_calls(work.db, counts)


def _day(moment: datetime) -> date:
    return moment.astimezone(BEIJING).date()


async def usage(
    context: Context, party: str, days: int, after: tuple[str, str, str, str], most: int
) -> list[Usage]:
    """A page of who called what in the last days, today among them."""
    first = _day(context.app.clock.now()) - timedelta(days=days - 1)
    async with context.app.db.connect() as db:
        return await store.usage(db, party, first, after, most)


async def page(context: Context, wanted: Wanted) -> Page:
    """One page of what is wanted; reads at most BLOCKS_MAX blocks."""
    start = max(wanted.block_no, wanted.start_ms << SHIFT)
    end = (wanted.end_ms + SPAN_MS) << SHIFT
    async with context.app.db.connect() as db:
        blocks = await store.blocks_of(db, wanted.party, start, end, BLOCKS_MAX)
    return await asyncio.to_thread(_read, wanted, blocks)


def _read(wanted: Wanted, blocks: Sequence[Block]) -> Page:
    found: list[Request] = []
    lost = 0
    for block in blocks:
        # The page that begins in the middle of a block follows one that said what is missing beside it.
        skipped = wanted.at if block.block_no == wanted.block_no else 0
        begun = len(found)
        lost += 0 if skipped else block.lost_count
        for at, one in enumerate(_unpacked(block)):
            if at < skipped or not wanted.fits(one):
                continue
            if len(found) == wanted.most:
                if begun == wanted.most and not skipped:  # the next page begins with this block
                    return Page(found, block.block_no, 0, lost - block.lost_count)
                return Page(found, block.block_no, at, lost)
            found.append(one)
    more = len(blocks) == BLOCKS_MAX
    return Page(found, blocks[-1].block_no + 1 if more else 0, 0, lost)


def _unpacked(block: Block) -> list[Request]:
    """The requests of a block; none of one that cannot be read, which is logged."""
    try:
        text = zlib.decompressobj().decompress(block.data, DATA_BYTES_MAX)
        return msgspec.json.decode(text, type=list[Request])
    except (zlib.error, msgspec.MsgspecError) as error:
        _log.error(
            "request_block_unreadable", party=block.party, block=block.block_no, why=str(error)
        )
        return []


async def forget_forever(context: Context) -> None:
    """Delete what is older than it is kept, for ever; several processes share the work."""
    while True:
        async with context.app.work("request_log.forget") as work:
            more = await store.forget(work.db, context.settings.request_log_keep_days)
            last = _day(context.app.clock.now()) - timedelta(days=USAGE_DAYS)
            more = await store.forget_days(work.db, last) or more
        if not more:
            await asyncio.sleep(FORGET_S)
