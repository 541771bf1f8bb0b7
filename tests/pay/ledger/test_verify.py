"""Promises of the proof: a whole ledger is proved, every kind of damage is found at its first row."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import text

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.db.pool import Database
from shoudan_pay.ledger.chain_hash import Ring, Trust, unkeyed
from shoudan_pay.ledger.entries import Record, micros_since_1970
from shoudan_pay.ledger.store import records as record_store
from shoudan_pay.ledger.verify import Limits, Scope, verify
from tests.pay.ledger.harness import YUAN, LedgerHarness, deduct, posting, told


@pytest.fixture
async def owner(harness: LedgerHarness) -> AsyncIterator[Database]:
    """Somebody who may do what the service may not."""
    database = Database(harness.urls.owner)
    yield database
    await database.dispose()


async def damaged(owner: Database, sql: str, **binds: object) -> None:
    async with owner.begin() as db:
        assert (await db.execute(text(sql), binds)).rowcount


async def chain(harness: LedgerHarness, ident: str) -> list[pb.Record]:
    """An account of its own ident with five records, oldest first."""
    key = await harness.account(ident=ident)
    await harness.groups(*[[posting(key, n * YUAN)] for n in range(1, 6)])
    return (await harness.records(key))[::-1]


async def test_a_whole_ledger_is_proved(harness: LedgerHarness) -> None:
    records = await chain(harness, "whole")
    await harness.post(deduct(records[0].account, 3 * YUAN))
    assert await harness.findings("whole") == []


async def test_a_changed_amount_is_found(harness: LedgerHarness, owner: Database) -> None:
    third = (await chain(harness, "amount"))[2]
    await damaged(
        owner,
        "UPDATE account_record SET amount_micros = amount_micros + 10 WHERE record_id = :id",
        id=third.record_id,
    )
    (found,) = await harness.findings("amount")
    assert found.startswith(f"{third.account_id}/{third.record_id}: balance")


async def test_an_amount_changed_with_everything_behind_it_is_found(
    harness: LedgerHarness, owner: Database
) -> None:
    records = await chain(harness, "forged")
    third = records[2]
    forged = """UPDATE account_record SET balance_micros = balance_micros + 10,
        amount_micros = amount_micros + CASE WHEN record_id = :id THEN 10 ELSE 0 END
        WHERE account_id = :account AND seq >= 3"""
    await damaged(owner, forged, id=third.record_id, account=third.account_id)
    await damaged(
        owner,
        "UPDATE account_info SET balance_micros = balance_micros + 10 WHERE account_id = :account",
        account=third.account_id,
    )
    (found,) = await harness.findings("forged")
    assert found.startswith(f"{third.account_id}/{third.record_id}: the hash does not fit")


FORGED = """INSERT INTO account_record SELECT record_id + 1, account_id, contra_account_id, 'forged',
    ext_no, trade_type, change_type, 10, balance_micros + 10, floor_micros, seq + 1, memo,
    create_time, :hash FROM account_record WHERE record_id = :id"""
SPENT = """UPDATE account_info SET balance_micros = balance_micros + 10, seq = seq + 1, head_hash = :hash
    WHERE account_id = :account"""


def forged(last: Record, seal: Callable[..., bytes]) -> bytes:
    """The seal of a record of 10 micros behind `last`, as somebody who can write would make it."""
    facts = (last.record_id + 1, last.account_id, last.contra_account_id, "forged", last.ext_no)
    kinds = (last.trade_type, last.change_type, 10, last.balance_micros + 10, last.floor_micros)
    rest = (last.seq + 1, last.memo, micros_since_1970(last.create_time))
    return seal(last.hash, *facts, *kinds, *rest)


async def last_of(harness: LedgerHarness, ident: str) -> Record:
    records_ = await chain(harness, ident)
    database = Database(harness.urls.service)
    try:
        async with database.connect() as db:
            account_id = records_[-1].account_id
            found = await record_store.chain(db, after=(account_id, 4), last_id=account_id, most=1)
    finally:
        await database.dispose()
    return found[0]


@pytest.mark.parametrize(
    ("ident", "seal", "what"),
    [
        ("unkeyed", unkeyed, "its seal has no key"),
        ("stranger", Ring("a key of his own").seal, "its seal is of a key that is not known"),
    ],
)
async def test_a_well_sealed_record_of_who_can_write_but_has_no_key_is_found(
    harness: LedgerHarness, ident: str, seal: Callable[..., bytes], what: str
) -> None:
    """As the service's own role: appending and moving a balance is what it may do."""
    last = await last_of(harness, ident)
    made = forged(last, seal)
    service = Database(harness.urls.service)
    try:
        await damaged(service, FORGED, id=last.record_id, hash=made)
        await damaged(service, SPENT, account=last.account_id, hash=made)
    finally:
        await service.dispose()
    (found,) = await harness.findings(ident)
    assert what in found


