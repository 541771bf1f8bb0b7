"""Thresholds of balances: how each stands, set and taken away."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from starlette.responses import Response

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_console import calls, lists
from shoudan_console.lists import Action, Column, Found, Listing, Query
from shoudan_console.page import Entry, Page, listing_pages
from shoudan_console.pages.ledger import records_of
from shoudan_console.values import Status, moment_of
from shoudan_console.values import mark as _
from shoudan_console.visits import Missing, Visit
from shoudan_kit.money import yuan_to_micros
from shoudan_kit.rpc.refusal import Refused

PATH: Final = "/ledger/alerts"
REMOVE: Final = "/ledger/alerts/remove"
LOW: Final = Status(_("Below"), "warn")
ENOUGH: Final = Status(_("Above"), "good")
MICROS_DIGITS_MAX: Final = 18


@dataclass(frozen=True, slots=True)
class Row:
    """One threshold of one account."""

    ident: str
    groups: str
    eid: str
    threshold_micros: int
    hysteresis_micros: int
    balance_micros: int
    status: Status
    crossed_time: datetime | None


def row_of(one: Any) -> Row:
    """A threshold as the service gives it."""
    return Row(
        one.key.ident,
        one.key.groups,
        one.key.eid,
        one.threshold_micros,
        one.hysteresis_micros,
        one.balance_micros,
        LOW if one.low else ENOUGH,
        moment_of(one.crossed_time),
    )


async def fetch(visit: Visit, query: Query) -> Found:
    """A page of thresholds, by account."""
    request = pb.ListAlertsRequest(page_size=query.size, page_token=query.token)
    answer = await visit.ask(calls.LIST_ALERTS, request)
    return Found([row_of(one) for one in answer.alerts], answer.next_page_token)


LISTING: Final = Listing(
    name="balance-alerts",
    path=PATH,
    title=_("Thresholds of balances"),
    intro=_(
        "Partners and operators hear of a balance that falls below one; again after it has risen."
    ),
    columns=(
        Column(
            "account",
            _("Account"),
            lambda row: f"{row.ident}/{row.groups}/{row.eid}",
            "code",
            lambda row: records_of(row.ident, row.groups, row.eid),
        ),
        Column("threshold", _("Threshold"), lambda row: row.threshold_micros, "money"),
        Column("balance", _("Balance"), lambda row: row.balance_micros, "money"),
        Column("status", _("Status"), lambda row: row.status, "status"),
        Column(
            "hysteresis",
            _("Quiet until above by"),
            lambda row: row.hysteresis_micros,
            "money",
            small=False,
        ),
        Column("crossed", _("Crossed"), lambda row: row.crossed_time, "time", small=False),
    ),
    fetch=fetch,
    empty=_("No threshold yet. Set one above: whose balance, and how much."),
    actions=(
        Action(
            _("Take away"),
            REMOVE,
            lambda row: {
                "ident": row.ident,
                "groups": row.groups,
                "eid": row.eid,
                "threshold": str(row.threshold_micros),
            },
            calls.SET_ALERT,
        ),
    ),
    template="ledger_alerts.html",
    more={"setting": calls.SET_ALERT},
)


async def show(visit: Visit, problem: str = "") -> Response:
    """The list, and the form of a new one."""
    response = await lists.show(LISTING, visit, problem=problem)
    if problem:
        response.status_code = 400
    return response


def _key(visit: Visit) -> pb.AccountKey:
    given = {name: visit.form.get(name, "").strip()[:64] for name in ("ident", "groups", "eid")}
    return pb.AccountKey(**given)


async def act(visit: Visit) -> Response:
    """Set a threshold. A repeat changes nothing."""
    try:
        amounts = [
            yuan_to_micros(visit.form.get(name, "").strip() or "0") for name in ("yuan", "quiet")
        ]
    except ValueError:
        return await show(visit, _("An amount is in yuan, such as 1000 or 1000.50."))
    request = pb.SetAlertRequest(
        key=_key(visit), threshold_micros=amounts[0], hysteresis_micros=amounts[1]
    )
    try:
        await visit.ask(calls.SET_ALERT, request)
    except Refused as refused:
        if refused.reason.endswith("NOT_ALLOWED"):
            raise
        return await show(visit, str(refused))
    return visit.redirect(PATH, done="alert")


async def remove(visit: Visit) -> Response:
    """Take a threshold away. A repeat changes nothing."""
    text = visit.form.get("threshold", "")
    if not text.isascii() or not text.isdigit() or len(text) > MICROS_DIGITS_MAX:
        raise Missing
    request = pb.SetAlertRequest(key=_key(visit), threshold_micros=int(text), remove=True)
    await visit.ask(calls.SET_ALERT, request)
    return visit.redirect(PATH, done="alert")


_LIST, *_MORE = listing_pages(LISTING)
PAGES: Final = (Page(PATH, show, act), Page(REMOVE, act=remove), *_MORE)
NAVIGATION: Final = (Entry(PATH, _("Thresholds"), _("Money"), (calls.LIST_ALERTS,)),)
