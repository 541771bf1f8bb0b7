"""The answers of calls for the OpenAPI document: schemas and examples, out of what the tests recorded.

A recording is what a test holds the gateway to, so its members are those that an answer has. A member
that is null in all recordings may be anything; one that some lack may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import msgspec

from shoudan_gateway.protocol import (
    Endpoint,
    Failure,
    GatewayError,
    Inbound,
    Malformed,
    Outbound,
    ParameterError,
    Partner,
    Problem,
    Sink,
)

FILE: Final = Path(__file__).parent / "recordings.json"  # made by tools/recordings.py
CLIENT_ERROR: Final = 400
Schema = dict[str, Any]

# Where a recording shows one of several forms.
_WORD_OR_NUMBER: Final[Schema] = {"type": ["integer", "string"]}
FORMS: Final[Mapping[str, Mapping[str, Schema]]] = {
    # A channel may be set up for words; then a reason comes with them.
    name: {"status": _WORD_OR_NUMBER}
    for name in ("channel", "self_service")
}


class Recording(msgspec.Struct, frozen=True):
    """One call as a test recorded it."""

    name: str
    path: str
    method: str
    status: int
    query: str = ""
    body: str = ""
    path_params: dict[str, Any] = {}
    text: str | None = None
    reply: Any = None

    @property
    def params(self) -> dict[str, str]:
        """The parameters of its query and path."""
        found = dict(parse_qsl(self.query, keep_blank_values=True))
        return found | {name: str(value) for name, value in self.path_params.items()}


@cache
def recordings() -> Mapping[str, tuple[Recording, ...]]:
    """Every recording by its partner's name."""
    return msgspec.json.decode(FILE.read_bytes(), type=dict[str, tuple[Recording, ...]])


def recorded(partner: Partner, endpoint: Endpoint[Any, Any] | Sink) -> list[Recording]:
    """The recordings of one endpoint; where a path has several, their methods say which."""
    found = [one for one in recordings().get(partner.name, ()) if one.path == endpoint.path]
    return [one for one in found if one.method in endpoint.methods] or found


def contents(partner: Partner, found: Sequence[Recording]) -> dict[int, Schema]:
    """Schema and examples of the answers, by their HTTP status and media type."""
    by_status: dict[int, list[Recording]] = {}
    for one in found:
        by_status.setdefault(one.status, []).append(one)
    return {status: _content(partner, those) for status, those in by_status.items()}


def _content(partner: Partner, found: Sequence[Recording]) -> Schema:
    texts = [one for one in found if one.text is not None]
    if texts:
        shown = {one.name: {"value": one.text} for one in texts}
        # Notifies may be answered in words that a supplier's template chooses.
        kind = "text/plain" if partner.role != "public" else "*/*"
        return {kind: {"schema": {"type": "string"}, "examples": shown}}
    shown = {one.name: {"value": one.reply} for one in found}
    schema = schema_of([one.reply for one in found], FORMS.get(partner.name, {}))
    return {"application/json": {"schema": schema, "examples": shown}}


def schema_of(values: Sequence[Any], forms: Mapping[str, Schema]) -> Schema:
    """What all values are; `forms` by the names of members goes before what they show."""
    known = [one for one in values if one is not None]
    if not known:
        return {}
    kinds = {_kind(one) for one in known}
    nullable = ["null"] if len(known) < len(values) else []
    if kinds == {"object"}:
        return _object(cast("list[dict[str, Any]]", known), forms, nullable)
    if kinds == {"array"}:
        items = [item for one in known for item in one]
        return {"type": _types("array", nullable), "items": schema_of(items, forms)}
    return {"type": [*sorted(kinds), *nullable] if len(kinds) > 1 or nullable else kinds.pop()}


def _types(kind: str, nullable: list[str]) -> str | list[str]:
    return [kind, *nullable] if nullable else kind


def _object(
    found: Sequence[dict[str, Any]], forms: Mapping[str, Schema], nullable: list[str]
) -> Schema:
    names = list(dict.fromkeys(name for one in found for name in one))
    members = {
        name: dict(forms[name])
        if name in forms
        else schema_of([one[name] for one in found if name in one], forms)
        for name in names
    }
    required = [name for name in names if all(name in one for one in found)]
    return {"type": _types("object", nullable), "required": required, "properties": members}


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds = (
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        (list, "array"),
        (dict, "object"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "object")


class Refusals(msgspec.Struct, frozen=True):
    """The bodies of refusals by their media type; `quiet`: those with the status of a success."""

    loud: dict[str, list[Any]]
    quiet: dict[str, list[Any]]


def refusals(partner: Partner, endpoint: Endpoint[Any, Any] | Sink) -> Refusals:
    """What the endpoint answers where it refuses, as its protocol words it."""
    failures: list[Failure] = [Malformed("name", one, "why") for one in ParameterError]
    failures += [Problem(one, "trace") for one in GatewayError]
    made = Refusals({}, {})
    inbound = Inbound(min(endpoint.methods), endpoint.path)
    for failure in failures:
        try:
            answer = partner.refuse(failure, inbound, False)
        except KeyError:  # what callers of this protocol never meet
            continue
        kind = answer.content_type.partition(";")[0]
        side = made.loud if answer.status >= CLIENT_ERROR else made.quiet
        side.setdefault(kind, []).append(_shown(answer))
    return made


def _shown(answer: Outbound) -> Any:
    return answer.body.decode() if isinstance(answer.body, bytes) else answer.body
