"""AuditService: decisions, retries, dead notifies, reports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from typing import Final

from shoudan.order.v1 import audit_service_pb2 as pb
from shoudan.order.v1 import audit_service_pb2_grpc as grpc_pb
from shoudan_kit.clock import day_of
from shoudan_kit.ids import id_of
from shoudan_kit.rpc.messages import RpcContext
from shoudan_order import audits, pauses, retries, trades, views
from shoudan_order.context import Context
from shoudan_order.refusals import FieldInvalid
from shoudan_order.rpc.messages import filled
from shoudan_order.states import AuditStatus, AuditType
from shoudan_order.store.audits import Audit
from shoudan_order.store.reports import REPORTS
from shoudan_order.store.trades import Whose

PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 1_000
WORDS_MAX: Final = 256
CHANNEL_MAX: Final = 64
DIGITS_MAX: Final = 17  # of a moment in microseconds
PLACE_JOINT: Final = "\n"  # in a page token; in no number of a channel
FIRST_DAY: Final = date(2000, 1, 1)
LAST_DAY: Final = date(2999, 12, 31)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class AuditServicer(grpc_pb.AuditServiceServicer):
    """The calls of AuditService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ListAudits(
        self, request: pb.ListAuditsRequest, context: RpcContext
    ) -> pb.ListAuditsResponse:
        """Oldest first."""
        size = min(request.page_size or PAGE_DEFAULT, PAGE_MAX)
        statuses = list(request.statuses) or [int(AuditStatus.WAITING)]
        found, token = await views.audits(
            self._context, statuses, request.order_id, _token(request.page_token), size
        )
        return pb.ListAuditsResponse(audits=[_audit(a) for a in found], next_page_token=token)

    async def DecideAudit(
        self, request: pb.DecideAuditRequest, context: RpcContext
    ) -> pb.DecideAuditResponse:
        """End one audit."""
        decision = read_decision(request)
        decided = await audits.decide(self._context, request.audit_id, decision)
        return pb.DecideAuditResponse(audit=_audit(decided))

    async def RequestAudit(
        self, request: pb.RequestAuditRequest, context: RpcContext
    ) -> pb.RequestAuditResponse:
        """Ask for an audit."""
        _who(request.by, request.reason)
        if request.type == pb.AUDIT_TYPE_UNSPECIFIED:
            raise FieldInvalid("type", "what kind of audit")
        made = await audits.request(
            self._context, AuditType(request.type), request.id, request.by, request.reason
        )
        return pb.RequestAuditResponse(audit=_audit(made))

    async def RetryStep(
        self, request: pb.RetryStepRequest, context: RpcContext
    ) -> pb.RetryStepResponse:
        """Make one step due again."""
        _who(request.by, request.reason)
        name = pb.RetryStepRequest.Step.Name(request.step).removeprefix("STEP_").lower()
        if name == "unspecified":
            raise FieldInvalid("step", "which step")
        made = await retries.retry(self._context, name, request.id, request.by, request.reason)
        return pb.RetryStepResponse(task_id=made)

    async def PauseDelivery(
        self, request: pb.PauseDeliveryRequest, context: RpcContext
    ) -> pb.PauseDeliveryResponse:
        """Stop or resume the binding of orders."""
        _who(request.by, request.reason)
        ids = list(request.order_ids)
        if not 1 <= len(ids) <= PAGE_MAX:
            raise FieldInvalid("order_ids", f"1 to {PAGE_MAX}")
        changed = await pauses.pause(
            self._context, ids, paused=request.paused, by=request.by, reason=request.reason
        )
        return pb.PauseDeliveryResponse(order_ids=changed)

    async def ListDeadNotifies(
        self, request: pb.ListDeadNotifiesRequest, context: RpcContext
    ) -> pb.ListDeadNotifiesResponse:
        """Oldest first."""
        size = min(request.page_size or PAGE_DEFAULT, PAGE_MAX)
        found = await views.dead_notifies(
            self._context, request.channel_no, _token(request.page_token), size
        )
        return pb.ListDeadNotifiesResponse(
            notifies=[filled(pb.ListDeadNotifiesResponse.DeadNotify, one) for one in found],
            next_page_token=str(found[-1].notify_id) if len(found) == size else "",
        )

    async def ListShelfNotifies(
        self, request: pb.ListShelfNotifiesRequest, context: RpcContext
    ) -> pb.ListShelfNotifiesResponse:
        """By channel."""
        size = min(request.page_size or PAGE_DEFAULT, PAGE_MAX)
        if request.page_size < 0 or len(request.channel_no) > CHANNEL_MAX:
            raise FieldInvalid("page_size", "not negative; channel_no: at most 64 characters")
        after = _shelf_place(request.page_token)
        found = await views.shelf_notifies(self._context, request.channel_no, after, size)
        notifies = [filled(pb.ListShelfNotifiesResponse.ShelfNotify, one) for one in found]
        token = PLACE_JOINT.join(map(str, found[-1].place)) if len(found) == size else ""
        return pb.ListShelfNotifiesResponse(notifies=notifies, next_page_token=token)

    async def ResendNotifies(
        self, request: pb.ResendNotifiesRequest, context: RpcContext
    ) -> pb.ResendNotifiesResponse:
        """Dead ones only; a repeat changes nothing."""
        _who(request.by, "resend")
        ids = list(request.notify_ids)
        if len(ids) > PAGE_MAX:
            raise FieldInvalid("notify_ids", f"more than {PAGE_MAX}")
        count = await retries.resend(self._context, ids, request.channel_no, request.by)
        return pb.ResendNotifiesResponse(count=count)

    async def ListTrades(
        self, request: pb.ListTradesRequest, context: RpcContext
    ) -> pb.ListTradesResponse:
        """Of one day, by end_time and number."""
        size = min(request.page_size or PAGE_DEFAULT, PAGE_MAX)
        asked, after = _asked(request), _place(request.page_token)
        found, place = await trades.page(self._context, asked, after, size)
        return pb.ListTradesResponse(
            trades=[filled(pb.Trade, one) for one in found],
            next_page_token="" if place is None else _text(place),
        )

    async def Report(
        self, request: pb.ReportRequest, context: RpcContext
    ) -> AsyncIterator[pb.ReportResponse]:
        """Line by line."""
        if request.kind not in REPORTS:
            raise FieldInvalid("kind", "which report")
        start, end = (t.ToDatetime(UTC) for t in (request.start_time, request.end_time))
        async with aclosing(views.report(self._context, int(request.kind), start, end)) as lines:
            async for line in lines:
                yield pb.ReportResponse(
                    labels=line.labels, count=line.count, sums_micros=line.sums_micros
                )


