"""Promises of slots: so many at once, in order of asking; what waits for one is gathered until it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from shoudan_kit.batch import Coalescer
from shoudan_kit.limits.slots import SlotBook, Slots
from tests.poll import eventually


async def settle() -> None:
    """Let what can go on go on."""
    loop = asyncio.get_running_loop()
    for _ in range(5):
        passed: asyncio.Future[None] = loop.create_future()
        loop.call_soon(passed.set_result, None)
        await passed


class Asker:
    """Takes a slot for each thing it has to do."""

    def __init__(self, slots: Slots, log: list[str], name: str, wanted: int) -> None:
        self.slots, self.log, self.name, self.wanted = slots, log, name, wanted

    def fill(self) -> None:
        while self.wanted and self.slots.take(self, self.fill):
            self.wanted -= 1
            self.log.append(self.name)


def test_slots_go_round_among_those_who_ask_and_pass_who_wants_none() -> None:
    log: list[str] = []
    slots = SlotBook().of("x", 2)
    a, b, c = (Asker(slots, log, name, n) for name, n in (("a", 4), ("b", 2), ("c", 1)))
    for one in (a, b, c):
        one.fill()
    assert log == ["a", "a"]
    c.wanted = 0
    for _ in range(4):
        slots.give_back()
    assert log == ["a", "a", "a", "b", "a", "b"]
    slots.give_back()
    slots.give_back()
    c.wanted = 3
    c.fill()
    assert log[6:] == ["c", "c"]


def test_a_book_gives_the_same_slots_to_all_who_name_them() -> None:
    book = SlotBook()
    assert book.of("x", 2) is book.of("x", 2)
    assert book.of("x", 2) is not book.of("y", 2)


class Shard:
    """A coalescer whose batches end when they are let go."""

    def __init__(
        self, slots: SlotBook | None, sizes: list[int], open_: list[asyncio.Event]
    ) -> None:
        self._sizes, self._open = sizes, open_
        self.coalescer: Coalescer[int, int] = Coalescer(
            self._run, name="x", size_max=100, linger_s=0, in_flight_max=2, slots=slots
        )

    async def _run(self, questions: Sequence[int]) -> Sequence[int]:
        self._sizes.append(len(questions))
        self._open.append(event := asyncio.Event())
        await event.wait()
        return questions


LASTS = 4


async def rows_in_a_batch(shards: int, *, shared: bool, rounds: int = 60) -> float:
    """Eight questions arrive in each round, spread over the shards, a batch lasts four: rows of a batch."""
    book, sizes, open_ = SlotBook(), list[int](), list[asyncio.Event]()
    all_ = [Shard(book if shared else None, sizes, open_) for _ in range(shards)]
    asked: list[asyncio.Task[int]] = []
    ends: list[tuple[int, asyncio.Event]] = []
    for now in range(rounds + 40):
        for n in range(8) if now < rounds else ():
            asked.append(asyncio.create_task(all_[len(asked) % shards].coalescer(n)))
        await settle()
        ends += [(now + LASTS, event) for event in open_]
        open_.clear()
        for end, event in ends:
            if end == now:
                event.set()
        await settle()
    assert [await one for one in asked] == [n for _ in range(rounds) for n in range(8)]
    return sum(sizes) / len(sizes)


async def test_batches_of_four_shards_are_as_large_as_those_of_one() -> None:
    one = await rows_in_a_batch(1, shared=False)
    assert await rows_in_a_batch(1, shared=True) == one
    assert await rows_in_a_batch(4, shared=True) >= 0.8 * one
    assert await rows_in_a_batch(4, shared=False) <= 0.5 * one


async def test_who_closes_while_it_waits_for_a_slot_answers_what_it_took() -> None:
    book, sizes, open_ = SlotBook(), list[int](), list[asyncio.Event]()
    busy, late = (Shard(book, sizes, open_) for _ in range(2))
    first = [asyncio.create_task(busy.coalescer(0))]
    await eventually(lambda: len(open_) == 1)
    first += [asyncio.create_task(busy.coalescer(9))]
    await eventually(lambda: len(open_) == 2)
    waits = asyncio.create_task(late.coalescer(5))
    closing = asyncio.create_task(late.coalescer.aclose())
    await settle()
    assert not closing.done()
    open_.pop(0).set()
    await eventually(lambda: len(open_) == 2)
    for event in open_:
        event.set()
    assert await waits == 5
    await closing
    assert await asyncio.gather(*first) == [0, 9]


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_than_so_many_at_once(most: int) -> None:
    log: list[str] = []
    slots = Slots(most)
    for number in range(5):
        Asker(slots, log, str(number), 2).fill()
    assert len(log) == most
