"""Each law of orders: a whole life breaks none, and damage that breaks one is found by it alone."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from shoudan_kit.tasks.laws import LawWatch
from shoudan_order.store.laws import SUBJECT
from tests.order.harness import OrderHarness
from tests.order.test_parked import unknown
from tests.order.test_refunds import ask, delivered
from tests.order.test_trouble import reaches

ORDER, DELIVERY = "oms_order_info", "oms_order_delivery"
# A delivery more, on its way for an order that has all it bought.
ANOTHER = """INSERT INTO oms_order_delivery SELECT (jsonb_populate_record(d, jsonb_build_object(
    'delivery_id', delivery_id + 1, 'up_delivery_no', 'another', 'delivery_status', 30,
    'up_payment_status', 10, 'end_time', NULL, 'money_time', NULL))).*
    FROM oms_order_delivery d WHERE order_id = CAST(:id AS bigint)"""
# By law: the tables whose own guards are set aside, and what then breaks it.
DAMAGE = {
    "order_ends_once": (
        (),
        """INSERT INTO event (event_id, subject, key, tag, text, body, create_time)
        SELECT event_id + 1, 'shoudan.events.order.order.failed', key, tag, text, body, create_time
        FROM event WHERE key = CAST(CAST(:id AS bigint) AS text)
            AND subject = 'shoudan.events.order.order.succeeded'""",
    ),
    "deliveries_explain_order": (
        (DELIVERY,),
        "DELETE FROM oms_order_delivery WHERE order_id = :id",
    ),
    "ended_order_rests": ((DELIVERY,), ANOTHER),
    "order_bound_once": ((DELIVERY,), ANOTHER),
}


async def broken(harness: OrderHarness) -> dict[str, list[int]]:
    """What breaks each law, of all orders there are."""
    async with harness.process.app.db.connect() as db:
        every = (await db.execute(text("SELECT order_id FROM oms_order_info"))).scalars().all()
        found = {
            law.name: [row.id for row in await db.execute(law.statement, {"ids": list(every)})]
            for law in SUBJECT.laws
        }
    return {name: numbers for name, numbers in found.items() if numbers}


async def damage(harness: OrderHarness, order_id: int, tables: tuple[str, ...], sql: str) -> None:
    """As nothing of ours can: past the guards of the tables, which stand again afterwards."""
    for name in tables:
        await harness.sql(f"ALTER TABLE {name} DISABLE TRIGGER USER")
    await harness.sql(sql, id=order_id)
    for name in tables:
        await harness.sql(f"ALTER TABLE {name} ENABLE TRIGGER USER")


@pytest.mark.parametrize("law", DAMAGE)
async def test_damage_to_an_ended_order_is_found(harness: OrderHarness, law: str) -> None:
    order_id = await harness.order()
    await reaches(harness, order_id, 0)
    assert await broken(harness) == {}
    await damage(harness, order_id, *DAMAGE[law])
    assert (await broken(harness))[law] == [order_id]


async def test_a_refund_beyond_the_order_is_found(harness: OrderHarness) -> None:
    order = await delivered(harness)
    order_id = order.state.order_id
    await ask(harness, order, "f1")
    assert await broken(harness) == {}
    more = "UPDATE oms_refund_info SET refund_num = refund_num + 1 WHERE order_id = :id"
    await damage(harness, order_id, ("oms_refund_info",), more)
    assert (await broken(harness))["refunds_within_order"] == [order_id]


async def test_an_order_that_goes_on_too_long_or_waits_unseen_is_found(
    harness: OrderHarness,
) -> None:
    (order,) = await unknown(harness)
    assert await broken(harness) == {}  # long over its time, and a person knows
    await damage(
        harness, order.state.order_id, (), "DELETE FROM oms_audit_info WHERE order_id = :id"
    )
    assert await broken(harness) == {"parked_order_is_listed": [order.state.order_id]}
    forgotten = """UPDATE oms_order_info SET parked_reason = '',
        order_overtime = shoudan_now() - interval '1 hour' WHERE order_id = :id"""
    await damage(harness, order.state.order_id, (ORDER,), forgotten)
    assert await broken(harness) == {"order_ends_in_time": [order.state.order_id]}


async def test_the_newest_are_looked_at_first(harness: OrderHarness) -> None:
    app = harness.process.app
    watched = LawWatch(app.db, app.clock, [SUBJECT])
    order_id = await harness.order()
    await reaches(harness, order_id, 0)
    async with app.db.connect() as db:
        since = {"after": order_id, "most": 100}
        assert [row.id for row in await db.execute(SUBJECT.changed, since)] == [order_id]
        assert [row.id for row in await db.execute(SUBJECT.walked, since)] == []
        before = {"after": order_id - 1, "most": 100}
        assert [row.id for row in await db.execute(SUBJECT.walked, before)] == [order_id]
    await watched.look()
    assert all(not known for _, walk in watched._walks for known in walk.known.values())
