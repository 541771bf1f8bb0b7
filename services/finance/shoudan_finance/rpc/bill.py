"""BillService: messages to values and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final, cast

from shoudan.finance.v1 import bill_service_pb2 as pb
from shoudan.finance.v1 import bill_service_pb2_grpc as grpc_pb
from shoudan_finance import bill_links, bill_notices, bills
from shoudan_finance.bill_links import CHANNELS, Link
from shoudan_finance.bill_making import FUND
from shoudan_finance.context import Context
from shoudan_finance.delivery_client import SignedCall
from shoudan_finance.refusals import FieldInvalid
from shoudan_finance.rpc.reading import BEFORE_ALL, before_of, day_of, page_size
from shoudan_finance.store.bills import Bill, Place, Spec
from shoudan_finance.trade_bills import SUPPLY, TRADE
from shoudan_kit.rpc.messages import RpcContext, filled, stamp

WORDS_MAX: Final = 64
GROUPS_MAX: Final = 32
ID_DIGITS_MAX: Final = 19
NEWEST: Final = 2**63 - 1
SUPPLIERS: Final = "up_"  # how the groups of their accounts begin


class BillServicer(grpc_pb.BillServiceServicer):
    """The calls of BillService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def MakeBill(
        self, request: pb.MakeBillRequest, context: RpcContext
    ) -> pb.MakeBillResponse:
        """Asked for; made in the background."""
        found = await bills.ask(self._context, _spec(request))
        return pb.MakeBillResponse(bill=_message(found))

    async def GetBill(self, request: pb.GetBillRequest, context: RpcContext) -> pb.GetBillResponse:
        """One bill."""
        return pb.GetBillResponse(bill=_message(await bills.get(self._context, request.bill_id)))

    async def ListBills(
        self, request: pb.ListBillsRequest, context: RpcContext
    ) -> pb.ListBillsResponse:
        """All, newest first; or one's, by their first day."""
        most = page_size(request.page_size)
        if request.eid:
            _words("eid", request.eid, WORDS_MAX)
            after = _place(request)
            found = await bills.page_of(self._context, request.eid, after, most + 1)
        else:
            before = _number(request.page_token) if request.page_token else NEWEST
            found = await bills.page(self._context, before, most + 1)
        token = ""
        if len(found) > most:
            last = found[most - 1]
            token = f"{last.first_day}.{last.bill_id}" if request.eid else str(last.bill_id)
        return pb.ListBillsResponse(bills=map(_message, found[:most]), next_page_token=token)

    async def ExportBill(
        self, request: pb.ExportBillRequest, context: RpcContext
    ) -> AsyncIterator[pb.ExportBillResponse]:
        """The file, piece by piece."""
        pieces = bills.export(self._context, request.bill_id, request.after_piece)
        async for piece, body in pieces:
            yield pb.ExportBillResponse(piece=piece, body=body)

    async def VerifyBill(
        self, request: pb.VerifyBillRequest, context: RpcContext
    ) -> pb.VerifyBillResponse:
        """Made again beside itself."""
        return pb.VerifyBillResponse(same=await bills.remake(self._context, request.bill_id))

    async def GetBillLink(
        self, request: pb.GetBillLinkRequest, context: RpcContext
    ) -> pb.GetBillLinkResponse:
        """How far it is, and a token for its file."""
        return _link(await bill_links.link(self._context, _spec(request.bill), request.link_s))

    async def GetSupplierBillLink(
        self, request: pb.GetSupplierBillLinkRequest, context: RpcContext
    ) -> pb.GetSupplierBillLinkResponse:
        """The same for a supplier that signed the call."""
        spec = _spec(request.bill)
        own = spec.kind == SUPPLY or (spec.kind == FUND and spec.groups == SUPPLIERS)
        if not (own and spec.eid):
            raise FieldInvalid("kind", "is no bill of a supplier")
        call = SignedCall(
            spec.eid, request.method, request.path, dict(request.params), request.body,
            request.remote_ip,
        )  # fmt: skip
        await self._context.delivery.check_call(call)
        found = await bill_links.link(self._context, spec, 0)
        return pb.GetSupplierBillLinkResponse(link=_link(found))

    async def GetChannelBillLink(
        self, request: pb.GetChannelBillLinkRequest, context: RpcContext
    ) -> pb.GetChannelBillLinkResponse:
        """The same for a down channel, whatever else is said of whose accounts they are."""
        bill, kind = request.bill, request.bill.kind
        if kind not in (FUND, TRADE) or not request.channel_no:
            raise FieldInvalid("kind", "is no bill of a channel")
        own = pb.MakeBillRequest(
            kind=kind,
            groups=CHANNELS if kind == FUND else "",
            eid=request.channel_no,
            first_day=bill.first_day,
            last_day=bill.last_day,
            format=bill.format,
            bom=bill.bom,
            backtick=bill.backtick,
            packed=bill.packed,
        )
        found = await bill_links.link(self._context, _spec(own), 0)
        return pb.GetChannelBillLinkResponse(link=_link(found))

    async def DownloadBill(
        self, request: pb.DownloadBillRequest, context: RpcContext
    ) -> AsyncIterator[pb.DownloadBillResponse]:
        """The file, piece by piece."""
        file = bill_links.download(self._context, request.token, request.channel_no)
        async for total, body in file:
            yield pb.DownloadBillResponse(total_bytes=total, body=body)

    async def ListNotices(
        self, request: pb.ListNoticesRequest, context: RpcContext
    ) -> pb.ListNoticesResponse:
        """Newest first."""
        most, before = page_size(request.page_size), before_of(request.page_token)
        found = await bill_notices.page(self._context, before, most + 1)
        token = str(found[most - 1].bill_id) if len(found) > most else ""
        notices = [filled(pb.BillNotice, one) for one in found[:most]]
        return pb.ListNoticesResponse(notices=notices, next_page_token=token)


