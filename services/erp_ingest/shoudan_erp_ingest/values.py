"""Turns one wire value into a documented type, exactly or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from typing import Any

from shoudan_erp_ingest.bodies import Json, Literal, Unreadable
from shoudan_erp_ingest.refusals import Why
from shoudan_erp_ingest.tables.fields import Kind, Spec

MICROS_DIGITS = 6
QUANTITY_DIGITS = 4
INT64_MAX = 2**63 - 1
NUMBER_CHARS_MAX = 40

_PLAIN = re.compile(r"(-?)([0-9]{1,19})(?:\.([0-9]{1,120}))?")
_EXPONENT = re.compile(r"-?[0-9]+(\.[0-9]+)?[eE][+-]?[0-9]{1,2}")

# What arithmetic with binary doubles leaves behind the documented digits: 19.990000000000002 is 19.99.
# A value this near to its rounded one is that one; digits further away were meant, and are not rounded.
DOCUMENTED_DIGITS = 4  # decimal(19,4)
ARTEFACT_RELATIVE = Decimal(2) ** -48  # 16 units in the last place of a double
ARTEFACT_MIN = Decimal("1e-12")  # near zero, where differences of greater numbers end
ARTEFACT_MAX = Decimal("1e-6")  # of amounts so great that a double has no digits to spare
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[ T]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.[0-9]{1,9})?)?"
)
_BLANK = " \t\r\n"

Read = Callable[[Json, Spec], Any]


def _bad(spec: Spec, why: Why) -> Unreadable:
    return Unreadable(spec.name, why)


def read_text(value: Json, spec: Spec) -> str | None:
    """Text; numbers as they were written; empty and the filler `0` are null."""
    text = read_code(value, spec)
    return None if text == "0" else text


def read_code(value: Json, spec: Spec) -> str | None:
    """Text; numbers as they were written; empty is null."""
    if not isinstance(value, str):
        raise _bad(spec, Why.NOT_TEXT)
    if len(value) > spec.wire.chars_max:
        raise _bad(spec, Why.TOO_LONG)
    return value or None


def read_amount_text(value: Json, spec: Spec) -> str | None:
    """An amount in a text column: text as it came, numbers without artefacts; `0` is a value."""
    if isinstance(value, Literal):
        number = Decimal(_plain(value, spec, Why.NOT_DECIMAL)[0])
        exact = _without_artefact(number, DOCUMENTED_DIGITS)
        value = f"{exact.normalize():f}" if exact != number or "e" in value.lower() else value
    return read_code(value, spec)


def read_money(value: Json, spec: Spec) -> int | None:
    """Micros of a yuan amount; more than six decimals that say something are refused."""
    return _scaled(value, spec, MICROS_DIGITS, Why.NOT_DECIMAL)


def read_quantity(value: Json, spec: Spec) -> str | None:
    """Decimal text with at most four decimals, shortest form."""
    scaled = _scaled(value, spec, QUANTITY_DIGITS, Why.NOT_DECIMAL)
    return None if scaled is None else quantity_text(scaled)


def read_whole(value: Json, spec: Spec) -> int | None:
    """A whole number; `884.0000` is one, too."""
    return _scaled(value, spec, 0, Why.NOT_WHOLE)


def read_time(value: Json, spec: Spec) -> datetime | None:
    """The UTC moment of a Beijing time; `0` and zero dates are null."""
    if not isinstance(value, str):
        raise _bad(spec, Why.NOT_TIME)
    text = value.strip(_BLANK)
    if text in {"", "0"} or text.startswith("0000-00-00"):
        return None
    found = _TIME.fullmatch(text)
    if found is None:
        raise _bad(spec, Why.NOT_TIME)
    try:
        return datetime.fromisoformat(f"{found[1]}T{found[2] or '00:00'}+08:00").astimezone(UTC)
    except (ValueError, OverflowError):
        raise _bad(spec, Why.NOT_TIME) from None


def _scaled(value: Json, spec: Spec, digits: int, why: Why) -> int | None:
    """The number times 10^digits, exactly but for what binary doubles leave behind."""
    if not isinstance(value, str):
        raise _bad(spec, why)
    text = value.strip(_BLANK)
    if not text:
        return None
    plain, sign, before, after = _plain(type(value)(text), spec, why)
    if len(after) > min(digits, DOCUMENTED_DIGITS):
        exact = _without_artefact(Decimal(plain), min(digits, DOCUMENTED_DIGITS))
        before, _, after = f"{abs(exact):f}".partition(".")
        after = after.rstrip("0")
        if len(after) > digits:
            raise _bad(spec, why)
    scaled = int(before + after.ljust(digits, "0"))
    if scaled > INT64_MAX:
        raise _bad(spec, Why.OUT_OF_RANGE)
    return -scaled if sign else scaled


def _plain(text: str, spec: Spec, why: Why) -> tuple[str, str, str, str]:
    """A number as digits: whole, its sign, what is before the point, what counts behind it."""
    if isinstance(text, Literal) and ("e" in text or "E" in text):
        text = _without_exponent(text, spec)
    found = _PLAIN.fullmatch(text)
    if found is None:
        raise _bad(spec, Why.OUT_OF_RANGE if _is_long(text) else why)
    sign, before, after = found.groups()
    return text, sign, before, (after or "").rstrip("0")


def _is_long(text: str) -> bool:
    return bool(re.fullmatch(r"-?[0-9]{20,}(\.[0-9]+)?", text))


def _without_artefact(value: Decimal, digits: int) -> Decimal:
    """The value at `digits` decimals when a double's arithmetic explains the difference, else itself."""
    with localcontext(prec=150):
        rounded = value.quantize(Decimal(1).scaleb(-digits))
        near = min(max(abs(value) * ARTEFACT_RELATIVE, ARTEFACT_MIN), ARTEFACT_MAX)
        return rounded if abs(value - rounded) <= near else value


def _without_exponent(text: str, spec: Spec) -> str:
    """1.5E2 as 150: JSON numbers may be written so, texts may not."""
    if len(text) > NUMBER_CHARS_MAX or not _EXPONENT.fullmatch(text):
        raise _bad(spec, Why.OUT_OF_RANGE)
    return f"{Decimal(text):f}"


def quantity_text(scaled: int) -> str:
    """`15000` → `1.5`."""
    whole, part = divmod(abs(scaled), 10**QUANTITY_DIGITS)
    text = f"{whole}.{part:0{QUANTITY_DIGITS}}".rstrip("0").rstrip(".") if part else str(whole)
    return f"-{text}" if scaled < 0 else text


READERS: dict[Kind, Read] = {
    Kind.TEXT: read_text,
    Kind.CODE: read_code,
    Kind.AMOUNT_TEXT: read_amount_text,
    Kind.MONEY: read_money,
    Kind.QUANTITY: read_quantity,
    Kind.WHOLE: read_whole,
    Kind.TIME: read_time,
}
