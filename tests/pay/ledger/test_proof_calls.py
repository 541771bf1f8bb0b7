"""Promises of long proofs: made of short calls, however many records there are or an account has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_pay.commands import ledger
from shoudan_pay.ledger.entries import Record
from tests.pay.ledger.harness import YUAN, posting
from tests.pay.ledger.signing import SigningHarness, Turnable, opened
from tests.pay.ledger.test_commands import runner

ROWS = 100  # the least a page may have
SHORT: dict[str, Any] = {
    "verify_call_s": 0,
    "verify_page_rows": ROWS,
    "verify_run_pages": 1,
    "verify_workers": 2,
}


async def calls(signing: SigningHarness, *, full: bool) -> list[pb.VerifyResponse]:
    """The last message of each call of a proof."""
    found: list[pb.VerifyResponse] = []
    request = pb.VerifyRequest(full=full)
    while not found or not found[-1].done:
        told: list[pb.VerifyResponse] = [one async for one in signing.stub.Verify(request)]
        found.append(told[-1])
        request.begin.CopyFrom(found[-1].next)
        assert len(found) < 100
    return found


async def made(base: Turnable, folder: Path) -> tuple[pb.AccountKey, list[Record]]:
    """A statement amid a chain of 350 records, with short ones around it."""
    async with opened(base, folder, day=-1, **SHORT) as signing:
        for count in (3, 60, 60):
            await signing.chain(count)
        key = await signing.chain(150)
        await signing.seal()
    async with opened(base, folder, **SHORT) as signing:
        await signing.groups(*[[posting(key, YUAN)] for _ in range(200)])
        await signing.chain(2)
        return key, [await one(signing, key, seq) for seq in (100, 149, 150, 151, 250, 350)]


async def one(signing: SigningHarness, key: pb.AccountKey, seq: int) -> Record:
    return (await signing.stored(key))[seq - 1]


async def test_a_proof_of_any_length_is_made_of_short_calls(base: Turnable, folder: Path) -> None:
    key, _ = await made(base, folder)
    async with opened(base, folder, **SHORT) as signing:
        account_id = await signing.id_of(key)
        for full, records in ((True, 475), (False, 202)):
            told = await calls(signing, full=full)
            assert all(call.records <= ROWS for call in told)
            assert (sum(c.records for c in told), sum(c.accounts for c in told)) == (records, 6)
            assert [list(call.findings) for call in told] == [[]] * len(told)
            inside = [c.next.seq for c in told if c.next.account_id == account_id and c.next.seq]
            assert inside == ([100, 150, 250] if full else [250])
        run = runner(signing, ledger)
        shown = await run("verify", "--full")
        assert (shown.exit_code, "6 accounts, 475 records: all hold" in shown.output) == (0, True)
        shown = await run("verify")
        assert "6 accounts, 202 records since statement 1: all hold" in shown.output
        shown = await run("verify", "--against", str(folder), "--full")
        assert (shown.exit_code, "6 accounts, 475 records: all hold" in shown.output) == (0, True)
        shown = await run("verify", "--against", str(folder))
        assert "6 accounts, 202 records since statement 1: all hold" in shown.output


async def test_what_is_broken_is_found_in_whatever_call_it_lies(
    base: Turnable, folder: Path
) -> None:
    _, records = await made(base, folder)
    async with opened(base, folder, **SHORT) as signing:
        run = runner(signing, ledger)
        for record in records:
            await changed(signing, record, memo="x")
            shown = await run("verify", "--full")
            assert (shown.exit_code, f"record {record.record_id}: " in shown.output) == (1, True)
            against = await run("verify", "--against", str(folder), "--full")
            assert (against.exit_code, f"record {record.record_id}: " in against.output) == (
                1,
                True,
            )
            await changed(signing, record, memo=record.memo)
        assert (await run("verify", "--full")).exit_code == 0
        # The record at which one call ends and the next begins is not there.
        assert await signing.run(
            "DELETE FROM account_record WHERE record_id = :id", id=records[0].record_id
        )
        assert (await run("verify", "--full")).exit_code == 1
        assert (await run("verify")).exit_code == 0
        assert await signing.run(
            "DELETE FROM account_record WHERE record_id = :id", id=records[4].record_id
        )
        assert (await run("verify")).exit_code == 1


async def test_records_behind_the_end_of_a_long_chain_are_found(
    base: Turnable, folder: Path
) -> None:
    key, _ = await made(base, folder)
    async with opened(base, folder, **SHORT) as signing:
        await signing.run("UPDATE account_info SET seq = 340 WHERE account_id = :id",
                        id=await signing.id_of(key))  # fmt: skip
        for full in (True, False):
            found = [f.what for call in await calls(signing, full=full) for f in call.findings]
            assert any("seq 350 is behind the account's last, 340" in what for what in found)


async def changed(signing: SigningHarness, record: Record, **values: Any) -> None:
    sql = "UPDATE account_record SET memo = :memo WHERE record_id = :id"
    assert await signing.run(sql, id=record.record_id, **values) == 1
