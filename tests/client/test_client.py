"""The client calls again exactly when the protocol says so, with the same number, signed anew."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web
from shoudan_client import (
    Busy,
    Client,
    NewOrder,
    NewRefund,
    NotVerified,
    Refused,
    Unknown,
    verify_notify,
)
from shoudan_client.models import text_of
from shoudan_client.signing import sign

from shoudan_signing import channel, webhooks

SECRET = "0123456789abcdef0123456789abcdef"
VECTORS = Path(__file__).parents[2] / "docs/reference/http/signing/vectors.json"
OK = {"channel_no": "test", "request_no": "r1", "order_id": "7", "status": 30}
NEW = NewOrder("r1", 1, "ZSH", Decimal(200), Decimal("198.50"), account="100011")


def error(advice: str, status: int = 400, code: str = "X", **headers: str) -> web.Response:
    body = {"code": status, "message": "why", "data": "error:why"}
    said = {"X-Error-Code": code, "X-Error-Advice": advice, "X-Request-Id": "id1"}
    return web.json_response(body, status=status, headers=said | headers)


def success(body: Any = OK, **headers: str) -> web.Response:
    return web.json_response(body, headers=headers)


def html() -> web.Response:
    return web.Response(text="<html>gateway timeout</html>", status=504, content_type="text/html")


def cut() -> web.Response:
    return web.Response(text='{"channel_no": "te', content_type="application/json")


@dataclass
class Server:
    """A gateway that answers as its script says, the last line again and again."""

    url: str = ""
    script: list[Callable[[], web.Response]] = field(default_factory=lambda: [success])
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        signed = dict(parse_qsl(body.decode())) | dict(request.query)
        key = SECRET.encode()
        wanted = channel.hmac_v2_sign(request.method, request.path, signed, body, key)
        assert signed["sign"] == wanted, "signed as the gateway reads it"
        self.asked.append((request.method, request.path, signed))
        return self.script.pop(0)() if len(self.script) > 1 else self.script[0]()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    runner = web.ServerRunner(web.Server(made.take))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@dataclass
class Waits:
    """What the client would have slept."""

    seconds: list[float] = field(default_factory=list)


def client_of(server: Server, waits: Waits | None = None, **more: Any) -> Client:
    kept = waits or Waits()
    return Client(server.url, "test", SECRET, sleep=kept.seconds.append, **more)


async def test_an_order_is_a_signed_form_and_read_back_with_types(server: Server) -> None:
    order = await asyncio.to_thread(client_of(server).order, NEW)
    assert (order.request_no, order.order_id, order.status) == ("r1", "7", 30)
    assert (order.ended, order.replayed) == (False, False)
    ((method, path, params),) = server.asked
    assert (method, path) == ("POST", "/order/request")
    assert (params["face"], params["amount"], params["rechage_account"]) == (
        "200",
        "198.5",
        "100011",
    )
    assert params["channel_no"] == "test"


@pytest.mark.parametrize("first", [html, cut, lambda: error("ask", 503), lambda: error("ask", 500)])
async def test_what_may_have_happened_is_sent_again_with_its_number(
    server: Server, first: Callable[[], web.Response]
) -> None:
    waits = Waits()
    server.script = [first, lambda: success(**{"Idempotent-Replayed": "true"})]
    order = await asyncio.to_thread(client_of(server, waits).order, NEW)
    assert order.replayed
    numbers = {params["request_no"] for _, _, params in server.asked}
    nonces = {params["nonce"] for _, _, params in server.asked}
    assert (numbers, len(nonces), len(server.asked)) == ({"r1"}, 2, 2)
    assert waits.seconds == [1]


async def test_what_stays_unknown_is_called_so_and_never_failed(server: Server) -> None:
    waits = Waits()
    server.script = [html, lambda: error("repeat", 429)]
    with pytest.raises(Unknown) as raised:
        await asyncio.to_thread(client_of(server, waits, tries=4).order, NEW)
    assert (raised.value.code, raised.value.request_id) == ("X", "id1")
    assert waits.seconds == [1, 2, 4]


async def test_a_host_that_does_not_answer_leaves_it_unknown() -> None:
    gone = Client("http://127.0.0.1:9", "test", SECRET, tries=2, timeout_s=1, sleep=lambda _: None)
    with pytest.raises(Unknown):
        await asyncio.to_thread(gone.order, NEW)
    with pytest.raises(Busy):
        await asyncio.to_thread(gone.balance)


async def test_what_was_not_begun_waits_as_long_as_the_answer_says(server: Server) -> None:
    waits = Waits()
    server.script = [lambda: error("repeat", 429, **{"Retry-After": "7"}), success]
    await asyncio.to_thread(client_of(server, waits).order, NEW)
    assert waits.seconds == [7]
    server.script = [lambda: error("repeat", 503, **{"Retry-After": "99999"})]
    with pytest.raises(Busy):
        await asyncio.to_thread(client_of(server, waits, tries=2).order, NEW)
    assert waits.seconds == [7, 30]


@pytest.mark.parametrize("advice", ["never", "other-number"])
async def test_what_will_not_be_accepted_is_sent_once(server: Server, advice: str) -> None:
    server.script = [lambda: error(advice, 409, "REQUEST_DIFFERS")]
    with pytest.raises(Refused, match="why") as raised:
        await asyncio.to_thread(client_of(server).order, NEW)
    found = raised.value
    assert (found.code, found.advice, found.status) == ("REQUEST_DIFFERS", advice, 409)
    assert len(server.asked) == 1


async def test_lists_are_read_page_by_page_and_typed(server: Server) -> None:
    row = OK | {
        "line_id": 1, "carrier_no": "ZSH", "face": "200", "num": 1, "amount": "198",
        "service_amount": "0.5", "commission": "0", "success_face": "0",
        "create_time": "2026-11-01 10:00:00", "end_time": "",
    }  # fmt: skip
    server.script = [
        lambda: success({"orders": [row, row], "next_page": "8"}),
        lambda: success({"orders": [row | {"status": "SUCCESS"}], "next_page": ""}),
    ]
    start = datetime(2026, 10, 31, 16, tzinfo=UTC)
    found = await asyncio.to_thread(
        lambda: list(client_of(server).orders(start, start + timedelta(days=1)))
    )
    assert [one.status for one in found] == [30, 30, 0]
    assert (found[0].service_amount, found[0].end_time) == (Decimal("0.5"), None)
    assert found[0].create_time == datetime(2026, 11, 1, 2, tzinfo=UTC)
    (_, _, first), (_, _, second) = server.asked
    assert first["start_time"] == "2026-11-01 00:00:00"
    assert ("page" in first, second["page"]) == (False, "8")


def test_a_period_without_a_zone_is_refused() -> None:
    client = Client("http://127.0.0.1:9", "test", SECRET)
    with pytest.raises(ValueError, match="aware"):
        client.orders(datetime.fromisoformat("2026-01-01"), datetime.fromisoformat("2026-01-02"))
    with pytest.raises(ValueError, match="base_url"):
        Client("ftp://x", "test", SECRET)


def test_it_signs_as_the_vectors_say() -> None:
    vectors = json.loads(VECTORS.read_text("utf-8"))
    for one in vectors:
        made = sign(
            one["method"], one["path"], one["params"], one["key"].encode(), one["body"].encode()
        )
        assert made == one["sign"], one["name"]
    assert len(vectors) >= 10


@pytest.mark.parametrize(
    ("given", "text"),
    [("200", "200"), ("198.50", "198.5"), ("1E+2", "100"), ("0.00001", "0.00001"), ("0.0", "0")],
)
def test_an_amount_is_written_one_way(given: str, text: str) -> None:
    assert text_of(Decimal(given)) == text


def test_a_notify_is_believed_as_it_was_signed_and_not_otherwise() -> None:
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"status": 0}'
    headers = webhooks.signed([secret], "notify_1", 1_700_000_000, body)
    assert verify_notify(["old", secret], headers, body, now=1_700_000_010) == {"status": 0}
    for broken, now, why in (
        (body + b" ", 1_700_000_000, "fits no secret"),
        (body, 1_700_001_000, "too far off"),
    ):
        with pytest.raises(NotVerified, match=why):
            verify_notify([secret], headers, broken, now=now)
    with pytest.raises(NotVerified, match="missing"):
        verify_notify([secret], {}, body)


async def test_a_refund_takes_the_path_of_its_kind(server: Server) -> None:
    body = OK | {"refund_no": "f1", "refund_id": "9", "refund_num": 1}
    server.script = [lambda: success(body)]
    client = client_of(server)
    for mandatory in (False, True):
        why = "wrong account" if mandatory else ""
        refund = NewRefund("r1", "f1", 1, "http://a.example/", mandatory, why)
        assert (await asyncio.to_thread(client.refund, refund)).refund_id == "9"
    assert [path for _, path, _ in server.asked] == ["/refund/general", "/refund/mandatory"]
    (without, given) = [fields for _, _, fields in server.asked]
    assert "refund_reason" not in without
    assert given["refund_reason"] == "wrong account"
