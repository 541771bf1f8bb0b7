"""Promises of changing the catalogue: looked at first, made exactly so, by two persons where prices move."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape

import pytest
import yaml

from shoudan.delivery.v1 import delivery_service_pb2 as delivery
from shoudan.delivery.v1.delivery_service_pb2_grpc import SupplierServiceStub
from shoudan_console.plans import read
from tests.console.harness import Answer, Browser, Desk
from tests.poll import eventually

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

EDIT = "/catalogue/edit"
SUPPLIER = "/suppliers/ycup/30"
DIFF = re.compile(r"<tr><td>(.*?)</td><td class=\"code\">(.*?)</td><td class=\"break\">(.*?)</td>"
                  r"<td class=\"break\"><strong>(.*?)</strong>")  # fmt: skip


@dataclass
class Shown:
    """What a page says would change, and the form that makes it."""

    changes: dict[str, tuple[str, str]]
    fields: dict[str, str]

    def applied(self, do: str = "apply") -> dict[str, str]:
        return {**self.fields, "do": do, "reason": "a test"}


def shown(page: Answer) -> Shown:
    text = re.search(r'<textarea name="text" hidden>\n?(.*?)</textarea>', page.text, re.DOTALL)
    assert text is not None, page.text
    changes = {
        field: (unescape(was), unescape(now)) for _, field, was, now in DIFF.findall(page.text)
    }
    names = ("once", "catalogue", "suppliers")
    section = Answer(page.status, page.text[page.text.index('id="plan"') :], page.headers)
    return Shown(
        changes, {name: section.field(name) for name in names} | {"text": unescape(text[1])}
    )


async def part_of(browser: Browser, part: str) -> list[dict[str, object]]:
    page = await browser.get(f"{EDIT}?part={part}")
    found = re.search(
        r'<textarea class="form-control code".*?>\n?(.*?)</textarea>', page.text, re.DOTALL
    )
    assert found is not None
    return yaml.safe_load(unescape(found[1]))[part]


def text_of(part: str, rows: object) -> str:
    return yaml.safe_dump({part: rows}, allow_unicode=True)


async def unmapped(desk: Desk, code: str) -> None:
    """As if the supplier had answered with a code that nothing explains."""
    async with desk.system.postgres.admin("shoudan_delivery") as db:
        await db.execute(
            "INSERT INTO vds_unmapped_code VALUES ('ycup', 30, $1, '<b>busy</b>', 3, '77', now(), now())",
            code,
        )


async def test_a_code_that_is_not_understood_is_mapped_as_it_was_shown(desk: Desk) -> None:
    await unmapped(desk, "R_BUSY")
    browser = await desk.logged_in("maps", "admin")
    listed = await browser.get("/suppliers.csv")
    (row,) = [one.split(",") for one in listed.text.splitlines() if one.startswith("ycup,Phone")]
    assert row[6] == "1"
    page = await browser.get(SUPPLIER)
    assert "&lt;b&gt;busy&lt;/b&gt;" in page.text
    given = {"code": "R_BUSY", "words": "busy", "means": "10"}
    assert (await browser.post(f"{SUPPLIER}/codes", {**given, "means": "7"})).status == 400
    plan = shown(await browser.post(f"{SUPPLIER}/codes", given))
    assert plan.changes == {"error_codes R_BUSY": ("–", "10 busy")}
    assert 'data-copy="R_BUSY"' in (await browser.get(SUPPLIER)).text  # nothing was changed yet
    done = await browser.post(EDIT, plan.applied())
    assert done.location == "/catalogue/history?done=apply"
    page = await browser.get(SUPPLIER)
    assert "Every code that came is explained." in page.text
    assert "R_BUSY" in page.text
    history = await (await desk.logged_in("audits", "ops")).get("/catalogue/history")
    assert "SupplierService/ApplySuppliers" in history.text
    viewer = await desk.logged_in("is-viewer", "viewer")
    assert (await viewer.get(SUPPLIER)).text.count("/codes") == 0
    assert (await viewer.post(f"{SUPPLIER}/codes", given)).status == 403


async def test_what_has_moved_meanwhile_is_not_made(desk: Desk) -> None:
    browser = await desk.logged_in("maps", "admin")
    given = {"code": "R_LATE", "words": "late", "means": "90"}
    plan = shown(await browser.post(f"{SUPPLIER}/codes", given))
    listed = await desk.clients.call(
        "delivery", SupplierServiceStub, "ListSuppliers", delivery.ListSuppliersRequest()
    )
    (one,) = [o for o in listed.suppliers if (o.channel_no, o.service_class) == ("ycup", 30)]
    one.error_codes.add(error_code="R_OTHER", deal_code=90, error_code_desc="of another person")
    request = delivery.ApplySuppliersRequest(suppliers=[one], by="another")
    await desk.clients.call("delivery", SupplierServiceStub, "ApplySuppliers", request)
    late = await browser.post(EDIT, plan.applied())
    assert late.status == 400
    assert "changed meanwhile" in late.text
    page = await browser.get(SUPPLIER)
    assert "R_OTHER" in page.text  # the other person's code stays
    assert "R_LATE" not in page.text
    assert shown(late).changes["error_codes R_OTHER"] == ("90 of another person", "–")  # seen now


async def test_a_price_is_changed_by_two_persons_and_exactly_as_it_was_shown(desk: Desk) -> None:
    browser = await desk.logged_in("prices", "admin")
    channels = await part_of(browser, "up_channels")
    text = text_of("up_channels", channels)
    assert "it is so already" in (await browser.post(EDIT, {"text": text})).text
    changed = text.replace("'0.95'", "'0.94'").replace("cost_discount: 0.95", "cost_discount: 0.94")
    assert changed != text
    page = await browser.post(EDIT, {"text": changed})
    plan = shown(page)
    assert plan.changes["cost_discount"] == ("95.00%", "94.00%")
    assert "Product offered" in page.text
    asked = await browser.post(EDIT, plan.applied("propose"))
    assert "Waits for a second person" in asked.text
    number = re.search(r'data-copy="(\d+)"', asked.text[asked.text.index("Waits for a second") :])
    assert number is not None
    path = f"/proposals/order/{number[1]}"
    checker = await desk.logged_in("checker", "finance-checker")
    assert "0.94" in (await checker.get(path)).text
    await checker.post(path, {"decision": "approve", "reason": "seen"})
    assert "Applied" in (await checker.get(path)).text
    assert "it is so already" in (await browser.post(EDIT, {"text": changed})).text
    back = await browser.post(EDIT, {"text": text})
    again = await browser.post(EDIT, shown(back).applied("propose"))
    last = re.search(r'data-copy="(\d+)"', again.text[again.text.index("Waits for a second") :])
    assert last is not None
    answer = await checker.post(
        f"/proposals/order/{last[1]}", {"decision": "approve", "reason": "back"}
    )
    assert answer.status == 303


async def test_shares_of_a_line_are_switched_and_shown_first(desk: Desk) -> None:
    browser = await desk.logged_in("shares", "admin")
    path = "/catalogue/lines/2"
    page = await browser.get(path)
    assert 'name="share-ycup"' in page.text
    wrong = await browser.post(path, {"policy": "weighted", "share-ycup": "-1"})
    assert wrong.status == 400
    plan = shown(await browser.post(path, {"policy": "weighted", "share-ycup": "7000"}))
    assert plan.changes == {
        "route_policy": ("cheapest", "weighted"),
        "route_weights ycup": ("–", "7000"),
    }
    assert (await browser.post(EDIT, plan.applied())).location.endswith("done=apply")
    assert "7000" in (await browser.get("/suppliers/ycup/20")).text
    back = shown(await browser.post(path, {"policy": "cheapest", "share-ycup": "0"}))
    assert (await browser.post(EDIT, back.applied())).status == 303
    viewer = await desk.logged_in("is-viewer", "viewer")
    assert 'name="share-ycup"' not in (await viewer.get(path)).text
    assert (await viewer.post(path, {"policy": "weighted", "share-ycup": "1"})).status == 403
    assert (await browser.get("/catalogue/lines/999")).status == 404


async def test_a_file_comes_out_and_goes_in_again(desk: Desk) -> None:
    browser = await desk.logged_in("shares", "admin")
    data = await browser.data("/catalogue/export.yaml")
    assert set(yaml.safe_load(data)) >= {"lines", "down_channels", "up_channels", "suppliers"}
    page = await browser.send(EDIT, {"text": ""}, "catalogue.yaml", data)
    assert "it is so already" in page.text, page.text

    async def there() -> bool:  # a price that came meanwhile is no change of the file's
        again = await browser.send(EDIT, {}, "catalogue.yaml", data)
        return "it is so already" in again.text

    await eventually(there, 30)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("lines: [{line_id: 1", "is not YAML"),
        ("lines: [{line_id: one, line_name: x}]", "lines[0].line_id"),
        ("lines: [{line_id: 1, line_name: '${HOME}'}]", "the variable HOME is not set"),
        ("accounts: [{groups: g, eid: e}]", "accounts: is not of the catalogue"),
        ("lines: [{line_id: 1, line_name: x, loss_rule: park, route_policy: weighted}]", "route_weights"),
    ],
)  # fmt: skip
async def test_what_cannot_be_applied_is_said_with_its_place(
    desk: Desk, text: str, why: str
) -> None:
    browser = await desk.logged_in("shares", "admin")
    page = await browser.post(EDIT, {"text": text})
    assert page.status == 400
    assert why in unescape(page.text)
    assert 'id="plan"' not in page.text


def test_no_value_of_this_process_gets_into_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "out")
    with pytest.raises(ValueError, match="A_SECRET is not set"):
        read("lines: [{line_id: 1, line_name: '${A_SECRET}'}]")
