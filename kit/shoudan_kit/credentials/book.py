"""A service's own credentials: read from its table, kept live in memory, issued, rotated and revoked."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from shoudan.core.v1 import credential_service_pb2 as pb
from shoudan_kit import log, metrics
from shoudan_kit.audit_log.entries import NO_CALLER, Entry, record
from shoudan_kit.clock import Clock
from shoudan_kit.config import ConfigError
from shoudan_kit.credentials import store
from shoudan_kit.credentials.kinds import CredentialKind
from shoudan_kit.credentials.live import LiveSecret, LiveSecrets
from shoudan_kit.credentials.refusals import (
    CredentialDiffers,
    NoCredential,
    NoSealKey,
    RotationUnderWay,
    TooManyCredentials,
)
from shoudan_kit.credentials.rows import CredentialRow, NewCredential, SealedRow
from shoudan_kit.credentials.states import CredentialStatus
from shoudan_kit.credentials.tables import NAME
from shoudan_kit.db.errors import away, describe
from shoudan_kit.db.pool import Database
from shoudan_kit.secrets.sealing import KeyRing, Unsealable
from shoudan_kit.tasks.unit_of_work import UnitOfWork

POLL_S: Final = 0.6  # with the call in which a gateway waits for a change, below a second
USED_EVERY_S: Final = 60.0
OF_OWNER_MAX: Final = 5  # live at once: each is one more signature to compute at every call
DRAWN_BYTES: Final = 32
FINGERPRINT_DIGITS: Final = 8

AGE_SECONDS: Final = metrics.gauge(
    "credentials_age_seconds", "Since the live secrets of a service were last read.", ("owner",)
)

_log = log.get_logger("credentials")


@dataclass(frozen=True, slots=True)
class Issued:
    """A stored credential; its secret is empty when this call repeats the one that stored it."""

    row: CredentialRow
    secret: str = field(repr=False)
    retiring: Sequence[CredentialRow] = ()
    repeated: bool = False


class Host(Protocol):
    """The process that they live in: the service's App."""

    @property
    def name(self) -> str: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def db(self) -> Database: ...
    def work(self, name: str = "work") -> UnitOfWork: ...


