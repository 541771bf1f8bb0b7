"""ExceptionService: messages to values and back."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from typing import Final, cast

from shoudan.finance.v1 import exception_service_pb2 as pb
from shoudan.finance.v1 import exception_service_pb2_grpc as pb_grpc
from shoudan.finance.v1 import statement_service_pb2 as statement_pb
from shoudan_finance import deciding, exceptions, inquiring, statement_imports
from shoudan_finance.accounts import shown
from shoudan_finance.context import Context
from shoudan_finance.delivery_client import SignedCall
from shoudan_finance.exception_sheets import read_sheet, write_sheet
from shoudan_finance.exceptions import Shown, checked
from shoudan_finance.refusals import FieldInvalid
from shoudan_finance.row_errors import Wrong, wrong
from shoudan_finance.rpc.reading import (
    before_of,
    day_of,
    page_size,
    parts_of,
    person,
    row_error,
    sha256_of,
    source_of,
)
from shoudan_finance.states import EXCEPTION, Decision, ExceptionEvent
from shoudan_finance.store.exceptions import Dispute, Noted, Side, Wanted
from shoudan_kit.rpc.messages import RpcContext, filled, stamp

WORDS_MAX: Final = 1024
LETTER_MAX: Final = 4096
NAME_MAX: Final = 128
SHEET_MAX: Final = 10_000
PAGE: Final = 1000
ERRORS_SHOWN: Final = 100


def _sheet(found: Sequence[pb.Exception]) -> bytes:
    made = io.BytesIO()
    write_sheet(made, found)
    return made.getvalue()


class ExceptionServicer(pb_grpc.ExceptionServiceServicer):
    """The calls of ExceptionService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ListExceptions(
        self, request: pb.ListExceptionsRequest, context: RpcContext
    ) -> pb.ListExceptionsResponse:
        """Exceptions, newest first."""
        most, before = page_size(request.page_size), before_of(request.page_token)
        wanted = Wanted(source_of(request.source), request.undecided, request.dispute_id)
        found = await exceptions.page(self._context, wanted, before, most + 1)
        token = str(found[most - 1].row.exception_id) if len(found) > most else ""
        return pb.ListExceptionsResponse(
            exceptions=map(_exception, found[:most]), next_page_token=token
        )

    async def GetException(
        self, request: pb.GetExceptionRequest, context: RpcContext
    ) -> pb.GetExceptionResponse:
        """One exception."""
        number = request.exception_id
        shown, notes = await exceptions.get(self._context, number)
        disputes = await exceptions.disputes_of(self._context, number)
        return pb.GetExceptionResponse(
            exception=_exception(shown), notes=map(_note, notes), disputes=map(_dispute, disputes)
        )

    async def AssignExceptions(
        self, request: pb.AssignExceptionsRequest, context: RpcContext
    ) -> pb.AssignExceptionsResponse:
        """Give exceptions to a person."""
        numbers = checked(request.exception_ids)
        person(request.by)
        await exceptions.assign(self._context, numbers, person(request.assignee))
        return pb.AssignExceptionsResponse()

    async def CommentException(
        self, request: pb.CommentExceptionRequest, context: RpcContext
    ) -> pb.CommentExceptionResponse:
        """Note something."""
        words = _words("text", request.text, WORDS_MAX)
        name = request.file_name
        if len(name) > NAME_MAX or not name.isprintable() or any(one in name for one in "/\\"):
            raise FieldInvalid("file_name", "is no name of a file")
        sha256, by = _sha256(request.sha256), person(request.by)
        await exceptions.comment(self._context, request.exception_id, words, sha256, name, by)
        return pb.CommentExceptionResponse()

    async def AskAboutExceptions(
        self, request: pb.AskAboutExceptionsRequest, context: RpcContext
    ) -> pb.AskAboutExceptionsResponse:
        """Ask the supplier."""
        numbers, words = checked(request.exception_ids), _words("text", request.text, WORDS_MAX)
        await inquiring.ask(self._context, numbers, words, person(request.by))
        return pb.AskAboutExceptionsResponse()

    async def GetExceptionSheet(
        self, request: pb.GetExceptionSheetRequest, context: RpcContext
    ) -> pb.GetExceptionSheetResponse:
        """Undecided exceptions as a workbook."""
        wanted, before = Wanted(source_of(request.source), undecided=True), before_of("")
        found: list[Shown] = []
        while len(found) <= SHEET_MAX:
            page = await exceptions.page(self._context, wanted, before, PAGE)
            found += page
            if len(page) < PAGE:
                break
            before = page[-1].row.exception_id
        kept = [_exception(one) for one in found[:SHEET_MAX]]
        data = await asyncio.to_thread(_sheet, kept)
        return pb.GetExceptionSheetResponse(
            data=data, exceptions=len(kept), more=len(found) > len(kept)
        )

    async def CheckExceptionSheet(
        self, request: pb.CheckExceptionSheetRequest, context: RpcContext
    ) -> pb.CheckExceptionSheetResponse:
        """What a workbook that was filled in would decide."""
        sha256, parts = sha256_of(request.sha256), parts_of(request.parts)
        async with statement_imports.stored_file(self._context, sha256, parts) as (file, _):
            filled, errors = await asyncio.to_thread(read_sheet, file)
        if len(filled) > exceptions.ITEMS_MAX:
            errors.append(wrong(0, "", "TOO_MANY_DECISIONS", most=exceptions.ITEMS_MAX))
        filled = filled[: exceptions.ITEMS_MAX]
        numbers = [one.exception_id for one in filled]
        shown = await exceptions.of_numbers(self._context, numbers) if numbers else []
        now = {one.row.exception_id: one for one in shown}
        item, items = (
            pb.CheckExceptionSheetResponse.Item,
            list[pb.CheckExceptionSheetResponse.Item](),
        )
        for one in filled:
            found = now.get(one.exception_id)
            if found is None or not EXCEPTION.allows(found.row.status, ExceptionEvent.DECIDED):
                errors.append(wrong(0, "", "EXCEPTION_DECIDED", number=one.exception_id))
                continue
            decision = pb.Decision.ValueType(one.decision)
            items.append(item(exception=_exception(found), decision=decision, remark=one.remark))
        return pb.CheckExceptionSheetResponse(
            items=items,
            errors=[_in_words(one) for one in errors[:ERRORS_SHOWN]],
            error_count=len(errors),
            row_errors=[row_error(one) for one in errors[:ERRORS_SHOWN]],
        )

    async def ResendExceptionNotifies(
        self, request: pb.ResendExceptionNotifiesRequest, context: RpcContext
    ) -> pb.ResendExceptionNotifiesResponse:
        """Have channels notified again."""
        numbers = checked(request.exception_ids)
        await inquiring.resend(self._context, numbers, person(request.by))
        return pb.ResendExceptionNotifiesResponse()

    async def GetEvidence(
        self, request: pb.GetEvidenceRequest, context: RpcContext
    ) -> pb.GetEvidenceResponse:
        """What is known of one elsewhere."""
        found = await inquiring.evidence(self._context, request.exception_id)
        return pb.GetEvidenceResponse(
            order_id=found.order_id,
            moments=found.moments,
            answers=map(_note, found.answers),
            missing=found.missing,
        )

    async def CheckDecisions(
        self, request: pb.CheckDecisionsRequest, context: RpcContext
    ) -> pb.CheckDecisionsResponse:
        """What decisions would come to."""
        found = await deciding.check(self._context, request.items)
        sums: dict[str, pb.CheckDecisionsResponse.Sum] = {}
        for one in found:
            if one.refusal is None:
                new = pb.CheckDecisionsResponse.Sum(account=one.account)
                total = sums.setdefault(one.account, new)
                total.count += 1
                total.amount_micros += one.amount_micros
        return pb.CheckDecisionsResponse(
            results=map(_checked, found), sums=[sums[account] for account in sorted(sums)]
        )

    async def DecideExceptions(
        self, request: pb.DecideExceptionsRequest, context: RpcContext
    ) -> pb.DecideExceptionsResponse:
        """Decide about exceptions."""
        person(request.by)
        return pb.DecideExceptionsResponse(decided=await deciding.decide(self._context, request))

    async def OpenDispute(
        self, request: pb.OpenDisputeRequest, context: RpcContext
    ) -> pb.OpenDisputeResponse:
        """Open a dispute."""
        found = await exceptions.open_dispute(
            self._context,
            source_of(request.source),
            checked(request.exception_ids),
            _words("letter", request.letter, LETTER_MAX),
            day_of("deadline", request.deadline),
            person(request.by),
        )
        return pb.OpenDisputeResponse(dispute=_dispute(found))

    async def AnswerDispute(
        self, request: pb.AnswerDisputeRequest, context: RpcContext
    ) -> pb.AnswerDisputeResponse:
        """Note an answer."""
        words, by = _words("answer", request.answer, LETTER_MAX), person(request.by)
        sha256 = _sha256(request.sha256)
        found = await exceptions.answer_dispute(
            self._context, request.dispute_id, words, sha256, by
        )
        return pb.AnswerDisputeResponse(dispute=_dispute(found))

    async def TakeDisputeAnswer(
        self, request: pb.TakeDisputeAnswerRequest, context: RpcContext
    ) -> pb.TakeDisputeAnswerResponse:
        """Of a supplier that signed the call."""
        words = _words("answer", request.answer, WORDS_MAX)
        source = source_of(request.channel_no)
        call = SignedCall(
            source, request.method, request.path, dict(request.params), request.body,
            request.remote_ip,
        )  # fmt: skip
        await self._context.delivery.check_call(call)
        found = await exceptions.answer_of_source(self._context, request.dispute_id, words, source)
        return pb.TakeDisputeAnswerResponse(dispute=_dispute(found))

    async def GetDispute(
        self, request: pb.GetDisputeRequest, context: RpcContext
    ) -> pb.GetDisputeResponse:
        """One dispute."""
        found = await exceptions.get_dispute(self._context, request.dispute_id)
        return pb.GetDisputeResponse(dispute=_dispute(found))

    async def ListDisputes(
        self, request: pb.ListDisputesRequest, context: RpcContext
    ) -> pb.ListDisputesResponse:
        """Disputes, newest first."""
        most, before = page_size(request.page_size), before_of(request.page_token)
        found = await exceptions.disputes(self._context, before, most + 1)
        token = str(found[most - 1].dispute_id) if len(found) > most else ""
        return pb.ListDisputesResponse(disputes=map(_dispute, found[:most]), next_page_token=token)


