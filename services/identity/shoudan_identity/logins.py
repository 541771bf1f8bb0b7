"""Login: name, password and code, checked in this order at the same cost for every name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shoudan_identity import access, attempts, codes, events, second_factor, sessions
from shoudan_identity.attempts import Admitted
from shoudan_identity.context import Context
from shoudan_identity.passwords import check_strength
from shoudan_identity.refusals import (
    LoginRefused,
    Overloaded,
    PasswordMustChange,
    PasswordWeak,
    TooManyAttempts,
    TotpRequired,
)
from shoudan_identity.rows import OperatorRow
from shoudan_identity.sessions import Tokens
from shoudan_identity.store import operators as store
from shoudan_kit import metrics
from shoudan_kit.audit_log.entries import Who
from shoudan_kit.tasks.unit_of_work import UnitOfWork

LOGINS_TOTAL: Final = metrics.counter("logins_total", "Logins of operators.", ("outcome",))
DEVICE_CHARS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Credentials:
    """What someone gives to log in, and from where."""

    name: str
    password: str
    totp: str = ""
    new_password: str = ""
    device: str = ""
    agent: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """From where someone logs in."""

    device: str
    agent: str
    address: str


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """Tokens, and what the device keeps for its next login."""

    operator: OperatorRow
    tokens: Tokens
    device: str
    enrolment_required: bool


async def login(context: Context, given: Credentials) -> LoggedIn:
    """Open a session; without the second factor its roles need, only an access token without roles.

    Refuses LoginRefused, TooManyAttempts, Overloaded, TotpRequired, PasswordMustChange, PasswordWeak.
    """
    device = given.device[:DEVICE_CHARS_MAX]
    try:
        admitted = await attempts.admit(context, given.name, device, given.address)
    except TooManyAttempts:
        await _refused_for_a_wait(context, given)
        raise
    try:
        checked, new_hash = await _check(context, admitted, given)
    except (Overloaded, TotpRequired, PasswordMustChange, PasswordWeak) as refusal:
        await admitted.take_back(context)
        LOGINS_TOTAL(type(refusal).__name__).inc()
        raise
    done: LoggedIn | None = None
    async with context.app.work("identity.login") as work:
        why, operator, second = await _admit(context, work, admitted, checked, given)
        if operator is None or why:
            _refused(context, work, admitted.operator, given, why)
        else:
            done = await _open(context, work, admitted, operator, given, second, new_hash)
    LOGINS_TOTAL("refused" if done is None else "done").inc()
    if done is None:  # after the commit: the refusal is in the audit
        raise LoginRefused
    return done


async def _refused_for_a_wait(context: Context, given: Credentials) -> None:
    """An attempt that was not looked at: counted, and of each address the first ones of a minute written."""
    LOGINS_TOTAL(TooManyAttempts.__name__).inc()
    now = context.app.clock.monotonic()
    if not context.waits.take(attempts.network_of(given.address), now):
        return
    async with context.app.work("identity.wait") as work:
        _refused(context, work, None, given, "too many attempts")


async def _check(context: Context, admitted: Admitted, given: Credentials) -> tuple[bool, str]:
    """Whether the password is right, and the hash of the one that replaces it."""
    operator = admitted.operator
    stored = operator.password_hash if operator is not None else None
    if not await context.room.verify(given.address, stored, given.password):
        return False, ""
    assert operator is not None
    if operator.disabled:
        return True, ""
    if operator.totp_sealed is not None and not given.totp:
        raise TotpRequired
    if operator.password_until is None:
        return True, ""
    if not given.new_password:
        raise PasswordMustChange
    check_strength(given.new_password, operator.name)
    if given.new_password == given.password:
        raise PasswordWeak("another one than the one-time password")
    return True, await context.room.hash(given.address, given.new_password)


async def _admit(
    context: Context, work: UnitOfWork, admitted: Admitted, checked: bool, given: Credentials
) -> tuple[str, OperatorRow | None, bool]:
    """Why not, else the operator as it is now and whether a code of the second factor was used."""
    if admitted.operator is None:
        return "unknown name", None, False
    operator = await store.lock(work.db, admitted.operator.operator_id)
    if not checked or operator.password_hash != admitted.operator.password_hash:
        return "wrong password", operator, False
    if operator.disabled:
        return "disabled", operator, False
    now = context.app.clock.now()
    if operator.password_until is not None and operator.password_until <= now:
        return "one-time password expired", operator, False
    if operator.totp_sealed is None:
        return "", operator, False
    if not await second_factor.use_code(context, work.db, operator, given.totp):
        return "wrong code", operator, False
    return "", operator, True


async def _open(
    context: Context,
    work: UnitOfWork,
    admitted: Admitted,
    operator: OperatorRow,
    given: Credentials,
    second: bool,
    new_hash: str,
) -> LoggedIn:
    """What a login that is right changes and gives."""
    own = operator.operator_id
    if new_hash:
        await store.set_password(work.db, own, operator.password_hash, new_hash)
        events.operator_changed(work, own, "password", operator.roles, own)
    await admitted.succeed(work)
    place = Place(given.device, given.agent, given.address)
    return await open_at(context, work, operator, place, second, password_changed=bool(new_hash))


async def open_at(
    context: Context,
    work: UnitOfWork,
    operator: OperatorRow,
    place: Place,
    second: bool,
    *,
    provider: str = "",
    password_changed: bool = False,
) -> LoggedIn:
    """The session of an operator who has shown who it is; without the second factor that its roles need
    only an access token to enrol with."""
    own = operator.operator_id
    device = place.device[:DEVICE_CHARS_MAX] or codes.secret()
    if not (await store.known(work.db, own, codes.digest(device), place.address))[0]:
        device = codes.secret()  # never one that someone else chose
    await store.seen(work.db, own, codes.digest(device))
    required = access.needs_totp(operator) and not second
    if required:
        tokens = Tokens(await access.issue(context, operator, ()))
    else:
        tokens = await sessions.open_session(
            context, work, operator, second_factor=second, address=place.address, agent=place.agent
        )
    access.record(
        work,
        "login",
        access.operator_at(own, place.address),
        ("session", tokens.session_id),
        second_factor=second,
        enrolment_required=required,
        provider=provider,
        password_changed=password_changed,
    )
    return LoggedIn(operator, tokens, device, required)


def _refused(
    context: Context, work: UnitOfWork, operator: OperatorRow | None, given: Credentials, why: str
) -> None:
    """A refused login in the audit log. A name that was tried may be a person's, or a password: what
    stays for ever is a keyed digest, the same for the same name."""
    if operator is None:
        subject = ("login name", context.ring.mac("login name", given.name).hex())
    else:
        subject = ("operator", str(operator.operator_id))
    access.record(work, "login", Who("none", "", given.address), subject, outcome=why)
