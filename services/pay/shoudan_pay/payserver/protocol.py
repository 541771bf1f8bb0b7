"""The payment component contract of 002 (Pay 3, Refund 2): what is sent, what the answer means, one send."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

import msgspec

from shoudan_kit.clock import from_beijing
from shoudan_kit.http.client import Answered, HttpClient, NotSent
from shoudan_kit.http.json_keys import json_object, repeated_key
from shoudan_kit.tracing.carried import current

ANSWER_CHARS_MAX: Final = 200
NUMBER_CHARS_MAX: Final = 64
REASON_CHARS_MAX: Final = 256
CONTENT_TYPE: Final = "application/json; charset=utf-8"

_encode: Final = msgspec.json.Encoder().encode
_FINISHED: Final = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})[ T]([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})"
)


class AnswerKind(StrEnum):
    """The outcome of calling a component."""

    SUCCESS = "success"
    RUNNING = "running"
    FAILED = "failed"
    NOT_FOUND = "notFound"  # only in the answer to a query
    NOT_SENT = "not_sent"  # not a byte left us
    UNKNOWN = "unknown"  # everything else


@dataclass(frozen=True, slots=True)
class ComponentAnswer:
    """The meaning of one answer or notify. `why` is for our own log."""

    word: AnswerKind
    third_no: str | None = None
    reason: str = ""
    finish_time: datetime | None = None
    why: str = ""
    answered: bool = True  # with whatever content: its host is there
    pay_fen: int | None = None  # payAmount and refundAmount, if it names them
    refund_fen: int | None = None


class RawAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The documented answer; numbers may come as JSON numbers, of any length."""

    traction_no: str | int = ""
    ret: str = ""
    third_order_no: str | int | None = None
    third_error_reason: str | int | None = None
    trade_finished_at: str | None = None
    pay_amount: int | float | str | None = None  # not documented, but seen
    refund_amount: int | float | str | None = None


_WORDS: Final = {
    "success": AnswerKind.SUCCESS,
    "running": AnswerKind.RUNNING,
    "failed": AnswerKind.FAILED,
}
_QUERY_WORDS: Final = {**_WORDS, "notFound": AnswerKind.NOT_FOUND}
_OK: Final = frozenset({200, 201})
FEN_DIGITS_MAX: Final = 15
NO_FEN: Final = -1  # equal to no amount


def read_answer(
    answer: RawAnswer, traction_no: str, words: Mapping[str, AnswerKind] = _WORDS
) -> ComponentAnswer:
    """The meaning of an answer about `traction_no`; UNKNOWN for unlisted words and other numbers."""
    if str(answer.traction_no) != traction_no:
        return ComponentAnswer(AnswerKind.UNKNOWN, why="another tractionNo")
    word = words.get(answer.ret)
    if word is None:
        return ComponentAnswer(AnswerKind.UNKNOWN, why="unlisted ret")
    return ComponentAnswer(
        word,
        _text(answer.third_order_no)[:NUMBER_CHARS_MAX] or None,
        _clean(_text(answer.third_error_reason))[:REASON_CHARS_MAX],
        finished_at(answer.trade_finished_at or ""),
        pay_fen=_fen(answer.pay_amount),
        refund_fen=_fen(answer.refund_amount),
    )


def finished_at(text: str) -> datetime | None:
    """The moment of `2018-9-10 12:00:00` Beijing time, padded or not; None for anything else."""
    found = _FINISHED.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (part.zfill(2) for part in found.groups())
    try:
        return from_beijing(f"{year}-{month}-{day} {hour}:{minute}:{second}")
    except ValueError:
        return None


async def send(
    http: HttpClient, url: str, body: Mapping[str, Any], traction_no: str, *, query: bool = False
) -> ComponentAnswer:
    """POST `body`; the meaning of the answer: UNKNOWN after an error when the call may have arrived."""
    outcome = await http.send(
        "POST", url, headers={"Content-Type": CONTENT_TYPE}, body=_encode(body), trace=current()
    )
    if isinstance(outcome, NotSent):
        return ComponentAnswer(AnswerKind.NOT_SENT, why=outcome.reason, answered=False)
    if not isinstance(outcome, Answered):
        return ComponentAnswer(AnswerKind.UNKNOWN, why=outcome.reason, answered=False)
    if outcome.status not in _OK:
        return ComponentAnswer(AnswerKind.UNKNOWN, why=f"HTTP {outcome.status}")
    try:
        answer, repeated = (
            msgspec.json.decode(outcome.body, type=RawAnswer),
            repeated_key(outcome.body),
        )
    except (ValueError, RecursionError):
        return ComponentAnswer(AnswerKind.UNKNOWN, why="unreadable")
    if repeated is not None:
        return ComponentAnswer(AnswerKind.UNKNOWN, why="repeated key")
    return read_answer(answer, traction_no, _QUERY_WORDS if query else _WORDS)


@dataclass(frozen=True, slots=True)
class Checked:
    """The answer of an environment check; `shown` is its short form, as the documented error quotes it."""

    agreed: bool
    shown: str


async def check_environment(http: HttpClient, url: str, merchant_href: str) -> Checked:
    """GET checkEnvUrl with the merchant; agreed only when the answer's `ret` is true."""
    joint = "&" if "?" in url else "?"
    outcome = await http.send("GET", f"{url}{joint}merchantHref={quote(merchant_href, safe='')}")
    if not isinstance(outcome, Answered):
        return Checked(agreed=False, shown="null")
    members = json_object(outcome.body)
    if members is None:
        return Checked(agreed=False, shown="null")
    # Only documented fields are quoted: an address must not speak through our errors.
    known = {name: members[name] for name in ("ret", "merchantUUID") if name in members}
    shown = _encode(known).decode()
    agreed = outcome.status in _OK and members.get("ret") is True
    return Checked(agreed, shown if len(shown) <= ANSWER_CHARS_MAX else "{}")


def sign(secret: bytes, kind: str, traction_no: str) -> str:
    """What a notifyUrl carries and a notify must bring back."""
    return hmac.new(secret, f"{kind}:{traction_no}".encode(), hashlib.sha256).hexdigest()


def signed(given: str, secret: bytes, kind: str, traction_no: str) -> bool:
    """Whether a notify brought the right sign."""
    return hmac.compare_digest(sign(secret, kind, traction_no).encode(), given.encode())


def _fen(value: float | str | None) -> int | None:
    """Fen; None when absent, NO_FEN when unreadable."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        fits = value.isascii() and value.isdigit() and len(value) <= FEN_DIGITS_MAX
        return int(value) if fits else NO_FEN
    return int(value) if value == value // 1 and abs(value) < 10**FEN_DIGITS_MAX else NO_FEN


def _text(value: str | int | None) -> str:
    return "" if value is None else str(value)


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
