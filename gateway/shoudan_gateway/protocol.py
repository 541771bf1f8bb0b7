"""The words every partner protocol is written in: Inbound, Outbound, Field, Endpoint, Partner."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from enum import Enum, StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

import msgspec
from google.protobuf.message import Message
from multidict import CIMultiDict, CIMultiDictProxy

from shoudan_gateway.config import GatewaySettings
from shoudan_kit.clock import BEIJING
from shoudan_kit.credentials.fetched import FetchedSecrets
from shoudan_kit.limits.rates import Drawn, Rate
from shoudan_kit.rpc.refusal import Refused

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

JSON = "application/json; charset=utf-8"  # readers without it take Latin-1 for granted
TEXT = "text/plain; charset=utf-8"
MARKDOWN = "text/markdown; charset=utf-8"


class ParameterError(StrEnum):
    """What is wrong with one parameter; each partner has its own words for it."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    REPEATED = "repeated"
    CONFLICTING = "conflicting"


class Malformed(Exception):
    """A parameter is missing or unreadable. Rendered by the partner, never by us."""

    def __init__(self, name: str, error: ParameterError, detail: str = "") -> None:
        super().__init__(f"{name}: {error} {detail}".rstrip())
        self.name, self.error, self.detail = name, error, detail


class GatewayError(Enum):
    """Why a request is turned away before or beside the services; the value is the HTTP status."""

    status: int

    def __new__(cls, word: str, status: int) -> Self:
        """Two troubles may share a status, so the word is the value."""
        one = object.__new__(cls)
        one._value_ = word
        one.status = status
        return one

    NOT_HTTP = ("not_http", 400)
    SIGN_MISSING = ("sign_missing", 401)
    TOKEN_MISSING = ("token_missing", 401)
    TOKEN_WRONG = ("token_wrong", 401)
    NOT_ALLOWED = ("not_allowed", 403)
    SIGN_WRONG = ("sign_wrong", 403)
    ADDRESS_REFUSED = ("address_refused", 403)
    PATH_UNKNOWN = ("path_unknown", 404)
    METHOD_REFUSED = ("method_refused", 405)
    BODY_LATE = ("body_late", 408)
    BODY_TOO_LARGE = ("body_too_large", 413)
    QUERY_TOO_LONG = ("query_too_long", 414)
    MEDIA_TYPE_UNKNOWN = ("media_type_unknown", 415)
    TOO_MANY_CALLS = ("too_many_calls", 429)
    HEADERS_TOO_LARGE = ("headers_too_large", 431)
    SENDER_GONE = ("sender_gone", 499)  # hung up before its request was whole; counted, never read
    BROKEN = ("broken", 500)
    BUSY = ("busy", 503)  # nothing was begun
    NO_ANSWER = ("no_answer", 503)  # something may have happened


class Problem(Exception):
    """A request turned away by the chassis; `trace` finds the log line of a BROKEN one."""

    def __init__(self, error: GatewayError, trace: str = "") -> None:
        super().__init__(error.value)
        self.error, self.trace = error, trace


@dataclass(frozen=True, slots=True)
class ChannelRule:
    """What the catalogue says of one down channel, as far as its calls are concerned."""

    channel_no: str
    auth_mode: str = ""
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    word_status: bool = False
    rate_per_s: int = 0  # of all gateways together; 0: as the settings say
    calls_max: int = 0
    version: str = "0"  # of our own protocol that it is pinned to
    # Numbers of the stored credentials among the keys: those of the first ones.
    credential_ids: tuple[int, ...] = ()


class Caller(msgspec.Struct, frozen=True):
    """The caller that a partner's own check has authenticated; `everyone`: may act for all merchants."""

    merchant_uuid: str = ""
    merchant_href: str = ""
    everyone: bool = False


class Quota(msgspec.Struct, frozen=True):
    """One limit of a caller, and what one request has left of it at this gateway."""

    name: str
    rate: Rate
    drawn: Drawn


