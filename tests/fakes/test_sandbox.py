"""The sandbox supplier plays its documented scripts and its journal never lies, restarts included."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shoudan_fakes.sandbox import Sandbox
from shoudan_fakes.scripts import SCRIPTS
from shoudan_fakes.wire import signature
from tests.poll import eventually


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(tmp_path / "journal.jsonl") as running:
        yield running


def delivery(account: str, order_no: str = "1", **more: Any) -> dict[str, Any]:
    asked = {"order_no": order_no, "channel_no": "up", "service_class": 10, "face": "100"}
    return {**asked, "num": 2, "amount": "200", "account": account, **more}


async def post(http: aiohttp.ClientSession, url: str, body: Any) -> Any:
    async with http.post(url, json=body) as answer:
        return await answer.json()


async def poll_until(done: Callable[[], bool], seconds: float = 5) -> None:
    await eventually(done, seconds, every_s=0.005)


async def ask(http: aiohttp.ClientSession, sandbox: Sandbox, body: Any) -> str:
    """The code answered, or what came instead of one."""
    try:
        async with http.post(f"{sandbox.url}/supplier/request", json=body) as answer:
            if answer.status != 200 or answer.content_type != "application/json":
                return f"{answer.status} {answer.content_type}"
            told = await answer.json()
    except (aiohttp.ClientError, ValueError) as error:
        return type(error).__name__
    if told["order_no"] != body["order_no"]:
        return "other number"
    if told["code"] == "R_0000" and told["amount"] != body["amount"]:
        return "other amount"
    return str(told["code"])


@pytest.mark.parametrize(
    ("account", "answer", "query"),
    [
        ("100011000000000", "R_0000", "R_0000"),
        ("13800000001", "R_5124", "R_5124"),
        ("0002", "R_9999", "R_0000"),
        ("0003", "R_9999", "R_9999"),
        ("0009", "200 text/html", "R_0000"),
        ("0010", "ServerDisconnectedError", "R_0000"),
        ("0011", "other amount", "R_0000"),
        ("0012", "other number", "R_0000"),
        ("0013", "JSONDecodeError", "R_0000"),
        ("0014", "R_7777", "R_0000"),
        ("0015", "R_5124", "R_0000"),
        ("0016", "500 text/plain", "R_0000"),
        ("0017", "ServerDisconnectedError", "R_4040"),
        ("0018", "R_9999", "R_0000"),
        ("0019", "R_9999", "R_5124"),
        ("4242", "R_0000", "R_0000"),
        ("", "R_0000", "R_0000"),
    ],
)
async def test_each_account_ends_as_documented(
    sandbox: Sandbox, http: aiohttp.ClientSession, account: str, answer: str, query: str
) -> None:
    assert await ask(http, sandbox, delivery(account)) == answer
    told = await post(http, f"{sandbox.url}/supplier/query", {"order_no": "1"})
    assert told["code"] == query


async def test_a_number_sent_again_is_answered_as_first_and_fulfilled_once(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    for _ in range(3):
        assert await ask(http, sandbox, delivery("0000")) == "R_0000"
    told = sandbox.journal.entries["1"]
    assert (told.attempts, told.fulfilled) == (3, 1)
    assert sandbox.journal.asked_again == {"1"}
    assert not sandbox.journal.twice


async def test_a_supplier_that_promises_nothing_fulfils_twice_and_the_journal_says_so(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    await post(http, f"{sandbox.url}/supplier/knobs?channel_no=up", {"idempotent": False})
    await ask(http, sandbox, delivery("0000"))
    await ask(http, sandbox, delivery("0000"))
    async with http.get(f"{sandbox.url}/supplier/journal") as answer:
        told = await answer.json()
    assert (told["fulfilled"], told["fulfilled_twice"]) == (2, ["1"])


async def test_the_journal_survives_a_restart_and_a_line_cut_by_a_crash(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    path = tmp_path / "journal.jsonl"
    async with Sandbox(path) as first:
        await ask(http, first, delivery("0000", "1"))
        await ask(http, first, delivery("0001", "2"))
    with path.open("ab") as file:
        file.write(b'{"time":1.0,"order_no":"3"')
    async with Sandbox(path) as second:
        url = f"{second.url}/supplier/query"
        codes = [(await post(http, url, {"order_no": str(n)}))["code"] for n in (1, 2, 3)]
        assert codes == ["R_0000", "R_5124", "R_4040"]
        await ask(http, second, delivery("0000", "1"))
        assert second.journal.entries["1"].fulfilled == 1
        assert second.journal.entries["1"].attempts == 2


async def test_only_the_first_delivery_of_a_partial_order_succeeds(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    codes = [
        await ask(http, sandbox, delivery("0004", f"{order}{n}", order_id=order))
        for order in ("a", "b")
        for n in range(3)
    ]
    assert codes == ["R_0000", "R_5124", "R_5124"] * 2


@pytest.mark.parametrize(("tail", "notifies"), [("0005", 2), ("0006", 1), ("0018", 1)])
async def test_notifies_come_as_often_as_documented(
    sandbox: Sandbox, http: aiohttp.ClientSession, tail: str, notifies: int
) -> None:
    sandbox.supplier.knobs["*"].notify_after_s = 0
    url = f"{sandbox.url}/inbox/up"
    await ask(http, sandbox, delivery(tail, notify_url=url))
    inbox = sandbox.inboxes.get("up")
    assert inbox is not None
    await poll_until(lambda: inbox.received >= notifies)
    assert inbox.received == notifies
    assert '"code":"R_0000"' in inbox.letters[0].body


async def test_a_late_supplier_fulfils_after_its_caller_has_gone_and_tells(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    sandbox.supplier.knobs["*"].late_s = 0.2
    sandbox.supplier.knobs["*"].notify_after_s = 0
    body = delivery("0008", notify_url=f"{sandbox.url}/inbox/up")
    with pytest.raises(TimeoutError):
        await http.post(
            f"{sandbox.url}/supplier/request",
            json=body,
            timeout=aiohttp.ClientTimeout(total=0.05),
        )
    told = await post(http, f"{sandbox.url}/supplier/query", {"order_no": "1"})
    assert told["code"] == "R_9999"
    inbox = sandbox.inboxes.get("up")
    assert inbox is not None
    await poll_until(lambda: inbox.received == 1)
    assert sandbox.journal.entries["1"].fulfilled == 1


async def test_with_a_secret_an_unsigned_request_is_refused_and_a_signed_one_taken(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with Sandbox(tmp_path / "j.jsonl", secret=b"s3cret") as sandbox:
        body = delivery("0000", params={"a": "1"})
        assert await ask(http, sandbox, body) == "403 text/plain"
        body["sign"] = signature(body, b"s3cret")
        assert await ask(http, sandbox, body) == "R_0000"


async def test_the_inbox_shows_what_came_and_no_script_of_strangers_runs(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    url = f"{sandbox.url}/inbox/ycdown"
    async with http.post(url, data="<script>alert(1)</script>") as answer:
        assert (answer.status, await answer.text()) == (200, "success")
    async with http.get(url) as answer:
        page = await answer.text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    async with http.get(url, params={"format": "json"}) as answer:
        assert (await answer.json())["received"] == 1
    async with http.post(f"{url}/knobs", json={"answer": "later", "status": 500}) as answer:
        assert answer.status == 200
    async with http.post(url, data="x") as answer:
        assert (answer.status, await answer.text()) == (500, "later")


async def test_the_first_page_lists_every_script(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    async with http.get(f"{sandbox.url}/") as answer:
        page = await answer.text()
    assert all(f"…{tail}" in page for tail in SCRIPTS)


async def test_bad_knobs_and_bad_bodies_are_refused(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    for path in ("knobs", "request", "query"):
        async with http.post(f"{sandbox.url}/supplier/{path}", data=b"{") as answer:
            assert answer.status == 400
    async with http.post(f"{sandbox.url}/supplier/knobs", json={"speed": 1}) as answer:
        assert answer.status == 400


async def test_prices_are_changed_notified_and_answered(
    http: aiohttp.ClientSession, sandbox: Sandbox
) -> None:
    change = {
        "notify_url": f"{sandbox.url}/inbox/up",
        "channel_no": "up",
        "products": [{"product": "sku-1", "price": "98.5", "stock": "3"}],
    }
    async with http.post(f"{sandbox.url}/supplier/prices", json=change) as answer:
        assert (answer.status, await answer.text()) == (200, "success")
    async with http.get(f"{sandbox.url}/supplier/prices") as answer:
        goods = (await answer.json())["data"]["goods"]
    assert goods == [{"sku": "sku-1", "price": 9850, "stock": "3"}]
    async with http.get(f"{sandbox.url}/inbox/up?format=json") as answer:
        kept = await answer.text()
    assert "sku-1" in kept
    async with http.post(f"{sandbox.url}/supplier/prices", data=b"{}") as answer:
        assert answer.status == 400
