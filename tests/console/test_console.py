"""Promises of the console over HTTP: who sees what, what a form must show, what every answer says."""

from __future__ import annotations

import asyncio
import csv
import io
import re

import pytest

from shoudan.core.v1.proposal_service_pb2_grpc import ProposalServiceStub
from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan_console.pages import PAGES
from shoudan_console.security import POLICY
from shoudan_kit.rpc.rights import ROLES
from tests.console.conftest import top_up
from tests.console.harness import PASSWORD, Desk
from tests.poll import eventually

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

FILES = (".csv", ".yaml")
# What does not end by itself, and is no page: tests/console/test_overview.py.
STREAMS = {"/live", "/services/live", "/events/feed"}
SHOWN = sorted(
    page.path
    for page in PAGES
    if page.show is not None
    and "{" not in page.path
    and not page.open
    and page.whose != "partner"
    and page.path not in STREAMS
)
ALL = ("support", "ops", "finance-maker", "finance-checker", "admin")


async def an_order(desk: Desk, request_no: str = "desk-0") -> int:
    return await desk.partner.sql(
        "order", "SELECT order_id FROM oms_order_info WHERE request_no = $1", request_no
    )


@pytest.mark.parametrize("language", ["zh", "en"])
async def test_every_page_is_there_in_both_languages_and_says_what_a_browser_may_do(
    desk: Desk, language: str
) -> None:
    browser = await desk.logged_in(f"all-{language}", *ALL, language=language)
    order_id = await an_order(desk)
    for path in [*SHOWN, f"/orders/{order_id}", "/search?q=nothing-has-this"]:
        answer = await browser.get(path)
        assert answer.status == 200, (path, answer.text)
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        if path.endswith(FILES):
            continue
        assert f'lang="{"zh-CN" if language == "zh" else "en"}"' in answer.text
        assert not re.search(r"<script(?! src)|<style| style=| on\w+=", answer.text), path
        assert "does not answer" not in re.sub(r"<ul class=\"services\".*", "", answer.text)


