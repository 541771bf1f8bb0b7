"""What keeps orders in the database: holds that people set, and all that may still happen to an order."""

from __future__ import annotations

from typing import Final

from sqlalchemy import MetaData, Table

from shoudan_kit.db.columns import literals
from shoudan_kit.db.ended import Ended, Stay
from shoudan_kit.db.foundation import rights
from shoudan_order import states as s
from shoudan_order.tables.columns import holds, now, number, text_key, when, words

_HOLD: Final = ("order_id", "down_channel_no", "start_time", "end_time", "reason", "made_by")

_OPEN_MONEY: Final = literals(
    sorted({s.FailRefundStatus.WAITING, s.FailRefundStatus.RUNNING})
)  # numbers that both kinds of money back share
_OPEN_PAYMENT: Final = literals(sorted({s.UpPaymentStatus.WAITING, s.UpPaymentStatus.PAYING}))
_OPEN_NOTIFY: Final = literals(
    sorted(set(s.NotifyStatus) - {s.NotifyStatus.DONE, s.NotifyStatus.ANSWERED})
)
_ENDS: Final = literals(sorted({s.DeliveryStatus.SUCCEEDED, s.DeliveryStatus.FAILED}))


def _any(table: str, rule: str) -> str:
    """True when a row of the order says so."""
    return f"EXISTS (SELECT FROM {table} x WHERE x.order_id = r.order_id AND ({rule}))"


# By numbers that hold the time; the first reason that is true is the one that is shown.
ORDERS: Final = Ended(
    table="oms_order_info",
    key="order_id",
    number="r.order_id",
    owner="r.down_channel_no",
    made="r.create_time",
    stays=(
        Stay(
            "open",
            "the order has not ended",
            f"r.order_status NOT IN ({literals(sorted(s.ENDED))})",
        ),
        Stay("changed", "something changed it since", "r.modify_time >= :before"),
        Stay("parked", "it waits for a person", "r.parked_reason <> ''"),
        Stay("money", "what was paid has not gone back", f"r.refund_status IN ({_OPEN_MONEY})"),
        Stay(
            "delivery",
            "a delivery has not ended, or its supplier is not paid",
            _any(
                "oms_order_delivery",
                f"x.delivery_status NOT IN ({_ENDS}) OR x.up_payment_status IN ({_OPEN_PAYMENT})",
            ),
        ),
        Stay(
            "refund",
            "a refund is open, its money has not gone back, or it changed since",
            _any(
                "oms_refund_info",
                f"x.refund_status = {s.RefundStatus.RETURNING:d}"
                f" OR x.down_refund_status IN ({_OPEN_MONEY}) OR x.modify_time >= :before",
            ),
        ),
        Stay(
            "return",
            "goods or a supplier's money are on their way back",
            "EXISTS (SELECT FROM oms_order_delivery d JOIN oms_refund_up_return x USING (delivery_id)"
            f" WHERE d.order_id = r.order_id AND (x.return_status NOT IN ({_ENDS})"
            f" OR x.up_refund_status IN ({_OPEN_MONEY}) OR x.end_time >= :before))",
        ),
        Stay(
            "notify",
            "a notify has not ended, or was given up",
            _any("oms_notify_info", f"x.notify_status IN ({_OPEN_NOTIFY})"),
        ),
        Stay(
            "audit",
            "an audit waits for a person, or was decided since",
            _any(
                "oms_audit_info",
                f"x.audit_status = {s.AuditStatus.WAITING:d} OR x.audit_time >= :before",
            ),
        ),
        Stay(
            "task",
            "a task of it waits, or has failed",
            "EXISTS (SELECT FROM task t WHERE t.task_id = r.order_id OR (t.exclusive AND t.status = 90"
            " AND t.order_no = CAST(r.order_id AS text)))",
        ),
    ),
    holds="SELECT order_id, down_channel_no, start_time, end_time FROM oms_order_hold ORDER BY hold_no",
)


def declare(made: MetaData) -> None:
    """Add the table of holds to `made`."""
    Table(
        "oms_order_hold",
        made,
        text_key("hold_no", "编号: of the case, given by people"),
        number("order_id", "订单编号; 0 for any"),
        words("down_channel_no", "下游渠道编号; empty for any"),
        when("start_time", "orders made from then on; empty for any", null=True),
        when("end_time", "orders made before; empty for any", null=True),
        words("reason", "why", None),
        words("made_by", "操作人", None),
        now("create_time", "创建时间"),
        holds(
            "some",
            "order_id <> 0 OR down_channel_no <> '' OR start_time IS NOT NULL OR end_time IS NOT NULL",
        ),
        holds("period", "start_time < end_time"),
        comment="保留: orders that stay in the database whatever their age",
        info=rights(update=_HOLD, delete=True),
    )
