"""Proves the rules that the revision before added; writers go on meanwhile."""

from alembic import op

PHASE: str = "validate"
revision: str = "0010"
down_revision: str | None = "0009"

RULES = (
    ("account_record", "law"),
    ("account_info", "head"),
    ("account_record", "chain"),
    ("package_record", "law"),
    ("pay_order", "ended"),
    ("pay_order", "refund_time"),
    ("pay_order", "sent"),
    ("pay_order", "parked"),
    ("refund_order", "ended"),
    ("refund_order", "sent"),
    ("refund_order", "parked"),
    ("trade_record", "kind"),
    ("trade_record", "amount"),
    ("dingdang_notice", "kind"),
    ("dingdang_trade", "paid"),
)


def upgrade() -> None:
    """Forward; a row that breaks a rule is named by the error, and nothing is changed."""
    for table, name in RULES:
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {table}_{name}")
