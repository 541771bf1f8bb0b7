"""Raw pushes: kept sealed, known by the digest of their exact bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_erp_ingest.states import PushStatus
from shoudan_erp_ingest.tables.schema import push
from shoudan_kit.db.columns import Rows, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_kit.secrets.sealing import KeyRing


@dataclass(frozen=True, slots=True)
class NewPush:
    """A push about to be kept."""

    push_id: int
    kind: int
    sender: str
    sha256: bytes
    size: int
    body: bytes
    status: int
    place: str | None
    why: str | None
    remote_ip: str


@dataclass(frozen=True, slots=True)
class KeptPush:
    """A push as it is kept."""

    push_id: int
    kind: int
    sender: str
    status: int
    sealed: bytes | None
    remote_ip: str

    def body(self, ring: KeyRing) -> bytes | None:
        """Its exact bytes; None after an erasure."""
        return None if self.sealed is None else ring.open("push", self.push_id, self.sealed)


_NEW = types(
    push,
    *(
        "push_id",
        "kind",
        "sender",
        "sha256",
        "size",
        "sealed",
        "status",
        "place",
        "why",
        "remote_ip",
    ),
)
_KEY = types(push, "kind", "sender", "sha256")
_VERDICT = types(push, "push_id", "status", "place", "why")
_KEPT = Rows(KeptPush)
# Equal bytes of one sender are one push: a repeat writes nothing.
_INSERT = statement(f"""
INSERT INTO push ({", ".join(_NEW)}, create_time)
SELECT {", ".join(_NEW)}, shoudan_now() FROM {unnest(**_NEW)}
ON CONFLICT (kind, sender, sha256) WHERE sha256 IS NOT NULL DO NOTHING
RETURNING push_id
""")
_KNOWN = statement(f"""
SELECT push.push_id, push.kind, push.sender, push.sha256, push.status
FROM push JOIN {unnest(**_KEY)}
    ON push.kind = given.kind AND push.sender = given.sender AND push.sha256 = given.sha256
""")
_SETTLE = statement(f"""
UPDATE push SET status = given.status, place = given.place, why = given.why
FROM {unnest(**_VERDICT)}
WHERE push.push_id = given.push_id
""")
_READ = statement(f"""
SELECT {_KEPT.of()} FROM push
WHERE push_id = ANY(CAST(:ids AS bigint[])) ORDER BY push_id
""")
_INTACT = statement(f"""
SELECT push.push_id, push.kind, push.sender, push.sha256, push.status, push.sealed
FROM push JOIN {unnest(**_KEY)}
    ON push.kind = given.kind AND push.sender = given.sender AND push.sha256 = given.sha256
""")
_IN_QUARANTINE = f"status = {PushStatus.QUARANTINED}"
_QUARANTINED = statement(f"""
SELECT push_id, kind, sender, place, why, create_time FROM push
WHERE {_IN_QUARANTINE} AND push_id < :before ORDER BY push_id DESC LIMIT :most
""")
_WAITING = statement(f"""
SELECT push_id, kind, sender, place, why, create_time FROM push
WHERE {_IN_QUARANTINE} AND push_id > :after ORDER BY push_id LIMIT :most
""")
_COUNT_WAITING = statement(f"""
SELECT count(*), min(w.create_time)
FROM (SELECT create_time FROM push WHERE {_IN_QUARANTINE} ORDER BY push_id LIMIT :most) w
""")
_QUARANTINED_AFTER = statement(f"""
SELECT {_KEPT.of()} FROM push
WHERE {_IN_QUARANTINE} AND push_id > :after AND sealed IS NOT NULL ORDER BY push_id LIMIT :most
""")
_FORGET = statement("""
WITH old AS (SELECT push_id FROM push WHERE push_id < :before ORDER BY push_id LIMIT :most),
     unindexed AS (
        DELETE FROM phone_index
        WHERE kind = 3 AND document_id = ANY(ARRAY(SELECT push_id FROM old))
     )
DELETE FROM push USING old WHERE push.push_id = old.push_id
""")


async def insert(
    db: AsyncConnection, ring: KeyRing, pushes: Sequence[NewPush]
) -> dict[tuple[int, str, bytes], tuple[int, int]]:
    """Keep pushes; for each (kind, sender, sha256) the number and status it is kept under.

    A push that was there before keeps its number and status; pushes are given each once.
    """
    binds = columns(pushes, *(name for name in _NEW if name != "sealed"))
    binds["sealed"] = [ring.seal("push", p.push_id, p.body) for p in pushes]
    made = set((await db.execute(_INSERT, binds)).scalars())
    kept = {
        (p.kind, p.sender, p.sha256): (p.push_id, p.status) for p in pushes if p.push_id in made
    }
    if repeats := [p for p in pushes if p.push_id not in made]:
        found = await db.execute(_KNOWN, columns(repeats, *_KEY))
        kept |= {(r.kind, r.sender, r.sha256): (r.push_id, r.status) for r in found}
    return kept


async def settle(db: AsyncConnection, pushes: Sequence[tuple[int, str | None, str | None]]) -> None:
    """Give pushes a new verdict: (number, place, why), none of both for stored."""
    if not pushes:
        return
    binds = {
        "push_id": [p[0] for p in pushes],
        "status": [PushStatus.QUARANTINED if p[2] else PushStatus.STORED for p in pushes],
        "place": [p[1] for p in pushes],
        "why": [p[2] for p in pushes],
    }
    await db.execute(_SETTLE, binds)


async def read(db: AsyncConnection, ids: Sequence[int]) -> list[KeptPush]:
    """Pushes by number, oldest first."""
    return _KEPT.all(await db.execute(_READ, {"ids": ids}))


async def by_digest(
    db: AsyncConnection, keys: Sequence[tuple[int, str, bytes]]
) -> dict[tuple[int, str, bytes], KeptPush]:
    """Pushes by (kind, sender, sha256)."""
    binds = {name: [key[at] for key in keys] for at, name in enumerate(_KEY)}
    found = await db.execute(_INTACT, binds)
    return {
        (r.kind, r.sender, r.sha256): KeptPush(r.push_id, r.kind, r.sender, r.status, r.sealed, "")
        for r in found
    }


async def quarantined(db: AsyncConnection, *, before: int, most: int) -> Sequence[Any]:
    """Quarantined pushes, newest first."""
    return (await db.execute(_QUARANTINED, {"before": before, "most": most})).all()


async def waiting(db: AsyncConnection, *, after: int, most: int) -> Sequence[Any]:
    """Quarantined pushes above a number, oldest first."""
    return (await db.execute(_WAITING, {"after": after, "most": most})).all()


async def count_waiting(db: AsyncConnection, most: int) -> tuple[int, datetime | None]:
    """How many are quarantined, up to `most`, and since when the oldest of these is."""
    row = (await db.execute(_COUNT_WAITING, {"most": most})).one()
    return row[0], row[1]


async def quarantined_after(db: AsyncConnection, *, after: int, most: int) -> list[KeptPush]:
    """Quarantined pushes that can still be read, oldest first."""
    return _KEPT.all(await db.execute(_QUARANTINED_AFTER, {"after": after, "most": most}))


async def forget(db: AsyncConnection, *, before: int, most: int) -> int:
    """Delete the oldest pushes below a number; how many."""
    return (await db.execute(_FORGET, {"before": before, "most": most})).rowcount
