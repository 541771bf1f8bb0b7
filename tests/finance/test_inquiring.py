"""Promises of what is had done about exceptions: answers are evidence, refunds and notifies are made once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc import StatusCode
from typer.testing import CliRunner

from shoudan.finance.v1 import exception_service_pb2 as pb
from shoudan_finance import deciding, exception_commands, inquiring
from shoudan_finance.store import exceptions as store
from shoudan_kit.rpc.refusal import Refused
from tests.finance.books import delivery
from tests.finance.desk import DAY, Desk
from tests.finance.test_day_books import refused
from tests.finance.test_reconciling import file, line
from tests.poll import eventually

YUAN = 1_000_000


async def noted(desk: Desk, number: int, kind: str) -> list[str]:
    """The notes of a kind, when there is one."""

    async def there() -> bool:
        return any(one.kind == kind for one in (await desk.get(number)).notes)

    await eventually(there, 30)
    return [one.text for one in (await desk.get(number)).notes if one.kind == kind]


async def run(desk: Desk, *words: str) -> str:
    environ = {"SHOUDAN_FINANCE_TARGET": f"127.0.0.1:{desk.harness.process.port}"}
    args = (exception_commands.app, list(words))
    done = await asyncio.to_thread(CliRunner().invoke, *args, env=environ)
    assert done.exit_code == 0, done.output
    return done.output


async def strange(desk: Desk) -> int:
    """An exception about a line that is about nothing of ours."""
    await desk.books.traded(desk.source, DAY, [delivery(desk.at, DAY)])
    await desk.books.imported(desk.source, file(line(desk.at), line(desk.at + 1)))
    await desk.books.quiet(desk.source)
    (one,) = await desk.listed()
    return one.exception_id


async def test_the_supplier_is_asked_once_and_its_answer_stays_as_evidence(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inquiring, "AWAY_S", 0.05)
    (number,) = await desk.differ(1)
    desk.harness.deliveries.asked.clear()
    desk.harness.deliveries.away = True
    ask = pb.AskAboutExceptionsRequest(exception_ids=[number], text="which?", by="wang")
    await desk.stub.AskAboutExceptions(ask)
    assert await noted(desk, number, "asked") == ["which?"]
    desk.harness.deliveries.away = False
    (words,) = await noted(desk, number, "answered")
    assert words == (
        f"{desk.source} says of 880001: failed, F1 no such order; its number -; here succeeded"
    )
    assert desk.harness.deliveries.asked == [str(desk.at + 1)]
    one = (await desk.get(number)).exception
    assert one.status == pb.EXCEPTION_STATUS_ASKED
    shown = await run(desk, "evidence", str(number))
    assert "order 1" in shown
    assert "order 订单完成: 1 ended" in shown
    assert f"supplier: {words}" in shown


async def test_both_sides_of_an_exception_are_shown_while_the_order_service_is_away(
    desk: Desk,
) -> None:
    (number,) = await desk.differ(1)
    request = pb.GetEvidenceRequest(exception_id=number)
    desk.harness.desk.away = True
    found = await desk.stub.GetEvidence(request)
    assert (found.order_id, list(found.moments), found.missing) == (1, [], "order: UNAVAILABLE")
    desk.harness.desk.away = False
    assert [one.text for one in (await desk.stub.GetEvidence(request)).moments] == ["1 ended"]
    assert await refused(desk.stub.GetEvidence(pb.GetEvidenceRequest(exception_id=1))) == (
        "EXCEPTION_NOT_FOUND"
    )


async def test_a_channel_is_notified_again_and_what_became_of_it_is_noted(desk: Desk) -> None:
    (number,) = await desk.differ(1)
    await run(desk, "notify", str(number))
    assert await noted(desk, number, "comment") == ["order 1 of d1: 1 notifies are sent again"]
    assert 8 in desk.harness.orders.resent
    assert (await desk.get(number)).exception.status == pb.EXCEPTION_STATUS_OPEN


async def test_what_is_about_nothing_of_ours_is_neither_refunded_nor_notified_nor_asked(
    desk: Desk,
) -> None:
    number = await strange(desk)
    again = pb.ResendExceptionNotifiesRequest(exception_ids=[number])
    assert await refused(desk.stub.ResendExceptionNotifies(again)) == "FIELD_INVALID"
    refund = desk.decision(number, decision=pb.DECISION_REFUND)
    assert await refused(desk.stub.DecideExceptions(refund)) == "FIELD_INVALID"
    before = len(desk.harness.deliveries.asked)
    ask = pb.AskAboutExceptionsRequest(exception_ids=[number], text="which?")
    await desk.stub.AskAboutExceptions(ask)
    assert await noted(desk, number, "asked") == ["which?"]
    rows = await desk.harness.sql("SELECT 1 FROM task WHERE order_no = $1", f"{number}-supplier")
    assert (rows, len(desk.harness.deliveries.asked)) == ([], before)
    found = await desk.stub.GetEvidence(pb.GetEvidenceRequest(exception_id=number))
    assert (found.order_id, found.missing) == (0, "")


async def test_two_persons_refund_an_order_once_and_the_books_are_adjusted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies between the refund and the posting."""
    (number,) = await desk.differ(1)
    booked, died = store.booked, list[int]()

    async def dying(db: Any, exception_id: int, record_id: int) -> bool:
        if not died:
            died.append(record_id)
            raise ConnectionResetError("died")
        return await booked(db, exception_id, record_id)

    monkeypatch.setattr(store, "booked", dying)
    silent = desk.decision(number, decision=pb.DECISION_REFUND)
    silent.items[0].remark = " "
    assert await refused(desk.propose(silent)) == "FIELD_INVALID"  # money goes back for a reason
    proposal = await desk.propose(desk.decision(number, decision=pb.DECISION_REFUND))
    assert [one.after for one in proposal.dry_run] == [
        f"its order's money back (EX{number}), 98 元 to oms/up_channel/{desk.source}"
    ]
    assert f"EX{number}" not in desk.harness.desk.refunds
    await desk.approve(proposal)

    async def gone() -> bool:
        return bool(died)

    await eventually(gone)
    hurry = "UPDATE task SET next_execute_time = now() WHERE order_no = $1"
    await desk.harness.sql(hurry, str(number))
    one = await desk.settled(number)
    assert (one.status, one.decision) == (pb.EXCEPTION_STATUS_SETTLED, pb.DECISION_REFUND)
    made = desk.harness.desk.refunds[f"EX{number}"]
    assert (made.channel_no, made.request_no, made.refund_num) == ("d1", "r1", 1)
    assert made.reason == "seen"
    (record,) = await desk.records("up_channel")
    assert (record.amount_micros, record.trade_no) == (98 * YUAN, f"EX{number}")
    assert record.memo.endswith(": seen")
    notes = await noted(desk, number, "booked")
    assert notes == [f"refund 4711, EX{number}", f"ledger record {record.record_id}"]


