"""What the order service does in the background, declared as data."""

from __future__ import annotations

from typing import Any, Final

from shoudan_kit.task import Handler, handles
from shoudan_order import deliveries, moneyback, notifies, overtime, payments, returns, steps

HANDLERS: Final[tuple[Handler[Any], ...]] = (
    handles(steps.PAY)(payments.pay),
    handles(steps.BIND)(deliveries.bind),
    handles(steps.DELIVER)(deliveries.deliver),
    handles(steps.UP_PAY)(payments.pay_up),
    handles(steps.NOTIFY)(notifies.tell),
    handles(steps.OVERTIME)(overtime.overtime),
    handles(steps.DELIVERY_UNKNOWN)(overtime.delivery_unknown),
    handles(steps.ORDER_REFUND)(overtime.refund_order),
    handles(steps.RETURN)(returns.give_back),
    handles(steps.DOWN_REFUND)(moneyback.refund_down),
    handles(steps.UP_REFUND)(moneyback.refund_up),
    handles(steps.REFUND_NOTIFY)(notifies.tell),
    handles(steps.REFUND_OVERTIME)(returns.overtime),
    handles(steps.RETURN_UNKNOWN)(returns.unknown),
)
