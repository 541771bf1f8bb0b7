"""Login through the OpenID provider: a browser brings a code, we decide what its person may do here.

Nothing is kept between the two calls: the state is sealed and carries what only this service may know, so any
replica finishes what another began. The code is good once, which is the provider's part.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from shoudan_identity import access, attempts, codes, logins, second_factor
from shoudan_identity.attempts import Admitted
from shoudan_identity.context import Context
from shoudan_identity.logins import DEVICE_CHARS_MAX, LOGINS_TOTAL, LoggedIn, Place
from shoudan_identity.provider import Person, Provider, Unbelieved
from shoudan_identity.refusals import (
    FieldInvalid,
    LoginRefused,
    NotLinked,
    ProviderOff,
    TooManyAttempts,
)
from shoudan_identity.rows import OperatorRow
from shoudan_identity.store import links
from shoudan_identity.store import operators as store
from shoudan_kit.audit_log.entries import Who
from shoudan_kit.secrets.sealing import Unsealable
from shoudan_kit.tasks.unit_of_work import UnitOfWork

STATE_S: Final = 600  # from the beginning to the code
PENDING_S: Final = 300  # from the code to the second factor
STATE_CHARS_MAX: Final = 2048
CODE_CHARS_MAX: Final = 4096
LOOPBACK: Final = ("127.0.0.1", "[::1]")  # RFC 8252 §7.3: any port of this machine, by its number
_STATE: Final = "oidc state"
_PENDING: Final = "oidc pending"


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the browser goes, and what comes back with it."""

    url: str
    state: str


@dataclass(frozen=True, slots=True)
class Brought:
    """What a client brings to finish: a code with its state, or what was pending with a code of the
    authenticator."""

    code: str = ""
    state: str = ""
    pending: str = ""
    totp: str = ""
    device: str = ""
    agent: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """The provider's word is believed; a code of the authenticator is missing."""

    sealed: str


async def start(context: Context, redirect: str, address: str) -> Begun:
    """Begin a login. Refuses ProviderOff, FieldInvalid, TooManyAttempts, ProviderUnavailable."""
    provider = _provider(context, address)
    if not _allowed(context, redirect):
        raise FieldInvalid("redirect_uri", "this machine's by number, or one of oidc_redirects")
    nonce, verifier = codes.secret(), codes.secret()
    state = _sealed(context, _STATE, STATE_S, redirect=redirect, nonce=nonce, verifier=verifier)
    url = await provider.authorization_url(redirect, state=state, nonce=nonce, verifier=verifier)
    return Begun(url, state)


async def finish(context: Context, brought: Brought) -> LoggedIn | Pending:
    """Open a session for the operator that is linked to the provider's person.

    Refuses ProviderOff, FieldInvalid, TooManyAttempts, ProviderUnavailable, LoginRefused, NotLinked.
    """
    provider = _provider(context, brought.address)
    why, person = "", None
    try:
        person = await _person(context, provider, brought)
    except Unbelieved as error:
        why = str(error)
    admitted = await _counted(context, person, brought)
    done: LoggedIn | Pending | None = None
    async with context.app.work("identity.login") as work:
        operator = await _linked(work, provider, person)
        if person is not None and operator is None:
            why = "no operator is linked to this subject"
        elif operator is not None and operator.disabled:
            why = "disabled"
        elif operator is not None and person is not None:
            done = await _decided(context, work, operator, person, brought)
            why = "" if done is not None else "wrong code"
        if admitted is not None and done is not None:
            await admitted.succeed(work)
        if why:
            _refused(context, work, operator, person, brought.address, why)
    outcome = "Pending" if isinstance(done, Pending) else "done"
    LOGINS_TOTAL("refused" if done is None else outcome).inc()
    if done is None:  # after the commit: the refusal is in the audit log
        raise NotLinked(person.subject) if person is not None and operator is None else LoginRefused
    return done


def _refused(
    context: Context,
    work: UnitOfWork,
    operator: OperatorRow | None,
    person: Person | None,
    address: str,
    why: str,
) -> None:
    """A refused login in the audit log; who is no operator stays there as a keyed digest."""
    if operator is not None:
        subject = ("operator", str(operator.operator_id))
    else:
        who = person.subject if person is not None else ""
        subject = ("provider subject", context.ring.mac("provider subject", who).hex())
    access.record(work, "login", Who("none", "", address), subject, outcome=why)


