"""Deliveries reach a sender once; what it could not bring to its end is let go and looked at again."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import aio

from shoudan.core.v1 import operations_service_pb2 as core
from shoudan.core.v1 import operations_service_pb2_grpc as core_grpc
from shoudan_delivery.kinds import REQUEST
from shoudan_delivery.senders.sender import Sender
from shoudan_delivery.store import deliveries as store
from shoudan_kit import faults
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from tests.delivery.conftest import House
from tests.poll import eventually
from tests.unanswered import Unanswered

SUCCEEDED, CREATED, SENDING = 0, 20, 30


async def test_a_mark_whose_answer_was_lost_is_looked_at_again(
    running: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is marked, but nobody here is told; then it cannot be read who moved it."""
    monkeypatch.setattr(Sender, "free", 0)  # as when others wait: else it is marked as it is made
    mark, read, lost = store.mark_sending, store.overdue, []

    async def marked(*given: Any) -> Any:
        rows = await mark(*given)
        if not lost:
            lost.append("mark")
            raise ConnectionResetError
        return rows

    async def unread(*given: Any) -> Any:
        if len(lost) == 1:
            lost.append("overdue")
            raise ConnectionResetError
        return await read(*given)

    monkeypatch.setattr(store, "mark_sending", marked)
    monkeypatch.setattr(store, "overdue", unread)
    await running.apply(timeout_s=0.5, idempotent=True)
    (number,) = await running.send("0000")
    assert (await running.ends(number)).status == SUCCEEDED
    assert lost == ["mark", "overdue"]


@pytest.mark.parametrize("point", ["delivery.before_call", "delivery.after_call"])
async def test_an_error_that_no_handler_expects_holds_up_no_delivery(
    running: House, point: str
) -> None:
    await running.apply(timeout_s=0.5, idempotent=True)
    faults.arm("test", f"{point}:raise")
    try:
        numbers = await running.send("0000", "0000")
        assert {(await running.ends(one)).status for one in numbers} == {SUCCEEDED}
    finally:
        faults.arm("test", "")


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers that a statement of their own marks as sending."""
    mark, seen = store.mark_sending, []

    async def noted(db: Any, order_nos: Any) -> Any:
        seen.extend(order_nos)
        return await mark(db, order_nos)

    monkeypatch.setattr(store, "mark_sending", noted)
    return seen


async def test_where_a_channel_has_places_deliveries_are_made_as_sent(
    running: House, marked: list[int]
) -> None:
    made = await running.create(*["0000"] * 5)
    assert {one.delivery.status for one in made.results} == {SENDING}
    numbers = [int(one.delivery.key.coop_order_id) for one in made.results]
    assert {(await running.ends(one)).status for one in numbers} == {SUCCEEDED}
    assert marked == []
    (counted,) = await running.rows("SELECT DISTINCT request_count FROM vds_order_info")
    assert counted == (1,)
    running.witness()


async def test_more_than_a_channel_takes_at_once_are_marked_as_their_turn_comes(
    running: House, marked: list[int]
) -> None:
    await running.apply(concurrency_max=2)
    made = await running.create(*["0000"] * 3)
    assert {one.delivery.status for one in made.results} == {CREATED}
    for one in made.results:
        await running.ends(int(one.delivery.key.coop_order_id))
    assert sorted(marked) == sorted(int(one.delivery.order_no) for one in made.results)
    running.witness()


async def test_a_repeat_gets_what_there_is_and_calls_nobody(running: House) -> None:
    """A request's own repeats, too: the second of a key is the first."""
    one = running.number()
    running.number = lambda: one
    made = await running.create("0000", "0000")
    again = await running.create("0000")
    assert len({each.delivery.order_no for each in (*made.results, *again.results)}) == 1
    assert (await running.ends(one)).status == SUCCEEDED
    running.witness()


async def test_what_is_not_committed_gives_its_places_back(
    running: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert, hold, seen = store.insert, Sender.hold, list[Sender]()

    async def lost(*given: Any) -> Any:
        written = await insert(*given)
        if len(seen) == 1:
            raise ConnectionResetError
        return written

    def noted(self: Sender, order_nos: Any) -> None:
        seen.append(self)
        hold(self, order_nos)

    monkeypatch.setattr(store, "insert", lost)
    monkeypatch.setattr(Sender, "hold", noted)
    numbers = await running.send("0000", "0000")
    assert {(await running.ends(one)).status for one in numbers} == {SUCCEEDED}
    assert len(seen) == 2
    assert seen[0] is seen[1]
    await eventually(lambda: not any(seen[0].asked().values()))
    running.witness()


async def test_what_is_committed_without_an_answer_is_called_for_by_the_next_try(
    running: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else has: a supplier that cannot be asked would leave it unknown for good."""
    commit, lost = UnitOfWork._commit, list[str]()

    async def unanswered(self: UnitOfWork) -> None:
        if self.name == "delivery.create" and not lost:
            lost.append(self.name)
            self._transaction = Unanswered(self._transaction)
        await commit(self)

    await running.apply(can_query=False, timeout_s=30.0)
    monkeypatch.setattr(UnitOfWork, "_commit", unanswered)
    numbers = await running.send("0000", "0000")
    assert {(await running.ends(one)).status for one in numbers} == {SUCCEEDED}
    assert lost
    left = await running.rows("SELECT count(*) FROM task WHERE name = 'delivery.request'")
    assert left == [(0,)]
    running.witness()


async def test_nothing_of_a_paused_queue_is_sent(running: House) -> None:
    worker = running.process.app.worker
    assert worker is not None
    async with aio.insecure_channel(f"127.0.0.1:{running.process.port}") as channel:
        operations: Any = core_grpc.OperationsServiceStub(channel)
        pause = {"queue_name": REQUEST.queue, "by": "me", "reason": "why"}
        await operations.PauseQueue(core.PauseQueueRequest(paused=True, **pause))
        await eventually(lambda: not worker.accepts(REQUEST, REQUEST.queue))
        (number,) = await running.send("0000")
        assert (await running.query(number)).status == CREATED
        await operations.PauseQueue(core.PauseQueueRequest(**pause))
    assert (await running.ends(number)).status == SUCCEEDED
    running.witness()
