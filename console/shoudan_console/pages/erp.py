"""What ERPs pushed: trades, returned goods, pushes not understood; revealed with a reason."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response

from shoudan.erp.v1 import erp_service_pb2 as pb
from shoudan.erp.v1.erp_service_pb2_grpc import ErpServiceStub
from shoudan_console.backend import Rpc
from shoudan_console.lists import Column, Filter, Found, Listing, Query
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit

TRADES: Final = "/erp/trades"
RETURNS: Final = "/erp/returns"
QUARANTINED: Final = "/erp/quarantined"
REASON_MAX: Final = 256
KINDS: Final = {1: _("Trade"), 2: _("Returned goods")}
# The word of an address, the number that the service has for it, and the list.
WORDS: Final[dict[str, int]] = {"trades": 1, "returns": 2}


def _of(method: str) -> Rpc:
    return Rpc("erp_ingest", ErpServiceStub, f"shoudan.erp.v1.ErpService/{method}")


SEARCH_TRADES: Final = _of("SearchTrades")
SEARCH_REFUNDS: Final = _of("SearchRefunds")
GET_TRADE: Final = _of("GetTrade")
GET_REFUND: Final = _of("GetRefund")
REVEAL: Final = _of("Reveal")
LIST_QUARANTINED: Final = _of("ListQuarantined")
REPROCESS: Final = _of("Reprocess")
ERASE: Final = _of("EraseSubject")
REVEAL_PUSH: Final = _of("RevealPush")


@dataclass(frozen=True, slots=True)
class Row:
    """One trade or return, as it was pushed last."""

    kind: str
    number: int
    sender: str
    no: str
    status: str
    shop: str
    version: int
    update_time: datetime

    @property
    def path(self) -> str:
        return f"/erp/{self.kind}/{self.sender}/{self.no}"


@dataclass(frozen=True, slots=True)
class Refused:
    """One push that could not be understood."""

    push_id: int
    kind: str
    sender: str
    reason: str
    create_time: datetime


def row_of(kind: str, one: Any) -> Row:
    """A document as the service gives it."""
    return Row(
        kind,
        one.id,
        one.sender,
        one.no,
        one.status,
        one.shop,
        one.version,
        one.update_time.ToDatetime(UTC),
    )


def _filter(query: Query) -> pb.Filter:
    found = pb.Filter(
        sender=query.text("sender"),
        tid=query.text("tid"),
        phone=query.text("phone"),
        shop=query.text("shop"),
        status=query.text("status"),
    )
    for name, field in (("from", found.start_time), ("to", found.end_time)):
        moment = query.moment(name)
        if moment is not None:
            stamp = Timestamp()
            stamp.FromDatetime(moment)
            field.CopyFrom(stamp)
    return found


async def fetch_trades(visit: Visit, query: Query) -> Found:
    """A page of trades, changed last first."""
    request = pb.SearchTradesRequest(
        filter=_filter(query), page_size=query.size, page_token=query.token
    )
    answer = await visit.ask(SEARCH_TRADES, request)
    return Found([row_of("trades", one) for one in answer.trades], answer.next_page_token)


async def fetch_returns(visit: Visit, query: Query) -> Found:
    """A page of returns, changed last first."""
    request = pb.SearchRefundsRequest(
        filter=_filter(query), page_size=query.size, page_token=query.token
    )
    answer = await visit.ask(SEARCH_REFUNDS, request)
    return Found([row_of("returns", one) for one in answer.refunds], answer.next_page_token)


async def fetch_quarantined(visit: Visit, query: Query) -> Found:
    """A page of pushes that wait, newest first."""
    request = pb.ListQuarantinedRequest(page_size=query.size, page_token=query.token)
    answer = await visit.ask(LIST_QUARANTINED, request)
    rows = [
        Refused(
            one.push_id,
            KINDS.get(one.kind) or str(one.kind),
            one.sender,
            one.reason,
            one.create_time.ToDatetime(UTC),
        )
        for one in answer.pushes
    ]
    return Found(rows, answer.next_page_token)


_COLUMNS: Final = (
    Column("no", _("Number"), lambda row: row.no, "code", lambda row: row.path),
    Column("sender", _("Sender"), lambda row: row.sender, "code"),
    Column("status", _("Status as sent"), lambda row: row.status),
    Column("shop", _("Shop"), lambda row: row.shop, small=False),
    Column("version", _("Changed, times"), lambda row: row.version, "number", small=False),
    Column("update_time", _("Changed last"), lambda row: row.update_time, "time", small=False),
)
_FILTERS: Final = (
    Filter("sender", _("Sender")),
    Filter("tid", _("Number of the trade")),
    Filter("phone", _("Phone, whole"), hint="13800138000"),
    Filter("shop", _("Shop")),
    Filter("status", _("Status as sent")),
    Filter("from", _("From"), "moment", hint="2026-11-30"),
    Filter("to", _("To"), "moment"),
)
TRADE_LIST: Final = Listing(
    name="erp-trades",
    path=TRADES,
    title=_("ERP trades"),
    columns=_COLUMNS,
    fetch=fetch_trades,
    empty=_("No trade fits. ERPs push them to /pushData; take a filter away."),
    filters=_FILTERS,
    link=lambda row: row.path,
)
RETURN_LIST: Final = Listing(
    name="erp-returns",
    path=RETURNS,
    title=_("ERP returns"),
    columns=_COLUMNS,
    fetch=fetch_returns,
    empty=_("No return fits. ERPs push them to /pushReturngoods; take a filter away."),
    filters=_FILTERS,
    link=lambda row: row.path,
)
QUARANTINE_LIST: Final = Listing(
    name="erp-quarantined",
    path=QUARANTINED,
    title=_("Quarantined pushes"),
    intro=_(
        "Acknowledged to their sender, kept, not understood. After a mend they are read again."
    ),
    columns=(
        Column(
            "push_id",
            _("Push"),
            lambda row: row.push_id,
            "code",
            lambda row: f"{QUARANTINED}/{row.push_id}",
        ),
        Column("kind", _("What"), lambda row: row.kind, "word"),
        Column("sender", _("Sender"), lambda row: row.sender, "code"),
        Column("reason", _("Why"), lambda row: row.reason),
        Column("create_time", _("Waiting"), lambda row: row.create_time, "age"),
    ),
    fetch=fetch_quarantined,
    empty=_("Every push was understood."),
    template="erp_quarantined.html",
    more={"reprocess": REPROCESS},
)


async def show(visit: Visit, fields: Any = None, problem: str = "") -> Response:
    """One trade or return: what was pushed, personal data masked unless it was revealed."""
    values = visit.request.path_params
    kind, sender, no = values["kind"], values["sender"], values["no"]
    if kind not in WORDS:
        raise Missing
    if kind == "trades":
        request: Any = pb.GetTradeRequest(customerid=sender, tid=no)
        one = (await visit.ask(GET_TRADE, request)).trade
    else:
        request = pb.GetRefundRequest(app_key=sender, refund_no=no)
        one = (await visit.ask(GET_REFUND, request)).refund
    return visit.render(
        "erp_document.html",
        400 if problem else 200,
        row=row_of(kind, one),
        kind=KINDS[WORDS[kind]],
        pretty=json.dumps(json.loads(one.json or "{}"), ensure_ascii=False, indent=1),
        fields=fields,
        may=visit.may(REVEAL),
        problem=problem,
    )


async def reveal(visit: Visit) -> Response:
    """Show personal data of one document; the service writes who, what and why into its audit log."""
    kind, reason = visit.request.path_params["kind"], visit.form.get("reason", "").strip()
    number = visit.form.get("number", "")
    if kind not in WORDS or not number.isascii() or not number.isdigit() or len(number) > 18:
        raise Missing
    if not reason or len(reason) > REASON_MAX:
        return await show(visit, problem=_("Say why, in at most 256 characters."))
    which: Any = WORDS[kind]
    request = pb.RevealRequest(kind=which, id=int(number), by=visit.known.operator, reason=reason)
    answer = await visit.ask(REVEAL, request)
    return await show(visit, fields=dict(answer.fields))


async def reprocess(visit: Visit) -> Response:
    """Read quarantined pushes again: one, or the first page of them. What is stored is stored once."""
    text = visit.form.get("push", "")
    if text:
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise Missing
        numbers = [int(text)]
    else:
        answer = await visit.ask(LIST_QUARANTINED, pb.ListQuarantinedRequest(page_size=100))
        numbers = [one.push_id for one in answer.pushes]
    if numbers:
        await visit.ask(REPROCESS, pb.ReprocessRequest(push_ids=numbers))
    return visit.redirect(QUARANTINED, done="reprocess", key=text)


PAGES: Final = (
    *listing_pages(TRADE_LIST),
    *listing_pages(RETURN_LIST),
    *listing_pages(QUARANTINE_LIST),
    Page("/erp/reprocess", act=reprocess),
    Page("/erp/{kind}/{sender}/{no}", show, reveal),
)
NAVIGATION: Final = (
    Entry(TRADES, _("ERP trades"), _("Platforms"), (SEARCH_TRADES,)),
    Entry(RETURNS, _("ERP returns"), _("Platforms"), (SEARCH_REFUNDS,)),
    Entry(QUARANTINED, _("Quarantined pushes"), _("Platforms"), (LIST_QUARANTINED,)),
)