def _in_words(one: Wrong) -> str:
    return f"row {one.row_no}: {one.why}" if one.row_no else one.why


def _words(name: str, given: str, most: int) -> str:
    if not 1 <= len(given) <= most or "\0" in given:
        raise FieldInvalid(name, f"has not 1 to {most} characters")
    return given


def _sha256(given: bytes) -> bytes:
    return sha256_of(given) if given else given


def _exception(one: Shown) -> pb.Exception:
    # `kind` names the message's class in `filled`, too, so the message is made by hand of both.
    row = one.row
    return pb.Exception(
        exception_id=row.exception_id,
        source=row.source,
        kind=cast("pb.ExceptionKind.ValueType", int(row.kind)),
        status=cast("pb.ExceptionStatus.ValueType", int(row.status)),
        diff_micros=row.diff_micros,
        day=row.day.isoformat(),
        assignee=row.assignee,
        decision=_decision(row.decision),
        remark=row.remark,
        decided_by=row.decided_by,
        record_id=row.record_id,
        dispute_id=row.dispute_id,
        run_id=row.run_id,
        create_time=stamp(row.create_time),
        change_time=stamp(row.change_time),
        end_time=None if row.end_time is None else stamp(row.end_time),
        suggestion=_decision(one.suggestion),
        ours=_side(one.ours),
        theirs=_side(one.theirs),
        differing=one.differing,
    )


