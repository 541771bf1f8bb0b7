"""Promises of endpoints: owed with the end, sent once, alerted, switched off, kept and sent again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from grpc import aio
from standardwebhooks.webhooks import Webhook
from typer.testing import CliRunner

from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan.order.v1 import channel_service_pb2 as channel_pb
from shoudan.order.v1 import channel_service_pb2_grpc as channel_stubs
from shoudan.order.v1 import endpoint_service_pb2 as pb
from shoudan.order.v1 import endpoint_service_pb2_grpc as stubs
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.http.client import Answered, NotSent
from shoudan_kit.http.connection import NoAnswer
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_order import endpoint_commands, endpoint_health, endpoint_notices
from shoudan_order.endpoint_health import Result, Threshold
from shoudan_order.endpoint_states import EndpointState
from shoudan_order.store.endpoints import Health
from tests.order.harness import LOOPBACK, Inbox, OrderHarness, down_product, running
from tests.order.test_refunds import MANDATORY, ask, delivered
from tests.poll import eventually

SECRET = "whsec_" + "c2hvdWRhbi1vZi1lbmRwb2ludHM="
DUE = "UPDATE task SET next_execute_time = shoudan_now() WHERE name = 'endpoint.notify'"


@pytest.fixture
async def quick(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[OrderHarness]:
    """An order service that switches off what has failed four times, and that is dead at once."""
    monkeypatch.setenv("SHOUDAN_SECRET_TEST", SECRET)
    changes = {"endpoint_fails_max": 4, "endpoint_dead_s": 0.001}
    async with running(await new_database("order"), inbox, notify_waits_s=[1], **changes) as made:
        yield made


class Desk:
    """The calls about endpoints, as the gateway and an operator make them."""

    def __init__(self, harness: OrderHarness, channel: aio.Channel) -> None:
        self.harness = harness
        self.stub: Any = stubs.EndpointServiceStub(channel)
        self.channels: Any = channel_stubs.ChannelServiceStub(channel)

    async def put(self, endpoint_no: str = "e1", **changes: Any) -> None:
        """An endpoint of the channel test at the inbox."""
        facts: dict[str, Any] = {
            "endpoint_no": endpoint_no,
            "channel_no": "test",
            "url": self.harness.inbox.url,
            "enabled": True,
        }
        channel = catalogue_pb.DownChannel(
            channel_no="test",
            channel_name="测试",
            enabled=True,
            allowed_networks=LOOPBACK,
            secret_name="TEST",
        )
        endpoint = catalogue_pb.NotifyEndpoint(**(facts | changes))
        await self.harness.apply(down_channels=[channel], notify_endpoints=[endpoint])

    async def shown(self, endpoint_no: str = "e1") -> Any:
        found = await self.stub.ListEndpoints(pb.ListEndpointsRequest(channel_no="test"))
        return next(one for one in found.endpoints if one.endpoint_no == endpoint_no)

    async def sent(self, endpoint_no: str = "e1", *, given_up: bool = False) -> list[Any]:
        request = pb.ListEndpointNotifiesRequest(
            channel_no="test", endpoint_no=endpoint_no, given_up=given_up
        )
        return list((await self.stub.ListEndpointNotifies(request)).notifies)

    async def state(self, *, paused: bool) -> Any:
        request = pb.SetEndpointStateRequest(
            channel_no="test", endpoint_no="e1", paused=paused, by="chen", reason="maintenance"
        )
        return await self.stub.SetEndpointState(request)

    async def resend(self, *ids: int) -> int:
        request = pb.ResendEndpointNotifiesRequest(
            channel_no="test", endpoint_no="e1", notify_ids=ids, by="chen"
        )
        return int((await self.stub.ResendEndpointNotifies(request)).count)

    async def until(self, fact: Callable[[Any], bool]) -> Any:
        """The endpoint when this is so of it; what waits is made due meanwhile."""

        async def so() -> bool:
            await self.harness.sql(DUE)
            return fact(await self.shown())

        await eventually(so, 60)
        return await self.shown()


@pytest.fixture
async def desk(quick: OrderHarness) -> AsyncIterator[Desk]:
    async with aio.insecure_channel(f"127.0.0.1:{quick.process.port}") as channel:
        yield Desk(quick, channel)


def told(inbox: Inbox, event: str) -> list[dict[str, Any]]:
    """The data of the enveloped bodies of an event."""
    return [one["data"] for one in inbox.told if one.get("type") == event]


async def test_each_endpoint_is_sent_what_it_wants_signed_beside_the_notify_url(
    desk: Desk, inbox: Inbox
) -> None:
    await desk.put("e1", body_version=1)
    await desk.put("e2", events=["refund.ended"])
    await desk.put("e3", enabled=False)
    order = await delivered(desk.harness, notify_url=inbox.url)
    await ask(desk.harness, order, "m1", kind=MANDATORY)
    await eventually(lambda: len(inbox.told) == 5, 30)
    (ended,) = told(inbox, "order.ended")
    assert ended["order_id"] == str(order.state.order_id)
    assert ended["status"] == 0
    (refunded,) = told(inbox, "refund.ended")
    assert (refunded["refund_no"], refunded["status"]) == ("m1", 0)
    assert inbox.told.count(ended) == 1  # at the notify_url
    assert inbox.told.count(refunded) == 2  # there, and in the documented form at e2
    for headers, body in zip(inbox.headers, inbox.bodies, strict=True):
        Webhook(SECRET).verify(body, dict(headers))
    assert [one.event for one in await desk.sent("e1")] == ["refund.ended", "order.ended"]
    assert [one.event for one in await desk.sent("e2")] == ["refund.ended"]
    assert await desk.sent("e3") == []


async def test_a_channel_without_endpoints_costs_nothing_of_theirs(desk: Desk) -> None:
    await delivered(desk.harness)
    for table in ("oms_endpoint_notify", "oms_endpoint_health"):
        assert not await desk.harness.sql(f"SELECT 1 FROM {table}")


async def test_what_fails_is_alerted_by_steps_switched_off_kept_and_sent_again(
    desk: Desk, inbox: Inbox
) -> None:
    inbox.answer = lambda _: (500, "card 6228480012345678 is full")
    await desk.put()
    await delivered(desk.harness)
    off = await desk.until(lambda one: one.state == pb.ENDPOINT_STATE_OFF)
    assert (off.fails, off.alert_level, off.recent_sent, off.recent_acknowledged) == (4, 100, 4, 0)
    assert off.answer == "HTTP 500 card *** is full"
    alerts = await desk.harness.sql(
        "SELECT subject FROM event WHERE subject LIKE '%endpoint%' ORDER BY event_id"
    )
    words = [row[0].rsplit(".", 1)[1] for row in alerts]
    assert words == ["alert", "alert", "alert", "off"]  # at 50, 70 (three of four: 75) and 100 %

    async def kept() -> bool:
        await desk.harness.sql(DUE)
        return len(await desk.sent(given_up=True)) == 1

    await eventually(kept, 60)
    await delivered(desk.harness)
    await eventually(lambda: desk.sent(given_up=True), 30)

    async def both_kept() -> bool:
        return len(await desk.sent(given_up=True)) == 2

    await eventually(both_kept, 60)
    before, inbox.answer = len(inbox.told), lambda _: (200, "success")
    assert (await desk.state(paused=False)).changed
    assert await desk.resend() == 2
    await desk.until(lambda one: one.recent_acknowledged == 2)
    assert len(inbox.told) == before + 2
    assert len({json.dumps(one) for one in inbox.told[before:]}) == 2
    healthy = await desk.shown()
    assert (healthy.state, healthy.fails, healthy.alert_level) == (0, 0, 0)
    assert (healthy.given_up_count, await desk.resend()) == (0, 0)


async def test_a_paused_endpoint_is_sent_nothing_but_a_test(desk: Desk, inbox: Inbox) -> None:
    await desk.put(body_version=1)
    stands = await desk.state(paused=True)
    assert (stands.changed, stands.endpoint.state) == (True, pb.ENDPOINT_STATE_PAUSED)
    assert stands.endpoint.reason == "chen: maintenance"
    assert not (await desk.state(paused=True)).changed
    await delivered(desk.harness)

    async def kept() -> bool:
        return len(await desk.sent(given_up=True)) == 1

    await eventually(kept, 60)
    assert inbox.told == []
    request = pb.TestEndpointRequest(channel_no="test", endpoint_no="e1")
    tested = await desk.stub.TestEndpoint(request)
    assert (tested.acknowledged, tested.http_status, tested.answer) == (True, 200, "")
    assert [one["type"] for one in inbox.told] == ["test"]
    await desk.state(paused=False)
    (one,) = await desk.sent(given_up=True)
    assert await desk.resend(one.notify_id) == 1
    await eventually(lambda: told(inbox, "order.ended"), 30)


async def test_an_endpoint_has_a_secret_of_its_own(
    desk: Desk, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.put()
    own = "whsec_" + "YW5vdGhlciBzZWNyZXQgb2YgbWluZQ=="
    context = desk.harness.context
    endpoint = context.catalogue.notify_endpoints["e1"]
    channel = context.catalogue.down_channels["test"]
    assert context.endpoint_secrets(endpoint, channel) == (SECRET,)
    monkeypatch.setattr(
        type(context.credentials.live),
        "texts",
        lambda _, kind, owner: (own,) if (kind, owner) == ("endpoint", "e1") else (),
    )
    await desk.stub.TestEndpoint(pb.TestEndpointRequest(channel_no="test", endpoint_no="e1"))
    Webhook(own).verify(inbox.bodies[0], dict(inbox.headers[0]))


async def test_changes_of_shelves_are_an_event(desk: Desk, inbox: Inbox) -> None:
    await desk.put("e1", events=["shelf.changed"])
    await desk.put("e2", events=["order.ended"])
    changed = await desk.harness.apply(down_products=[down_product(sell_discount_ppm=910_000)])
    again = await desk.harness.apply(down_products=[down_product(sell_discount_ppm=910_000)])
    assert again.version == changed.version

    async def arrived() -> bool:
        return len(inbox.told) == 1

    await eventually(arrived, 30)
    said = {"event": "shelf_changed", "channel_no": "test", "version": str(changed.version)}
    assert inbox.told == [said | {"count": 1, "product_ids": ["300"]}]
    Webhook(SECRET).verify(inbox.bodies[0], dict(inbox.headers[0]))

    async def no_task_left() -> bool:
        return not await desk.harness.sql("SELECT 1 FROM task WHERE name = 'endpoint.notify'")

    await eventually(no_task_left, 30)
    rows = await desk.harness.sql("SELECT endpoint_no, event FROM oms_endpoint_notify")
    assert [tuple(row) for row in rows] == [("e1", "shelf.changed")]


async def test_bills_and_balances_reach_endpoints_once(desk: Desk, inbox: Inbox) -> None:
    asked = channel_pb.SendNoticeRequest(channel_no="test", key="bill_1")
    assert (await desk.channels.SendNotice(asked)).result == channel_pb.NOTICE_RESULT_NO_ADDRESS
    await desk.put(events=["bill.ready"])
    assert (await desk.channels.SendNotice(asked)).result == channel_pb.NOTICE_RESULT_HAS_ADDRESS
    body = json.dumps({"event": "bill_ready", "url": "https://a.example/x"}).encode()
    notice = channel_pb.SendNoticeRequest(channel_no="test", key="bill_1", body=body)
    for _ in range(2):
        sent = await desk.channels.SendNotice(notice)
        assert sent.result == channel_pb.NOTICE_RESULT_ACKNOWLEDGED
    other = channel_pb.SendNoticeRequest(
        channel_no="test", key="balance_1", body=b'{"event": "balance_low"}'
    )
    assert (await desk.channels.SendNotice(other)).result == channel_pb.NOTICE_RESULT_NO_ADDRESS

    async def no_task_left() -> bool:
        return not await desk.harness.sql("SELECT 1 FROM task WHERE name = 'endpoint.notify'")

    await eventually(no_task_left, 30)
    assert [one["event"] for one in inbox.told] == ["bill_ready"]


async def test_a_host_that_is_away_or_silent_counts_as_one_and_is_said(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it rests, as for notifies: its other calls do not wait for time-outs one by one."""
    await desk.put(url="http://127.0.0.1:1/")
    await delivered(desk.harness)
    away = await desk.until(lambda one: one.fails >= 2)
    assert (away.recent_acknowledged, bool(away.answer)) == (0, True)
    (sent,) = await desk.sent()
    assert (sent.http_status, sent.answer) == (0, away.answer)
    outcomes: list[Any] = [NoAnswer("timed out"), NotSent("refused"), Answered(500, {}, b"")]
    for outcome, answers in zip(outcomes, (False, False, True), strict=True):

        async def posted(*_: Any, outcome: Any = outcome) -> Any:
            return outcome

        monkeypatch.setattr(endpoint_notices, "posted", posted)
        fake: Any = SimpleNamespace(context=None, event_key="k", body=b"")
        assert await endpoint_notices.Sending(fake, fake, fake, fake, fake).send() is answers


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint_no": "a b"},
        {"channel_no": "nowhere"},
        {"url": "ftp://a.example/"},
        {"events": ["order.begun"]},
        {"body_version": 2},
    ],
)
async def test_an_endpoint_that_is_none_is_refused(desk: Desk, changes: dict[str, Any]) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await desk.put(**changes)
    found = refused_from_rpc(raised.value)
    assert found is not None
    assert found.reason == "ERROR_REASON_CATALOGUE_INVALID"


