"""The keys that sign operators' tokens: published before they sign and until what they signed expires."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shoudan_identity import events
from shoudan_identity.config import IdentitySettings
from shoudan_identity.refusals import KeyTooYoung, SecretUnreadable
from shoudan_identity.rows import KeyRow
from shoudan_identity.states import KeyEvent, KeyStatus
from shoudan_identity.store import keys as store
from shoudan_kit.db.errors import away
from shoudan_kit.secrets.sealing import KeyRing, Unsealable
from shoudan_kit.secrets.tokens import LEEWAY_S, TokenSigner, TokenVerifier, key_id, key_set
from shoudan_kit.service import App
from shoudan_kit.tasks.unit_of_work import UnitOfWork

TABLE: Final = "signing_key"
SOURCE: Final = "identity"
READ_AGAIN_S: Final = 5.0  # another process may have rotated


@dataclass(frozen=True)
class _Known:
    """The keys as they were read."""

    rows: Sequence[KeyRow]
    read: float


class SigningKeys:
    """The keys of this system, shared by all processes through the database."""

    def __init__(self, app: App[IdentitySettings], ring: KeyRing, verifier: TokenVerifier) -> None:
        self._app, self._ring, self._verifier = app, ring, verifier
        self._known: _Known | None = None
        self._signers: dict[str, TokenSigner] = {}

    async def ensure(self) -> None:
        """Make the first two keys of an empty database."""
        async with self._app.work("identity.keys") as work:
            await store.lock(work.db)
            if not await store.published(work.db):
                await self._add_next(work)
                await store.move(work.db, await store.published(work.db), KeyEvent.PROMOTED)
                await self._add_next(work)
        await self._read()

    async def signer(self) -> TokenSigner:
        """What signs now. Refuses SecretUnreadable."""
        current = _of(await self._rows(), KeyStatus.CURRENT)[0]
        if current.key_id not in self._signers:
            made = TokenSigner(self._open(current), self._app.settings.system_id)
            self._signers = {current.key_id: made}
        return self._signers[current.key_id]

    async def published(self) -> tuple[bytes, str]:
        """The key set of the verifiers, and which key signs."""
        rows = await self._rows()
        return key_set(_public(row) for row in rows), _of(rows, KeyStatus.CURRENT)[0].key_id

    async def rotate(self, work: UnitOfWork, by_operator_id: int, *, at_once: bool) -> str:
        """The next key signs; the one before stays published unless `at_once`. Refuses KeyTooYoung."""
        await store.lock(work.db)
        rows = await store.published(work.db)
        (following,) = _of(rows, KeyStatus.NEXT)
        if at_once:
            await store.move(
                work.db, _of(rows, KeyStatus.CURRENT, KeyStatus.RETIRED), KeyEvent.REVOKED
            )
            if not self._opens(following):
                await store.move(work.db, [following], KeyEvent.REVOKED)
                following = await self._add_next(work)
        else:
            age = following.now - following.create_time
            left = timedelta(seconds=self._app.settings.key_publish_s) - age
            if left > timedelta():
                raise KeyTooYoung(int(left.total_seconds()) + 1)
            await store.move(work.db, _of(rows, KeyStatus.CURRENT), KeyEvent.REPLACED)
        await store.move(work.db, [following], KeyEvent.PROMOTED)
        await self._add_next(work)
        events.key_rotated(work, following.key_id, by_operator_id)
        return following.key_id

    def forget(self) -> None:
        """Read the keys again at the next use."""
        self._known = None

    async def keep_fresh(self, work: UnitOfWork) -> str:
        """Rotate when the key has signed for long, and drop what has expired; the new key, if any."""
        settings = self._app.settings
        await store.lock(work.db)
        rows = await store.published(work.db)
        over = timedelta(seconds=settings.access_token_s + 2 * LEEWAY_S)
        expired = [
            row
            for row in _of(rows, KeyStatus.RETIRED)
            if row.retire_time is not None and row.now - row.retire_time > over
        ]
        await store.move(work.db, expired, KeyEvent.EXPIRED)
        (current,) = _of(rows, KeyStatus.CURRENT)
        used = current.use_time or current.create_time
        if current.now - used < timedelta(days=settings.key_days):
            return ""
        try:
            return await self.rotate(work, 0, at_once=False)
        except KeyTooYoung:  # made a moment ago: the next look finds it old enough
            return ""

    async def _rows(self) -> Sequence[KeyRow]:
        known = self._known
        if known is not None and time.monotonic() - known.read <= READ_AGAIN_S:
            return known.rows
        try:
            return await self._read()
        except Exception as error:
            if known is None or not away(error):
                raise
            return known.rows  # the keys of a moment ago stay good while the database is away

    async def _read(self) -> Sequence[KeyRow]:
        async with self._app.db.connect() as db:
            rows = await store.published(db)
        self._known = _Known(rows, time.monotonic())
        self._verifier.trust(SOURCE, {row.key_id: _public(row) for row in rows})
        return rows

    async def _add_next(self, work: UnitOfWork) -> KeyRow:
        private = Ed25519PrivateKey.generate()
        public, key_no = private.public_key(), self._app.ids.next()
        sealed = self._ring.seal(TABLE, key_no, private.private_bytes_raw())
        await store.insert(work.db, key_no, key_id(public), public.public_bytes_raw(), sealed)
        return _of(await store.published(work.db), KeyStatus.NEXT)[0]

    def _opens(self, row: KeyRow) -> bool:
        try:
            self._open(row)
        except SecretUnreadable:
            return False
        return True

    def _open(self, row: KeyRow) -> Ed25519PrivateKey:
        try:
            raw = self._ring.open(TABLE, row.key_no, row.sealed)
        except Unsealable:
            raise SecretUnreadable(f"signing key {row.key_id}") from None
        return Ed25519PrivateKey.from_private_bytes(raw)


def _of(rows: Sequence[KeyRow], *statuses: KeyStatus) -> list[KeyRow]:
    return [row for row in rows if row.status in statuses]


def _public(row: KeyRow) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(row.public_key)
