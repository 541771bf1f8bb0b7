"""The tables of PayServer (002); comments become the data dictionary."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
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

from shoudan_kit.db.columns import column, literal, literals, maybe, moment, one_of
from shoudan_kit.db.foundation import GROWING, rights
from shoudan_kit.db.moves import lifecycles
from shoudan_pay.payserver.states import (
    PAY,
    REFUND,
    Event,
    PayStatus,
    RefundStatus,
    Sent,
    TemplateStatus,
)
from shoudan_pay.tables import METADATA, why_parked

# Written once, never changed: the history of every status.
APPEND_ONLY: Final = ("trade_record",)

_FEN: Final = "% 10000 = 0"


def _id() -> Column[Any]:
    return Column(
        "id", BigInteger, Identity(), primary_key=True, comment="id: small numbers, as documented"
    )


_OPEN_PAY: Final = f"status IN ({literals(PAY.sources(Event.SUCCEEDED))})"
_OPEN_REFUND: Final = f"status IN ({literals(REFUND.sources(Event.SUCCEEDED))})"
_GIVEN_BACK: Final = literals((PayStatus.PART_REFUNDED, PayStatus.REFUNDED))
_PARKED: Final = "parked OR parked_reason = ''"

# The columns that change; payer, payee, amount and content never do.
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
        column("name", String(64), "name 名称"),
        maybe("description", String(256), "description 描述"),
        maybe("check_env_url", String(2048), "checkEnvUrl 检测环境URL"),
        maybe("pay_url", String(2048), "payUrl 支付URL"),
        maybe("refund_url", String(2048), "refundUrl 退款URL"),
        maybe("icon_href", String(2048), "iconHref 图标链接"),
        column("valid_h", Integer, "orderValidTime 订单有效时间, hours"),
        column("online", Boolean, "isOnline 是否线上"),
        column("sign_account", Boolean, "isSignAccount 是否挂账"),
        column("async_notify", Boolean, "isAsyncNotify 是否异步通知"),
        column("third_party", Boolean, "isThridPay 是否第三方支付"),
        maybe("channel", String(64), "payChannel 支付渠道"),
        maybe("way", String(64), "payWay 支付方式"),
        maybe("query_url", String(2048), "where a component is asked for a result (our own)"),
        column("repeatable", Boolean, "its URLs may be called again with a number (our own)"),
        column("secret_name", String(64), "secret its notifies are signed with; empty: derived"),
    ]


PAY_MODE_TEMPLATE = Table(
    "pay_mode_template",
    METADATA,
    _id(),
    column("uuid", String(22), "uuid"),
    column("template_id", String(64), "payTemplateId 支付模板ID"),
    *_terms(),
    column("status", String(16), "status: enabled disabled"),
    moment("create_time", "createdAt"),
    moment("modify_time", "modifiedAt"),
    UniqueConstraint("uuid"),
    UniqueConstraint("template_id"),
    CheckConstraint("valid_h BETWEEN 1 AND 8760", name="valid_h"),
    one_of("status", TemplateStatus),
    comment="支付模板 (PayServer payModeTemplate)",
    info=rights(update=("uuid", *(one.name for one in _terms()), "modify_time")),
)

PAY_MODE = Table(
    "pay_mode",
    METADATA,
    _id(),
    column("uuid", String(22), "uuid"),
    maybe("template_id", String(64), "payTemplateId", ForeignKey("pay_mode_template.template_id")),
    column("merchant_uuid", String(64), "merchantUUID 商户"),
    column("merchant_href", String(2048), "merchant.href as given; empty: made of the uuid"),
    *_terms(),
    column("fast", Boolean, "isFastPay 是否快捷支付"),
    column("opened", Boolean, "isOpened 是否开通"),
    column("ui_order", Integer, "uiOrder 排序号"),
    moment("create_time", "createdAt"),
    moment("modify_time", "modifiedAt"),
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
    column("uuid", String(22), "uuid"),
    column("merchant_uuid", String(64), "whose mode it is; clientPayNo is its own"),
    column("client_pay_no", String(64), "clientPayNo 客户端支付流水号: idempotency key"),
    column("content_hash", LargeBinary, "SHA-256 of the request, to tell a repeat from a misuse"),
    column("traction_no", String(16), "tractionNo 平台支付订单流水号"),
    column("mode_uuid", String(22), "payModeUUID"),
    maybe("template_id", String(64), "payTemplateId"),
    column("mode_name", String(64), "payModeName"),
    maybe("channel", String(64), "payChannel"),
    maybe("way", String(64), "payWay"),
    column("method", String(16), "who moves the money: component, account, package"),
    column("async_notify", Boolean, "its result is reported later"),
    column("payer", String(256), "payer 付款方"),
    column("payee", String(2048), "payee 收款方"),
    column("amount_micros", BigInteger, "payAmount, 10^-6 元"),
    column("refunded_micros", BigInteger, "refundAmount, 10^-6 元"),
    column("params", Text, "payParams, JSON as sent"),
    column("extra_params", Text, "clientExtraParams, JSON as sent"),
    column("status", String(16), "status: unpay paying payed payFailed partRefunded refunded"),
    column("sent", String(8), "how far the request reached the component: not maybe heard"),
    column(
        "parked",
        Boolean,
        "waits for a person: no party can say the outcome, or answers contradict each other",
    ),
    *why_parked(),
    maybe("third_pay_no", String(64), "thirdPayNo 第三方支付单号"),
    maybe("result_code", String(256), "resultCode 第三方返回结果码"),
    moment("start_time", "orderStartAt"),
    moment("expire_time", "orderExpiredAt"),
    moment("pay_start_time", "payStartAt"),
    moment("finish_time", "payFinishAt", null=True),
    moment("last_refund_time", "lastRefundAt", null=True),
    moment("create_time", "createdAt"),
    moment("modify_time", "modifiedAt"),
    UniqueConstraint("uuid"),
    UniqueConstraint("traction_no"),
    UniqueConstraint("merchant_uuid", "client_pay_no", name="pay_order_client"),
    Index("pay_order_client_pay_no", "client_pay_no"),
    # A platform's statements are matched by its own numbers.
    Index(
        "pay_order_third_pay_no", "third_pay_no", postgresql_where=text("third_pay_no IS NOT NULL")
    ),
    Index("pay_order_created", "create_time"),
    Index("pay_order_mode", "mode_uuid", "create_time"),
    Index("pay_order_merchant", "merchant_uuid", "create_time"),
    Index("pay_order_parked", "traction_no", postgresql_where=text("parked")),
    Index("pay_order_open", "expire_time", postgresql_where=text(_OPEN_PAY)),
    CheckConstraint(f"amount_micros > 0 AND amount_micros {_FEN}", name="amount"),
    CheckConstraint(
        f"refunded_micros BETWEEN 0 AND amount_micros AND refunded_micros {_FEN}", name="refunded"
    ),
    CheckConstraint(
        f"status IN ({literals(PayStatus)})"
        f" AND (refunded_micros = 0) = (status NOT IN ({_GIVEN_BACK}))"
        f" AND (refunded_micros = amount_micros) = (status = {literal(PayStatus.REFUNDED)})",
        name="status",
    ),
    CheckConstraint(f"({_OPEN_PAY}) = (finish_time IS NULL)", name="ended"),
    CheckConstraint("refunded_micros = 0 OR last_refund_time IS NOT NULL", name="refund_time"),
    one_of("sent", Sent),
    CheckConstraint(_PARKED, name="parked"),
    comment="支付订单 (PayServer payOrder)",
    info=rights(update=(*_LIFE, "third_pay_no", "refunded_micros", "last_refund_time"))
    | lifecycles(status=PAY.moves),
    postgresql_with={"fillfactor": "70"},
)

REFUND_ORDER = Table(
    "refund_order",
    METADATA,
    _id(),
    column("uuid", String(22), "uuid"),
    column("pay_id", BigInteger, "its pay order", ForeignKey("pay_order.id")),
    column("pay_uuid", String(22), "payOrderUUID"),
    column("pay_traction_no", String(16), "payTractionNo"),
    column("merchant_uuid", String(64), "whose; clientRefundNo is its own"),
    column("mode_uuid", String(22), "payModeUUID"),
    maybe("template_id", String(64), "payTemplateId"),
    column("client_refund_no", String(64), "clientRefundNo 客户端退款流水号: idempotency key"),
    column("content_hash", LargeBinary, "SHA-256 of the request"),
    column("traction_no", String(16), "tractionNo 退款订单流水号"),
    column("method", String(16), "as its pay order's"),
    column("async_notify", Boolean, "its result is reported later"),
    column("cancel", Boolean, "isCancel 撤销"),
    column("amount_micros", BigInteger, "refundAmount, 10^-6 元"),
    column("extra_params", Text, "clientExtraParams, JSON as sent"),
    column("status", String(16), "status: unRefund refunding refunded refundFailed"),
    column("sent", String(8), "how far the request reached the component: not maybe heard"),
    column("parked", Boolean, "a person must look"),
    *why_parked(),
    maybe("third_refund_no", String(64), "thirdRefundNo"),
    maybe("result_code", String(256), "resultCode"),
    moment("start_time", "refundStartAt"),
    moment("finish_time", "refundFinishAt", null=True),
    moment("create_time", "createdAt"),
    moment("modify_time", "modifiedAt"),
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
    one_of("status", RefundStatus),
    CheckConstraint(f"({_OPEN_REFUND}) = (finish_time IS NULL)", name="ended"),
    one_of("sent", Sent),
    CheckConstraint(_PARKED, name="parked"),
    comment="退款订单 (PayServer refundOrder)",
    info=rights(update=(*_LIFE, "third_refund_no")) | lifecycles(status=REFUND.moves),
    postgresql_with={"fillfactor": "70"},
)

TRADE_RECORD = Table(
    "trade_record",
    METADATA,
    _id(),
    column("uuid", String(22), "uuid"),
    column("traction_no", String(16), "tractionNo of the pay or the refund"),
    column("trade_type", String(8), "tradeType: pay refund"),
    column("amount_micros", BigInteger, "tradeAmount, 10^-6 元"),
    column("status", String(16), "the status it took, or still has after a contradiction"),
    column("result_code", String(256), "why; conflict:… when it was not applied"),
    column("merchant_uuid", String(64), "whose"),
    column("mode_uuid", String(22), "payModeUUID"),
    maybe("template_id", String(64), "payTemplateId"),
    column("pay_uuid", String(22), "payOrderUUID"),
    column("refund_uuid", String(22), "refundOrderUUID; empty for a pay"),
    moment("create_time", "createdAt"),
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