async def test_a_channel_has_ten_enabled_endpoints(desk: Desk) -> None:
    for at in range(10):
        await desk.put(f"e{at}")
    with pytest.raises(aio.AioRpcError):
        await desk.put("e10")
    await desk.put("e10", enabled=False)


async def test_an_endpoint_of_another_channel_is_not_found(desk: Desk) -> None:
    await desk.put()
    with pytest.raises(aio.AioRpcError) as raised:
        await desk.stub.TestEndpoint(pb.TestEndpointRequest(channel_no="other", endpoint_no="e1"))
    found = refused_from_rpc(raised.value)
    assert found is not None
    assert found.reason == "ERROR_REASON_FIELD_INVALID"


NOW = datetime(2026, 12, 1, tzinfo=UTC)
TEN = Threshold(10, timedelta(hours=1))


def after(oks: str, health: Health | None = None, now: datetime = NOW) -> tuple[Health, list[Any]]:
    """An endpoint after attempts: 1 acknowledged, 0 not."""
    results = [Result(one == "1", "" if one == "1" else "HTTP 500") for one in oks]
    found, edges = endpoint_health.after(health or Health("e", "c"), results, now, TEN)
    return found, [(edge.what, edge.health.alert_level) for edge in edges]


def test_alerts_are_given_once_for_each_step_and_when_it_does_well() -> None:
    health, edges = after("0000")
    assert edges == []
    health, edges = after("000000", health)
    assert edges == [("alert", 50), ("alert", 70), ("alert", 90), ("alert", 100)]
    assert health.state == EndpointState.ACTIVE  # not dead for long
    health, edges = after("00", health)
    assert edges == []
    health, edges = after("1", health)
    assert edges == [("recovered", 0)]
    assert after("1", health)[1] == []


