"""ErpService: messages to dataclasses and back, shape checks, no rules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.erp.v1 import erp_service_pb2 as pb
from shoudan.erp.v1 import erp_service_pb2_grpc as pb_grpc
from shoudan_erp_ingest.context import Context
from shoudan_erp_ingest.documents import PAGE_DEFAULT, PAGE_MAX
from shoudan_erp_ingest.ingest import Outcome, Push
from shoudan_erp_ingest.masking import shown
from shoudan_erp_ingest.refusals import FieldInvalid
from shoudan_erp_ingest.store.finding import Filter, Found
from shoudan_erp_ingest.tables.models import TradeDocument
from shoudan_erp_ingest.tables.schema import REFUND, TRADE
from shoudan_kit.ids import id_of
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.shielded import shielded

PUSHES_MAX = 1_000
KIND_WHY = "trade or refund"
KINDS = {pb.PUSH_KIND_TRADE: TRADE, pb.PUSH_KIND_REFUND: REFUND}


class ErpServicer(pb_grpc.ErpServiceServicer):
    """The calls of ErpService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def IngestPushes(
        self, request: pb.IngestPushesRequest, context: RpcContext
    ) -> pb.IngestPushesResponse:
        """Finished even when the caller hangs up: it will repeat, and find it stored."""
        if len(request.pushes) > PUSHES_MAX:
            raise FieldInvalid("pushes", f"at most {PUSHES_MAX}")
        known = [
            Push(KINDS[p.kind], p.sender, p.body, p.remote_ip, p.query)
            for p in request.pushes
            if p.kind in KINDS
        ]
        outcomes = iter(await shielded(self._context.ingest(known)))
        unknown = Outcome(0, 0, FieldInvalid("kind", KIND_WHY))
        results = [_result(next(outcomes) if p.kind in KINDS else unknown) for p in request.pushes]
        return pb.IngestPushesResponse(results=results)

    async def GetTrade(
        self, request: pb.GetTradeRequest, context: RpcContext
    ) -> pb.GetTradeResponse:
        """One trade, masked."""
        found = await self._context.documents.get(TRADE, request.customerid, request.tid)
        return pb.GetTradeResponse(trade=_document(found))

    async def GetRefund(
        self, request: pb.GetRefundRequest, context: RpcContext
    ) -> pb.GetRefundResponse:
        """One refund, masked."""
        found = await self._context.documents.get(REFUND, request.app_key, request.refund_no)
        return pb.GetRefundResponse(refund=_document(found))

    async def SearchTrades(
        self, request: pb.SearchTradesRequest, context: RpcContext
    ) -> pb.SearchTradesResponse:
        """One page, newest change first."""
        found, token = await self._context.documents.page(
            TRADE, self._filter(TRADE, request.filter), request.page_size, request.page_token
        )
        return pb.SearchTradesResponse(
            trades=[_document(one) for one in found], next_page_token=token
        )

    async def SearchRefunds(
        self, request: pb.SearchRefundsRequest, context: RpcContext
    ) -> pb.SearchRefundsResponse:
        """One page, newest change first."""
        found, token = await self._context.documents.page(
            REFUND, self._filter(REFUND, request.filter), request.page_size, request.page_token
        )
        return pb.SearchRefundsResponse(
            refunds=[_document(one) for one in found], next_page_token=token
        )

    async def ExportTrades(
        self, request: pb.ExportTradesRequest, context: RpcContext
    ) -> AsyncIterator[pb.ExportTradesResponse]:
        """All that match; the next rows are read when the caller has taken these."""
        async for some in self._context.documents.export(
            TRADE, self._filter(TRADE, request.filter)
        ):
            yield pb.ExportTradesResponse(trades=[_document(one) for one in some])

    async def ExportRefunds(
        self, request: pb.ExportRefundsRequest, context: RpcContext
    ) -> AsyncIterator[pb.ExportRefundsResponse]:
        """All that match; the next rows are read when the caller has taken these."""
        async for some in self._context.documents.export(
            REFUND, self._filter(REFUND, request.filter)
        ):
            yield pb.ExportRefundsResponse(refunds=[_document(one) for one in some])

    async def Reveal(self, request: pb.RevealRequest, context: RpcContext) -> pb.RevealResponse:
        """Personal data of one document, under audit."""
        fields = await self._context.subjects.reveal(
            _kind(request.kind), request.id, request.by, request.reason
        )
        return pb.RevealResponse(fields=fields)

    async def RevealPush(
        self, request: pb.RevealPushRequest, context: RpcContext
    ) -> pb.RevealPushResponse:
        """One raw body, under audit."""
        push, body = await self._context.subjects.reveal_push(
            request.push_id, request.by, request.reason
        )
        return pb.RevealPushResponse(kind=_pb_kind(push.kind), sender=push.sender, body=body)

    async def EraseSubject(
        self, request: pb.EraseSubjectRequest, context: RpcContext
    ) -> pb.EraseSubjectResponse:
        """Erases the personal data of all documents with this phone."""
        erased = await shielded(
            self._context.subjects.erase(request.phone, request.by, request.reason)
        )
        return pb.EraseSubjectResponse(documents=erased)

    async def ListQuarantined(
        self, request: pb.ListQuarantinedRequest, context: RpcContext
    ) -> pb.ListQuarantinedResponse:
        """One page, newest first; the token is the last number."""
        if not 0 <= request.page_size <= PAGE_MAX:
            raise FieldInvalid("page_size", f"0 to {PAGE_MAX}")
        size = request.page_size or PAGE_DEFAULT
        rows = await self._context.quarantine.page(_number(request.page_token), size + 1)
        listed = [
            pb.ListQuarantinedResponse.Quarantined(
                push_id=row.push_id,
                kind=_pb_kind(row.kind),
                sender=row.sender,
                reason=f"{row.place}: {row.why}",
                create_time=_timestamp(row.create_time),
            )
            for row in rows[:size]
        ]
        token = str(rows[size - 1].push_id) if len(rows) > size else ""
        return pb.ListQuarantinedResponse(pushes=listed, next_page_token=token)

    async def Reprocess(
        self, request: pb.ReprocessRequest, context: RpcContext
    ) -> pb.ReprocessResponse:
        """Quarantined pushes read again."""
        stored, left = await shielded(self._context.quarantine.reprocess(request.push_ids))
        return pb.ReprocessResponse(stored=stored, quarantined=left)

    async def CheckPushes(
        self, request: pb.CheckPushesRequest, context: RpcContext
    ) -> pb.CheckPushesResponse:
        """Whether bodies are kept byte for byte."""
        keys = [(_kind(d.kind), d.sender, d.sha256) for d in request.digests]
        results = [
            pb.CheckPushesResponse.Result(push_id=c.push_id, stored=c.stored, intact=c.intact)
            for c in await self._context.quarantine.check(keys)
        ]
        return pb.CheckPushesResponse(results=results)

    def _filter(self, kind: int, wanted: pb.Filter) -> Filter:
        mac = self._context.ring.phone_mac(wanted.phone) if wanted.phone else b""
        if mac is None:
            raise FieldInvalid("filter.phone", "not a phone")
        if kind == REFUND and wanted.status and not _is_number(wanted.status):
            raise FieldInvalid("filter.status", "a number")
        return Filter(
            sender=wanted.sender,
            tid=wanted.tid,
            refund_no=wanted.refund_no,
            phone_mac=mac,
            status=wanted.status,
            shop=wanted.shop,
            start_time=_moment(wanted.start_time) if wanted.HasField("start_time") else None,
            end_time=_moment(wanted.end_time) if wanted.HasField("end_time") else None,
        )


