"""Proving the audit log: every block is computed again from its rows, every row is looked for in a block.

What can be found here is whatever was changed or taken away without the key, from a block to the next. What
was cut off at the end together with its rows, only a digest that was kept elsewhere shows: `Head`.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.audit_log.blocks import FIRST_PREVIOUS, Block, row_digest, rows_digest
from shoudan_kit.db import pages
from shoudan_kit.db.pool import Database
from shoudan_kit.db.text_statements import statement
from shoudan_kit.ids import id_of
from shoudan_kit.seal_keys import SealKeys

BLOCKS_MAX: Final = 20  # of one page, read one by one: a block may be some megabytes
BLOCK_NO_MAX: Final = 2**31 - 2
FINDINGS_MAX: Final = 200  # of one page; more say no more
BLOCKS, ROWS = "block", "row"

_BLOCKS = statement("""
SELECT block_no, row_count, first_id, last_id, rows_digest, previous_digest, digest, key_id, seal,
    create_time
FROM audit_log_block WHERE block_no >= :start ORDER BY block_no LIMIT :most
""")
_ROWS = statement("""
SELECT sealed.id, sealed.digest, row.id AS row_id, service, action, caller_kind, caller_ref, address,
    subject_kind, subject_key, before, after, reason, request_id, proposal_id, outcome, row.create_time
