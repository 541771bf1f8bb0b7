"""The contract of every list: the address is its state, pages by cursor, and an export of the same query."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any, Final, Literal
from urllib.parse import urlencode

from grpc import StatusCode
from starlette.responses import Response, StreamingResponse

from shoudan_console import store
from shoudan_console.backend import Away, Rpc
from shoudan_console.system_time import now
from shoudan_console.values import Status, cell_text
from shoudan_console.values import mark as _
from shoudan_console.visits import Panel, Visit
from shoudan_kit.clock import BEIJING
from shoudan_kit.rpc.refusal import Refused
from shoudan_kit.spreadsheet import BOM

SIZES: Final = (25, 50, 100, 200)
SIZE: Final = 50
EXPORT_PAGE: Final = 500
EXPORT_ROWS_MAX: Final = 20_000_000  # an export that would be longer is cut off, not short
EMPTY_PAGES_MAX: Final = 5  # a service may answer with an empty page that has a next
VIEWS_MAX: Final = 20
FILTER_CHARS_MAX: Final = 200
NUMBER_DIGITS_MAX: Final = 19

Kind = Literal["text", "word", "code", "number", "money", "time", "status", "age", "folded"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: how its value is found in a row, and where it leads. `small`: on narrow screens, too."""

    key: str
    label: str
    value: Callable[[Any], Any]
    kind: Kind = "text"
    link: Callable[[Any], str] | None = None
    small: bool = True


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter of a list: a text, one of `choices` (value and label), a moment of Beijing, a number of
    ours, or one of the account's own channels."""

    name: str
    label: str
    kind: Literal["text", "choice", "moment", "number", "own"] = "text"
    choices: Sequence[tuple[str, str]] = ()
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """A button of a row: a form sent to `path` with `fields`; a row for which they are None has none. Roles
    that may call `needs` see it."""

    label: str
    path: str
    fields: Callable[[Any], Mapping[str, str] | None]
    needs: Rpc


@dataclass(frozen=True)
class Query:
    """What a list is asked for."""

    filters: Mapping[str, str]
    size: int = SIZE
    token: str = ""
    columns: Sequence[str] = ()  # those chosen; none for all
    sort: str = ""  # the column that its page is sorted by, "-" before a falling one

    def text(self, name: str) -> str:
        return self.filters.get(name, "")

    def moment(self, name: str) -> datetime | None:
        """A filter's moment, as `problems` has accepted it."""
        return moment_in(self.filters.get(name, ""))


@dataclass(frozen=True)
class Found:
    """A page of rows; `away` are services whose rows are missing in it."""

    rows: Sequence[Any]
    next_token: str = ""
    away: Sequence[str] = ()


Fetch = Callable[[Visit, Query], Awaitable[Found]]


@dataclass(frozen=True)
class Listing:
    """A list: `name` is that of its export and views, `empty` the next step when there is nothing."""

    name: str
    path: str
    title: str
    columns: Sequence[Column]
    fetch: Fetch
    empty: str
    filters: Sequence[Filter] = ()
    link: Callable[[Any], str] | None = None  # where Enter on a row leads
    intro: str = ""
    template: str = "list.html"
    actions: Sequence[Action] = ()
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def query(self, visit: Visit) -> Query:
        """What the address asks for; what is no filter of this list is left out."""
        asked = visit.query
        filters = {
            one.name: value
            for one in self.filters
            if (value := asked.get(one.name, "").strip()[:FILTER_CHARS_MAX])
        }
        wanted = asked.get("size", "")
        size = int(wanted) if wanted in {str(one) for one in SIZES} else SIZE
        known = [one.key for one in self.columns]
        chosen = frozenset(asked.getlist("col"))
        sort = asked.get("sort", "")
        return Query(
            filters,
            size,
            asked.get("page", "")[: FILTER_CHARS_MAX * 10],
            [key for key in known if key in chosen],
            sort if sort.removeprefix("-") in known else "",
        )

    def shown(self, query: Query) -> Sequence[Column]:
        """The columns that were chosen; those are shown on narrow screens, too."""
        chosen = [replace(one, small=True) for one in self.columns if one.key in query.columns]
        return chosen or self.columns

    def problems(self, query: Query) -> dict[str, str]:
        """What is wrong with the filters, by name."""
        found: dict[str, str] = {}
        for one in self.filters:
            value = query.text(one.name)
            if value and one.kind == "moment" and moment_in(value) is None:
                found[one.name] = _("Not a moment such as 2026-11-30 or 2026-11-30 08:15")
            if value and one.kind == "choice" and value not in {key for key, _label in one.choices}:
                found[one.name] = _("Not one of the choices")
            if value and one.kind == "number" and not _is_number(value):
                found[one.name] = _("Not a number")
        return found


def _is_number(text: str) -> bool:
    digits = text.isascii() and text.isdecimal() and len(text) <= NUMBER_DIGITS_MAX
    return digits and int(text) < 2**63


def moment_in(text: str) -> datetime | None:
    """The moment of a day, or of a day and a time, in Beijing; None for anything else."""
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=BEIJING).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None


def today() -> datetime:
    """When the day began in Beijing."""
    day = now().astimezone(BEIJING).date()
    return datetime.combine(day, time(), BEIJING).astimezone(UTC)