def _message(one: Bill) -> pb.Bill:
    return filled(
        pb.Bill,
        one,
        first_day=one.first_day.isoformat(),
        last_day=one.last_day.isoformat(),
        bom=bool(one.bom),
        backtick=bool(one.backtick),
        packed=bool(one.packed),
        status=cast("pb.BillStatus.ValueType", int(one.status)),
    )


def _spec(request: pb.MakeBillRequest) -> Spec:
    first = day_of("first_day", request.first_day)
    _words("ident", request.ident, GROUPS_MAX)
    _words("groups", request.groups, GROUPS_MAX)
    _words("eid", request.eid, WORDS_MAX)
    return Spec(
        kind=request.kind,
        ident=request.ident,
        groups=request.groups,
        eid=request.eid,
        first_day=first,
        last_day=day_of("last_day", request.last_day) if request.last_day else first,
        format=request.format or "csv",
        bom=int(request.bom),
        backtick=int(request.backtick),
        packed=int(request.packed),
    )


def _words(field: str, value: str, most: int) -> None:
    if len(value) > most or not value.isprintable():
        raise FieldInvalid(field, f"at most {most} printable characters")


def _place(request: pb.ListBillsRequest) -> Place:
    if request.page_token:
        day, _, number = request.page_token.partition(".")
        return Place(day_of("page_token", day), _number(number))
    if request.from_day:
        return Place(day_of("from_day", request.from_day) - timedelta(days=1), NEWEST)
    return Place(BEFORE_ALL, NEWEST)


def _number(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or not 0 < len(text) <= ID_DIGITS_MAX:
        raise FieldInvalid("page_token", "not given by the page before")
    return min(int(text), NEWEST)


def _link(found: Link) -> pb.GetBillLinkResponse:
    return pb.GetBillLinkResponse(
        bill=None if found.bill is None else _message(found.bill),
        token=found.token,
        expire_time=None if found.expire_time is None else stamp(found.expire_time),
    )
