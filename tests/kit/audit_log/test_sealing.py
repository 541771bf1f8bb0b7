"""Committed rows are sealed in a chain of blocks, each once; whatever is changed afterwards is found."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from sqlalchemy import text

from shoudan.core.v1 import audit_log_service_pb2 as pb
from shoudan_kit.audit_log import store
from shoudan_kit.audit_log.blocks import FIRST_PREVIOUS, Block
from shoudan_kit.audit_log.entries import Entry, Origin, Who
from shoudan_kit.audit_log.sealing import (
    BLOCK_NO,
    BLOCK_ROWS_MAX,
    UNSEALED_AGE_SECONDS,
    Begin,
    look,
    seal,
)
from shoudan_kit.audit_log.verify import BLOCKS_MAX, Finding, Head, Proof, verify
from shoudan_kit.db.pool import Database
from shoudan_kit.ids import IdMaker
from shoudan_kit.seal_keys import SealKeys
from shoudan_kit.tasks.unit_of_work import UnitOfWork

ORIGIN = Origin("pay")
WHO = Who("operator", "77")


def keys(*names: str) -> SealKeys:
    made = (f"{name}:{base64.b64encode(name.encode().ljust(32)).decode()}" for name in names)
    return SealKeys.parse(",".join(made))


KEYS = keys("k1")


def entries(count: int) -> list[Entry]:
    return [Entry("account", n, after={"n": n}, action="Lock", who=WHO) for n in range(count)]


async def write(database: Database, ids: IdMaker, count: int = 3) -> None:
    async with database.begin() as db:
        await store.write(db, ids, ORIGIN, entries(count))


async def run(database: Database, sql: str, **binds: Any) -> Any:
    async with database.begin() as db:
        return await db.execute(text(sql), binds)


async def proved(database: Database, ring: SealKeys = KEYS, expected: Head | None = None) -> Proof:
    """Every page of a proof together."""
    whole = await verify(database, "pay", ring, "", expected)
    token = whole.token
    while token:
        page = await verify(database, "pay", ring, token)
        whole.findings += page.findings
        whole.blocks, whole.rows, token = (
            whole.blocks + page.blocks,
            whole.rows + page.rows,
            page.token,
        )
    return whole


@pytest.fixture
def begin(database: Database, ids: IdMaker) -> Begin:
    """Transactions of a service."""
    return lambda: UnitOfWork(database, ids, None, None)


@pytest.fixture
async def chain(database: Database, begin: Begin, ids: IdMaker) -> list[Block]:
    """Three blocks of three rows."""
    made: list[Block] = []
    for _ in range(3):
        await write(database, ids)
        block = await seal(begin, "pay", KEYS)
        assert block is not None
        made.append(block)
    return made


async def test_blocks_are_a_chain_that_proves_itself(
    database: Database, begin: Begin, chain: list[Block]
) -> None:
    assert [one.block_no for one in chain] == [1, 2, 3]
    assert [one.previous_digest for one in chain] == [
        FIRST_PREVIOUS,
        chain[0].digest,
        chain[1].digest,
    ]
    proof = await proved(database)
    assert (proof.findings, proof.blocks, proof.rows) == ([], 3, 9)
    assert proof.head == Head(3, chain[2].digest)
    assert await seal(begin, "pay", KEYS) is None


async def test_each_block_is_published_with_its_digest(
    database: Database, chain: list[Block]
) -> None:
    rows = (await run(database, "SELECT subject, key, body FROM event ORDER BY event_id")).all()
    assert [row.subject for row in rows] == ["shoudan.events.pay.audit_log.sealed"] * 3
    told = [pb.AuditLogSealed.FromString(row.body) for row in rows]
    assert [(one.block_no, one.digest) for one in told] == [
        (block.block_no, block.digest) for block in chain
    ]


async def test_a_row_committed_late_with_a_smaller_number_is_sealed(
    database: Database, begin: Begin, ids: IdMaker
) -> None:
    async with database.begin() as late:
        await store.write(late, ids, ORIGIN, entries(1))
        await write(database, ids, 2)
        first = await seal(begin, "pay", KEYS)
    second = await seal(begin, "pay", KEYS)
    assert first is not None
    assert second is not None
    assert (first.row_count, second.row_count) == (2, 1)
    assert second.last_id < first.first_id
    assert (await proved(database)).findings == []


async def test_two_processes_seal_no_row_twice(
    database: Database, begin: Begin, ids: IdMaker
) -> None:
    await write(database, ids, 20)
    made = await asyncio.gather(*(seal(begin, "pay", KEYS) for _ in range(4)))
    assert [one.row_count for one in made if one is not None] == [20]
    assert (await proved(database)).rows == 20


async def test_a_look_seals_everything_in_blocks_of_a_bounded_size(
    database: Database, begin: Begin, ids: IdMaker
) -> None:
    await write(database, ids, 2 * BLOCK_ROWS_MAX + 1)
    await look(database, begin, "pay", KEYS)
    counts = await run(database, "SELECT row_count FROM audit_log_block ORDER BY block_no")
    assert list(counts.scalars()) == [BLOCK_ROWS_MAX, BLOCK_ROWS_MAX, 1]
    assert BLOCK_NO()._value.get() == 3
    assert UNSEALED_AGE_SECONDS()._value.get() == 0


async def test_a_row_that_cannot_be_sealed_ages_in_the_gauge(
    database: Database, begin: Begin, ids: IdMaker
) -> None:
    await write(database, ids, 1)
    await run(database, "DELETE FROM audit_log")
    await run(
        database, "UPDATE audit_log_unsealed SET create_time = create_time - interval '1 hour'"
    )
    await look(database, begin, "pay", KEYS)
    assert UNSEALED_AGE_SECONDS()._value.get() >= 3600
    (found,) = (await proved(database)).findings
    assert found.what == "a row was taken away before it was sealed"


async def test_a_key_that_was_changed_proves_what_it_sealed(
    database: Database, begin: Begin, ids: IdMaker, chain: list[Block]
) -> None:
    await write(database, ids)
    both = keys("k2", "k1")
    assert await seal(begin, "pay", both) is not None
    assert (await proved(database, both)).findings == []
    found = (await proved(database, keys("k2"))).findings
    assert {(one.first_block, one.what) for one in found} == {
        (n, "a block is sealed with a key that is not known here: k1") for n in (1, 2, 3)
    }
    assert chain


SECOND = "(SELECT min(id) FROM audit_log_sealed WHERE block_no = 2)"
REWRITTEN = "UPDATE audit_log SET after = '{}' WHERE id = " + SECOND


@pytest.mark.parametrize(
    ("attack", "found"),
    [
        ((REWRITTEN,), {("a row was changed", 2, True)}),
        ((f"DELETE FROM audit_log WHERE id = {SECOND}",), {("a row is missing", 2, True)}),
        (
            (
                f"DELETE FROM audit_log WHERE id = {SECOND}",
                f"DELETE FROM audit_log_sealed WHERE id = {SECOND}",
            ),
            {("the rows of a block are not those that were sealed", 2, False)},
        ),
        (
            (
                REWRITTEN,
                "UPDATE audit_log_sealed SET digest = sha256('other') WHERE id = " + SECOND,
            ),
            {
                ("a row was changed", 2, True),
                ("the rows of a block are not those that were sealed", 2, False),
            },
        ),
        (
            ("DELETE FROM audit_log_block WHERE block_no = 2",),
            {("blocks are missing", 2, False)},
        ),
        (
            ("UPDATE audit_log_block SET create_time = now() WHERE block_no = 2",),
            {("a block was changed", 2, False)},
        ),
        (
            ("UPDATE audit_log_block SET seal = sha256(digest) WHERE block_no = 2",),
            {("a block was not sealed with our key", 2, False)},
        ),
        (
            ("DELETE FROM audit_log_block WHERE block_no = 3",),
            {("the last blocks are missing", 3, False)},
        ),
        (
            (
                "DELETE FROM audit_log_block WHERE block_no = 3",
                "DELETE FROM audit_log_sealed WHERE block_no = 3",
            ),
            {("a row is in no block", 0, True)},
        ),
        (
            (
                f"""INSERT INTO audit_log SELECT 5, create_time, service, action, caller_kind, caller_ref,
                address, subject_kind, subject_key, before, after, reason, request_id, proposal_id,
                outcome FROM audit_log WHERE id = {SECOND}""",
            ),
            {("a row is in no block", 0, True)},
        ),
    ],
)
async def test_whatever_is_changed_afterwards_is_found(
    database: Database, chain: list[Block], attack: tuple[str, ...], found: set[Any]
) -> None:
    number = (await run(database, f"SELECT {SECOND}")).scalar_one()
    for sql in attack:
        await run(database, sql)
    findings = (await proved(database)).findings
    assert {(one.what, one.first_block, one.first_id == one.last_id) for one in findings} == found
    for one in findings:
        if one.first_block == 2 and one.first_id == one.last_id and one.first_id:
            assert one.first_id == number
    assert chain


async def test_a_chain_forged_without_the_key_is_found_from_its_first_block(
    database: Database, begin: Begin, chain: list[Block]
) -> None:
    await run(database, "UPDATE audit_log SET reason = 'other'")
    await run(database, "DELETE FROM audit_log_sealed")
    await run(database, "DELETE FROM audit_log_block")
    await run(database, "INSERT INTO audit_log_unsealed SELECT id, create_time FROM audit_log")
    forger = SealKeys({"k1": bytes(32)})
    assert await seal(begin, "pay", forger) is not None
    assert [one.what for one in (await proved(database)).findings] == [
        "a block was not sealed with our key"
    ]
    assert chain


async def test_an_end_cut_off_with_its_rows_is_found_by_a_digest_kept_elsewhere(
    database: Database, chain: list[Block]
) -> None:
    kept = Head(3, chain[2].digest)
    assert (await proved(database, expected=kept)).findings == []
    await run(
        database,
        "DELETE FROM audit_log USING audit_log_sealed s WHERE s.id = audit_log.id AND block_no = 3",
    )
    await run(database, "DELETE FROM audit_log_sealed WHERE block_no = 3")
    await run(database, "DELETE FROM audit_log_block WHERE block_no = 3")
    assert (await proved(database)).findings == []  # so it is not found here alone
    assert (await proved(database, expected=kept)).findings == [
        Finding("a block known before is missing", 3, 3)
    ]
    other = Head(2, bytes(32))
    assert (await proved(database, expected=other)).findings == [
        Finding("a block is not the one known before", 2, 2)
    ]


async def test_a_proof_goes_on_page_by_page(database: Database, begin: Begin, ids: IdMaker) -> None:
    await write(database, ids, BLOCKS_MAX + 2)
    await look(database, begin, "pay", KEYS, rows_max=1)
    first = await verify(database, "pay", KEYS)
    assert (first.blocks, first.token) == (BLOCKS_MAX, f"block:{BLOCKS_MAX}")
    whole = await proved(database)
    assert (whole.findings, whole.blocks) == ([], BLOCKS_MAX + 2)
    for token in ("x", "row:", "block:-1", "row:99999999999999999999"):
        with pytest.raises(ValueError, match="page_token"):
            await verify(database, "pay", KEYS, token)


@pytest.mark.parametrize(
    "text_of", ["", "k1", "k1:AAAA", "k1:!", "k 1:" + base64.b64encode(bytes(32)).decode()]
)
def test_keys_that_cannot_be_used_are_refused(text_of: str) -> None:
    with pytest.raises(ValueError, match="key"):
        SealKeys.parse(text_of)
