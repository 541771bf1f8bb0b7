"""PayServer: templates, modes, pay orders, refunds, trade records; the seven built-in templates."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from shoudan_kit.db.revising import (
    BIG,
    BOOL,
    BYTES,
    INT,
    TEXT,
    TIME,
    check,
    column,
    index,
    refers,
    table,
    unique,
)

revision: str = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Forward; every step leaves the tables usable by the code of the release before."""
    _pay_mode_templates()
    _pay_modes()
    _pay_orders()
    _refund_orders()
    _trade_records()
    _built_in()


def _id() -> "sa.Column[Any]":
    kind, comment = sa.BigInteger(), "id: small numbers, as documented"
    return sa.Column("id", kind, sa.Identity(always=False), nullable=False, comment=comment)


def _terms() -> "list[sa.Column[Any]]":
    """What templates and modes have in common."""
    return [
        column("name", sa.String(64), "name 名称"),
        column("description", sa.String(256), "description 描述", null=True),
        column("check_env_url", sa.String(2048), "checkEnvUrl 检测环境URL", null=True),
        column("pay_url", sa.String(2048), "payUrl 支付URL", null=True),
        column("refund_url", sa.String(2048), "refundUrl 退款URL", null=True),
        column("icon_href", sa.String(2048), "iconHref 图标链接", null=True),
        column("valid_h", INT, "orderValidTime 订单有效时间, hours"),
        column("online", BOOL, "isOnline 是否线上"),
        column("sign_account", BOOL, "isSignAccount 是否挂账"),
        column("async_notify", BOOL, "isAsyncNotify 是否异步通知"),
        column("third_party", BOOL, "isThridPay 是否第三方支付"),
        column("channel", sa.String(64), "payChannel 支付渠道", null=True),
        column("way", sa.String(64), "payWay 支付方式", null=True),
        column(
            "query_url",
            sa.String(2048),
            "where a component is asked for a result (our own)",
            null=True,
        ),
        column("repeatable", BOOL, "its URLs may be called again with a number (our own)"),
        column("secret_name", sa.String(64), "secret its notifies are signed with; empty: derived"),
    ]


def _pay_mode_templates() -> None:
    """Templates."""
    table(
        "pay_mode_template",
        _id(),
        column("uuid", sa.String(22), "uuid"),
        column("template_id", sa.String(64), "payTemplateId 支付模板ID"),
        *_terms(),
        column("status", sa.String(16), "status: enabled disabled"),
        column("create_time", TIME, "createdAt"),
        column("modify_time", TIME, "modifiedAt"),
        check("pay_mode_template_status", "status IN ('enabled', 'disabled')"),
        check("pay_mode_template_valid_h", "valid_h BETWEEN 1 AND 8760"),
        unique("pay_mode_template_template_id_key", "template_id"),
        unique("pay_mode_template_uuid_key", "uuid"),
        key=["id"],
        comment="支付模板 (PayServer payModeTemplate)",
    )


def _pay_modes() -> None:
    """Modes of merchants."""
    table(
        "pay_mode",
        _id(),
        column("uuid", sa.String(22), "uuid"),
        column("template_id", sa.String(64), "payTemplateId", null=True),
        column("merchant_uuid", sa.String(64), "merchantUUID 商户"),
        column("merchant_href", sa.String(2048), "merchant.href as given; empty: made of the uuid"),
        *_terms(),
        column("fast", BOOL, "isFastPay 是否快捷支付"),
        column("opened", BOOL, "isOpened 是否开通"),
        column("ui_order", INT, "uiOrder 排序号"),
        column("create_time", TIME, "createdAt"),
        column("modify_time", TIME, "modifiedAt"),
        check("pay_mode_valid_h", "valid_h BETWEEN 1 AND 8760"),
        refers("pay_mode_template_id_fkey", ["template_id"], ["pay_mode_template.template_id"]),
        unique("pay_mode_uuid_key", "uuid"),
        key=["id"],
        comment="支付方式 (PayServer PayMode)",
    )
    index("pay_mode_merchant", "pay_mode", ["merchant_uuid", "ui_order"])
    index("pay_mode_of_template", "pay_mode", ["template_id"])


