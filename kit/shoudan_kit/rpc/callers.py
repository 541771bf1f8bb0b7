"""Who is calling, and may they: one check before every method of every server here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import unquote

from google.protobuf.descriptor_pool import Default
from grpc import StatusCode as Code
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from shoudan_kit.config import ProcessSettings
from shoudan_kit.rpc.caller import NO_CALLER, Caller, peer_of
from shoudan_kit.rpc.messages import BEARER, RpcContext
from shoudan_kit.rpc.refusal import KitRefusal
from shoudan_kit.rpc.rights import ANYONE, CONSOLE, KNOWN, ROLES, SERVICES, Right, right_of

Mode = Literal["enforce", "loopback"]
Verify = Callable[[str], Caller]  # whose token it is; raises a Refusal

_PERSONS: Final = ("operator", "partner")
BY: Final = "by"  # the field of a request that says who did it
_STANDARD: Final = {health.SERVICE_NAME: "health", reflection.SERVICE_NAME: "reflection"}
# How gRPC writes the peer of a connection from this machine.
_LOOPBACK: Final = ("ipv4:127.", "ipv6:%5B::1%5D:", "ipv6:[::1]:", "unix:")

# A caller from this machine, where that is enough; what its requests say of a person is believed.
LOCAL_OWNER: Final = Caller("none", "local owner")

_current: ContextVar[Caller] = ContextVar("shoudan_caller", default=LOCAL_OWNER)
_method: ContextVar[str] = ContextVar("shoudan_method", default="")
_context: ContextVar[RpcContext | None] = ContextVar("shoudan_rpc_context", default=None)
_handed_on_from: ContextVar[str] = ContextVar("shoudan_handed_on_from", default="")


class NoCaller(KitRefusal, code=Code.UNAUTHENTICATED):
    """The call has neither a service's certificate nor an operator's token."""

    method: str


class NotAllowed(KitRefusal, code=Code.PERMISSION_DENIED):
    """The caller is known and may not call this method."""

    method: str
    caller: str
    needed: str


def current_caller() -> Caller:
    """Who made the call that this code answers; only inside a servicer, not in work it hands on."""
    return _current.get()


def hand_on_from(address: str, context: RpcContext) -> None:
    """The call in progress was made by another at this address and handed on by one of our processes.

    Only a service or the console is believed, and a caller that is trusted for calling from this machine.
    """
    peer = peer_of(context)
    handing_on = (*SERVICES, CONSOLE)
    if peer.name in handing_on if peer is not None else _current.get() is LOCAL_OWNER:
        _handed_on_from.set(address)


def handed_on_from() -> str:
    """Where a call was made that a service handed on; empty for one of its own."""
    return _handed_on_from.get()


def current_address() -> str:
    """The address that call came from, without its port; empty for a socket in a file, and without a call."""
    if handed_on := handed_on_from():
        return handed_on
    context = _context.get()
    return "" if context is None else address_of(context)


def current_method() -> str:
    """The method that was called, such as "AuditService/DecideAudit"; empty without a call."""
    return _method.get().rpartition(".")[2]


def address_of(context: RpcContext) -> str:
    """The address of the connection, without its port; empty for a socket in a file."""
    kind, _, rest = unquote(context.peer()).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind.startswith("ipv") else ""


@dataclass(frozen=True, slots=True)
class Access:
    """What one method asks of its callers. `names_doer`: its request has a field `by`."""

    path: str
    right: Right
    names_doer: bool = False

    def fill_doer(self, request: Any, caller: Caller) -> None:
        """An operator is who the token says, whatever the request says of it."""
        if self.names_doer and caller.kind in _PERSONS:
            request.by = caller.name

    def check_own(self, request: Any, caller: Caller) -> None:
        """An account of down channels asks of its own rows alone. Raises NotAllowed."""
        if caller.kind != "partner":
            return
        partners = self.right.partners
        if partners is None or not partners.holds(request, caller.channels):
            raise NotAllowed(self.path, "partner", "own channels")


def access_of(service: str, method: str, opened: Sequence[str] = ()) -> Access:
    """What the contract says of a method. Health and reflection are open when `opened` names them,
    else every known caller may ask them."""
    path = f"/{service}/{method}"
    if service in _STANDARD:
        return Access(path, ANYONE if _STANDARD[service] in opened else KNOWN)
    return Access(path, right_of(service, method), names_doer=_names_doer(service, method))


def _names_doer(service: str, method: str) -> bool:
    try:
        found: Any = Default().FindServiceByName(service)
    except KeyError:
        return False
    return BY in found.methods_by_name[method].input_type.fields_by_name


def _no_tokens(_: str) -> Caller:
    raise NoCaller("this process verifies no tokens")


class Callers:
    """Says who calls. A token goes before a certificate: an operator's command has both."""

    def __init__(self, mode: Mode, verify: Verify = _no_tokens, owner: str = "") -> None:
        """In mode `loopback` who calls from this machine without a token may call everything; so may in
        any mode who shows the certificate of `owner`."""
        self._mode, self._verify = mode, verify
        self._owner = Caller("operator", owner, frozenset(ROLES)) if owner else None

    def admit(self, access: Access, authorization: str, context: RpcContext) -> Caller:
        """Who calls. Raises NoCaller, NotAllowed, and what the verifier refuses a token with."""
        if access.right.anyone:  # not even a token that has expired stands in the way of a login
            caller = NO_CALLER
        elif authorization:
            caller = self._bearer(access, authorization)
        else:
            caller = peer_of(context) or self._local(access, context)
            if self._owner is not None and (caller.kind, caller.name) == (
                "service",
                self._owner.name,
            ):
                caller = self._owner
        _current.set(caller)
        _context.set(context)
        _method.set(access.path)
        if not (caller is LOCAL_OWNER or access.right.allows(caller)):
            named = {"service": caller.name, "partner": "partner"}
            name = named.get(caller.kind, ", ".join(sorted(caller.roles)))
            raise NotAllowed(access.path, name, access.right.needed)
        return caller

    def _local(self, access: Access, context: RpcContext) -> Caller:
        """The caller that is trusted for where the call comes from. Raises NoCaller."""
        if self._mode == "loopback" and context.peer().startswith(_LOOPBACK):
            return LOCAL_OWNER
        raise NoCaller(access.path)

    def _bearer(self, access: Access, authorization: str) -> Caller:
        if not authorization.startswith(BEARER):
            raise NoCaller(access.path)
        return self._verify(authorization.removeprefix(BEARER))


LOCAL: Final = Callers("loopback")


def mode_of(settings: ProcessSettings) -> Mode:
    """Whether callers must show who they are."""
    if settings.callers != "auto":
        return settings.callers
    tls = settings.tls_files is not None
    return "enforce" if tls or settings.profile == "prod" else "loopback"
