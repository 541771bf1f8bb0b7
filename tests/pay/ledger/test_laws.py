"""Each law of accounts: postings break none, and damage that breaks one is found."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from shoudan_kit.db.pool import Database
from shoudan_pay.ledger.store.laws import SUBJECT
from tests.pay.ledger.harness import YUAN, LedgerHarness, deduct, posting

# What the table itself refuses, so that damage needs it gone.
LIMIT = "ALTER TABLE account_record DROP CONSTRAINT IF EXISTS account_record_limit"
CHAIN = "ALTER TABLE account_record DROP CONSTRAINT IF EXISTS account_record_chain"
DAMAGE = {
    "account_is_its_last_record": """UPDATE account_info SET balance_micros = balance_micros + 10
        WHERE account_id = :id""",
    "records_follow": """UPDATE account_record SET amount_micros = amount_micros + 10
        WHERE account_id = :id AND seq = 2""",
    "debits_are_covered": """UPDATE account_record SET floor_micros = balance_micros + 10
        WHERE account_id = :id AND amount_micros < 0""",
    "records_have_a_contra": """UPDATE account_record SET contra_account_id = account_id
        WHERE account_id = :id AND seq = 1""",
}


async def broken(harness: LedgerHarness, account_id: int) -> list[str]:
    async with harness.process.app.db.connect() as db:
        return [
            law.name
            for law in SUBJECT.laws
            if (await db.execute(law.statement, {"ids": [account_id]})).all()
        ]


@pytest.mark.parametrize("law", DAMAGE)
async def test_damage_is_found(harness: LedgerHarness, law: str) -> None:
    key = await harness.account(ident="laws")
    await harness.groups(*[[posting(key, n * YUAN)] for n in range(1, 6)])
    record = await harness.post(deduct(key, 3 * YUAN))
    account_id = (await harness.records(key))[0].account_id
    assert record is not None
    assert await broken(harness, account_id) == []
    owner = Database(harness.urls.owner)
    async with owner.begin() as db:
        await db.execute(text(LIMIT))
        await db.execute(text(CHAIN))
        assert (await db.execute(text(DAMAGE[law]), {"id": account_id})).rowcount
    await owner.dispose()
    assert await broken(harness, account_id) == [law]


async def test_what_moved_is_looked_at_first(harness: LedgerHarness) -> None:
    still, moved = await harness.account(ident="still"), await harness.account(ident="moved")
    await harness.groups([posting(still, YUAN)])
    last = (await harness.records(still))[0]
    await harness.groups([posting(moved, YUAN)])
    account_id = (await harness.records(moved))[0].account_id
    async with harness.process.app.db.connect() as db:
        given = {"after": last.record_id, "most": 100}
        assert [row.id for row in await db.execute(SUBJECT.changed, given)] == [account_id]
        given = {"after": account_id - 1, "most": 1}
        assert [row.id for row in await db.execute(SUBJECT.walked, given)] == [account_id]
