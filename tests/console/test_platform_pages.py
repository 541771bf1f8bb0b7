"""Promises of the pages of PayServer, Dingdang, the ERPs, the events and the services."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.console.harness import Desk
from tests.poll import eventually

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

PUSH = Path(__file__).parents[1] / "erp_ingest" / "examples" / "push_data.json"
SENDER = "BudweiserTmall"
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


async def push(desk: Desk, body: bytes) -> str:
    url = f"{desk.system.gateway_url}/pushData"
    async with desk.partner.http.post(url, params={"customerid": SENDER}, data=body) as answer:
        return await answer.text()


@pytest.fixture(scope="session")
async def pushed(desk: Desk) -> Desk:
    """A trade that was understood, and a push that was not."""
    assert "success" in await push(desk, PUSH.read_bytes())
    await push(desk, b'{"trades": [{"tid": 7}, "neither"]}')

    async def there() -> bool:
        count = "SELECT count(*) FROM trade"
        return bool(await desk.partner.sql("erp_ingest", count))

    await eventually(there, 20, every_s=0.2)
    return desk


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
    assert "Enter a number" in (await browser.get("/events")).text
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
    resumed = await browser.post("/services/queues", {**fields, "paused": "no"})
    assert not re.search(r'class="alert done".*of-this-test', resumed.text)
    viewer = await pushed.logged_in("platforms-en", "viewer")
    assert 'name="queue"' not in (await viewer.get("/services")).text
    assert (await viewer.post("/services/queues", {**fields, "paused": "yes"})).status == 403


async def test_a_service_that_is_away_is_named_on_each_page(pushed: Desk) -> None:
    browser = await pushed.logged_in("hears", "ops")
    pushed.system.pause("erp_ingest")
    try:
        for path in ("/erp/trades", "/events?key=1", "/services"):
            page = await browser.get(path)
            assert page.status == 200, path
            assert "does not answer" in page.text, path
        assert "does not answer" not in (await browser.get("/payserver/pays")).text
    finally:
        pushed.system.resume("erp_ingest")

    async def back() -> bool:
        return "does not answer" not in (await browser.get("/erp/trades")).text

    await eventually(back, 30, every_s=0.2)
