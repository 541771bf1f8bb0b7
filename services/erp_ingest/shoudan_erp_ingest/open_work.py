"""What waits for a person at erp_ingest: pushes that could not be read, until they are read or forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

from shoudan.erp.v1 import events_pb2 as events
from shoudan_erp_ingest.quarantine import Quarantine
from shoudan_erp_ingest.refusals import FieldInvalid
from shoudan_erp_ingest.store import pushes
from shoudan_erp_ingest.tables.schema import TRADE
from shoudan_kit.ids import id_of
from shoudan_kit.service import App
from shoudan_kit.tasks.open_work import Count, Decision, DecisionEvents, Item

RETRY: Final = "retry"
DECIDED: Final = DecisionEvents("shoudan.events.erp.work.decided", events.WorkDecided)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Raw pushes, kept as they came; `shoudan erp` reads them, a release that can stores them."""

    app: App[Any]
    quarantine: Quarantine

    kind: str = "push"
    moves_money: ClassVar[bool] = False

    async def page(self, after: str, most: int) -> Sequence[Item]:
        """Those after this number; numbers are made in the order of time."""
        async with self.app.db.connect() as db:
            found = await pushes.waiting(db, after=_number(after), most=most)
        return [_item(row) for row in found]

    async def find(self, key: str) -> Item | None:
        """The one that waits under this number."""
        number = _number(key)
        if not number:
            return None
        async with self.app.db.connect() as db:
            found = await pushes.waiting(db, after=number - 1, most=1)
        return _item(found[0]) if found and found[0].push_id == number else None

    async def count(self, most: int) -> Count:
        """How many wait."""
        async with self.app.db.connect() as db:
            count, oldest = await pushes.count_waiting(db, most)
        return Count(count, oldest)

    async def decide(self, item: Item, decision: Decision) -> None:
        """Read it again. Refuses FieldInvalid when it cannot be read yet."""
        stored, _ = await self.quarantine.reprocess(
            [int(item.key)], lambda work: DECIDED.add(work, self.kind, item.key, decision)
        )
        if not stored:
            raise FieldInvalid("push", "still cannot be read")

    async def decided(self, key: str, asked: Decision) -> Decision | None:
        """By the event that was written with it."""
        return await DECIDED.last(self.app.db, self.kind, key)


def _item(row: Any) -> Item:
    noun = "trade" if row.kind == TRADE else "refund"
    since: datetime = row.create_time
    return Item(
        key=str(row.push_id),
        state="quarantined",
        reason=f"{row.place}: {row.why}",
        evidence=f"{noun} push of {row.sender}; shoudan erp raw {row.push_id}",
        decisions=(RETRY,),
        since=since,
    )


def _number(text: str) -> int:
    """The number, 0 for what is none."""
    return id_of(text) or 0
