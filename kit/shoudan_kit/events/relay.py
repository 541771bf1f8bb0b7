"""Publishes committed events: from memory right after the commit, from the outbox what stayed behind."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy.exc import DBAPIError

from shoudan.core.v1 import core_pb2
from shoudan_kit import log, metrics
from shoudan_kit.db.errors import describe
from shoudan_kit.db.pool import Database
from shoudan_kit.db.text_statements import statement
from shoudan_kit.events import refill
from shoudan_kit.events.nats import DOWN, MESSAGE_BYTES_MAX, Bus
from shoudan_kit.events.refill import Refill
from shoudan_kit.ids import first_of
from shoudan_kit.process.polling import until
from shoudan_kit.process.shutdown import cancel_all
from shoudan_kit.tasks import store
from shoudan_kit.tasks.rows import EventRow, EventRows

PACK_MAX: Final = 500  # events in one message
BACKLOG_MAX: Final = 2_000  # batches in memory; more are left to the relay
GATHER_S: Final = 0.05  # lets a few transactions share their messages and their marking
# Between two such: each message is written through to the server's disk, however little is in it.
REST_S: Final = 0.2
AT_ONCE: Final = 16  # messages that wait for their acknowledgements together
RELAY_S: Final = 2.0
RELAY_OLDER_S: Final = 10.0  # younger ones are still being published from memory
RELAY_MAX: Final = 20  # batches of one claim
CLAIM_S: Final = 15.0  # longer than it takes to publish them, or to find out that NATS is away
FORGET_MAX: Final = 200
FAILED_EVERY_S: Final = 5.0
KEEP_OUTBOX_S: Final = 7 * 86_400


_logger = log.get_logger("bus")


class _Failures:
    """What could not be published: the first is logged at once, the rest in one line per FAILED_EVERY_S."""

    def __init__(
        self,
        warn: Callable[..., Any] = _logger.warning,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._warn, self._now_s = warn, now_s
        self._batches = 0
        self._quiet_until = 0.0

    def note(self, batches: int, error: BaseException) -> None:
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
        claim_s: float = CLAIM_S,
        look_every_s: float = refill.LOOK_EVERY_S,
        shard: int = 0,
    ) -> None:
        """Every `scan_s` it looks for what stayed in the outbox for `older_s` and claims it for `claim_s`,
        every `look_every_s` for the stream itself."""
        self._bus, self._database, self._service = bus, database, service
        self._scan_s, self._older_s, self._claim_s = scan_s, older_s, claim_s
        self._look_every_s, self._shard = look_every_s, shard
        self._backlog: list[EventRows] = []
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
        await until(lambda: not (self._backlog and self._bus.connected), 2, every_s=0.02)
        await cancel_all(self._loops)

    def enqueue(self, batch: EventRows) -> None:
        """Publish a committed batch soon; beyond the bound it is left to the outbox."""
        if self._bus.configured and len(self._backlog) < BACKLOG_MAX:
            self._backlog.append(batch)
            self._ready.set()

    def wake(self, queues: Iterable[str]) -> None:
        """Hint that queues have due tasks."""
        self._bus.wake(queues, self._shard)

    async def _publish_forever(self) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            await asyncio.sleep(GATHER_S)
            batches = [*self._backlog]
            try:
                await self._publish(batches)
            except (*DOWN, DBAPIError) as error:  # the outbox has them
                self._failures.note(len(self._backlog), error)
                self._backlog.clear()
            except Exception:
                _logger.exception("publish_failed", batches=len(batches))
            del self._backlog[: len(batches)]  # only now: `stop` waits for them
            await asyncio.sleep(REST_S)

    async def _publish(self, batches: Sequence[EventRows]) -> None:
        """Publish batches packed by subject, then mark them; marked means acknowledged by JetStream."""
        if not self._refill.looked:
            raise ConnectionError("the stream has not been looked at yet")
        by_subject: dict[str, list[tuple[EventRow, Timestamp]]] = defaultdict(list)
        for batch in batches:
            stamp = Timestamp()
            stamp.FromDatetime(batch.time)
            for row in batch.events:
                by_subject[row.subject].append((row, stamp))
        messages = [
            (subject, *message)
            for subject, events in by_subject.items()
            for message in packed(self._service, events)
        ]
        for start in range(0, len(messages), AT_ONCE):
            # All end before the first error is raised: none is still under way when they come again.
            sent = [self._send(*one) for one in messages[start : start + AT_ONCE]]
            for done in await asyncio.gather(*sent, return_exceptions=True):
                if done is not None:
                    raise done
        async with self._database.begin() as db:
            await store.mark_published(db, [batch.batch_id for batch in batches])

    async def _send(self, subject: str, payload: bytes, message_id: str, count: int) -> None:
        await self._bus.publish(subject, payload, message_id)
        metrics.EVENTS_PUBLISHED_TOTAL(subject).inc(count)

    async def _relay_forever(self) -> None:
        """Re-publish what stayed unmarked: NATS was away, or a process died after its commit."""
        look_at = 0.0
        while True:
            await asyncio.sleep(self._scan_s)
            try:
                due = not self._refill.looked or time.monotonic() >= look_at
                if self._bus.connected and due:
                    await self._refill.look()
                    look_at = time.monotonic() + self._look_every_s
                while await self._relay_once() == RELAY_MAX:
                    pass
                await self._forget()
            except (*DOWN, DBAPIError) as error:
                _logger.warning("relay_waits", error=describe(error))
            except Exception:
                _logger.exception("relay_failed")

    async def _relay_once(self) -> int:
        """Publish some of what stayed behind, claimed so that no other replica publishes it, too."""
        async with self._database.connect() as db:
            age_s = await store.oldest_unpublished_s(db, older_s=self._older_s)
        metrics.OUTBOX_LAG_SECONDS().set(age_s)
        if not age_s or not self._bus.connected or not self._refill.looked:
            return 0
        async with self._database.begin() as db:
            behind = await store.claim_unpublished(
                db, older_s=self._older_s, claim_s=self._claim_s, most=RELAY_MAX
            )
            ids = [event_id for row in behind for event_id in row.event_ids]
            found = {row.event_id: row for row in await store.events_by_id(db, ids)}
        if behind:
            await self._publish_claimed([_again(row, found) for row in behind])
        return len(behind)

    async def _publish_claimed(self, batches: Sequence[EventRows]) -> None:
        try:
            await self._publish(batches)
        except (*DOWN, DBAPIError):
            with suppress(DBAPIError, OSError, TimeoutError):  # then the claim ends by itself
                async with self._database.begin() as db:
                    await store.release_unpublished(db, [one.batch_id for one in batches])
            raise

    async def _forget(self) -> None:
        async with self._database.begin() as db:
            now = (await db.execute(_NOW)).scalar_one()
            before = first_of(now - timedelta(seconds=KEEP_OUTBOX_S))
            await store.forget_published(db, before, FORGET_MAX)


_NOW = statement("SELECT shoudan_now()")


def _again(row: Any, found: dict[int, Any]) -> EventRows:
    events = [
        EventRow(e.event_id, e.subject, e.key, e.tag, e.text, e.body, e.trace)
        for e in (found[i] for i in row.event_ids if i in found)
    ]
    return EventRows(row.batch_id, row.create_time, events)


def packed(
    service: str, events: Sequence[tuple[EventRow, Timestamp]]
) -> Iterable[tuple[bytes, str, int]]:
    """Messages of at most PACK_MAX events and MESSAGE_BYTES_MAX bytes: payload, Nats-Msg-Id, how many."""
    start, size = 0, 0
    for i, (row, _) in enumerate(events):
        bytes_max = _bytes_max(row)
        full = i - start >= PACK_MAX or size + bytes_max > MESSAGE_BYTES_MAX - 1024
        if full and i > start:
            yield _message(service, events[start:i])
            start, size = i, 0
        size += bytes_max
    if start < len(events):
        yield _message(service, events[start:])


def _bytes_max(row: EventRow) -> int:
    """No event of the row takes more: texts at most four bytes a character, numbers and time 100."""
    texts = len(row.subject) + len(row.key) + len(row.tag) + len(row.text)
    return 100 + 4 * texts + len(row.body) + len(row.trace or "")


def _message(service: str, events: Sequence[tuple[EventRow, Timestamp]]) -> tuple[bytes, str, int]:
    batch = core_pb2.EventBatch()
    for row, stamp in events:
        # Made where it stays: an event of its own would be copied into the message.
        batch.events.add(
            event_id=row.event_id,
            subject=row.subject,
            key=row.key,
            time=stamp,
            tag=row.tag,
            text=row.text,
            body=row.body,
            trace=row.trace,
        )
    first, last = events[0][0].event_id, events[-1][0].event_id
    return batch.SerializeToString(), f"{service}-{first}-{last}-{len(events)}", len(events)