def _checked(one: deciding.Checked) -> pb.CheckDecisionsResponse.Result:
    made = pb.CheckDecisionsResponse.Result(exception_id=one.exception_id)
    if one.shown is not None:
        made.exception.CopyFrom(_exception(one.shown))
    if one.refusal is not None:
        made.refusal.CopyFrom(one.refusal.to_proto())
    else:
        booking = pb.CheckDecisionsResponse.Booking(
            account=one.account,
            trade_no=f"EX{one.exception_id}",
            amount_micros=one.amount_micros,
            refunds=one.refunds,
        )
        made.booking.CopyFrom(booking)
    return made


def _decision(one: Decision) -> pb.Decision.ValueType:
    return cast("pb.Decision.ValueType", int(one))


def _side(one: Side | None) -> statement_pb.Row | None:
    if one is None:
        return None
    return statement_pb.Row(
        row_no=one.row_no,
        kind=one.kind.name.lower(),
        our_no=one.our_no,
        their_no=one.their_no,
        settle_no=one.settle_no,
        account=shown(one.account),
        face_micros=one.face_micros,
        amount_micros=one.amount_micros,
        outcome=one.outcome.name.lower(),
        happen_time=stamp(one.happen_time),
    )


def _note(one: Noted) -> pb.Note:
    return pb.Note(
        kind=one.kind.name.lower(),
        text=one.words,
        sha256=one.sha256,
        file_name=one.file_name,
        by=one.noted_by,
        create_time=stamp(one.create_time),
    )


def _dispute(one: Dispute) -> pb.Dispute:
    status = cast("pb.DisputeStatus.ValueType", int(one.status))
    deadline = one.deadline.isoformat()
    return filled(pb.Dispute, one, status=status, deadline=deadline, by=one.opened_by)
