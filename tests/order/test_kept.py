"""Promises of the order database: as the serving role it takes no state that no order can have."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shoudan_kit.db import sql_state
from tests.order.test_refunds import ask, delivered, ends, returns_end
from tests.order.world import World

NO_RIGHT, CHECK = "42501", "23514"
BROKEN = (
    ("UPDATE oms_order_info SET success_face_micros = 0", CHECK),
    ("UPDATE oms_order_info SET order_status = 0", CHECK),
    ("UPDATE oms_order_info SET profit_micros = 999", CHECK),
    ("UPDATE oms_order_info SET success_sell_amount_micros = 1", CHECK),
    ("UPDATE oms_order_info SET is_refund = 7", CHECK),
    ("UPDATE oms_order_info SET complete_up_pay = 2", CHECK),
    ("UPDATE oms_order_info SET request_no = 'x'", NO_RIGHT),
    ("UPDATE oms_order_info SET sell_amount_micros = 1", NO_RIGHT),
    ("UPDATE oms_order_info SET create_time = now()", NO_RIGHT),
    ("UPDATE oms_order_info SET order_overtime = now()", NO_RIGHT),
    ("UPDATE oms_order_delivery SET total_face_micros = 1", NO_RIGHT),
    ("UPDATE oms_order_delivery SET order_id = 1", NO_RIGHT),
    ("UPDATE oms_refund_info SET order_id = 1", NO_RIGHT),
    ("UPDATE oms_refund_info SET refund_num = 9", NO_RIGHT),
    ("UPDATE oms_refund_up_return SET return_cost_amount_micros = 1", NO_RIGHT),
    ("UPDATE oms_audit_info SET order_id = 1", NO_RIGHT),
    ("UPDATE event SET text = ''", NO_RIGHT),
    ("DELETE FROM event", NO_RIGHT),
    ("DELETE FROM oms_order_info", NO_RIGHT),
    ("DELETE FROM oms_order_delivery", NO_RIGHT),
    ("DELETE FROM oms_refund_info", NO_RIGHT),
)


async def test_no_broken_state_of_an_order_is_stored(world: World) -> None:
    world.delivery.script = returns_end(True)
    await delivered(world)
    order = await delivered(world)
    await ask(world, order, "f1")
    await ends(world, order, "f1", 0)
    told: list[tuple[str, str | None]] = []
    for sql, _ in BROKEN:
        with pytest.raises(DBAPIError) as refused:
            async with world.process.app.db.begin() as db:
                await db.execute(text(sql))
        told.append((sql, sql_state(refused.value)))
    assert told == list(BROKEN)
