"""Promises of the sandbox's pages: scripts, letters and time of a test system, and none elsewhere."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from shoudan_console.lists import Query
from shoudan_console.pages import NAVIGATION, sandbox
from shoudan_console.system_clock import Seen
from shoudan_console.visits import Missing
from tests.console.harness import Browser, Desk
from tests.poll import eventually

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

SHIFT = re.compile(r'name="from" value="(\d+)"')
UNKNOWN = "1000110000000003"
QUARTER_S = 900


async def clock_of(browser: Browser) -> int:
    """How far the clock is ahead, as the page says."""
    found = SHIFT.search((await browser.get("/sandbox")).text)
    assert found is not None
    return int(found[1])


async def test_a_script_is_chosen_for_an_order_and_leaves_a_row_in_the_audit_log(
    desk: Desk,
) -> None:
    browser = await desk.logged_in("plays", "ops")
    assert "unknown for ever" in (await browser.get("/sandbox")).text
    fields = {"kind": "account", "key": "4040404040", "script": "0001"}
    done = await browser.post("/sandbox/scripts", fields)
    assert done.location == "/sandbox?done=script&key=4040404040"
    assert "4040404040" in (await browser.get("/sandbox")).text
    assert (await browser.post("/sandbox/scripts", {**fields, "key": " "})).status == 400
    refused = await browser.post("/sandbox/scripts", {**fields, "script": "no-such"})
    assert refused.status == 409
    status, body = await desk.partner.order(request_no="plays-1", rechage_account="4040404040")
    assert status == 200, body

    async def failed() -> bool:
        page = await browser.get("/orders?channel=test&status=90")
        return page.text.count('href="/orders/') > 0

    await eventually(failed, 60, every_s=0.5)
    await browser.post("/sandbox/scripts", {"kind": "account", "key": "4040404040"})
    assert "4040404040" not in (await browser.get("/sandbox")).text
    rows = (
        "SELECT count(*) FROM audit_log WHERE action LIKE '%SetSandboxScript' AND outcome = 'done'"
    )
    assert await desk.partner.sql("order", rows) == 2


async def test_a_viewer_sees_the_sandbox_and_changes_nothing(desk: Desk) -> None:
    viewer = await desk.logged_in("is-viewer", "viewer")
    page = await viewer.get("/sandbox")
    assert page.status == 200
    assert 'name="quick"' not in page.text
    assert 'action="/sandbox/scripts"' not in page.text
    before = SHIFT.search(page.text)
    assert before is None
    fields = {"kind": "account", "key": "1", "script": "0001"}
    assert (await viewer.post("/sandbox/scripts", fields)).status == 403
    ops = await desk.logged_in("plays", "ops")
    ahead = await clock_of(ops)
    refused = await viewer.post("/sandbox/clock", {"from": str(ahead), "quick": str(QUARTER_S)})
    assert refused.status == 403
    assert await clock_of(ops) == ahead


async def test_the_inbox_shows_what_came_and_what_each_signature_is_worth(desk: Desk) -> None:
    browser = await desk.logged_in("plays", "ops")

    async def came() -> bool:
        return 'class="k-status"' in (await browser.get("/sandbox/inbox?channel=test")).text

    await eventually(came, 30, every_s=0.2)
    page = await browser.get("/sandbox/inbox?channel=test")
    assert "desk-" in page.text
    assert "Signature wrong" not in page.text
    assert "nothing" in (await browser.get("/sandbox/inbox")).text.lower()
    own = await desk.account("own-test", "test")
    partner = await desk.logged_in(own.name)
    assert "desk-" in (await partner.get("/own/inbox")).text
    assert (await partner.get("/own/inbox?channel=ycup")).status in {200, 403}
    assert "Your roles do not show this" in (await partner.get("/own/inbox?channel=ycup")).text
    assert 'href="/own/inbox"' in (await partner.get("/own/orders")).text
    # One clock is everybody's: a partner sees it, and does not advance it.
    assert (await partner.get("/sandbox")).status == 404
    assert (await partner.post("/sandbox/clock", {"from": "0", "quick": "900"})).status == 404


async def test_time_that_passes_is_seen_on_every_page_and_makes_what_is_due_happen(
    desk: Desk,
) -> None:
    browser = await desk.logged_in("plays", "ops")
    waiting = "SELECT count(*) FROM oms_audit_info WHERE audit_status = 20"
    before = await desk.partner.sql("order", waiting)
    status, body = await desk.partner.order(request_no="plays-late", rechage_account=UNKNOWN)
    assert status == 200, body
    sent = "SELECT count(*) FROM oms_order_delivery WHERE delivery_status = 30"

    async def on_its_way() -> bool:
        return bool(await desk.partner.sql("order", sent))

    await eventually(on_its_way, 30, every_s=0.2)
    ahead = await clock_of(browser)
    fields = {"from": str(ahead), "quick": str(QUARTER_S)}
    assert (
        await browser.post("/sandbox/clock", {**fields, "quick": "", "count": "x"})
    ).status == 400
    done = await browser.post("/sandbox/clock", fields)
    assert done.location == "/sandbox?done=clock", done.text
    again = await browser.post("/sandbox/clock", fields)  # the same form, a second time
    assert again.status == 409
    partner = await desk.logged_in((await desk.account("own-test", "test")).name)

    async def shown() -> bool:
        pages = [await browser.get("/orders"), await partner.get("/own/orders")]
        return all(re.search(r'class="badge shifted".*\+\d+m', one.text) for one in pages)

    await eventually(shown, 30, every_s=0.5)
    assert await clock_of(browser) == ahead + QUARTER_S

    async def overtime() -> bool:
        return await desk.partner.sql("order", waiting) > before

    await eventually(overtime, 60, every_s=0.5)
    for service in ("order", "finance"):  # each wrote down who did it
        row = (
            "SELECT count(*) FROM audit_log WHERE action LIKE '%AdvanceClock' AND caller_ref <> ''"
        )
        assert await desk.partner.sql(service, row) >= 1


async def test_where_the_clock_is_the_machines_there_is_no_sandbox() -> None:
    clock = SimpleNamespace(seen=Seen(), known=True)
    known = SimpleNamespace(partner=False)
    visit: Any = SimpleNamespace(clock=Seen(), known=known, site=SimpleNamespace(clock=clock))
    with pytest.raises(Missing):
        await sandbox.show(visit)
    with pytest.raises(Missing):
        await sandbox.fetch(visit, Query({}))
    entry = next(one for one in NAVIGATION if one.path == "/sandbox")
    assert not entry.shown_to(visit)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"quick": "900"}, 900),
        ({"quick": "901"}, 0),
        ({"count": "3", "unit": "h"}, 10_800),
        ({"count": "3", "unit": "y"}, 0),
        ({"count": "32", "unit": "d"}, 0),
        ({"count": "-1", "unit": "d"}, 0),
        ({}, 0),
    ],
)
def test_how_much_time_a_form_says(fields: dict[str, str], seconds: int) -> None:
    assert sandbox.seconds_in(fields) == seconds
