"""Sealing: rows that are committed and in no block become the next block, off every other path.

One process seals at a time. Which rows are left is read from the table that got a row of its own with each
of them, so the order in which transactions commit, and which process numbered a row, do not matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from google.protobuf.message import Message
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan.core.v1 import audit_log_service_pb2 as pb
from shoudan_kit import log, metrics
from shoudan_kit.audit_log.blocks import FIRST_PREVIOUS, Block, row_digest, rows_digest
from shoudan_kit.db.pool import Database
from shoudan_kit.db.text_statements import statement
from shoudan_kit.seal_keys import SealKeys
from shoudan_kit.tls.nats_access import subject_word

SEALED: Final = "shoudan.events.{service}.audit_log.sealed"
BLOCK_ROWS_MAX: Final = 500
_LOCK: Final = 0x5EA1_A0D1  # any number, the same in every process; each shard has the next one

UNSEALED_AGE_SECONDS: Final = metrics.worst(
    "audit_log_unsealed_age_seconds",
    "How long the oldest row of the audit log waits to be sealed; 0 when none does.",
)
BLOCK_NO: Final = metrics.worst(
    "audit_log_block_no", "Number of the last sealed block of the audit log; it never falls."
)

_log = log.get_logger("audit_log")


class Events(Protocol):
    """What is published with a transaction."""

    def add(self, subject: str, *, key: str, body: Message, tag: str = "", text: str = "") -> None:
        """Publish `body` on `subject` once it is committed."""
        ...


class Transaction(Protocol):
    """One transaction with its events: a UnitOfWork."""

    @property
    def db(self) -> AsyncConnection: ...
    @property
    def events(self) -> Events: ...


Begin = Callable[[], AbstractAsyncContextManager[Transaction]]

_BEGIN = statement("SELECT pg_try_advisory_xact_lock(:lock) AS mine, shoudan_now() AS now")
_LAST = statement("""
SELECT block_no, digest FROM audit_log_block ORDER BY block_no DESC LIMIT 1
""")
# Oldest first: a block is full, or has all there are.
_ROWS = statement("""
SELECT id, service, action, caller_kind, caller_ref, address, subject_kind, subject_key, before, after,
    reason, request_id, proposal_id, outcome, audit_log.create_time
FROM audit_log_unsealed JOIN audit_log USING (id) ORDER BY id LIMIT :most
""")
_SEAL = statement("""
WITH block AS (
    INSERT INTO audit_log_block (block_no, row_count, first_id, last_id, rows_digest, previous_digest,
        digest, key_id, seal, create_time)
    VALUES (:block_no, :row_count, :first_id, :last_id, :rows_digest, :previous_digest, :digest, :key_id,
        :seal, :create_time)
), sealed AS (
    INSERT INTO audit_log_sealed (block_no, id, digest)
    SELECT CAST(:block_no AS integer), id, row_digest
    FROM unnest(CAST(:ids AS bigint[]), CAST(:digests AS bytea[])) AS given(id, row_digest)
)
DELETE FROM audit_log_unsealed WHERE id = ANY(CAST(:ids AS bigint[]))
""")
_OLDEST = statement("""
SELECT extract(epoch FROM shoudan_now() - create_time) AS age_s FROM audit_log_unsealed ORDER BY id LIMIT 1
""")


async def seal(
    begin: Begin, service: str, keys: SealKeys, rows_max: int = BLOCK_ROWS_MAX, shard: int = 0
) -> Block | None:
    """Seal one block and publish its digest; None when nothing waits or another process seals."""
    async with begin() as work:
        db = work.db
        begun = (await db.execute(_BEGIN, {"lock": _LOCK + shard})).one()
        if not begun.mine:
            return None
        rows = (await db.execute(_ROWS, {"most": rows_max})).all()
        if not rows:
            return None
        last = (await db.execute(_LAST)).one_or_none()
        digests = [row_digest(row) for row in rows]
        ids = [row.id for row in rows]
        block = Block(
            service,
            1 if last is None else last.block_no + 1,
            len(rows),
            ids[0],
            ids[-1],
            rows_digest(zip(ids, digests, strict=True)),
            FIRST_PREVIOUS if last is None else last.digest,
            begun.now,
        )
        await _store(db, block, keys, ids, digests)
        _publish(work, block, shard)
    BLOCK_NO().set(block.block_no)
    _log.info(
        "audit_log_sealed",
        block_no=block.block_no,
        rows=block.row_count,
        first_id=block.first_id,
        last_id=block.last_id,
        digest=block.digest.hex(),
    )
    return block


async def _store(
    db: AsyncConnection, block: Block, keys: SealKeys, ids: list[int], digests: list[bytes]
) -> None:
    digest = block.digest
    binds = {
        "block_no": block.block_no,
        "row_count": block.row_count,
        "first_id": block.first_id,
        "last_id": block.last_id,
        "rows_digest": block.rows_digest,
        "previous_digest": block.previous_digest,
        "digest": digest,
        "key_id": keys.current,
        "seal": keys.seal(keys.current, digest),
        "create_time": block.create_time,
        "ids": ids,
        "digests": digests,
    }
    await db.execute(_SEAL, binds)


def _publish(work: Transaction, block: Block, shard: int) -> None:
    body = pb.AuditLogSealed(
        block_no=block.block_no,
        row_count=block.row_count,
        first_id=block.first_id,
        last_id=block.last_id,
        digest=block.digest,
        shard=shard,
    )
    subject = SEALED.format(service=subject_word(block.service))
    work.events.add(subject, key=str(block.block_no), body=body, text=block.digest.hex())


async def look(
    database: Database,
    begin: Begin,
    service: str,
    keys: SealKeys,
    *,
    rows_max: int = BLOCK_ROWS_MAX,
    shard: int = 0,
) -> None:
    """Seal what waits, block by block, and set the gauges."""
    while (block := await seal(begin, service, keys, rows_max, shard)) is not None:
        if block.row_count < rows_max:
            break
    async with database.connect() as db:
        age: Any = (await db.execute(_OLDEST)).scalar_one_or_none()
        last = (await db.execute(_LAST)).one_or_none()
    UNSEALED_AGE_SECONDS().set(max(0.0, float(age or 0)))
    BLOCK_NO().set(0 if last is None else last.block_no)


def sealing(
    database: Database,
    begin: Begin,
    service: str,
    keys: SealKeys,
    every_s: float,
    shard: int = 0,
) -> Callable[[], Awaitable[None]]:
    """A background loop that seals; what fails is tried again at the next look."""

    async def seal_audit_log() -> None:
        while True:
            await look(database, begin, service, keys, shard=shard)
            await asyncio.sleep(every_s)

    return seal_audit_log