async def test_a_chain_is_proved_across_a_change_of_keys(harness: LedgerHarness) -> None:
    await chain(harness, "rotated")
    old = harness.process.settings.ledger_keys.reveal()
    database = Database(harness.urls.service)
    try:
        for keys, whole in ((f"new\n{old}", True), ("new", False)):
            async for at in verify(database, Scope("rotated"), Limits(Trust(Ring(keys)), 1000)):
                last = at
            assert (not last.findings) is whole
    finally:
        await database.dispose()


async def test_a_removed_row_is_found(harness: LedgerHarness, owner: Database) -> None:
    records = await chain(harness, "removed")
    await damaged(
        owner, "DELETE FROM account_record WHERE record_id = :id", id=records[1].record_id
    )
    (found,) = await harness.findings("removed")
    assert found.startswith(f"{records[2].account_id}/{records[2].record_id}: seq 3 follows 1")


async def test_a_removed_last_row_is_found(harness: LedgerHarness, owner: Database) -> None:
    records = await chain(harness, "last")
    await damaged(
        owner, "DELETE FROM account_record WHERE record_id = :id", id=records[-1].record_id
    )
    (found,) = await harness.findings("last")
    assert found.startswith(f"{records[0].account_id}/0: its row says 5 records")


async def test_swapped_rows_are_found(harness: LedgerHarness, owner: Database) -> None:
    records = await chain(harness, "swapped")
    two, three = records[1], records[2]
    name = "UPDATE account_record SET trade_no = :name WHERE record_id = :id"
    for record, trade_no in ((two, "aside"), (three, two.trade_no), (two, three.trade_no)):
        await damaged(owner, name, id=record.record_id, name=trade_no)
    (found,) = await harness.findings("swapped")
    assert found.startswith(f"{two.account_id}/{two.record_id}: the hash does not fit")


async def test_an_added_row_is_found(harness: LedgerHarness, owner: Database) -> None:
    records = await chain(harness, "added")
    copy = """INSERT INTO account_record SELECT record_id + 1, account_id, contra_account_id, 'forged',
        ext_no, trade_type, change_type, amount_micros, balance_micros, floor_micros, seq + :ahead,
        memo, create_time, hash FROM account_record WHERE record_id = :id"""
    await damaged(owner, copy, id=records[-1].record_id, ahead=1)
    (found,) = await harness.findings("added")
    assert "seq 6 is behind the account's last, 5" in found


async def test_a_record_without_an_account_is_found(
    harness: LedgerHarness, owner: Database
) -> None:
    records = await chain(harness, "orphan")
    orphan = """INSERT INTO account_record SELECT record_id + 1, 999999999, contra_account_id, 'orphan',
        ext_no, trade_type, change_type, amount_micros, balance_micros, floor_micros, seq, memo,
        create_time, hash FROM account_record WHERE record_id = :id"""
    await damaged(owner, orphan, id=records[-1].record_id)
    assert any("its account does not exist" in found for found in await harness.findings())
    await damaged(owner, "DELETE FROM account_record WHERE account_id = 999999999")


async def test_a_changed_balance_of_an_account_is_found(
    harness: LedgerHarness, owner: Database
) -> None:
    records = await chain(harness, "balance")
    await damaged(
        owner,
        "UPDATE account_info SET balance_micros = 0 WHERE account_id = :account",
        account=records[0].account_id,
    )
    (found,) = await harness.findings("balance")
    assert found.startswith(f"{records[0].account_id}/0: its row holds 0 micros")


async def test_the_proof_holds_while_the_ledger_moves(harness: LedgerHarness) -> None:
    keys = [await harness.account(ident="moving") for _ in range(20)]

    async def move() -> None:
        for _ in range(15):
            await harness.groups(*[[posting(key, YUAN)] for key in keys])

    moving = asyncio.create_task(move())
    while not moving.done():
        assert await harness.findings("moving") == []
    await moving
    assert await harness.findings("moving") == []


async def test_progress_is_told_and_never_beyond_the_whole(harness: LedgerHarness) -> None:
    await chain(harness, "progress")
    told_: list[pb.VerifyResponse] = [
        one async for one in harness.stub.Verify(pb.VerifyRequest(ident="progress"))
    ]
    last = told_[-1]
    assert (last.records, last.records_total, last.accounts, last.accounts_total) == (5, 5, 2, 2)
    assert all(one.records <= one.records_total for one in told_)
    assert [one.done for one in told_] == [False] * (len(told_) - 1) + [True]


async def test_a_platform_account_holds_the_opposite_of_what_it_faces(
    harness: LedgerHarness,
) -> None:
    ident = "facing"
    for micros in (3 * YUAN, 4 * YUAN):
        await harness.account(micros, ident=ident, groups="member")
    platform = pb.AccountKey(ident=ident, groups="platform", eid="member")
    found = await told(harness.stub.GetAccount(pb.GetAccountRequest(key=platform)))
    assert found.account.balance_micros == -7 * YUAN
    request = pb.GetBalanceRequest(key=platform)
    request.time.GetCurrentTime()
    assert (await told(harness.stub.GetBalance(request))).balance_micros == -7 * YUAN
    records = await harness.records(pb.AccountKey(ident=ident))
    assert {r.contra_account_id for r in records} == {found.account.account_id}
