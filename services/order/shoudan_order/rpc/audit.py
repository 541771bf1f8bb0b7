"""AuditService: decisions, retries, dead notifies, reports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC
from typing import Final

from shoudan.order.v1 import audit_service_pb2 as pb
from shoudan.order.v1 import audit_service_pb2_grpc as grpc_pb
from shoudan_kit.rpc.messages import RpcContext
from shoudan_order import audits, pauses, retries, views
from shoudan_order.context import Context
from shoudan_order.refusals import FieldInvalid
from shoudan_order.rpc.messages import filled
from shoudan_order.states import AuditStatus, AuditType
from shoudan_order.store.audits import Audit
from shoudan_order.store.reports import REPORTS

PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 1_000
WORDS_MAX: Final = 256


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


def read_decision(request: pb.DecideAuditRequest) -> audits.Decision:
    """Who decides what, and why. Raises FieldInvalid."""
    _who(request.by, request.reason)
    if request.status not in {int(s) for s in AuditStatus if s != AuditStatus.WAITING}:
        raise FieldInvalid("status", "0 success, 90 failed or 91 partial")
    return audits.Decision(AuditStatus(request.status), request.by, request.reason)


def _who(by: str, reason: str) -> None:
    for name, text in (("by", by), ("reason", reason)):
        if not 1 <= len(text) <= WORDS_MAX or not text.isprintable():
            raise FieldInvalid(name, f"1 to {WORDS_MAX} printable characters")


def _token(text: str) -> int:
    if text and (not text.isdecimal() or len(text) > 18):
        raise FieldInvalid("page_token", "not given by the page before")
    return int(text or 0)


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
