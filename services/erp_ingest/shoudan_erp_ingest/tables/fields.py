"""What a documented field is: its kind, its length, its other spellings, whether it is personal data."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints


class Kind(Enum):
    """How a value is read, kept and shown."""

    TEXT = "varchar; the filler 0 means null"
    CODE = "varchar; 0 is a value"
    AMOUNT_TEXT = "varchar of an amount; 0 is a value"
    MONEY = "decimal of yuan, kept in micros"
    QUANTITY = "decimal(19,4)"
    WHOLE = "int"
    TIME = "datetime, Beijing time on the wire"


@dataclass(frozen=True, slots=True)
class Wire:
    """One row of a model table of the document."""

    kind: Kind
    comment: str
    also: tuple[str, ...] = ()  # other spellings met
    chars_max: int = 256
    required: bool = False
    personal: bool = False


@dataclass(frozen=True, slots=True)
class Spec:
    """A field of a model: our attribute, the document's name and its row."""

    attribute: str
    name: str
    wire: Wire


def text(comment: str, *also: str, chars_max: int = 256, personal: bool = False) -> Wire:
    """Free text; `0` is the ERP's filler for nothing."""
    return Wire(Kind.TEXT, comment, also, chars_max, personal=personal)


def code(comment: str, *also: str, chars_max: int = 128, required: bool = False) -> Wire:
    """A number or word that identifies or classifies; `0` is kept."""
    return Wire(Kind.CODE, comment, also, chars_max, required=required)


def amount_text(comment: str) -> Wire:
    """An amount the document calls varchar and does not describe: kept as text, `0` is kept."""
    return Wire(Kind.AMOUNT_TEXT, comment)


def money(comment: str, *also: str) -> Wire:
    """Yuan on the wire, micros inside."""
    return Wire(Kind.MONEY, comment, also)


def quantity(comment: str) -> Wire:
    """A count with up to four decimals."""
    return Wire(Kind.QUANTITY, comment)


def whole(comment: str, *also: str, required: bool = False) -> Wire:
    """A whole number of 64 bits."""
    return Wire(Kind.WHOLE, comment, also, required=required)


def moment(comment: str) -> Wire:
    """A date with time."""
    return Wire(Kind.TIME, comment)


@cache
def specs(model: type[Any]) -> tuple[Spec, ...]:
    """The documented fields of a model, in the order of its table."""
    hints = get_type_hints(model, include_extras=True)
    found: list[Spec] = []
    for field in fields(model):
        hint = hints[field.name]
        if get_origin(hint) is Annotated:
            wire: Wire = get_args(hint)[1]
            found.append(Spec(field.name, field.name.removesuffix("_micros"), wire))
    return tuple(found)


@cache
def clear_specs(model: type[Any]) -> tuple[Spec, ...]:
    """The fields that have a column of their own."""
    return tuple(s for s in specs(model) if not s.wire.personal)


@cache
def personal_specs(model: type[Any]) -> tuple[Spec, ...]:
    """The fields that are kept encrypted together."""
    return tuple(s for s in specs(model) if s.wire.personal)


@cache
def known_names(model: type[Any]) -> frozenset[str]:
    """Every spelling under which the model's fields come."""
    return frozenset(n for s in specs(model) for n in (s.name, *s.wire.also))
