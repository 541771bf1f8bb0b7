"""Promises about a person's data from ERPs: erased by two looks and a reason, a push revealed with one."""

from __future__ import annotations

import json
import re

import pytest

from tests.console.conftest import PUSH, push
from tests.console.harness import Desk
from tests.poll import eventually

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

PATH = "/erp/erase"
PHONE = "13911112222"


async def test_a_person_is_erased_after_it_was_shown_what(pushed: Desk) -> None:
    asked = json.loads(PUSH.read_text("utf-8"))
    asked["data"] |= {"tid": "to-be-erased", "receiver_mobile": PHONE}
    assert "success" in await push(pushed, json.dumps(asked).encode())

    async def there() -> bool:
        query = "SELECT count(*) FROM trade WHERE tid = 'to-be-erased'"
        return bool(await pushed.partner.sql("erp_ingest", query))

    await eventually(there, 30)
    browser = await pushed.logged_in("erases", "admin")
    look = await browser.post(PATH, {"do": "look", "phone": PHONE})
    assert "to-be-erased" in look.text
    given = {"do": "erase", "phone": PHONE, "reason": ""}
    assert (await browser.post(PATH, given)).status == 400
    await pushed.sql(
        "UPDATE console_session SET prove_time = now() - interval '1 hour' WHERE operator = 'erases'"
    )
    given["reason"] = "the buyer asked for it"
    assert (await browser.post(PATH, given)).location.startswith("/prove?")
    look = await browser.post(PATH, {"do": "look", "phone": PHONE})
    assert 'value="erase"' not in look.text
    await pushed.sql("UPDATE console_session SET prove_time = now() WHERE operator = 'erases'")
    done = await browser.post(PATH, given)
    assert "Documents erased: 1." in done.text
    assert "Nothing has this phone." in (await browser.post(PATH, {"phone": PHONE})).text
    assert "Documents erased: 0." in (await browser.post(PATH, given)).text
    query = "SELECT count(*) FROM audit_log WHERE reason = 'the buyer asked for it'"
    assert await pushed.partner.sql("erp_ingest", query) == 2
    wrong = await browser.post(PATH, {**given, "phone": "no phone"})
    assert wrong.status == 400


async def test_a_push_that_was_not_understood_is_revealed_with_a_reason(pushed: Desk) -> None:
    browser = await pushed.logged_in("reveals", "support")
    page = await browser.get("/erp/quarantined")
    path = re.findall(r'href="(/erp/quarantined/\d+)"', page.text)[0]
    assert "neither" not in (await browser.get(path)).text
    assert (await browser.post(path, {"reason": ""})).status == 400
    shown = await browser.post(path, {"reason": "what came?"})
    assert "neither" in shown.text
    query = "SELECT count(*) FROM audit_log WHERE reason = 'what came?'"
    assert await pushed.partner.sql("erp_ingest", query) == 1


async def test_a_threshold_is_set_shown_and_taken_away(pushed: Desk) -> None:
    browser = await pushed.logged_in("sets", "finance-maker")
    path = "/ledger/alerts"
    whose = {"ident": "oms", "groups": "down_channel", "eid": "ycdown"}
    assert (await browser.post(path, {**whose, "yuan": "much"})).status == 400
    missing = {**whose, "eid": "nobody-has-this", "yuan": "1"}
    assert (await browser.post(path, missing)).status == 400
    for _ in range(2):
        assert (await browser.post(path, {**whose, "yuan": "123.45"})).status == 303
    page = await browser.get(path)
    assert page.text.count("oms/down_channel/ycdown</a>") == 1
    assert "¥123.45" in page.text
    gone = await browser.post(f"{path}/remove", {**whose, "threshold": "123450000"})
    assert gone.status == 303
    assert "¥123.45" not in (await browser.get(path)).text
