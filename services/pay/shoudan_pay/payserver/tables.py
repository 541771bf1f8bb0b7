"""The tables of PayServer (002); comments become the data dictionary."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from shoudan_kit.db.foundation import GROWING, rights
from shoudan_kit.db.moves import lifecycles, steps
from shoudan_pay.tables import METADATA

# Written once, never changed: the history of every status.
APPEND_ONLY: Final = ("trade_record",)

_FEN: Final = "% 10000 = 0"


def _column(name: str, kind: Any, comment: str, *args: Any, **options: Any) -> Column[Any]:
    return Column(name, kind, *args, nullable=False, comment=comment, **options)


def _maybe(name: str, kind: Any, comment: str, *args: Any) -> Column[Any]:
    return Column(name, kind, *args, comment=comment)


def _moment(name: str, comment: str) -> Column[Any]:
    return _column(name, DateTime(timezone=True), comment)


def _id() -> Column[Any]:
    return Column(
        "id", BigInteger, Identity(), primary_key=True, comment="id: small numbers, as documented"
    )


# The moves of payserver/states.py; a test compares them.
PAY_STEPS: Final = steps(
    unpay=("paying", "payed", "payFailed"),
    paying=("payed", "payFailed"),
    payed=("partRefunded", "refunded", "payFailed"),
    partRefunded=("partRefunded", "refunded", "payed"),
    refunded=("partRefunded", "payed"),
    payFailed=("payed",),
)
REFUND_STEPS: Final = steps(
    unRefund=("refunding", "refunded", "refundFailed"),
    refunding=("refunded", "refundFailed"),
    refunded=("refundFailed",),
    refundFailed=("refunded",),
)
_SENT: Final = "sent IN ('not', 'maybe', 'heard')"
_PARKED: Final = "parked OR parked_reason = ''"

# What an order or a refund learns in its life; who pays whom how much for what is never changed.
_LIFE: Final = (
    "status",
    "sent",
    "parked",
    "parked_reason",
    "parked_time",
    "result_code",
    "finish_time",
    "modify_time",
)


def _terms() -> list[Column[Any]]:
    """What templates and modes have in common."""
    return [
        _column("name", String(64), "name 名称"),
        _maybe("description", String(256), "description 描述"),
        _maybe("check_env_url", String(2048), "checkEnvUrl 检测环境URL"),
        _maybe("pay_url", String(2048), "payUrl 支付URL"),
        _maybe("refund_url", String(2048), "refundUrl 退款URL"),
        _maybe("icon_href", String(2048), "iconHref 图标链接"),
        _column("valid_h", Integer, "orderValidTime 订单有效时间, hours"),
        _column("online", Boolean, "isOnline 是否线上"),
        _column("sign_account", Boolean, "isSignAccount 是否挂账"),
        _column("async_notify", Boolean, "isAsyncNotify 是否异步通知"),
        _column("third_party", Boolean, "isThridPay 是否第三方支付"),
        _maybe("channel", String(64), "payChannel 支付渠道"),
        _maybe("way", String(64), "payWay 支付方式"),
        _maybe("query_url", String(2048), "where a component is asked for a result (our own)"),
        _column("repeatable", Boolean, "its URLs may be called again with a number (our own)"),
        _column("secret_name", String(64), "secret its notifies are signed with; empty: derived"),
    ]


PAY_MODE_TEMPLATE = Table(
    "pay_mode_template",
    METADATA,
    _id(),
    _column("uuid", String(22), "uuid"),
    _column("template_id", String(64), "payTemplateId 支付模板ID"),
    *_terms(),
    _column("status", String(16), "status: enabled disabled"),
    _moment("create_time", "createdAt"),
    _moment("modify_time", "modifiedAt"),
    UniqueConstraint("uuid"),
    UniqueConstraint("template_id"),
    CheckConstraint("valid_h BETWEEN 1 AND 8760", name="valid_h"),
    CheckConstraint("status IN ('enabled', 'disabled')", name="status"),
    comment="支付模板 (PayServer payModeTemplate)",
    info=rights(update=("uuid", *(one.name for one in _terms()), "modify_time")),
)

PAY_MODE = Table(
    "pay_mode",
    METADATA,
    _id(),
    _column("uuid", String(22), "uuid"),
    _maybe("template_id", String(64), "payTemplateId", ForeignKey("pay_mode_template.template_id")),
    _column("merchant_uuid", String(64), "merchantUUID 商户"),
    _column("merchant_href", String(2048), "merchant.href as given; empty: made of the uuid"),
    *_terms(),
    _column("fast", Boolean, "isFastPay 是否快捷支付"),
    _column("opened", Boolean, "isOpened 是否开通"),
    _column("ui_order", Integer, "uiOrder 排序号"),
    _moment("create_time", "createdAt"),
    _moment("modify_time", "modifiedAt"),
    UniqueConstraint("uuid"),
    Index("pay_mode_merchant", "merchant_uuid", "ui_order"),
    Index("pay_mode_of_template", "template_id"),
    CheckConstraint("valid_h BETWEEN 1 AND 8760", name="valid_h"),
    comment="支付方式 (PayServer PayMode)",
    info=rights(
        update=(*(one.name for one in _terms()), "fast", "opened", "ui_order", "modify_time")
    ),
)

PAY_ORDER = Table(
    "pay_order",
    METADATA,
    _id(),
    _column("uuid", String(22), "uuid"),
    _column("merchant_uuid", String(64), "whose mode it is; clientPayNo is its own"),
    _column("client_pay_no", String(64), "clientPayNo 客户端支付流水号: idempotency key"),
    _column("content_hash", LargeBinary, "SHA-256 of the request, to tell a repeat from a misuse"),
    _column("traction_no", String(16), "tractionNo 平台支付订单流水号"),
    _column("mode_uuid", String(22), "payModeUUID"),
    _maybe("template_id", String(64), "payTemplateId"),
    _column("mode_name", String(64), "payModeName"),
    _maybe("channel", String(64), "payChannel"),
    _maybe("way", String(64), "payWay"),
    _column("method", String(16), "who moves the money: component, account, package"),
    _column("async_notify", Boolean, "told later"),
    _column("payer", String(256), "payer 付款方"),
    _column("payee", String(2048), "payee 收款方"),
    _column("amount_micros", BigInteger, "payAmount, 10^-6 元"),
    _column("refunded_micros", BigInteger, "refundAmount, 10^-6 元"),
    _column("params", Text, "payParams, JSON as sent"),
    _column("extra_params", Text, "clientExtraParams, JSON as sent"),
    _column("status", String(16), "status: unpay paying payed payFailed partRefunded refunded"),
    _column("sent", String(8), "how far the component was asked: not maybe heard"),
    _column(
        "parked", Boolean, "nobody knows and nobody can be asked, or a contradiction: a person"
    ),
    _column(
        "parked_reason",
        String(128),
        "why it waits for a person; empty otherwise",
        server_default="",
    ),
    _maybe("parked_time", DateTime(timezone=True), "since when it waits for a person"),
    _maybe("third_pay_no", String(64), "thirdPayNo 第三方支付单号"),
    _maybe("result_code", String(256), "resultCode 第三方返回结果码"),
    _moment("start_time", "orderStartAt"),
    _moment("expire_time", "orderExpiredAt"),
    _moment("pay_start_time", "payStartAt"),
    _maybe("finish_time", DateTime(timezone=True), "payFinishAt"),
    _maybe("last_refund_time", DateTime(timezone=True), "lastRefundAt"),
    _moment("create_time", "createdAt"),
    _moment("modify_time", "modifiedAt"),
    UniqueConstraint("uuid"),
    UniqueConstraint("traction_no"),
    UniqueConstraint("merchant_uuid", "client_pay_no", name="pay_order_client"),
    Index("pay_order_client_pay_no", "client_pay_no"),
    # A platform's statements are matched by its own numbers.
    Index(
        "pay_order_third_pay_no",
        "third_pay_no",
        postgresql_where=text("third_pay_no IS NOT NULL"),
    ),
    Index("pay_order_created", "create_time"),
    Index("pay_order_mode", "mode_uuid", "create_time"),
    Index("pay_order_merchant", "merchant_uuid", "create_time"),
    Index("pay_order_parked", "traction_no", postgresql_where=text("parked")),
    Index("pay_order_open", "expire_time", postgresql_where=text("status IN ('unpay', 'paying')")),
    CheckConstraint(f"amount_micros > 0 AND amount_micros {_FEN}", name="amount"),
    CheckConstraint(
        f"refunded_micros BETWEEN 0 AND amount_micros AND refunded_micros {_FEN}", name="refunded"
    ),
    CheckConstraint(
        "status IN ('unpay', 'paying', 'payed', 'payFailed', 'partRefunded', 'refunded')"
        " AND (refunded_micros = 0) = (status NOT IN ('partRefunded', 'refunded'))"
        " AND (refunded_micros = amount_micros) = (status = 'refunded')",
        name="status",
    ),
    CheckConstraint("(status IN ('unpay', 'paying')) = (finish_time IS NULL)", name="ended"),
    CheckConstraint("refunded_micros = 0 OR last_refund_time IS NOT NULL", name="refund_time"),
    CheckConstraint(_SENT, name="sent"),
    CheckConstraint(_PARKED, name="parked"),
    comment="支付订单 (PayServer payOrder)",
    info=rights(update=(*_LIFE, "third_pay_no", "refunded_micros", "last_refund_time"))
    | lifecycles(status=PAY_STEPS),
    postgresql_with={"fillfactor": "70"},
)

REFUND_ORDER = Table(
    "refund_order",
    METADATA,
    _id(),
    _column("uuid", String(22), "uuid"),
    _column("pay_id", BigInteger, "its pay order", ForeignKey("pay_order.id")),
    _column("pay_uuid", String(22), "payOrderUUID"),
    _column("pay_traction_no", String(16), "payTractionNo"),
    _column("merchant_uuid", String(64), "whose; clientRefundNo is its own"),
    _column("mode_uuid", String(22), "payModeUUID"),
    _maybe("template_id", String(64), "payTemplateId"),
    _column("client_refund_no", String(64), "clientRefundNo 客户端退款流水号: idempotency key"),
    _column("content_hash", LargeBinary, "SHA-256 of the request"),
    _column("traction_no", String(16), "tractionNo 退款订单流水号"),
    _column("method", String(16), "as its pay order's"),
    _column("async_notify", Boolean, "told later"),
    _column("cancel", Boolean, "isCancel 撤销"),
    _column("amount_micros", BigInteger, "refundAmount, 10^-6 元"),
    _column("extra_params", Text, "clientExtraParams, JSON as sent"),
    _column("status", String(16), "status: unRefund refunding refunded refundFailed"),
    _column("sent", String(8), "how far the component was asked: not maybe heard"),
    _column("parked", Boolean, "a person must look"),
    _column(
        "parked_reason",
        String(128),
        "why it waits for a person; empty otherwise",
        server_default="",
    ),
    _maybe("parked_time", DateTime(timezone=True), "since when it waits for a person"),
    _maybe("third_refund_no", String(64), "thirdRefundNo"),
    _maybe("result_code", String(256), "resultCode"),
    _moment("start_time", "refundStartAt"),
    _maybe("finish_time", DateTime(timezone=True), "refundFinishAt"),
    _moment("create_time", "createdAt"),
    _moment("modify_time", "modifiedAt"),
    UniqueConstraint("uuid"),
    UniqueConstraint("traction_no"),
    UniqueConstraint("merchant_uuid", "client_refund_no", name="refund_order_client"),
    Index("refund_order_pay", "pay_id"),
    Index("refund_order_pay_uuid", "pay_uuid"),
    Index("refund_order_client_refund_no", "client_refund_no"),
    Index(
        "refund_order_third_refund_no",
        "third_refund_no",
        postgresql_where=text("third_refund_no IS NOT NULL"),
    ),
    Index("refund_order_created", "create_time"),
    Index("refund_order_parked", "traction_no", postgresql_where=text("parked")),
    Index("refund_order_merchant", "merchant_uuid", "create_time"),
    CheckConstraint(f"amount_micros > 0 AND amount_micros {_FEN}", name="amount"),
    CheckConstraint(
        "status IN ('unRefund', 'refunding', 'refunded', 'refundFailed')", name="status"
    ),
    CheckConstraint("(status IN ('unRefund', 'refunding')) = (finish_time IS NULL)", name="ended"),
    CheckConstraint(_SENT, name="sent"),
    CheckConstraint(_PARKED, name="parked"),
    comment="退款订单 (PayServer refundOrder)",
    info=rights(update=(*_LIFE, "third_refund_no")) | lifecycles(status=REFUND_STEPS),
    postgresql_with={"fillfactor": "70"},
)

TRADE_RECORD = Table(
    "trade_record",
    METADATA,
    _id(),
    _column("uuid", String(22), "uuid"),
    _column("traction_no", String(16), "tractionNo of the pay or the refund"),
    _column("trade_type", String(8), "tradeType: pay refund"),
    _column("amount_micros", BigInteger, "tradeAmount, 10^-6 元"),
    _column("status", String(16), "the status it took, or still has after a contradiction"),
    _column("result_code", String(256), "why; conflict:… when it was not applied"),
    _column("merchant_uuid", String(64), "whose"),
    _column("mode_uuid", String(22), "payModeUUID"),
    _maybe("template_id", String(64), "payTemplateId"),
    _column("pay_uuid", String(22), "payOrderUUID"),
    _column("refund_uuid", String(22), "refundOrderUUID; empty for a pay"),
    _moment("create_time", "createdAt"),
    UniqueConstraint("uuid"),
    Index("trade_record_pay", "pay_uuid"),
    Index("trade_record_refund", "refund_uuid", postgresql_where=text("refund_uuid <> ''")),
    Index("trade_record_created", "create_time"),
    Index("trade_record_merchant", "merchant_uuid", "create_time"),
    CheckConstraint(
        "trade_type IN ('pay', 'refund') AND (trade_type = 'refund') = (refund_uuid <> '')",
        name="kind",
    ),
    CheckConstraint(f"amount_micros > 0 AND amount_micros {_FEN}", name="amount"),
    comment="交易记录 (PayServer tradeRecord): one row per status, append-only",
    postgresql_with=GROWING,
)