async def test_a_refund_that_the_order_service_refuses_opens_the_exception_and_books_nothing(
    desk: Desk,
) -> None:
    (number,) = await desk.differ(1)
    desk.harness.desk.refuses = "ERROR_REASON_NOT_REFUNDABLE"
    await desk.stub.DecideExceptions(desk.decision(number, decision=pb.DECISION_REFUND))
    one = await desk.settled(number)
    desk.harness.desk.refuses = ""
    assert (one.status, one.decision) == (pb.EXCEPTION_STATUS_OPEN, pb.DECISION_UNSPECIFIED)
    (why,) = await noted(desk, number, "refused")
    assert "NOT_REFUNDABLE" in why
    assert await refused(desk.records("up_channel")) == "ACCOUNT_NOT_FOUND"


async def test_what_went_back_is_booked_however_often_the_ledger_refuses(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order's money is gone: the exception may not be open again as if nothing had happened."""
    monkeypatch.setattr(deciding, "AWAY_S", 0.05)
    (number,) = await desk.differ(1)
    post, refusals = type(desk.harness.context.pay).post_flat, list[int]()

    async def refusing(self: Any, one: Any) -> int:
        if len(refusals) < 3:
            refusals.append(1)
            raise Refused(
                StatusCode.FAILED_PRECONDITION, "pay.shoudan", "ERROR_REASON_ACCOUNT_LOCKED"
            )
        return await post(self, one)

    monkeypatch.setattr(type(desk.harness.context.pay), "post_flat", refusing)
    await desk.stub.DecideExceptions(desk.decision(number, decision=pb.DECISION_REFUND))
    assert (await desk.settled(number)).status == pb.EXCEPTION_STATUS_SETTLED
    assert len(refusals) == 3
    assert len(await desk.records("up_channel")) == 1
