"""The partners: channels with their networks and rates, their keys, their endpoints' health, their money."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from starlette.responses import Response

from shoudan.core.v1 import credential_service_pb2 as credential_pb
from shoudan.core.v1 import operations_service_pb2 as operations_pb
from shoudan.core.v1.credential_service_pb2_grpc import CredentialServiceStub
from shoudan.core.v1.operations_service_pb2_grpc import OperationsServiceStub
from shoudan.order.v1 import audit_service_pb2 as audit_pb
from shoudan.order.v1 import catalogue_service_pb2 as pb
from shoudan.order.v1 import endpoint_service_pb2 as endpoint_pb
from shoudan.order.v1 import request_log_service_pb2 as log_pb
from shoudan.pay.v1 import ledger_service_pb2 as ledger_pb
from shoudan_console import calls
from shoudan_console.backend import Rpc
from shoudan_console.lists import Column, Found, Listing, Query
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.values import Status, moment_of
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/partners"
REASON_MAX: Final = 256
KEYS_MAX: Final = 100
DAY_S: Final = 86_400
DOWN: Final = "down_channel"
STATES: Final = {
    10: (_("In force"), "good"),
    20: (_("Replaced, still good"), "warn"),
    90: (_("Revoked"), "bad"),
    91: (_("Expired"), "idle"),
}
USAGE_DAYS: Final = 30
ENDPOINT_STATES: Final = {
    0: (_("In force"), "good"),
    10: (_("Paused"), "warn"),
    90: (_("Switched off"), "bad"),
}
KINDS: Final[dict[str, str]] = {
    "channel": _("Signs its calls"),
    "notify": _("Signs our notifies"),
}


def _credential(method: str) -> Rpc:
    return Rpc("order", CredentialServiceStub, f"shoudan.core.v1.CredentialService/{method}")


ISSUE_CREDENTIAL: Final = _credential("IssueCredential")
LIST_CREDENTIALS: Final = _credential("ListCredentials")
ROTATE_CREDENTIAL: Final = _credential("RotateCredential")
REVOKE_CREDENTIAL: Final = _credential("RevokeCredential")
LIST_RESTING: Final = Rpc(
    "order", OperationsServiceStub, "shoudan.core.v1.OperationsService/ListResting"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One channel."""

    channel_no: str
    name: str
    status: Status
    auth_mode: str
    networks: str
    rate: str
    calls_max: str
    shelves: int

    @property
    def path(self) -> str:
        return f"{PATH}/{self.channel_no}"


@dataclass(frozen=True, slots=True)
class Key:
    """One credential, without its secret."""

    credential_id: int
    kind: str
    word: str
    fingerprint: str
    status: Status
    last_used: datetime | None
    until: datetime | None
    by: str
    live: bool


def row_of(one: Any, shelves: int) -> Row:
    """A channel as the catalogue has it."""
    return Row(
        one.channel_no,
        one.channel_name,
        Status(_("Enabled"), "good") if one.enabled else Status(_("Disabled"), "idle"),
        one.auth_mode,
        ", ".join(one.allowed_networks),
        str(one.rate_per_s or "–"),
        str(one.calls_max or "–"),
        shelves,
    )


