"""Raw pushes after the fact: tried again, checked byte for byte, forgotten when their time is over."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shoudan_erp_ingest.ingest import Ingest, Push, read
from shoudan_erp_ingest.refusals import FieldInvalid
from shoudan_erp_ingest.states import PushStatus
from shoudan_erp_ingest.store import pushes
from shoudan_erp_ingest.store.pushes import KeptPush
from shoudan_kit.clock import Clock
from shoudan_kit.db.pool import Database
from shoudan_kit.ids import EPOCH, TIME_SHIFT
from shoudan_kit.secrets.sealing import KeyRing, Unsealable
from shoudan_kit.tasks.unit_of_work import UnitOfWork, no_record

AT_ONCE = 100
REPROCESS_MAX = 10_000
CHECK_MAX = 1_000
FORGET_AT_ONCE = 1_000
ID_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Checked:
    """Whether one body is kept as it came."""

    push_id: int = 0
    stored: bool = False
    intact: bool = False


@dataclass(frozen=True)
class Quarantine:
    """Work on raw pushes that are kept already."""

    database: Database
    ingest: Ingest
    ring: KeyRing

    async def reprocess(
        self, ids: Sequence[int], record: Callable[[UnitOfWork], None] = no_record
    ) -> tuple[int, int]:
        """Read quarantined pushes again, all when no ids are given; (stored now, still quarantined).

        `record` is written in each transaction that stores those named by `ids`.
        """
        if len(ids) > CHECK_MAX:
            raise FieldInvalid("push_ids", f"at most {CHECK_MAX}")
        if ids:
            async with self.database.connect() as db:
                found = await pushes.read(db, ids)
            return await self._again(
                [p for p in found if p.status == PushStatus.QUARANTINED], record
            )
        stored = left = after = 0
        while stored + left < REPROCESS_MAX:
            async with self.database.connect() as db:
                found = await pushes.quarantined_after(db, after=after, most=AT_ONCE)
            if not found:
                break
            after = found[-1].push_id
            good, bad = await self._again(found)
            stored, left = stored + good, left + bad
        return stored, left

    async def _again(
        self, found: Sequence[KeptPush], record: Callable[[UnitOfWork], None] = no_record
    ) -> tuple[int, int]:
        readings = [
            read(Push(one.kind, one.sender, body, one.remote_ip))
            for one in found
            if (body := one.body(self.ring)) is not None
        ]
        await self.ingest.store(readings, record)
        stored = sum(reading.wrong is None for reading in readings)
        return stored, len(found) - stored

    async def page(self, before: int, size: int) -> Sequence[Any]:
        """Quarantined pushes below a number, newest first."""
        async with self.database.connect() as db:
            return await pushes.quarantined(db, before=before or ID_MAX, most=size)

    async def check(self, keys: Sequence[tuple[int, str, bytes]]) -> list[Checked]:
        """Whether these bodies (kind, sender, sha256) are kept and open to the very same bytes."""
        if len(keys) > CHECK_MAX:
            raise FieldInvalid("digests", f"at most {CHECK_MAX}")
        if not keys:
            return []
        async with self.database.connect() as db:
            found = await pushes.by_digest(db, keys)
        return [self._checked(found.get(key), key[2]) for key in keys]

    def _checked(self, push: KeptPush | None, sha256: bytes) -> Checked:
        if push is None:
            return Checked()
        try:
            body = push.body(self.ring)
        except Unsealable:
            body = None
        intact = body is not None and hashlib.sha256(body).digest() == sha256
        return Checked(push.push_id, push.status == PushStatus.STORED, intact)


@dataclass(frozen=True)
class Retention:
    """Deletes raw pushes that are older than they may be."""

    database: Database
    clock: Clock
    keep_days: int
    look_s: float

    async def run(self) -> None:
        """For ever."""
        while True:
            await self.clear()
            await asyncio.sleep(self.look_s)

    async def clear(self) -> int:
        """Delete what is too old now; how many."""
        before = first_id(self.clock.now() - timedelta(days=self.keep_days))
        gone = 0
        while True:
            async with self.database.begin() as db:
                some = await pushes.forget(db, before=before, most=FORGET_AT_ONCE)
            gone += some
            if some < FORGET_AT_ONCE:
                return gone


def first_id(moment: datetime) -> int:
    """The smallest id that can have been made at this moment; push numbers tell their age."""
    return (moment - EPOCH) // timedelta(milliseconds=1) << TIME_SHIFT