async def _person(context: Context, provider: Provider, brought: Brought) -> Person:
    """Who the provider says it is. Raises Unbelieved; refuses FieldInvalid, ProviderUnavailable."""
    if brought.pending:
        kept = _opened(context, _PENDING, brought.pending)
        if kept.get("issuer") != provider.issuer or "operator" not in kept:
            raise Unbelieved("another provider's")
        return Person(kept["subject"], frozenset())
    if not 1 <= len(brought.code) <= CODE_CHARS_MAX:
        raise FieldInvalid("code", f"1 to {CODE_CHARS_MAX} characters")
    kept = _opened(context, _STATE, brought.state)
    return await provider.person(
        brought.code, redirect=kept["redirect"], nonce=kept["nonce"], verifier=kept["verifier"]
    )


async def _counted(context: Context, person: Person | None, brought: Brought) -> Admitted | None:
    """Codes of an authenticator are counted like those of a login, by the name that the pending login was
    sealed with. Refuses TooManyAttempts."""
    if person is None or not brought.pending:
        return None
    name: str = _opened(context, _PENDING, brought.pending)["operator"]
    return await attempts.admit(context, name, brought.device[:DEVICE_CHARS_MAX], brought.address)


async def _linked(
    work: UnitOfWork, provider: Provider, person: Person | None
) -> OperatorRow | None:
    if person is None:
        return None
    found = await links.operator_of(work.db, provider.issuer, person.subject)
    return await store.lock(work.db, found) if found is not None else None


async def _decided(
    context: Context, work: UnitOfWork, operator: OperatorRow, person: Person, brought: Brought
) -> LoggedIn | Pending | None:
    """A session, what is still missing, or None for a wrong code."""
    second = not person.methods.isdisjoint(context.settings.oidc_second_factor)
    needed = access.needs_totp(operator) or operator.totp_sealed is not None
    if needed and not second and operator.totp_sealed is not None:
        if not brought.pending:
            return Pending(
                _sealed(
                    context,
                    _PENDING,
                    PENDING_S,
                    issuer=context.settings.oidc_issuer,
                    subject=person.subject,
                    operator=operator.name,
                )
            )
        if not await second_factor.use_code(context, work.db, operator, brought.totp):
            return None
        second = True
    place = Place(brought.device, brought.agent, brought.address)
    return await logins.open_at(
        context, work, operator, place, second, provider=context.settings.oidc_issuer
    )


def _provider(context: Context, address: str) -> Provider:
    """The provider, if there is one and this address has not called too often."""
    if context.provider is None:
        raise ProviderOff
    if not context.rates.take(attempts.network_of(address), context.app.clock.monotonic()):
        raise TooManyAttempts(1)
    return context.provider


def _allowed(context: Context, redirect: str) -> bool:
    if redirect in context.settings.oidc_redirects:
        return True
    try:
        parts = urlsplit(redirect)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme == "http"
        and port is not None
        and parts.netloc in {f"{host}:{port}" for host in LOOPBACK}
        and not parts.query
        and not parts.fragment
    )


def _sealed(context: Context, what: str, valid_s: int, **values: str) -> str:
    until = int(context.app.clock.now().timestamp()) + valid_s
    plain = orjson.dumps({**values, "until": until})
    return base64.urlsafe_b64encode(context.ring.seal("oidc", what, plain)).decode().rstrip("=")


def _opened(context: Context, what: str, sealed: str) -> dict[str, Any]:
    """What was sealed here lately. Raises Unbelieved."""
    if len(sealed) > STATE_CHARS_MAX or not sealed.isascii():
        raise Unbelieved("the state is not ours")
    try:
        raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
        kept: dict[str, Any] = orjson.loads(context.ring.open("oidc", what, raw))
    except (Unsealable, binascii.Error, ValueError):
        raise Unbelieved("the state is not ours") from None
    if kept["until"] < context.app.clock.now().timestamp():
        raise Unbelieved("begun too long ago")
    return kept
