"""Who may call which method: the contract's option `callers`, read once per method at the start."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from google.protobuf.descriptor_pool import Default

from shoudan.core.v1 import callers_pb2
from shoudan_kit.rpc.caller import Caller

VIEWER: Final = "viewer"
SUPPORT: Final = "support"
OPS: Final = "ops"
FINANCE_MAKER: Final = "finance-maker"
FINANCE_CHECKER: Final = "finance-checker"
ADMIN: Final = "admin"
ROLES: Final = (VIEWER, SUPPORT, OPS, FINANCE_MAKER, FINANCE_CHECKER, ADMIN)
CONSOLE: Final = "console"  # hands operators' calls on and may call nothing by itself
SERVICES: Final = ("order", "pay", "delivery", "erp_ingest", "gateway", "identity", "finance")


@dataclass(frozen=True, slots=True)
class OwnRows:
    """What an account of down channels may ask of a method: what is about `itself`, or the rows of the
    channel that the field `channel` names behind `prefix`, with the fields of `limits` as they say."""

    itself: bool = False
    channel: str = ""
    prefix: str = ""
    limits: tuple[tuple[str, frozenset[str]], ...] = ()

    def holds(self, request: Any, channels: Collection[str]) -> bool:
        """Whether a request asks of rows of these channels alone."""
        if self.itself:
            return True
        named: str = getattr(request, self.channel)
        number = named.removeprefix(self.prefix)
        own = bool(number) and number in channels and named.startswith(self.prefix)
        return own and all(getattr(request, name) in values for name, values in self.limits)


@dataclass(frozen=True, slots=True)
class Right:
    """The services and the operators' roles that may call one method; `anyone`: who calls is not asked;
    `operators`: every operator, one without a role too; `partners`: accounts of down channels, as far as
    their requests ask of their own rows.

    A method with `approvers` needs two persons: an operator proposes it, one of these roles approves it.
    """

    services: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    anyone: bool = False
    approvers: frozenset[str] = frozenset()
    operators: bool = False
    partners: OwnRows | None = None

    def allows(self, caller: Caller) -> bool:
        """Whether this caller may call the method; a partner's request is looked at, too, before it runs."""
        if self.anyone:
            return True
        if caller.kind == "partner":
            return self.partners is not None
        if caller.kind == "service":
            return caller.name in self.services
        return caller.kind == "operator" and (
            self.operators or not self.roles.isdisjoint(caller.roles)
        )

    @property
    def needed(self) -> str:
        """Who may, for people."""
        if self.anyone:
            return "anyone"
        if self.operators:
            return "an operator"
        partners = ("a partner",) if self.partners else ()
        roles = (one for one in ROLES if one in self.roles)
        return " or ".join((*sorted(self.services), *roles, *partners)) or "no caller"


# What begins with one of these changes nothing; a method that does is named otherwise.
READS: Final = ("Get", "List", "Query", "Search", "Verify", "Check", "Export")
READ: Final = frozenset({"Report", "WhoAmI"})

NONE: Final = Right()
ANYONE: Final = Right(anyone=True)
KNOWN: Final = Right(frozenset(SERVICES), frozenset(ROLES))


@cache
def right_of(service: str, method: str) -> Right:
    """Who may call a method of the contract, such as "shoudan.order.v1.OrderService", "GetOrder".

    A method that is not of the contract has no callers. ValueError: a role or service that does not exist.
    """
    try:
        found: Any = Default().FindServiceByName(service)
    except KeyError:
        return NONE
    return _right(found.methods_by_name[method]) if method in found.methods_by_name else NONE


def _right(method: Any) -> Right:
    callers = method.GetOptions().Extensions[callers_pb2.callers]
    roles, services = frozenset[str](callers.roles), frozenset[str](callers.services)
    approvers = frozenset[str](callers.approvers)
    if unknown := ((roles | approvers) - set(ROLES)) | (services - set(SERVICES)):
        raise ValueError(f"{method.full_name}: no such caller: {', '.join(sorted(unknown))}")
    every = frozenset(ROLES) if VIEWER in roles or callers.operators else roles
    partners = _own_rows(method, callers.partners) if callers.HasField("partners") else None
    if approvers and partners:
        raise ValueError(f"{method.full_name}: what two operators decide is not open to partners")
    return Right(services, every, callers.anyone, approvers, callers.operators, partners)


def _own_rows(method: Any, given: callers_pb2.OwnRows) -> OwnRows:
    """As the contract says it. ValueError: not one of both, or a field that the request does not have."""
    limits = tuple((one.field, frozenset[str](one.values)) for one in given.limits)
    named = {*(name for name, _values in limits), *((given.channel,) if given.channel else ())}
    unknown = named - {one.name for one in method.input_type.fields}
    if unknown or given.itself == bool(given.channel):
        raise ValueError(f"{method.full_name}: partners: {', '.join(sorted(unknown)) or 'whose?'}")
    return OwnRows(given.itself, given.channel, given.prefix, limits)


def changes(method: str) -> bool:
    """Whether a method of this name changes something: its calls by operators are in the audit log."""
    return not method.startswith(READS) and method not in READ


def methods(*services: str) -> Iterator[tuple[str, str, Right]]:
    """Every method of these services of the contract with its right: service, method, right."""
    for service in services:
        found: Any = Default().FindServiceByName(service)
        for one in found.methods:
            yield service, one.name, right_of(service, one.name)
