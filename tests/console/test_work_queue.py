"""Promises of the work queue: what is due, who works on what, and many items decided at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shoudan_console.pages.work import IN_TIME, OVERDUE, SOON, due_of
from tests.console.harness import Browser, Desk
from tests.poll import eventually

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

PATH = "/work-queue"


async def between(desk: Desk) -> list[str]:
    """Two items that no other test decides."""
    found = await desk.partner.sql(
        "order",
        "SELECT array_agg(a::text) FROM"
        " (SELECT audit_id FROM oms_audit_info WHERE change_type = 1 ORDER BY audit_id OFFSET 1 LIMIT 2)"
        " AS t (a)",
    )
    return [f"order/delivery/{one}" for one in found]


async def chosen(browser: Browser, *items: str, **fields: str) -> tuple[int, str, str]:
    """Tick items and send the form; status, place and page that come of it."""
    ticked = "&".join(f"item={one}" for one in items)
    body = "&".join([f"csrf={browser.csrf}", ticked, *(f"{k}={v}" for k, v in fields.items())])
    headers = {"content-type": "application/x-www-form-urlencoded"}
    async with browser.http.post(
        f"{browser.url}{PATH}/bulk", data=body, headers=headers, allow_redirects=False
    ) as answer:
        return answer.status, answer.headers.get("location", ""), await answer.text()


@pytest.mark.parametrize(
    ("minutes", "due"), [(0, IN_TIME), (44, IN_TIME), (46, SOON), (59, SOON), (61, OVERDUE)]
)
def test_the_last_quarter_of_its_time_is_soon(minutes: int, due: object) -> None:
    assert due_of(datetime.now(UTC) - timedelta(minutes=minutes), 3_600) is due


async def test_an_operator_takes_work_gives_it_back_and_others_see_whose_it_is(desk: Desk) -> None:
    first, second = await between(desk)
    taker = await desk.logged_in("takes", "support")

    async def listed() -> bool:  # once every service knows the key of the operator's token
        return f'name="item" value="{first}"' in (await taker.get(PATH)).text

    await eventually(listed, 30, every_s=0.1)
    assert (await chosen(taker, first, second, act="take"))[:2] == (303, f"{PATH}?whose=mine")
    mine = await taker.get(f"{PATH}?whose=mine")
    assert f'data-href="{PATH}/{first}"' in mine.text
    assert mine.text.count('name="item"') == 2
    other = await desk.logged_in("looks-on", "ops")
    assert ">takes<" in (await other.get(f"{PATH}?kind=delivery")).text
    assert 'name="item"' not in (await other.get(f"{PATH}?whose=mine")).text
    assert "takes" in (await other.get(f"{PATH}/{first}")).text
    assert (await chosen(other, first, act="take"))[0] == 303  # taken over: it is a note, no lock
    assert (await taker.get(f"{PATH}?whose=mine")).text.count('name="item"') == 1
    assert (await chosen(other, first, second, act="give_back"))[0] == 303
    assert 'name="item"' not in (await taker.get(f"{PATH}?whose=mine")).text


async def test_who_may_not_decide_has_no_button_and_is_refused(desk: Desk) -> None:
    first, _second = await between(desk)
    viewer = await desk.logged_in("is-viewer", "viewer")
    page = await viewer.get(PATH)
    assert 'id="bulk"' not in page.text
    assert 'name="item"' not in page.text
    for fields in ({"act": "take"}, {"act": "decide", "decision": "failed", "reason": "no"}):
        status, _, _ = await chosen(viewer, first, **fields)
        assert status == 403
    assert (
        await desk.sql("SELECT count(*) FROM console_assignment WHERE operator = 'is-viewer'") == 0
    )


async def test_many_are_decided_together_each_by_itself_and_sent_twice_counts_once(
    desk: Desk,
) -> None:
    first, second = await between(desk)
    browser = await desk.logged_in("decides-many", "ops")
    page = await browser.get(PATH)
    once = page.field("once")
    status, _, text = await chosen(browser, act="decide", decision="failed", reason="why")
    assert (status, "Tick what is to be decided" in text) == (200, True)
    status, _, text = await chosen(browser, first, act="decide", decision="failed", reason="")
    assert "Tick what is to be decided" in text
    assert (await chosen(browser, "order/delivery", act="take"))[0] == 404
    assert (await chosen(browser, "nowhere/delivery/1", act="take"))[0] == 404
    await chosen(browser, first, second, act="take")
    gone = "order/delivery/1"
    fields = {"act": "decide", "decision": "failed", "reason": "the supplier says so", "once": once}
    status, _, text = await chosen(browser, first, gone, second, **fields)
    assert status == 200
    assert text.count("Decided</span>") == 2
    assert text.count("Refused</span>") == 1  # one that is not there stops no other
    again = (await chosen(browser, first, second, **fields))[2]
    assert "Decided</span>" not in again or again.count("Decided</span>") == 2
    for item in (first, second):
        number = item.rpartition("/")[2]

        async def booked(number: str = number) -> bool:
            query = "SELECT count(*) = 1 FROM event WHERE key = $1 AND subject LIKE '%decided'"
            return await desk.partner.sql("order", query, number)

        await eventually(booked, 30)
    # What waits no more is nobody's any more.
    assert 'name="item"' not in (await browser.get(f"{PATH}?whose=mine")).text
    assert (
        await desk.sql("SELECT count(*) FROM console_assignment WHERE operator = 'decides-many'")
        == 0
    )


async def test_money_is_decided_together_only_after_password_and_code_again(desk: Desk) -> None:
    browser = await desk.logged_in("proves-many", "ops")
    await desk.sql(
        "UPDATE console_session SET prove_time = now() - interval '1 hour'"
        " WHERE operator = 'proves-many'"
    )
    await browser.get(PATH)
    item = (await between(desk))[0]
    status, where, _ = await chosen(browser, item, act="decide", decision="failed", reason="soon")
    assert (status, where.startswith("/prove?")) == (303, True)
