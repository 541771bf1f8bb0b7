"""API tokens: named credentials of an operator for programs, with some of its roles and an end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shoudan_identity import access, codes
from shoudan_identity.access import Access, Caller
from shoudan_identity.context import Context
from shoudan_identity.refusals import (
    ApiTokenRefused,
    FieldInvalid,
    NameTaken,
    NotAllowed,
    NotFound,
    TokensFull,
)
from shoudan_identity.rows import ApiTokenRow
from shoudan_identity.store import operators
from shoudan_identity.store import sessions as store
from shoudan_kit.ids import id_of

MARK: Final = "shoudan-api"  # by which scanners for leaked secrets know one
TOKENS_MAX: Final = 20  # in force of one operator
DAYS_DEFAULT, DAYS_MAX = 90, 366
NAME_CHARS_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class WithSecret:
    """An API token and the secret, which is stored nowhere."""

    token: ApiTokenRow
    secret: str


async def create(
    context: Context, caller: Caller, name: str, roles: Sequence[str], days: int
) -> WithSecret:
    """Add an API token of the caller. Refuses NameTaken, TokensFull, FieldInvalid, NotAllowed."""
    allowed = all(c.isascii() and (c.isalnum() or c in "-._") for c in name)
    if not (1 <= len(name) <= NAME_CHARS_MAX and allowed):
        raise FieldInvalid("name", f"letters, digits, - . _, at most {NAME_CHARS_MAX}")
    if not 0 <= days <= DAYS_MAX:
        raise FieldInvalid("days", f"1 to {DAYS_MAX}, 0 for {DAYS_DEFAULT}")
    wanted = access.checked_roles(roles)
    if not wanted:
        raise FieldInvalid("roles", "at least one of the caller's")
    token_id, secret = context.app.ids.next(), codes.secret()
    async with context.app.work("identity.api_token") as work:
        await access.acting(work.db, caller)
        operator = await operators.lock(work.db, caller.operator_id)
        if lacking := sorted(set(wanted) - (caller.roles & set(operator.roles))):
            raise NotAllowed(lacking[0])
        if len(await store.tokens(work.db, operator.operator_id, TOKENS_MAX)) >= TOKENS_MAX:
            raise TokensFull(TOKENS_MAX)
        lives = days or DAYS_DEFAULT
        own, hashed = operator.operator_id, codes.digest(secret)
        if not await store.add_token(work.db, token_id, own, name, wanted, hashed, lives):
            raise NameTaken(name)
        subject = ("api token", token_id)
        access.record_by(work, "create token", caller, subject, name=name, roles=wanted, days=lives)
        row = await store.token(work.db, token_id)
        assert row is not None
    return WithSecret(row, f"{MARK}.{token_id}.{secret}")


async def list_valid(context: Context, caller: Caller, name: str) -> Sequence[ApiTokenRow]:
    """The API tokens of the caller, or for an admin of another. Refuses NotAllowed, NotFound."""
    async with context.app.db.connect() as db:
        operator = await access.whose(db, caller, name)
        return await store.tokens(db, operator.operator_id, TOKENS_MAX)


async def revoke(context: Context, caller: Caller, operator_name: str, name: str) -> None:
    """End an API token. Refuses NotFound, NotAllowed."""
    async with context.app.work("identity.api_token") as work:
        operator = await access.whose(work.db, caller, operator_name)
        if not name or not await store.revoke_tokens(work.db, operator.operator_id, name):
            raise NotFound("api token", name)
        subject = ("operator", operator.operator_id)
        access.record_by(work, "revoke token", caller, subject, name=name)


async def exchange(context: Context, token: str, address: str) -> Access:
    """A short-lived access token for an API token, with the roles its operator still has.

    Refuses ApiTokenRefused.
    """
    mark, number, secret = [*token.split("."), "", ""][:3]
    token_id = id_of(number)
    async with context.app.work("identity.exchange") as work:
        row = await store.token(work.db, token_id) if mark == MARK and token_id else None
        # A guess is not worth a row of the audit: there is too much to guess.
        if row is None or not codes.is_of(row.token_hash, secret):
            raise ApiTokenRefused
        operator = await operators.by_id(work.db, row.operator_id)
        assert operator is not None
        why = _over(row, disabled=operator.disabled)
        if not why:
            await store.used_token(work.db, row.token_id)
        actor = access.operator_at(operator.operator_id, address)
        subject = ("api token", row.token_id)
        access.record(work, "exchange", actor, subject, outcome=why or "done")
    if why:
        raise ApiTokenRefused
    return await access.issue(context, operator, [r for r in row.roles if r in operator.roles])


def _over(row: ApiTokenRow, *, disabled: bool) -> str:
    """Why it is good no more; empty when it is."""
    if row.revoke_time is not None:
        return "revoked"
    if row.now >= row.expire_time:
        return "expired"
    return "disabled" if disabled else ""