class Places(msgspec.Struct, frozen=True):
    """The calls that a caller may have in flight, and how many more it may have at this gateway."""

    calls_max: int
    left: int


class Nonce(msgspec.Struct, frozen=True):
    """The nonce of a signed call; it travels with the write. `call_id`: this request, resent or not."""

    text: str
    call_id: int
    keep_s: int


class Inbound(msgspec.Struct, frozen=True):
    """One HTTP request within the limits, its parameters merged; admitted when `channel` is set."""

    method: str
    path: str
    params: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    query: str = ""
    body: bytes = b""
    headers: CIMultiDictProxy[str] = msgspec.field(
        default_factory=lambda: CIMultiDictProxy(CIMultiDict[str]())
    )
    remote: str = ""
    path_params: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    channel: ChannelRule | None = None
    caller: Caller | None = None
    quotas: tuple[Quota, ...] = ()  # what it was counted against
    places: Places | None = None  # of an admitted caller
    authorization: str = ""  # an operator's token, for a service that must know who calls
    handed_on: bool = False  # a write at the internal port: its caller is named to the service
    nonce: Nonce | None = None  # of a signed write, which uses it up
    base_url: str = ""  # what links in answers begin with
    version: str = "0"  # of the channels' protocol that it is read and answered in


class File(msgspec.Struct, frozen=True):
    """A file on its way: its size, and its pieces."""

    bytes: int
    pieces: AsyncIterator[bytes]


class Outbound(msgspec.Struct, frozen=True):
    """An answer: a JSON object or list, or bytes of another type."""

    status: int
    body: Mapping[str, Any] | list[Any] | bytes
    content_type: str = JSON
    retry_after_s: int | None = None
    replayed: bool = False  # what an earlier call with this number was answered
    error_headers: Mapping[str, str] | None = None  # headers of an error (advice.py)
    file: File | None = None  # sent piece by piece in place of the body
    headers: Mapping[str, str] | None = None  # beside, or in place of, those of every answer


class Reader(Protocol):
    """Turns the text of one parameter into a field of ours, and describes itself for OpenAPI."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """The JSON schema of the text."""
        ...

    def __call__(self, value: str) -> str | int:
        """The value. ValueError on what it is not."""
        ...


class Field(msgspec.Struct, frozen=True):
    """One row of a partner's parameter table."""

    wire: str  # their name
    ours: str  # field of the request message; empty: read by the partner's own code
    about: str  # their words
    read: Reader
    required: bool = True
    aliases: tuple[str, ...] = ()

    def optional(self, note: str = "") -> Field:
        """The same field where it may be left out."""
        return msgspec.structs.replace(self, about=self.about + note, required=False)


def value_of(request: Inbound, row: Field) -> str:
    """The one text given under any of the field's names, "" when none is. Raises Malformed."""
    value = request.params.get(row.wire, "")
    for alias in row.aliases:
        other = request.params.get(alias, "")
        if other and value and other != value:
            raise Malformed(alias, ParameterError.CONFLICTING, row.wire)
        value = value or other
    return value


def values_of(request: Inbound, rows: tuple[Field, ...]) -> dict[str, Any]:
    """The values of a parameter table by their wire names; what is absent is left out. Raises Malformed."""
    values: dict[str, Any] = {}
    for row in rows:
        text = value_of(request, row) if row.aliases else request.params.get(row.wire, "")
        if not text:
            if row.required:
                raise Malformed(row.wire, ParameterError.MISSING)
            continue
        try:
            values[row.wire] = row.read(text)
        except ValueError as error:
            raise Malformed(row.wire, ParameterError.UNREADABLE, str(error)) from None
    return values


