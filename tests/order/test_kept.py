"""Promises of the order database: it takes no state that no order can have, whoever writes it."""

from __future__ import annotations

from shoudan_kit.embedded import DatabaseUrls, Postgres
from tests.kept import CHECK, NO_RIGHT, not_refused
from tests.order.harness import OrderHarness
from tests.order.test_refunds import ask, delivered, ends, returns_end

# One order is delivered, one delivered and refunded.
ORDER, REFUND = "UPDATE oms_order_info SET", "UPDATE oms_refund_info SET"
ANOTHER_SUM = (
    f"{ORDER} success_sell_amount_micros = success_sell_amount_micros + 10,"
    " profit_micros = profit_micros + 10"
)
ANOTHER_REFUND = (
    'INSERT INTO oms_refund_info SELECT (jsonb_populate_record(r, \'{"refund_id": 1,'
    ' "down_refund_no": "more"}\')).* FROM oms_refund_info r'
)
BROKEN = (
    (f"{ORDER} success_face_micros = 0", CHECK),
    (f"{ORDER} order_status = 0", CHECK),
    (f"{ORDER} profit_micros = 999", CHECK),
    (f"{ORDER} success_sell_amount_micros = 1", CHECK),
    (ANOTHER_SUM, CHECK),
    (f"{ORDER} order_status = 20, end_time = NULL", CHECK),
    (f"{ORDER} order_status = 10, end_time = NULL, bind_face_micros = 0", CHECK),
    (f"{ORDER} order_status = 91 WHERE order_status = 90", CHECK),
    (f"{ORDER} end_time = NULL", CHECK),
    (f"{ORDER} payment_status = 30", CHECK),
    (f"{ORDER} delivery_bind_status = 20", CHECK),
    (f"{ORDER} bind_face_micros = total_face_micros + 10", CHECK),
    (f"{ORDER} up_paid_face_micros = -1", CHECK),
    (f"{ORDER} is_refund = 7", CHECK),
    (f"{ORDER} complete_up_pay = 2", CHECK),
    (f"{ORDER} order_status = 7", CHECK),
    (f"{ORDER} request_no = 'x'", NO_RIGHT),
    (f"{ORDER} sell_amount_micros = 1", NO_RIGHT),
    (f"{ORDER} create_time = now()", NO_RIGHT),
    (f"{ORDER} order_overtime = now()", NO_RIGHT),
    ("UPDATE oms_order_delivery SET delivery_status = 30", CHECK),
    ("UPDATE oms_order_delivery SET delivery_status = 90", CHECK),
    ("UPDATE oms_order_delivery SET end_time = NULL", CHECK),
    ("UPDATE oms_order_delivery SET up_payment_status = 10", CHECK),
    ("UPDATE oms_order_delivery SET total_face_micros = 1", NO_RIGHT),
    ("UPDATE oms_order_delivery SET order_id = 1", NO_RIGHT),
    (f"{REFUND} refund_status = 10, end_time = NULL", CHECK),
    (f"{REFUND} refund_status = 90", CHECK),
    (f"{REFUND} down_refund_status = 20", CHECK),
    (f"{REFUND} refund_face_micros = refund_face_micros + 10", CHECK),
    (f"{REFUND} refund_sell_amount_micros = refund_sell_amount_micros + 10", CHECK),
    (f"{REFUND} complete_up_refund = 5", CHECK),
    (f"{REFUND} order_id = 1", NO_RIGHT),
    (f"{REFUND} refund_num = 9", NO_RIGHT),
    (ANOTHER_REFUND, CHECK),
    ("UPDATE oms_refund_up_return SET return_status = 30, end_time = NULL", CHECK),
    ("UPDATE oms_refund_up_return SET up_refund_status = 10", CHECK),
    ("UPDATE oms_refund_up_return SET return_cost_amount_micros = 1", NO_RIGHT),
    ("UPDATE oms_notify_info SET notify_status = 20, end_time = NULL", CHECK),
    ("UPDATE oms_notify_info SET given_up = true", CHECK),
    ("UPDATE oms_notify_info SET notify_url = 'http://other'", NO_RIGHT),
    ("UPDATE oms_audit_info SET order_id = 1", NO_RIGHT),
    ("UPDATE event SET text = ''", NO_RIGHT),
    ("DELETE FROM event", NO_RIGHT),
    ("DELETE FROM oms_order_info", NO_RIGHT),
    ("DELETE FROM oms_order_delivery", NO_RIGHT),
    ("DELETE FROM oms_refund_info", NO_RIGHT),
    ("DELETE FROM oms_refund_up_return", NO_RIGHT),
    ("DELETE FROM oms_notify_info", NO_RIGHT),
    ("DELETE FROM oms_audit_info", NO_RIGHT),
)


async def test_no_broken_state_of_an_order_is_stored(
    postgres: Postgres, harness: OrderHarness
) -> None:
    harness.delivery.script = returns_end(True)
    await delivered(harness, notify_url=harness.inbox.url)
    order = await delivered(harness)
    await ask(harness, order, "f1")
    await ends(harness, order, "f1", 0)
    urls = DatabaseUrls(harness.process.app.settings.database_url.reveal(), harness.owner_url)
    assert await not_refused(postgres, urls, BROKEN) == []