class Credentials:
    """The credentials that one service owns; `Running` serves its RPCs and keeps it fresh."""

    def __init__(
        self, app: Host, kinds: Iterable[CredentialKind], ring: KeyRing | None, subject: str
    ) -> None:
        """`ring` is None where the service has no sealing key of its own: then none can be stored.
        `subject` begins the subjects of its events, such as `shoudan.events.order.`."""
        self.app, self.ring, self.live = app, ring, LiveSecrets(app.clock)
        self.kinds: Mapping[str, CredentialKind] = {one.name: one for one in kinds}
        self.version = 0
        self.unreadable: frozenset[int] = frozenset()
        self._subject = f"{subject}credential."
        self._reported_at = time.monotonic()
        self._changed = asyncio.Event()  # another one for each version
        self._waits = True

    async def open(self) -> None:
        """Read them for the first time. Raises ConfigError when some are stored and no key opens any."""
        await self.refresh()
        if self.ring is None and self.unreadable:
            many = (
                f"{len(self.unreadable)} credentials are stored, and there is no key to open them"
            )
            raise ConfigError(self.app.name, [f"personal_keys: {many}"])

    async def refresh(self) -> None:
        """Read what has changed since the last time."""
        async with self.app.db.connect() as db:
            # The version first: rows that are newer than it are read again the next time.
            version = await store.version(db)
            rows = await store.live(db) if version != self.version else None
        if rows is not None:
            self._take(rows)
            self.version = version
            self._changed.set()
            self._changed = asyncio.Event()
        AGE_SECONDS(self.app.name).set(0)

    async def changed(self, version: int, wait_s: float) -> None:
        """Wait so long for another version than this one."""
        if version == self.version and self._waits:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    def let_go(self) -> None:
        """Answer those who wait for a change, now and from now on at once: the service stops."""
        self._waits = False
        self._changed.set()

    async def run(self) -> None:
        """Follow what other processes change, report what was used, end what has expired; for ever."""
        read_at = time.monotonic()
        while True:
            try:
                await self.refresh()
                await self._report_used()
                await self._expire()
                read_at = time.monotonic()
            except Exception as error:
                AGE_SECONDS(self.app.name).set(time.monotonic() - read_at)
                if not away(error):
                    raise
                _log.warning("credentials_wait", error=describe(error))
            await asyncio.sleep(POLL_S)

    async def store(self, given: NewCredential) -> Issued:
        """Store a credential that was checked; with `overlap_s` it replaces the others of its owner.

        Refuses NoSealKey, CredentialDiffers, TooManyCredentials, NoCredential, RotationUnderWay.
        """
        if self.ring is None:
            raise NoSealKey("personal_keys, index_key")
        secret = given.secret or secrets.token_hex(DRAWN_BYTES)
        digest = _digest(self.ring, given)
        async with self.app.work("credential.store") as work:
            version = await store.lock(work.db)
            before = await store.of_request(work.db, given.request_key)
            if before is not None:
                row, known = before
                if known != digest:
                    raise CredentialDiffers(given.request_key)
                return Issued(row, "", repeated=True)
            await store.expire(work.db, version)
            replaced = self._replaced(given, await store.of_owner(work.db, given.kind, given.owner))
            row = await self._insert(work, given, secret, digest, version)
            retiring = await self._end(work, given, replaced, version)
            self._record(work, "issued", row, given.by, given.reason)
        await self._refresh_soon()
        return Issued(row, secret, retiring)

    async def page(
        self, kind: str, owner: str, after: int, most: int, *, ended: bool
    ) -> list[CredentialRow]:
        """Those with greater numbers than `after`, in the order of their numbers."""
        async with self.app.db.connect() as db:
            return await store.page(db, kind, owner, after, most, ended=ended)

    async def revoke(self, credential_id: int, by: str, reason: str) -> tuple[CredentialRow, bool]:
        """End one now; and whether it had ended before. Refuses NoCredential."""
        async with self.app.work("credential.revoke") as work:
            version = await store.lock(work.db)
            there = await store.by_id(work.db, credential_id)
            if there is None:
                raise NoCredential(f"credential {credential_id}")
            moved = await store.revoke(work.db, [credential_id], version, by, reason)
            row = moved[0] if moved else there
            if moved:
                self._record(work, "revoked", row, by, reason, there)
        await self._refresh_soon()
        return row, not moved

    def _replaced(
        self, given: NewCredential, there: Sequence[CredentialRow]
    ) -> Sequence[CredentialRow]:
        """Those that the new one replaces. Refuses what store() does."""
        if len(there) >= OF_OWNER_MAX:
            raise TooManyCredentials(given.kind, given.owner, OF_OWNER_MAX)
        if given.overlap_s is None:
            return ()
        retiring = [one for one in there if one.status is CredentialStatus.RETIRING]
        if retiring:
            one = retiring[0]
            until = one.expire_time.isoformat() if one.expire_time else ""
            raise RotationUnderWay(given.kind, given.owner, one.credential_id, until)
        if not there:
            raise NoCredential(f"{given.kind} {given.owner}")
        return there

    async def _insert(
        self, work: UnitOfWork, given: NewCredential, secret: str, digest: bytes, version: int
    ) -> CredentialRow:
        assert self.ring is not None
        credential_id = work.ids.next()
        place = place_of(credential_id, given.kind, given.owner)
        sealed = self.ring.seal(NAME, place, secret.encode())
        return await store.insert(
            work.db,
            store.Stored(credential_id, sealed, fingerprint(secret), digest, version),
            kind=given.kind,
            owner=given.owner,
            request_key=given.request_key,
            times=(given.not_before, given.expire_time),
            by=given.by,
            reason=given.reason,
        )

    async def _end(
        self,
        work: UnitOfWork,
        given: NewCredential,
        replaced: Sequence[CredentialRow],
        version: int,
    ) -> list[CredentialRow]:
        """Let what is replaced end: after the overlap, or now without one."""
        before = {one.credential_id: one for one in replaced}
        ids = list(before)
        if not ids or given.overlap_s is None:
            return []
        if given.overlap_s:
            ended = await store.retire(work.db, ids, version, given.overlap_s)
        else:
            ended = await store.revoke(work.db, ids, version, given.by, given.reason)
        for row in ended:
            was = before[row.credential_id]
            self._record(work, "replaced", row, given.by, given.reason, was)
        return ended

    def _record(
        self,
        work: UnitOfWork,
        what: str,
        row: CredentialRow,
        by: str,
        reason: str,
        was: CredentialRow | None = None,
    ) -> None:
        """Publish and record one change; never the secret."""
        body = pb.CredentialChanged(
            credential_id=row.credential_id,
            kind=row.kind,
            owner=row.owner,
            status=pb.CredentialStatus.ValueType(row.status),
            by=by,
            reason=reason,
        )
        before = None if was is None else _facts(was)
        entry = Entry(NAME, row.credential_id, before, _facts(row), reason)
        if not by:  # what expires is no call's doing
            entry = replace(entry, who=NO_CALLER, action="credential.expired", request_id="")
        record(work, entry)
        text = f"credential {row.credential_id} of {row.kind} {row.owner} {what}: {reason}"
        work.events.add(self._subject + what, key=str(row.credential_id), body=body, text=text)

    async def _refresh_soon(self) -> None:
        """Here at once, elsewhere at the next look; that it is stored is not undone by a failure to read."""
        try:
            await self.refresh()
        except Exception as error:
            if not away(error):
                raise
            _log.warning("credentials_wait", error=describe(error))

    def _take(self, rows: Sequence[SealedRow]) -> None:
        opened: list[LiveSecret] = []
        unreadable: set[int] = set()
        for row in rows:
            secret = self._opened(row)
            if secret is None:
                unreadable.add(row.credential_id)
                continue
            opened.append(
                LiveSecret(
                    row.credential_id,
                    row.kind,
                    row.owner,
                    secret,
                    row.not_before,
                    row.expire_time,
                )
            )
        for credential_id in sorted(unreadable - self.unreadable):
            _log.error("credential_unreadable", credential_id=credential_id)
        self.unreadable = frozenset(unreadable)
        self.live.replace(opened)

    def _opened(self, row: SealedRow) -> str | None:
        if self.ring is None:
            return None
        try:
            place = place_of(row.credential_id, row.kind, row.owner)
            return self.ring.open(NAME, place, row.sealed).decode()
        except (Unsealable, UnicodeDecodeError):
            return None

    async def _report_used(self) -> None:
        now = time.monotonic()
        if now - self._reported_at < USED_EVERY_S:
            return
        self._reported_at = now
        await self.note_used(self.live.take_used())

    async def note_used(self, ids: Sequence[int]) -> None:
        """Write when these last fitted, one statement for all."""
        if ids:
            async with self.app.work("credential.used") as work:
                await store.use(work.db, ids)

    async def _expire(self) -> None:
        """Move what this process sees as ended; one of the processes does it."""
        now = self.app.clock.now()
        over = any(
            one.expire_time is not None and one.expire_time <= now for one in self.live.all()
        )
        if not over:
            return
        async with self.app.work("credential.expire") as work:
            version = await store.lock(work.db)
            for row in await store.expire(work.db, version):
                self._record(work, "expired", row, "", "its time is over")


def fingerprint(secret: str) -> str:
    """What both sides can compare without showing the secret."""
    return hashlib.sha256(secret.encode()).hexdigest()[:FINGERPRINT_DIGITS]


def place_of(credential_id: int, kind: str, owner: str) -> str:
    """What a sealed secret is bound to, so that it is of no other owner."""
    return f"{credential_id}|{kind}|{owner}"


def _digest(ring: KeyRing, given: NewCredential) -> bytes:
    """Of what was asked for: a repeat asks for the same."""
    times = [one.isoformat() if one else "" for one in (given.not_before, given.expire_time)]
    return ring.content(
        "credential", given.kind, given.owner, given.secret, *times, given.overlap_s
    )


def _facts(row: CredentialRow) -> dict[str, str]:
    """What of a credential is in the audit log."""
    return {
        "kind": row.kind,
        "owner": row.owner,
        "status": row.status.name,
        "fingerprint": row.fingerprint,
    }
