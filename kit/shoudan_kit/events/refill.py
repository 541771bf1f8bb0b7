"""A stream that was lost is made again and filled from the outbox, as far back as that reaches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from shoudan.core.v1 import core_pb2
from shoudan_kit import log
from shoudan_kit.db.pool import Database
from shoudan_kit.db.text_statements import statement
from shoudan_kit.events.nats import Bus

LOOK_EVERY_S: Final = 10.0
BEHIND_S: Final = 60.0  # processes publish side by side, so the last message need not be the newest
ROWS_MAX: Final = 2_000  # in one statement

_NEWEST = statement("""
SELECT event.subject, newest.create_time
FROM (SELECT batch_id, event_ids, create_time, published FROM outbox
    ORDER BY batch_id DESC LIMIT :most) AS newest
JOIN event ON event.event_id = newest.event_ids[1]
WHERE newest.published ORDER BY newest.batch_id DESC LIMIT 1
""")
_AGAIN = statement("""
WITH lost AS (
    SELECT batch_id, create_time FROM outbox WHERE published AND batch_id > :after
    ORDER BY batch_id LIMIT :most
)
UPDATE outbox SET published = false FROM lost
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

    @property
    def looked(self) -> bool:
        """Whether there was a look; before it nothing is published, or the loss could not be seen."""
        return self._created is not None

    async def look(self) -> None:
        """One look. Raises what NATS or the database raise while they are away."""
        made, created = await self._bus.ensure()
        since: datetime | None = None
        if made or self._created not in {None, created}:
            since = _BEGINNING  # another stream of the same name has nothing of ours
        else:
            since = await self._missing_since()
        if since is not None:
            await self._owe_again(since)
        self._created = created

    async def _missing_since(self) -> datetime | None:
        """From when on events that were published are not in the stream; None when nothing is missing."""
        async with self._database.connect() as db:
            newest = (await db.execute(_NEWEST, {"most": ROWS_MAX})).one_or_none()
        if newest is None:
            return None
        data = await self._bus.last(".".join(newest.subject.split(".")[:3]) + ".>")
        if data is None:
            return _BEGINNING
        if self.looked:
            return None  # being behind is a matter of the start: a relayed old event may come last
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
