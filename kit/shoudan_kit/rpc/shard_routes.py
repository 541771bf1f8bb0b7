"""Which shard answers a method: the contract's option `shards`, read once per method at the start."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from shoudan.core.v1 import shards_pb2
from shoudan_kit.db.pinned_keys import NONE, PinnedKeys
from shoudan_kit.db.shard_keys import shard_of_key, shard_of_number
from shoudan_kit.rpc.message_keys import EVERY, MessageKey, ShardsDiffer

DIGITS_MAX: Final = 19
AFTER: Final = "page_token"
NEXT: Final = "next_page_token"
PAGE_SIZE: Final = "page_size"
NUMBERS: Final = frozenset({FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64})
PLACED: Final = NUMBERS | {FieldDescriptor.CPPTYPE_STRING}  # what says a place: texts are digits
TIME: Final = "google.protobuf.Timestamp"

Place = tuple[int, ...]  # of an item in a list: rises along it, whatever its fields do


@dataclass(frozen=True, slots=True)
class Route:
    """What the contract says of one method. `named`: the request's field with the number of a shard;
    `listed`: the response's field with the items of a list; `answer`: the response's class."""

    first: bool = False
    number: str = ""
    key: tuple[str, ...] = ()
    items: str = ""
    results: str = ""
    every: bool = False
    named: str = ""
    order: tuple[str, ...] = ()
    listed: str = ""
    paged: bool = False
    answer: Any = None
    call: bool = False
    lines: str = ""
    owner: MessageKey | None = None
    sums: tuple[str, ...] = ()
    joined: str = ""
    parts: Mapping[str, MessageKey | None] = dataclasses.field(
        default_factory=dict[str, MessageKey | None]
    )

    def shard(self, message: Any, shards: int, pinned: PinnedKeys = NONE) -> int | None:
        """The shard of a request, or of one item of it; None: all of them."""
        if self.first:
            return 0
        if isinstance(message, int):  # an item that is itself the number
            return shard_of_number(message, shards)
        if self.call:
            return _shard_of_call(message, shards, pinned)
        if self.number:
            number = _number(attrgetter(self.number)(message))
            if number or not (self.key or self.every):
                return shard_of_number(number, shards)
        if self.owner is not None:
            found = self.owner.shard(message, shards, whole=self.every, pinned=pinned)
            return (None if self.every else 0) if found is EVERY else found
        if self.key:
            parts: list[str] = [attrgetter(path)(message) for path in self.key]
            if any(parts) or not self.every:
                return shard_of_key(parts, shards, pinned)
        return None

    def split(self, request: Any, shards: int, pinned: PinnedKeys = NONE) -> dict[int, Any]:
        """A request with items of several shards, as one for each. Raises ShardsDiffer."""
        made: dict[int, Any] = {}
        fields = tuple(self.parts) or (self.items,)
        for name in fields:
            for item in getattr(request, name):
                shard = self._of_item(name, item, shards, pinned)
                if shard not in made:
                    made[shard] = type(request)()
                    made[shard].CopyFrom(request)
                    for one in fields:
                        made[shard].ClearField(one)
                getattr(made[shard], name).append(item)
        return made or {0: request}

    def _of_item(self, name: str, item: Any, shards: int, pinned: PinnedKeys) -> int:
        if not self.parts:
            return self.shard(item, shards, pinned) or 0
        owner = self.parts[name]
        return 0 if owner is None else max(0, owner.shard(item, shards, pinned=pinned))

    @property
    def place(self) -> Callable[[Any], Place]:
        """Where an item of the list stands in its order."""
        read = [
            (-1 if one.startswith("-") else 1, attrgetter(one.lstrip("-"))) for one in self.order
        ]
        return lambda item: tuple(sign * _value(get(item)) for sign, get in read)


@cache
def route_of(service: str, method: str) -> Route | None:
    """Where a method is answered; None when the contract does not say. ValueError: it cannot be so."""
    try:
        found: Any = Default().FindServiceByName(service).methods_by_name[method]
    except KeyError:
        return None
    if not found.GetOptions().HasExtension(shards_pb2.shards):
        return None
    said = found.GetOptions().Extensions[shards_pb2.shards]
    try:
        return read_route(said, found.input_type, found.output_type)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{found.full_name}: option shards: {error}") from None


def read_route(said: Any, asked: Descriptor, answered: Descriptor) -> Route:
    """An option of a method with these messages. KeyError, ValueError: it cannot be so."""
    key, order = tuple[str, ...](said.key), tuple[str, ...](said.order)
    owner = None
    item: Any = asked
    if said.items:
        items = asked.fields_by_name[said.items]
        item = items.message_type
        if item is None and items.cpp_type not in NUMBERS:
            raise ValueError(f"{said.items} are neither messages nor numbers")
    said_one = said.first or said.number or key or said.all or said.shard or said.call or said.parts
    if item is not None and not said_one:
        raise ValueError("names no shard")
    for path in (*key, *filter(None, (said.number, said.shard))):
        if _field(item, path).message_type is not None:
            owner = MessageKey.of(item, path)
    put_together = (said.all and not said.lines) or (said.items and not said.results)
    listed = _listed(answered) if put_together else ""
    for path in order:
        field = _field(answered.fields_by_name[listed].message_type, path.lstrip("-"))
        is_time = field.message_type is not None and field.message_type.full_name == TIME
        if not (is_time or field.cpp_type in PLACED):
            raise ValueError(f"{path} is neither a number, digits nor a time")
    _check_shapes(said, asked, answered)
    paged = said.all and AFTER in asked.fields_by_name
    if paged and NEXT not in answered.fields_by_name:
        raise ValueError(f"the response has no {NEXT}")
    return Route(
        said.first,
        said.number,
        key,
        said.items,
        said.results,
        said.all,
        said.shard,
        order,
        listed,
        paged,
        GetMessageClass(answered),
        said.call,
        said.lines,
        owner,
        tuple(said.sums),
        said.joined,
        _parts(said, asked),
    )


def _check_shapes(said: Any, asked: Descriptor, answered: Descriptor) -> None:
    """Refuse an option that needs a request or a response of another shape. ValueError."""
    for path in said.sums:
        if "." not in path or _field(answered, path).cpp_type not in NUMBERS:
            raise ValueError(f"{path} is no number within a message")
    if said.joined:
        item = answered.fields_by_name[_listed(answered)].message_type
        if _field(item, said.joined).cpp_type != FieldDescriptor.CPPTYPE_STRING:
            raise ValueError(f"{said.joined} is no text")
    if said.call and not {"method", "request"} <= set(asked.fields_by_name):
        raise ValueError("the request has no method and request")
    if said.lines and not _is_line(answered, said.lines):
        raise ValueError("the response is no line of labels, numbers and sums")
    if said.results and not _answers(answered, said.results):
        raise ValueError("results is not a repeated message, alone in the response")


def _parts(said: Any, asked: Descriptor) -> dict[str, MessageKey | None]:
    """The fields of a request whose items go to their shards, with the key of each."""
    return {
        one.items: MessageKey.of(asked.fields_by_name[one.items].message_type, one.key)
        if one.key
        else None
        for one in said.parts
    }


def _shard_of_call(message: Any, shards: int, pinned: PinnedKeys) -> int:
    """The shard of a call that stands in a message. One that cannot be read is refused by the first.
    Raises ShardsDiffer: it is made in one transaction."""
    service, _, method = message.method.rpartition("/")
    route = route_of(service, method)
    if route is None:
        return 0
    found: Any = Default().FindServiceByName(service).methods_by_name[method]
    try:
        inner = GetMessageClass(found.input_type).FromString(message.request)
    except DecodeError:
        return 0
    if route.items or route.parts:
        (one, *others) = route.split(inner, shards, pinned)
        if others:
            raise ShardsDiffer(f"a proposal of {method}", shards)
        return one
    return route.shard(inner, shards, pinned) or 0


def _is_line(answered: Descriptor, labels: str) -> bool:
    """Whether a response is a line of a report: labels of texts, all else numbers or sums by name."""
    field = answered.fields_by_name.get(labels)
    return field is not None and all(
        _is_map(one) or (not one.is_repeated and one.cpp_type in NUMBERS) for one in answered.fields
    )


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _is_sums(field: FieldDescriptor) -> bool:
    entry = field.message_type
    if entry is None or not entry.GetOptions().map_entry:
        return False
    return entry.fields_by_name["value"].cpp_type in NUMBERS


def _field(message: Any, path: str) -> FieldDescriptor:
    *above, last = path.split(".")
    for name in above:
        message = message.fields_by_name[name].message_type
    return message.fields_by_name[last]


def _answers(answered: Descriptor, results: str) -> bool:
    field = answered.fields_by_name.get(results)
    is_list = field is not None and field.is_repeated and field.message_type is not None
    return is_list and len(answered.fields) == 1


def _listed(answered: Descriptor) -> str:
    """The repeated message of a response; a response has one at most where shards are put together. Maps of
    numbers are sums, no lists."""
    found = [
        one.name
        for one in answered.fields
        if one.is_repeated and one.message_type is not None and not _is_sums(one)
    ]
    if len(found) > 1:
        raise ValueError("the response has several lists")
    return found[0] if found else ""


def _number(value: Any) -> int:
    """A number or its digits; 0 for what is neither."""
    if isinstance(value, str):
        fits = value.isascii() and value.isdecimal() and len(value) <= DIGITS_MAX
        return int(value) if fits else 0
    return int(value)


def _value(value: Any) -> int:
    if isinstance(value, int | str):
        return _number(value)
    return value.seconds * 10**9 + value.nanos


def added(answers: Sequence[Any], route: Route) -> Any:
    """One answer of several: numbers are added, those of maps by their key, words and lists put together,
    each word once."""
    whole = type(answers[0])()
    whole.CopyFrom(answers[0])
    for path in route.sums:
        above, _, last = path.rpartition(".")
        numbers = map(attrgetter(path), answers)
        setattr(attrgetter(above)(whole), last, sum(numbers))
    for one in answers[1:]:
        for field, value in one.ListFields():
            if _is_sums(field):
                sums = getattr(whole, field.name)
                for key, number in value.items():
                    sums[key] += number
            elif field.is_repeated:
                there = getattr(whole, field.name)
                there.extend(
                    value if field.name == route.listed else [v for v in value if v not in there]
                )
            elif field.cpp_type in NUMBERS:
                setattr(whole, field.name, getattr(whole, field.name) + value)
    return whole
