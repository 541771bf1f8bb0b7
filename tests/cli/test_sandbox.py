"""The commands that partners try things out with: the relay of notifies, the go-live list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from shoudan_cli import checklist
from shoudan_cli.checklist import V2, Call, judged
from shoudan_cli.sandbox import TRIGGERS, Relay
from shoudan_fakes.sandbox import Sandbox
from shoudan_fakes.scripts import SCRIPTS, chinese
from shoudan_signing import webhooks
from tests.poll import eventually

SECRET, NOW = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1_790_000_000
BODY = b'{"channel_no":"test","request_no":"r1","order_id":"7","status":0}'


class Shop:
    """A partner's receiver: what it was sent; `answer` is what it says."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answer, self.status = "success", 200

    async def take(self, request: web.BaseRequest) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        return web.Response(status=self.status, text=self.answer)


@pytest.fixture
async def shop() -> Any:
    one = Shop()
    runner = web.ServerRunner(web.Server(one.take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/n"
    yield one
    await runner.cleanup()


async def test_a_notify_is_shown_checked_and_sent_on_as_it_came(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Sandbox(tmp_path / "journal") as sandbox, aiohttp.ClientSession() as http:
        url = f"{sandbox.url}/inbox/test"
        await http.post(url, data=b"before")  # no news
        relay = Relay(f"{url}?format=json", shop.url, [SECRET])
        assert await relay._new(http) == []
        headers = webhooks.signed([SECRET], "notify_7", _now(), BODY)
        await http.post(url, data=BODY, headers=headers | {"Content-Type": "application/json"})
        await relay.run(count=1)
    ((sent, body),) = shop.got
    assert body == BODY
    webhooks.verify([SECRET], sent, body, _now())
    shown = capsys.readouterr().out
    assert "notify_7  signature right" in shown
    assert "→ 200 'success'" in shown


async def test_an_inbox_with_a_secret_checks_each_notify_and_says_what_is_wrong(
    tmp_path: Path,
) -> None:
    async with Sandbox(tmp_path / "journal") as sandbox, aiohttp.ClientSession() as http:
        url = f"{sandbox.url}/inbox/test"
        right = webhooks.signed([SECRET], "notify_1", _now(), BODY)
        assert (await http.post(url, data=BODY)).status == 200  # without a secret all are taken
        assert (await http.post(f"{url}/knobs", json={"secrets": [SECRET]})).status == 200
        assert (await http.post(url, data=BODY, headers=right)).status == 200
        for headers, why in (
            ({}, "without webhook-id"),
            (webhooks.signed(["another"], "notify_2", _now(), BODY), "fits none of 1 secrets"),
            (webhooks.signed([SECRET], "notify_3", _now() - 900, BODY), "s off"),
        ):
            async with http.post(url, data=BODY, headers=headers) as refused:
                assert (refused.status, why in await refused.text()) == (401, True)
        inbox = await (await http.get(f"{url}?format=json")).json()
        mistakes = [one["signature_mistake"] for one in inbox["letters"]]
        assert mistakes[1] == ""
        assert all(mistakes[:1] + mistakes[2:])
        for language, words in (
            ("zh-CN", ("签名正确", "签名错误")),
            ("en", ("signature right", "wrong")),
        ):
            page = await (await http.get(url, headers={"Accept-Language": language})).text()
            assert all(one in page for one in words)
            assert SECRET not in page
        many = {"secrets": ["x"] * 6}
        assert (await http.post(f"{url}/knobs", json=many)).status == 400


async def test_a_wrong_signature_and_an_inbox_that_is_away_are_said(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with aiohttp.ClientSession() as http:
        async with Sandbox(tmp_path / "journal") as sandbox:
            url, port = f"{sandbox.url}/inbox/test", sandbox.port
            relay = Relay(f"{url}?format=json", "", [SECRET])
            await relay._new(http)
        with pytest.raises(aiohttp.ClientError):
            await relay._new(http)
        async with Sandbox(tmp_path / "other", port=port):
            headers = webhooks.signed(["another"], "notify_8", _now(), BODY)
            await http.post(url, data=BODY, headers=headers)
            await relay.run(count=1)
    assert "SIGNATURE WRONG" in capsys.readouterr().out


def _now() -> int:
    import time

    return int(time.time())


def called(path: str, status: int = 200, **params: str) -> Call:
    return Call(path, status, params, f"id of {path}")


def notify(refund_no: str = "", status: str = "ACKNOWLEDGED") -> dict[str, Any]:
    return {"notify_id": "11", "refund_no": refund_no, "notify_status": status, "attempts": []}


ALL = [
    called("/order/request", request_no="a", sign_type=V2, notify_url="***"),
    called("/order/request", request_no="a", sign_type=V2, notify_url="***"),
    called("/order/query", request_no="a"),
    called("/refund/general", request_no="a", refund_no="r"),
    called("/refund/query", refund_no="r"),
    called("/order/cancel", request_no="b"),
    called("/bill/trade"),
]


def test_each_point_is_open_until_it_was_seen() -> None:
    assert {one.name for one in judged([], []) if one.done} == set()
    assert all(one.done for one in judged(ALL, [notify()], refused=True))


@pytest.mark.parametrize(
    ("calls", "notifies", "refused", "open_"),
    [
        (ALL[1:], [notify()], True, {"idempotency"}),
        (
            [called("/order/request", 409, request_no="a"), *ALL[1:]],
            [notify()],
            True,
            {"idempotency"},
        ),
        ([*ALL[:4], *ALL[5:]], [notify()], True, {"refund"}),
        ([*ALL[:4], *ALL[5:]], [notify("r")], True, set()),
        (ALL, [notify(status="GIVEN_UP")], True, {"notify"}),
        (ALL, [notify()], False, {"verification"}),
        (ALL, [notify()], None, {"verification"}),
        (ALL[:-1], [notify()], True, {"reconciliation"}),
    ],
)
def test_what_was_refused_or_never_ended_shows_nothing(
    calls: list[Call], notifies: list[Any], refused: bool | None, open_: set[str]
) -> None:
    assert {one.name for one in judged(calls, notifies, refused) if not one.done} == open_


async def test_a_probe_is_refused_by_who_verifies(shop: Shop) -> None:
    assert await checklist.probe(shop.url) is False
    shop.answer, shop.status = "wrong", 401
    assert await checklist.probe(shop.url) is True
    headers, body = shop.got[0]
    with pytest.raises(webhooks.NotVerified):
        webhooks.verify([SECRET], headers, body, _now())


def test_every_trigger_is_a_script_and_every_word_has_its_account() -> None:
    assert {row[0] for row in TRIGGERS.values()} <= set(SCRIPTS)
    assert set(chinese()) <= set(SCRIPTS)
    assert {row[0] for row in TRIGGERS.values()} <= set(chinese())


async def test_the_inbox_shows_nothing_twice(tmp_path: Path) -> None:
    async with Sandbox(tmp_path / "journal") as sandbox, aiohttp.ClientSession() as http:
        url = f"{sandbox.url}/inbox/test"
        relay = Relay(f"{url}?format=json", "", [])
        assert await relay._new(http) == []
        for number in range(3):
            await http.post(url, data=b"%d" % number)
        assert [one["body"] for one in await relay._new(http)] == ["0", "1", "2"]
        assert await relay._new(http) == []

        async def told() -> bool:
            return sandbox.inboxes.inboxes["test"].received == 3

        await eventually(told)
