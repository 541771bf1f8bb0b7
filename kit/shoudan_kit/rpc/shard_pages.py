"""Pages of a list over several shards: merged in the order of the contract, with a cursor for each shard."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec

from shoudan_kit.rpc.shard_routes import AFTER, NEXT, PAGE_SIZE, Place, Route, added

T = TypeVar("T")

PAGE_DEFAULT: Final = 100  # of every list of the contract
PAGE_MAX: Final = 1_000
OFFSET: Final = "offset"  # of callers that page by number
OFFSET_MAX: Final = 100_000  # as far as a service looks for a page by number (db.pages)
TOO_FAR: Final = 2**40  # beyond what any service takes
READS_MAX: Final = 4  # pages of one shard that one call reads: a page may be short, or empty
STREAM_ROWS: Final = 500  # of one message

Ask = Callable[[int, Any], Awaitable[Any]]  # the answer of a shard


async def every(calls: Iterable[Awaitable[T]]) -> list[T]:
    """The results of all; what the first failed one raises, after all have ended."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    for one in done:
        if isinstance(one, BaseException):
            raise one
    return [one for one in done if not isinstance(one, BaseException)]


class TokenInvalid(ValueError):
    """A page token that is not ours."""


class _State(msgspec.Struct, array_like=True):
    """Where a list goes on in one shard: on the page of `token`, behind `after`."""

    shard: int
    token: str
    after: Place | None = None


@dataclass(slots=True)
class _Cursor:
    """One shard's part of a list while it is merged. `token` None: it is at its end."""

    shard: int
    token: str | None
    after: Place | None
    next: str = ""
    reads: int = 0
    items: deque[tuple[Place, Any]] = field(default_factory=deque[tuple[Place, Any]])

    async def fill(self, ask: Ask, request: Any, route: Route) -> Any:
        """Read the page of the token; what is before `after` was given already."""
        part = _with(request, self.token or "")
        answer = await ask(self.shard, part)
        self.reads += 1
        placed = [(route.place(one), one) for one in getattr(answer, route.listed)]
        after = self.after
        self.items.extend(one for one in placed if after is None or one[0] > after)
        self.next = getattr(answer, NEXT)
        self._turn()
        return answer

    def take(self) -> Any:
        """The next item."""
        self.after, item = self.items.popleft()
        self._turn()
        return item

    def _turn(self) -> None:
        """On to the next page when this one is used up."""
        if not self.items:
            self.token, self.after = self.next or None, None


async def page(
    route: Route, request: Any, shards: int, ask: Ask, only: Collection[int] | None = None
) -> Any:
    """One page over all shards, or some. Raises TokenInvalid, and what a shard raises."""
    size = getattr(request, PAGE_SIZE, 0)
    states = _read(getattr(request, AFTER), shards)
    states = [one for one in states if only is None or one.shard in only]
    if not 0 <= size <= PAGE_MAX:  # refused by the service, in its words
        return await ask(0, _with(request, ""))
    most = size or PAGE_DEFAULT
    if not route.listed:
        return await _counted(request, states, ask, route)
    if route.order and _numbered(request):
        return await _by_number(route, request, most, states, ask)
    return await (_merged if route.order else _in_turn)(route, request, most, states, ask)


async def _counted(request: Any, states: Sequence[_State], ask: Ask, route: Route) -> Any:
    """A page of each shard that has one, their numbers added."""
    answers = await every(ask(one.shard, _with(request, one.token)) for one in states)
    whole = added(answers, route)
    left = [
        _State(one.shard, token)
        for one, answer in zip(states, answers, strict=True)
        if (token := getattr(answer, NEXT))
    ]
    setattr(whole, NEXT, _write(left))
    return whole


def _numbered(request: Any) -> bool:
    """Whether a caller pages by number."""
    return OFFSET in request.DESCRIPTOR.fields_by_name and request.HasField(OFFSET)


