"""The contract of every list: sort, columns and filters stand in the address, an export is the list."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from dataclasses import dataclass, replace
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import pytest

from shoudan_console import lists
from shoudan_console.lists import Column, Found, Listing, Query
from shoudan_console.pages import PAGES
from shoudan_console.values import Status
from tests.console.harness import Desk
from tests.console.test_console import ALL, an_order
from tests.poll import eventually

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

# What has an export is a list; those of partners are looked at as partners.
LISTS = sorted(
    one.path.removesuffix(".csv")
    for one in PAGES
    if one.path.endswith(".csv") and one.whose != "partner"
)
# What a list must be asked for before it shows anything.
ASKED = {
    "/ledger/records": {"ident": "oms", "groups": "down_channel", "eid": "test"},
    "/finance/exceptions/notes": {},
}
AS_IT_IS = frozenset(
    {"code", "text", "number", "time"}
)  # kinds that an export writes as a page does


@dataclass
class Table:
    """What a page shows: columns with their kinds, and the texts of its rows."""

    kinds: list[str]
    sorts: list[str]
    rows: list[list[str]]
    next: str
    export: str
    filters: list[str]


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", "", html))).strip()


def table_of(html: str) -> Table:
    """The list of a page; without rows it has no table."""
    found = re.search(r'<section id="list".*?</section>', html, re.DOTALL)
    assert found is not None
    head = re.search(r"<thead>(.*?)</thead>", found[0], re.DOTALL)
    body = re.search(r"<tbody>(.*?)</tbody>", found[0], re.DOTALL)
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", body[1], re.DOTALL) if body else []
    cells = [re.findall(r'<td class="k-[^"]*">(.*?)</td>', row, re.DOTALL) for row in rows]
    onward = re.search(r'id="next" rel="next" href="([^"]+)"', html)
    export = re.search(r'id="export" href="([^"]+)"', html)
    filters = re.search(r'<form class="filters".*?</form>', html, re.DOTALL)
    return Table(
        re.findall(r'<th scope="col" class="k-(\w+)', head[1]) if head else [],
        [unescape(one) for one in re.findall(r'class="by" href="([^"]+)"', head[1])]
        if head
        else [],
        [[text_of(cell) for cell in row] for row in cells],
        unescape(onward[1]) if onward else "",
        unescape(export[1]) if export else "",
        re.findall(r'(?:<select|<input)[^>]* name="(\w+)"', filters[0]) if filters else [],
    )


async def asked_of(desk: Desk, path: str) -> dict[str, str]:
    if path == "/events":
        return {"key": str(await an_order(desk))}
    return ASKED.get(path, {})


@pytest.mark.parametrize("path", LISTS)
async def test_a_list_keeps_its_contract(desk: Desk, path: str) -> None:
    browser = await desk.logged_in("contract", *ALL)
    asked = await asked_of(desk, path)
    where = f"{path}?{urlencode({**asked, 'size': '200'})}"
    page = await browser.get(where)
    assert page.status == 200, page.text
    whole = table_of(page.text)
    # The export is the same query: the same rows in the same order.
    assert (
        parse_qs(urlsplit(whole.export).query).items() >= {k: [v] for k, v in asked.items()}.items()
    )
    assert urlsplit(whole.export).path == f"{path}.csv"
    file = await browser.get(whole.export)
    exported = list(csv.reader(io.StringIO(file.text.removeprefix("\ufeff"))))
    if not whole.next:
        assert len(exported) - 1 == len(whole.rows)
        for at, kind in enumerate(whole.kinds):
            if kind in AS_IT_IS:
                # A page writes a dash for nothing, a spreadsheet a quote before what would be a formula.
                shown = ["" if row[at] == "–" else row[at] for row in whole.rows]
                rows = [re.sub(r"\s+", " ", row[at]).strip() for row in exported[1:]]
                assert ["" if one == "–" else one for one in rows] == shown or kind == "text"
    # A filter stands in the address, and in everything that the page leads to.
    for name in whole.filters:
        if name in {"size", "col", "sort"}:
            continue
        narrowed = await browser.get(f"{path}?{urlencode({name: 'no-such-value'})}")
        assert narrowed.status in {200, 400}, (name, narrowed.status)
        if narrowed.status == 200 and (export := table_of(narrowed.text).export):
            assert parse_qs(urlsplit(export).query)[name] == ["no-such-value"]
    if not whole.rows:
        return
    # A column sorts the page, and again the other way round.
    for link in whole.sorts[:3]:
        up = await browser.get(link)
        assert up.status == 200, (link, up.text[:300])
        assert up.text.count('aria-sort="ascending"') == 1
        rising = table_of(up.text)
        kept = [
            at for at, kind in enumerate(whole.kinds) if kind != "age"
        ]  # an age grows meanwhile
        before, after = (
            sorted([row[at] for at in kept] for row in one.rows) for one in (whole, rising)
        )
        assert after == before or whole.next
        (back,) = [one for one in rising.sorts if "sort=-" in one]
        assert (await browser.get(back)).text.count('aria-sort="descending"') == 1
    # Chosen columns are those of the page and of its export, and are kept by what it leads to.
    key = parse_qs(urlsplit(whole.sorts[0]).query)["sort"][0]
    one = await browser.get(f"{where}&{urlencode({'col': key})}")
    narrow = table_of(one.text)
    assert len(narrow.kinds) == 1
    assert [row[0] for row in narrow.rows] == [row[0] for row in whole.rows]
    file = await browser.get(narrow.export)
    exported = list(csv.reader(io.StringIO(file.text.removeprefix("\ufeff"))))
    assert {len(row) for row in exported} == {1}


async def test_what_no_list_has_is_left_out_of_its_address(desk: Desk) -> None:
    browser = await desk.logged_in("contract", *ALL)
    page = await browser.get("/orders?col=<script>&sort=nothing&size=7&more=1")
    assert page.status == 200
    assert "nothing" not in table_of(page.text).export
    assert "script" not in table_of(page.text).export


def test_rows_without_a_value_come_last_whichever_way() -> None:
    async def fetch(_visit: Any, _query: Query) -> Found:
        return Found(())

    rows = [(2, Status("b", "good")), (None, None), (1, Status("c", "bad"))]
    listing = Listing(
        "any",
        "/any",
        "Any",
        (
            Column("number", "Number", lambda row: row[0], "number"),
            Column("state", "State", lambda row: row[1], "status"),
        ),
        fetch,
        "",
    )
    for sort, numbers in (
        ("number", [1, 2, None]),
        ("-number", [2, 1, None]),
        ("state", [2, 1, None]),
        ("-state", [1, 2, None]),
        ("", [2, None, 1]),
    ):
        found = lists.in_order(listing, replace(Query({}), sort=sort), Found(rows))
        assert [row[0] for row in found.rows] == numbers


async def test_a_page_that_its_browser_has_left_is_not_made_to_its_end(desk: Desk) -> None:
    """While pay stands still the page waits; the browser goes away, and so does the wait of the console."""
    browser = await desk.logged_in("contract", *ALL)
    waiting = "/ledger?name=left-alone"
    metric = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%account_info%'"
    async with desk.system.postgres.admin("shoudan_pay") as db, db.transaction():
        await db.execute("LOCK TABLE account_info IN ACCESS EXCLUSIVE MODE")
        asking = asyncio.ensure_future(browser.get(waiting))

        async def held() -> bool:
            return await desk.sql(f"{metric} AND wait_event_type = 'Lock'") > 0

        await eventually(held, 30, every_s=0.02)
        asking.cancel()
        with pytest.raises((asyncio.CancelledError, aiohttp.ClientError)):
            await asking

        async def over() -> bool:
            return await desk.sql(f"{metric} AND wait_event_type = 'Lock'") == 0

        await eventually(over, 30, every_s=0.02)