def _pay_order_columns() -> "list[sa.Column[Any]]":
    return [
        _id(),
        column("uuid", sa.String(22), "uuid"),
        column("merchant_uuid", sa.String(64), "whose mode it is; clientPayNo is its own"),
        column("client_pay_no", sa.String(64), "clientPayNo 客户端支付流水号: idempotency key"),
        column("content_hash", BYTES, "SHA-256 of the request, to tell a repeat from a misuse"),
        column("traction_no", sa.String(16), "tractionNo 平台支付订单流水号"),
        column("mode_uuid", sa.String(22), "payModeUUID"),
        column("template_id", sa.String(64), "payTemplateId", null=True),
        column("mode_name", sa.String(64), "payModeName"),
        column("channel", sa.String(64), "payChannel", null=True),
        column("way", sa.String(64), "payWay", null=True),
        column("method", sa.String(16), "who moves the money: component, account, package"),
        column("async_notify", BOOL, "told later"),
        column("payer", sa.String(256), "payer 付款方"),
        column("payee", sa.String(2048), "payee 收款方"),
        column("amount_micros", BIG, "payAmount, 10^-6 元"),
        column("refunded_micros", BIG, "refundAmount, 10^-6 元"),
        column("params", TEXT, "payParams, JSON as sent"),
        column("extra_params", TEXT, "clientExtraParams, JSON as sent"),
        column(
            "status", sa.String(16), "status: unpay paying payed payFailed partRefunded refunded"
        ),
        column("sent", sa.String(8), "how far the component was asked: not maybe heard"),
        column(
            "parked", BOOL, "nobody knows and nobody can be asked, or a contradiction: a person"
        ),
        column("third_pay_no", sa.String(64), "thirdPayNo 第三方支付单号", null=True),
        column("result_code", sa.String(256), "resultCode 第三方返回结果码", null=True),
        column("start_time", TIME, "orderStartAt"),
        column("expire_time", TIME, "orderExpiredAt"),
        column("pay_start_time", TIME, "payStartAt"),
        column("finish_time", TIME, "payFinishAt", null=True),
        column("last_refund_time", TIME, "lastRefundAt", null=True),
        column("create_time", TIME, "createdAt"),
        column("modify_time", TIME, "modifiedAt"),
    ]


def _pay_orders() -> None:
    """Pay orders."""
    table(
        "pay_order",
        *_pay_order_columns(),
        check(
            "pay_order_status",
            "status IN ('unpay', 'paying', 'payed', 'payFailed', 'partRefunded', 'refunded')"
            " AND (refunded_micros = 0) = (status NOT IN ('partRefunded', 'refunded'))"
            " AND (refunded_micros = amount_micros) = (status = 'refunded')",
        ),
        check("pay_order_amount", "amount_micros > 0 AND amount_micros % 10000 = 0"),
        check(
            "pay_order_refunded",
            "refunded_micros BETWEEN 0 AND amount_micros AND refunded_micros % 10000 = 0",
        ),
        sa.UniqueConstraint("merchant_uuid", "client_pay_no", name="pay_order_client"),
        unique("pay_order_traction_no_key", "traction_no"),
        unique("pay_order_uuid_key", "uuid"),
        key=["id"],
        comment="支付订单 (PayServer payOrder)",
        storage={"fillfactor": "70"},
    )
    index("pay_order_client_pay_no", "pay_order", ["client_pay_no"])
    index("pay_order_merchant", "pay_order", ["merchant_uuid", "create_time"])
    index("pay_order_mode", "pay_order", ["mode_uuid", "create_time"])
    index("pay_order_open", "pay_order", ["expire_time"], where="status IN ('unpay', 'paying')")


def _refund_orders() -> None:
    """Refunds."""
    table(
        "refund_order",
        _id(),
        column("uuid", sa.String(22), "uuid"),
        column("pay_id", BIG, "its pay order"),
        column("pay_uuid", sa.String(22), "payOrderUUID"),
        column("pay_traction_no", sa.String(16), "payTractionNo"),
        column("merchant_uuid", sa.String(64), "whose; clientRefundNo is its own"),
        column("mode_uuid", sa.String(22), "payModeUUID"),
        column("template_id", sa.String(64), "payTemplateId", null=True),
        column(
            "client_refund_no", sa.String(64), "clientRefundNo 客户端退款流水号: idempotency key"
        ),
        column("content_hash", BYTES, "SHA-256 of the request"),
        column("traction_no", sa.String(16), "tractionNo 退款订单流水号"),
        column("method", sa.String(16), "as its pay order's"),
        column("async_notify", BOOL, "told later"),
        column("cancel", BOOL, "isCancel 撤销"),
        column("amount_micros", BIG, "refundAmount, 10^-6 元"),
        column("extra_params", TEXT, "clientExtraParams, JSON as sent"),
        column("status", sa.String(16), "status: unRefund refunding refunded refundFailed"),
        column("sent", sa.String(8), "how far the component was asked: not maybe heard"),
        column("parked", BOOL, "a person must look"),
        column("third_refund_no", sa.String(64), "thirdRefundNo", null=True),
        column("result_code", sa.String(256), "resultCode", null=True),
        column("start_time", TIME, "refundStartAt"),
        column("finish_time", TIME, "refundFinishAt", null=True),
        column("create_time", TIME, "createdAt"),
        column("modify_time", TIME, "modifiedAt"),
        check(
            "refund_order_status", "status IN ('unRefund', 'refunding', 'refunded', 'refundFailed')"
        ),
        check("refund_order_amount", "amount_micros > 0 AND amount_micros % 10000 = 0"),
        refers("refund_order_pay_id_fkey", ["pay_id"], ["pay_order.id"]),
        sa.UniqueConstraint("merchant_uuid", "client_refund_no", name="refund_order_client"),
        unique("refund_order_traction_no_key", "traction_no"),
        unique("refund_order_uuid_key", "uuid"),
        key=["id"],
        comment="退款订单 (PayServer refundOrder)",
        storage={"fillfactor": "70"},
    )
    index("refund_order_merchant", "refund_order", ["merchant_uuid", "create_time"])
    index("refund_order_pay", "refund_order", ["pay_id"])


