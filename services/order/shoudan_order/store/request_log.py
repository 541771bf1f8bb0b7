"""Statements on oms_request_block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, names_of, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_order.tables import METADATA

FORGET_MAX: Final = 200  # blocks of one transaction: each may have a mebibyte


class Block(msgspec.Struct, frozen=True):
    """Requests of one partner, compressed."""

    party: str
    block_no: int
    record_count: int
    lost_count: int
    data: bytes


_BLOCKS: Final = Rows(Block)
_TYPES: Final = types(METADATA.tables["oms_request_block"], *names_of(Block))

_INSERT = statement(f"""
INSERT INTO oms_request_block ({", ".join(_TYPES)})
SELECT {", ".join(_TYPES)} FROM {unnest(**_TYPES)} ORDER BY party, block_no
ON CONFLICT (party, block_no) DO NOTHING
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


async def insert_blocks(db: AsyncConnection, blocks: Sequence[Block]) -> None:
    """Keep blocks; those that are there stay as they are. Their keys are distinct."""
    await db.execute(_INSERT, columns(blocks, *_TYPES))


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
