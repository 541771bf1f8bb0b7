"""Promises of places whose number changes: never more are taken, those who wait come in order."""

from __future__ import annotations

import asyncio

import pytest

from shoudan_kit.limits.places import Places
from tests.poll import eventually


class Ran:
    """Tasks that take a place, in the order they got it, until they are let go."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.places = Places(lambda: self.size)
        self.got: list[int] = []
        self.inside = 0
        self.most = 0
        self.let_go = asyncio.Event()

    async def one(self, number: int) -> None:
        async with self.places:
            self.got.append(number)
            self.inside += 1
            self.most = max(self.most, self.inside)
            await self.let_go.wait()
            self.inside -= 1

    async def start(self, count: int) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self.one(number)) for number in range(count)]
        await eventually(lambda: self.places.wanted == count)
        return tasks


async def test_those_who_wait_come_in_order_and_never_more_than_places() -> None:
    ran = Ran(2)
    tasks = await ran.start(5)
    assert (ran.got, ran.places.wanted) == ([0, 1], 5)
    ran.let_go.set()
    await asyncio.gather(*tasks)
    assert (ran.got, ran.most, ran.places.wanted) == ([0, 1, 2, 3, 4], 2, 0)


async def test_more_places_are_used_at_once_and_fewer_as_soon_as_some_are_given_back() -> None:
    ran = Ran(1)
    tasks = await ran.start(6)
    ran.size = 3
    ran.places.wake()
    await eventually(lambda: ran.got == [0, 1, 2])
    ran.size = 1
    ran.let_go.set()
    await asyncio.gather(*tasks)
    assert ran.most == 3


@pytest.mark.parametrize("given", [False, True])
async def test_one_who_stops_waiting_takes_no_place(given: bool) -> None:
    ran = Ran(1)
    tasks = await ran.start(3)
    if given:
        ran.size = 2
        ran.places.wake()  # gives a place to the one that is cancelled in the same turn
    tasks[1].cancel()
    await eventually(lambda: tasks[1].done() and ran.places.wanted == 2)
    ran.size = 1
    ran.let_go.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (ran.got, ran.places.wanted) == ([0, 2], 0)


async def test_one_who_comes_while_others_wait_waits_behind_them_even_if_there_is_room() -> None:
    ran = Ran(1)
    tasks = await ran.start(2)
    ran.size = 2
    late = asyncio.create_task(ran.one(9))
    await eventually(lambda: ran.places.waiting == 2)
    assert ran.got == [0]
    ran.places.wake()
    await eventually(lambda: ran.got == [0, 1])
    ran.let_go.set()
    await asyncio.gather(*tasks, late)
    assert ran.got == [0, 1, 9]


async def test_one_who_stopped_waiting_is_passed_over_when_places_come_in_the_same_turn() -> None:
    ran = Ran(1)
    tasks = await ran.start(3)
    tasks[1].cancel()
    ran.size = 2
    ran.places.wake()
    ends = asyncio.gather(*tasks, return_exceptions=True)
    await eventually(lambda: ran.got == [0, 2])
    ran.let_go.set()
    assert [type(one) for one in await ends] == [type(None), asyncio.CancelledError, type(None)]
    assert ran.places.wanted == 0
