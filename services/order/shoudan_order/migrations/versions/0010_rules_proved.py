"""Proves the rules that the revision before added; writers go on meanwhile."""

from alembic import op

PHASE: str = "validate"
revision: str = "0010"
down_revision: str | None = "0009"

RULES = (
    ("oms_order_info", "ended"),
    ("oms_order_info", "sold"),
    ("oms_order_delivery", "ended"),
    ("oms_order_delivery", "started"),
    ("oms_refund_info", "ended"),
    ("oms_refund_info", "money"),
    ("oms_refund_info", "toggles"),
    ("oms_refund_up_return", "ended"),
    ("oms_refund_up_return", "started"),
    ("oms_refund_up_return", "money"),
    ("oms_notify_info", "ended"),
    ("oms_notify_info", "open"),
    ("oms_audit_info", "ended"),
)


def upgrade() -> None:
    """Forward; a row that breaks a rule is named by the error, and nothing is changed."""
    for table, name in RULES:
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {table}_{name}")
