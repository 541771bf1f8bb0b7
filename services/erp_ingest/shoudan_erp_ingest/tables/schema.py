"""The tables; columns of documented fields are made from the models, so that each is described once."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from shoudan_erp_ingest.tables.fields import Kind, clear_specs
from shoudan_erp_ingest.tables.models import (
    Payment,
    Refund,
    RefundLine,
    SwapLine,
    Trade,
    TradeLine,
)
from shoudan_kit.credentials import tables as credentials
from shoudan_kit.db.foundation import GROWING, rights
from shoudan_kit.tasks.tables import metadata

TRADE: Final = 1  # kind of push and of document, as PushKind of the contract
REFUND: Final = 2
PUSH: Final = 3  # in phone_index only: a push that made no version of a document

METADATA: Final = metadata()
credentials.declare(METADATA)
APPEND_ONLY: Final = ("audit",)

_TYPES: dict[Kind, type[TypeEngine[Any]] | TypeEngine[Any]] = {
    Kind.TEXT: Text,
    Kind.CODE: Text,
    Kind.AMOUNT_TEXT: Text,
    Kind.MONEY: BigInteger,
    Kind.QUANTITY: Numeric(19, 4),
    Kind.WHOLE: BigInteger,
    Kind.TIME: DateTime(timezone=True),
}


def _when(name: str, comment: str, *, null: bool = False) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=null, comment=comment)


def _documented(model: type[Any]) -> list[Column[Any]]:
    """A column per clear field, and one for the personal ones together."""
    made: list[Column[Any]] = []
    for spec in clear_specs(model):
        unit = " (micros)" if spec.wire.kind is Kind.MONEY else ""
        made.append(
            Column(
                spec.attribute,
                _TYPES[spec.wire.kind],
                nullable=not spec.wire.required,
                comment=spec.wire.comment + unit,
            )
        )
    comment = "encrypted: the personal fields and the undocumented keys"
    return [*made, Column("sealed", LargeBinary, comment=comment)]


def _key(comment: str) -> Column[Any]:
    return Column("document_id", BigInteger, primary_key=True, autoincrement=False, comment=comment)


def _part_of(table: str) -> Column[Any]:
    return Column(
        "document_id",
        BigInteger,
        ForeignKey(f"{table}.document_id"),
        primary_key=True,
        autoincrement=False,
        comment=f"the {table} it is part of",
    )


def _kept() -> list[Column[Any]]:
    """What every document knows of its own story."""
    return [
        Column(
            "content", LargeBinary, comment="keyed digest of the content; null after an erasure"
        ),
        Column("version", Integer, nullable=False, comment="1 for the first, counted up"),
        Column("push_id", BigInteger, nullable=False, comment="push of this version"),
        _when("create_time", "first seen"),
        _when("update_time", "last changed"),
        _when("erase_time", "when its personal data was erased", null=True),
    ]


def _rewritten(model: type[Any], number: str, *more: str) -> dict[str, Any]:
    """A new version replaces what was pushed, and never which document it is, whose it is or when it was
    first seen."""
    fields = [one.name for one in _documented(model) if one.name != number]
    own = ("content", "version", "push_id", "update_time", "erase_time")
    return rights(update=(*fields, *more, *own))


push = Table(
    "push",
    METADATA,
    Column("push_id", BigInteger, primary_key=True, autoincrement=False, comment="number"),
    Column("kind", SmallInteger, nullable=False, comment="1 /pushData, 2 /pushReturngoods"),
    Column("sender", Text, nullable=False, comment="customerid or app_key"),
    Column("sha256", LargeBinary, comment="of the exact body; null after an erasure"),
    Column("size", Integer, nullable=False, comment="bytes of the body"),
    Column("sealed", LargeBinary, comment="encrypted: the exact body; null after an erasure"),
    Column("status", SmallInteger, nullable=False, comment="0 stored, 90 quarantined"),
    Column("place", Text, comment="where it is wrong"),
    Column("why", Text, comment="what is wrong"),
    Column("remote_ip", Text, nullable=False, comment="who sent it"),
    _when("create_time", "first received"),
    Index(
        "push_body",
        "kind",
        "sender",
        "sha256",
        unique=True,
        postgresql_where=text("sha256 IS NOT NULL"),
    ),
    Index("push_quarantined", "push_id", postgresql_where=text("status = 90")),
    CheckConstraint("status IN (0, 90)", name="status_known"),
    CheckConstraint("kind IN (1, 2) AND size >= 0", name="kind_known"),
    CheckConstraint("status = 90 OR (place IS NULL AND why IS NULL)", name="reason"),
    CheckConstraint("(sealed IS NULL) = (sha256 IS NULL)", name="erased"),
    comment="原始推送: every push as it came",
    info=rights(update=("status", "place", "why", "sealed", "sha256"), delete=True),
)

trade = Table(
    "trade",
    METADATA,
    _key("our number"),
    Column("customerid", Text, nullable=False, comment="推送数据的客户"),
    *_documented(Trade),
    Column("msg_id", Text, comment="ERP message id of this version, for tracing"),
    *_kept(),
    # tid first: it finds a trade with and without its sender.
    Index("trade_natural", "tid", "customerid", unique=True),
    Index("trade_changed", "update_time", "document_id"),
    CheckConstraint("version > 0", name="version"),
    comment="订单",
    info=_rewritten(Trade, "tid", "msg_id"),
)

payment = Table(
    "payment",
    METADATA,
    _part_of("trade"),
    Column("payment_no", Integer, primary_key=True, autoincrement=False, comment="from 0"),
    *_documented(Payment),
    comment="订单付款",
    info=rights(update=("sealed",), delete=True),
)

trade_line = Table(
    "trade_line",
    METADATA,
    _part_of("trade"),
    Column("line_oid", Text, primary_key=True, comment="oid; empty when it has none"),
    Column("item_no", Integer, primary_key=True, autoincrement=False, comment="within its oid"),
    *_documented(TradeLine),
    Column("content", LargeBinary, comment="keyed digest of all items of this oid"),
    comment="订单商品",
    info=rights(update=("sealed",), delete=True),
)

refund = Table(
    "refund",
    METADATA,
    _key("our number"),
    Column("app_key", Text, nullable=False, comment="who pushed it"),
    *_documented(Refund),
    *_kept(),
    Index("refund_natural", "refund_no", "app_key", unique=True),
    Index("refund_tid", "tid"),
    Index("refund_shop", "shop_no", "update_time"),
    Index("refund_changed", "update_time", "document_id"),
    CheckConstraint("version > 0", name="version"),
    comment="退换货订单",
    info=_rewritten(Refund, "refund_no"),
)

refund_line = Table(
    "refund_line",
    METADATA,
    _part_of("refund"),
    Column("line_no", Integer, primary_key=True, autoincrement=False, comment="from 0"),
    *_documented(RefundLine),
    comment="退货商品",
    info=rights(update=("sealed",), delete=True),
)

swap_line = Table(
    "swap_line",
    METADATA,
    _part_of("refund"),
    Column("line_no", Integer, primary_key=True, autoincrement=False, comment="from 0"),
    *_documented(SwapLine),
    comment="换货商品",
    info=rights(update=("sealed",), delete=True),
)

phone_index = Table(
    "phone_index",
    METADATA,
    Column("mac", LargeBinary, primary_key=True, comment="keyed digest of a phone"),
    Column("kind", SmallInteger, primary_key=True, comment="1 trade, 2 refund, 3 push"),
    Column("document_id", BigInteger, primary_key=True, comment="where the phone is"),
    Index("phone_index_document", "kind", "document_id"),
    CheckConstraint("kind IN (1, 2, 3)", name="kind_known"),
    comment="电话盲索引: finds a phone without holding it",
    info=rights(update=(), delete=True),
)

history = Table(
    "history",
    METADATA,
    Column("history_id", BigInteger, primary_key=True, autoincrement=False, comment="number"),
    Column("kind", SmallInteger, nullable=False, comment="1 trade, 2 refund"),
    Column("document_id", BigInteger, nullable=False, comment="whose"),
    Column("version", Integer, nullable=False, comment="the version kept, or met by the late one"),
    Column("late", Boolean, nullable=False, comment="came too late and was never current"),
    Column("push_id", BigInteger, nullable=False, comment="push it came with"),
    Column("snapshot", JSONB, nullable=False, comment="its rows; personal data stays encrypted"),
    _when("create_time", "when it was replaced or refused"),
    Index("history_document", "kind", "document_id", "history_id"),
    CheckConstraint("kind IN (1, 2) AND version > 0", name="kind_known"),
    comment="历史版本",
    info=rights(update=("snapshot",)),
    postgresql_with=GROWING,
)

audit = Table(
    "audit",
    METADATA,
    Column("audit_id", BigInteger, primary_key=True, autoincrement=False, comment="number"),
    Column("action", Text, nullable=False, comment="reveal, reveal_push, erase"),
    Column("kind", SmallInteger, nullable=False, comment="1 trade, 2 refund, 3 push, 0 a person"),
    Column("document_id", BigInteger, nullable=False, comment="what was shown; 0 for a person"),
    Column("mac", LargeBinary, comment="keyed digest of the phone erased"),
    Column("actor", Text, nullable=False, comment="who"),
    Column("reason", Text, nullable=False, comment="why"),
    Column("documents", Integer, nullable=False, comment="how many"),
    _when("create_time", "when"),
    CheckConstraint("kind BETWEEN 0 AND 3 AND documents >= 0", name="kind_known"),
    comment="个人信息的查看与删除, never changed",
    postgresql_with=GROWING,
)