def _kind(kind: pb.PushKind.ValueType) -> int:
    if kind not in KINDS:
        raise FieldInvalid("kind", KIND_WHY)
    return KINDS[kind]


def _pb_kind(kind: int) -> pb.PushKind.ValueType:
    return pb.PUSH_KIND_TRADE if kind == TRADE else pb.PUSH_KIND_REFUND


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _number(token: str) -> int:
    if not token:
        return 0
    number = id_of(token)
    if number is None:
        raise FieldInvalid("page_token", "not one of ours")
    return number


def _result(outcome: Outcome) -> pb.IngestPushesResponse.Result:
    refusal = outcome.refusal
    return pb.IngestPushesResponse.Result(
        push_id=outcome.push_id,
        changed=outcome.changed,
        refusal=None if refusal is None else refusal.to_proto(),
    )


def _document(found: Found) -> pb.Document:
    document = found.document
    if isinstance(document, TradeDocument):
        no, status, shop = document.head.tid, document.head.status, document.head.seller_uname
    else:
        head = document.head
        no, shop = head.refund_no, head.shop_no
        status = None if head.status is None else str(head.status)
    return pb.Document(
        id=found.document_id,
        sender=found.sender,
        no=no,
        status=status or "",
        shop=shop or "",
        json=shown(document),
        create_time=_timestamp(found.create_time),
        update_time=_timestamp(found.update_time),
        version=found.version,
    )


def _timestamp(moment: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def _moment(stamp: Timestamp) -> datetime:
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise FieldInvalid("filter.time", "out of range") from None
