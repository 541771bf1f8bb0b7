"""The tables of ChinaUMS (003); comments become the data dictionary."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from shoudan_kit.db.columns import column, literals, moment, one_of
from shoudan_kit.db.foundation import rights
from shoudan_kit.db.moves import lifecycles
from shoudan_pay.platforms.states import REFUND, REFUND_OPEN, RefundState
from shoudan_pay.tables import METADATA

APPEND_ONLY: Final[tuple[str, ...]] = ()


UMS_REFUND = Table(
    "ums_refund",
    METADATA,
    column("traction_no", String(16), "tractionNo of the refund", key=True),
    column("app_id", String(64), "with which AppId it is asked for"),
    column("mer_order_id", String(32), "merOrderId of the pay"),
    column("refund_order_id", String(32), "refundOrderId: ours, the same at every repeat"),
    column("refund_fen", BigInteger, "refundAmount, 分"),
    column("status", String(16), "unknown processing success fail"),
    column(
        "sent", Boolean, "a call may have arrived, so that it is asked about before it is repeated"
    ),
    column("asked", Integer, "calls made"),
    column("last_code", String(64), "errCode of the last answer, or why there was none"),
    column("detail", Text, "what ChinaUMS answered, JSON of UmsDetail; the card number is masked"),
    moment("create_time", "first call"),
    moment("modify_time", "last change"),
    UniqueConstraint("app_id", "refund_order_id", name="ums_refund_order"),
    Index("ums_refund_mer_order", "mer_order_id"),
    Index(
        "ums_refund_open",
        "traction_no",
        postgresql_where=text(f"status IN ({literals(REFUND_OPEN)})"),
    ),
    CheckConstraint("refund_fen > 0", name="amount"),
    one_of("status", RefundState),
    comment="退款 sent through 银联商务 (003)",
    info=rights(update=("status", "sent", "asked", "last_code", "detail", "modify_time"))
    | lifecycles(status=REFUND.moves),
    postgresql_with={"fillfactor": "70"},
)
