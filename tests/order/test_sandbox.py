"""Promises of SandboxService: scripts are chosen, letters are checked, and in prod there is none."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from grpc import aio

from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan.order.v1 import sandbox_service_pb2 as pb
from shoudan.order.v1 import sandbox_service_pb2_grpc as stubs
from shoudan_fakes.sandbox import Sandbox
from shoudan_kit.config import ConfigError
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.process.ports import free_port
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_order.config import OrderSettings
from shoudan_order.refusals import NoSandbox
from shoudan_order.rpc.sandbox import SandboxServicer
from shoudan_order.sandbox_client import SandboxClient
from shoudan_signing import webhooks
from tests.order.harness import LOOPBACK, Inbox, OrderHarness, running

SECRET = "whsec_" + "c2hvdWRhbi1vZi1zYW5kYm94ZXM="
OTHER = "whsec_" + "c29tZS1vdGhlci1zZWNyZXQ="


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(tmp_path / "journal.jsonl") as made:
        yield made


@pytest.fixture
async def played(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
    inbox: Inbox,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[OrderHarness]:
    """An order service whose outside world is that sandbox."""
    monkeypatch.setenv("SHOUDAN_SECRET_TEST", SECRET)
    async with running(await new_database("order"), inbox, sandbox_url=sandbox.url) as made:
        channel = catalogue_pb.DownChannel(
            channel_no="test", channel_name="测试", enabled=True, allowed_networks=LOOPBACK
        )
        channel.secret_name = "TEST"
        await made.apply(down_channels=[channel])
        yield made


@pytest.fixture
async def stub(played: OrderHarness) -> AsyncIterator[Any]:
    async with aio.insecure_channel(f"127.0.0.1:{played.process.port}") as channel:
        yield stubs.SandboxServiceStub(channel)


async def choose(stub: Any, key: str, script: str, kind: int = pb.SANDBOX_KEY_ACCOUNT) -> Any:
    request = pb.SetSandboxScriptRequest(key_kind=kind, key=key, script=script)
    return await stub.SetSandboxScript(request)


async def reason(call: Awaitable[Any]) -> str:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    refused = refused_from_rpc(caught.value)
    assert refused is not None
    return refused.reason


async def test_a_script_is_chosen_seen_and_taken_back(stub: Any) -> None:
    before = await stub.GetSandbox(pb.GetSandboxRequest())
    assert before.there
    assert before.answers
    assert not before.choices
    assert any(one.script == "0003" and one.about_zh for one in before.scripts)
    done = await choose(stub, "13800000000", "0003")
    wanted = pb.SandboxChoice(key_kind=pb.SANDBOX_KEY_ACCOUNT, key="13800000000", script="0003")
    assert list(done.choices) == [wanted]
    assert list((await choose(stub, "13800000000", "0003")).choices) == [wanted]  # repeated
    assert list((await stub.GetSandbox(pb.GetSandboxRequest())).choices) == [wanted]
    assert not (await choose(stub, "13800000000", "")).choices


@pytest.mark.parametrize(
    ("key", "script", "kind"),
    [
        ("", "0001", pb.SANDBOX_KEY_ACCOUNT),
        ("1", "9876", pb.SANDBOX_KEY_ACCOUNT),
        ("1", "down", pb.SANDBOX_KEY_ORDER),
        ("1", "0001", pb.SANDBOX_KEY_UNSPECIFIED),
    ],
)
async def test_what_is_not_played_is_refused(stub: Any, key: str, script: str, kind: int) -> None:
    assert await reason(choose(stub, key, script, kind)) == "ERROR_REASON_FIELD_INVALID"


async def test_each_letter_says_what_its_signature_is_worth(stub: Any, sandbox: Sandbox) -> None:
    body, now = b'{"status": 0}', int(time.time())
    ways = {
        "RIGHT": webhooks.signed([SECRET], "n1", now, body),
        "WRONG": webhooks.signed([OTHER], "n2", now, body),
        "NONE": {},
    }
    async with aiohttp.ClientSession() as http:
        for name in ("test", "stranger"):
            for headers in ways.values():
                url = f"{sandbox.url}/inbox/{name}"
                async with http.post(url, data=body, headers=headers) as answer:
                    assert answer.status == 200
    request = pb.ListSandboxLettersRequest(channel_no="test")
    found = await stub.ListSandboxLetters(request)
    assert (found.inbox_url, found.received) == (f"{sandbox.url}/inbox/test", 3)
    said = [pb.SandboxSignature.Name(one.signature).rpartition("_")[2] for one in found.letters]
    assert said == [*reversed(ways)]
    assert ["fits none" in one.mistake for one in found.letters] == [False, True, False]
    assert {one.body for one in found.letters} == {body.decode()}
    strangers = await stub.ListSandboxLetters(pb.ListSandboxLettersRequest(channel_no="stranger"))
    unchecked = [one.signature == pb.SANDBOX_SIGNATURE_UNCHECKED for one in strangers.letters]
    assert unchecked == [False, True, True]


async def test_a_sandbox_that_does_not_answer_is_said_so_at_once() -> None:
    client = SandboxClient(f"http://127.0.0.1:{free_port()}")
    anything: Any = None
    servicer = SandboxServicer(anything, client)
    shown = await servicer.GetSandbox(pb.GetSandboxRequest(), anything)
    assert (shown.there, shown.answers) == (True, False)
    request = pb.SetSandboxScriptRequest(key_kind=pb.SANDBOX_KEY_ACCOUNT, key="1", script="0001")
    with pytest.raises(NoSandbox):
        await servicer.SetSandboxScript(request, anything)
    await client.aclose()


async def test_without_a_sandbox_there_is_none(harness: OrderHarness) -> None:
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        stub: Any = stubs.SandboxServiceStub(channel)
        assert not (await stub.GetSandbox(pb.GetSandboxRequest())).there
        letters = stub.ListSandboxLetters(pb.ListSandboxLettersRequest(channel_no="test"))
        assert await reason(letters) == "ERROR_REASON_NO_SANDBOX"
        assert await reason(choose(stub, "1", "0001")) == "ERROR_REASON_NO_SANDBOX"


def test_in_prod_nothing_is_played() -> None:
    given = {
        "SHOUDAN_PROFILE": "prod",
        "SHOUDAN_ORDER_DATABASE_URL": "postgresql://shoudan_order@db/shoudan_order",
        "SHOUDAN_ORDER_SANDBOX_URL": "http://127.0.0.1:8690",
    }
    with pytest.raises(ConfigError, match="nothing is played in prod"):
        OrderSettings.load("order", environ=given)