async def _catalogue(visit: Visit) -> Any:
    return (await visit.ask(calls.GET_CATALOGUE, pb.GetCatalogueRequest())).catalogue


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of channels: the catalogue is one answer, the token is where to go on in it."""
    found = await _catalogue(visit)
    begin = int(query.token) if query.token.isascii() and query.token.isdigit() else 0
    shelves = [one.channel_no for one in found.down_shelves]
    chosen = found.down_channels[begin : begin + query.size]
    rows = [row_of(one, shelves.count(one.channel_no)) for one in chosen]
    end = begin + query.size
    return Found(rows, str(end) if end < len(found.down_channels) else "")


LISTING: Final = Listing(
    name="partners",
    path=PATH,
    title=_("Partners"),
    columns=(
        Column(
            "channel_no", _("Channel"), lambda row: row.channel_no, "code", lambda row: row.path
        ),
        Column("name", _("Name"), lambda row: row.name),
        Column("status", _("Setting"), lambda row: row.status, "status"),
        Column("auth_mode", _("How it signs"), lambda row: row.auth_mode, "code", small=False),
        Column("networks", _("From networks"), lambda row: row.networks, small=False),
        Column("rate", _("Calls a second"), lambda row: row.rate, "number", small=False),
        Column("calls_max", _("Calls at once"), lambda row: row.calls_max, "number", small=False),
        Column("shelves", _("Shelves"), lambda row: row.shelves, "number", small=False),
    ),
    fetch=fetch,
    empty=_("No channel yet. Channels come with the catalogue: shoudan config apply."),
    link=lambda row: row.path,
)


async def show(visit: Visit, problem: str = "", secret: str = "") -> Response:
    """One channel: what is set, its keys, its money, whether its endpoints answer."""
    number = visit.request.path_params["channel"]
    catalogue = await _catalogue(visit)
    one = next((each for each in catalogue.down_channels if each.channel_no == number), None)
    if one is None:
        raise Missing
    shelves = [each for each in catalogue.down_shelves if each.channel_no == number]
    request = audit_pb.ListDeadNotifiesRequest(channel_no=number, page_size=KEYS_MAX)
    panels = await visit.panels(
        held=_keys(visit, number),
        money=_money(visit, number),
        resting=_resting(visit, number),
        dead=visit.ask(calls.LIST_DEAD_NOTIFIES, request),
        endpoints=_endpoints(visit, number),
        usage=_usage(visit, number),
    )
    return visit.render(
        "partner.html",
        400 if problem else 200,
        row=row_of(one, len(shelves)),
        one=one,
        shelves=shelves,
        panels=panels,
        may=visit.may(ROTATE_CREDENTIAL),
        once=secrets.token_hex(16),
        problem=problem,
        secret=secret,
    )


async def _keys(visit: Visit, number: str) -> Sequence[Key]:
    """Its keys of every kind, those that ended too."""
    found: list[Key] = []
    for kind, word in KINDS.items():
        request = credential_pb.ListCredentialsRequest(
            kind=kind, owner=number, ended=True, page_size=KEYS_MAX
        )
        answer = await visit.ask(LIST_CREDENTIALS, request)
        found += [key_of(each, word) for each in answer.credentials]
    return found


def key_of(each: Any, word: str) -> Key:
    """A credential as people see it."""
    return Key(
        each.credential_id,
        each.kind,
        word,
        each.fingerprint,
        Status(*STATES.get(each.status, (str(each.status), "idle")), each.status),
        moment_of(each.last_used_time),
        moment_of(each.expire_time),
        each.created_by,
        each.status in {10, 20},
    )


async def _endpoints(visit: Visit, number: str) -> Sequence[tuple[Any, Status]]:
    """Where it is sent what happens, and how that goes."""
    request = endpoint_pb.ListEndpointsRequest(channel_no=number)
    found = (await visit.ask(calls.LIST_ENDPOINTS, request)).endpoints
    return [(each, sent_to(each)) for each in found]


def sent_to(each: Any) -> Status:
    """Whether an endpoint is sent what it is owed."""
    if not each.enabled:
        return Status(_("Disabled"), "idle", each.state)
    return Status(*ENDPOINT_STATES.get(each.state, (str(each.state), "idle")), each.state)


async def _usage(visit: Visit, number: str) -> Sequence[Any]:
    """What it called lately, in which version."""
    request = log_pb.ListUsageRequest(party=f"channel {number}", days=USAGE_DAYS)
    return (await visit.ask(calls.LIST_USAGE, request)).usage


async def _money(visit: Visit, number: str) -> Sequence[Any]:
    request = ledger_pb.ListAccountsRequest(groups_prefix=DOWN, eid=number)
    return (await visit.ask(calls.LIST_ACCOUNTS, request)).accounts


async def _resting(visit: Visit, number: str) -> Sequence[Any]:
    answer = await visit.ask(LIST_RESTING, operations_pb.ListRestingRequest())
    return [each for each in answer.hosts if each.group == number]


async def act(visit: Visit) -> Response:
    """Replace a key, or revoke one. A replacement that is sent twice is made once."""
    number, form = visit.request.path_params["channel"], visit.form
    where = f"{PATH}/{number}"
    reason = form.get("reason", "").strip()
    if not reason or len(reason) > REASON_MAX:
        return await show(visit, _("Say why, in at most 256 characters."))
    if not visit.known.proved:
        return visit.redirect("/prove", next=where)
    try:
        if form.get("do") == "rotate":
            return await _rotate(visit, number, reason)
        await _revoke(visit, number, reason)
    except Refused as refused:
        if refused.reason.endswith(("NOT_ALLOWED", "NOT_FOUND")):
            raise
        return await show(visit, str(refused))
    return visit.redirect(where, done="revoke")


async def _rotate(visit: Visit, number: str, reason: str) -> Response:
    """The first key of its kind, or one in the place of those that there are."""
    kind = visit.form.get("kind", "")
    if kind not in KINDS:
        raise Missing
    held = visit.form.get("held", "").split()  # as the page had it: sent twice, it is the same call
    who = visit.known.operator
    given: dict[str, Any] = {"kind": kind, "owner": number, "by": who, "reason": reason}
    once = visit.form.get("once", "")[:64]
    if kind in held:
        asked = credential_pb.RotateCredentialRequest(request_key=once, overlap_s=DAY_S, **given)
        answer = await visit.ask(ROTATE_CREDENTIAL, asked)
    else:
        first = credential_pb.IssueCredentialRequest(request_key=once, **given)
        answer = await visit.ask(ISSUE_CREDENTIAL, first)
    if answer.repeated:
        return visit.redirect(f"{PATH}/{number}", done="rotate")
    return await show(visit, secret=answer.secret)


async def _revoke(visit: Visit, number: str, reason: str) -> None:
    text = visit.form.get("credential", "")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Missing
    if int(text) not in {each.credential_id for each in await _keys(visit, number)}:
        raise Missing
    request = credential_pb.RevokeCredentialRequest(
        credential_id=int(text), by=visit.known.operator, reason=reason
    )
    await visit.ask(REVOKE_CREDENTIAL, request)


PAGES: Final = (*listing_pages(LISTING), Page("/partners/{channel}", show, act))
NAVIGATION: Final = (Entry(PATH, _("Partners"), _("Operate"), (calls.GET_CATALOGUE,)),)