def days_ago(days: int) -> str:
    """The day so many days ago, as a filter has it."""
    return (now().astimezone(BEIJING) - timedelta(days=days)).strftime("%Y-%m-%d")


async def over_services(
    chosen: Sequence[str],
    query: Query,
    fetch: Callable[[str, int, str], Awaitable[tuple[list[Any], str]]],
) -> Found:
    """A page over services, one after the other; a service that is away is named, the others follow.

    `fetch` gives a page of one service, of so many rows and behind a token. A service that refuses this
    operator is left out, unless all do.
    """
    begin, _colon, token = query.token.partition(":")
    left = list(chosen)
    left = left[left.index(begin) :] if begin in left else left
    rows: list[Any] = []
    away: list[str] = []
    refused: Refused | None = None
    for place, service in enumerate(left):
        try:
            found, onward = await fetch(service, query.size - len(rows), token)
        except Away as error:
            away.append(error.service)
            found, onward = [], ""
        except Refused as error:
            if error.code is StatusCode.UNAUTHENTICATED:
                away.append(service)  # it does not know the operator yet: its rows are missing
            refused = error
            found, onward = [], ""
        token = ""
        rows += found
        if onward:
            return Found(rows, f"{service}:{onward}", away)
        if len(rows) >= query.size and place + 1 < len(left):
            return Found(rows, f"{left[place + 1]}:", away)
    if refused is not None and not rows and not away:
        raise refused
    return Found(rows, "", away)


async def filled(listing: Listing, visit: Visit, query: Query) -> Found:
    """A page with rows in it, if there are any near: services may give an empty one first."""
    found = await listing.fetch(visit, query)
    for _turn in range(EMPTY_PAGES_MAX):
        if found.rows or not found.next_token:
            break
        found = await listing.fetch(visit, replace(query, token=found.next_token))
    return found


def in_order(listing: Listing, query: Query, found: Found) -> Found:
    """The rows of a page by the column that was asked for; what has no value comes last."""
    by = next((one for one in listing.columns if one.key == query.sort.removeprefix("-")), None)
    if by is None:
        return found
    column = by

    def worth(row: Any) -> Any:
        value = column.value(row)
        return value.word if isinstance(value, Status) else value

    valued = [row for row in found.rows if worth(row) is not None]
    rest = [row for row in found.rows if worth(row) is None]
    return replace(found, rows=sorted(valued, key=worth, reverse=query.sort.startswith("-")) + rest)


async def show(listing: Listing, visit: Visit, **more: Any) -> Response:
    """The page of a list."""
    query = listing.query(visit)
    problems = listing.problems(query)
    rows: Panel[Found] = Panel(Found(()))
    if not problems:
        rows = await visit.panel(filled(listing, visit, query))
    if rows.value is not None:
        rows = Panel(in_order(listing, query, rows.value))
    values: dict[str, Any] = {
        "listing": listing,
        "columns": listing.shown(query),
        "asked": query,
        "problems": problems,
        "panel": rows,
        "sizes": SIZES,
        "acts": [one for one in listing.actions if visit.may(one.needs)],
        "now": now(),
        "address": partial(address, listing.path, query),
        "views": await _views(listing, visit),
        **listing.more,
        **more,
    }
    return visit.render(listing.template, 400 if problems else 200, **values)


def address(path: str, query: Query, **changed: str | int) -> str:
    """The address of the same query, with changes; a change to nothing takes it out."""
    values: dict[str, Any] = {**query.filters}
    if query.size != SIZE:
        values["size"] = query.size
    values |= {"col": query.columns, "sort": query.sort, **changed}
    kept = {name: value for name, value in values.items() if value not in ("", [], ())}
    return f"{path}?{urlencode(kept, doseq=True)}" if kept else path


async def _views(listing: Listing, visit: Visit) -> dict[str, str]:
    async with visit.site.db.connect() as db:
        return await store.views(db, visit.known.operator_id, listing.name, VIEWS_MAX)


async def export(listing: Listing, visit: Visit) -> Response:
    """The same query as a file for spreadsheets, as large as it is, page by page.

    When a service fails on the way the connection is cut: half a file must not look like a whole one.
    """
    query = replace(listing.query(visit), size=EXPORT_PAGE, token="")
    if listing.problems(query):
        return await show(listing, visit)
    first = await listing.fetch(visit, query)  # refused or away: said on a page
    if first.away:
        raise Away(first.away[0], "export")
    name = f"{listing.name}-{now().astimezone(BEIJING):%Y%m%d-%H%M%S}.csv"
    return StreamingResponse(
        _lines(listing, visit, query, first),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


async def _lines(listing: Listing, visit: Visit, query: Query, found: Found) -> AsyncIterator[str]:
    columns = listing.shown(query)
    yield BOM + _csv([[visit.text(one.label) for one in columns]])
    count = 0
    while True:
        if found.away or count > EXPORT_ROWS_MAX:
            raise Away(found.away[0] if found.away else "console", "export")
        yield _csv([[_cell(visit, one, row) for one in columns] for row in found.rows])
        count += len(found.rows)
        if not found.next_token:
            return
        found = await listing.fetch(visit, replace(query, token=found.next_token))


def _cell(visit: Visit, column: Column, row: Any) -> str:
    value = column.value(row)
    if column.kind == "status" and value is not None:
        return cell_text(visit.text(value.word), "text")
    return cell_text(value, "time" if column.kind == "age" else column.kind)


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
