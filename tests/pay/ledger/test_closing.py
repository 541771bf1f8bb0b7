"""Promises of closing days: a day is a range of each account's records, final, whatever the clock says."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text

from shoudan.pay.v1 import events_pb2
from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.rpc.refusal import Refused
from shoudan_pay.ledger import closing, events
from shoudan_pay.ledger.days import day_of
from shoudan_pay.ledger.store import days as store
from tests.pay.ledger.harness import YUAN, LedgerHarness, deduct, posting, told
from tests.pay.ledger.signing import Turnable, opened
from tests.poll import eventually

NO_CUT = timedelta()


async def today(harness: LedgerHarness) -> date:
    async with harness.process.app.db.connect() as db:
        return day_of(await store.now(db), NO_CUT)


async def closed(harness: LedgerHarness, first: str = "") -> list[pb.LedgerDay]:
    asked = pb.ListLedgerDaysRequest(from_day=first)
    return list((await told(harness.stub.ListLedgerDays(asked))).days)


async def of_day(harness: LedgerHarness, day: date, after: int = 0) -> list[pb.AccountDay]:
    asked = pb.ExportAccountDaysRequest(day=day.isoformat(), after_account_id=after)
    parts = [part async for part in harness.stub.ExportAccountDays(asked)]
    return [one for part in parts for one in part.accounts]


async def exported(harness: LedgerHarness, *pieces: tuple[int, int, int]) -> list[pb.Record]:
    asked = [
        pb.ExportRecordsRequest.Piece(account_id=a, seq_from=f, seq_to=t) for a, f, t in pieces
    ]
    parts = harness.stub.ExportRecords(pb.ExportRecordsRequest(pieces=asked))
    return [one async for part in parts for one in part.records]


async def eventually_closed(harness: LedgerHarness, day: date) -> pb.LedgerDay:
    async def found() -> bool:
        return any(one.day == day.isoformat() for one in await closed(harness))

    await eventually(found, 20)
    return next(one for one in await closed(harness) if one.day == day.isoformat())


async def test_a_process_with_another_cut_does_not_wait_for_the_end_of_the_day_before(
    harness: LedgerHarness,
) -> None:
    """The task that closes days stays as it is when processes begin anew: it comes again soon."""
    waits: list[float] = []
    task: Any = SimpleNamespace(retry_after=waits.append)
    await closing.close_due(harness.process.app, task)
    assert 0 < waits[0] <= closing.LOOK_S


async def test_a_day_is_closed_when_it_is_over_and_takes_nothing_more(
    base: Turnable, folder: Path
) -> None:
    given = {"ledger_close_after_s": 0.0, "ledger_day_cut": "00:00"}
    async with opened(base, folder, **given) as first:
        day = await today(first)
        empty = await eventually_closed(first, day - timedelta(days=1))
        assert (empty.accounts, empty.records) == (0, 0)
        key, still = await first.account(100 * YUAN), await first.account()
        made = [posting(key, 5 * YUAN), deduct(key, 3 * YUAN), deduct(key, YUAN)]
        await first.groups(*[[one] for one in made])
        with pytest.raises(Refused, match="LEDGER_DAY_OPEN"):
            await told_stream(first, day)
        assert [one.day for one in await closed(first, day.isoformat())] == []
    async with opened(base, folder, day=1, **given) as second:
        whole = await eventually_closed(second, day)
        sums = whole.accounts, whole.records, whole.debits_micros, whole.credits_micros
        assert sums == (1, 4, 4 * YUAN, 105 * YUAN)
        (one,) = await of_day(second, day)
        assert (one.account, one.seq_from, one.seq_to) == (key, 1, 4)
        assert (one.opening_micros, one.closing_micros) == (0, 101 * YUAN)
        records = await exported(second, (one.account_id, one.seq_from, one.seq_to))
        assert [r.seq for r in records] == [1, 2, 3, 4]
        assert {r.day for r in records} == {day.isoformat()}
        assert records[-1].hash == one.head_hash
        assert await of_day(second, day, after=one.account_id) == []
    # The clock goes back by a day: what is posted then is of the day after the closed one all the same.
    async with opened(base, folder, day=0, **given) as third:
        assert await today(third) == day
        for owner in (key, still):
            await third.post(posting(owner, YUAN))
        (late,) = await exported(third, (one.account_id, 5, 5))
        assert late.day == (day + timedelta(days=1)).isoformat()
        assert await of_day(third, day) == [one]
        assert await third.findings() == []
        sql = text("SELECT body FROM event WHERE subject = :subject ORDER BY event_id")
        async with third.owner.begin() as db:
            bodies = (await db.execute(sql, {"subject": events.DAY_CLOSED})).scalars().all()
        days = [events_pb2.LedgerDayClosed.FromString(body) for body in bodies]
        assert [one.day for one in days] == [empty.day, whole.day]
        assert days[-1].credits_micros == 105 * YUAN


async def told_stream(harness: LedgerHarness, day: date) -> None:
    """Raises what refused it."""
    stream = harness.stub.ExportAccountDays(pb.ExportAccountDaysRequest(day=day.isoformat()))
    await told(stream.read())


async def test_no_record_is_lost_or_counted_twice_while_a_day_is_closed(
    harness: LedgerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "RECORDS_MAX", 7)
    keys = [await harness.account(100 * YUAN) for _ in range(3)]
    day = await today(harness)
    over = asyncio.Event()

    async def move(key: pb.AccountKey) -> None:
        while not over.is_set():
            await harness.groups(*[[deduct(key, 10)] for _ in range(5)])

    moving = [asyncio.create_task(move(key)) for key in keys]

    async def moved() -> bool:
        return all([len(await harness.records(key)) > 12 for key in keys])

    await eventually(moved, 20)
    await closing.close(harness.process.app, day, NO_CUT)
    await eventually(lambda: all_moved_on(harness, keys, day), 20)
    over.set()
    await asyncio.gather(*moving)
    of_accounts = {one.account.eid: one for one in await of_day(harness, day)}
    for key in keys:
        one = of_accounts[key.eid]
        records = sorted(await everything(harness, one.account_id), key=lambda r: r.seq)
        mine = [r for r in records if r.seq <= one.seq_to]
        assert {r.day for r in mine} == {day.isoformat()}
        later = {r.day for r in records if r.seq > one.seq_to}
        assert later == {(day + timedelta(days=1)).isoformat()}
        assert one.debits_micros == -sum(r.amount_micros for r in mine if r.amount_micros < 0)
        assert one.closing_micros == mine[-1].balance_micros
    # Again, as a process does that died before it could say that it had closed the day.
    before = await of_day(harness, day)
    await closing.close(harness.process.app, day, NO_CUT)
    assert await of_day(harness, day) == before
    await closing.close(harness.process.app, day + timedelta(days=1), NO_CUT)
    for one in await of_day(harness, day + timedelta(days=1)):
        assert one.seq_from == of_accounts[one.account.eid].seq_to + 1
        assert one.opening_micros == of_accounts[one.account.eid].closing_micros


async def everything(harness: LedgerHarness, account_id: int) -> list[pb.Record]:
    return await exported(harness, (account_id, 1, 100_000))


async def all_moved_on(harness: LedgerHarness, keys: list[pb.AccountKey], day: date) -> bool:
    newest = [(await harness.records(key, page_size=1))[0] for key in keys]
    return all(one.day > day.isoformat() for one in newest)


async def test_a_day_that_does_not_add_up_is_not_closed(
    harness: LedgerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await harness.account(100 * YUAN)
    app, real = harness.process.app, store.sums

    async def short(db: Any, pieces: Any) -> list[store.Sums]:
        return [
            store.Sums(one.account_id, one.records - 1, one.debits_micros, one.credits_micros)
            for one in await real(db, pieces)
        ]

    (newest,) = await harness.records(key)
    day = date.fromisoformat(newest.day)
    monkeypatch.setattr(store, "sums", short)
    with pytest.raises(closing.DayBroken):
        await closing.close(app, day, NO_CUT)
    assert all(one.day != day.isoformat() for one in await closed(harness))


@pytest.mark.parametrize("piece", [(1, 0, 5), (1, 3, 2), (1, 1, 2**62 + 1)])
async def test_a_piece_that_is_none_is_refused(
    harness: LedgerHarness, piece: tuple[int, int, int]
) -> None:
    one = pb.ExportRecordsRequest.Piece(account_id=piece[0], seq_from=piece[1], seq_to=piece[2])
    with pytest.raises(Refused, match="FIELD_INVALID"):
        await told(harness.stub.ExportRecords(pb.ExportRecordsRequest(pieces=[one])).read())
