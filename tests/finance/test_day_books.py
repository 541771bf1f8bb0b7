"""Promises of the facts: a day is complete when its movements are the ledger's, whatever is lost or dies."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import date
from struct import pack
from typing import Any

import pytest
from grpc import aio

from shoudan.finance.v1 import events_pb2
from shoudan.finance.v1 import finance_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2 as ledger_pb
from shoudan_finance import day_books, events, filling
from shoudan_finance.chain_check import DayDiffers
from shoudan_finance.pay_client import PayClient
from shoudan_finance.store import movements
from shoudan_kit.embedded import DatabaseUrls, Nats
from shoudan_kit.rpc.refusal import refused_from_rpc
from tests.finance.harness import NEVER_S, FinanceHarness, opened
from tests.pay.ledger.harness import YUAN, LedgerHarness, deduct, posting
from tests.poll import eventually

Databases = Callable[[str], Awaitable[DatabaseUrls]]


async def moved(ledger: LedgerHarness, count: int, accounts: int = 2) -> list[Any]:
    """Accounts that were filled once and spent `count` times."""
    keys = [await ledger.account(100_000 * YUAN) for _ in range(accounts)]
    for key in keys:
        for start in range(0, count, 500):
            size = min(500, count - start)
            await ledger.groups(*([deduct(key, YUAN, about=1)] for _ in range(size)))
    return keys


async def published(harness: FinanceHarness, subject: str, day: date) -> list[bytes]:
    rows = await harness.sql(
        "SELECT body FROM event WHERE subject = $1 AND key = $2", subject, f"day-{day}"
    )
    return [row["body"] for row in rows]


async def refused(call: Any) -> str:
    with pytest.raises(aio.AioRpcError) as raised:
        await call
    found = refused_from_rpc(raised.value)
    assert found is not None
    return found.reason.removeprefix("ERROR_REASON_")


async def test_a_complete_day_is_the_ledgers_day_movement_by_movement(
    harness: FinanceHarness,
) -> None:
    keys = await moved(harness.ledger, 3)
    day = await harness.close_day()
    await harness.ledger.post(posting(keys[0], YUAN))  # of the next day
    found = await harness.completed(day)
    assert (found.accounts, found.movements) == (2, 8)
    assert (found.debits_micros, found.credits_micros) == (6 * YUAN, 200_000 * YUAN)
    accounts = await harness.accounts(day)
    assert [(one.groups, one.eid) for one in accounts] == [
        ("down_channel", key.eid) for key in keys
    ]
    theirs = [
        record
        for one in accounts
        for record in await exported(harness.ledger, one.account_id, one.seq_from, one.seq_to)
    ]
    ours = await harness.movements(day)
    names = [field.name for field in pb.Movement.DESCRIPTOR.fields]
    assert [[getattr(one, n) for n in names] for one in ours] == [
        [getattr(one, n) for n in names] for one in theirs
    ]
    assert found.digest == digest(accounts)
    (body,) = await published(harness, events.COMPLETE, day)
    said = events_pb2.DayCompleted.FromString(body)
    assert (said.day, said.movements, said.digest) == (day.isoformat(), 8, found.digest)


def digest(accounts: list[pb.AccountDay]) -> bytes:
    """As the contract describes it."""
    made = hashlib.sha256()
    for one in accounts:
        made.update(pack(">qqqq", one.account_id, one.seq_from, one.seq_to, one.closing_micros))
        made.update(one.head_hash)
    return made.digest()


async def exported(ledger: LedgerHarness, account: int, first: int, last: int) -> list[Any]:
    piece = ledger_pb.ExportRecordsRequest.Piece(account_id=account, seq_from=first, seq_to=last)
    parts = ledger.stub.ExportRecords(ledger_pb.ExportRecordsRequest(pieces=[piece]))
    return [one async for part in parts for one in part.records]


async def test_movements_are_exported_from_any_key_on(harness: FinanceHarness) -> None:
    await moved(harness.ledger, 2)
    day = await harness.close_day()
    await harness.completed(day)
    everything = await harness.movements(day)
    assert len(everything) >= 6
    for at, one in enumerate(everything):
        behind = await harness.movements(day, after_account_id=one.account_id, after_seq=one.seq)
        assert behind == everything[at + 1 :]
    account = everything[-1].account_id
    own = [one for one in everything if one.account_id == account]
    assert await harness.movements(day, account_id=account, after_seq=own[0].seq) == own[1:]
    assert [one.account_id for one in await harness.accounts(day, after_account_id=account)] == []


async def test_a_day_that_is_not_here_or_not_complete_has_no_movements(
    harness: FinanceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await moved(harness.ledger, 1)
    day = await harness.close_day()
    assert await refused(harness.get(day)) == "DAY_NOT_FOUND"

    async def unfinished(*_: Any) -> bool:
        raise DayDiffers("made up")

    with monkeypatch.context() as patched:
        patched.setattr(filling, "fill", unfinished)
        await day_books.note(harness.context)

        async def differs() -> bool:
            return (await harness.get(day)).status == pb.DAY_STATUS_DIFFERS

        await eventually(differs)
        assert await refused(harness.movements(day)) == "DAY_INCOMPLETE"
        assert await refused(harness.accounts(day)) == "DAY_INCOMPLETE"
        assert (await harness.get(day)).what == "made up"
        (body,) = await published(harness, events.DIFFERS, day)
        assert events_pb2.DayDiffers.FromString(body).what == "made up"
    shown = await harness.run("day", str(day))
    assert (shown.exit_code, "differs: made up" in shown.output) == (1, True)
    again = await harness.run("recheck", str(day))
    assert (again.exit_code, "is looked at again" in again.output) == (0, True)

    async def complete() -> bool:
        return (await harness.get(day)).status == pb.DAY_STATUS_COMPLETE

    await eventually(complete)
    assert "complete" in (await harness.run("recheck", str(day))).output


@pytest.mark.parametrize("dies_at", [1, 2, 3])
async def test_a_day_goes_on_where_a_process_died(
    new_database: Databases, ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    """Each page is a transaction: what dies after the second of three leaves two."""
    urls = await new_database("finance")
    appended: list[int] = []
    append = movements.append

    async def dying(db: Any, page: Any) -> None:
        if len(appended) + 1 == dies_at:
            raise ConnectionResetError("died")
        await append(db, page)
        appended.append(len(page))

    async with opened(urls, ledger, frozenset({"rpc"})) as first:
        await moved(ledger, 2_500, accounts=1)
        day = await first.close_day()
        with monkeypatch.context() as patched:
            patched.setattr(movements, "append", dying)
            async with first.process.app.work("note") as work:
                closed = await first.context.pay.closed_days(day)
                await day_books.days.note(work.db, closed)
            with pytest.raises(ConnectionResetError):
                await filling.fill(first.context, day)
        stored = await first.sql("SELECT count(*) FROM movement")
        assert stored[0][0] == sum(appended)
        assert len(appended) == dies_at - 1
    async with opened(urls, ledger) as second:
        found = await second.completed(day)
        assert found.movements == 2_501
        assert len(await second.movements(day)) == 2_501


async def test_two_processes_fill_a_day_once(
    new_database: Databases, ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = await new_database("finance")
    runs: list[date] = []
    fill = filling.fill

    async def counted(context: Any, day: date) -> bool:
        runs.append(day)
        return await fill(context, day)

    monkeypatch.setattr(filling, "fill", counted)
    async with opened(urls, ledger) as one, opened(urls, ledger) as other:
        await moved(ledger, 5)
        day = await one.close_day()
        await day_books.note(other.context)
        await one.completed(day)
        await day_books.note(other.context)
        assert runs.count(day) == 1


async def test_a_run_ends_in_time_and_the_next_goes_on(
    harness: FinanceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "RUN_MAX", 3)
    monkeypatch.setattr(filling, "PART_MAX", 3)
    await moved(harness.ledger, 3, accounts=4)
    day = await harness.close_day()
    found = await harness.completed(day)
    assert (found.accounts, found.movements) == (4, 16)


BROKEN: dict[str, Callable[[list[Any]], list[Any]]] = {
    "one is left out": lambda page: page[:1] + page[2:],
    "the last ones are left out": lambda page: page[:-1],
    "one comes twice": lambda page: page[:1] + page,
    "the order is another": lambda page: page[::-1],
    "an amount is another": lambda page: [*page[:-1], other(page[-1], amount_micros=1)],
    "a hash is another": lambda page: [*page[:-1], other(page[-1], hash=b"x" * 36)],
    "one of another account": lambda page: [*page, other(page[-1], account_id=1)],
}


def other(one: Any, **more: Any) -> Any:
    fields = {name: getattr(one, name) for name in type(one).__slots__}
    return type(one)(**(fields | more))


@pytest.mark.parametrize("how", BROKEN)
async def test_a_broken_export_never_makes_a_complete_day(
    harness: FinanceHarness, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    await moved(harness.ledger, 3, accounts=1)
    day = await harness.close_day()
    records = PayClient.records

    async def broken(self: PayClient, pieces: Any) -> Any:
        async for page in records(self, pieces):
            yield BROKEN[how](page)

    with monkeypatch.context() as patched:
        patched.setattr(PayClient, "records", broken)
        await day_books.note(harness.context)

        async def differs() -> bool:
            return (await harness.get(day)).status == pb.DAY_STATUS_DIFFERS

        await eventually(differs)
    found = await harness.completed(day)  # the export is whole again, and so is the day
    assert (found.movements, found.what) == (4, "")


async def test_the_proof_counts_what_is_here(harness: FinanceHarness) -> None:
    """A movement that went, or is another one now, is found by the proof, not by the fetch."""
    from shoudan_finance import proving

    await moved(harness.ledger, 3, accounts=1)
    day = await harness.close_day()
    await harness.completed(day)
    row = await day_books.get(harness.context, day)
    await harness.sql("UPDATE movement SET amount_micros = amount_micros - 10 WHERE seq = 2")
    with pytest.raises(DayDiffers, match="other sums"):
        await proving.prove(harness.context, row)
    await harness.sql("DELETE FROM movement WHERE seq = 2")
    with pytest.raises(DayDiffers, match="3 movements of 4"):
        await proving.prove(harness.context, row)
    other_sums = other(row, credits_micros=row.credits_micros + 10)
    with pytest.raises(DayDiffers):
        await proving.prove(harness.context, other_sums)
    # The day stays complete: what was proved is not unproved by a process that was held up.
    await proving.disprove(harness.context, row, "late")
    assert (await harness.get(day)).status == pb.DAY_STATUS_COMPLETE


async def test_a_closed_day_is_heard_of_at_once_and_its_event_may_come_twice(
    new_database: Databases, ledger: LedgerHarness, nats: Nats
) -> None:
    urls = await new_database("finance")
    async with opened(urls, ledger, nats_url=nats.url, follow_s=NEVER_S) as harness:
        await moved(ledger, 2)
        day = await harness.close_day()

        async def complete() -> bool:
            rows = await harness.sql("SELECT status FROM finance_day WHERE day = $1", day)
            return bool(rows) and rows[0]["status"] == pb.DAY_STATUS_COMPLETE

        await eventually(complete, 20)
        whole = await harness.get(day)
        await day_books.note(harness.context)
        assert await harness.get(day) == whole
        assert len(await published(harness, events.COMPLETE, day)) == 1


async def test_days_are_listed_page_by_page(harness: FinanceHarness) -> None:
    made = [await harness.close_day() for _ in range(3)]
    for day in made:
        await harness.completed(day)
    seen: list[str] = []
    request = pb.ListDaysRequest(from_day=made[0].isoformat(), page_size=2)
    while True:
        page = await harness.stub.ListDays(request)
        seen += [one.day for one in page.days]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == [one.isoformat() for one in made]
    listed = await harness.run("days", "--from-day", str(made[0]))
    assert [line.split(":")[0] for line in listed.output.splitlines()] == seen
    shown = await harness.run("day", str(made[0]))
    assert shown.exit_code == 0
    whole = await harness.get(made[0])
    assert f"proof {whole.digest.hex()}" in shown.output
    assert (await harness.run("day", "yesterday")).exit_code == 2
