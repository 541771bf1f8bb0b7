"""Operators: created with a one-time password, changed by admins, never deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_identity import access, attempts, codes, events
from shoudan_identity.access import Caller
from shoudan_identity.context import Context
from shoudan_identity.passwords import check_strength
from shoudan_identity.provider import SUBJECT_CHARS_MAX
from shoudan_identity.refusals import (
    FieldInvalid,
    LastAdmin,
    LoginRefused,
    NameTaken,
    Overloaded,
    ProviderOff,
    SubjectTaken,
)
from shoudan_identity.rows import OperatorRow
from shoudan_identity.store import links, sessions
from shoudan_identity.store import operators as store
from shoudan_kit.audit_log.entries import Facts
from shoudan_kit.rpc.rights import ADMIN, FINANCE_CHECKER, OPS
from shoudan_kit.tasks.unit_of_work import UnitOfWork

DISPLAY_CHARS_MAX: Final = 80
PAGE_DEFAULT, PAGE_MAX = 100, 1000
REASON_CHARS_MAX: Final = 256
AUDITORS: Final = (OPS, FINANCE_CHECKER, ADMIN)  # who may read audit logs


@dataclass(frozen=True, slots=True)
class WithPassword:
    """An operator and its new one-time password, which is stored nowhere."""

    operator: OperatorRow
    one_time_password: str


async def create(
    context: Context,
    caller: Caller,
    name: str,
    display_name: str,
    roles: Sequence[str],
    channels: Sequence[str] = (),
) -> WithPassword:
    """Add an operator, or with channels a partner's account. Refuses NameTaken, FieldInvalid, NotAllowed.

    Repeats are refused with NameTaken; when the answer was lost, a reset gives a new password.
    """
    if not access.is_name(name):
        raise FieldInvalid("name", "a small letter, then small letters, digits, - . _, at most 40")
    if len(display_name) > DISPLAY_CHARS_MAX or not display_name.isprintable():
        raise FieldInvalid("display_name", f"at most {DISPLAY_CHARS_MAX} printable characters")
    wanted, own = access.checked_roles(roles), access.checked_channels(channels)
    if wanted and own:
        raise FieldInvalid("channels", "an account of channels has no roles")
    async with context.app.db.connect() as db:
        await access.acting(db, caller, ADMIN)
    password = codes.one_time_password()
    hashed = await context.room.hash(caller.address, password)
    operator_id = context.app.ids.next()
    async with context.app.work("identity.create") as work:
        await access.acting(work.db, caller, ADMIN)
        shown, once_s = display_name or name, context.settings.one_time_password_s
        new = await store.insert(
            work.db, operator_id, name, shown, wanted, hashed, once_s, caller.name, own
        )
        if not new:
            raise NameTaken(name)
        facts: dict[str, Any] = {"channels": own} if own else {"roles": wanted}
        operator = await _changed(work, caller, operator_id, "created", **facts)
    return WithPassword(operator, password)


async def set_roles(
    context: Context, caller: Caller, name: str, roles: Sequence[str]
) -> OperatorRow:
    """Replace the roles of an operator. Refuses NotFound, LastAdmin, FieldInvalid, NotAllowed."""
    wanted = access.checked_roles(roles)
    async with context.app.work("identity.roles") as work:
        before = await _target(work.db, caller, name)
        if before.channels:
            raise FieldInvalid("name", "is an account of channels, which has no roles")
        if ADMIN not in wanted:
            await _keep_an_admin(work.db, before)
        await store.set_roles(work.db, before.operator_id, wanted, caller.name)
        return await _changed(
            work,
            caller,
            before.operator_id,
            "roles",
            before={"roles": list(before.roles)},
            roles=wanted,
        )


async def set_channels(
    context: Context, caller: Caller, name: str, channels: Sequence[str]
) -> OperatorRow:
    """Replace the channels of a partner's account. Refuses NotFound, FieldInvalid, NotAllowed."""
    wanted = access.checked_channels(channels)
    async with context.app.work("identity.channels") as work:
        before = await _target(work.db, caller, name)
        if not before.channels or not wanted:
            raise FieldInvalid("channels", "one at least, of an account that has some")
        await store.set_channels(work.db, before.operator_id, wanted, caller.name)
        return await _changed(
            work,
            caller,
            before.operator_id,
            "channels",
            before={"channels": list(before.channels)},
            channels=wanted,
        )


