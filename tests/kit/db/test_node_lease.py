"""Two processes never make one id: numbers are leased, end with their lease, and are refused when lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from shoudan_kit.clock import SystemClock, TurnedClock
from shoudan_kit.db.errors import away
from shoudan_kit.db.node_lease import LEASE_S, NodeLease, NoNodeFree
from shoudan_kit.ids import NODE_MAX, IdLeaseLost, IdMaker, node_of, shard_of

EXPIRE = text("UPDATE id_node SET expire_time = now() - interval '1 s'")


@pytest.fixture
def lease(database):
    return lambda clock=None, **given: NodeLease(database, clock or SystemClock(), **given)


async def expire_all(database) -> None:
    async with database.begin() as db:
        await db.execute(EXPIRE)


async def test_processes_started_together_get_different_numbers(lease):
    made = [lease() for _ in range(20)]
    await asyncio.gather(*(one.renew() for one in made[:10]), return_exceptions=True)
    for one in made:
        if one.node is None:
            await one.claim()
    assert len({one.node for one in made}) == 20


async def test_no_number_is_given_twice_however_many_processes_there_are(lease):
    made = [lease() for _ in range(NODE_MAX + 1)]
    for one in made:
        await one.claim()
    assert {one.node for one in made} == set(range(NODE_MAX + 1))
    with pytest.raises(NoNodeFree) as raised:
        await lease().claim()
    assert away(raised.value)
    await made[5].release()
    late = lease()
    await late.claim()
    assert late.node == 5 == node_of(late.ids.next())


async def test_a_lease_taken_over_makes_the_first_owner_stop_and_nothing_repeat(lease, database):
    """The second owner's clock is behind, the first has borrowed ahead: ids differ all the same."""
    clock = TurnedClock(SystemClock().now())
    behind = TurnedClock(clock.now() - timedelta(hours=1))
    first = lease(clock)
    await first.claim()
    made = first.ids.take(50_000)
    await expire_all(database)
    others = [lease(behind) for _ in range(NODE_MAX + 1)]
    for other in others:
        await other.claim()
    (second,) = (one for one in others if one.node == node_of(made[0]))
    assert min(second.ids.take(50_000)) > max(made)
    await second.renew()

    clock.step(LEASE_S + 1)
    with pytest.raises(IdLeaseLost):
        first.ids.next()
    with pytest.raises(NoNodeFree):
        await first.renew()
    clock.step(-LEASE_S)
    with pytest.raises(IdLeaseLost):
        first.ids.next()
    await others[0].release() if others[0] is not second else await others[1].release()
    await first.renew()
    assert node_of(first.ids.next()) != second.node


async def test_a_lease_that_ended_but_was_not_taken_goes_on(lease, database):
    clock = TurnedClock(SystemClock().now())
    only = lease(clock)
    await only.claim()
    node = only.node
    clock.step(LEASE_S * 3)
    await expire_all(database)
    with pytest.raises(IdLeaseLost):
        only.ids.next()
    await only.renew()
    assert (only.node, node_of(only.ids.next())) == (node, node)


async def test_before_a_claim_and_after_a_release_there_are_no_ids(lease):
    one = lease()
    with pytest.raises(IdLeaseLost):
        one.ids.next()
    await one.claim()
    one.ids.next()
    await one.release()
    with pytest.raises(IdLeaseLost):
        one.ids.next()


async def test_proof_of_a_write_path_is_a_write(lease, database):
    one = lease(proof_s=0.0)
    await one.claim()
    assert await one.prove() is None
    async with database.begin() as db:
        await db.execute(text("ALTER TABLE id_node RENAME TO gone"))
    assert "42P01" in (await one.prove() or "")


def test_an_id_has_room_for_its_shard():
    clock = TurnedClock(SystemClock().now())
    made = [IdMaker(3, clock, shard=shard).next() for shard in (0, 1, 15)]
    assert [shard_of(one) for one in made] == [0, 1, 15]
    assert {node_of(one) for one in made} == {3}
    assert len(set(made)) == 3
    assert all(0 < one < 2**63 for one in made)
    with pytest.raises(ValueError, match="shard"):
        IdMaker(0, clock, shard=16)
