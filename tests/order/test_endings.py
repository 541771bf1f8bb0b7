"""Promises of an order's last two steps: recorded together, and neither holds up the other for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_order import endings
from tests.order.harness import OrderHarness
from tests.poll import eventually

# A row is written by the transaction of its xmin.
TOGETHER = """SELECT d.xmin = n.xmin FROM oms_order_delivery d
    JOIN oms_notify_info n ON n.order_id = d.order_id WHERE d.order_id = :id"""


class Slow:
    """A partner that answers when it is told to."""

    def __init__(self) -> None:
        self.called, self.answers, self.url = asyncio.Event(), asyncio.Event(), ""

    async def take(self, _: web.Request) -> web.Response:
        self.called.set()
        await self.answers.wait()
        return web.Response(text="success")


@pytest.fixture
async def slow() -> AsyncIterator[Slow]:
    partner = Slow()
    app = web.Application()
    app.router.add_post("/", partner.take)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    partner.url = f"{site.name}/"
    yield partner
    partner.answers.set()
    await runner.cleanup()


async def delivered(harness: OrderHarness, notify_url: str) -> int:
    """An order whose supplier has delivered, and whose purchase waits for the ledger."""
    harness.delivery.script = lambda item: None
    order_id = await harness.order(notify_url=notify_url)
    await eventually(lambda: bool(harness.delivery.sent))
    harness.ledger.held = asyncio.Event()
    number = int(harness.delivery.sent[0].key.coop_order_id)
    await harness.report(pb.DeliveryResult(id=number, succeeded=True))
    return order_id


async def settles(harness: OrderHarness, order_id: int, *, notified: bool, paid: bool) -> None:
    async def settled() -> bool:
        order = await harness.get(order_id)
        return (order.notify_status == 0, order.up_paid) == (notified, paid)

    await eventually(settled)


async def test_a_notify_that_is_answered_first_is_recorded_with_the_purchase(
    harness: OrderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "TOGETHER_S", 60.0)
    order_id = await delivered(harness, harness.inbox.url)
    await eventually(lambda: bool(harness.inbox.told))
    assert harness.ledger.held is not None
    harness.ledger.held.set()
    await settles(harness, order_id, notified=True, paid=True)
    assert [tuple(row) for row in await harness.sql(TOGETHER, id=order_id)] == [(True,)]
    assert not await harness.sql("SELECT 1 FROM task WHERE order_no = :no", no=str(order_id))


async def test_a_purchase_that_is_made_first_is_recorded_with_the_notify(
    harness: OrderHarness, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "TOGETHER_S", 60.0)
    order_id = await delivered(harness, slow.url)
    await slow.called.wait()
    assert harness.ledger.held is not None
    harness.ledger.held.set()
    await eventually(lambda: bool(harness.ledger.of("up_channel", "ycup")))
    slow.answers.set()
    await settles(harness, order_id, notified=True, paid=True)
    assert [tuple(row) for row in await harness.sql(TOGETHER, id=order_id)] == [(True,)]


async def test_a_partner_that_does_not_answer_holds_up_no_purchase(
    harness: OrderHarness, slow: Slow
) -> None:
    order_id = await delivered(harness, slow.url)
    await slow.called.wait()
    assert harness.ledger.held is not None
    harness.ledger.held.set()
    await settles(harness, order_id, notified=False, paid=True)
    slow.answers.set()
    await settles(harness, order_id, notified=True, paid=True)


async def test_a_supplier_that_cannot_be_paid_holds_up_no_notify(harness: OrderHarness) -> None:
    order_id = await delivered(harness, harness.inbox.url)
    await settles(harness, order_id, notified=True, paid=False)
    assert harness.ledger.held is not None
    harness.ledger.held.set()
    await settles(harness, order_id, notified=True, paid=True)


async def test_what_waits_is_recorded_at_the_stop(
    harness: OrderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "TOGETHER_S", 60.0)
    order_id = await delivered(harness, harness.inbox.url)
    await eventually(lambda: bool(harness.inbox.told))
    await harness.context.endings.aclose()
    await settles(harness, order_id, notified=True, paid=False)
    assert harness.ledger.held is not None
    harness.ledger.held.set()
