"""The bus: NATS for events (JetStream) and wake-ups (core). Nothing that moves money waits for it."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, cast

import nats
from google.protobuf.timestamp_pb2 import Timestamp
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError
from sqlalchemy.exc import DBAPIError

from shoudan.core.v1 import core_pb2
from shoudan_kit import log, metrics
from shoudan_kit.db.errors import describe
from shoudan_kit.db.pool import Database, statement
from shoudan_kit.events import refill
from shoudan_kit.events.refill import Refill
from shoudan_kit.ids import first_of
from shoudan_kit.process.shutdown import bounded, cancel_all
from shoudan_kit.tasks import store
from shoudan_kit.tasks.unit_of_work import EventRow, EventRows

STREAM: Final = "SHOUDAN_EVENTS"
SUBJECTS: Final = "shoudan.events.>"
WAKE: Final = "shoudan.task."

DEDUPE_S: Final = 3_600
STREAM_AGE_S: Final = 14 * 86_400
STREAM_BYTES: Final = 8 * 2**30
MESSAGE_BYTES_MAX: Final = 256 * 1024
PACK_MAX: Final = 500  # events in one message
BACKLOG_MAX: Final = 2_000  # batches in memory; more are left to the relay
GATHER_S: Final = 0.05  # lets a few transactions share their messages and their marking
RELAY_S: Final = 2.0
RELAY_OLDER_S: Final = 10.0  # younger ones are still being published from memory
RELAY_MAX: Final = 200
ACK_S: Final = 5.0
CLOSE_S: Final = 2.0
FAILED_EVERY_S: Final = 5.0
KEEP_OUTBOX_S: Final = 7 * 86_400

_log = log.get_logger("bus")

_connect = cast("Any", nats).connect  # nats-py types its options partially
_DOWN = (NatsError, OSError, TimeoutError, asyncio.TimeoutError)


class Bus:
    """One connection to NATS, kept for ever: while NATS is away the outbox grows and nothing else happens."""

    def __init__(
        self, servers: str | Sequence[str] | None, service: str, replicas: int = 1
    ) -> None:
        url = [servers] if isinstance(servers, str) else list(servers or ()) or None
        self._url, self._service, self._replicas = url, service, replicas
        self._nats: Client | None = None
        self._js: JetStreamContext | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._subscriptions: list[tuple[str, Callable[[str], None]]] = []
        self._hints: set[asyncio.Future[None]] = set()

    @property
    def configured(self) -> bool:
        """Whether there is a NATS to publish to at all."""
        return self._url is not None

    @property
    def connected(self) -> bool:
        """Whether NATS is there now."""
        return self._nats is not None and self._nats.is_connected

    def start(self) -> None:
        """Begin to connect; nobody waits for it."""
        if self._url is not None:
            self._connecting = asyncio.create_task(self._connect(), name="nats connect")

    async def close(self) -> None:
        """Flush what was sent and leave."""
        if self._connecting is not None:
            await cancel_all([self._connecting])
        if self._nats is not None:
            with suppress(*_DOWN):
                async with asyncio.timeout(2):
                    await self._nats.flush()
            await bounded("nats", self._nats.close(), CLOSE_S)

    def on_wake(self, queues: Iterable[str] | None, wake: Callable[[], None]) -> None:
        """Call `wake` when somebody has made a task for one of `queues` (None: any)."""
        for queue in queues or [">"]:
            self._subscriptions.append((WAKE + _token(queue), lambda _: wake()))

    def wake(self, queues: Iterable[str]) -> None:
        """Tell whoever serves these queues. A lost hint costs one scan interval."""
        if self._nats is None or not self._nats.is_connected:
            return
        for queue in queues:
            hint = asyncio.ensure_future(self._hint(WAKE + _token(queue)))
            self._hints.add(hint)
            hint.add_done_callback(self._hints.discard)

    async def publish(self, subject: str, payload: bytes, message_id: str) -> None:
        """Publish to JetStream and wait until it is on disk. Raises NatsError, OSError or TimeoutError."""
        if self._js is None:
            raise ConnectionError("NATS is not connected yet")
        await self._js.publish(subject, payload, timeout=ACK_S, headers={"Nats-Msg-Id": message_id})

    async def ensure(self) -> tuple[bool, str]:
        """Make the stream if it is missing; whether it was, and when it was made, which identifies it."""
        if self._js is None:
            raise ConnectionError("NATS is not connected yet")
        return await ensure_stream(self._js, self._replicas)

    async def last(self, subject: str) -> bytes | None:
        """The last message of a subject in the stream, None without any."""
        if self._js is None:
            raise ConnectionError("NATS is not connected yet")
        try:
            found = await cast("Any", self._js).get_last_msg(STREAM, subject)
        except NotFoundError:
            return None
        return cast("bytes", found.data or b"")

    async def consume(
        self,
        durable: str,
        subject: str,
        handle: Callable[[Sequence[core_pb2.Event]], Awaitable[None]],
    ) -> None:
        """Hand every event of `subject` to `handle`, at least once, until cancelled."""
        config = ConsumerConfig(
            ack_policy=AckPolicy.EXPLICIT, ack_wait=30, max_ack_pending=256, max_deliver=20
        )
        while True:
            try:
                if self._js is None:
                    raise ConnectionError("NATS is not connected yet")
                pull = await self._js.pull_subscribe(subject, durable, STREAM, config=config)
                while True:
                    await self._consume_some(pull, handle)
            except _DOWN as error:
                _log.warning("consumer_waits", durable=durable, error=describe(error))
                await asyncio.sleep(1)

    async def _consume_some(
        self, pull: Any, handle: Callable[[Sequence[core_pb2.Event]], Awaitable[None]]
    ) -> None:
        try:
            messages = await pull.fetch(20, timeout=5)
        except TimeoutError:
            return  # nothing came
        for message in messages:
            await handle(core_pb2.EventBatch.FromString(message.data).events)
            await message.ack()

    async def _hint(self, subject: str) -> None:
        with suppress(*_DOWN):
            if self._nats is not None:
                await self._nats.publish(subject, b"")

    async def _connect(self) -> None:
        assert self._url is not None
        while True:
            try:
                self._nats = await _connect(
                    self._url,
                    name=self._service,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.5,
                    ping_interval=10,
                    max_outstanding_pings=2,
                    connect_timeout=2,
                    allow_reconnect=True,
                    error_cb=_on_error,
                    reconnected_cb=self._on_reconnect,
                )
                break
            except _DOWN as error:
                _log.warning("nats_waits", error=describe(error))
                await asyncio.sleep(1)
        client = cast("Any", self._nats)
        for subject, call in self._subscriptions:
            await client.subscribe(subject, cb=_calling(call))
        js: JetStreamContext = client.jetstream(timeout=ACK_S)
        while True:
            try:
                await ensure_stream(js, self._replicas)
                break
            except _DOWN as error:
                _log.warning("stream_waits", error=describe(error))
                await asyncio.sleep(1)
        self._js = js

    async def _on_reconnect(self) -> None:
        """A server that lost its store gets its stream again."""
        if self._js is not None:
            with suppress(*_DOWN):
                await ensure_stream(self._js, self._replicas)


async def ensure_stream(js: JetStreamContext, replicas: int) -> tuple[bool, str]:
    """Make the stream if it is missing; one that exists keeps the operators' settings.

    Gives whether it was missing, and when it was made.
    """
    made, info = False, cast("Any", None)
    try:
        info = await js.stream_info(STREAM)
    except NotFoundError:
        made = True
        info = await cast("Any", js).add_stream(
            StreamConfig(
                name=STREAM,
                subjects=[SUBJECTS],
                retention=RetentionPolicy.LIMITS,
                storage=StorageType.FILE,
                discard=DiscardPolicy.NEW,
                max_age=STREAM_AGE_S,
                max_bytes=STREAM_BYTES,
                max_msg_size=MESSAGE_BYTES_MAX,
                duplicate_window=DEDUPE_S,
                deny_delete=True,
                deny_purge=True,
                num_replicas=replicas,
            )
        )
    return made, str(info.created)


def _token(queue: str) -> str:
    """A queue name as the end of a subject: oms:order:pay is oms.order.pay."""
    return queue.replace(":", ".").replace(" ", "_")


def _calling(call: Callable[[str], None]) -> Callable[[Any], Awaitable[None]]:
    async def called(message: Any) -> None:
        call(message.subject)

    return called


async def _on_error(error: Exception) -> None:
    _log.warning("nats_error", error=describe(error))


class _Failures:
    """What could not be published: the first is told at once, the rest in one line per FAILED_EVERY_S."""

    def __init__(
        self, warn: Callable[..., Any] = _log.warning, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._warn, self._now_s = warn, now_s
        self._batches = 0
        self._quiet_until = 0.0

    def tell(self, batches: int, error: BaseException) -> None:
        """Count these batches and say so, unless something was said a moment ago."""
        self._batches += batches
        if self._now_s() < self._quiet_until:
            return
        self._warn("publish_failed", batches=self._batches, error=describe(error))
        self._batches, self._quiet_until = 0, self._now_s() + FAILED_EVERY_S


class Relay:
    """Publishes committed events: from memory right after the commit, from the outbox what stayed behind."""

    def __init__(
        self,
        bus: Bus,
        database: Database,
        service: str,
        *,
        scan_s: float = RELAY_S,
        older_s: float = RELAY_OLDER_S,
        look_every_s: float = refill.LOOK_EVERY_S,
    ) -> None:
        """Every `scan_s` it looks for what stayed in the outbox for `older_s`, every `look_every_s` for the
        stream itself."""
        self._bus, self._database, self._service = bus, database, service
        self._scan_s, self._older_s, self._look_every_s = scan_s, older_s, look_every_s
        self._backlog: deque[EventRows] = deque()
        self._ready = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._failures = _Failures()
        self._refill = Refill(bus, database)

    def start(self) -> None:
        """Begin to publish."""
        self._loops = [
            asyncio.create_task(self._publish_forever(), name="relay publish"),
            asyncio.create_task(self._relay_forever(), name="relay catch up"),
        ]

    async def stop(self) -> None:
        """Publish what is in memory for a moment; the rest is in the outbox."""
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                while self._backlog and self._bus.connected:  # noqa: ASYNC110 - once, at the end
                    await asyncio.sleep(0.02)
        await cancel_all(self._loops)

    def offer(self, batch: EventRows) -> None:
        """Publish a committed batch soon; beyond the bound it is left to the outbox."""
        if self._bus.configured and len(self._backlog) < BACKLOG_MAX:
            self._backlog.append(batch)
            self._ready.set()

    def wake(self, queues: Iterable[str]) -> None:
        """Hint that queues have due tasks."""
        self._bus.wake(queues)

    async def _publish_forever(self) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            await asyncio.sleep(GATHER_S)
            while self._backlog:
                batches = [self._backlog.popleft() for _ in range(min(50, len(self._backlog)))]
                try:
                    await self._publish(batches)
                except (*_DOWN, DBAPIError) as error:  # the outbox has them
                    self._failures.tell(len(batches) + len(self._backlog), error)
                    self._backlog.clear()
                except Exception:  # noqa: BLE001 - the relay goes on, the outbox has them
                    _log.error("publish_failed", batches=len(batches), exc_info=True)

    async def _publish(self, batches: Sequence[EventRows]) -> None:
        """Publish batches packed by subject, then mark them; marked means acknowledged by JetStream."""
        if not self._refill.looked:
            raise ConnectionError("the stream has not been looked at yet")
        by_subject: dict[str, list[core_pb2.Event]] = defaultdict(list)
        for batch in batches:
            stamp = Timestamp()
            stamp.FromDatetime(batch.time)
            for row in batch.events:
                by_subject[row.subject].append(_event(row, stamp))
        for subject, events in by_subject.items():
            for payload, message_id, count in packed(self._service, events):
                await self._bus.publish(subject, payload, message_id)
                metrics.EVENTS_PUBLISHED_TOTAL(subject).inc(count)
        async with self._database.begin() as db:
            await store.mark_published(db, [batch.batch_id for batch in batches])

    async def _relay_forever(self) -> None:
        """Re-publish what stayed unmarked: NATS was away, or a process died after its commit."""
        look_at = 0.0
        while True:
            await asyncio.sleep(self._scan_s)
            try:
                if self._bus.connected and time.monotonic() >= look_at:
                    await self._refill.look()
                    look_at = time.monotonic() + self._look_every_s
                while await self._relay_once() == RELAY_MAX:
                    pass
                await self._forget()
            except (*_DOWN, DBAPIError) as error:
                _log.warning("relay_waits", error=describe(error))
            except Exception:  # noqa: BLE001 - without the relay events stay behind for ever
                _log.error("relay_failed", exc_info=True)

    async def _relay_once(self) -> int:
        async with self._database.connect() as db:
            left = await store.unpublished(db, older_s=self._older_s, most=RELAY_MAX)
            if left:
                age = (await db.execute(_AGE, {"since": left[0].create_time})).scalar_one()
                metrics.OUTBOX_LAG_SECONDS().set(age)
            else:
                metrics.OUTBOX_LAG_SECONDS().set(0)
            if not left or not self._bus.connected:
                return 0
            for start in range(0, len(left), 20):
                some = left[start : start + 20]
                rows = await store.events_by_id(db, [i for row in some for i in row.event_ids])
                found = {row.event_id: row for row in rows}
                await self._publish([_again(row, found) for row in some])
        return len(left)

    async def _forget(self) -> None:
        async with self._database.begin() as db:
            now = (await db.execute(_NOW)).scalar_one()
            before = first_of(now - timedelta(seconds=KEEP_OUTBOX_S))
            await store.forget_published(db, before, RELAY_MAX)


_AGE = statement("SELECT extract(epoch FROM shoudan_now() - CAST(:since AS timestamptz))")
_NOW = statement("SELECT shoudan_now()")


def _again(row: Any, found: dict[int, Any]) -> EventRows:
    events = [
        EventRow(e.event_id, e.subject, e.key, e.tag, e.text, e.body)
        for e in (found[i] for i in row.event_ids if i in found)
    ]
    return EventRows(row.batch_id, row.create_time, events)


def _event(row: EventRow, time: Timestamp) -> core_pb2.Event:
    return core_pb2.Event(
        event_id=row.event_id,
        subject=row.subject,
        key=row.key,
        time=time,
        tag=row.tag,
        text=row.text,
        body=row.body,
    )


def packed(service: str, events: Sequence[core_pb2.Event]) -> Iterable[tuple[bytes, str, int]]:
    """Messages of at most PACK_MAX events and MESSAGE_BYTES_MAX bytes: payload, Nats-Msg-Id, how many."""
    start, size = 0, 0
    for i, event in enumerate(events):
        size += event.ByteSize() + 8
        full = i - start >= PACK_MAX or size > MESSAGE_BYTES_MAX - 1024
        if full and i > start:
            yield _message(service, events[start:i])
            start, size = i, event.ByteSize() + 8
    if start < len(events):
        yield _message(service, events[start:])


def _message(service: str, events: Sequence[core_pb2.Event]) -> tuple[bytes, str, int]:
    batch = core_pb2.EventBatch(events=events)
    message_id = f"{service}-{events[0].event_id}-{events[-1].event_id}-{len(events)}"
    return batch.SerializeToString(), message_id, len(events)
