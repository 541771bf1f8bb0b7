"""PayServer: its pays, refunds, modes and templates, of all merchants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from shoudan.pay.v1 import payment_service_pb2 as pb
from shoudan.pay.v1.payment_service_pb2_grpc import PaymentServiceStub
from shoudan_console.backend import Rpc
from shoudan_console.lists import Column, Filter, Found, Listing, Query
from shoudan_console.page import Entry, listing_pages
from shoudan_console.values import Status
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit

PAYS: Final = "/payserver/pays"
REFUNDS: Final = "/payserver/refunds"
MODES: Final = "/payserver/modes"
TEMPLATES: Final = "/payserver/templates"
PAGE_MAX: Final = 100  # what the service gives at once
LIST_RESOURCES: Final = Rpc(
    "pay", PaymentServiceStub, "shoudan.pay.v1.PaymentService/ListResources"
)
STATES: Final = {
    "unpay": (_("Not paid"), "idle"),
    "paying": (_("Paying"), "busy"),
    "payed": (_("Paid"), "good"),
    "payFailed": (_("Failed"), "bad"),
    "unRefund": (_("Not begun"), "idle"),
    "refunding": (_("Refunding"), "busy"),
    "refunded": (_("Refunded"), "good"),
    "partRefunded": (_("Refunded in part"), "warn"),
    "refundFailed": (_("Failed"), "bad"),
    "enabled": (_("Enabled"), "good"),
    "disabled": (_("Disabled"), "idle"),
    "online": (_("Open"), "good"),
    "offline": (_("Closed"), "idle"),
}


def state(word: str) -> Status:
    """A state of PayServer as people see it; one that is not known as it is."""
    return Status(*STATES.get(word, (word, "busy")))


@dataclass(frozen=True, slots=True)
class Pay:
    """One pay or refund."""

    traction_no: str
    own_no: str
    third_no: str
    who: str
    amount_micros: int
    refunded_micros: int
    mode: str
    status: Status
    result: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Mode:
    """One way of paying, of a merchant or as a template."""

    uuid: str
    name: str
    template_id: str
    merchant: str
    channel: str
    pay_url: str
    status: Status
    create_time: datetime


async def _listed(visit: Visit, query: Query, collection: Any, **filters: str) -> tuple[Any, str]:
    """One page of a collection, newest first, and where the next one begins."""
    begin = int(query.token) if query.token.isascii() and query.token.isdigit() else 0
    operator: Any = pb.OPERATOR_IN
    request = pb.ListResourcesRequest(
        collection=collection,
        filters=[
            pb.Filter(field=name, operator=operator, values=[value])
            for name, value in filters.items()
            if value
        ],
        offset=begin,
        limit=min(PAGE_MAX, query.size),
    )
    answer = await visit.ask(LIST_RESOURCES, request)
    end = begin + min(PAGE_MAX, query.size)
    return answer, str(end) if end < answer.size else ""


async def fetch_pays(visit: Visit, query: Query) -> Found:
    """A page of pays."""
    answer, onward = await _listed(
        visit,
        query,
        pb.COLLECTION_PAYS,
        tractionNo=query.text("number"),
        clientPayNo=query.text("own"),
    )
    rows = [
        Pay(
            one.traction_no,
            one.client_pay_no,
            one.third_pay_no,
            f"{one.payer} → {one.payee}",
            one.amount_micros,
            one.refunded_micros,
            one.mode_name,
            state(one.status),
            one.result_code,
            one.create_time.ToDatetime(UTC),
        )
        for one in answer.pays
    ]
    return Found(rows, onward)


async def fetch_refunds(visit: Visit, query: Query) -> Found:
    """A page of refunds."""
    answer, onward = await _listed(
        visit,
        query,
        pb.COLLECTION_REFUNDS,
        tractionNo=query.text("number"),
        clientRefundNo=query.text("own"),
    )
    rows = [
        Pay(
            one.traction_no,
            one.client_refund_no,
            one.third_refund_no,
            "",
            one.amount_micros,
            0,
            "",
            state(one.status),
            one.result_code,
            one.create_time.ToDatetime(UTC),
        )
        for one in answer.refunds
    ]
    return Found(rows, onward)


async def fetch_modes(visit: Visit, query: Query) -> Found:
    """A page of modes."""
    answer, onward = await _listed(visit, query, pb.COLLECTION_MODES)
    rows = [
        Mode(
            one.uuid,
            one.terms.name,
            one.template_id,
            one.merchant_uuid,
            " ".join(filter(None, (one.terms.channel, one.terms.way))),
            one.terms.pay_url,
            state("online" if one.opened else "offline"),
            one.create_time.ToDatetime(UTC),
        )
        for one in answer.modes
    ]
    return Found(rows, onward)


async def fetch_templates(visit: Visit, query: Query) -> Found:
    """A page of templates."""
    answer, onward = await _listed(visit, query, pb.COLLECTION_TEMPLATES)
    rows = [
        Mode(
            one.uuid,
            one.terms.name,
            one.template_id,
            "",
            " ".join(filter(None, (one.terms.channel, one.terms.way))),
            one.terms.pay_url,
            state(one.status),
            one.create_time.ToDatetime(UTC),
        )
        for one in answer.templates
    ]
    return Found(rows, onward)


_NUMBER: Final = Column("traction_no", _("Number"), lambda row: row.traction_no, "code")
_OWN: Final = Column("own_no", _("Merchant's number"), lambda row: row.own_no, "code")
_THIRD: Final = Column(
    "third_no", _("Payment channel's number"), lambda row: row.third_no, "code", small=False
)
_AMOUNT: Final = Column("amount", _("Amount"), lambda row: row.amount_micros, "money")
_STATUS: Final = Column("status", _("Status"), lambda row: row.status, "status")
_RESULT: Final = Column("result", _("Result code"), lambda row: row.result, "code", small=False)
_MADE: Final = Column("create_time", _("Created"), lambda row: row.create_time, "time", small=False)
_NAME: Final = Column("name", _("Name"), lambda row: row.name)
_TEMPLATE: Final = Column("template_id", _("Template"), lambda row: row.template_id, "code")
_CHANNEL: Final = Column("channel", _("Pays by"), lambda row: row.channel, "code", small=False)
_URL: Final = Column("pay_url", _("Where to"), lambda row: row.pay_url, small=False)

PAY_LIST: Final = Listing(
    name="payserver-pays",
    path=PAYS,
    title=_("Pays"),
    columns=(
        _NUMBER,
        _OWN,
        Column("who", _("From whom to whom"), lambda row: row.who, small=False),
        _AMOUNT,
        Column("refunded", _("Refunded"), lambda row: row.refunded_micros, "money", small=False),
        Column("mode", _("Mode"), lambda row: row.mode, small=False),
        _STATUS,
        _RESULT,
        _THIRD,
        _MADE,
    ),
    fetch=fetch_pays,
    empty=_("No pay fits. Merchants make them over the PayServer interface."),
    filters=(Filter("number", _("Number")), Filter("own", _("Merchant's number"))),
)
REFUND_LIST: Final = Listing(
    name="payserver-refunds",
    path=REFUNDS,
    title=_("Refunds of pays"),
    columns=(_NUMBER, _OWN, _AMOUNT, _STATUS, _RESULT, _THIRD, _MADE),
    fetch=fetch_refunds,
    empty=_("No refund fits. Merchants ask for them over the PayServer interface."),
    filters=(Filter("number", _("Number")), Filter("own", _("Merchant's number"))),
)
MODE_LIST: Final = Listing(
    name="payserver-modes",
    path=MODES,
    title=_("Modes of paying"),
    columns=(
        _NAME,
        Column("merchant", _("Merchant"), lambda row: row.merchant, "code"),
        _TEMPLATE,
        _CHANNEL,
        _STATUS,
        _URL,
        Column("uuid", _("UUID"), lambda row: row.uuid, "code", small=False),
        _MADE,
    ),
    fetch=fetch_modes,
    empty=_("No merchant has opened a mode yet."),
)
TEMPLATE_LIST: Final = Listing(
    name="payserver-templates",
    path=TEMPLATES,
    title=_("Templates of modes"),
    columns=(_NAME, _TEMPLATE, _CHANNEL, _STATUS, _URL, _MADE),
    fetch=fetch_templates,
    empty=_("No template yet. They come with the catalogue: shoudan config apply."),
)

LISTINGS: Final = (PAY_LIST, REFUND_LIST, MODE_LIST, TEMPLATE_LIST)
PAGES: Final = tuple(page for one in LISTINGS for page in listing_pages(one))
NAVIGATION: Final = tuple(
    Entry(one.path, one.title, _("Platforms"), (LIST_RESOURCES,)) for one in LISTINGS
)
