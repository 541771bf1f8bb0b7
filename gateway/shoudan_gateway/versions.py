"""Versions of the channels' protocol: what each changed, and which a call is answered in. Decision 0062.

Version 0 is the customer's documents, frozen (tests/version_0.json): no transformer touches it. Each other
one is a list of changes, made in order on a request before it is read and on the answer before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from shoudan_gateway.advice import PAGE
from shoudan_gateway.protocol import (
    Ending,
    Inbound,
    Malformed,
    Outbound,
    ParameterError,
    Partner,
)

HEADER: Final = "Shoudan-Version"  # asks for a version; of an answer: which one it is in
FIRST: Final = "0"


class Answered(msgspec.Struct, frozen=True):
    """What a change may know of the answer it changes."""

    request: Inbound
    request_id: str


class Change(msgspec.Struct, frozen=True):
    """One change that callers see, in the words of its page; a call that it is not about passes unchanged."""

    zh: str
    en: str
    request: Callable[[Inbound], Inbound] | None = None
    answer: Callable[[Outbound, Answered], Outbound] | None = None


class Version(msgspec.Struct, frozen=True):
    """One version: the day it is from, what it changed, and since when it is to end."""

    name: str
    changes: tuple[Change, ...] = ()
    ending: Ending | None = None


def _error_in_body(answer: Outbound, about: Answered) -> Outbound:
    """The headers of an error as a member of its body, for callers whose library hides headers."""
    headers, body = answer.error_headers, answer.body
    if headers is None or not isinstance(body, Mapping):
        return answer
    code = headers["X-Error-Code"]
    facts = {
        "code": code,
        "advice": headers["X-Error-Advice"],
        "help": f"{PAGE}#{code.lower()}",
        "request_id": about.request_id,
    }
    return msgspec.structs.replace(answer, body={**body, "error": facts})


VERSIONS: Final[tuple[Version, ...]] = (
    Version(FIRST),
    Version(
        "2026-12-01",
        (
            Change(
                "错误的返回内容增加 `error`：错误码、处理方式、说明页与请求编号，与响应头一致",
                "errors carry `error` in their body: code, advice, page and request id, as the headers say",
                answer=_error_in_body,
            ),
        ),
    ),
)


class Versions:
    """The versions in order; what a call is read and answered in."""

    def __init__(self, given: Sequence[Version] = VERSIONS) -> None:
        self._names = [one.name for one in given]
        self._all = tuple(given)
        if self._names != sorted(set(self._names)) or self._names[0] != FIRST:
            raise ValueError("versions begin with 0 and stand in the order of their days")

    def of(self, inbound: Inbound) -> str:
        """What a call is answered in: as its header asks, else as its channel is pinned.

        A channel pinned to a version that this gateway does not know yet gets the newest before it.
        Raises Malformed for a header that names none.
        """
        asked = inbound.headers.get(HEADER, "")
        if asked:
            if asked not in self._names:
                detail = f"should be one of {', '.join(self._names)}"
                raise Malformed(HEADER, ParameterError.UNREADABLE, detail)
            return asked
        pinned = inbound.channel.version if inbound.channel is not None else FIRST
        return max(one for one in self._names if one <= max(pinned, FIRST))

    def read(self, inbound: Inbound) -> Inbound:
        """The request as the newest code reads it."""
        for change in self._changes(inbound.version):
            if change.request is not None:
                inbound = change.request(inbound)
        return inbound

    def written(self, answer: Outbound, about: Answered) -> Outbound:
        """The answer in the version of its request, which it names; one that ends says so."""
        name = about.request.version
        for change in self._changes(name):
            if change.answer is not None:
                answer = change.answer(answer, about)
        ending = self._all[self._names.index(name)].ending
        headers = {HEADER: name, **(ending.headers() if ending is not None else {})}
        return msgspec.structs.replace(answer, headers={**headers, **(answer.headers or {})})

    def _changes(self, name: str) -> Sequence[Change]:
        if name == FIRST:
            return ()
        spoken = self._all[: self._names.index(name) + 1]
        return [change for version in spoken for change in version.changes]


def is_versioned(partner: Partner) -> bool:
    """Whether a protocol is ours to change: of channels, and of no platform."""
    return partner.role == "channel" and partner.signed is None
