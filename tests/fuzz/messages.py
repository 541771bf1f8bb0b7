"""Messages of any type by its descriptor: built from nothing, or a plain one with a few fields changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor as F
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from tests.fuzz.values import bodies, numbers, texts
from tests.test_every_field import below, filled, is_map, paths

DEPTH_MAX = 3
ITEMS_MAX = 3
CHANGED_MAX = 4
BOUNDS = {
    F.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    F.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    F.CPPTYPE_UINT32: (0, 2**32 - 1),
    F.CPPTYPE_UINT64: (0, 2**64 - 1),
    F.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
}


def scalar(field: F) -> st.SearchStrategy[Any]:
    """Any value that the field can hold."""
    if field.cpp_type in BOUNDS:
        low, high = BOUNDS[field.cpp_type]
        whole = numbers.map(lambda number: max(low, min(high, number)))
        return st.one_of(st.integers(0, 12), whole) if field.enum_type else whole
    if field.cpp_type == F.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type in {F.CPPTYPE_DOUBLE, F.CPPTYPE_FLOAT}:
        return st.floats(width=32)
    return bodies if field.type == F.TYPE_BYTES else texts


def put(message: Any, field: F, value: Any) -> None:
    """A scalar; of a repeated field the only one."""
    if field.is_repeated:
        getattr(message, field.name)[:] = [value]
    else:
        setattr(message, field.name, value)


@st.composite
def built(draw: st.DrawFn, kind: type[Message], depth: int = 0) -> Message:
    """A message with some of its fields, each with any value."""
    message: Any = kind()
    for field in message.DESCRIPTOR.fields:
        if is_a_map(field) or not draw(st.booleans()):
            continue
        if field.cpp_type != F.CPPTYPE_MESSAGE:
            count = draw(st.integers(0, ITEMS_MAX)) if field.is_repeated else 1
            values = [draw(scalar(field)) for _ in range(count)]
            if field.is_repeated:
                getattr(message, field.name).extend(values)
            else:
                setattr(message, field.name, values[0])
        elif depth < DEPTH_MAX:
            made = draw(built(GetMessageClass(field.message_type), depth + 1))
            held = getattr(message, field.name)
            (held.add() if field.is_repeated else held).CopyFrom(made)
    return message


def is_a_map(field: F) -> bool:
    """Whether it is one; those are few and flat, `filled` leaves them, too."""
    return field.cpp_type == F.CPPTYPE_MESSAGE and is_map(field)


@st.composite
def changed(draw: st.DrawFn, kind: type[Message], valid: Callable[[Any], object]) -> Message:
    """One that the service would take, with a few fields of any value."""
    message: Any = filled(kind())
    valid(message)
    ways = list(paths(message))
    for _ in range(draw(st.integers(0, CHANGED_MAX)) if ways else 0):
        *way, last = draw(st.sampled_from(ways))
        at = message
        for field in way:
            at = below(at, field)
        put(at, last, draw(scalar(last)))
    return message


def requests(kind: type[Message], valid: Callable[[Any], object]) -> st.SearchStrategy[bytes]:
    """Both kinds, and now and then bytes that are no message at all."""
    whole = st.one_of(changed(kind, valid), built(kind), changed(kind, valid))
    made = whole.map(lambda message: message.SerializeToString())
    return st.integers(0, 29).flatmap(lambda of: st.binary(max_size=200) if of == 0 else made)
