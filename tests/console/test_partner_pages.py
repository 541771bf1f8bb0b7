"""Promises of the pages of partners and of the catalogue: what is in force, keys, who may replace them."""

from __future__ import annotations

import csv
import io
import re

import pytest

from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan.order.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from tests.console.harness import Browser, Desk
from tests.poll import eventually

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

LISTS = {
    "/partners": "test",
    "/catalogue/lines": "加油卡充值",
    "/catalogue/products": "ZSH",
    "/catalogue/supply": "ycup",
}
SECRET = re.compile(r'class="secret">.*?data-copy="([^"]+)"')
WHY = {"reason": "the partner lost it"}


async def rows(browser: Browser, path: str) -> list[list[str]]:
    answer = await browser.get(path)
    return list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))[1:]


async def keys(desk: Desk, owner: str) -> list[int]:
    query = (
        "SELECT array_agg(credential_id ORDER BY credential_id) FROM credential WHERE owner = $1"
    )
    return await desk.partner.sql("order", query, owner)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("path", LISTS)
async def test_each_list_shows_what_is_in_force_and_exports_it(
    desk: Desk, path: str, language: str
) -> None:
    browser = await desk.logged_in(f"reads-{language}", "viewer", language=language)
    page = await browser.get(path)
    assert page.status == 200
    assert LISTS[path] in page.text
    found = await rows(browser, path + ".csv")
    firsts = re.findall(r'<td class="k-code">.*?data-copy="([^"]+)"', page.text)
    shown = page.text.count("<tr") - 1
    assert len(found) == shown
    assert {row[0] for row in found} <= set(firsts)
    pages = await browser.get(f"{path}?page=1&size=25")
    assert pages.text.count("<tr") - 1 == max(shown - 1, 0)


async def test_a_margin_is_the_sale_less_the_cheapest_offer(desk: Desk) -> None:
    browser = await desk.logged_in("margins", "viewer")
    found = {row[0]: row for row in await rows(browser, "/catalogue/products.csv?channel=test")}
    assert found["300"][4:8] == ["200", "99.00%", "ycup 95.00%", "4.00%"]
    assert found["306"][6:8] == ["", "Nobody supplies it"]
    assert "310" not in found  # of another channel
    shelf = await rows(browser, "/catalogue/products.csv?shelf=2")
    assert {row[1] for row in shelf} == {"ycdown"}


@pytest.mark.parametrize(("language", "word"), [("en", "Signing keys"), ("zh", "签名密钥")])
async def test_a_partner_is_shown_whole(desk: Desk, language: str, word: str) -> None:
    browser = await desk.logged_in(f"reads-{language}", "viewer", language=language)
    page = await browser.get("/partners/test")
    assert "127.0.0.0/8" in page.text
    assert "¥" in page.text
    assert word in page.text
    assert "/catalogue/products?shelf=1" in page.text
    assert ("Only the notify_url" if language == "en" else "只有每笔订单的 notify_url") in page.text
    assert (await browser.get("/partners/none")).status == 404


async def test_a_partner_s_endpoints_and_what_it_called_are_shown(desk: Desk) -> None:
    browser = await desk.logged_in("endpoints", "viewer")
    endpoint = catalogue_pb.NotifyEndpoint(
        endpoint_no="yc-1", channel_no="ycdown", url="http://127.0.0.1:1/hook"
    )
    apply = catalogue_pb.ApplyCatalogueRequest(
        catalogue=catalogue_pb.Catalogue(notify_endpoints=[endpoint]), by="t"
    )
    await desk.clients.call("order", CatalogueServiceStub, "ApplyCatalogue", apply)
    page = await browser.get("/partners/ycdown")
    for shown in ("yc-1", "Disabled", "http://127.0.0.1:1/hook", "0/20"):
        assert shown in page.text
    await desk.partner.order()

    async def counted() -> bool:
        return "/order/request" in (await browser.get("/partners/test")).text

    await eventually(counted, 60)


async def test_a_key_is_made_once_shown_once_and_revoked(desk: Desk) -> None:
    browser = await desk.logged_in("gives-keys", "ops")
    path = "/partners/ycdown"
    page = await browser.get(path)
    fields = {"do": "rotate", "kind": "notify", "once": page.field("once")}
    assert (await browser.post(path, fields)).status == 400  # without a reason
    made = await browser.post(path, {**fields, **WHY})
    secret = SECRET.search(made.text)
    assert secret is not None
    again = await browser.post(path, {**fields, **WHY})
    assert again.status == 303
    page = await browser.get(path)
    assert secret[1] not in page.text
    assert "In force" in page.text
    fields |= {"once": page.field("once"), "held": page.field("held")}
    replaced = SECRET.search((await browser.post(path, {**fields, **WHY})).text)
    assert replaced is not None
    assert replaced[1] != secret[1]
    assert "Replaced, still good" in (await browser.get(path)).text
    for number in (await keys(desk, "ycdown"))[1:]:
        await browser.post(path, {"do": "revoke", "credential": str(number), **WHY})
    page = await browser.get(path)
    number = page.field("credential")
    revoked = await browser.post(path, {"do": "revoke", "credential": number, **WHY})
    assert revoked.status == 303
    page = await browser.get(path)
    assert "Revoked" in page.text
    assert 'name="credential"' not in page.text


async def test_a_key_of_another_channel_is_not_revoked_from_here(desk: Desk) -> None:
    browser = await desk.logged_in("gives-keys", "ops")
    page = await browser.get("/partners/ycdown")
    fields = {"do": "rotate", "kind": "notify", "once": page.field("once"), **WHY}
    await browser.post("/partners/ycdown", fields)
    number = (await browser.get("/partners/ycdown")).field("credential")
    elsewhere = {"do": "revoke", "credential": number, **WHY}
    assert (await browser.post("/partners/test", elsewhere)).status == 404
    assert 'name="credential"' in (await browser.get("/partners/ycdown")).text


@pytest.mark.parametrize("role", ["viewer", "support", "finance-maker"])
async def test_others_see_keys_and_change_none(desk: Desk, role: str) -> None:
    browser = await desk.logged_in(f"sees-keys-{role}", role)
    page = await browser.get("/partners/test")
    assert 'value="rotate"' not in page.text
    fields = {"do": "rotate", "kind": "notify", "once": "x", **WHY}
    refused = await browser.post("/partners/test", fields)
    assert refused.status == 403
    assert "NOT_ALLOWED" in refused.text


async def test_keys_ask_again_who_one_is(desk: Desk) -> None:
    browser = await desk.logged_in("keys-again", "ops")
    await desk.sql(
        "UPDATE console_session SET prove_time = now() - interval '1 hour'"
        " WHERE operator = 'keys-again'"
    )
    assert 'value="rotate"' not in (await browser.get("/partners/test")).text
    fields = {"do": "rotate", "kind": "notify", "once": "y", **WHY}
    assert (await browser.post("/partners/test", fields)).location.startswith("/prove?")
