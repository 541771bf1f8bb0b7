"""PayServer's query strings: filters, sorting, pages and links to fetch, in the documented grammar."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from shoudan.pay.v1 import payment_service_pb2 as pb
from shoudan_gateway import parameters
from shoudan_gateway.partners.payserver.authenticate import PARAMETER, uuid_of
from shoudan_gateway.protocol import (
    Caller,
    GatewayError,
    Inbound,
    Malformed,
    ParameterError,
    Problem,
)

LIMIT_MAX: Final = 100
OFFSET_MAX: Final = 100_000  # rows: a page further down is asked for by a narrower createdAt
VALUES_MAX: Final = 100
ORDERINGS_MAX: Final = 5
DIGITS_MAX: Final = 9

# Links that may be named in expand; what a collection does not link to, or only as a list, stays a link.
LINKS: Final = frozenset({"payMode", "payOrder", "merchant", "payModeTemplate"})
MERCHANT: Final = frozenset({"merchantHref", "merchantUUID"})
RESERVED: Final = frozenset({"offset", "limit", "orderBy", "expand", PARAMETER}) | MERCHANT

_ORDERING: Final = re.compile(r"([A-Za-z]{1,32})(?: +(asc|desc))?", re.IGNORECASE)
_RANGE: Final = re.compile(r"([\[(])([^,]*),([^,]*)([\])])")
_CALL: Final = re.compile(r"(IN|NOT|NOTIN|OR)\((.*)\)", re.DOTALL)

_IN, _NOT_IN, _LIKE = pb.OPERATOR_IN, pb.OPERATOR_NOT_IN, pb.OPERATOR_LIKE


def page(
    inbound: Inbound, collection: pb.Collection.ValueType, caller: pb.Caller | None = None
) -> pb.ListResourcesRequest:
    """The page a query string asks for. Raises Malformed."""
    params = parameters.pairs(inbound.query)
    request = pb.ListResourcesRequest(
        caller=caller or scope(inbound, params),
        collection=collection,
        offset=_number(params, "offset", 0, OFFSET_MAX),
        limit=_number(params, "limit", 1, LIMIT_MAX),
        orderings=orderings(params),
        expand=_links(params.get("expand", "")),
    )
    for name, value in params.items():
        if name not in RESERVED:
            request.filters.extend(_filters(name, value))
    return request


def merchant_of(caller: Caller, params: Mapping[str, str]) -> tuple[str, str]:
    """The merchant meant, by uuid and link: the one named, else the token's; ("", "") for none.

    Raises Malformed for a link without a uuid, Problem when the caller may not act for that merchant.
    """
    href, named = params.get("merchantHref", ""), params.get("merchantUUID", "")
    if not href and not named:
        return caller.merchant_uuid, caller.merchant_href
    uuid = uuid_of(href or named)
    if not uuid or (href and named and uuid != named):
        raise Malformed("merchantHref" if href else "merchantUUID", ParameterError.UNREADABLE)
    if not caller.everyone and uuid != caller.merchant_uuid:
        raise Problem(GatewayError.ADDRESS_REFUSED)
    return uuid, href


def required_merchant(caller: Caller, params: Mapping[str, str]) -> tuple[str, str]:
    """The same, where one must be meant. Raises Malformed."""
    uuid, href = merchant_of(caller, params)
    if not uuid:
        raise Malformed("merchantHref", ParameterError.MISSING)
    return uuid, href


def scope(inbound: Inbound, params: Mapping[str, str] | None = None) -> pb.Caller:
    """Whose rows exist for this call: the merchant's named or the token's; all for who may see all."""
    caller = admitted(inbound)
    named = bool(params) and not MERCHANT.isdisjoint(params or {})
    if caller.everyone and not named:
        return pb.Caller()
    return pb.Caller(merchant_uuid=required_merchant(caller, params or {})[0])


def admitted(inbound: Inbound) -> Caller:
    """The authenticated caller."""
    assert inbound.caller is not None, "authenticate admits or refuses"
    return inbound.caller


def orderings(params: Mapping[str, str]) -> list[pb.Ordering]:
    """`uiOrder desc,createdAt`. Raises Malformed."""
    text = params.get("orderBy", "")
    parts = text.split(",") if text else []
    if len(parts) > ORDERINGS_MAX:
        raise Malformed("orderBy", ParameterError.UNREADABLE)
    found: list[pb.Ordering] = []
    for part in parts:
        key = _ORDERING.fullmatch(part.strip())
        if key is None:
            raise Malformed("orderBy", ParameterError.UNREADABLE)
        found.append(pb.Ordering(field=key[1], descending=(key[2] or "").lower() == "desc"))
    return found


def echoed(inbound: Inbound) -> str:
    """The request's own address, as a list's href repeats it; never with the token."""
    parts = [p for p in inbound.query.split("&") if p and p.partition("=")[0] != PARAMETER]
    query = "?" + "&".join(parts) if parts else ""
    return f"{inbound.base_url}{inbound.path}{query}"


def _links(text: str) -> list[str]:
    names = [name.strip() for name in text.split(";") if name.strip()]
    if any(name not in LINKS for name in names):
        raise Malformed("expand", ParameterError.UNREADABLE)
    return names


def _number(params: Mapping[str, str], name: str, low: int, high: int) -> int:
    text = params.get(name, "")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX):
        raise Malformed(name, ParameterError.UNREADABLE)
    if not low <= int(text) <= high:
        raise Malformed(name, ParameterError.UNREADABLE)
    return int(text)


def _filters(name: str, value: str) -> Iterator[pb.Filter]:
    """attr=value, a*b, [a,b], (a,b), IN(…), NOT(…), NOTIN(…), OR(…)."""
    if found := _RANGE.fullmatch(value):
        opened, low, high, closed = found.groups()
        if low:
            yield _filter(name, pb.OPERATOR_FROM if opened == "[" else pb.OPERATOR_ABOVE, [low])
        if high:
            yield _filter(name, pb.OPERATOR_TO if closed == "]" else pb.OPERATOR_BELOW, [high])
        return
    if found := _CALL.fullmatch(value):
        values = [one.strip() for one in found[2].split(",")]
        if len(values) > VALUES_MAX:
            raise Malformed(name[:64], ParameterError.UNREADABLE)
        wild = found[1] == "OR" and "*" in found[2]
        yield _filter(name, _NOT_IN if "NOT" in found[1] else _LIKE if wild else _IN, values)
        return
    yield _filter(name, _LIKE if "*" in value else _IN, [value])


def _filter(name: str, operator: Any, values: list[str]) -> pb.Filter:
    return pb.Filter(field=name, operator=operator, values=values)