async def disable(context: Context, caller: Caller, name: str) -> OperatorRow:
    """End what an operator has open and let it in no more. Refuses NotFound, LastAdmin, NotAllowed."""
    async with context.app.work("identity.disable") as work:
        before = await _target(work.db, caller, name)
        await _keep_an_admin(work.db, before)
        await store.set_disabled(work.db, before.operator_id, True, caller.name)
        ended = await _end_all(work.db, before.operator_id, "disabled")
        return await _changed(work, caller, before.operator_id, "disabled", sessions=ended)


async def enable(context: Context, caller: Caller, name: str) -> OperatorRow:
    """Let a disabled operator log in again. Refuses NotFound, NotAllowed."""
    async with context.app.work("identity.enable") as work:
        before = await _target(work.db, caller, name)
        await store.set_disabled(work.db, before.operator_id, False, caller.name)
        return await _changed(work, caller, before.operator_id, "enabled")


async def reset(context: Context, caller: Caller, name: str) -> WithPassword:
    """A new one-time password; authenticator, link and all that is open end. Refuses NotFound, NotAllowed."""
    async with context.app.db.connect() as db:
        await _target(db, caller, name)
    password = codes.one_time_password()
    hashed = await context.room.hash(caller.address, password)
    async with context.app.work("identity.reset") as work:
        before = await _target(work.db, caller, name)
        once_s = context.settings.one_time_password_s
        await store.set_one_time(work.db, before.operator_id, hashed, once_s, caller.name)
        await links.unlink(work.db, before.operator_id)
        ended = await _end_all(work.db, before.operator_id, "reset")
        operator = await _changed(work, caller, before.operator_id, "reset", sessions=ended)
    return WithPassword(operator, password)


async def erase(context: Context, caller: Caller, name: str, reason: str) -> OperatorRow:
    """Replace the names of an operator for good and end what it has; its number stays.

    Repeats change nothing. Refuses NotFound, LastAdmin, FieldInvalid, NotAllowed.
    """
    if len(reason) > REASON_CHARS_MAX or not reason.isprintable():
        raise FieldInvalid("reason", f"at most {REASON_CHARS_MAX} printable characters")
    async with context.app.work("identity.erase") as work:
        before = await _target(work.db, caller, name)
        await _keep_an_admin(work.db, before)
        new = f"erased-{before.operator_id}"
        await links.unlink(work.db, before.operator_id)
        await store.erase(work.db, before.operator_id, before.name, new, caller.name)
        await _end_all(work.db, before.operator_id, "erased")
        return await _changed(work, caller, before.operator_id, "erased", reason=reason)


async def names(context: Context, caller: Caller, ids: Sequence[int]) -> dict[int, str]:
    """Login names by number, for those who read audit logs. Refuses FieldInvalid, NotAllowed."""
    if len(ids) > PAGE_MAX:
        raise FieldInvalid("operator_ids", f"at most {PAGE_MAX}")
    async with context.app.db.connect() as db:
        await access.acting_as_one_of(db, caller, AUDITORS)
        return await store.names(db, ids)


async def link(context: Context, caller: Caller, name: str, subject: str) -> str:
    """Say which person of the OpenID provider an operator is; none without `subject`.

    Refuses NotFound, SubjectTaken, FieldInvalid, ProviderOff, NotAllowed.
    """
    if context.provider is None:
        raise ProviderOff
    if len(subject) > SUBJECT_CHARS_MAX or not subject.isprintable():
        raise FieldInvalid("subject", f"at most {SUBJECT_CHARS_MAX} printable characters")
    issuer = context.provider.issuer
    async with context.app.work("identity.link") as work:
        before = await _target(work.db, caller, name)
        own = before.operator_id
        had = await links.subject_of(work.db, issuer, own) or ""
        if had == subject:
            return subject
        await links.unlink(work.db, own, issuer)
        if subject and not await links.link(work.db, own, issuer, subject, caller.name):
            raise SubjectTaken(subject)
        ended = await sessions.end(work.db, own, "link")
        await _changed(work, caller, own, "link", had=had, person=subject, sessions=ended)
    return subject