def test_the_policy_lets_nothing_run_that_stands_in_a_page() -> None:
    directives = dict(one.split(" ", 1) for one in POLICY.split("; "))
    assert directives["default-src"] == directives["frame-ancestors"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == "'self'"
    assert "unsafe" not in POLICY


async def test_what_needs_a_login_leads_there_and_back(desk: Desk) -> None:
    browser = desk.browser()
    answer = await browser.get("/orders?channel=test")
    assert (answer.status, answer.location) == (303, "/login?next=%2Forders%3Fchannel%3Dtest")
    person = await desk.person("back", "support")
    await browser.get(answer.location)
    done = await browser.post(answer.location, await desk.credentials(person))
    assert done.location == "/orders?channel=test"
    elsewhere = desk.browser()
    await elsewhere.get("/login?next=//evil.example")
    done = await elsewhere.post("/login?next=//evil.example", await desk.credentials(person))
    assert done.location == "/"


async def test_a_login_makes_a_new_cookie_and_nothing_readable_is_stored(desk: Desk) -> None:
    person = await desk.person("rotates", "support")
    browser = desk.browser()
    await browser.get("/login")
    browser.http.cookie_jar.update_cookies({"session": "fixed-by-another"})
    answer = await browser.post("/login", await desk.credentials(person))
    given = answer.headers["set-cookie"]
    assert "HttpOnly" in given
    assert "SameSite=lax" in given
    first = browser.cookie()
    assert first != "fixed-by-another"
    await browser.get("/login")  # leads on: logged in
    await browser.get("/")
    await desk.admitted(browser, "/prove", person, next="/work-queue")
    second = browser.cookie()
    assert second not in {"", first}
    stored = await desk.sql("SELECT string_agg(s::text, '') FROM console_session s")
    assert first not in stored
    assert second not in stored
    assert person.secret == ""
    assert "eyJ" not in stored  # tokens
    stolen = desk.browser()
    stolen.http.cookie_jar.update_cookies({"session": first})
    assert (await stolen.get("/orders")).status == 303


async def test_a_session_ends_idle_and_at_its_end_and_with_a_logout(desk: Desk) -> None:
    for column, value in (("use_time", "-1 hour"), ("end_time", "-1 second")):
        browser = await desk.logged_in("ends", "support")
        assert (await browser.get("/orders")).status == 200
        await desk.sql(
            f"UPDATE console_session SET {column} = now() + interval '{value}'"
            " WHERE operator = 'ends'"
        )
        assert (await browser.get("/orders")).location.startswith("/login")
    browser = await desk.logged_in("ends", "support")
    cookie = browser.cookie()
    assert (await browser.post("/logout")).location == "/login"
    again = desk.browser()
    again.http.cookie_jar.update_cookies({"session": cookie})
    assert (await again.get("/orders")).status == 303


async def test_an_operator_who_was_disabled_is_out_with_its_next_tokens(desk: Desk) -> None:
    """Access tokens are renewed with every request here: they live no longer than they are renewed ahead."""
    browser = await desk.logged_in("leaves", "support")
    assert (await browser.get("/orders")).status == 200
    await desk.call("DisableOperator", pb.DisableOperatorRequest(name="leaves"), desk.admin_token)
    assert (await browser.get("/orders")).location.startswith("/login")


@pytest.mark.parametrize(
    ("headers", "csrf"),
    [
        ({}, "another-sessions"),
        ({}, ""),
        ({"Origin": "https://evil.example"}, None),
        ({"Sec-Fetch-Site": "cross-site"}, None),
    ],
)
async def test_a_form_from_elsewhere_does_nothing(
    desk: Desk, headers: dict[str, str], csrf: str | None
) -> None:
    browser = await desk.logged_in("forms", "support")
    await browser.get("/orders?channel=test")
    given = {"name": "kept", "query": "channel=test"} | ({} if csrf is None else {"csrf": csrf})
    answer = await browser.post("/orders/views", given, **headers)
    assert answer.status == 403
    assert await desk.sql("SELECT count(*) FROM console_view WHERE name = 'kept'") == 0


async def test_only_forms_do_something_and_only_of_a_bounded_size(desk: Desk) -> None:
    browser = await desk.logged_in("forms", "support")
    assert (await browser.get("/logout")).status == 404  # a link does nothing
    assert (await browser.get("/orders")).status == 200
    large = await browser.post("/orders/views", {"name": "x" * 100_000})
    assert large.status == 403
    async with browser.http.post(f"{browser.url}/orders/views", json={"a": 1}) as answer:
        assert answer.status == 403


async def test_wrong_logins_are_refused_and_soon_have_to_wait(desk: Desk) -> None:
    person = await desk.person("guessed", "support")
    browser = desk.browser()
    await browser.get("/login")
    said = []
    for _ in range(8):
        answer = await browser.post(
            "/login", {"name": person.name, "password": "wrong wrong wrong"}
        )
        assert answer.status == 401
        said.append(answer.text)
    assert any("动态码有误" in one for one in said)
    assert "尝试次数过多" in said[-1]


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_sees_what_it_may_do_and_the_service_refuses_the_rest(
    desk: Desk, role: str
) -> None:
    browser = await desk.logged_in(f"is-{role}", role)
    audit = await desk.partner.sql(
        "order", "SELECT max(audit_id) FROM oms_audit_info WHERE audit_status = 20"
    )
    path = f"/work-queue/order/delivery/{audit}"
    page = await browser.get(path)
    assert page.status == 200
    may = role in {"support", "ops", "finance-checker"}
    assert ('name="decision"' in page.text) == may
    if not may:
        answer = await browser.post(path, {"decision": "failed", "reason": "no right to"})
        assert answer.status == 403
        assert "NOT_ALLOWED" in answer.text
    assert (
        await desk.partner.sql(
            "order", "SELECT audit_status FROM oms_audit_info WHERE audit_id = $1", audit
        )
        == 20
    )


async def test_a_refund_is_listed_and_leads_to_its_order(desk: Desk) -> None:
    browser = await desk.logged_in("refunds", "support")
    await desk.partner.order_again_and_again("given-back")
    await desk.partner.all_ended("given-back", 1)
    asked = {"channel_no": "test", "request_no": "given-back", "refund_no": "back", "refund_num": 1}
    inbox = f"{desk.system.sandbox_url}/inbox/test"
    asked |= {"refund_reason": "wrong <account>"}
    status, body = await desk.partner.get("/refund/mandatory", **asked, notify_url=inbox)
    assert status == 200, body
    shown = await browser.get("/refunds?channel=test")
    order_id = await desk.partner.sql(
        "order", "SELECT order_id FROM oms_order_info WHERE request_no = 'given-back'"
    )
    assert f'data-href="/orders/{order_id}"' in shown.text
    assert "back" in shown.text
    assert "198" in shown.text
    assert "wrong &lt;account&gt;" in shown.text
    assert "wrong &lt;account&gt;" in (await browser.get(f"/orders/{order_id}")).text
    assert f"/orders/{order_id}" not in (await browser.get("/refunds?status=90")).text
    assert (await browser.get("/refunds.csv")).text.count("\n") == 2


async def test_an_export_is_the_list(desk: Desk) -> None:
    browser = await desk.logged_in("exports", "support")
    shown = await browser.get("/orders?channel=test&status=0&size=25")
    numbers = re.findall(r'data-href="/orders/(\d+)"', shown.text)
    answer = await browser.get("/orders.csv?channel=test&status=0&size=25")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    assert answer.text.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [one["Order"] for one in rows] == numbers
    assert len(numbers) == 6
    assert {one["Sale"] for one in rows} == {"198"}


async def test_a_list_pages_by_cursor_and_keeps_its_filters_in_the_address(desk: Desk) -> None:
    browser = await desk.logged_in("pages", "support")
    for number in range(24):
        await desk.partner.order_again_and_again(f"more-{number}")
    first = await browser.get("/orders?channel=test&size=25")
    onward = re.search(r'id="next" rel="next" href="([^"]+)"', first.text)
    assert onward is not None
    path = onward[1].replace("&amp;", "&")
    assert {"channel=test", "size=25"} <= set(path.partition("?")[2].split("&"))
    second = await browser.get(path)
    seen = [re.findall(r'data-href="/orders/(\d+)"', one.text) for one in (first, second)]
    assert len(seen[0]) == 25
    assert seen[1]
    assert not set(seen[0]) & set(seen[1])
    wrong = await browser.get("/orders?from=yesterday")
    assert wrong.status == 400
    assert "Not a moment" in wrong.text
    assert 'value="yesterday"' in wrong.text


async def test_any_number_leads_to_its_order(desk: Desk) -> None:
    browser = await desk.logged_in("searches", "support")
    order_id = await an_order(desk)
    for number in (str(order_id), "desk-0"):
        answer = await browser.get(f"/search?q={number}")
        assert (answer.status, answer.location) == (303, f"/orders/{order_id}")


async def test_an_order_shows_its_life_its_money_and_its_parts(desk: Desk) -> None:
    browser = await desk.logged_in("looks", "support")
    page = await browser.get(f"/orders/{await an_order(desk)}")
    assert "¥198.00" in page.text
    assert "-¥198.00" in page.text  # the debit
    assert page.text.count("<circle") >= 5
    assert "下单" in page.text
    assert "100011000000000" not in page.text  # the account
    assert (await browser.get("/orders/1")).status == 404
    assert (await browser.get("/orders/9" + "9" * 30)).status == 404


async def test_a_view_is_saved_for_its_operator_alone(desk: Desk) -> None:
    browser = await desk.logged_in("views", "support")
    await browser.get("/orders?channel=test")
    fields = {"name": "<b>mine</b>", "query": "channel=test"}
    assert (await browser.post("/orders/views", fields)).location == "/orders?channel=test"
    page = await browser.get("/orders")
    assert "&lt;b&gt;mine&lt;/b&gt;" in page.text
    other = await desk.logged_in("forms", "support")
    assert "mine" not in (await other.get("/orders")).text
    await browser.post("/orders/views", {**fields, "drop": "1"})
    assert "mine" not in (await browser.get("/orders")).text


async def test_a_decision_that_is_sent_twice_counts_once(desk: Desk) -> None:
    browser = await desk.logged_in("decides", "ops", "support")
    audit = await desk.partner.sql(
        "order", "SELECT min(audit_id) FROM oms_audit_info WHERE audit_status = 20"
    )
    path = f"/work-queue/order/delivery/{audit}"
    assert f'data-href="{path}"' in (await browser.get("/work-queue")).text
    page = await browser.get(path)
    fields = {"decision": "failed", "reason": "the supplier says so", "once": page.field("once")}
    empty = await browser.post(path, {**fields, "reason": ""})
    assert empty.status == 400
    answers = await asyncio.gather(*(browser.post(path, fields) for _ in range(2)))
    assert {one.status for one in answers} <= {303, 400, 404}  # gone, or refused in words
    assert any(one.status == 303 for one in answers)

    async def booked() -> bool:
        query = "SELECT count(*) FROM event WHERE key = $1 AND subject LIKE '%decided'"
        return await desk.partner.sql("order", query, str(audit)) == 1

    await eventually(booked, 20)
    assert (await browser.get(path)).status == 404


async def test_money_is_decided_only_after_password_and_code_again(desk: Desk) -> None:
    browser = await desk.logged_in("proves", "ops")
    await desk.sql(
        "UPDATE console_session SET prove_time = now() - interval '1 hour' WHERE operator = 'proves'"
    )
    audit = await desk.partner.sql(
        "order", "SELECT max(audit_id) FROM oms_audit_info WHERE audit_status = 20"
    )
    path = f"/work-queue/order/delivery/{audit}"
    page = await browser.get(path)
    assert 'name="decision"' not in page.text
    sent = await browser.post(path, {"decision": "failed", "reason": "tried at once"})
    assert sent.location.startswith("/prove?")
    person = await desk.person("proves")
    wrong = await browser.post("/prove", {"password": "wrong", "next": path})
    assert wrong.status == 401
    right = await desk.admitted(browser, "/prove", person, next=path)
    assert right.location == path
    assert 'name="decision"' in (await browser.get(path)).text


async def test_a_service_that_is_away_leaves_the_rest_of_the_page(desk: Desk) -> None:
    browser = await desk.logged_in("waits", "support")
    order_id = await an_order(desk)
    desk.system.pause("pay")
    try:
        loop = asyncio.get_running_loop()
        for path in ("/", f"/orders/{order_id}", "/work-queue"):
            begun = loop.time()
            page = await browser.get(path)
            assert loop.time() - begun < 4
            assert page.status == 200
            assert "pay does not answer" in page.text, path
        assert "desk-0" in (await browser.get(f"/orders/{order_id}")).text
    finally:
        desk.system.resume("pay")

    async def back() -> bool:
        return "pay does not answer" not in (await browser.get("/work-queue")).text

    await eventually(back, 30, every_s=0.2)


async def test_names_of_others_are_text_wherever_they_stand(desk: Desk) -> None:
    browser = await desk.logged_in("reads", "support")
    page = await browser.get("/search?q=<img src=x onerror=alert(1)>")
    assert "<img" not in page.text
    assert "&lt;img" in page.text
    page = await browser.get('/orders?channel="><script>alert(1)</script>')
    assert "<script>alert" not in page.text
    assert PASSWORD not in page.text


async def test_a_proposal_is_approved_by_another_person_after_password_and_code(desk: Desk) -> None:
    maker = await desk.logged_in("maker", "finance-maker")
    both = await desk.logged_in("both", "finance-maker", "finance-checker")
    number = await proposed(desk)
    path = f"/proposals/pay/{number}"
    assert f'data-href="{path}"' in (await maker.get("/proposals")).text
    own = await both.get(path)
    assert 'value="approve"' not in own.text
    assert 'value="withdraw"' in own.text
    answer = await both.post(path, {"decision": "approve", "reason": "my own"})
    assert answer.status in {400, 403}
    checker = await desk.logged_in("checker", "finance-checker")
    page = await checker.get(path)
    assert "balance of oms/down_channel/test" in page.text  # what it would change
    answers = [await checker.post(path, {"decision": "approve", "reason": "seen"}) for _ in "12"]
    assert answers[0].location == f"{path}?done=approve"
    assert "Applied" in (await checker.get(path)).text
    records = await checker.get("/ledger/records?ident=oms&groups=down_channel&eid=test")
    assert records.text.count('href="/search?q=console-1"') == 1
    away = await checker.get("/ledger/records?ident=oms&groups=down_channel&eid=test&at=2000-01-01")
    assert '<strong><span class="number">¥0.00' in away.text


async def proposed(desk: Desk) -> int:
    """A top-up that waits for a second person."""
    token = await desk.token("both")
    asked = top_up("console-1")
    made = await desk.clients.call("pay", ProposalServiceStub, "Propose", asked, token=token)
    return made.proposal.proposal_id


async def test_a_supplier_is_held_and_released_with_a_reason(desk: Desk) -> None:
    browser = await desk.logged_in("switches", "ops")
    path = "/suppliers/ycup/10"
    assert f'data-href="{path}"' in (await browser.get("/suppliers")).text
    assert (await browser.get(path)).status == 200
    assert (await browser.post(path, {"state": "hold"})).status == 400
    held = await browser.post(path, {"state": "hold", "reason": "<i>their</i> maintenance"})
    assert held.location == f"{path}?done=hold"
    page = await browser.get(path)
    assert "Held" in page.text
    assert "&lt;i&gt;their" in page.text
    await browser.post(path, {"state": "open", "reason": "over"})
    assert "In use" in (await browser.get(path)).text
    log = await (await desk.logged_in("audits", "ops")).get("/audit-log?service=delivery")
    assert "SupplierService/SetSupplierState" in log.text
    assert "switches" in log.text  # by name, not by number
    viewer = await desk.logged_in("is-viewer", "viewer")
    assert 'name="state"' not in (await viewer.get(path)).text
    assert (await viewer.post(path, {"state": "hold", "reason": "no right"})).status == 403
    assert (await browser.get("/suppliers/nobody/10")).status == 404


async def test_who_may_not_see_a_list_is_told_so_and_not_shown_it_in_the_navigation(
    desk: Desk,
) -> None:
    viewer = await desk.logged_in("is-viewer", "viewer")
    page = await viewer.get("/audit-log")
    assert page.status == 200
    assert "Your roles do not show this" in page.text
    assert 'href="/audit-log"' not in page.text
    export = await viewer.get("/audit-log.csv")
    assert export.status == 403


async def test_a_session_is_ended_from_another_browser_and_a_password_changed(desk: Desk) -> None:
    first = await desk.logged_in("moves", "support")
    second = await desk.logged_in("moves", "support")
    page = await second.get("/me")
    assert "this one" in page.text
    numbers = re.findall(r'name="session_id" value="(\d+)"', page.text)
    assert numbers
    assert (await second.post("/me/end", {"session_id": numbers[0]})).location == "/me?done=ended"
    assert (await first.get("/orders")).location.startswith("/login")
    fields = {"password": PASSWORD, "new_password": "short", "repeated": "short"}
    assert (await second.post("/me/password", fields)).status == 400
    wrong = {**fields, "repeated": "other"}
    assert "differ" in (await second.post("/me/password", wrong)).text
    new = "another horse, another battery"
    done = await second.post(
        "/me/password", {"password": PASSWORD, "new_password": new, "repeated": new}
    )
    assert done.location == "/me?done=password"
    viewer = await desk.logged_in("is-viewer", "viewer")
    assert (await viewer.get("/operators/moves")).status == 200  # with nothing of it
    assert "Your roles do not show this" in (await viewer.get("/operators/moves")).text