def flat(message: type[Q], rows: tuple[Field, ...], **fixed: Any) -> Callable[[Inbound], Q]:
    """A reader for a flat table of parameters; `fixed` are fields the endpoint itself decides."""
    names = {row.wire: row.ours for row in rows}

    def read(request: Inbound) -> Q:
        values = values_of(request, rows)
        return message(**{names[wire]: value for wire, value in values.items()}, **fixed)

    return read


class Batch(msgspec.Struct, frozen=True):
    """A batch RPC: requests in flight are gathered; one item in, one result or refusal out."""

    method: str  # "shoudan.order.v1.OrderService/CreateOrders"
    items: str  # the repeated field of its request; the answer's is `results`


class Unary(msgspec.Struct, frozen=True):
    """An RPC called once per request."""

    method: str


class Stream(msgspec.Struct, frozen=True):
    """An RPC whose answer is a file in pieces (`body`), the first with its size (`total_bytes`)."""

    method: str


Call = Batch | Unary | Stream


class Ending(msgspec.Struct, frozen=True):
    """A call that is to end: since when callers are to leave it, and when it is gone."""

    since: date
    sunset: date

    def headers(self) -> dict[str, str]:
        """What every answer says of it. Source: RFC 9745, RFC 8594."""
        begin, end = (
            datetime.combine(day, time(), BEIJING).astimezone(UTC)
            for day in (self.since, self.sunset)
        )
        return {
            "Deprecation": f"@{int(begin.timestamp())}",
            "Sunset": format_datetime(end, usegmt=True),
        }


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[Q, A]):
    """One documented URL: how to read it, what to call, how to answer."""

    path: str  # may hold {names}
    methods: frozenset[str]
    source: str  # where it is documented
    title: str
    fields: tuple[Field, ...]
    read: Callable[[Inbound], Q]
    call: Call
    write: Callable[[A, Inbound], Outbound]
    writes: bool = False  # changes something: access-logged, and its signature used once
    raw: bool = False  # takes the request as it came: any body, no merged parameters
    in_body: bool = False  # a raw one whose fields are members of its body
    body: Mapping[str, Any] | None = None  # JSON schema of the body of a raw one, for OpenAPI
    aliases: tuple[str, ...] = ()  # other paths that mean the same
    body_bytes_max: int = 2**20
    ending: Ending | None = None  # of one that is to be taken away


class Sink(msgspec.Struct, frozen=True):
    """A URL that calls nothing and always answers the same."""

    path: str
    methods: frozenset[str]
    source: str
    title: str
    reply: Outbound


class SignedCall(msgspec.Struct, frozen=True):
    """What a call proves itself by where the signature covers its raw body (shoudan_signing.goofish)."""

    channel_no: str
    timestamp: str
    sign: str


class Facts(dict[str, str]):
    """The facts of a refusal; one that is not there shows as nothing rather than failing the answer."""

    def __missing__(self, name: str) -> str:
        return ""


Authenticate = Callable[[Inbound, "Endpoint[Any, Any]"], Inbound]
Role = Literal["channel", "supplier", "internal", "test", "public"]
Failure = Refused | Malformed | Problem


class Partner(msgspec.Struct, frozen=True):
    """One partner protocol, whole.

    role: channel = signed and limited as the catalogue says; supplier = the service verifies;
    internal = the second listener only, by the rights of the RPC behind it; test = absent in the prod
    profile; public = anyone.
    """

    name: str
    role: Role
    endpoints: tuple[Endpoint[Any, Any] | Sink, ...]
    refuse: Callable[
        [Failure, Inbound, bool], Outbound
    ]  # the bool: errors as the original sent them
    authenticate: Callable[[GatewaySettings, FetchedSecrets], Authenticate] | None = (
        None  # made once; gives the caller or raises Problem
    )
    error: Mapping[str, Any] | None = (
        None  # JSON schema of its refusals when it is not the channels'
    )
    # Of channels that sign by a rule of their platform: what a call proves itself by, None where anyone may
    # call. Raises Malformed, Problem.
    signed: Callable[[Inbound], SignedCall | None] | None = None
