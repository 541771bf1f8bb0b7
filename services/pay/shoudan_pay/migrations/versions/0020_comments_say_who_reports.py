"""Comments of columns name who reports what."""

from alembic import op

revision: str = "0020"
down_revision: str | None = "0019"
COMMENTS = (
    ("pay_order", "async_notify", "its result is reported later"),
    ("pay_order", "sent", "how far the request reached the component: not maybe heard"),
    (
        "pay_order",
        "parked",
        "waits for a person: no party can say the outcome, or answers contradict each other",
    ),
    ("refund_order", "async_notify", "its result is reported later"),
    ("refund_order", "sent", "how far the request reached the component: not maybe heard"),
    (
        "ums_refund",
        "detail",
        "what ChinaUMS answered, JSON of UmsDetail; the card number is masked",
    ),
    ("account_alert", "low", "published as low, and not yet as recovered"),
)


def upgrade() -> None:
    """Forward."""
    for table, column, comment in COMMENTS:
        op.alter_column(table, column, comment=comment)
