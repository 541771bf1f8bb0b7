"""Promises of notifies: they say what they were owed for, and what counts as an acknowledgement."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import text

from shoudan_kit.db.pool import Database
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.http.client import Answered
from shoudan_order.catalogue import admin
from shoudan_order.notify_words import acknowledged
from shoudan_order.retries import resend
from tests.order.harness import LOOPBACK, Inbox, OrderHarness, catalogue_pb, down_product, running
from tests.order.test_refunds import MANDATORY, ask, delivered
from tests.order.test_retries import number_of, retry
from tests.poll import eventually

DUE = "UPDATE task SET next_execute_time = shoudan_now() WHERE name = 'order.notify'"


async def tries(harness: OrderHarness, count: int) -> None:
    """Wait until the order's notify was tried so often, making it due at once."""

    async def tried() -> bool:
        await harness.sql(DUE)
        return bool(
            await harness.sql(
                "SELECT 1 FROM oms_notify_info WHERE refund_id = 0 AND notify_count >= :count",
                count=count,
            )
        )

    await eventually(tried)


def of_the_order(harness: OrderHarness) -> list[dict[str, Any]]:
    """What the partner was told of the order itself."""
    return [told for told in harness.inbox.told if "refund_no" not in told]


@pytest.mark.parametrize("words", [False, True])
async def test_a_notify_retried_after_a_refund_says_what_it_was_owed_for(
    harness: OrderHarness, words: bool
) -> None:
    if words:
        await harness.apply(down_channels=[_wording()])
    harness.inbox.answer = lambda told: (
        (500, "later") if "refund_no" not in told else (200, "success")
    )
    order = await delivered(harness, notify_url=harness.inbox.url)
    await tries(harness, 1)
    await ask(harness, order, "m1", kind=MANDATORY)
    assert (await harness.get(order.state.order_id)).state.status == 90
    await tries(harness, 3)
    first, *later = of_the_order(harness)
    assert first["status"] == ("SUCCESS" if words else 0)
    assert later
    assert all(told == first for told in later)
    refund = next(told for told in harness.inbox.told if "refund_no" in told)
    assert refund["status"] == ("SUCCESS" if words else 0)
    assert refund.get("failed_code") == ("000" if words else None)


async def test_a_notify_resent_after_a_refund_says_what_it_was_owed_for(
    harness: OrderHarness,
) -> None:
    harness.inbox.answer = lambda told: (
        (500, "later") if "refund_no" not in told else (200, "success")
    )
    order = await delivered(harness, notify_url=harness.inbox.url)
    await tries(harness, 1)
    await ask(harness, order, "m1", kind=MANDATORY)
    await harness.sql("DELETE FROM task WHERE name = 'order.notify'")
    await harness.sql("UPDATE oms_notify_info SET given_up = true WHERE refund_id = 0")
    harness.inbox.answer = lambda told: (200, "success")
    number = await number_of(harness, "SELECT notify_id FROM oms_notify_info WHERE refund_id = 0")
    assert await retry(harness, "order_notify", number)

    async def told() -> bool:
        return (await harness.get(order.state.order_id)).notify_status == 0

    await eventually(told, 30)
    assert {told["status"] for told in of_the_order(harness)} == {0}


async def test_a_notify_is_signed_with_the_secret_of_its_channel_wherever_it_lies(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], inbox: Inbox, tmp_path: Path
) -> None:
    (tmp_path / "acme").write_text("a-key-in-use\na-key-that-replaces-it\n")
    async with running(await new_database("order"), inbox, secrets_dir=tmp_path) as harness:
        await harness.apply(down_channels=[_named("acme")])
        await delivered(harness, notify_url=inbox.url)
        await eventually(lambda: inbox.told)
    head, body = inbox.headers[0], inbox.bodies[0]
    content = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body
    macs = [
        hmac.digest(key, content, "sha256") for key in (b"a-key-in-use", b"a-key-that-replaces-it")
    ]
    signatures = [f"v1,{base64.b64encode(mac).decode()}" for mac in macs]
    assert head["webhook-signature"] == " ".join(signatures)


async def test_a_secret_that_is_nowhere_is_told_to_a_person(
    harness: OrderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []

    def error(*what: str, **facts: str) -> None:
        said.append((what, facts))

    monkeypatch.setattr(admin, "_log", SimpleNamespace(error=error, info=lambda *_, **__: None))
    await harness.apply(down_channels=[_named("nowhere")])
    ((what, facts),) = said
    assert what == ("secret_missing",)
    assert {"test", "nowhere"} <= set(facts.values())


async def test_a_place_at_a_host_is_held_for_the_call_and_not_for_what_is_stored_of_it(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], inbox: Inbox
) -> None:
    """Else no more answers are stored together than one host has places, however many wait."""
    urls = await new_database("order")
    owner = Database(urls.owner)
    async with (
        running(urls, inbox, notify_host_calls_max=2) as harness,
        owner.begin() as db,  # until the end of this block no answer can be stored
    ):
        await db.execute(text("LOCK TABLE oms_notify_attempt IN SHARE MODE"))
        for _ in range(6):
            await harness.order(notify_url=inbox.url)
        await eventually(lambda: len(inbox.told) == 6, 1.5)
    await owner.dispose()


def _named(secret_name: str) -> Any:
    return catalogue_pb.DownChannel(
        channel_no="test",
        channel_name="测试",
        enabled=True,
        allowed_networks=LOOPBACK,
        secret_name=secret_name,
    )


def _wording() -> Any:
    return catalogue_pb.DownChannel(
        channel_no="test",
        channel_name="测试",
        enabled=True,
        allowed_networks=LOOPBACK,
        word_status=True,
    )


