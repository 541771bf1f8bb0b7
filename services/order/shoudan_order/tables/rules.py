"""What the database keeps of orders beside their columns: rules of sums, and what may change of a row."""

from __future__ import annotations

from typing import Final

# 利润 = 1-2+3-4-5+6+7 (000).
PROFIT: Final = (
    "profit_micros = success_sell_amount_micros - success_commission_micros + success_service_micros"
    " - success_fee_micros - success_cost_amount_micros + success_up_commission_micros"
    " + success_up_service_micros"
)

# An end has its moment, and says what was delivered.
ENDED: Final = (
    "(order_status IN (0, 90, 91)) = (end_time IS NOT NULL)"
    " AND (order_status <> 10 OR bind_face_micros = 0)"
    " AND (order_status <> 90 OR success_face_micros = 0)"
    " AND (order_status <> 91 OR success_face_micros BETWEEN 1 AND total_face_micros - 1)"
)
# All of it is sold at the order's amounts, nothing for nothing.
SOLD: Final = (
    "(success_face_micros <> total_face_micros OR success_sell_amount_micros = sell_amount_micros"
    " AND success_commission_micros = commission_amount_micros"
    " AND success_service_micros = service_amount_micros AND success_fee_micros = fee_amount_micros)"
    " AND (success_face_micros <> 0 OR success_sell_amount_micros = 0 AND success_commission_micros = 0"
    " AND success_service_micros = 0 AND success_fee_micros = 0)"
)

# What a step changes of a row that is there; everything else stays as it was written. An account is sealed
# and erased.
ORDER_CHANGES: Final = (
    "rechage_account", "request_hash", "delivery_pause", "order_status", "payment_status",
    "delivery_bind_status", "refund_status", "notify_status", "complete_up_pay", "is_refund",
    "bind_face_micros", "success_face_micros", "success_sell_amount_micros",
    "success_commission_micros", "success_service_micros", "success_fee_micros",
    "success_cost_amount_micros", "success_up_commission_micros", "success_up_service_micros",
    "profit_micros", "up_paid_face_micros", "fail_code", "fail_msg", "parked_reason",
    "pay_time", "end_time", "money_time", "modify_time",
)  # fmt: skip
DELIVERY_CHANGES: Final = (
    "delivery_status", "up_payment_status", "start_time", "end_time", "money_time",
    "up_delivery_no", "cost_amount_micros", "courier_cost_amount_micros", "conflict",
    "return_msg", "result_params",
)  # fmt: skip
REFUND_CHANGES: Final = (
    "refund_status", "up_return_status", "down_refund_status", "refund_notify_status",
    "refund_face_micros", "refund_sell_amount_micros", "refund_commission_amount_micros",
    "refund_service_amount_micros", "refund_fee_amount_micros", "return_overtime",
    "complete_up_refund", "end_time", "money_time", "modify_time",
)  # fmt: skip
RETURN_CHANGES: Final = (
    "return_status", "up_refund_status", "start_time", "end_time", "money_time", "up_return_no",
    "conflict", "return_msg",
)  # fmt: skip
NOTIFY_CHANGES: Final = (
    "notify_status", "notify_count", "max_count", "start_time", "end_time", "notify_msg",
    "http_status", "given_up", "owed_status", "owed_code", "owed_msg",
)  # fmt: skip
AUDIT_CHANGES: Final = (
    "audit_status", "audit_by", "audit_time", "audit_msg",
)  # fmt: skip