def test_what_is_dead_for_long_is_switched_off_once() -> None:
    health, _ = after("0" * 12)
    health, edges = after("0", health, NOW + timedelta(hours=1))
    assert edges == [("off", 100)]
    assert health.state == EndpointState.OFF
    assert after("0", health, NOW + timedelta(hours=2))[1] == []
    assert len(after("01" * 40)[0].recent) == endpoint_health.RECENT_MAX


async def test_the_command_shows_and_moves_an_endpoint(desk: Desk, inbox: Inbox) -> None:
    target = ("--target", f"127.0.0.1:{desk.harness.process.port}")

    async def said(*args: str) -> str:
        done = await asyncio.to_thread(
            CliRunner().invoke, endpoint_commands.app, [*args, *target], catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
        return done.output

    await desk.put()
    made = await said("put", "test", "e2", "--url", inbox.url, "--events", "bill.ready")
    assert "notify_endpoints e2: new\n" in made
    assert "paused" in await said("pause", "test", "e1", "--reason", "full disk")
    await delivered(desk.harness)

    async def kept() -> bool:
        return len(await desk.sent(given_up=True)) == 1

    await eventually(kept, 60)
    listed = await said("ls")
    assert f"e1  paused  {inbox.url}" in listed
    assert "full disk" in listed
    assert "1 were not sent: shoudan endpoint resend test e1" in listed
    assert "order.ended" in await said("notifies", "test", "e1", "--given-up")
    assert "1 were not sent" in await said("resume", "test", "e1", "--reason", "room again")
    assert "1 sent again\n" in await said("resend", "test", "e1")
    assert "acknowledged" in await said("test", "test", "e2")
