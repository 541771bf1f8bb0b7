"""What a caller may do, the token that says so, and its rows in the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_identity.context import Context
from shoudan_identity.refusals import FieldInvalid, NotAllowed, NotFound
from shoudan_identity.rows import OperatorRow
from shoudan_identity.store import operators as store
from shoudan_kit.audit_log import entries
from shoudan_kit.audit_log.entries import Entry, Facts, Who
from shoudan_kit.rpc.rights import ADMIN, FINANCE_CHECKER, FINANCE_MAKER, ROLES
from shoudan_kit.tasks.unit_of_work import UnitOfWork

Subject = tuple[str, str | int]  # kind and key

TOTP_ROLES: Final = frozenset({FINANCE_MAKER, FINANCE_CHECKER, ADMIN})
NAME_CHARS_MAX: Final = 40
CHANNELS_MAX: Final = 20  # of one account: they stand in each of its tokens
CHANNEL_CHARS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose token calls, and from where."""

    operator_id: int
    name: str
    roles: frozenset[str]
    address: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class Access:
    """A token that services verify by themselves."""

    token: str
    expires: datetime


def needs_totp(operator: OperatorRow) -> bool:
    """Whether its roles move money or administer operators, or it comes from outside."""
    return bool(operator.channels) or not TOTP_ROLES.isdisjoint(operator.roles)


async def issue(
    context: Context, operator: OperatorRow, roles: Sequence[str], channels: Sequence[str] = ()
) -> Access:
    """An access token of the operator with these roles, or channels. Refuses SecretUnreadable."""
    signer = await context.keys.signer()
    valid_s = context.settings.access_token_s
    expires = datetime.fromtimestamp(int(context.app.clock.now().timestamp()) + valid_s, UTC)
    token = signer.issue(str(operator.operator_id), operator.name, roles, valid_s, channels)
    return Access(token, expires)


async def acting(db: AsyncConnection, caller: Caller, role: str = "") -> OperatorRow:
    """The caller as it is now: a token outlives what it says. Refuses NotAllowed."""
    row = await store.by_id(db, caller.operator_id)
    if row is None or row.disabled:
        raise NotAllowed("an operator in force")
    if role and not (role in row.roles and role in caller.roles):
        raise NotAllowed(role)
    return row


async def acting_as_one_of(db: AsyncConnection, caller: Caller, roles: Sequence[str]) -> None:
    """The caller has one of these roles now. Refuses NotAllowed."""
    row = await acting(db, caller)
    if not set(row.roles) & caller.roles & set(roles):
        raise NotAllowed(" or ".join(roles))


async def whose(db: AsyncConnection, caller: Caller, name: str) -> OperatorRow:
    """The operator meant: the caller itself without a name, else one of an admin's choice.

    Refuses NotAllowed, NotFound.
    """
    if not name or name == caller.name:
        return await acting(db, caller)
    await acting(db, caller, ADMIN)
    return await named(db, name)


async def named(db: AsyncConnection, name: str) -> OperatorRow:
    """The operator of this name. Refuses NotFound."""
    row = await store.by_name(db, name) if is_name(name) else None
    if row is None:
        raise NotFound("operator", name)
    return row


def is_name(text: str) -> bool:
    """Whether an operator may have this login name."""
    allowed = all(c.isascii() and (c.islower() or c.isdigit() or c in "-._") for c in text)
    return 1 <= len(text) <= NAME_CHARS_MAX and text[0].isalpha() and allowed


def checked_roles(roles: Sequence[str]) -> tuple[str, ...]:
    """Roles in their order, each once. Refuses FieldInvalid."""
    if unknown := sorted(set(roles) - set(ROLES)):
        raise FieldInvalid("roles", f"no such role: {unknown[0]}; of {', '.join(ROLES)}")
    return tuple(one for one in ROLES if one in roles)


def checked_channels(channels: Sequence[str]) -> tuple[str, ...]:
    """Channels in their order, each once. Refuses FieldInvalid."""
    fine = all(1 <= len(one) <= CHANNEL_CHARS_MAX and one.isprintable() for one in channels)
    if not fine or len(channels) > CHANNELS_MAX:
        form = f"at most {CHANNELS_MAX} numbers of at most {CHANNEL_CHARS_MAX} characters"
        raise FieldInvalid("channels", form)
    return tuple(dict.fromkeys(channels))


def record(
    work: UnitOfWork,
    action: str,
    who: Who,
    subject: Subject,
    *,
    outcome: str = "done",
    before: Facts = None,
    reason: str = "",
    **after: object,
) -> None:
    """Append a row to the audit log, in the transaction of what it tells of; never with a name."""
    done = outcome == "done"
    facts = after if done else {**after, "why": outcome}
    entry = Entry(
        *subject,
        before,
        facts or None,
        reason,
        outcome="done" if done else "refused",
        action=action,
        who=who,
    )
    entries.record(work, entry)


def record_by(
    work: UnitOfWork,
    action: str,
    caller: Caller,
    subject: Subject,
    *,
    outcome: str = "done",
    before: Facts = None,
    reason: str = "",
    **after: object,
) -> None:
    """The same, of a caller whose token was believed."""
    who = operator_at(caller.operator_id, caller.address)
    record(work, action, who, subject, outcome=outcome, before=before, reason=reason, **after)


def operator_at(operator_id: int, address: str) -> Who:
    """An operator, by reference."""
    return Who("operator", str(operator_id), address)
