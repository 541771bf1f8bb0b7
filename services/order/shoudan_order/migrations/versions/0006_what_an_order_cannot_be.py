"""The database refuses an order delivered in part that says whole, and a profit that is not its sums'."""

from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"

PROFIT = (
    "profit_micros = success_sell_amount_micros - success_commission_micros + success_service_micros"
    " - success_fee_micros - success_cost_amount_micros + success_up_commission_micros"
    " + success_up_service_micros"
)
RULES = (
    ("whole", "order_status <> 0 OR success_face_micros = total_face_micros"),
    ("profit", PROFIT),
    ("toggles", "delivery_pause IN (0, 1) AND complete_up_pay IN (0, 1) AND is_refund IN (0, 1)"),
)


def upgrade() -> None:
    """Forward; the release before keeps these rules, too."""
    for name, rule in RULES:
        op.create_check_constraint(op.f(f"oms_order_info_{name}"), "oms_order_info", rule)