FROM audit_log_sealed sealed LEFT JOIN audit_log row ON row.id = sealed.id
WHERE sealed.block_no = :block_no ORDER BY sealed.id
""")
_LAST = statement("""
SELECT block_no, digest FROM audit_log_block ORDER BY block_no DESC LIMIT 1
""")
_LISTED = statement("""
SELECT block_no, id FROM audit_log_sealed WHERE block_no > :above AND block_no < :below
ORDER BY block_no, id LIMIT :most
""")
_EDGE = pages.rising_edge("audit_log", "id")
_IN_NO_BLOCK = statement("""
SELECT row.id FROM audit_log row
LEFT JOIN audit_log_sealed sealed ON sealed.id = row.id
LEFT JOIN audit_log_unsealed waiting ON waiting.id = row.id
WHERE row.id > :after AND row.id <= :reached AND sealed.id IS NULL AND waiting.id IS NULL
ORDER BY row.id LIMIT :most
""")
# What waits are the rows of the last seconds.
_WAITING_GONE = statement("""
SELECT waiting.id FROM audit_log_unsealed waiting LEFT JOIN audit_log row ON row.id = waiting.id
WHERE row.id IS NULL ORDER BY waiting.id LIMIT :most
""")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was sealed: which numbers, in which blocks."""

    what: str
    first_block: int = 0
    last_block: int = 0
    first_id: int = 0
    last_id: int = 0


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain as it was read before, and kept elsewhere; block 0 is no block."""

    block_no: int = 0
    digest: bytes = b""


@dataclass(slots=True)
class Proof:
    """One page of a proof; `token` is that of the next, empty at the end."""

    findings: list[Finding] = field(default_factory=list[Finding])
    blocks: int = 0
    rows: int = 0
    token: str = ""
    head: Head = Head()


async def verify(
    database: Database, service: str, keys: SealKeys, token: str = "", expected: Head | None = None
) -> Proof:
    """Prove one page: blocks first, then rows. Raises ValueError for a token that is not one of ours.

    The page without a token compares the chain with `expected`, too.
    """
    phase, at = _position(token)
    proof = Proof()
    async with database.connect() as db:
        if not token and expected is not None and expected.block_no > 0:
            proof.findings += await _known_before(db, expected)
        if phase == BLOCKS:
            await _prove_blocks(db, service, keys, at, proof)
        else:
            await _find_rows(db, at, proof)
        last = (await db.execute(_LAST)).one_or_none()
    proof.head = Head() if last is None else Head(last.block_no, last.digest)
    del proof.findings[FINDINGS_MAX:]
    return proof


def _position(token: str) -> tuple[str, int]:
    phase, _, number = (token or f"{BLOCKS}:0").partition(":")
    after = id_of(number)
    if phase not in {BLOCKS, ROWS} or after is None:
        raise ValueError("page_token is not one of ours")
    return phase, after


async def _known_before(db: AsyncConnection, expected: Head) -> list[Finding]:
    binds = {"start": expected.block_no, "most": 1}
    block = (await db.execute(_BLOCKS, binds)).one_or_none()
    number = expected.block_no
    if block is None or block.block_no != number:
        return [Finding("a block known before is missing", number, number)]
    if not hmac.compare_digest(block.digest, expected.digest):
        return [Finding("a block is not the one known before", number, number)]
    return []


async def _prove_blocks(
    db: AsyncConnection, service: str, keys: SealKeys, after: int, proof: Proof
) -> None:
    """The blocks behind number `after`; the one before is read for its digest."""
    most = BLOCKS_MAX + (after > 0)
    blocks = list((await db.execute(_BLOCKS, {"start": after, "most": most})).all())
    before, number = FIRST_PREVIOUS, after
    if after and blocks and blocks[0].block_no == after:
        before = blocks.pop(0).digest
    for block in blocks:
        if block.block_no != number + 1:
            gap = number + 1, block.block_no - 1
            proof.findings.append(await _missing(db, "blocks are missing", *gap))
        elif block.previous_digest != before:
            what = "a block does not follow the one before"
            proof.findings.append(_of_block(what, block))
        rows = (await db.execute(_ROWS, {"block_no": block.block_no})).all()
        proof.findings += _wrong_in(service, keys, block, rows)
        proof.blocks, proof.rows = proof.blocks + 1, proof.rows + len(rows)
        before, number = block.digest, block.block_no
    proof.token = f"{BLOCKS}:{number}"
    if len(blocks) < BLOCKS_MAX:
        found = await _missing(db, "the last blocks are missing", number + 1, BLOCK_NO_MAX)
        proof.findings += [found] if found.first_id else []
        proof.token = f"{ROWS}:0"


def _wrong_in(service: str, keys: SealKeys, block: Any, rows: Sequence[Any]) -> Iterator[Finding]:
    """What is wrong in one block."""
    for row in rows:
        if row.row_id is None:
            yield Finding("a row is missing", block.block_no, block.block_no, row.id, row.id)
        elif row_digest(row) != row.digest:
            yield Finding("a row was changed", block.block_no, block.block_no, row.id, row.id)
    listed = rows_digest((row.id, row.digest) for row in rows)
    if listed != block.rows_digest or len(rows) != block.row_count:
        yield _of_block("the rows of a block are not those that were sealed", block)
    made = Block(
        service,
        block.block_no,
        block.row_count,
        block.first_id,
        block.last_id,
        block.rows_digest,
        block.previous_digest,
        block.create_time,
    )
    seal = keys.seal(block.key_id, block.digest)
    if made.digest != block.digest:
        yield _of_block("a block was changed", block)
    if seal is None:
        yield _of_block(
            f"a block is sealed with a key that is not known here: {block.key_id}", block
        )
    elif not hmac.compare_digest(seal, block.seal):
        yield _of_block("a block was not sealed with our key", block)


def _of_block(what: str, block: Any) -> Finding:
    return Finding(what, block.block_no, block.block_no, block.first_id, block.last_id)


async def _missing(db: AsyncConnection, what: str, first: int, last: int) -> Finding:
    """Blocks that are not there, with the rows that are listed in them: of the first of these, if many."""
    binds = {"above": first - 1, "below": last + 1, "most": FINDINGS_MAX}
    rows = (await db.execute(_LISTED, binds)).all()
    ids = [row.id for row in rows] or [0]
    last = last if last < BLOCK_NO_MAX else max((row.block_no for row in rows), default=0)
    return Finding(what, first, last, min(ids), max(ids))


async def _find_rows(db: AsyncConnection, after: int, proof: Proof) -> None:
    """Rows behind number `after` that are in no block and do not wait for one."""
    reached = await pages.rising_end(db, _EDGE, after)
    binds = {"after": after, "reached": reached, "most": FINDINGS_MAX}
    for number in (await db.execute(_IN_NO_BLOCK, binds)).scalars():
        proof.findings.append(Finding("a row is in no block", 0, 0, number, number))
    if reached != pages.ID_MAX:
        proof.token = f"{ROWS}:{reached}"
        return
    for number in (await db.execute(_WAITING_GONE, {"most": FINDINGS_MAX})).scalars():
        what = "a row was taken away before it was sealed"
        proof.findings.append(Finding(what, 0, 0, number, number))
