"""Records carry their accounting day and what they are about; days are closed."""

import sqlalchemy as sa
from alembic import op

from shoudan_kit.db.revising import BIG, BYTES, DATE, SMALL, TIME, check, column, index, table

revision: str = "0021"
down_revision: str | None = "0020"

# Columns with a constant default, or none: no row is written. The release before posts records without a
# day, which have that of their time.
RECORD = (
    column(
        "day", DATE, "记账日, Asia/Shanghai; null for records of before there were days", null=True
    ),
    column("about", SMALL, "业务类型: states.About, 0 when it was not said", default="0"),
    column("source", sa.String(32), "来源: the service that posted it, or operator", default="''"),
    column("operator", sa.String(64), "操作员, empty when it was a service", default="''"),
)
OPEN = "记账日: no record is added of a day before it; null before the first record of a day"


def upgrade() -> None:
    """Forward."""
    for one in RECORD:
        op.add_column("account_record", one)
    op.add_column("account_info", column("open_day", DATE, OPEN, null=True))
    table(
        "account_day",
        column("account_id", BIG, "账户编号"),
        column("day", DATE, "记账日, Asia/Shanghai"),
        column("seq_from", BIG, "seq of its first record of the day"),
        column("seq_to", BIG, "seq of its last record of the day"),
        column("opening_micros", BIG, "期初余额, 10^-6 元"),
        column("debits_micros", BIG, "支出合计, 10^-6 元, without a sign"),
        column("credits_micros", BIG, "收入合计, 10^-6 元"),
        column("closing_micros", BIG, "期末余额, 10^-6 元"),
        column("head_hash", BYTES, "hash of its last record of the day"),
        check("account_day_range", "seq_from > 0 AND seq_to >= seq_from"),
        check(
            "account_day_sum",
            "debits_micros >= 0 AND credits_micros >= 0"
            " AND closing_micros = opening_micros - debits_micros + credits_micros",
        ),
        key=["account_id", "day"],
        comment="账户日结: the days of accounts that moved, append-only",
    )
    index("account_day_of", "account_day", ["day", "account_id"])
    table(
        "ledger_day",
        column("day", DATE, "记账日, Asia/Shanghai"),
        column("accounts", BIG, "accounts that moved"),
        column("records", BIG, "records they got"),
        column("debits_micros", BIG, "支出合计, 10^-6 元, without a sign"),
        column("credits_micros", BIG, "收入合计, 10^-6 元"),
        column("create_time", TIME, "日结时间"),
        check("ledger_day_counts", "accounts >= 0 AND records >= accounts"),
        key=["day"],
        comment="账本日结: days that are closed, append-only",
    )
