"""Promises of the pages of PayServer, Dingdang, the ERPs, the events and the services."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest

from shoudan_console import replicas
from shoudan_console.backend import SERVICES
from shoudan_console.pages import events, services
from shoudan_console.pages.events import Row
from tests.console.harness import Desk
from tests.poll import eventually

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

LISTS = (
    "/payserver/pays",
    "/payserver/refunds",
    "/payserver/modes",
    "/payserver/templates",
    "/dingdang",
    "/erp/trades",
    "/erp/returns",
    "/erp/quarantined",
)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("path", LISTS)
async def test_each_list_answers_and_its_export_has_its_rows(
    pushed: Desk, path: str, language: str
) -> None:
    browser = await pushed.logged_in(f"platforms-{language}", "viewer", language=language)
    page = await browser.get(path)
    assert page.status == 200
    assert "ERROR_REASON" not in page.text
    export = await browser.get(path + ".csv")
    shown = re.findall(r'<tr[^>]*><td class="k-\w+">', page.text)
    assert len(export.text.splitlines()) - 1 == len(shown)
    empty = 'class="empty"' in page.text
    assert empty == (not shown)


async def test_a_trade_is_shown_masked_and_revealed_with_a_reason_alone(pushed: Desk) -> None:
    browser = await pushed.logged_in("reveals", "support")
    page = await browser.get("/erp/trades")
    path = re.findall(r'data-href="(/erp/trades/[^"]+)"', page.text)[0]
    document = await browser.get(path)
    assert document.status == 200
    number = document.field("number")
    assert (await browser.post(path, {"number": number, "reason": ""})).status == 400
    shown = await browser.post(path, {"number": number, "reason": "the buyer called"})
    assert shown.status == 200
    assert "Revealed to reveals" in shown.text
    query = "SELECT count(*) FROM audit_log WHERE reason = 'the buyer called'"
    assert await pushed.partner.sql("erp_ingest", query) == 1
    viewer = await pushed.logged_in("platforms-en", "viewer")
    assert "Your roles see it masked." in (await viewer.get(path)).text
    refused = await viewer.post(path, {"number": number, "reason": "no right to"})
    assert refused.status == 403


async def test_events_of_a_number_are_found_in_all_services(pushed: Desk) -> None:
    browser = await pushed.logged_in("hears", "ops")
    order_id = await pushed.partner.sql(
        "order", "SELECT order_id FROM oms_order_info WHERE request_no = 'desk-0'"
    )
    page = await browser.get(f"/events?key={order_id}")
    assert page.text.count('<td class="k-time">') >= 3
    export = await browser.get(f"/events.csv?key={order_id}")
    assert len(export.text.splitlines()) - 1 == page.text.count('<td class="k-time">')
    wrong = await browser.post("/events/replay", {"service": "order", "from": "then", "to": "now"})
    assert wrong.location.endswith("wrong=range")
    fields = {"service": "order", "from": "2020-01-01", "to": "2020-01-02"}
    assert "key=0" in (await browser.post("/events/replay", fields)).location
    viewer = await pushed.logged_in("platforms-en", "viewer")
    assert "Publish again" not in (await viewer.get("/events")).text
    assert (await viewer.post("/events/replay", fields)).status == 403


async def test_a_queue_is_stopped_and_resumed_by_operations_alone(pushed: Desk) -> None:
    browser = await pushed.logged_in("hears", "ops")
    assert "erp_ingest" in (await browser.get("/services")).text
    fields = {"service": "erp_ingest", "queue": "of-this-test", "reason": "a test"}
    assert (await browser.post("/services/queues", {**fields, "paused": ""})).status == 400
    stopped = await browser.post("/services/queues", {**fields, "paused": "yes"})
    assert re.search(r'class="alert done".*of-this-test', stopped.text)
    shown = (await browser.get("/services")).text
    row = re.search(r"<tr><td>erp_ingest</td>(?:(?!</tr>).)*of-this-test.*?</tr>", shown, re.DOTALL)
    assert row is not None
    assert "hears" in row[0]  # who stopped it
    assert "a test" in row[0]
    assert 'value="no"' in row[0]
    resumed = await browser.post("/services/queues", {**fields, "paused": "no"})
    assert "No queue is stopped" in (await browser.get("/services")).text
    assert not re.search(r'class="alert done".*of-this-test', resumed.text)
    viewer = await pushed.logged_in("platforms-en", "viewer")
    assert 'name="queue"' not in (await viewer.get("/services")).text
    assert (await viewer.post("/services/queues", {**fields, "paused": "yes"})).status == 403


def rows_of(page: str) -> list[str]:
    return re.findall(r"<tr>(.*?)</tr>", page.partition("<tbody>")[2], re.DOTALL)


async def test_the_newest_events_come_in_pages_without_a_number(pushed: Desk) -> None:
    browser = await pushed.logged_in("hears", "ops")

    async def alike() -> bool:
        """Three pages are the first rows of a long one, unless something happened in between."""
        seen: list[str] = []
        where = "/events?size=25"
        for _page in range(3):
            page = await browser.get(where)
            rows = rows_of(page.text)
            assert len(rows) == 25
            seen += rows
            onward = re.search(r'id="next" rel="next" href="([^"]+)"', page.text)
            assert onward is not None
            where = unescape(onward[1])
        return seen == rows_of((await browser.get("/events?size=200")).text)[:75]

    await eventually(alike, 60)
    shown = rows_of((await browser.get("/events?size=200")).text)
    times = [re.findall(r'datetime="([^"]+)"', one)[0] for one in shown]
    assert times[0] >= times[-1]  # a row may be a moment older than its number
    narrowed = await browser.get("/events?service=order&subject=shoudan.events.order.order.")
    subjects = set(re.findall(r"shoudan\.events\.[\w.]+", narrowed.text.partition("<tbody>")[2]))
    assert subjects
    assert all(one.startswith("shoudan.events.order.order.") for one in subjects)


def row(service: str, number: int, seconds: int) -> Row:
    time = datetime(2026, 11, 30, tzinfo=UTC) + timedelta(seconds=seconds)
    return Row(service, time, "s", "k", "t", "text", "", number)


def test_events_of_services_are_put_together_by_time_and_none_is_left_out() -> None:
    pay, order = [row("pay", 9, 5), row("pay", 7, 1)], [row("order", 8, 4), row("order", 6, 3)]
    shown, token = events.merged({"pay": (pay, ""), "order": (order, "5")}, 3)
    assert [one.event_id for one in shown] == [9, 8, 6]
    assert events.token_in(token) == {"pay": "9", "order": "5"}
    shown, token = events.merged({"pay": (pay, ""), "order": ([], "5")}, 1)
    assert events.token_in(token) == {"pay": "9", "order": "5"}
    shown, token = events.merged({"pay": (pay, ""), "order": (order, "")}, 1)
    assert events.token_in(token) == {"pay": "9", "order": "9"}  # before it, its first row is next
    assert events.merged({"pay": (pay, ""), "order": (order, "")}, 9)[1] == ""
    assert events.token_in("order:5,nothing:1,pay:x") == {"order": "5"}


def test_a_live_page_keeps_so_many_events_and_says_when_more_came() -> None:
    feed = events.Feed(["order"], "")
    first = feed._fresh("order", [row("order", number, number) for number in range(100, 0, -1)])
    assert len(first) == events.BUFFER_MAX // 6
    assert feed._fresh("order", [row("order", 100, 100)]) == []
    fresh = feed._fresh("order", [row("order", number, number) for number in (102, 101, 100)])
    assert [one.event_id for one in fresh] == [102, 101]
    assert feed.left_out == 0
    burst = feed._fresh("order", [row("order", number, 1) for number in range(300, 200, -1)])
    assert len(burst) == events.BEAT_MAX
    assert feed.left_out == 1
    feed.rows.extend(row("order", number, number) for number in range(1_000))
    assert len(feed.rows) == events.BUFFER_MAX


async def test_what_happens_appears_on_a_live_page_by_itself(pushed: Desk) -> None:
    browser = await pushed.logged_in("hears", "ops")
    assert "data-stream=" in (await browser.get("/events/live?service=order")).text
    url = f"{browser.url}/events/feed?service=order&subject=shoudan.events.order.order."
    async with browser.http.get(url) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        await pushed.partner.order_again_and_again("heard-live")
        number = await pushed.partner.sql(
            "order", "SELECT order_id FROM oms_order_info WHERE request_no = 'heard-live'"
        )

        async def heard() -> bool:
            line = await asyncio.wait_for(stream.content.readline(), 60)
            return str(number).encode() in line

        await eventually(heard, 60, every_s=0)


async def test_each_replica_is_shown_with_what_matters_of_it(pushed: Desk) -> None:
    browser = await pushed.logged_in("hears", "ops")
    page = await browser.get("/services")
    table = re.search(r'data-part="replicas".*?</section>', page.text, re.DOTALL)
    assert table is not None
    rows = re.findall(r"<tr><td>(\w+)</td>(.*?)</tr>", table[0], re.DOTALL)
    assert {name for name, _cells in rows} == {*SERVICES, "gateway", "console"}
    for name, cells in rows:
        assert "serves" in cells, name
        assert "MiB" in cells
        assert (" ms" in cells) == (name != "console")  # what has answered calls says how fast
        assert name == "console" or 'class="k-time"><time' in cells, (
            name
        )  # when its certificate ends
    assert "%" in rows[0][1]
    async with browser.http.get(f"{browser.url}/services/live") as stream:
        line = b""
        while b"MiB" not in line:
            line = await asyncio.wait_for(stream.content.readline(), 60)
    viewer = await pushed.logged_in("platforms-en", "viewer")
    assert "MiB" in (await viewer.get("/services")).text


async def test_all_failed_tasks_of_a_kind_begin_again_with_one_button(pushed: Desk) -> None:
    browser = await pushed.logged_in("hears", "ops")
    fail = """UPDATE task SET status = 90, next_execute_time = now() + interval '1 day' WHERE task_id IN
        (SELECT task_id FROM task WHERE name = 'order.overtime' AND status = 20 LIMIT 2)"""
    name = await pushed.partner.sql("order", "SELECT name FROM task WHERE status = 20 LIMIT 1")
    fail = fail.replace("order.overtime", str(name))
    async with pushed.system.postgres.admin("shoudan_order") as db:
        await db.execute(fail)
    where = f"/tasks?service=order&name={name}"
    page = await browser.get(where)
    failed = page.text.count('action="/tasks/retry"')
    assert failed >= 2  # one of the kind, and one for each row
    fields = {"service": "order", "kind": str(name)}
    viewer = await pushed.logged_in("platforms-en", "viewer")
    await viewer.get("/tasks")
    assert (await viewer.post("/tasks/retry", fields)).status == 403
    done = await browser.post("/tasks/retry", fields)
    assert f"key={failed - 1}" in done.location
    assert "key=0" in (await browser.post("/tasks/retry", fields)).location
    assert 'action="/tasks/retry"' not in (await browser.get(where)).text


async def test_notifies_that_are_ticked_are_sent_again_and_no_others(pushed: Desk) -> None:
    browser = await pushed.logged_in("hears", "ops")
    async with pushed.system.postgres.admin("shoudan_order") as db:
        numbers = [
            row[0]
            for row in await db.fetch("SELECT notify_id FROM oms_notify_info ORDER BY 1 LIMIT 3")
        ]
        await db.execute(
            "SET session_replication_role = replica"
        )  # as if it had never been answered
        await db.execute(
            "UPDATE oms_notify_info SET given_up = true, notify_status = 20, end_time = NULL"
            " WHERE notify_id = ANY($1)",
            numbers,
        )
    page = await browser.get("/notifies")
    assert [f'name="item" value="{one}"' in page.text for one in numbers] == [True] * 3
    fields = [("csrf", browser.csrf), *(("item", str(one)) for one in (*numbers[:2], "x"))]
    async with browser.http.post(
        f"{browser.url}/notifies/resend", data=fields, allow_redirects=False
    ) as answer:
        assert answer.status == 303
        assert "key=2" in answer.headers["location"]
    left = "SELECT array_agg(notify_id) FROM oms_notify_info WHERE given_up"
    assert await pushed.partner.sql("order", left) == numbers[2:]
    await browser.post("/notifies/resend", {"notify_id": str(numbers[2])})


async def test_a_service_that_is_away_is_named_on_each_page(pushed: Desk) -> None:
    browser = await pushed.logged_in("hears", "ops")
    pushed.system.pause("erp_ingest")
    try:
        for path in ("/erp/trades", "/events?key=1", "/services"):
            page = await browser.get(path)
            assert page.status == 200, path
            assert "does not answer" in page.text, path
        # Its replica is found to be away, by one look and with the next renewal; the others are shown.
        assert page.text.count("is away") == 1
        assert page.text.count('<td><span class="state good">') >= 7
        assert services.EVERY_S + replicas.PROBE_S <= 3
        assert "does not answer" not in (await browser.get("/payserver/pays")).text
    finally:
        pushed.system.resume("erp_ingest")

    async def back() -> bool:
        return "does not answer" not in (await browser.get("/erp/trades")).text

    await eventually(back, 30, every_s=0.2)
