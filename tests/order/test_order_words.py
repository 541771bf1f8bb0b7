"""`shoudan order show`: an order in words, in 元 and in Beijing time, with every status."""

from __future__ import annotations

from datetime import UTC, datetime

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_order import order_words
from shoudan_order.order_words import STATUSES


def test_an_order_is_shown_in_words_yuan_and_beijing_time() -> None:
    order = pb.Order(
        state=pb.OrderState(order_id=7, channel_no="test", request_no="r1", status=20),
        sell_amount_micros=198_500_000,
        payment_status=0,
        notify_status=10,
        deliveries=[pb.OrderDelivery(delivery_id=9, delivery_status=30, face_micros=200_000_000)],
    )
    order.create_time.FromDatetime(datetime(2026, 11, 1, 2, 0, tzinfo=UTC))
    shown = list(order_words.lines(order))
    assert "  status: delivering (20)" in shown
    assert "sell_amount: ¥198.5" in shown
    assert "create_time: 2026-11-01 10:00:00" in shown
    assert "payment_status: paid (0)" in shown, "0 is a status, too"
    assert "notify_status: not_started (10)" in shown
    assert shown.index("deliveries") < shown.index("  face: ¥200")
    assert "  delivery_status: " in "\n".join(shown)
    assert "refund_status: not known" in shown, "what was never set is no success"


def test_every_status_of_the_contract_has_its_words() -> None:
    known = {"Order": pb.Order, "OrderDelivery": pb.OrderDelivery, "Refund": pb.Refund}
    known["Notify"] = pb.Notify
    for name, message in known.items():
        numbers = {
            field.name
            for field in message.DESCRIPTOR.fields
            if field.name.endswith("_status") and field.enum_type is None
            if field.name != "http_status"
        }
        assert numbers == {field for owner, field in STATUSES if owner == name}


def test_a_number_without_words_is_shown_as_it_is() -> None:
    assert "payment_status: 55" in list(order_words.lines(pb.Order(payment_status=55)))
