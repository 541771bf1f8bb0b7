"""Which orders leave the database, what of theirs goes along, and what stays known of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, literals
from shoudan_kit.db.ended import Ended, Member, Stay
from shoudan_kit.db.text_statements import statement
from shoudan_kit.tasks.kinds import TaskStatus
from shoudan_order import states as s
from shoudan_order.store.reports import ARCHIVED_SUMS, ENDED_DELIVERIES, ENDED_ORDERS

VOUCHERS: Final = 20  # 电子券发货: service class of lines whose goods may be codes
STAYS_THERE: Final = ("oms_refund_info", "oms_refund_up_return")

_OPEN_MONEY: Final = literals(
    sorted({s.FailRefundStatus.WAITING, s.FailRefundStatus.RUNNING})
)  # numbers that every kind of money back shares
_OPEN_PAYMENT: Final = literals(sorted({s.UpPaymentStatus.WAITING, s.UpPaymentStatus.PAYING}))
_OPEN_NOTIFY: Final = literals(
    sorted(set(s.NotifyStatus) - {s.NotifyStatus.DONE, s.NotifyStatus.ANSWERED})
)
_ENDS: Final = literals(sorted({s.DeliveryStatus.SUCCEEDED, s.DeliveryStatus.FAILED}))
_MINE: Final = "x.order_id = ANY({ids})"
_DELIVERIES: Final = "SELECT d.delivery_id FROM oms_order_delivery d WHERE d.order_id = ANY({ids})"
# What a channel is answered of an order that has left.
_KEPT: Final = (
    "request_hash", "order_status", "notify_status", "fail_code", "fail_msg", "end_time",
)  # fmt: skip


class ArchivedOrder(msgspec.Struct, frozen=True):
    """An order that has left the database, and where its rows are."""

    order_id: int
    lot_no: str
    place: str
    end_time: datetime


_ARCHIVED: Final = Rows(ArchivedOrder)

_FIND = statement("""
SELECT k.order_id, k.lot_no, l.place, k.end_time FROM oms_archived_order k
JOIN oms_archived_lot l ON l.lot_no = k.lot_no
WHERE k.order_id = CAST(:order_id AS bigint)
    AND NOT EXISTS (SELECT FROM oms_order_info o WHERE o.order_id = k.order_id)
""")
_FIND_KEYS = statement("""
SELECT k.down_channel_no, k.request_no, k.order_id FROM oms_archived_order k
JOIN unnest(CAST(:channel_nos AS text[]), CAST(:request_nos AS text[])) AS g(channel_no, request_no)
    ON k.down_channel_no = g.channel_no AND k.request_no = g.request_no
""")


async def archived_order(db: AsyncConnection, order_id: int) -> ArchivedOrder | None:
    """The order of this number, if it has left."""
    found = _ARCHIVED.all(await db.execute(_FIND, {"order_id": order_id}))
    return found[0] if found else None


async def archived_numbers(
    db: AsyncConnection, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """The numbers of archived orders by (channel_no, request_no)."""
    binds = {"channel_nos": [k[0] for k in keys], "request_nos": [k[1] for k in keys]}
    return {(row[0], row[1]): row[2] for row in await db.execute(_FIND_KEYS, binds)}


def _any(table: str, rule: str) -> str:
    """True when a row of the order says so."""
    return f"EXISTS (SELECT FROM {table} x WHERE x.order_id = r.order_id AND ({rule}))"


# By numbers that hold the time; the first reason that is true is the one that is shown.
STAYS: Final = (
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
        "EXISTS (SELECT FROM task t WHERE t.task_id = r.order_id OR (t.exclusive"
        f" AND t.status = {TaskStatus.FAILED:d}"
        " AND t.order_no = CAST(r.order_id AS text)))",
    ),
    Stay(
        "cards",
        "its goods are codes, which its channel may still fetch",
        "EXISTS (SELECT FROM oms_product_line l WHERE l.line_id = r.line_id"
        f" AND l.service_class = {VOUCHERS})",
    ),
)

# A refund and a return stay as they are, and are their own keys: the channel repeats a refund by its number.
# Accounts do not go along: what a person may have erased is in no file that cannot be changed.
ORDERS: Final = Ended(
    table="oms_order_info",
    key="order_id",
    number="r.order_id",
    owner="r.down_channel_no",
    made="r.create_time",
    stays=STAYS,
    holds="SELECT order_id, down_channel_no, start_time, end_time FROM oms_order_hold ORDER BY hold_no",
    members=(
        Member("oms_order_info", "order_id", _MINE, blank=("rechage_account", "request_hash")),
        Member("oms_notify_info", "notify_id", _MINE),
        Member("oms_audit_info", "audit_id", _MINE),
        Member("oms_refund_info", "refund_id", _MINE, leaves=False),
        Member(
            "oms_refund_up_return",
            "return_id",
            f"x.delivery_id = ANY(ARRAY({_DELIVERIES}))",
            leaves=False,
        ),
        Member("oms_order_delivery", "delivery_id", _MINE),
    ),
    keys="oms_archived_order",
    lots="oms_archived_lot",
    remember=f"""
INSERT INTO oms_archived_order (down_channel_no, request_no, order_id, lot_no, {", ".join(_KEPT)})
SELECT o.down_channel_no, o.request_no, o.order_id, :lot_no, {", ".join(f"o.{n}" for n in _KEPT)}
FROM oms_order_info o WHERE o.order_id = ANY(CAST(:ids AS bigint[]))
ON CONFLICT (down_channel_no, request_no) DO UPDATE SET lot_no = excluded.lot_no,
    {", ".join(f"{n} = excluded.{n}" for n in _KEPT)}
""",
    add_up=f"""
INSERT INTO oms_archived_sum AS a
    (day, line_id, down_channel_no, up_channel_no, {", ".join(ARCHIVED_SUMS)})
SELECT day, line_id, down_channel_no, up_channel_no,
    {", ".join(f"CAST(sum({n}) AS bigint)" for n in ARCHIVED_SUMS)}
FROM ({ENDED_ORDERS} UNION ALL {ENDED_DELIVERIES}) AS moved
GROUP BY day, line_id, down_channel_no, up_channel_no
ORDER BY day, line_id, down_channel_no, up_channel_no
ON CONFLICT (day, line_id, down_channel_no, up_channel_no) DO UPDATE SET
    {", ".join(f"{n} = a.{n} + excluded.{n}" for n in ARCHIVED_SUMS)}
""",
)
