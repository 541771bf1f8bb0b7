"""A partner's money: what is on its accounts, how long that lasts, and its bills."""

from __future__ import annotations

import calendar
from collections.abc import AsyncIterator
from datetime import date
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from shoudan.finance.v1 import bill_service_pb2 as bill_pb
from shoudan.order.v1 import channel_service_pb2 as pb
from shoudan_console import own
from shoudan_console.page import Entry, Page
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit
from shoudan_kit.clock import day_of

PATH: Final = "/own/money"
BILL: Final = "/own/bill"
DOWNLOAD_S: Final = 600.0
HOUR_S: Final = 3_600
MONTH_CHARS: Final = 7
KINDS: Final = {"trade": _("Orders and refunds"), "fund": _("Movements of my account")}
FORMATS: Final = {"csv": "CSV", "xlsx": "Excel", "pdf": "PDF"}
STATES: Final = {
    0: _("Its days are not complete yet: a day's bill is made in the morning after."),
    10: _("It is being made. Ask again in a moment."),
    90: _("It could not be made; we are looking into it."),
}


def runway_h(account: Any) -> int | None:
    """How many hours what may still be spent lasts, at the pace of the last day; None when nothing leaves."""
    if not account.spent_micros or not account.window_s:
        return None
    return account.available_micros * account.window_s // (account.spent_micros * HOUR_S)


async def show(visit: Visit, said: str = "") -> Response:
    """The accounts, and the form of a bill."""
    channel = own.channel_of(visit)
    request = pb.GetChannelAccountRequest(channel_no=channel, spending=True)
    account = await visit.ask(own.GET_ACCOUNT, request)
    return visit.render(
        "own_money.html",
        channel=channel,
        account=account,
        hours=runway_h(account),
        kinds=KINDS,
        formats=FORMATS,
        said=said,
    )


def days_of(text: str) -> tuple[date, date] | None:
    """The day, or the first and last one of the month."""
    month = len(text) == MONTH_CHARS
    first = day_of(f"{text}-01" if month else text)
    if first is None or not month:
        return None if first is None else (first, first)
    return first, first.replace(day=calendar.monthrange(first.year, first.month)[1])


async def bill(visit: Visit) -> Response:
    """A bill's file, or how far it is."""
    query, channel = visit.query, own.channel_of(visit)
    days, kind, form = days_of(query.get("date", "")), query.get("kind"), query.get("format")
    if days is None or kind not in KINDS or form not in FORMATS:
        return await show(visit, _("A day such as 2026-11-30, or a month such as 2026-11."))
    wanted = bill_pb.MakeBillRequest(
        kind=kind,
        first_day=days[0].isoformat(),
        last_day=days[1].isoformat(),
        format=form,
        bom=form == "csv",
    )
    asked = bill_pb.GetChannelBillLinkRequest(channel_no=channel, bill=wanted)
    link = (await visit.ask(own.GET_BILL_LINK, asked)).link
    if not link.token:
        return await show(visit, STATES.get(link.bill.status, STATES[90]))
    request = bill_pb.DownloadBillRequest(token=link.token, channel_no=channel)
    pieces = visit.site.backend.stream(own.DOWNLOAD_BILL, request, visit.caller, DOWNLOAD_S)
    first = await anext(pieces, None)  # refused or away: said on a page
    name = "".join(one if one.isascii() and one not in '"\\/' else "_" for one in link.bill.file)
    return StreamingResponse(
        _bytes(first, pieces),
        media_type="application/octet-stream",
        headers={
            "content-disposition": f'attachment; filename="{name}"',
            "content-length": str(link.bill.bytes),
        },
    )


async def _bytes(first: Any, pieces: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    if first is not None:
        yield first.body
    async for one in pieces:
        yield one.body


PAGES: Final = (Page(PATH, show, whose="partner"), Page(BILL, bill, whose="partner"))
NAVIGATION: Final = (Entry(PATH, _("Balance and bills"), _("My business"), whose="partner"),)