def _asked(request: pb.ListTradesRequest) -> trades.Asked:
    given = bool(request.down_channel_no), bool(request.up_channel_no), request.everyone
    if sum(given) != 1:
        raise FieldInvalid("down_channel_no", "one of down_channel_no, up_channel_no and everyone")
    channel_no = request.down_channel_no or request.up_channel_no
    if len(channel_no) > CHANNEL_MAX or not channel_no.isprintable():
        raise FieldInvalid("channel_no", f"at most {CHANNEL_MAX} printable characters")
    day = day_of(request.day)
    if day is None or not FIRST_DAY <= day <= LAST_DAY:
        raise FieldInvalid("day", "is no day of the form yyyy-mm-dd")
    return trades.Asked(Whose(channel_no, bool(request.up_channel_no)), day)


def _text(place: trades.Place) -> str:
    return f"{(place.end_time - _EPOCH) // _MICROSECOND}.{place.number}"


def _place(text: str) -> trades.Place | None:
    if not text:
        return None
    time, _, digits = text.partition(".")
    number = id_of(digits)
    if not (time.isascii() and time.isdecimal()) or len(time) > DIGITS_MAX or number is None:
        raise FieldInvalid("page_token", "not given by the page before")
    moment = _EPOCH + int(time) * _MICROSECOND
    if moment.date() > LAST_DAY:
        raise FieldInvalid("page_token", "not given by the page before")
    return trades.Place(moment, number)


def read_decision(request: pb.DecideAuditRequest) -> audits.Decision:
    """Who decides what, and why. Raises FieldInvalid."""
    _who(request.by, request.reason)
    given = request.HasField("status")  # 0 is success: what is not set decides nothing
    if not given or request.status not in {int(s) for s in AuditStatus if s != AuditStatus.WAITING}:
        raise FieldInvalid("status", "0 success, 90 failed or 91 partial")
    return audits.Decision(AuditStatus(request.status), request.by, request.reason)


def _who(by: str, reason: str) -> None:
    for name, text in (("by", by), ("reason", reason)):
        if not 1 <= len(text) <= WORDS_MAX or not text.isprintable():
            raise FieldInvalid(name, f"1 to {WORDS_MAX} printable characters")


def _shelf_place(text: str) -> tuple[str, int, str]:
    """The place a page begins behind. Refuses FieldInvalid."""
    channel_no, _, rest = text.partition(PLACE_JOINT)
    product, joint, token = rest.partition(PLACE_JOINT)
    product_id = id_of(product) if text else 0
    if product_id is None or (text and not joint):
        raise FieldInvalid("page_token", "not given by the page before")
    return channel_no, product_id, token


def _token(text: str) -> int:
    number = id_of(text or "0")
    if number is None:
        raise FieldInvalid("page_token", "not given by the page before")
    return number


def _audit(one: Audit) -> pb.Audit:
    return filled(
        pb.Audit,
        one,
        type=one.change_type,
        status=one.audit_status,
        by=one.audit_by,
        time=one.audit_time,
        message=one.audit_msg,
    )
