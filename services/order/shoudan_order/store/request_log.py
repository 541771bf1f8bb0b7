"""Statements on oms_request_block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, names_of, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_order.tables import METADATA

FORGET_DAYS_MAX: Final = 1_000  # counts of one transaction
FORGET_MAX: Final = 200  # blocks of one transaction: each may have a mebibyte


class Block(msgspec.Struct, frozen=True):
    """Requests of one partner, compressed."""

    party: str
    block_no: int
    record_count: int
    lost_count: int
    data: bytes


Call = tuple[str, str, str]  # protocol, path, version


class Usage(msgspec.Struct, frozen=True):
    """How often a partner made one call in one version."""

    party: str
    protocol: str
    call: str
    version: str
    count: int
    last_day: date

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Its place in the list."""
        return self.party, self.protocol, self.call, self.version


_USAGES: Final = Rows(Usage)
_BLOCKS: Final = Rows(Block)
_TYPES: Final = types(METADATA.tables["oms_request_block"], *names_of(Block))

_INSERT = statement(f"""
INSERT INTO oms_request_block ({", ".join(_TYPES)})
SELECT {", ".join(_TYPES)} FROM {unnest(**_TYPES)} ORDER BY party, block_no
ON CONFLICT (party, block_no) DO NOTHING RETURNING party, block_no
""")
# Rows in the order of their key, so that gateways that flush together wait for each other in one order.
_COUNT = statement("""
INSERT INTO oms_call_day AS d (party, day, protocol, call, version, count)
SELECT given.party, given.day, given.protocol, given.call, given.version, given.count
FROM unnest(CAST(:parties AS text[]), CAST(:days AS date[]), CAST(:protocols AS text[]),
    CAST(:calls AS text[]), CAST(:versions AS text[]), CAST(:counts AS bigint[]))
    AS given(party, day, protocol, call, version, count)
ORDER BY given.party, given.day, given.protocol, given.call, given.version
ON CONFLICT (party, day, protocol, call, version) DO UPDATE SET count = d.count + EXCLUDED.count
""")
_SUMS: Final = """
SELECT party, protocol, call, version, CAST(sum(count) AS bigint) AS count, max(day) AS last_day
FROM oms_call_day
WHERE day >= CAST(:since AS date) AND {which}
    (party, protocol, call, version) > (:after_party, :protocol, :call, :version)
GROUP BY party, protocol, call, version ORDER BY party, protocol, call, version LIMIT :most
"""
_USAGE = statement(_SUMS.format(which=""))
_USAGE_OF = statement(_SUMS.format(which="party = :party AND"))
_FORGET_DAYS = statement(f"""
DELETE FROM oms_call_day WHERE (party, day, protocol, call, version) IN (
    SELECT party, day, protocol, call, version FROM oms_call_day
    WHERE day < CAST(:before AS date) ORDER BY day LIMIT {FORGET_DAYS_MAX})
RETURNING 1
""")

_LIST = statement(f"""
SELECT {_BLOCKS.of()} FROM oms_request_block
WHERE party = :party AND block_no >= :start AND block_no < :end
ORDER BY block_no LIMIT :most
""")

_FORGET = statement(f"""
DELETE FROM oms_request_block WHERE (party, block_no) IN (
    SELECT party, block_no FROM oms_request_block
    WHERE create_time < shoudan_now() - make_interval(days => :keep_days)
    ORDER BY create_time LIMIT {FORGET_MAX})
RETURNING 1
""")


async def insert_blocks(db: AsyncConnection, blocks: Sequence[Block]) -> set[tuple[str, int]]:
    """Keep blocks, whose keys are distinct; those that are there stay as they are. The keys of new ones."""
    rows = await db.execute(_INSERT, columns(blocks, *_TYPES))
    return {(row[0], row[1]) for row in rows}


async def count_calls(db: AsyncConnection, counts: Mapping[tuple[str, date, Call], int]) -> None:
    """Add to what partners called, by party, day and call."""
    keys = sorted(counts)
    binds = {
        "parties": [party for party, _, _ in keys],
        "days": [day for _, day, _ in keys],
        "protocols": [call[0] for _, _, call in keys],
        "calls": [call[1] for _, _, call in keys],
        "versions": [call[2] for _, _, call in keys],
        "counts": [counts[key] for key in keys],
    }
    await db.execute(_COUNT, binds)


async def usage(
    db: AsyncConnection, party: str, first: date, after: tuple[str, str, str, str], most: int
) -> list[Usage]:
    """A page of who called what since a day: of one party, or of all."""
    after_party, protocol, call, version = after
    binds = {
        "since": first,
        "after_party": after_party,
        "protocol": protocol,
        "call": call,
        "version": version,
        "most": most,
    }
    if party:
        return _USAGES.all(await db.execute(_USAGE_OF, {**binds, "party": party}))
    return _USAGES.all(await db.execute(_USAGE, binds))


async def forget_days(db: AsyncConnection, before: date) -> bool:
    """Delete counts of days before this one; whether there may be more."""
    gone = (await db.execute(_FORGET_DAYS, {"before": before})).scalars()
    return len(list(gone)) == FORGET_DAYS_MAX


async def blocks_of(
    db: AsyncConnection, party: str, start: int, end: int, most: int
) -> list[Block]:
    """Blocks of a partner whose numbers lie between, by number."""
    binds = {"party": party, "start": start, "end": end, "most": most}
    return _BLOCKS.all(await db.execute(_LIST, binds))


async def forget(db: AsyncConnection, keep_days: int) -> bool:
    """Delete blocks older than so many days, at most FORGET_MAX; whether there may be more."""
    gone = (await db.execute(_FORGET, {"keep_days": keep_days})).scalars()
    return len(list(gone)) == FORGET_MAX
