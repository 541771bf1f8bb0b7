"""Promises of runs: every difference is found once, what comes late matches, dying loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from grpc import StatusCode, aio
from typer.testing import CliRunner

from shoudan.finance.v1 import reconcile_service_pb2 as pb
from shoudan_finance import reconcile_commands, reconciling
from shoudan_finance.kinds import RECONCILE, Reconcile
from shoudan_finance.matching import Join
from shoudan_finance.states import ExceptionKind, MatchRule, RunEvent, RunStatus
from shoudan_finance.store import entries, matches, runs
from shoudan_finance.store.runs import Counts
from shoudan_kit.tasks.kinds import Task
from tests.finance.books import TODAY, Books, Difference, delivery, noon
from tests.finance.harness import FinanceHarness
from tests.finance.test_day_books import refused

DAY = TODAY - timedelta(days=20)
NEXT = DAY + timedelta(days=1)
YUAN = 1_000_000
pytestmark = pytest.mark.usefixtures("few_at_a_time")
HEAD = "商户单号,平台单号,结算单号,充值账号,面值,金额,时间,类型,状态"


@pytest.fixture
async def books(harness: FinanceHarness) -> AsyncIterator[Books]:
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        made = Books(harness, channel)
        await made.days_pass(DAY - timedelta(days=1), TODAY)
        yield made


def line(
    no: int, micros: int = 98 * YUAN, day: Any = DAY, state: str = "成功", settle: str = ""
) -> str:
    return f"{no},S{no},{settle},,,{micros / YUAN:.2f},{day} 12:00:00,发货,{state}"


def file(*lines: str) -> bytes:
    """Without a footer that has to add up: the rows are what is tested here."""
    amounts = [
        float(one.split(",")[5]) * (1 if "结算" in one.split(",")[7] else -1) for one in lines
    ]
    return "\n".join([HEAD, *lines, f"合计,{len(lines)},{abs(sum(amounts)):.2f}", ""]).encode()


async def test_what_both_say_is_matched_and_every_difference_has_its_name(books: Books) -> None:
    trades = [delivery(one, DAY) for one in (11, 12, 13, 14)]
    await books.traded("names", DAY, [*trades, delivery(15, DAY, failed=True)])
    data = file(
        line(11), line(12, 99 * YUAN), line(13, state="失败"), line(16), line(15, state="失败")
    )
    await books.imported("names", data)
    await books.quiet("names")
    assert await books.open("names") == [
        Difference(ExceptionKind.LONG, 14, "S14", 98 * YUAN),
        Difference(ExceptionKind.SHORT, 0, "S16", -98 * YUAN),
        Difference(ExceptionKind.AMOUNT, 12, "S12", -1 * YUAN),
        Difference(ExceptionKind.STATUS, 13, "S13", 98 * YUAN),
    ]
    (first,) = (await books.stub.ListRuns(pb.ListRunsRequest(source="names"))).runs
    assert (first.matched, first.longs, first.shorts, first.amounts, first.outcomes) == (
        2,
        1,
        1,
        1,
        1,
    )
    assert (first.ours, first.theirs, first.awaiting) == (5, 5, 0)
    again = await books.run("names")
    assert (again.matched, again.longs, again.shorts, again.amounts, again.outcomes) == (
        0,
        0,
        0,
        0,
        0,
    )
    assert len(await books.open("names")) == 4


async def test_what_comes_late_matches_by_itself_and_ends_its_exception(books: Books) -> None:
    await books.traded("late", DAY, [delivery(21, DAY), delivery(22, DAY)])
    await books.imported("late", file(line(21)))
    await books.quiet("late")
    assert [one.kind for one in await books.open("late")] == [ExceptionKind.LONG]
    await books.imported("late", file(line(22, day=NEXT)))
    await books.quiet("late")
    assert await books.open("late") == []
    newest = (await books.stub.ListRuns(pb.ListRunsRequest(source="late"))).runs[0]
    assert (newest.matched, newest.late) == (1, 1)
    ended = await books.harness.sql("SELECT status FROM exception WHERE source = 'late'")
    assert [row[0] for row in ended] == [60]


async def test_what_is_not_due_is_awaited_and_a_day_without_statement_is_counted_as_that(
    books: Books,
) -> None:
    await books.traded("young", DAY, [delivery(31, DAY)])
    await books.traded("young", NEXT, [delivery(32, NEXT), delivery(33, NEXT)])
    await books.traded("young", TODAY, [delivery(34, TODAY)])
    await books.imported("young", file(line(31), line(35, day=TODAY)))
    after = DAY + timedelta(days=2)
    await books.imported("young", file(line(36, day=after)))
    await books.quiet("young")
    run = await books.run("young")
    # The first statement reaches from DAY to TODAY: its days are covered, the young ones are not due.
    assert [(one.kind, one.number) for one in await books.open("young")] == [
        (ExceptionKind.LONG, 32),
        (ExceptionKind.LONG, 33),
        (ExceptionKind.SHORT, 0),
    ]
    assert (run.awaiting, run.uncovered) == (2, 0)
    await books.traded("bare", NEXT, [delivery(37, NEXT)])
    await books.traded("bare", DAY, [delivery(38, DAY)])
    await books.imported("bare", file(line(38)))
    await books.quiet("bare")
    run = await books.run("bare")
    assert (await books.open("bare"), run.awaiting, run.uncovered) == ([], 1, 1)


async def test_what_has_the_number_we_gave_or_only_an_account_a_face_and_a_time_is_matched(
    books: Books,
) -> None:
    own = [
        delivery(one, DAY, sent_no=7000 + one, account="138 0013 8000" if one == 171 else "a@b.cn")
        for one in (171, 172, 173)
    ]
    await books.traded("named", DAY, own)
    by_account = f",,,8613800138000,98,98.00,{DAY} 12:05:00,发货,成功"
    other = f",,,13800138001,98,98.00,{DAY} 12:05:00,发货,成功"
    sent = f"7173,,,,,98.00,{DAY} 12:00:00,发货,成功"
    await books.imported("named", file(by_account, other, sent))
    await books.quiet("named")
    rows = await books.harness.sql(
        "SELECT trade_no, status, rule, account FROM entry WHERE source = 'named' AND book = 1"
        " ORDER BY trade_no"
    )
    assert [tuple(row)[:3] for row in rows] == [
        (171, 30, MatchRule.ACCOUNT),
        (172, 20, MatchRule.NONE),
        (173, 30, MatchRule.OUR_NO),
    ]
    assert [row[3].partition("~")[0] for row in rows] == ["138****00", "****", "****"]
    theirs = await books.harness.sql(
        "SELECT account FROM entry WHERE source = 'named' AND book = 2 AND account <> ''"
    )
    assert rows[0][3] in {row[0] for row in theirs}
    assert not [row[0] for row in theirs if "13800" in row[0]]


async def test_what_payserver_does_not_say_yet_is_awaited_and_then_judged(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> Any:
        raise aio.AioRpcError(StatusCode.UNAVAILABLE, aio.Metadata(), aio.Metadata())

    day, number = DAY + timedelta(days=5), 7_100_000_000_000_001
    pay = f"{number},T1,,,,10.00,{day} 12:00:00,支付,成功"
    data = f"{HEAD}\n{pay}\n合计,1,10.00\n".encode()
    with monkeypatch.context() as patched:
        patched.setattr(type(books.harness.context.pay), "ended_pays", away)
        await books.harness.sql("UPDATE trade_day SET pays = NULL WHERE day = $1", day)
        await books.imported("alipay", data)
        await books.quiet("alipay")
        waits = await books.run("alipay")
    assert (waits.awaiting, await books.open("alipay")) == (1, [])
    found = await books.run("alipay")
    assert (found.awaiting, found.longs) == (0, 1)
    (one,) = await books.open("alipay")
    assert (one.kind, one.their_no, one.diff_micros) == (ExceptionKind.LONG, "T1", 10 * YUAN)


async def test_accounts_of_the_release_before_are_hidden(books: Books) -> None:
    await books.imported("clear", file(f"S1,,,13900139000,,98.00,{DAY} 12:00:00,发货,成功"))
    await books.quiet("clear")
    (hidden,) = await books.harness.sql("SELECT account FROM entry WHERE source = 'clear'")
    await books.harness.sql("UPDATE entry SET account = '13900139000' WHERE source = 'clear'")
    async with books.harness.context.app.work("test") as work:
        assert await entries.hide(work.db, books.harness.context.accounts.hidden, 10) == 1
        assert await entries.hide(work.db, books.harness.context.accounts.hidden, 10) == 0
    (again,) = await books.harness.sql("SELECT account FROM entry WHERE source = 'clear'")
    assert (again[0], hidden[0][:9]) == (hidden[0], "139****00")


async def test_a_corrected_statement_takes_its_matches_and_exceptions_with_it(books: Books) -> None:
    await books.traded("fixed", DAY, [delivery(41, DAY), delivery(42, DAY)])
    wrong = await books.imported("fixed", file(line(41), line(42, 1 * YUAN), line(43)))
    await books.quiet("fixed")
    assert [one.kind for one in await books.open("fixed")] == [
        ExceptionKind.SHORT,
        ExceptionKind.AMOUNT,
    ]
    await books.imported("fixed", file(line(41), line(42)), supersedes=wrong.statement_id)
    await books.quiet("fixed")
    assert await books.open("fixed") == []
    assert await books.statuses("fixed") == {30: 4}
    rows = await books.harness.sql("SELECT status FROM exception WHERE source = 'fixed'")
    assert [row[0] for row in rows] == [70, 70]


async def test_a_settlement_is_the_sum_of_its_lines_and_the_bank_paid_the_settlement(
    books: Books,
) -> None:
    await books.traded("sums", DAY, [delivery(one, DAY) for one in (51, 52, 53)])
    total = f",J1,J1,,,-196.00,{DAY} 23:00:00,结算,成功"
    wrong = f",J2,J2,,,-97.00,{DAY} 23:00:00,结算,成功"
    lines = [line(51, settle="J1"), line(52, settle="J1"), line(53, settle="J2")]
    await books.imported("sums", file(*lines, total, wrong))
    await books.quiet("sums")
    assert await books.open("sums") == [Difference(ExceptionKind.SETTLEMENT, 0, "J2", YUAN)]
    bank = f"流水号,摘要,发生额,交易时间,对方户名\nB1,J1,-196.00,{NEXT} 10:00:00,-\n".encode(
        "gb18030"
    )
    await books.imported("sums", bank, template="bank-gbk")
    await books.quiet("sums")
    rows = await books.harness.sql(
        "SELECT e.their_no, s.their_no AS settled, s.book FROM entry e"
        " JOIN entry s ON s.entry_id = e.settle_id"
        " WHERE e.source = 'sums' ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [("J1", "B1", 3), ("S51", "J1", 2), ("S52", "J1", 2)]
    assert len(await books.open("sums")) == 1


async def test_a_bank_that_pays_a_settlement_twice_is_an_exception(books: Books) -> None:
    await books.traded("paid-twice", DAY, [delivery(54, DAY)])
    total = f",J3,J3,,,-98.00,{DAY} 23:00:00,结算,成功"
    await books.imported("paid-twice", file(line(54, settle="J3"), total))
    await books.quiet("paid-twice")
    bank = "流水号,摘要,发生额,交易时间,对方户名\n" + "".join(
        f"B{n},J3,-98.00,{NEXT} 10:0{n}:00,-\n" for n in range(2)
    )
    await books.imported("paid-twice", bank.encode("gb18030"), template="bank-gbk")
    await books.quiet("paid-twice")
    await books.run("paid-twice")
    assert await books.open("paid-twice") == [
        Difference(ExceptionKind.SETTLEMENT, 0, "B1", -98 * YUAN),
    ]
    # Nor does a later file of the bank find anything left to pay.
    third = f"流水号,摘要,发生额,交易时间,对方户名\nB2,J3,-98.00,{NEXT} 12:00:00,-\n"
    await books.imported("paid-twice", third.encode("gb18030"), template="bank-gbk")
    await books.quiet("paid-twice")
    found = [one.their_no for one in await books.open("paid-twice")]
    assert found == ["B1", "B2"]


async def test_a_settlement_of_what_we_are_owed_is_short_when_it_is_less(books: Books) -> None:
    pay = f"55,P55,J4,,,100.00,{DAY} 12:00:00,支付,成功"
    total = f",J4,J4,,,90.00,{DAY} 23:00:00,结算,成功"
    data = f"{HEAD}\n{pay}\n{total}\n合计,2,190.00\n".encode()
    await books.imported("owed", data)
    await books.quiet("owed")
    found = [one for one in await books.open("owed") if one.kind is ExceptionKind.SETTLEMENT]
    assert found == [Difference(ExceptionKind.SETTLEMENT, 0, "J4", -10 * YUAN)]


async def test_a_run_that_dies_loses_nothing_and_matches_nothing_twice(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    await books.traded("dies", DAY, [delivery(one, DAY) for one in range(61, 81)])
    monkeypatch.setattr(reconciling, "STORED_MAX", 3)
    store, stored = matches.move, list[int]()

    async def dying(db: Any, moves: Any) -> None:
        await store(db, moves)
        stored.append(len(moves))
        if len(stored) in {2, 4}:
            raise ConnectionResetError("died")

    monkeypatch.setattr(matches, "move", dying)
    data = file(*(line(one) for one in range(61, 79)), line(81))
    await books.imported("dies", data)
    (run,) = (await books.stub.ListRuns(pb.ListRunsRequest(source="dies"))).runs
    await books.harness.sql(
        "UPDATE task SET next_execute_time = now() WHERE order_no = $1", str(run.run_id)
    )
    one = await reconciling.get(books.harness.context, run.run_id)
    while True:  # as its task does, at once
        try:
            await reconciling.reconcile(books.harness.context, one, Counts())
            break
        except ConnectionResetError:
            continue
    assert len(stored) > 4
    assert [(one.kind, one.number) for one in await books.open("dies")] == [
        (ExceptionKind.LONG, 79),
        (ExceptionKind.LONG, 80),
        (ExceptionKind.SHORT, 0),
    ]
    assert await books.statuses("dies") == {30: 36, 20: 3}
    pairs = await books.harness.sql(
        "SELECT count(*) FROM entry o JOIN entry t ON t.entry_id = o.match_id AND t.match_id = o.entry_id"
        " WHERE o.source = 'dies' AND o.book = 1 AND o.our_no = t.our_no"
    )
    assert pairs[0][0] == 18
    await books.quiet("dies")  # its task comes again, too, and would meet the next test


async def test_a_run_that_cannot_be_made_ends_as_failed_with_its_reason_and_the_next_one_does_it(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    await books.traded("fails", DAY, [delivery(85, DAY), delivery(86, DAY)])
    context = books.harness.context

    def too_large(_: Any) -> None:
        raise duckdb.OutOfMemoryException("of what it said nothing is shown: 13800138000")

    with monkeypatch.context() as patched:
        patched.setattr(Join, "run", too_large)
        await books.imported("fails", file(line(85)))
        await books.quiet("fails")
    (failed,) = (await books.stub.ListRuns(pb.ListRunsRequest(source="fails"))).runs
    assert (failed.status, failed.what) == (
        pb.RUN_STATUS_FAILED,
        "OutOfMemoryException at the 1. attempt",
    )
    assert failed.HasField("end_time")
    event = await books.harness.sql(
        "SELECT text FROM event WHERE subject = 'shoudan.events.finance.reconcile.failed'"
    )
    assert [row[0] for row in event] == ["fails: OutOfMemoryException at the 1. attempt"]
    environ = {"SHOUDAN_FINANCE_TARGET": f"127.0.0.1:{books.harness.process.port}"}
    args = (reconcile_commands.app, ["runs", "--source", "fails"])
    listed = await asyncio.to_thread(CliRunner().invoke, *args, env=environ)
    assert "failed: OutOfMemoryException at the 1. attempt: 0 matched" in listed.output

    async def waiting() -> tuple[int, bool]:
        async with context.app.db.connect() as db:
            found = await runs.failed_sources(db, 0, 10)
            return found, await runs.ran_within(db, "fails", reconciling.AGAIN_S)

    assert await waiting() == (1, False)  # so that the next look asks for another run
    again = await books.run("fails")
    assert (again.status, again.matched, again.longs) == (pb.RUN_STATUS_DONE, 1, 1)
    assert await waiting() == (0, True)


async def test_a_run_comes_again_while_its_database_is_away_but_not_for_ever(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, run_id = books.harness.context, 0
    async with context.app.work("test") as work:
        run_id = context.app.ids.next()
        await runs.add(work.db, run_id, "away", "")

    async def away(*_: Any) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(reconciling, "reconcile", away)
    task = Task(
        1, RECONCILE, Reconcile(run_id), "q", str(run_id), reconciling.TRIES_MAX - 1, noon(TODAY)
    )
    with pytest.raises(ConnectionResetError):
        await reconciling.run(context, task)
    assert (await reconciling.get(context, run_id)).status is RunStatus.WAITING
    task.count += 1
    await reconciling.run(context, task)
    failed = await reconciling.get(context, run_id)
    assert (failed.status, failed.what) == (
        RunStatus.FAILED,
        "ConnectionResetError at the 20. attempt",
    )


async def test_the_sources_whose_run_failed_are_counted(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = books.harness.context
    async with context.app.work("test") as work:
        for source in ("worse", "worse", "bad"):
            run_id = context.app.ids.next()
            await runs.add(work.db, run_id, source, "")
            await runs.end(work.db, run_id, RunEvent.FAILED, Counts(), "why")

    async def rest(_: float) -> None:
        raise Rested

    before = await books.harness.sql("SELECT count(DISTINCT source) FROM reconcile_run"
        " WHERE status = 80")  # fmt: skip
    counted = list[float]()
    monkeypatch.setattr(reconciling, "FAILED", lambda: SimpleNamespace(set=counted.append))
    monkeypatch.setattr(reconciling, "asyncio", SimpleNamespace(sleep=rest))
    with pytest.raises(Rested):
        await reconciling.watch_forever(context)
    assert counted[0] >= 2
    assert counted[0] <= before[0][0]


async def test_two_runs_at_once_find_everything_once(books: Books) -> None:
    await books.traded("twice", DAY, [delivery(one, DAY) for one in range(100, 150)])
    await books.imported("twice", file(*(line(one) for one in range(102, 152))))
    made = await asyncio.gather(*(books.run("twice") for _ in range(3)))
    await books.quiet("twice")
    assert len(await books.open("twice")) == 4
    assert await books.statuses("twice") == {30: 96, 20: 4}
    assert {one.status for one in made} == {pb.RUN_STATUS_DONE}


async def test_a_source_without_statements_has_a_run_that_finds_nothing(books: Books) -> None:
    run = await books.run("unknown")
    assert (run.status, run.ours, run.theirs, run.awaiting) == (pb.RUN_STATUS_DONE, 0, 0, 0)
    assert await refused(books.stub.GetRun(pb.GetRunRequest(run_id=1))) == "RUN_NOT_FOUND"
    empty = pb.RunReconciliationRequest(source="")
    assert await refused(books.stub.RunReconciliation(empty)) == "FIELD_INVALID"


class Rested(Exception):
    """The loop has come to its sleep."""


async def test_every_source_is_looked_at_once_a_day(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rest(_: float) -> None:
        raise Rested

    async def asked() -> int:
        rows = await books.harness.sql("SELECT count(*) FROM reconcile_run WHERE source = 'daily'")
        return rows[0][0]

    await books.imported("daily", file(line(91)))
    await books.quiet("daily")
    earlier = (
        "UPDATE reconcile_run SET create_time = now() - interval '1 day' WHERE source = 'daily'"
    )
    await books.harness.sql(earlier)
    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(
                reconciling,
                "asyncio",
                SimpleNamespace(sleep=rest, to_thread=asyncio.to_thread, gather=asyncio.gather),
            )
            with pytest.raises(Rested):
                await reconciling.reconcile_forever(books.harness.context)
        assert await asked() == 2
    await books.quiet("daily")


async def test_the_commands_run_list_and_show(books: Books) -> None:
    await books.traded("cli", DAY, [delivery(95, DAY)])
    await books.imported("cli", file(line(95)))
    await books.quiet("cli")
    environ = {"SHOUDAN_FINANCE_TARGET": f"127.0.0.1:{books.harness.process.port}"}

    async def said(*words: str) -> str:
        done = await asyncio.to_thread(
            CliRunner().invoke, reconcile_commands.app, list(words), env=environ
        )
        assert done.exit_code == 0, done.output
        return done.output

    done = (await said("run", "cli")).splitlines()
    (made,) = [one for one in done if "done: 0 matched, 0 exceptions, 0 awaited" in one]
    assert "1 matched" in (await said("runs", "--source", "cli")).splitlines()[-1]
    assert "awaiting 在途: 0" in await said("show", made.split()[0])
