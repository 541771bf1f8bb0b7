"""Promises of the signed statement: a ledger that was cut, rewritten or set back is found by it.

None of this can be found from inside the database: who may write there makes everything fit.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from shoudan.pay.v1 import events_pb2
from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.config import Secret
from shoudan_kit.db.text_statements import watched
from shoudan_pay.ledger import events
from shoudan_pay.ledger.chain_hash import trust_of
from shoudan_pay.ledger.entries import Record
from shoudan_pay.ledger.statement_files import HeadFile, check_heads, read_file
from shoudan_pay.ledger.statements import Keys
from shoudan_pay.ledger.verify import Limits, Scope, verify
from tests.pay.ledger.harness import YUAN, deduct, posting, told
from tests.pay.ledger.signing import SigningHarness, Turnable, first_key, opened, sealed_yesterday


async def blind(base: Turnable) -> None:
    """From inside the database alone everything fits."""
    async with opened(base, None) as without:
        assert await without.full_findings() == []


# ---------------------------------------------------------------- what is made


async def test_a_day_has_one_statement_and_a_repeat_gives_it_again(signing: SigningHarness) -> None:
    await signing.chain(3)
    made = await signing.seal()
    assert (made.number, made.existed, made.progress.records) == (1, False, 3)
    (file,) = signing.files()
    before = file.read_bytes()
    await signing.chain(2)
    again = await signing.seal()
    assert (again.number, again.existed, again.hash, again.file) == (1, True, made.hash, file.name)
    assert (signing.files(), file.read_bytes()) == ([file], before)


async def test_a_statement_says_where_every_chain_ends_and_who_signed_it(
    signing: SigningHarness,
) -> None:
    key = await signing.chain(4)
    await signing.post(deduct(key, YUAN))
    made = await signing.seal()
    # As an auditor reads it: with the public key alone.
    shown = await told(signing.stub.GetStatementKeys(pb.GetStatementKeysRequest()))
    kept = read_file(signing.files()[0], Keys("\n".join(shown.keys)))
    check_heads(kept)
    said = kept.statement
    assert (said.number, said.accounts, said.records, said.sum_micros) == (1, 2, 5, 3 * YUAN)
    assert (kept.read.hash, said.previous, said.proved_from) == (made.hash, "", 0)
    last = (await signing.stored(key))[-1]
    with HeadFile(kept.path, kept.heads_bytes) as heads:
        head = heads.take(10)[-1]
    assert (head.account_id, head.seq, head.hash) == (last.account_id, 5, last.hash)
    assert kept.path.stat().st_mode & 0o222 == 0


async def test_a_statement_is_published_with_its_signed_line(signing: SigningHarness) -> None:
    await signing.chain(1)
    made = await signing.seal()
    await signing.seal()
    async with signing.owner.begin() as db:
        sql = text("SELECT body FROM event WHERE subject = :subject")
        (row,) = (await db.execute(sql, {"subject": events.SEALED})).all()
    body = events_pb2.LedgerSealed.FromString(row.body)
    assert (body.number, body.hash, body.records) == (1, made.hash, 1)
    assert signing.keys.read(body.signed).hash == made.hash


async def test_a_statement_follows_the_one_before_and_proves_what_was_added_since(
    base: Turnable, folder: Path
) -> None:
    async with sealed_yesterday(base, folder) as signing:
        key = await first_key(signing)
        await signing.groups(*[[posting(key, YUAN)] for _ in range(3)])
        new = await signing.chain(2)
        made = await signing.seal()
        # The day's five records, none of the history's.
        assert (made.number, made.progress.records, made.progress.findings) == (2, 5, [])
        one, two = [read_file(file, signing.keys) for file in signing.files()]
        assert two.statement.previous == one.read.hash
        assert (two.statement.proved_from, two.statement.records) == (1, 10)
        assert await signing.balance(new) == 2 * YUAN


async def test_what_did_not_move_is_proved_without_reading_its_records(
    signing: SigningHarness,
) -> None:
    for _ in range(5):
        await signing.chain()
    await signing.seal()
    await signing.days_closed()
    seen: list[str] = []
    with watched(seen.append):
        last = await signing.proof()
    assert (last.records, last.accounts, last.findings) == (0, 6, [])
    # Accounts and records counted, the newest statement, a page of heads, one look for strays.
    ours = [one for one in seen if "account_" in one or "ledger_statement" in one]
    assert len(ours) == 4


async def test_every_record_is_proved_again_after_some_days(base: Turnable, folder: Path) -> None:
    for day, proved_from in ((-3, 0), (-2, 1), (-1, 0), (0, 3)):
        async with opened(base, folder, day=day, verify_full_days=2) as signing:
            await signing.chain(1)
            assert (await signing.seal()).progress.findings == []
            assert signing.kept().statement.proved_from == proved_from


async def test_two_processes_make_one_statement(base: Turnable, folder: Path) -> None:
    async with opened(base, folder) as one, opened(base, folder) as two:
        await one.chain(20)
        made = await asyncio.gather(one.seal(), two.seal(), one.seal())
        assert {answer.number for answer in made} == {1}
        assert len({answer.hash for answer in made}) == 1
        assert len(one.files()) == 1


async def test_a_statement_is_whole_while_the_ledger_moves(signing: SigningHarness) -> None:
    keys = [await signing.chain(1) for _ in range(10)]

    async def move() -> None:
        for _ in range(10):
            await signing.groups(*[[posting(key, YUAN)] for key in keys])

    moving = asyncio.create_task(move())
    assert (await signing.seal()).progress.findings == []
    while not moving.done():
        assert (await signing.proof()).findings == []
    await moving
    assert (await signing.proof()).findings == []


async def test_a_process_that_dies_before_it_told_leaves_a_statement_that_is_told_later(
    signing: SigningHarness,
) -> None:
    await signing.chain(1)
    made = await signing.seal()
    await signing.run("DELETE FROM event WHERE subject = :subject", subject=events.SEALED)
    await signing.run("DELETE FROM ledger_statement")
    (signing.folder / ".draft-of-another-that-died").write_text("[1,")
    assert (await signing.seal()).hash == made.hash
    count = "UPDATE event SET text = text WHERE subject = :subject"
    assert await signing.run(count, subject=events.SEALED) == 1


async def test_drafts_of_processes_that_died_are_removed(signing: SigningHarness) -> None:
    (signing.folder / ".draft-of-another").write_text("[1,")
    await signing.seal()
    assert [file.name[:10] for file in signing.files()] == ["statement-"]


async def test_a_new_key_signs_and_the_old_one_proves(base: Turnable, folder: Path) -> None:
    async with opened(base, folder, day=-1) as before:
        await before.chain(1)
        await before.seal()
        (old,) = before.keys.lines
    new = Secret(f"another key of the statements\n{old}")
    async with opened(base, folder, ledger_statement_keys=new) as signing:
        assert (await signing.seal()).number == 2
        used = {read_file(file, signing.keys).read.key for file in signing.files()}
        assert len(used) == 2
    alone = Secret("another key of the statements")
    async with opened(base, folder, ledger_statement_keys=alone) as signing:
        (found, *_) = await signing.findings()
        assert "signed with a key that is not known" in found


# ---------------------------------------------------------------- what it finds


async def test_a_cut_tail_is_found_though_the_account_was_set_back(
    base: Turnable, folder: Path
) -> None:
    async with sealed_yesterday(base, folder) as signing:
        key = await first_key(signing)
        await signing.cut(key, 3)
        wanted = f"{await signing.id_of(key)}/0: its row says 3 records, the statement 5: records were cut"
        (found,) = await signing.findings()
        assert found.startswith(wanted)
        assert [wanted in one for one in await signing.full_findings()] == [True]
        assert await signing.refused() == [found]
        assert len(signing.files()) == 1
        await blind(base)


async def test_a_cut_tail_with_other_records_in_its_place_is_found(
    base: Turnable, folder: Path
) -> None:
    async with sealed_yesterday(base, folder) as signing:
        key = await first_key(signing)
        await signing.cut(key, 3)
        await signing.groups(*[[posting(key, 2 * YUAN)] for _ in range(4)])
        assert any(
            "seq 5 is not the one of the statement" in one for one in await signing.findings()
        )
        assert any("the chain was rewritten" in one for one in await signing.full_findings())


@pytest.mark.parametrize("added", [0, 2])
async def test_a_chain_sealed_again_with_the_key_is_found(
    base: Turnable, folder: Path, added: int
) -> None:
    async with sealed_yesterday(base, folder) as signing:
        key = await first_key(signing)
        await signing.groups(*[[posting(key, YUAN)] for _ in range(added)])
        await signing.rewrite(key, 2, 9 * YUAN)
        assert await signing.findings() != []
        assert any("the chain was rewritten" in one for one in await signing.full_findings())
        assert await signing.refused() != []
        await blind(base)


async def test_a_record_changed_behind_a_statement_is_found_by_the_full_proof(
    base: Turnable, folder: Path
) -> None:
    async with sealed_yesterday(base, folder) as signing:
        third = (await signing.stored(await first_key(signing)))[2]
        await signing.run(
            "UPDATE account_record SET memo = 'x' WHERE record_id = :id", id=third.record_id
        )
        (found,) = await signing.full_findings()
        assert found.startswith(f"{third.account_id}/{third.record_id}: the hash does not fit")


async def test_the_last_record_stated_is_looked_at_though_nothing_moved(
    base: Turnable, folder: Path
) -> None:
    async with sealed_yesterday(base, folder) as signing:
        last = (await signing.stored(await first_key(signing)))[-1]
        change = (
            "UPDATE account_record SET balance_micros = balance_micros + 10 WHERE record_id = :id"
        )
        await signing.run(change, id=last.record_id)
        (found,) = await signing.findings()
        assert f"/{last.record_id}: the record with seq 5 is not the one" in found
        await signing.run("DELETE FROM account_record WHERE record_id = :id", id=last.record_id)
        (found,) = await signing.findings()
        assert "/0: the record with seq 5 is gone" in found


async def test_an_account_that_is_gone_is_found(base: Turnable, folder: Path) -> None:
    async with sealed_yesterday(base, folder) as signing:
        account_id = await signing.id_of(await first_key(signing))
        await signing.run("DELETE FROM account_record WHERE account_id = :id", id=account_id)
        await signing.run("DELETE FROM account_info WHERE account_id = :id", id=account_id)
        wanted = f"{account_id}/0: it is gone; the statement has it with 5 records"
        assert await signing.findings() == [wanted]
        assert await signing.full_findings() == [wanted]
        await blind(base)


async def test_an_account_given_to_another_owner_is_found(base: Turnable, folder: Path) -> None:
    async with sealed_yesterday(base, folder) as signing:
        account_id = await signing.id_of(await first_key(signing))
        await signing.run(
            "UPDATE account_info SET eid = 'his' WHERE account_id = :id", id=account_id
        )
        (found,) = await signing.findings()
        assert found.startswith(f"{account_id}/0: its row names another owner")


async def test_a_balance_set_without_a_record_is_found(base: Turnable, folder: Path) -> None:
    async with sealed_yesterday(base, folder) as signing:
        old = await signing.id_of(await first_key(signing))
        new = await signing.id_of(await signing.account())
        rich = "UPDATE account_info SET balance_micros = 990000000 WHERE account_id = :id"
        await signing.run(rich, id=old)
        with pytest.raises(IntegrityError, match="account_info_head"):
            await signing.run(rich, id=new)
        assert [one.partition(":")[0] for one in await signing.findings()] == [f"{old}/0"]


async def test_a_record_added_behind_an_account_that_did_not_move_is_found(
    base: Turnable, folder: Path
) -> None:
    async with sealed_yesterday(base, folder) as signing:
        last = (await signing.stored(await first_key(signing)))[-1]
        copy = """INSERT INTO account_record SELECT record_id + 1, account_id, contra_account_id,
            'forged', ext_no, trade_type, change_type, amount_micros, balance_micros, floor_micros,
            seq + 1, memo, create_time, hash FROM account_record WHERE record_id = :id"""
        await signing.run(copy, id=last.record_id)
        (found,) = await signing.findings()
        assert f"/{last.record_id + 1}: seq 6 is behind the account's last, 5" in found


async def test_a_damaged_record_of_the_day_is_found_at_its_place(
    base: Turnable, folder: Path
) -> None:
    async with sealed_yesterday(base, folder) as signing:
        key = await first_key(signing)
        await signing.groups(*[[posting(key, YUAN)] for _ in range(3)])
        hurt = (await signing.stored(key))[6]
        change = "UPDATE account_record SET memo = 'x' WHERE record_id = :id"
        await signing.run(change, id=hurt.record_id)
        (found,) = await signing.findings()
        assert found.startswith(f"{hurt.account_id}/{hurt.record_id}: the hash does not fit")
        await signing.run("DELETE FROM account_record WHERE record_id = :id", id=hurt.record_id)
        (found,) = await signing.findings()
        assert "seq 8 follows 6" in found


async def test_records_of_the_day_that_are_gone_are_found(base: Turnable, folder: Path) -> None:
    async with sealed_yesterday(base, folder) as signing:
        key = await first_key(signing)
        await signing.groups(*[[posting(key, YUAN)] for _ in range(2)])
        gone = "DELETE FROM account_record WHERE account_id = :id AND seq > 5"
        await signing.run(gone, id=await signing.id_of(key))
        (found,) = await signing.findings()
        assert "its row says 7 records, the last one there is 5" in found


@pytest.mark.parametrize(("page_rows", "run_accounts"), [(1, 1), (2, 3), (3, 2), (100, 200)])
async def test_the_proof_is_the_same_in_pages_and_runs_of_any_size(
    base: Turnable,
    folder: Path,
    page_rows: int,
    run_accounts: int,
) -> None:
    async with sealed_yesterday(base, folder) as signing:
        keys = [await signing.chain(count) for count in (1, 7, 2, 0, 4)]
        last: Record = (await signing.stored(keys[1]))[6]
        trust = trust_of(signing.process.settings)
        kept, limits = signing.kept(), Limits(trust, page_rows, 3, run_accounts)
        for hurt in (False, True):
            if hurt:
                memo = "UPDATE account_record SET memo = 'x' WHERE record_id = :id"
                await signing.run(memo, id=last.record_id)
            with HeadFile(kept.path, kept.heads_bytes) as stated:
                scope = Scope(stated=stated, full=False)
                (*_, end) = [one async for one in verify(signing.process.app.db, scope, limits)]
            assert (end.records, end.accounts) == (14, 7)
            assert [one.record_id for one in end.findings] == [last.record_id] * hurt
