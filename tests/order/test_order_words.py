"""`shoudan order show`: an order in words, in 元 and in Beijing time, with every status."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_order import order_words
from shoudan_order.order_words import STATUSES, TIMESTAMP, chinese


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


def test_an_order_is_shown_in_chinese() -> None:
    order = pb.Order(
        state=pb.OrderState(order_id=7, channel_no="test", status=20),
        sell_amount_micros=198_500_000,
        payment_status=0,
        refunds=[pb.Refund(status=10, up_return_status=30)],
        deliveries=[pb.OrderDelivery(delivery_status=30, return_msg="no answer")],
    )
    order.create_time.FromDatetime(datetime(2026, 11, 1, 2, 0, tzinfo=UTC))
    shown = list(order_words.lines(order, "zh"))
    assert shown[:3] == ["订单", "  订单编号：7", "  下游渠道编号：test"]
    assert "  状态：发货 (20)" in shown
    assert "销售金额：198.5 元" in shown
    assert "创建时间：2026-11-01 10:00:00" in shown
    assert "支付状态：支付成功 (0)" in shown
    assert "  发货状态：已发出，结果未知 (30)" in shown
    assert "  状态：退货中 (10)" in shown
    assert "失败退款状态：未知" in shown, "what was never set is no success"
    known = {"test", "no answer"}
    left = [one for one in shown if re.search("[A-Za-z]{2}", one)]
    assert [one for one in left if not known & set(re.split("：", one))] == []


def _described(message: Any) -> Iterator[Any]:
    """Every field of a message and of what is in it, but moments."""
    for field in message.fields:
        yield field
        if field.message_type is not None and field.message_type.full_name != TIMESTAMP:
            yield from _described(field.message_type)


def test_every_field_and_every_status_has_its_chinese() -> None:
    known = chinese()
    fields = list(_described(pb.Order.DESCRIPTOR))
    names = {one.name.removesuffix("_micros") for one in fields}
    assert names - set(known["fields"]) == set()
    statuses = {one.__name__: {word.name.lower() for word in one} for one in STATUSES.values()}
    for enum in {one.enum_type.name: one.enum_type for one in fields if one.enum_type}.values():
        prefix = re.sub("(?<=[a-z])(?=[A-Z])", "_", enum.name).lower() + "_"
        statuses[enum.name] = {one.name.lower().removeprefix(prefix) for one in enum.values}
    assert {name: words - set(known.get(name, {})) for name, words in statuses.items()} == {
        name: set[str]() for name in statuses
    }
