"""Bills that are made or published, their files, and the links that they are downloaded with."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from shoudan_finance.states import BILL, BillStatus
from shoudan_finance.tables import METADATA
from shoudan_kit.db.columns import column, moment, one_of
from shoudan_kit.db.foundation import by_month, rights
from shoudan_kit.db.moves import lifecycles

_BILL: Final = (
    *("kind", "ident", "groups", "eid", "first_day", "last_day"),
    *("format", "bom", "backtick", "packed"),
)
BILLS: Final = Table(
    "bill",
    METADATA,
    column("bill_id", BigInteger, "账单编号", key=True),
    column(
        "kind",
        String(8),
        "fund 资金账单, trade 下游交易账单, supply 上游交易账单",
    ),
    column("ident", String(32), "系统标识; payserver of a merchant's trade bill 商户交易账单"),
    column("groups", String(32), "账户分组 begins so; any when empty"),
    column("eid", String(64), "channel, supplier or member; any when empty"),
    column("first_day", Date, "first day"),
    column("last_day", Date, "last day"),
    column("format", String(8), "csv, xlsx or pdf"),
    column("bom", SmallInteger, "1: begins with a byte order mark"),
    column("backtick", SmallInteger, "1: ` before each cell"),
    column("packed", SmallInteger, "1: packed with gzip"),
    column("status", SmallInteger, "states.BillStatus"),
    column("attempt", BigInteger, "whose pieces are the bill's; of the process that makes it"),
    column("file", String(256), "name of the file; empty before"),
    column("sha256", String(64), "of the file, as hex; empty before"),
    column("bytes", BigInteger, "of the file"),
    column("rows", BigInteger, "rows that are here, or that were published"),
    column("manifest", Text, "what is published with it, as JSON; empty before"),
    column("what", String(256), "why it could not be made; empty otherwise"),
    moment("create_time", "asked for"),
    moment("publish_time", "published", null=True),
    one_of("status", BillStatus),
    one_of("kind", ("fund", "trade", "supply")),
    one_of("format", ("csv", "xlsx", "pdf")),
    CheckConstraint(
        "(status = 20) = (sha256 <> '') AND (status = 20) = (manifest <> '')", name="proof"
    ),
    CheckConstraint("last_day >= first_day", name="days"),
    UniqueConstraint(*_BILL, name="bill_of"),
    Index("bill_eid", "eid", "first_day", "bill_id"),
    comment="账单: bills that are made or published; one that is published never changes",
    info=rights(
        update=(
            *("status", "attempt", "file", "sha256", "bytes", "rows", "manifest", "what"),
            "publish_time",
        )
    )
    | lifecycles(status=BILL.moves),
)

# Deleted are those of a process that died in the middle of a bill; what is published refers to its own.
BILL_PIECES: Final = Table(
    "bill_piece",
    METADATA,
    column("bill_id", BigInteger, "账单编号", key=True),
    column("attempt", BigInteger, "of the process that wrote it", key=True),
    column("number", BigInteger, "from 1 without gaps", key=True),
    column("body", LargeBinary, "up to 1 MiB of the file"),
    comment="账单文件: the bytes of bills, piece by piece",
    info=rights(delete=True),
    **by_month("bill_id"),
)

BILL_DAYS: Final = Table(
    "bill_day",
    METADATA,
    column("day", Date, "day", key=True),
    column("kind", String(8), "which bills", key=True),
    moment("create_time", "创建时间"),
    comment="账单日: days whose bills have been asked for, by themselves",
)

BILL_LINKS: Final = Table(
    "bill_link",
    METADATA,
    column("digest", LargeBinary, "SHA-256 of the token", key=True),
    column("bill_id", BigInteger, "账单编号"),
    moment("create_time", "创建时间"),
    moment("expire_time", "good until then"),
    Index("bill_link_expired", "expire_time"),
    comment="账单链接: tokens that files are downloaded with; deleted when they have expired",
    info=rights(delete=True),
)
