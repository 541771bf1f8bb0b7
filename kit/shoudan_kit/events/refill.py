"""A stream that was lost is made again and filled from the outbox, as far back as that reaches."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from shoudan.core.v1 import core_pb2
from shoudan_kit import log
from shoudan_kit.db.pool import Database
from shoudan_kit.db.text_statements import statement
from shoudan_kit.events.nats import Ack, Bus, StreamState

LOOK_EVERY_S: Final = 10.0
BEHIND_S: Final = 60.0  # processes publish side by side, so the last message need not be the newest
ROWS_MAX: Final = 2_000  # in one statement
MARKS_MAX: Final = (
    1_000  # looks remembered; an older loss is refilled from the beginning of the outbox
)

_NEWEST = statement("""
SELECT event.subject, newest.create_time
FROM (SELECT batch_id, event_ids, create_time, published FROM outbox
    ORDER BY batch_id DESC LIMIT :most) AS newest
JOIN event ON event.event_id = newest.event_ids[1]
WHERE newest.published ORDER BY newest.batch_id DESC LIMIT 1
""")
_OLDEST_UNPUBLISHED = statement("""
SELECT create_time FROM outbox WHERE NOT published ORDER BY batch_id LIMIT 1
""")
_AGAIN = statement("""
WITH lost AS (
    SELECT batch_id, create_time FROM outbox WHERE published AND batch_id > :after
    ORDER BY batch_id LIMIT :most
)
UPDATE outbox SET published = false, claimed_until = NULL FROM lost
WHERE outbox.batch_id = lost.batch_id AND lost.create_time >= CAST(:since AS timestamptz)
RETURNING outbox.batch_id, outbox.create_time
""")
_LAST = statement("""
SELECT max(batch_id) FROM (
    SELECT batch_id FROM outbox WHERE published AND batch_id > :after ORDER BY batch_id LIMIT :most
) AS step
""")
_BEGINNING: Final = datetime.fromisoformat("2000-01-01T00:00:00+00:00")

_log = log.get_logger("refill")


class Refill:
    """Checks that the stream still has what was published; marks it unpublished when it has not."""

    def __init__(self, bus: Bus, database: Database) -> None:
        self._bus, self._database = bus, database
        self._created: str | None = None
        self._disconnects = 0
        # Our last message at each look, and since when batches were published after it.
        self._marks: deque[tuple[Ack, datetime]] = deque(maxlen=MARKS_MAX)

    @property
    def looked(self) -> bool:
        """Whether there was a look over this connection; before it nothing is published, or the loss could
        not be seen."""
        return self._created is not None and self._disconnects == self._bus.disconnects

    async def look(self) -> None:
        """One look. Raises what NATS or the database raise while they are away."""
        disconnects = self._bus.disconnects
        newest, mark = await self._published()
        last = (
            self._bus.last_ack
        )  # read after the database: what is not part of it is unpublished there
        stream = await self._bus.ensure()
        since: datetime | None = None
        if stream.made or self._created not in {None, stream.created}:
            since = _BEGINNING  # another stream of the same name has nothing of ours
        else:
            since = await self._lost_since(stream, last) or await self._missing_since(newest)
        if since is not None:
            await self._owe_again(since)
            self._marks.clear()
            if self._bus.last_ack == last:
                self._bus.last_ack = None
        elif last is not None and mark is not None:
            if self._marks and self._marks[-1][0] == last:
                self._marks.pop()
            self._marks.append((last, mark))
        self._created, self._disconnects = stream.created, disconnects

    async def _published(self) -> tuple[Any, datetime | None]:
        """The newest batch that was published; what is published later is not older than the time given."""
        async with self._database.connect() as db:
            newest = (await db.execute(_NEWEST, {"most": ROWS_MAX})).one_or_none()
            oldest = (await db.execute(_OLDEST_UNPUBLISHED)).scalar_one_or_none()
        if newest is None:
            return None, None
        mark: datetime = newest.create_time - timedelta(seconds=BEHIND_S)
        return newest, mark if oldest is None else min(mark, oldest)

    async def _lost_since(self, stream: StreamState, last: Ack | None) -> datetime | None:
        """From when on our messages are lost, when the stream went back to an earlier state: it was
        restored, or a replica took over that had not got them. None when it holds the last ones."""
        known = ([last] if last else []) + [ack for ack, _ in list(self._marks)[-1:]]
        if all([await self._bus.holds(ack, stream) for ack in known]):
            return None
        for ack, mark in reversed(self._marks):
            if await self._bus.holds(ack, stream):
                return mark
        return _BEGINNING

    async def _missing_since(self, newest: Any) -> datetime | None:
        """From when on events that were published are not in the stream; None when nothing is missing."""
        if newest is None:
            return None
        data = await self._bus.last(".".join(newest.subject.split(".")[:3]) + ".>")
        if data is None:
            return _BEGINNING
        if self._created is not None:
            return (
                None  # by age only at the start, without an ack: a relayed old event may come last
            )
        events = core_pb2.EventBatch.FromString(data).events
        reached = max((one.time.ToDatetime(UTC) for one in events), default=_BEGINNING)
        behind = newest.create_time - reached > timedelta(seconds=BEHIND_S)
        return reached if behind else None

    async def _owe_again(self, since: datetime) -> None:
        after, count, oldest = 0, 0, None
        while True:
            async with self._database.begin() as db:
                step = {"after": after, "most": ROWS_MAX}
                last = (await db.execute(_LAST, step)).scalar_one()
                if last is None:
                    break
                rows = (await db.execute(_AGAIN, {**step, "since": since})).all()
            count += len(rows)
            oldest = min(
                [row.create_time for row in rows] + ([oldest] if oldest else []), default=None
            )
            after = last
        # What was published before that is gone from the outbox: `shoudan` cannot bring it back by itself.
        _log.error("stream_lost", batches=count, refilled_since=oldest, missing_since=since)
