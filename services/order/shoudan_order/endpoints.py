"""Endpoints of a channel: how they do, what they were sent, pausing, testing, sending again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shoudan_kit.http.client import Answered
from shoudan_order import endpoint_events, endpoint_health, endpoint_notices, kinds, notify_words
from shoudan_order.audits import record_operation
from shoudan_order.catalogue.endpoints import TEST
from shoudan_order.catalogue.model import DownChannel, NotifyEndpoint
from shoudan_order.context import Context
from shoudan_order.endpoint_health import Edge
from shoudan_order.endpoint_states import ENDPOINT, EndpointEvent
from shoudan_order.refusals import FieldInvalid, NonceUsed
from shoudan_order.store import endpoints as store
from shoudan_order.store import nonces
from shoudan_order.store.endpoints import Health, Listed
from shoudan_order.store.nonces import CallNonce

RESEND_MAX: Final = 1_000
LISTED_MAX: Final = 1_000
KEEP_DAYS: Final = 28
FORGET_S: Final = 60


@dataclass(frozen=True, slots=True)
class Shown:
    """An endpoint, and how it does."""

    endpoint: NotifyEndpoint
    health: Health
    given_up_count: int


@dataclass(frozen=True, slots=True)
class Tested:
    """What came of a test."""

    acknowledged: bool
    http_status: int
    answer: str
    took_ms: int


def find(context: Context, channel_no: str, endpoint_no: str) -> tuple[NotifyEndpoint, DownChannel]:
    """An endpoint of this channel. Refuses FieldInvalid."""
    found = context.catalogue.notify_endpoints.get(endpoint_no)
    if found is None or found.channel_no != channel_no:
        raise FieldInvalid("endpoint_no", "not of this channel")
    return found, context.catalogue.down_channels[channel_no]


async def of_channel(context: Context, channel_no: str) -> list[Shown]:
    """The endpoints of a channel, disabled ones too, by number."""
    there = [
        one
        for _, one in sorted(context.catalogue.notify_endpoints.items())
        if one.channel_no == channel_no
    ]
    return await _shown(context, there[:LISTED_MAX])


async def _shown(context: Context, there: Sequence[NotifyEndpoint]) -> list[Shown]:
    numbers = [one.endpoint_no for one in there]
    async with context.app.db.connect() as db:
        healths = await store.health_of(db, numbers)
        dead = await store.dead_counts(db, numbers)
    return [
        Shown(
            one,
            healths.get(one.endpoint_no, Health(one.endpoint_no, one.channel_no)),
            dead[one.endpoint_no],
        )
        for one in there
    ]


async def notifies(
    context: Context, endpoint_no: str, before: int, most: int, *, given_up: bool
) -> tuple[list[Listed], str]:
    """A page of what an endpoint was sent, newest first, and the token of the next."""
    async with context.app.db.connect() as db:
        found = await store.notifies(db, endpoint_no, before, most, given_up=given_up)
    return found, str(found[-1].notify_id) if len(found) == most else ""


async def set_state(
    context: Context,
    endpoint: NotifyEndpoint,
    said: tuple[str, str],
    nonce: CallNonce | None,
    *,
    paused: bool,
) -> tuple[Shown, bool]:
    """Pause or resume an endpoint: how it stands after it, and whether it changed. `said`: who, and why.

    Refuses NonceUsed.
    """
    by, reason = said
    event = EndpointEvent.PAUSED if paused else EndpointEvent.RESUMED
    number, channel_no = endpoint.endpoint_no, endpoint.channel_no
    async with context.app.work("endpoint.state") as work:
        if nonce and await nonces.use_nonces(work.db, [nonce]):
            raise NonceUsed(channel_no)
        there = (await store.lock_health(work.db, {number: channel_no}))[number]
        changed = ENDPOINT.allows(there.state, event)
        if changed:
            now = context.app.clock.now()
            after = endpoint_health.moved(there, event, f"{by}: {reason}", now)
            await store.write_health(work.db, [after])
            endpoint_notices.publish(work, Edge(event.value, after))
            await record_operation(work, by, f"endpoint.{event.value}", number, reason)
    (shown,) = await _shown(context, [endpoint])
    return shown, changed


async def test(
    context: Context, endpoint: NotifyEndpoint, channel: DownChannel, nonce: CallNonce | None
) -> Tested:
    """Send a test once; what came of it. Refuses NonceUsed."""
    if nonce:
        async with context.app.work("endpoint.test") as work:
            if await nonces.use_nonces(work.db, [nonce]):
                raise NonceUsed(channel.channel_no)
    clock = context.app.clock
    facts = {
        "event": TEST,
        "channel_no": channel.channel_no,
        "endpoint_no": endpoint.endpoint_no,
    }
    body = endpoint_events.body_of(TEST, facts, endpoint.body_version, clock.now())
    key = f"test_{context.app.ids.next()}"
    began = clock.monotonic()
    outcome = await endpoint_notices.posted(context, endpoint, channel, (key, body))
    took_ms = int((clock.monotonic() - began) * 1000)
    acknowledged = notify_words.acknowledged(outcome)
    status, answer = endpoint_health.masked(outcome)
    assert isinstance(outcome, Answered) or not status, "without an answer there is no status"
    return Tested(acknowledged, status, "" if acknowledged else answer, took_ms)


async def resend(
    context: Context, endpoint: NotifyEndpoint, ids: Sequence[int], by: str, nonce: CallNonce | None
) -> int:
    """Send again what was given up or skipped: these, or the oldest; how many. Refuses NonceUsed."""
    number, channel_no = endpoint.endpoint_no, endpoint.channel_no
    async with context.app.work("endpoint.resend") as work:
        if nonce and await nonces.use_nonces(work.db, [nonce]):
            raise NonceUsed(channel_no)
        found = await store.revive(work.db, number, ids, RESEND_MAX)
        for event_key, event, body, order_id in found:
            step = kinds.EndpointStep(number, channel_no, event_key, event, body.decode(), order_id)
            work.tasks.add(kinds.ENDPOINT, step, order_no=step.order_no)
        if found:
            await record_operation(work, by, "endpoint.resend", number, f"{len(found)} notifies")
    return len(found)


async def forget_forever(context: Context) -> None:
    """Delete what is older than it is kept, for ever; several processes share the work."""
    while True:
        async with context.app.work("endpoint.forget") as work:
            more = await store.forget(work.db, KEEP_DAYS)
        if not more:
            await asyncio.sleep(FORGET_S)
