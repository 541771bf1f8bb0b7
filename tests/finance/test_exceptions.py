"""Promises of exceptions: two persons decide, and the ledger moves once and names the exception."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from grpc import StatusCode, aio
from typer.testing import CliRunner, Result

from shoudan.core.v1 import proposal_service_pb2 as proposal_pb
from shoudan.finance.v1 import exception_service_pb2 as pb
from shoudan.finance.v1 import statement_service_pb2 as statement_pb
from shoudan_finance import exception_commands, exceptions
from shoudan_finance.exception_sheets import HEAD
from shoudan_finance.states import Decision, EntryStatus, MatchRule
from shoudan_finance.store import exceptions as store
from shoudan_finance.store import matches, statements
from shoudan_kit.rpc.refusal import Refused
from shoudan_kit.rpc.rights import FINANCE_MAKER
from tests.credentials import metadata_as
from tests.finance.books import TODAY, delivery
from tests.finance.desk import DAY, SYSTEM, Desk
from tests.finance.test_day_books import refused
from tests.finance.test_reconciling import file, line
from tests.poll import eventually

YUAN = 1_000_000


async def test_an_exception_is_shown_with_both_sides_what_differs_and_what_is_usually_done(
    desk: Desk,
) -> None:
    at = desk.at
    await desk.books.traded(desk.source, DAY, [delivery(one, DAY) for one in (at, at + 1)])
    lines = (line(at, 99 * YUAN), line(at + 1, state="失败"), line(at + 2))
    await desk.books.imported(desk.source, file(*lines))
    await desk.books.quiet(desk.source)
    found = {one.kind: one for one in await desk.listed()}
    amount = found[pb.EXCEPTION_KIND_AMOUNT]
    assert (amount.ours.amount_micros, amount.theirs.amount_micros) == (-98 * YUAN, -99 * YUAN)
    assert (list(amount.differing), amount.suggestion) == (
        ["amount_micros"],
        pb.DECISION_ADJUST_COST,
    )
    assert amount.diff_micros == -YUAN
    assert list(found[pb.EXCEPTION_KIND_STATUS].differing) == ["outcome"]
    short = found[pb.EXCEPTION_KIND_SHORT]
    assert (short.HasField("ours"), short.theirs.their_no) == (False, f"S{at + 2}")
    assert await refused(desk.get(1)) == "EXCEPTION_NOT_FOUND"


async def test_one_person_proposes_another_approves_and_the_ledger_moves_once(desk: Desk) -> None:
    first, second = await desk.differ()
    request = desk.decision(first, second)
    alone = metadata_as(SYSTEM, "m", FINANCE_MAKER)
    with pytest.raises(aio.AioRpcError, match="PROPOSAL_REQUIRED"):
        await desk.stub.DecideExceptions(request, metadata=alone)
    proposal = await desk.propose(request)
    assert proposal.amount_micros == 2 * 98 * YUAN
    assert [one.after for one in proposal.dry_run] == [f"98 元 to oms/suspense/{desk.source}"] * 2
    assert {one.status for one in await desk.listed()} == {pb.EXCEPTION_STATUS_OPEN}
    with pytest.raises(aio.AioRpcError, match="PROPOSAL_OWNER"):
        await desk.approve(proposal, "m")
    await desk.approve(proposal)
    for number in (first, second):
        one = await desk.settled(number)
        assert (one.status, one.decision, one.remark) == (
            pb.EXCEPTION_STATUS_SETTLED,
            pb.DECISION_BOOK,
            "seen",
        )
        assert (one.decided_by, one.record_id > 0) == ("op-m", True)
        kinds = [note.kind for note in (await desk.get(number)).notes]
        assert kinds == ["decided", "booked"]
    records = {one.trade_no: one for one in await desk.records("suspense")}
    assert set(records) == {f"EX{first}", f"EX{second}"}
    assert {one.amount_micros for one in records.values()} == {98 * YUAN}
    assert all(
        f"exception {no.removeprefix('EX')} 长款: seen" == one.memo for no, one in records.items()
    )
    assert await desk.books.statuses(desk.source) == {30: 2, 40: 2}
    assert await refused(desk.propose(desk.decision(first))) == "EXCEPTION_DECIDED"


async def test_a_decision_that_came_too_late_is_refused_whole(desk: Desk) -> None:
    first, second = await desk.differ()
    proposal = await desk.propose(desk.decision(first, second))
    await desk.books.imported(desk.source, file(line(desk.at + 1)))
    await desk.books.quiet(desk.source)
    (left,) = [one.exception_id for one in await desk.listed()]
    assert left in {first, second}
    approved = await desk.approve(proposal)
    assert approved.state == proposal_pb.PROPOSAL_STATE_FAILED
    assert "EXCEPTION_DECIDED" in approved.refusal
    assert (await desk.get(left)).exception.status == pb.EXCEPTION_STATUS_OPEN
    assert await refused(desk.records("suspense")) == "ACCOUNT_NOT_FOUND"


@pytest.mark.parametrize(
    ("decision", "groups"),
    [(pb.DECISION_WRITE_OFF, "write_off"), (pb.DECISION_ADJUST_COST, "up_channel")],
)
async def test_each_decision_moves_its_own_account(desk: Desk, decision: Any, groups: str) -> None:
    (number,) = await desk.differ(1)
    await desk.stub.DecideExceptions(desk.decision(number, decision=decision))
    assert (await desk.settled(number)).status == pb.EXCEPTION_STATUS_SETTLED
    (record,) = await desk.records(groups)
    assert (record.amount_micros, record.trade_no) == (98 * YUAN, f"EX{number}")


async def test_a_loss_is_booked_below_zero(desk: Desk) -> None:
    await desk.books.traded(desk.source, DAY, [delivery(desk.at, DAY)])
    await desk.books.imported(desk.source, file(line(desk.at), line(desk.at + 1)))
    await desk.books.quiet(desk.source)
    (one,) = await desk.listed()
    await desk.stub.DecideExceptions(desk.decision(one.exception_id))
    assert (await desk.settled(one.exception_id)).status == pb.EXCEPTION_STATUS_SETTLED
    (record,) = await desk.records("suspense")
    assert (record.amount_micros, record.balance_micros) == (-98 * YUAN, -98 * YUAN)


async def test_a_process_that_dies_around_the_posting_posts_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (number,) = await desk.differ(1)
    booked, died = store.booked, list[int]()

    async def dying(db: Any, exception_id: int, record_id: int) -> bool:
        if not died:
            died.append(record_id)
            raise ConnectionResetError("died")
        return await booked(db, exception_id, record_id)

    monkeypatch.setattr(store, "booked", dying)
    await desk.stub.DecideExceptions(desk.decision(number))

    async def gone() -> bool:
        return bool(died)

    await eventually(gone)
    hurry = "UPDATE task SET next_execute_time = now() WHERE order_no = $1"
    await desk.harness.sql(hurry, str(number))
    assert (await desk.settled(number)).status == pb.EXCEPTION_STATUS_SETTLED
    assert [one.record_id for one in await desk.records("suspense")] == died


async def test_what_the_ledger_refuses_is_open_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (number,) = await desk.differ(1)

    async def locked(_: Any) -> int:
        raise Refused(StatusCode.FAILED_PRECONDITION, "pay.shoudan", "ERROR_REASON_ACCOUNT_LOCKED")

    with monkeypatch.context() as patched:
        patched.setattr(type(desk.harness.context.pay), "post_flat", lambda _, one: locked(one))
        await desk.stub.DecideExceptions(desk.decision(number))
        one = await desk.settled(number)
    assert (one.status, one.decision) == (pb.EXCEPTION_STATUS_OPEN, pb.DECISION_UNSPECIFIED)
    assert [note.kind for note in (await desk.get(number)).notes] == ["decided", "refused"]
    assert await desk.books.statuses(desk.source) == {30: 2, 20: 1}
    await desk.stub.DecideExceptions(desk.decision(number))
    assert (await desk.settled(number)).status == pb.EXCEPTION_STATUS_SETTLED


async def test_exceptions_are_assigned_commented_with_evidence_and_asked_about(desk: Desk) -> None:
    numbers = await desk.differ()
    await desk.stub.AssignExceptions(
        pb.AssignExceptionsRequest(exception_ids=numbers, assignee="wang")
    )
    data = b"their mail " + desk.source.encode()
    sha256 = hashlib.sha256(data).digest()
    comment = pb.CommentExceptionRequest(
        exception_id=numbers[0], text="see mail", sha256=sha256, file_name="mail.txt", by="wang"
    )
    assert await refused(desk.stub.CommentException(comment)) == "FILE_INCOMPLETE"
    part = statement_pb.StorePartRequest(sha256=sha256, part_no=0, data=data)
    await desk.books.statements.StorePart(part)
    await desk.stub.CommentException(comment)
    ask = pb.AskAboutExceptionsRequest(exception_ids=numbers, text="where are they?", by="wang")
    await desk.stub.AskAboutExceptions(ask)
    assert {(one.assignee, one.status) for one in await desk.listed()} == {
        ("wang", pb.EXCEPTION_STATUS_ASKED)
    }
    # What the supplier answers may have come by now.
    notes = [one for one in (await desk.get(numbers[0])).notes if one.kind != "answered"]
    assert [(one.kind, one.text, one.file_name, one.by) for one in notes] == [
        ("comment", "see mail", "mail.txt", "wang"),
        ("asked", "where are they?", "", "wang"),
    ]
    # Evidence is no left-over of an upload.
    await desk.harness.sql("UPDATE statement_part SET create_time = now() - interval '25 hours'")
    async with desk.harness.context.app.work("test") as work:
        await statements.forget_parts(work.db)
        assert await statements.part(work.db, sha256, 0) == data


async def test_an_answer_does_not_open_what_is_decided_at_that_moment(desk: Desk) -> None:
    """Its posting is being made: opened again it could be decided, and booked, twice."""
    numbers = await desk.differ(2)
    request = pb.OpenDisputeRequest(
        source=desk.source, exception_ids=numbers, letter="why?", deadline=str(TODAY), by="li"
    )
    dispute_id = (await desk.stub.OpenDispute(request)).dispute.dispute_id
    context = desk.harness.context
    async with context.app.work("test") as work:
        await exceptions.locked(work, numbers[:1], None)
        answer = pb.AnswerDisputeRequest(dispute_id=dispute_id, answer="charged next month")
        answering = asyncio.ensure_future(desk.stub.AnswerDispute(answer))
        await waits_for_a_lock(desk)
        await store.decide(
            work.db, [store.Decided(numbers[0], Decision.WRITE_OFF, "seen")], [], "li"
        )
    await answering
    rows = await desk.harness.sql(
        "SELECT status FROM exception WHERE source = $1 ORDER BY exception_id", desk.source
    )
    assert [row[0] for row in rows] == [40, 10]


async def waits_for_a_lock(desk: Desk) -> None:
    async def waits() -> bool:
        rows = await desk.harness.sql("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return rows[0][0] > 0

    await eventually(waits)


async def test_a_decision_and_a_run_wait_for_each_other_and_not_in_a_circle(desk: Desk) -> None:
    """Both lock entries first: neither holds the exception while it waits for the entry."""
    (number,) = await desk.differ(1)
    row = (await exceptions.get(desk.harness.context, number))[0].row
    async with desk.harness.context.app.work("test") as work:
        await matches.lock(work.db, [row.ours_id])  # as a run does that found its counterpart
        deciding_it = asyncio.ensure_future(desk.stub.DecideExceptions(desk.decision(number)))
        await waits_for_a_lock(desk)
        assert await matches.end_late(work.db, [row.ours_id], [0]) == 1
        move = matches.Move(row.ours_id, EntryStatus.MATCHED, row.ours_id, MatchRule.OUR_NO)
        await matches.move(work.db, [move])
    assert await refused(deciding_it) == "EXCEPTION_DECIDED"
    assert (await desk.get(number)).exception.status == pb.EXCEPTION_STATUS_LATE


async def test_runs_lock_exceptions_in_the_order_in_which_persons_do(desk: Desk) -> None:
    first, second = await desk.differ()
    context = desk.harness.context
    ours = {one: (await exceptions.get(context, one))[0].row.ours_id for one in (first, second)}
    assert first < second

    async def late() -> int:
        async with context.app.work("test") as work:
            return await matches.end_late(work.db, [ours[second], ours[first]], [0, 0])

    async with context.app.work("test") as work:
        await store.lock(work.db, [first])
        ending = asyncio.ensure_future(late())
        await waits_for_a_lock(desk)
        await store.lock(work.db, [second])
    assert await ending == 2


async def test_a_correction_waits_for_a_decision_and_not_in_a_circle(desk: Desk) -> None:
    at = desk.at
    await desk.books.traded(desk.source, DAY, [delivery(at, DAY)])
    wrong = await desk.books.imported(desk.source, file(line(at), line(at + 1), line(at + 2)))
    await desk.books.quiet(desk.source)
    numbers = sorted(one.exception_id for one in await desk.listed())
    context = desk.harness.context

    async def part() -> None:
        async with context.app.work("test") as work:
            await matches.supersede(work.db, wrong.statement_id)

    async with context.app.work("test") as work:
        await store.lock_entries(work.db, numbers[:1])
        parting = asyncio.ensure_future(part())
        await waits_for_a_lock(desk)
        await store.lock(work.db, numbers)
    await parting
    assert {(await desk.get(one)).exception.status for one in numbers} == {pb.EXCEPTION_STATUS_VOID}


# ------------------------------------------------------------ the command
Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(desk: Desk) -> Run:
    port = desk.harness.process.port
    environ = {"SHOUDAN_FINANCE_TARGET": f"127.0.0.1:{port}", "SHOUDAN_LANG": "zh"}

    async def one(*words: str) -> Result:
        args = (exception_commands.app, list(words))
        return await asyncio.to_thread(CliRunner().invoke, *args, env=environ)

    return one


async def test_a_workbook_goes_out_is_filled_in_and_comes_back_as_decisions(
    desk: Desk, run: Run, tmp_path: Path
) -> None:
    first, second, third = await desk.differ(3)
    sheet_file = tmp_path / "differences.xlsx"
    assert (await run("export", str(sheet_file), "--source", desk.source)).exit_code == 0
    book: Any = openpyxl.load_workbook(sheet_file)
    rows = list(book.active.iter_rows())
    assert [cell.value for cell in rows[0]] == list(HEAD)
    by_number = {int(row[0].value): row for row in rows[1:]}
    assert set(by_number) == {first, second, third}
    by_number[first][10].value, by_number[first][11].value = "挂账", "月底"
    by_number[second][10].value = "核销"
    book.save(sheet_file)
    said = await desk.said_of(sheet_file.read_bytes())
    assert [(one.exception.exception_id, one.decision, one.remark) for one in said.items] == sorted(
        [(first, pb.DECISION_BOOK, "月底"), (second, pb.DECISION_WRITE_OFF, "")], reverse=True
    )
    assert said.error_count == 0
    shown = await run("apply", str(sheet_file), "--dry-run")
    assert f"exception {first}: 98 元: - -> book 月底" in shown.output
    assert {one.status for one in await desk.listed()} == {pb.EXCEPTION_STATUS_OPEN}
    done = await run("apply", str(sheet_file), "--reason", "month end")
    assert "2 exceptions decided" in done.output
    assert (await desk.settled(first)).remark == "月底"
    assert (await desk.settled(second)).decision == pb.DECISION_WRITE_OFF
    assert [one.exception_id for one in await desk.listed()] == [third]
    late = await run("apply", str(sheet_file))
    assert (late.exit_code, f"差错 {first}：已处理" in late.output) == (1, True)
    said = await desk.said_of(sheet_file.read_bytes())
    assert (list(said.items), said.error_count) == ([], 2)
    assert "is decided by now" in said.errors[0]
    assert {one.code for one in said.row_errors} == {"EXCEPTION_DECIDED"}
    assert all("已处理" in one.why_zh for one in said.row_errors)
    by_number[third][10].value = "挂起"
    book.save(sheet_file)
    wrong = await run("apply", str(sheet_file))
    assert (wrong.exit_code, "“挂起”不是以下之一：挂账" in wrong.output) == (1, True)
    english = await run("apply", str(sheet_file), "--lang", "en")
    assert "'挂起' is none of 挂账" in english.output
    request = pb.GetExceptionSheetRequest(source=desk.source)
    sheet = await desk.stub.GetExceptionSheet(request)
    assert (sheet.exceptions, sheet.more) == (1, False)
    assert (await desk.said_of(sheet.data)).error_count == 0  # as it goes out it decides nothing
    assert (await desk.said_of(b"PK no workbook")).error_count == 1
    nowhere = pb.CheckExceptionSheetRequest(sha256=bytes(32), parts=1)
    assert await refused(desk.stub.CheckExceptionSheet(nowhere)) == "FILE_INCOMPLETE"


async def test_the_command_lists_shows_assigns_asks_disputes_and_decides(
    desk: Desk, run: Run, tmp_path: Path
) -> None:
    first, second = await desk.differ()
    letter = tmp_path / "letter.txt"
    letter.write_text("not charged", "utf-8")
    for words in (
        ("assign", str(first), "--to", "wang"),
        ("comment", str(first), "--text", "see", "--file", str(letter)),
        ("ask", str(first), "--text", "where?"),
    ):
        done = await run(*words)
        assert done.exit_code == 0, done.output
    listed = (await run("ls", "--source", desk.source)).output
    assert "长款 98 元: asked for wang, 0 d, try book" in listed
    shown = (await run("show", str(first))).output
    assert "theirs -" in shown
    assert "asked: where?" in shown
    made = await run(
        "dispute", "open", str(second), "--source", desk.source, "--letter", str(letter),
        "--deadline", "2026-01-01",
    )  # fmt: skip
    number = made.output.split()[0]
    assert "overdue" in made.output
    assert "answered" in (await run("dispute", "answer", number, "--text", "sorry")).output
    assert number in (await run("dispute", "ls")).output
    whole = (await run("dispute", "show", number)).output
    assert "not charged" in whole
    assert "answer: sorry" in whole
    assert f"{second} {desk.source}" in whole
    assert f"dispute {number}" in (await run("show", str(second))).output
    of_dispute = (await run("ls", "--dispute", number)).output.split()
    assert str(second) in of_dispute
    assert str(first) not in of_dispute
    look = await run("decide", "write-off", str(first), str(second), "--dry-run")
    assert f"EX{second}: 98 元 to oms/write_off/{desk.source}" in look.output
    assert f"oms/write_off/{desk.source}: 2, 196 元" in look.output
    wrong = await run("decide", "write-off", str(first), "1", "--dry-run")
    assert (wrong.exit_code, "exception 1: " in wrong.output) == (1, True)
    assert (await run("decide", "forget", str(first))).exit_code == 2
    assert "2 exceptions decided" in (await run("decide", "book", str(first), str(second))).output
    for one in (first, second):
        assert (await desk.settled(one)).status == pb.EXCEPTION_STATUS_SETTLED
    assert "settled" in (await run("ls", "--source", desk.source, "--all")).output
