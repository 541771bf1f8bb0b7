"""Bills and the pieces of their files."""

import sqlalchemy as sa
from alembic import op

from shoudan_kit.db.revising import (
    BIG,
    BYTES,
    DATE,
    SMALL,
    TIME,
    check,
    column,
    index,
    table,
    unique,
)

revision: str = "0004"
down_revision: str | None = "0003"

# The part for what fits no other; the monthly ones are made by `shoudan migrate`.
REST = (
    "CREATE TABLE bill_piece_rest PARTITION OF bill_piece DEFAULT"
    " WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)"
)
BILL = (
    *("kind", "ident", "groups", "eid", "first_day", "last_day"),
    *("format", "bom", "backtick", "packed"),
)


def upgrade() -> None:
    """Forward."""
    _bills()
    table(
        "bill_piece",
        column("bill_id", BIG, "账单编号"),
        column("attempt", BIG, "of the process that wrote it"),
        column("number", BIG, "from 1 without gaps"),
        column("body", BYTES, "up to 1 MiB of the file"),
        key=["bill_id", "attempt", "number"],
        comment="账单文件: the bytes of bills, piece by piece",
        partition_by="RANGE (bill_id)",
    )
    op.execute(REST)
    table(
        "bill_day",
        column("day", DATE, "day"),
        column("kind", sa.String(8), "which bills"),
        column("create_time", TIME, "创建时间"),
        key=["day", "kind"],
        comment="账单日: days whose bills have been asked for, by themselves",
    )


def _bills() -> None:
    table(
        "bill",
        column("bill_id", BIG, "账单编号"),
        column("kind", sa.String(8), "fund 资金账单, trade 下游交易账单, supply 上游交易账单"),
        column("ident", sa.String(32), "系统标识"),
        column("groups", sa.String(32), "账户分组 begins so; any when empty"),
        column("eid", sa.String(64), "channel, supplier or member; any when empty"),
        column("first_day", DATE, "first day"),
        column("last_day", DATE, "last day"),
        column("format", sa.String(8), "csv, xlsx or pdf"),
        column("bom", SMALL, "1: begins with a byte order mark"),
        column("backtick", SMALL, "1: ` before each cell"),
        column("packed", SMALL, "1: packed with gzip"),
        column("status", SMALL, "states.BillStatus"),
        column("attempt", BIG, "whose pieces are the bill's; of the process that makes it"),
        column("file", sa.String(256), "name of the file; empty before"),
        column("sha256", sa.String(64), "of the file, as hex; empty before"),
        column("bytes", BIG, "of the file"),
        column("rows", BIG, "rows that are here, or that were published"),
        column("manifest", sa.Text(), "what is published with it, as JSON; empty before"),
        column("what", sa.String(256), "why it could not be made; empty otherwise"),
        column("create_time", TIME, "asked for"),
        column("publish_time", TIME, "published", null=True),
        check("bill_status", "status IN (10, 20, 90)"),
        check("bill_kind", "kind IN ('fund', 'trade', 'supply')"),
        check("bill_format", "format IN ('csv', 'xlsx', 'pdf')"),
        check("bill_proof", "(status = 20) = (sha256 <> '') AND (status = 20) = (manifest <> '')"),
        check("bill_days", "last_day >= first_day"),
        unique("bill_of", *BILL),
        key=["bill_id"],
        comment="账单: bills that are made or published; one that is published never changes",
    )
    index("bill_eid", "bill", ["eid", "first_day", "bill_id"])
