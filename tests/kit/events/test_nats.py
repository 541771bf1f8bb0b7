"""Every committed event reaches JetStream, whatever happens to NATS or to the process in between."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nats as nats_client
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import StringValue
from nats.js.errors import NotFoundError
from sqlalchemy import text

from shoudan.core.v1 import core_pb2
from shoudan_kit.embedded import Nats
from shoudan_kit.events import nats as events_nats
from shoudan_kit.events import relay as events_relay
from shoudan_kit.events.nats import STREAM, Bus
from shoudan_kit.events.relay import Relay, packed
from shoudan_kit.tasks import store
from shoudan_kit.tasks.rows import EventRow
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from tests.poll import eventually

STAMP = Timestamp(seconds=1_800_000_000)
QUICK = {"scan_s": 0.1, "older_s": 0.2, "look_every_s": 0.2}


async def publish(database, ids, relay, keys, subject="shoudan.events.t.thing.made"):
    async with UnitOfWork(database, ids, None, relay) as work:
        for key in keys:
            work.events.add(subject, key=key, body=StringValue(value=key), tag="下单", text="x")


async def stored(url: str) -> list[core_pb2.Event]:
    """Every event in the stream, read back by a consumer of its own."""
    client = await nats_client.connect(url)
    try:
        js = client.jetstream()
        count = (await js.stream_info(STREAM)).state.messages
        pull = await js.pull_subscribe("shoudan.events.>", stream=STREAM)
        found: list[core_pb2.Event] = []
        for _ in range(count):
            message = (await pull.fetch(1, timeout=2))[0]
            found += core_pb2.EventBatch.FromString(message.data).events
        return found
    finally:
        await client.close()


async def unpublished(database) -> int:
    async with database.connect() as db:
        found = await db.execute(text("SELECT count(*) FROM outbox WHERE NOT published"))
        return found.scalar_one()


async def unpublished_is(database, count: int) -> bool:
    return await unpublished(database) == count


async def are_stored(url: str, *keys: str) -> bool:
    """Whether the stream has these events; not while there is no stream."""
    try:
        return set(keys) <= {e.key for e in await stored(url)}
    except NotFoundError:
        return False


async def delete_stream(url: str) -> None:
    client = await nats_client.connect(url)
    await client.jetstream().delete_stream(STREAM)
    await client.close()


@pytest.fixture
async def relay(database, nats):
    await nats.restart()
    made_bus = Bus(nats.url, "test")
    made = Relay(made_bus, database, "test", **QUICK)
    made_bus.start()
    made.start()
    yield made
    await made.stop()
    await made_bus.close()


async def test_committed_events_are_published_and_marked(database, ids, nats, relay):
    keys = [f"marked-{n}" for n in range(300)]
    for start in range(0, 300, 30):
        await publish(database, ids, relay, keys[start : start + 30])

    async def done():
        return await unpublished(database) == 0

    await eventually(done)
    ours = [e for e in await stored(nats.url) if e.key.startswith("marked-")]
    assert sorted(e.key for e in ours) == sorted(keys)
    assert len({e.event_id for e in ours}) == 300
    assert (ours[0].tag, StringValue.FromString(ours[0].body).value) == ("下单", ours[0].key)


async def test_events_of_a_process_that_died_after_its_commit_follow(database, ids, nats, relay):
    await publish(database, ids, None, ["b1", "b2"])  # nobody was told

    await eventually(lambda: are_stored(nats.url, "b1", "b2"), within_s=20)


async def test_with_nats_away_nothing_waits_and_events_follow(database, ids, nats, relay):
    await nats.kill()
    await publish(database, ids, relay, ["c1"])  # returns: NATS is on nobody's way
    assert await unpublished(database) == 1
    await nats.launch()

    await eventually(lambda: are_stored(nats.url, "c1"), within_s=30)


async def test_a_stream_that_disappears_is_made_again_and_refilled(database, ids, nats, relay):
    """The connections stay; only the stream is gone."""
    await publish(database, ids, relay, ["d1", "d2"], "shoudan.events.lost.thing.made")

    await eventually(lambda: are_stored(nats.url, "d1", "d2"))
    await eventually(lambda: unpublished_is(database, 0))
    await delete_stream(nats.url)
    await publish(database, ids, relay, ["d3"], "shoudan.events.lost.thing.made")
    await eventually(lambda: are_stored(nats.url, "d1", "d2", "d3"), 30)
    await eventually(lambda: unpublished_is(database, 0))


async def test_a_stream_found_empty_at_the_start_is_refilled(
    database, ids, nats, relay, monkeypatch
):
    await publish(database, ids, relay, ["e1"], "shoudan.events.empty.thing.made")
    await eventually(lambda: unpublished_is(database, 0))
    await relay.stop()
    await delete_stream(nats.url)
    client = await nats_client.connect(nats.url)
    assert (await events_nats.ensure_stream(client.jetstream(), 1)).made  # another service made it
    await client.close()
    second_bus = Bus(nats.url, "test")
    second = Relay(second_bus, database, "test")
    second_bus.start()
    second.start()

    async def there() -> bool:
        return "e1" in {e.key for e in await stored(nats.url)}

    await eventually(there, 30)
    await second.stop()
    await second_bus.close()


async def restored(nats: Nats, backup: Path, above: Sequence[core_pb2.Event] = ()) -> None:
    """The server with the stream of the backup, and with what others published above it meanwhile."""
    async with await Nats.start(backup) as other:
        client = await nats_client.connect(other.url)
        await events_nats.ensure_stream(client.jetstream(), 1)
        for event in above:
            body = core_pb2.EventBatch(events=[event]).SerializeToString()
            await client.jetstream().publish(event.subject, body)
        await client.close()
    store = nats.home.path / "store"
    await nats.stop()
    shutil.rmtree(store)
    shutil.copytree(backup / "store", store)
    await nats.launch()


async def backed_up(nats: Nats, backup: Path) -> None:
    await nats.stop()
    shutil.copytree(nats.home.path / "store", backup / "store")
    await nats.launch()


@pytest.mark.parametrize("above", [0, 20])
async def test_a_stream_that_goes_back_while_we_run_is_refilled(
    database, ids, nats, relay, tmp_path, above
):
    """Its last messages are lost; those of others may have taken their places."""

    async def there(*keys: str) -> bool:
        return set(keys) <= {e.key for e in await stored(nats.url)}

    subject = "shoudan.events.back.thing.made"
    await publish(database, ids, relay, ["g1"], subject)
    await eventually(lambda: unpublished_is(database, 0), 20)
    await backed_up(nats, tmp_path)
    await publish(database, ids, relay, ["g2", "g3"], subject)
    await eventually(lambda: unpublished_is(database, 0), 20)
    assert await there("g1", "g2", "g3")
    other = core_pb2.Event(subject="shoudan.events.other.thing.made", time=STAMP)
    await restored(nats, tmp_path, [other] * above)
    await eventually(lambda: there("g1", "g2", "g3"), 30)
    await eventually(lambda: unpublished_is(database, 0))


async def test_a_stream_found_behind_at_the_start_is_refilled(database, ids, nats, relay, tmp_path):
    subject = "shoudan.events.behind.thing.made"
    await publish(database, ids, relay, ["h1", "h2"], subject)
    await eventually(lambda: unpublished_is(database, 0), 20)
    await relay.stop()
    old = core_pb2.Event(subject=subject, key="h0", time=Timestamp(seconds=int(time.time()) - 600))
    await restored(nats, tmp_path, [old])
    second_bus = Bus(nats.url, "test")
    second = Relay(second_bus, database, "test", **QUICK)
    second_bus.start()
    second.start()

    async def there() -> bool:
        return {"h0", "h1", "h2"} <= {e.key for e in await stored(nats.url)}

    assert not await there()
    await eventually(there, 30)
    await second.stop()
    await second_bus.close()


def test_messages_stay_below_the_stream_limit():
    events = [(EventRow(n, "事" * 40, "", "", "词" * 60, b"x" * 1000), STAMP) for n in range(2000)]
    messages = list(packed("t", events))
    held = [core_pb2.EventBatch.FromString(payload).events for payload, _, _ in messages]
    assert [event.event_id for batch in held for event in batch] == list(range(2000))
    assert sum(count for _, _, count in messages) == 2000
    assert max(len(payload) for payload, _, _ in messages) <= events_nats.MESSAGE_BYTES_MAX
    assert len({message_id for _, message_id, _ in messages}) == len(messages)


def test_what_cannot_be_published_is_told_at_once_and_then_seldom():
    lines, seconds = [], itertools.chain([0.0] * 100, itertools.repeat(events_relay.FAILED_EVERY_S))

    def warn(event: str, **facts: Any) -> None:
        lines.append((event, facts["batches"]))

    failures = events_relay._Failures(warn, lambda: next(seconds))
    for _ in range(200):
        failures.note(2, ConnectionError())
    assert [event for event, _ in lines] == ["publish_failed"] * 2
    assert lines[0][1] == 2
    assert lines[1][1] > 100


class CountingBus(Bus):
    """Counts the events it was given to publish, by key."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "test")
        self.given: list[str] = []

    async def publish(self, subject: str, payload: bytes, message_id: str) -> None:
        self.given += [one.key for one in core_pb2.EventBatch.FromString(payload).events]
        await super().publish(subject, payload, message_id)


