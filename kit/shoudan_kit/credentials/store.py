"""The statements of credentials: few rows, changed seldom, read whole when their version has risen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.credentials.rows import CredentialRow, SealedRow
from shoudan_kit.credentials.states import CREDENTIAL, CredentialEvent, CredentialStatus
from shoudan_kit.db.columns import Rows
from shoudan_kit.db.text_statements import statement

LIVE_MAX: Final = 50_000  # of a whole service, in memory of each process that verifies

_ROWS: Final = Rows(CredentialRow)
_SEALED: Final = Rows(SealedRow)
_LIVE: Final = CREDENTIAL.where(CredentialEvent.EXPIRED)

# One transaction at a time changes credentials: a version is seen by all once its rows are.
_LOCK = statement("SELECT pg_advisory_xact_lock(hashtext('credential'))")
_VERSION = statement("SELECT version FROM credential ORDER BY version DESC LIMIT 1")
_LIVE_ONES = statement(f"""
SELECT {_SEALED.of()} FROM credential WHERE {_LIVE} ORDER BY credential_id LIMIT {LIVE_MAX}
""")
_OF_REQUEST = statement(f"""
SELECT {_ROWS.of()}, content_hash FROM credential WHERE request_key = :request_key
""")
_OF_OWNER = statement(f"""
SELECT {_ROWS.of()} FROM credential WHERE kind = :kind AND owner = :owner AND {_LIVE}
ORDER BY credential_id
""")
_BY_ID = statement(f"SELECT {_ROWS.of()} FROM credential WHERE credential_id = :credential_id")
_LIST = statement(f"""
SELECT {_ROWS.of()} FROM credential
WHERE credential_id > :after AND (:kind = '' OR kind = :kind) AND (:owner = '' OR owner = :owner)
    AND (:ended OR {_LIVE})
ORDER BY credential_id LIMIT :most
""")
_INSERT = statement(f"""
INSERT INTO credential (credential_id, kind, owner, sealed, fingerprint, status, not_before, expire_time,
    version, request_key, content_hash, created_by, reason, create_time)
VALUES (:credential_id, :kind, :owner, :sealed, :fingerprint, :status,
    CAST(:not_before AS timestamptz), CAST(:expire_time AS timestamptz), :version, :request_key,
    :content_hash, :created_by, :reason, shoudan_now())
RETURNING {_ROWS.of()}
""")
# A credential that would end sooner anyway keeps its end.
_RETIRE = statement(f"""
UPDATE credential SET status = :status, version = :version,
    expire_time = least(coalesce(expire_time, 'infinity'),
        shoudan_now() + make_interval(secs => :overlap_s))
WHERE credential_id = ANY(CAST(:ids AS bigint[])) AND status = ANY(CAST(:sources AS smallint[]))
RETURNING {_ROWS.of()}
""")
_REVOKE = statement(f"""
UPDATE credential SET status = :status, version = :version, ended_by = :by, ended_reason = :reason
WHERE credential_id = ANY(CAST(:ids AS bigint[])) AND status = ANY(CAST(:sources AS smallint[]))
RETURNING {_ROWS.of()}
""")
_EXPIRE = statement(f"""
UPDATE credential SET status = :status, version = :version
WHERE {_LIVE} AND expire_time <= shoudan_now() RETURNING {_ROWS.of()}
""")
# Every process that verifies reports: the first of them within a minute writes.
_USED = statement("""
UPDATE credential SET last_used_time = shoudan_now()
WHERE credential_id = ANY(CAST(:ids AS bigint[]))
    AND (last_used_time IS NULL OR last_used_time < shoudan_now() - interval '50 s')
""")


@dataclass(frozen=True, slots=True)
class Stored:
    """What is written of a new credential beside what was asked for."""

    credential_id: int
    sealed: bytes
    fingerprint: str
    content_hash: bytes
    version: int


async def lock(db: AsyncConnection) -> int:
    """Wait for who else changes credentials, to the end of the transaction; the version of this one."""
    await db.execute(_LOCK)
    return await version(db) + 1


async def version(db: AsyncConnection) -> int:
    """The version of the last change; 1 without any."""
    return (await db.execute(_VERSION)).scalar() or 1


async def live(db: AsyncConnection) -> list[SealedRow]:
    """Every live credential, sealed."""
    return _SEALED.all(await db.execute(_LIVE_ONES))


async def of_request(db: AsyncConnection, request_key: str) -> tuple[CredentialRow, bytes] | None:
    """The credential that a request stored, and the digest of what was asked for."""
    row = (await db.execute(_OF_REQUEST, {"request_key": request_key})).one_or_none()
    return None if row is None else (_ROWS.read(row), row.content_hash)


async def of_owner(db: AsyncConnection, kind: str, owner: str) -> list[CredentialRow]:
    """The live credentials of an owner, oldest first."""
    return _ROWS.all(await db.execute(_OF_OWNER, {"kind": kind, "owner": owner}))


async def by_id(db: AsyncConnection, credential_id: int) -> CredentialRow | None:
    """One credential."""
    return _ROWS.one(await db.execute(_BY_ID, {"credential_id": credential_id}))


async def page(
    db: AsyncConnection, kind: str, owner: str, after: int, most: int, *, ended: bool
) -> list[CredentialRow]:
    """Credentials with greater numbers than `after`."""
    binds = {"kind": kind, "owner": owner, "after": after, "most": most, "ended": ended}
    return _ROWS.all(await db.execute(_LIST, binds))


async def insert(
    db: AsyncConnection,
    made: Stored,
    *,
    kind: str,
    owner: str,
    request_key: str,
    times: tuple[datetime | None, datetime | None],
    by: str,
    reason: str,
) -> CredentialRow:
    """Store a new credential."""
    binds: dict[str, Any] = {
        "credential_id": made.credential_id,
        "sealed": made.sealed,
        "fingerprint": made.fingerprint,
        "content_hash": made.content_hash,
        "version": made.version,
        "kind": kind,
        "owner": owner,
        "request_key": request_key,
        "not_before": times[0],
        "expire_time": times[1],
        "created_by": by,
        "reason": reason,
        "status": CREDENTIAL.initial,
    }
    return _ROWS.read((await db.execute(_INSERT, binds)).one())


async def retire(
    db: AsyncConnection, ids: Sequence[int], version: int, overlap_s: int
) -> list[CredentialRow]:
    """Let active credentials end after `overlap_s`."""
    binds = _moved(CredentialEvent.REPLACED) | {"overlap_s": float(overlap_s)}
    return _ROWS.all(await db.execute(_RETIRE, binds | {"ids": list(ids), "version": version}))


async def revoke(
    db: AsyncConnection, ids: Sequence[int], version: int, by: str, reason: str
) -> list[CredentialRow]:
    """End live credentials now; those that moved."""
    binds = _moved(CredentialEvent.REVOKED) | {"by": by, "reason": reason}
    return _ROWS.all(await db.execute(_REVOKE, binds | {"ids": list(ids), "version": version}))


async def expire(db: AsyncConnection, version: int) -> list[CredentialRow]:
    """Move what has ended to its end."""
    binds = {"status": CredentialStatus.EXPIRED, "version": version}
    return _ROWS.all(await db.execute(_EXPIRE, binds))


async def use(db: AsyncConnection, ids: Sequence[int]) -> None:
    """Note that these fitted, to the minute."""
    await db.execute(_USED, {"ids": sorted(ids)})


def _moved(event: CredentialEvent) -> dict[str, Any]:
    return {"status": CREDENTIAL.target(event), "sources": list(CREDENTIAL.sources(event))}
