"""Promises of the overview: the day counted once, live without a reload, bars that lead to orders."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest

from shoudan_console.day_sums import DaySums, Sold
from shoudan_console.pages import overview
from shoudan_console.surveys import took
from tests.console.harness import Desk
from tests.poll import eventually

system = pytest.mark.system


def test_so_long_at_most_a_share_of_them_took() -> None:
    assert took({}, 50) == "–"
    bins = {100: 50, 2_000: 49, 59_999: 1}
    assert [took(bins, share) for share in (50, 51, 99, 100)] == [
        "0.1 s",
        "2.0 s",
        "2.0 s",
        "59.9 s",
    ]
    assert took({180_000: 1}, 50) == "3 min"


async def test_what_has_settled_is_read_once_and_a_new_day_begins_at_nothing() -> None:
    sums, asked = DaySums(), list[tuple[datetime, datetime]]()

    async def read(start: datetime, end: datetime) -> dict[str, Sold]:
        asked.append((start, end))
        return {"one": Sold(1, 10, 2)}

    begin = datetime.now(UTC) - timedelta(hours=2)
    day = await sums.look(begin, read)
    assert day.until is None
    assert asked[0][0] == begin
    assert all(
        asked[at][1] == asked[at + 1][0] for at in range(len(asked) - 1)
    )  # no gap, no overlap
    assert day.total == Sold(len(asked), 10 * len(asked), 2 * len(asked))
    settled = sums.until
    asked.clear()
    again = await sums.look(begin, read)
    assert all(start >= settled for start, _ in asked)
    assert again.total.orders >= day.total.orders
    hour = 3_600
    assert again.runway_s("one", again.total.sold_micros) == pytest.approx(2 * hour, abs=60)
    assert again.runway_s("another", 5) is None
    asked.clear()
    await sums.look(begin + timedelta(hours=1), read)
    assert asked[0][0] == begin + timedelta(hours=1)


async def test_a_read_that_fails_is_made_again_from_where_it_was() -> None:
    sums, fails = DaySums(), [True]

    async def read(start: datetime, end: datetime) -> dict[str, Sold]:
        if fails:
            fails.clear()
            raise ConnectionError
        return {"one": Sold(1, 0, 0)}

    begin = datetime.now(UTC) - timedelta(minutes=30)
    with pytest.raises(ConnectionError):
        await sums.look(begin, read)
    assert (await sums.look(begin, read)).total.orders == 2  # the settled piece and the young one


@system
@pytest.mark.slow
async def test_the_overview_shows_the_day_and_its_bars_lead_to_their_orders(desk: Desk) -> None:
    browser = await desk.logged_in("overlooks", "support")
    await browser.get("/orders")
    page = await browser.get("/")
    assert page.status == 200
    bars = re.findall(r'<a href="(/orders\?from=[^"]+)" aria-label="[^"]* (\d+)"', page.text)
    made = await desk.partner.sql("order", "SELECT count(*) FROM oms_order_info")
    assert sum(int(count) for _, count in bars) == made
    where = unescape(bars[0][0])
    listed = await browser.get(where)
    assert listed.status == 200
    assert f'name="from" value="{parse_qs(urlsplit(where).query)["from"][0]}"' in listed.text
    narrowed = await browser.get("/orders/by-time?channel=nobody-has-this")
    assert "No order in this period" in narrowed.text
    part = await browser.get("/orders/by-time?channel=test&status=0", **{"hx-request": "true"})
    assert "<html" not in part.text
    assert "status=0" in part.text  # kept for the orders that a bar leads to
    assert "channel=test" in part.text


@system
@pytest.mark.slow
async def test_the_overview_comes_again_by_itself_and_keeps_no_session_alive(desk: Desk) -> None:
    browser = await desk.logged_in("watches-live", "support")
    used = "SELECT use_time FROM console_session WHERE operator = 'watches-live'"
    async with browser.http.get(f"{browser.url}/live") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        await desk.sql(
            "UPDATE console_session SET use_time = now() - interval '5 minutes'"
            " WHERE operator = 'watches-live'"
        )
        first = await desk.sql(used)
        line = b""
        while not line.startswith(b"data: "):
            line = await asyncio.wait_for(stream.content.readline(), 60)
        assert await desk.sql(used) == first
        await desk.sql("DELETE FROM console_session WHERE operator = 'watches-live'")

        async def ended() -> bool:
            return (await stream.content.readline()).startswith(b"event: ended")

        await eventually(ended, 60, every_s=0)
    assert overview.EVERY_S <= 10
