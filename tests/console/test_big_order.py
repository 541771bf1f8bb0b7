"""An order of a thousand parts and fifty thousand moments: its page shows windows, which links move."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape

import pytest

from shoudan_console.pages.order import MOMENTS_MAX, PARTS_MAX
from tests.console.harness import Answer, Browser, Desk

pytestmark = pytest.mark.system

PARTS = 1_000
EVENTS = 50_000
BYTES_MAX = 400_000  # of a page with all windows full; whole it would have 20 MB
PARTS_MADE = """
    INSERT INTO oms_order_delivery (SELECT (jsonb_populate_record(d, jsonb_build_object(
        'delivery_id', d.delivery_id + g, 'up_delivery_no', 'U' || g))).*
    FROM oms_order_delivery d, generate_series(1, $2::int) g WHERE d.order_id = $1)
"""
SENDS_MADE = """
    INSERT INTO vds_order_info (SELECT (jsonb_populate_record(d, jsonb_build_object(
        'order_no', d.order_no + g, 'coop_order_id', (d.coop_order_id::bigint + g)::text,
        'up_order_no', 'U' || g))).*
    FROM vds_order_info d, generate_series(1, $2::int) g WHERE d.order_id = $1)
"""
EVENTS_MADE = """
    INSERT INTO event (event_id, subject, key, tag, text, body, create_time)
    SELECT e.id + g, 'shoudan.events.order.order.parted', $1, 'parted', 'moment ' || g, '',
        e.time + g * interval '7 minutes'
    FROM (SELECT max(event_id) + (1000000::bigint << 22) AS id, max(create_time) AS time FROM event) e,
        generate_series(1, $2::int) g
"""
GONE = {
    "order": (
        "DELETE FROM oms_order_delivery WHERE order_id::text = $1 AND up_delivery_no LIKE 'U%'",
        "DELETE FROM event WHERE key = $1 AND tag = 'parted'",
    ),
    "delivery": ("DELETE FROM vds_order_info WHERE order_id = $1 AND up_order_no LIKE 'U%'",),
}


@pytest.fixture(scope="module")
async def big(desk: Desk) -> AsyncIterator[int]:
    """The number of such an order; its parts are gone afterwards, for other tests count what there is."""
    one = "SELECT order_id FROM oms_order_info WHERE order_status = 0 ORDER BY order_id LIMIT 1"
    order_id = await desk.partner.sql("order", one)
    made = (
        ("order", PARTS_MADE, order_id, PARTS - 1),
        ("order", EVENTS_MADE, str(order_id), EVENTS),
        ("delivery", SENDS_MADE, str(order_id), PARTS - 1),
    )
    try:
        for service, statement, *binds in made:
            await desk.partner.sql(service, statement, *binds)
        yield order_id
    finally:
        for service, statements in GONE.items():
            for statement in statements:
                await desk.partner.sql(service, statement, str(order_id))


def tables(page: Answer) -> dict[str, str]:
    """The tables of the page by their captions."""
    return dict(
        re.findall(r'<caption class="unseen">([^<]*)</caption>(.*?)</table>', page.text, re.DOTALL)
    )


def link(page: Answer, text: str) -> str:
    (found,) = re.findall(
        rf'<a class="btn" href="([^"#]*)#?[a-z]*">[^<]*{text}[^<]*</a>', page.text
    )
    return unescape(found)


async def seen(browser: Browser, path: str) -> Answer:
    page = await browser.get(path)
    assert page.status == 200
    assert "does not answer" not in page.text
    assert len(page.text.encode()) < BYTES_MAX
    return page


async def test_it_shows_windows_of_bounded_size(desk: Desk, big: int) -> None:
    browser = await desk.logged_in("big", "ops")
    page = await seen(browser, f"/orders/{big}")
    found = tables(page)
    rows = {name: text.count("<tr>") - 1 for name, text in found.items()}
    assert rows["Timeline"] == MOMENTS_MAX
    assert rows["Deliveries"] == rows["At the suppliers"] == PARTS_MAX
    assert page.text.count("<circle") == MOMENTS_MAX
    assert f"moment {EVENTS}<" in found["Timeline"]
    assert f"1 to {PARTS_MAX} of {PARTS}" in page.text


async def test_links_lead_to_every_part(desk: Desk, big: int) -> None:
    browser = await desk.logged_in("big", "ops")
    page = await seen(browser, f"/orders/{big}")
    numbers = re.findall(r">U([0-9]+)<", tables(page)["Deliveries"])
    while "After" in page.text and len(numbers) < PARTS:
        page = await seen(browser, link(page, "After"))
        numbers += re.findall(r">U([0-9]+)<", tables(page)["Deliveries"])
    assert sorted(map(int, numbers)) == list(range(1, PARTS))
    back = await seen(browser, link(page, "Before"))
    assert f"to {PARTS - PARTS_MAX} of {PARTS}" in back.text


async def test_links_lead_to_older_moments_and_keep_the_part(desk: Desk, big: int) -> None:
    browser = await desk.logged_in("big", "ops")
    page = await seen(browser, link(await seen(browser, f"/orders/{big}"), "After"))
    deliveries = tables(page)["Deliveries"]
    (older,) = re.findall(r'href="([^"]*)#moments">‹ Older', page.text)
    page = await seen(browser, unescape(older))
    assert f"moment {EVENTS - MOMENTS_MAX}<" in page.text
    assert f"moment {EVENTS - MOMENTS_MAX + 1}<" not in page.text
    assert tables(page)["Deliveries"] == deliveries
    page = await seen(browser, link(page, "Newest"))
    assert f"moment {EVENTS}<" in page.text


async def test_an_address_of_no_window_shows_a_page(desk: Desk, big: int) -> None:
    browser = await desk.logged_in("big", "ops")
    for asked in ("part=x", "part=99999999999999999999999", "part=9223372036854775807"):
        await seen(browser, f"/orders/{big}?{asked}")
    for asked in ("moments=x", "sent=x"):
        page = await seen(browser, f"/orders/{big}?{asked}")
        assert "FIELD_INVALID" in page.text