async def change_password(
    context: Context, caller: Caller, password: str, new_password: str, kept: int
) -> int:
    """Change the caller's own password and end its sessions but `kept`; how many.

    Refuses LoginRefused, TooManyAttempts, PasswordWeak, NotAllowed.
    """
    check_strength(new_password, caller.name)
    admitted = await attempts.admit(context, caller.name, "", caller.address)
    stored = admitted.operator.password_hash if admitted.operator is not None else None
    try:
        right = await context.room.verify(caller.address, stored, password)
        hashed = await context.room.hash(caller.address, new_password) if right else ""
    except Overloaded:
        await admitted.take_back(context)
        raise
    async with context.app.work("identity.password") as work:
        await access.acting(work.db, caller)
        own = caller.operator_id
        if right:
            right = await store.set_password(work.db, own, stored or "", hashed)
        if right:
            await admitted.succeed(work)
            ended = await sessions.end(work.db, own, "password", kept=kept)
            await _changed(work, caller, own, "password", sessions=ended)
            return len(ended)
        subject = ("operator", caller.operator_id)
        access.record_by(work, "password", caller, subject, outcome="wrong password")
    raise LoginRefused


async def show(context: Context, caller: Caller) -> OperatorRow:
    """The caller as it is stored now. Refuses NotAllowed."""
    async with context.app.db.connect() as db:
        return await access.acting(db, caller)


async def page(
    context: Context, caller: Caller, size: int, token: str, channel_no: str = ""
) -> tuple[list[OperatorRow], str]:
    """A page of operators by name, or of a channel's accounts, and the token of the next.

    Refuses FieldInvalid, NotAllowed.
    """
    if not 0 <= size <= PAGE_MAX:
        raise FieldInvalid("page_size", f"0 to {PAGE_MAX}")
    if token and not access.is_name(token):
        raise FieldInvalid("page_token", "not one of ours")
    most = size or PAGE_DEFAULT
    async with context.app.db.connect() as db:
        await access.acting(db, caller, ADMIN)
        rows = await store.page(db, token, most + 1, channel_no)
    return rows[:most], rows[most - 1].name if len(rows) > most else ""


async def _target(db: AsyncConnection, caller: Caller, name: str) -> OperatorRow:
    """The operator an admin changes, locked."""
    await access.acting(db, caller, ADMIN)
    row = await access.named(db, name)
    return await store.lock(db, row.operator_id)


async def _keep_an_admin(db: AsyncConnection, leaving: OperatorRow) -> None:
    """Refuses LastAdmin when no other enabled admin is left."""
    if ADMIN not in leaving.roles or leaving.disabled:
        return
    if not set(await store.lock_admins(db)) - {leaving.operator_id}:
        raise LastAdmin(leaving.name)


async def _end_all(db: AsyncConnection, operator_id: int, why: str) -> list[int]:
    """End the sessions and API tokens of an operator."""
    await sessions.revoke_tokens(db, operator_id)
    return await sessions.end(db, operator_id, why)


async def _changed(
    work: UnitOfWork,
    caller: Caller,
    operator_id: int,
    what: str,
    *,
    before: Facts = None,
    reason: str = "",
    **facts: object,
) -> OperatorRow:
    """The operator after a change, which is published and written into the audit log."""
    row = await store.lock(work.db, operator_id)
    subject = ("operator", operator_id)
    access.record_by(
        work, what, caller, subject, outcome="done", before=before, reason=reason, **facts
    )
    events.operator_changed(work, operator_id, what, row.roles, caller.operator_id)
    return row
