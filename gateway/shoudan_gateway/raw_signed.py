"""Requests whose signature covers the raw bytes: read without ever refusing, judged after the signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan_gateway import parameters
from shoudan_gateway.protocol import Field, Inbound, Malformed

UNREADABLE: Final = "-"


@dataclass(frozen=True, slots=True)
class Members:
    """The known members of a body by their wire names, and the first that could not be read."""

    values: Mapping[str, Any]
    malformed: str = ""

    def ours(self, rows: Sequence[Field]) -> dict[str, Any]:
        """The values by the names of our message."""
        return {
            row.ours: self.values[row.wire] for row in rows if row.ours and row.wire in self.values
        }


def members(body: bytes, rows: Sequence[Field]) -> Members:
    """What the table knows of a JSON object; further members are ignored. Never raises."""
    try:
        whole = parameters.document(body)
    except Malformed:
        return Members({}, UNREADABLE)
    if not isinstance(whole, dict):
        return Members({}, UNREADABLE)
    given = cast("dict[str, Any]", whole)
    values: dict[str, Any] = {}
    malformed = ""
    for row in rows:
        value = next((given[n] for n in (row.wire, *row.aliases) if _present(given, n)), "")
        if any(given[n] != value for n in row.aliases if _present(given, n)):
            malformed = malformed or row.wire
        if value == "":
            malformed = malformed or (row.wire if row.required else "")
            continue
        try:
            values[row.wire] = row.read(_text(value))
        except ValueError:
            malformed = malformed or row.wire
    return Members(values, malformed)


def named(body: bytes, names: Sequence[str]) -> str:
    """Which of the names a body uses; the first when none."""
    try:
        whole = parameters.document(body)
    except Malformed:
        return names[0]
    if not isinstance(whole, dict):
        return names[0]
    given = cast("dict[str, Any]", whole)
    return next((name for name in names if _present(given, name)), names[0])


def _present(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    return value is not None and value != ""


def proof(request: Inbound, malformed: str) -> pb.Proof:
    """What the signature covers, as it came."""
    return pb.Proof(
        body=request.body,
        authorization=_clean(request.headers.get("Authorization", "")),
        remote_ip=request.remote,
        malformed=malformed,
    )


def _text(value: Any) -> str:
    """Text and numbers as text. ValueError for anything else, and for what is no Unicode."""
    if isinstance(value, str):
        value.encode()
        return str(value)
    raise ValueError("neither text nor number")


def _clean(text: str) -> str:
    """Bytes that are no UTF-8 reach us as surrogates, which the contract cannot carry."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
