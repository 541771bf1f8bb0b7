"""Promises of notices to channels: signed, sent once for each call, and what became of it said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import aio

from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan.order.v1 import channel_service_pb2 as pb
from shoudan.order.v1 import channel_service_pb2_grpc as stubs
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_signing import webhooks
from tests.order.harness import LOOPBACK, OrderHarness

SECRET = "demo-of-notices"


@pytest.fixture
async def channels(harness: OrderHarness) -> AsyncIterator[Any]:
    """The service as finance calls it."""
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        yield stubs.ChannelServiceStub(channel)


async def named(harness: OrderHarness, **changes: Any) -> None:
    facts: dict[str, Any] = {
        "channel_no": "test",
        "channel_name": "测试",
        "enabled": True,
        "allowed_networks": LOOPBACK,
        "secret_name": "TEST",
        "notice_url": harness.inbox.url,
    }
    await harness.apply(down_channels=[catalogue_pb.DownChannel(**(facts | changes))])


async def test_a_notice_is_signed_and_its_answer_said(
    harness: OrderHarness, channels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOUDAN_SECRET_TEST", SECRET)
    await named(harness)
    request = pb.SendNoticeRequest(channel_no="test", key="bill_1", body=b'{"event":"bill_ready"}')
    before = len(harness.inbox.bodies)
    sent = await channels.SendNotice(request)
    assert (sent.result, sent.answer) == (pb.NOTICE_RESULT_ACKNOWLEDGED, "")
    assert harness.inbox.bodies[before:] == [request.body]
    headers = harness.inbox.headers[-1]
    assert headers["webhook-id"] == "bill_1"
    asked = await channels.SendNotice(pb.SendNoticeRequest(channel_no="test", key="bill_1"))
    assert asked.result == pb.NOTICE_RESULT_HAS_ADDRESS
    assert len(harness.inbox.bodies) == before + 1
    stamp = int(headers["webhook-timestamp"])
    webhooks.verify([SECRET], headers, request.body, stamp)


async def test_what_is_not_acknowledged_is_said(harness: OrderHarness, channels: Any) -> None:
    await named(harness, notice_url="http://127.0.0.1:1/")
    request = pb.SendNoticeRequest(channel_no="test", key="bill_2", body=b"{}")
    sent = await channels.SendNotice(request)
    assert sent.result == pb.NOTICE_RESULT_NOT_ACKNOWLEDGED
    assert sent.answer


@pytest.mark.parametrize("changes", [{"notice_url": ""}, {"enabled": False}])
async def test_a_channel_without_an_address_is_sent_nothing(
    harness: OrderHarness, channels: Any, changes: dict[str, Any]
) -> None:
    await named(harness, **changes)
    before = len(harness.inbox.bodies)
    request = pb.SendNoticeRequest(channel_no="test", key="bill_3", body=b"{}")
    assert (await channels.SendNotice(request)).result == pb.NOTICE_RESULT_NO_ADDRESS
    assert len(harness.inbox.bodies) == before


@pytest.mark.parametrize(
    "changes",
    [{"channel_no": ""}, {"key": ""}, {"key": "a b"}, {"key": "k" * 97}, {"body": b"x" * 16_385}],
)
async def test_a_notice_that_is_none_is_refused(channels: Any, changes: dict[str, Any]) -> None:
    given: dict[str, Any] = {"channel_no": "test", "key": "k", "body": b"{}", **changes}
    with pytest.raises(aio.AioRpcError) as raised:
        await channels.SendNotice(pb.SendNoticeRequest(**given))
    found = refused_from_rpc(raised.value)
    assert found is not None
    assert found.reason == "ERROR_REASON_FIELD_INVALID"


async def test_an_address_that_is_none_is_refused(harness: OrderHarness) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await named(harness, notice_url="ftp://a.example/")
    assert refused_from_rpc(raised.value) is not None