@pytest.mark.parametrize(
    ("body", "is_one"),
    [
        (b"success", True),
        (b"\xef\xbb\xbfsuccess", True),
        (b'\xef\xbb\xbf"success"', True),
        (b'\xef\xbb\xbf{"data":"success"}', True),
        (b'{"status":0}', True),
        (b'{"status":200,"notify_msg":" Success "}', True),
        (b'{"status":0,"notify_msg":""}', True),
        ('{"status":0,"notify_msg":"成功"}'.encode(), True),
        (b'{"status":0,"notify_msg":"fail"}', False),
        ('{"status":0,"notify_msg":"订单不存在"}'.encode(), False),
        (b'{"status":200,"notify_msg":false}', False),
        (b'{"status":false}', False),
        (b"", False),
    ],
)
def test_an_answer_acknowledges_only_when_all_of_it_says_success(body: bytes, is_one: bool) -> None:
    assert acknowledged(Answered(200, {}, body)) is is_one


@asynccontextmanager
async def hanging() -> AsyncGenerator[tuple[str, list[Any]]]:
    """The URL of a host that accepts and never answers, and its connections."""
    taken: list[Any] = []

    async def take(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(writer)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/recv", taken
    finally:
        for writer in taken:
            writer.close()
        server.close()


async def acknowledged_all(harness: OrderHarness, channel_no: str, count: int) -> None:
    """Wait for the acknowledgement of so many notifies of a channel."""

    async def told() -> bool:
        rows = await harness.sql(
            "SELECT 1 FROM oms_notify_info WHERE down_channel_no = :no AND notify_status = 0",
            no=channel_no,
        )
        return len(rows) == count

    await eventually(told, 5)


async def test_hosts_that_hang_do_not_hold_up_another_host_of_their_channel(
    harness: OrderHarness,
) -> None:
    async with hanging() as (dead, taken), hanging() as (dead_too, taken_too):
        for url in (dead, dead_too):  # together more than all calls that may be in flight
            for _ in range(3):
                await harness.create(*(harness.new(notify_url=url) for _ in range(350)))

        async def hang() -> bool:
            most = harness.context.settings.notify_host_calls_max
            return len(taken) >= most and len(taken_too) >= most

        await eventually(hang)
        assert (len(taken), len(taken_too)) == (32, 32)
        await harness.create(*(harness.new(notify_url=harness.inbox.url) for _ in range(20)))
        await acknowledged_all(harness, "test", 20)


async def test_a_channel_that_hangs_does_not_hold_up_another_at_the_same_host(
    harness: OrderHarness,
) -> None:
    held = asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        if (await request.json())["channel_no"] == "test":
            await held.wait()
        return web.Response(text="success")

    app = web.Application()
    app.router.add_post("/recv", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/recv"
    try:
        await second_channel(harness)
        await harness.create(*(harness.new(notify_url=url) for _ in range(150)))

        async def ended() -> bool:
            done = "SELECT 1 FROM oms_order_info WHERE order_status = 0"
            return len(await harness.sql(done)) == 150

        await eventually(ended)
        await harness.create(*(harness.new(channel_no="other", notify_url=url) for _ in range(20)))
        await acknowledged_all(harness, "other", 20)
    finally:
        held.set()
        await runner.cleanup()


async def second_channel(harness: OrderHarness) -> None:
    """Channel `other`, with a product of its own."""
    await harness.apply(
        down_channels=[
            catalogue_pb.DownChannel(
                channel_no="other", channel_name="另", enabled=True, auth_mode="hmac2"
            )
        ],
        down_shelves=[
            catalogue_pb.DownShelf(
                shelf_id=2,
                shelf_name="另",
                channel_no="other",
                order_overtime_s=600,
                refund_overtime_s=600,
                enabled=True,
            )
        ],
        down_products=[down_product(product_id=301, shelf_id=2)],
    )


async def test_the_notifies_of_a_host_that_is_off_are_kept_as_skipped_and_can_be_resent(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], inbox: Inbox
) -> None:
    knobs: dict[str, Any] = {"notify_timeout_s": 0.3, "notify_host_off_s": 1, "notify_waits_s": [1]}
    async with hanging() as (dead, _), running(await new_database("order"), inbox, **knobs) as made:
        await made.create(*(made.new(notify_url=dead) for _ in range(40)))

        async def skipped() -> bool:
            await made.sql(DUE)
            found = "SELECT 1 FROM oms_notify_info WHERE given_up AND notify_msg LIKE 'skipped%'"
            return len(await made.sql(found)) >= 30

        await eventually(skipped, 20)
        assert not await made.sql("SELECT 1 FROM task WHERE status = 90")
        await made.sql("UPDATE oms_notify_info SET notify_url = :url", url=inbox.url)
        assert await resend(made.context, [], "test", "ops") >= 30
        await acknowledged_some(made, 30)


async def acknowledged_some(harness: OrderHarness, count: int) -> None:
    """Wait until at least so many notifies are acknowledged."""

    async def told() -> bool:
        done = "SELECT 1 FROM oms_notify_info WHERE notify_status = 0"
        return len(await harness.sql(done)) >= count

    await eventually(told, 30)


async def test_an_attempt_that_is_not_acknowledged_leaves_one_task_for_the_next(
    harness: OrderHarness,
) -> None:
    harness.inbox.answer = lambda told: (200, "later")
    order = await delivered(harness, notify_url=harness.inbox.url)
    await tries(harness, 2)

    async def tasks() -> list[Any]:
        return await harness.sql(
            "SELECT 1 FROM task WHERE name = 'order.notify' AND status < 90 AND order_no = :no",
            no=str(order.state.order_id),
        )

    assert len(await tasks()) == 1
    harness.inbox.answer = lambda told: (200, "success")
    await harness.sql(DUE)

    async def over() -> bool:
        return not await tasks()

    await eventually(over)