async def test_what_stayed_behind_is_published_by_one_replica_alone(database, ids, nats):
    keys = [f"claimed-{n}" for n in range(200)]
    for key in keys:  # a batch each
        await publish(database, ids, None, [key])
    buses = [CountingBus(nats.url) for _ in range(2)]
    relays = [Relay(bus, database, "test", **QUICK) for bus in buses]
    for bus, relay in zip(buses, relays, strict=True):
        bus.start()
        relay.start()
    await eventually(lambda: unpublished_is(database, 0), 30)
    for bus, relay in zip(buses, relays, strict=True):
        await relay.stop()
        await bus.close()
    assert sorted(buses[0].given + buses[1].given) == sorted(keys)


async def test_what_a_killed_replica_had_claimed_is_published_by_another(
    database, ids, nats, relay
):
    await publish(database, ids, None, ["left-1", "left-2"])
    async with database.begin() as db:
        claimed = await store.claim_unpublished(db, older_s=0, claim_s=1.5, most=20)
    assert len(claimed) == 1
    assert await unpublished(database) == 1
    began = time.monotonic()
    await eventually(lambda: unpublished_is(database, 0), 30)
    assert time.monotonic() - began > 1


async def test_a_hint_wakes_the_workers_of_its_shard_alone(nats):
    woken: list[int] = []
    listener, speaker = Bus(nats.url, "test"), Bus(nats.url, "test")
    listener.on_wake(None, lambda: woken.append(0))
    listener.on_wake(["other:queue"], lambda: woken.append(4), 3)
    for one in (listener, speaker):
        one.start()
        await eventually(lambda one=one: one.connected and one._subscribed)
    listener.on_wake(["a:b"], lambda: woken.append(3), 3)  # a shard that was opened later

    def hinted(shard: int) -> bool:
        speaker.wake(["a:b"], shard)
        return shard in woken

    await eventually(lambda: hinted(3))
    assert set(woken) == {3}
    await eventually(lambda: hinted(0))
    assert set(woken) == {0, 3}
    for one in (listener, speaker):
        await one.close()
