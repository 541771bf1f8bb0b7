"""The second factor: codes of an authenticator (RFC 6238), each good once, and recovery codes."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pyotp
from pyotp.hotp import HOTP
from pyotp.totp import TOTP
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_identity import access, attempts, codes, events, sessions
from shoudan_identity.access import Caller
from shoudan_identity.context import Context
from shoudan_identity.refusals import CodeRefused, SecretUnreadable
from shoudan_identity.rows import OperatorRow
from shoudan_identity.sessions import Tokens
from shoudan_identity.store import operators as store
from shoudan_identity.store import sessions as session_store
from shoudan_kit.secrets.sealing import Unsealable

TABLE: Final = "operator"
STEP_S: Final = 30
CODE_DIGITS: Final = 6
ISSUER: Final = "shoudan"


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What the authenticator needs, once."""

    secret: str
    uri: str


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What is shown once, and a session with all roles."""

    recovery_codes: list[str]
    tokens: Tokens
    device: str


def matching_step(secret: str, code: str, now: datetime, after: int) -> int | None:
    """The 30 s step this code belongs to: this one, the one before or the next, later than `after`."""
    current, made = int(now.timestamp()) // STEP_S, HOTP(secret)
    for step in (current, current - 1, current + 1):
        if step > after and hmac.compare_digest(made.at(step), code):
            return step
    return None


async def use_code(context: Context, db: AsyncConnection, operator: OperatorRow, code: str) -> bool:
    """Use up a code of the authenticator, or a recovery code; False when it is neither.

    Refuses SecretUnreadable.
    """
    typed = codes.plain(code)
    if len(typed) == CODE_DIGITS and typed.isascii() and typed.isdigit():
        secret = _open(context, operator, operator.totp_sealed)
        step = matching_step(secret, typed, context.app.clock.now(), operator.totp_step)
        return step is not None and await store.use_step(db, operator.operator_id, step)
    return await store.use_recovery_code(
        db, operator.operator_id, _hashed(context, operator, typed)
    )


async def enrol(context: Context, caller: Caller, code: str) -> Enrolled:
    """A new secret of the caller, in force once confirmed. Refuses CodeRefused, TooManyAttempts, NotAllowed.

    With an authenticator in force it takes a code: a stolen token must not replace it.
    """
    admitted = await attempts.admit(context, caller.name, "", caller.address)
    secret = pyotp.random_base32()
    async with context.app.work("identity.enrol") as work:
        await access.acting(work.db, caller)
        operator = await store.lock(work.db, caller.operator_id)
        allowed = operator.totp_sealed is None or await use_code(context, work.db, operator, code)
        outcome = "done" if allowed else "wrong code"
        if allowed:
            await admitted.succeed(work)
            sealed = context.ring.seal(TABLE, operator.operator_id, secret.encode())
            await store.enrol(work.db, operator.operator_id, sealed)
        subject = ("operator", caller.operator_id)
        access.record_by(work, "enrol totp", caller, subject, outcome=outcome)
    if not allowed:
        raise CodeRefused
    account = f"{caller.name}@{context.settings.system_id}"
    uri = TOTP(secret).provisioning_uri(name=account, issuer_name=ISSUER)
    return Enrolled(secret, uri)


async def confirm(context: Context, caller: Caller, code: str, agent: str) -> Confirmed:
    """Put the enrolled secret into force. Refuses CodeRefused, NotAllowed, SecretUnreadable."""
    recovery = codes.recovery_codes()
    async with context.app.work("identity.confirm") as work:
        await access.acting(work.db, caller)
        operator = await store.lock(work.db, caller.operator_id)
        step = _enrolled_step(context, operator, codes.plain(code))
        if step is None:
            raise CodeRefused
        hashes = [_hashed(context, operator, codes.plain(one)) for one in recovery]
        sealed = operator.totp_next_sealed or b""
        if not await store.confirm(work.db, operator.operator_id, sealed, step, hashes):
            raise CodeRefused
        # Sessions of before have no second factor.
        await session_store.end(work.db, operator.operator_id, "totp")
        kept = codes.secret()
        await store.seen(work.db, operator.operator_id, codes.digest(kept))
        tokens = await sessions.open_session(
            context, work, operator, second_factor=True, address=caller.address, agent=agent
        )
        access.record_by(work, "totp", caller, ("operator", caller.operator_id))
        own = operator.operator_id
        events.operator_changed(work, own, "totp", operator.roles, own)
    return Confirmed(recovery, tokens, kept)


def _enrolled_step(context: Context, operator: OperatorRow, code: str) -> int | None:
    if operator.totp_next_sealed is None or not code.isascii():
        return None
    secret = _open(context, operator, operator.totp_next_sealed)
    return matching_step(secret, code, context.app.clock.now(), operator.totp_step)


def _open(context: Context, operator: OperatorRow, sealed: bytes | None) -> str:
    try:
        return context.ring.open(TABLE, operator.operator_id, sealed or b"").decode()
    except Unsealable:
        raise SecretUnreadable(f"authenticator of operator {operator.name}") from None


def _hashed(context: Context, operator: OperatorRow, code: str) -> bytes:
    return context.ring.mac("recovery code", f"{operator.operator_id} {code}")
