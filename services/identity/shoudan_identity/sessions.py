"""Sessions: a refresh token that is good once gives short-lived access tokens until the session is over."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shoudan_identity import access, codes
from shoudan_identity.access import Access, Caller
from shoudan_identity.context import Context
from shoudan_identity.refusals import NotFound, SessionEnded
from shoudan_identity.rows import OperatorRow, SessionRow
from shoudan_identity.store import operators
from shoudan_identity.store import sessions as store
from shoudan_kit.ids import id_of
from shoudan_kit.tasks.unit_of_work import UnitOfWork

UNKNOWN: Final = "unknown"
REUSED: Final = "a used refresh token came again"
AGENT_CHARS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a session gives; without a session (`session_id` 0) an access token alone."""

    access: Access
    refresh: str = ""
    session_id: int = 0
    end_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Parts:
    """A refresh token: its session, what all tokens of the session share, what is its own."""

    session_id: int
    family: str
    own: str


async def open_session(
    context: Context,
    work: UnitOfWork,
    operator: OperatorRow,
    *,
    second_factor: bool,
    address: str,
    agent: str,
) -> Tokens:
    """A new session of the operator with its first tokens."""
    parts = _Parts(context.app.ids.next(), codes.secret(), codes.secret())
    row = await store.insert(
        work.db,
        session_id=parts.session_id,
        operator_id=operator.operator_id,
        family=codes.digest(parts.family),
        refresh=codes.digest(parts.own),
        second_factor=second_factor,
        address=address,
        agent="".join(c for c in agent if c.isprintable())[:AGENT_CHARS_MAX],
        session_s=context.settings.session_s,
    )
    return await _tokens(context, operator, row, parts)


async def refresh(context: Context, token: str, address: str) -> Tokens:
    """The next tokens of a session. Refuses SessionEnded.

    Repeats: the same token gives the same next refresh token for `refresh_repeat_s`, because its answer may
    have been lost; after that it ends the session, for someone else may have it.
    """
    parts = _parts(token)
    async with context.app.work("identity.refresh") as work:
        row = await _locked(work, parts)
        operator = await operators.by_id(work.db, row.operator_id)
        assert operator is not None
        why = _over(context, row) or _barred(operator, row)
        following = _Parts(
            parts.session_id, parts.family, _next(context, parts) if not why else parts.own
        )
        if not why and codes.is_of(row.refresh_hash, parts.own):
            await store.rotate(work.db, row.session_id, codes.digest(following.own))
        elif not why and not _repeated(context, row, parts):
            why = REUSED
        if why and row.ended_time is None:
            await store.end(work.db, row.operator_id, why, session_id=row.session_id)
        if why:
            actor = access.operator_at(operator.operator_id, address)
            access.record(work, "refresh", actor, ("session", row.session_id), outcome=why)
    if why:  # after the commit: the end of the session stands
        raise SessionEnded(why)
    return await _tokens(context, operator, row, following)


async def logout(context: Context, token: str, address: str) -> None:
    """End the session of a refresh token, used or not; repeats change nothing. Refuses SessionEnded."""
    parts = _parts(token)
    async with context.app.work("identity.logout") as work:
        row = await _locked(work, parts)
        operator = await operators.by_id(work.db, row.operator_id)
        assert operator is not None
        if await store.end(work.db, row.operator_id, "logout", session_id=row.session_id):
            actor = access.operator_at(operator.operator_id, address)
            access.record(work, "logout", actor, ("session", row.session_id))


async def list_open(context: Context, caller: Caller, name: str) -> Sequence[SessionRow]:
    """The open sessions of the caller, or for an admin of another. Refuses NotAllowed, NotFound."""
    async with context.app.db.connect() as db:
        operator = await access.whose(db, caller, name)
        return await store.open_ones(db, operator.operator_id, context.settings.session_idle_s)


async def end(context: Context, caller: Caller, name: str, session_id: int) -> int:
    """End one session or, with 0, all; how many. Refuses NotAllowed, NotFound."""
    async with context.app.work("identity.end_session") as work:
        operator = await access.whose(work.db, caller, name)
        ended = await store.end(work.db, operator.operator_id, "ended", session_id=session_id)
        if session_id and not ended:
            raise NotFound("session", str(session_id))
        subject = ("operator", operator.operator_id)
        access.record_by(work, "end session", caller, subject, sessions=ended)
    return len(ended)


async def _locked(work: UnitOfWork, parts: _Parts) -> SessionRow:
    """The session, if the token is one of its own: a guess ends no session. Refuses SessionEnded."""
    row = await store.lock(work.db, parts.session_id)
    if row is None or not codes.is_of(row.family_hash, parts.family):
        raise SessionEnded(UNKNOWN)
    return row


async def _tokens(
    context: Context, operator: OperatorRow, row: SessionRow, parts: _Parts
) -> Tokens:
    made = await access.issue(context, operator, operator.roles, operator.channels)
    token = f"{parts.session_id}.{parts.family}.{parts.own}"
    return Tokens(made, token, row.session_id, row.end_time)


def _parts(token: str) -> _Parts:
    number, family, own = [*token.split("."), "", ""][:3]
    session_id = id_of(number)
    if session_id is None or not own:
        raise SessionEnded(UNKNOWN)
    return _Parts(session_id, family, own)


def _over(context: Context, row: SessionRow) -> str:
    """Why the session is over; empty when it is not."""
    if row.ended_time is not None:
        return "ended"
    if row.now >= row.end_time:
        return "its time is over"
    idle = timedelta(seconds=context.settings.session_idle_s)
    return "idle" if row.now - row.use_time >= idle else ""


def _barred(operator: OperatorRow, row: SessionRow) -> str:
    """Why the operator may not go on; empty when it may."""
    if operator.disabled:
        return "disabled"
    lacks = access.needs_totp(operator) and not row.second_factor
    return "its roles need an authenticator" if lacks else ""


def _repeated(context: Context, row: SessionRow, parts: _Parts) -> bool:
    """Whether this is the token before, moments after it was used."""
    lately = row.now - row.use_time <= timedelta(seconds=context.settings.refresh_repeat_s)
    return lately and codes.is_of(row.previous_hash, parts.own)


def _next(context: Context, parts: _Parts) -> str:
    """The token after: always the same, so that a repeat gives it again without its being stored."""
    text = f"refresh {parts.session_id} {parts.own}".encode()
    return hmac.digest(context.ring.index_key, text, "sha256").hex()