def _trade_records() -> None:
    """The history."""
    table(
        "trade_record",
        _id(),
        column("uuid", sa.String(22), "uuid"),
        column("traction_no", sa.String(16), "tractionNo of the pay or the refund"),
        column("trade_type", sa.String(8), "tradeType: pay refund"),
        column("amount_micros", BIG, "tradeAmount, 10^-6 元"),
        column("status", sa.String(16), "the status it took, or still has after a contradiction"),
        column("result_code", sa.String(256), "why; conflict:… when it was not applied"),
        column("merchant_uuid", sa.String(64), "whose"),
        column("mode_uuid", sa.String(22), "payModeUUID"),
        column("template_id", sa.String(64), "payTemplateId", null=True),
        column("pay_uuid", sa.String(22), "payOrderUUID"),
        column("refund_uuid", sa.String(22), "refundOrderUUID; empty for a pay"),
        column("create_time", TIME, "createdAt"),
        unique("trade_record_uuid_key", "uuid"),
        key=["id"],
        comment="交易记录 (PayServer tradeRecord): one row per status, append-only",
    )
    index("trade_record_merchant", "trade_record", ["merchant_uuid", "create_time"])
    index("trade_record_pay", "trade_record", ["pay_uuid"])


# The seed's list, with its names and ids; a name that the seed leaves out is null, a switch 0.
_BUILT_IN = (
    ("FWm6VJYrTwqhCvUQkb3xNA", "C924182F-581B-4990-944A-ABCAB8E552B3", "现金", "现金支付", ""),
    ("hQ2sLrBzR0uPyTEo7cKd1w", "4CE44A21-68DA-4ADA-B7EE-371187327F75", "银联", "银联支付", ""),
    ("zkP4nXeGS8aMfWtIu5OvJQ", "382CF8DF-017F-4009-928F-D5B008095962", "挂账", "挂账支付", None),
    (
        "rDdNnmkt97nSCiooVgJlvw",
        "017AFC80-95FA-11E8-B0EC-5384BC9767FE",
        "微信扫码枪",
        "微信扫码枪支付",
        None,
    ),
    (
        "T6bHyUi3QxKgLc9DmEwVZA",
        "3BEAF650-A067-11E8-A545-87065760276A",
        "支付宝扫码枪",
        "支付宝扫码枪支付",
        None,
    ),
    (
        "irAl37TewwGEchYrXUWsfA",
        "A2E7AB90-BB11-11E8-8BAF-4BFA221DACF5",
        "会员储值",
        "会员储值支付",
        "",
    ),
    (
        "nW9WDIBHwMMLvz6oGsuRpQ",
        "B3A36C30-BB11-11E8-8353-CD8987EBDA9C",
        "会员储次",
        "会员储次支付",
        "",
    ),
)
_OFFLINE = {"现金", "银联"}
_CHANNELS: dict[str, tuple[str | None, str | None]] = {
    "微信扫码枪": ("微信", "扫码枪"),
    "支付宝扫码枪": ("支付宝", "扫码枪"),
    "会员储值": ("", ""),
    "会员储次": ("", ""),
}


def _built_in() -> None:
    """The seven templates every system begins with; one that is registered already is left alone."""
    insert = sa.text("""
        INSERT INTO pay_mode_template (uuid, template_id, name, description, check_env_url, pay_url,
            refund_url, valid_h, online, sign_account, async_notify, third_party, channel, way,
            repeatable, secret_name, status, create_time, modify_time)
        VALUES (:uuid, :template_id, :name, :description, '', :url, :url, 24, :online, :sign_account,
            false, :third_party, :channel, :way, false, '', 'enabled', shoudan_now(), shoudan_now())
        ON CONFLICT DO NOTHING
    """)
    for uuid, template_id, name, description, url in _BUILT_IN:
        channel, way = _CHANNELS.get(name, (None, None))
        op.get_bind().execute(
            insert,
            {
                "uuid": uuid,
                "template_id": template_id,
                "name": name,
                "description": description,
                "url": url,
                "online": name not in _OFFLINE,
                "sign_account": name == "挂账",
                "third_party": bool(channel),
                "channel": channel,
                "way": way,
            },
        )