async def _by_number(
    route: Route, request: Any, most: int, states: Sequence[_State], ask: Ask
) -> Any:
    """A page at an offset of the whole: every row before it is read, as many in each shard at most. What is
    too far is refused by the service, in its words."""
    skip: int = request.offset
    asked = type(request)()
    asked.CopyFrom(request)
    asked.offset = 0
    if getattr(request, AFTER):  # the token counts, not the offset
        return await _merged(route, asked, most, states, ask)
    if 0 <= skip <= OFFSET_MAX:
        reads_max = READS_MAX * (1 + (skip + most) // PAGE_MAX)
        answer = await _merged(route, asked, most, states, ask, skip, reads_max)
        if answer is not None:
            return answer
    asked.offset = TOO_FAR if skip >= 0 else skip
    return await ask(0, asked)


async def _merged(
    route: Route,
    request: Any,
    most: int,
    states: Sequence[_State],
    ask: Ask,
    skip: int = 0,
    reads_max: int = READS_MAX,
) -> Any:
    """In the order of the list: an item is given when no shard can have one before it. None when what to
    `skip` has no end within the reads."""
    asked = _sized(request, min(PAGE_MAX, skip + most))
    cursors = [_Cursor(one.shard, one.token, one.after) for one in states]
    answers = await every(one.fill(ask, asked, route) for one in cursors)
    whole = _emptied(answers, route)
    listed = getattr(whole, route.listed)
    while len(listed) < most:
        open_ones = [one for one in cursors if one.token is not None]
        unread = [one for one in open_ones if not one.items]
        if not open_ones:
            break
        if any(one.reads >= reads_max for one in unread):
            if skip:
                return None
            break
        if unread:
            await every(one.fill(ask, asked, route) for one in unread)
            continue
        item = min(open_ones, key=lambda one: one.items[0][0]).take()
        if skip:
            skip -= 1
        else:
            listed.append(item)
    left = [_State(one.shard, one.token, one.after) for one in cursors if one.token is not None]
    setattr(whole, NEXT, _write(left))
    return whole


async def _in_turn(
    route: Route, request: Any, most: int, states: Sequence[_State], ask: Ask
) -> Any:
    """One shard after the other, until the page is full."""
    answers: list[Any] = []
    left, waiting = most, deque(states)
    while waiting and left:
        one = waiting[0]
        answer = await ask(one.shard, _sized(_with(request, one.token), left))
        answers.append(answer)
        left -= len(getattr(answer, route.listed))
        if token := getattr(answer, NEXT):
            waiting[0] = _State(one.shard, token)
            break
        waiting.popleft()
    whole = added(answers, route)
    setattr(whole, NEXT, _write(waiting))
    return whole


async def joined(route: Route, request: Any, shards: int, ask: Ask) -> Any:
    """The days of all shards: those up to the last one that every shard has. A page token is a day, the same
    for all shards."""
    answers = await every(ask(one, request) for one in range(shards))
    day = attrgetter(route.joined)
    ends = [max(map(day, getattr(one, route.listed)), default="") for one in answers]
    end, days = min(ends), dict[str, Any]()
    for answer in answers:
        for item in getattr(answer, route.listed):
            if day(item) <= end:
                days[day(item)] = _together(days.get(day(item)), item, route.joined)
    whole = route.answer()
    getattr(whole, route.listed).extend(days[one] for one in sorted(days))
    nexts = [getattr(one, NEXT) for one, last in zip(answers, ends, strict=True) if last == end]
    setattr(whole, NEXT, nexts[0] if all(nexts) else "")
    return whole


def _together(one: Any, other: Any, same: str) -> Any:
    """Two items of one day: numbers are added, the last time is kept."""
    if one is None:
        return other
    made = type(one)()
    made.CopyFrom(one)
    for said, value in other.ListFields():
        if said.message_type is not None:
            getattr(made, said.name).CopyFrom(max(getattr(one, said.name), value, key=_moment))
        elif said.name != same:
            setattr(made, said.name, getattr(one, said.name) + value)
    return made


def _moment(time: Any) -> tuple[int, int]:
    return time.seconds, time.nanos


async def stream(route: Route, streams: Mapping[int, AsyncIterator[Any]]) -> AsyncIterator[Any]:
    """The items of several streams in the order of the contract, some in each message."""
    heads: dict[int, deque[Any]] = {shard: deque() for shard in streams}

    async def fill(shard: int) -> None:
        while shard in heads and not heads[shard]:
            message = await anext(streams[shard], None)
            if message is None:
                del heads[shard]
            else:
                heads[shard].extend(getattr(message, route.listed))

    made = route.answer()
    while heads:
        await every(fill(shard) for shard, items in tuple(heads.items()) if not items)
        if not heads:
            break
        first = min(heads.values(), key=lambda items: route.place(items[0]))
        getattr(made, route.listed).append(first.popleft())
        if len(getattr(made, route.listed)) >= STREAM_ROWS:
            yield made
            made = route.answer()
    if getattr(made, route.listed):
        yield made


async def lines(route: Route, streams: Mapping[int, AsyncIterator[Any]]) -> AsyncIterator[Any]:
    """The lines of a report over several streams, each in the order of its labels: those that are alike in
    them are added into one."""
    heads: dict[int, Any] = {}

    async def advance(shard: int) -> None:
        line = await anext(streams[shard], None)
        if line is None:
            heads.pop(shard, None)
        else:
            heads[shard] = line

    await every(advance(shard) for shard in streams)
    while heads:
        first = min(_labels(one, route.lines) for one in heads.values())
        alike = [s for s, one in sorted(heads.items()) if _labels(one, route.lines) == first]
        yield _line(route, [heads[shard] for shard in alike])
        await every(advance(shard) for shard in alike)


def _labels(line: Any, field: str) -> tuple[str, ...]:
    return tuple(text for _, text in sorted(getattr(line, field).items()))


def _line(route: Route, alike: Sequence[Any]) -> Any:
    """One line of several: numbers are added, and sums by their names."""
    whole = route.answer()
    whole.CopyFrom(alike[0])
    for line in alike[1:]:
        for one, value in line.ListFields():
            if one.name == route.lines:
                continue
            if one.message_type is None:
                setattr(whole, one.name, getattr(whole, one.name) + value)
                continue
            for name, number in value.items():
                getattr(whole, one.name)[name] += number
    return whole


def _emptied(answers: Sequence[Any], route: Route) -> Any:
    """The answers put together without their lists."""
    for one in answers:
        one.ClearField(route.listed)
    return added(answers, route)


def _with(request: Any, token: str) -> Any:
    """The same request for the page of one shard."""
    made = type(request)()
    made.CopyFrom(request)
    setattr(made, AFTER, token)
    return made


def _sized(request: Any, size: int) -> Any:
    made = type(request)()
    made.CopyFrom(request)
    setattr(made, PAGE_SIZE, size)
    return made


def _write(states: Sequence[_State]) -> str:
    """A token; empty when no shard has more."""
    data = msgspec.json.encode(list(states))
    return base64.urlsafe_b64encode(data).decode().rstrip("=") if states else ""


def _read(token: str, shards: int) -> list[_State]:
    """Where each shard goes on; every one from its beginning without a token. Raises TokenInvalid."""
    if not token:
        return [_State(shard, "") for shard in range(shards)]
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        states = msgspec.json.decode(data, type=list[_State])
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise TokenInvalid("page_token") from None
    numbers = [one.shard for one in states]
    if (
        not numbers
        or numbers != sorted(set(numbers))
        or not 0 <= numbers[0] <= numbers[-1] < shards
    ):
        raise TokenInvalid("page_token")
    return states
