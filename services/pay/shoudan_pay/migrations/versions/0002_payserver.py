"""PayServer: templates, modes, pay orders, refunds, trade records; the seven built-in templates."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Forward; every step leaves the tables usable by the code of the release before."""
    _pay_mode_templates()
    _pay_modes()
    _pay_orders()
    _refund_orders()
    _trade_records()
    _built_in()


def _column(name: str, kind: Any, comment: str) -> "sa.Column[Any]":
    return sa.Column(name, kind, nullable=False, comment=comment)


def _maybe(name: str, kind: Any, comment: str) -> "sa.Column[Any]":
    return sa.Column(name, kind, nullable=True, comment=comment)


def _id() -> "sa.Column[Any]":
    kind, comment = sa.BigInteger(), "id: small numbers, as documented"
    return sa.Column("id", kind, sa.Identity(always=False), nullable=False, comment=comment)


def _terms() -> "list[sa.Column[Any]]":
    """What templates and modes have in common."""
    return [
        _column("name", sa.String(64), "name 名称"),
        _maybe("description", sa.String(256), "description 描述"),
        _maybe("check_env_url", sa.String(2048), "checkEnvUrl 检测环境URL"),
        _maybe("pay_url", sa.String(2048), "payUrl 支付URL"),
        _maybe("refund_url", sa.String(2048), "refundUrl 退款URL"),
        _maybe("icon_href", sa.String(2048), "iconHref 图标链接"),
        _column("valid_h", sa.Integer(), "orderValidTime 订单有效时间, hours"),
        _column("online", sa.Boolean(), "isOnline 是否线上"),
        _column("sign_account", sa.Boolean(), "isSignAccount 是否挂账"),
        _column("async_notify", sa.Boolean(), "isAsyncNotify 是否异步通知"),
        _column("third_party", sa.Boolean(), "isThridPay 是否第三方支付"),
        _maybe("channel", sa.String(64), "payChannel 支付渠道"),
        _maybe("way", sa.String(64), "payWay 支付方式"),
        _maybe("query_url", sa.String(2048), "where a component is asked for a result (our own)"),
        _column("repeatable", sa.Boolean(), "its URLs may be called again with a number (our own)"),
        _column(
            "secret_name", sa.String(64), "secret its notifies are signed with; empty: derived"
        ),
    ]


def _pay_mode_templates() -> None:
    """Templates."""
    op.create_table(
        "pay_mode_template",
        _id(),
        _column("uuid", sa.String(22), "uuid"),
        _column("template_id", sa.String(64), "payTemplateId 支付模板ID"),
        *_terms(),
        _column("status", sa.String(16), "status: enabled disabled"),
        _column("create_time", sa.DateTime(timezone=True), "createdAt"),
        _column("modify_time", sa.DateTime(timezone=True), "modifiedAt"),
        sa.CheckConstraint(
            "status IN ('enabled', 'disabled')", name=op.f("pay_mode_template_status")
        ),
        sa.CheckConstraint("valid_h BETWEEN 1 AND 8760", name=op.f("pay_mode_template_valid_h")),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_mode_template_pkey")),
        sa.UniqueConstraint("template_id", name=op.f("pay_mode_template_template_id_key")),
        sa.UniqueConstraint("uuid", name=op.f("pay_mode_template_uuid_key")),
        comment="支付模板 (PayServer payModeTemplate)",
    )


def _pay_modes() -> None:
    """Modes of merchants."""
    op.create_table(
        "pay_mode",
        _id(),
        _column("uuid", sa.String(22), "uuid"),
        _maybe("template_id", sa.String(64), "payTemplateId"),
        _column("merchant_uuid", sa.String(64), "merchantUUID 商户"),
        _column(
            "merchant_href", sa.String(2048), "merchant.href as given; empty: made of the uuid"
        ),
        *_terms(),
        _column("fast", sa.Boolean(), "isFastPay 是否快捷支付"),
        _column("opened", sa.Boolean(), "isOpened 是否开通"),
        _column("ui_order", sa.Integer(), "uiOrder 排序号"),
        _column("create_time", sa.DateTime(timezone=True), "createdAt"),
        _column("modify_time", sa.DateTime(timezone=True), "modifiedAt"),
        sa.CheckConstraint("valid_h BETWEEN 1 AND 8760", name=op.f("pay_mode_valid_h")),
        sa.ForeignKeyConstraint(
            ["template_id"],
            ["pay_mode_template.template_id"],
            name=op.f("pay_mode_template_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_mode_pkey")),
        sa.UniqueConstraint("uuid", name=op.f("pay_mode_uuid_key")),
        comment="支付方式 (PayServer PayMode)",
    )
    op.create_index("pay_mode_merchant", "pay_mode", ["merchant_uuid", "ui_order"], unique=False)
    op.create_index("pay_mode_of_template", "pay_mode", ["template_id"], unique=False)


def _pay_order_columns() -> "list[sa.Column[Any]]":
    return [
        _id(),
        _column("uuid", sa.String(22), "uuid"),
        _column("merchant_uuid", sa.String(64), "whose mode it is; clientPayNo is its own"),
        _column("client_pay_no", sa.String(64), "clientPayNo 客户端支付流水号: idempotency key"),
        _column(
            "content_hash",
            sa.LargeBinary(),
            "SHA-256 of the request, to tell a repeat from a misuse",
        ),
        _column("traction_no", sa.String(16), "tractionNo 平台支付订单流水号"),
        _column("mode_uuid", sa.String(22), "payModeUUID"),
        _maybe("template_id", sa.String(64), "payTemplateId"),
        _column("mode_name", sa.String(64), "payModeName"),
        _maybe("channel", sa.String(64), "payChannel"),
        _maybe("way", sa.String(64), "payWay"),
        _column("method", sa.String(16), "who moves the money: component, account, package"),
        _column("async_notify", sa.Boolean(), "told later"),
        _column("payer", sa.String(256), "payer 付款方"),
        _column("payee", sa.String(2048), "payee 收款方"),
        _column("amount_micros", sa.BigInteger(), "payAmount, 10^-6 元"),
        _column("refunded_micros", sa.BigInteger(), "refundAmount, 10^-6 元"),
        _column("params", sa.Text(), "payParams, JSON as sent"),
        _column("extra_params", sa.Text(), "clientExtraParams, JSON as sent"),
        _column(
            "status", sa.String(16), "status: unpay paying payed payFailed partRefunded refunded"
        ),
        _column("sent", sa.String(8), "how far the component was asked: not maybe heard"),
        _column(
            "parked",
            sa.Boolean(),
            "nobody knows and nobody can be asked, or a contradiction: a person",
        ),
        _maybe("third_pay_no", sa.String(64), "thirdPayNo 第三方支付单号"),
        _maybe("result_code", sa.String(256), "resultCode 第三方返回结果码"),
        _column("start_time", sa.DateTime(timezone=True), "orderStartAt"),
        _column("expire_time", sa.DateTime(timezone=True), "orderExpiredAt"),
        _column("pay_start_time", sa.DateTime(timezone=True), "payStartAt"),
        _maybe("finish_time", sa.DateTime(timezone=True), "payFinishAt"),
        _maybe("last_refund_time", sa.DateTime(timezone=True), "lastRefundAt"),
        _column("create_time", sa.DateTime(timezone=True), "createdAt"),
        _column("modify_time", sa.DateTime(timezone=True), "modifiedAt"),
    ]


def _pay_orders() -> None:
    """Pay orders."""
    op.create_table(
        "pay_order",
        *_pay_order_columns(),
        sa.CheckConstraint(
            "status IN ('unpay', 'paying', 'payed', 'payFailed', 'partRefunded', 'refunded')"
            " AND (refunded_micros = 0) = (status NOT IN ('partRefunded', 'refunded'))"
            " AND (refunded_micros = amount_micros) = (status = 'refunded')",
            name=op.f("pay_order_status"),
        ),
        sa.CheckConstraint(
            "amount_micros > 0 AND amount_micros % 10000 = 0", name=op.f("pay_order_amount")
        ),
        sa.CheckConstraint(
            "refunded_micros BETWEEN 0 AND amount_micros AND refunded_micros % 10000 = 0",
            name=op.f("pay_order_refunded"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pay_order_pkey")),
        sa.UniqueConstraint("merchant_uuid", "client_pay_no", name="pay_order_client"),
        sa.UniqueConstraint("traction_no", name=op.f("pay_order_traction_no_key")),
        sa.UniqueConstraint("uuid", name=op.f("pay_order_uuid_key")),
        comment="支付订单 (PayServer payOrder)",
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index("pay_order_client_pay_no", "pay_order", ["client_pay_no"], unique=False)
    op.create_index(
        "pay_order_merchant", "pay_order", ["merchant_uuid", "create_time"], unique=False
    )
    op.create_index("pay_order_mode", "pay_order", ["mode_uuid", "create_time"], unique=False)
    op.create_index(
        "pay_order_open",
        "pay_order",
        ["expire_time"],
        unique=False,
        postgresql_where=sa.text("status IN ('unpay', 'paying')"),
    )


def _refund_orders() -> None:
    """Refunds."""
    op.create_table(
        "refund_order",
        _id(),
        _column("uuid", sa.String(22), "uuid"),
        _column("pay_id", sa.BigInteger(), "its pay order"),
        _column("pay_uuid", sa.String(22), "payOrderUUID"),
        _column("pay_traction_no", sa.String(16), "payTractionNo"),
        _column("merchant_uuid", sa.String(64), "whose; clientRefundNo is its own"),
        _column("mode_uuid", sa.String(22), "payModeUUID"),
        _maybe("template_id", sa.String(64), "payTemplateId"),
        _column(
            "client_refund_no", sa.String(64), "clientRefundNo 客户端退款流水号: idempotency key"
        ),
        _column("content_hash", sa.LargeBinary(), "SHA-256 of the request"),
        _column("traction_no", sa.String(16), "tractionNo 退款订单流水号"),
        _column("method", sa.String(16), "as its pay order's"),
        _column("async_notify", sa.Boolean(), "told later"),
        _column("cancel", sa.Boolean(), "isCancel 撤销"),
        _column("amount_micros", sa.BigInteger(), "refundAmount, 10^-6 元"),
        _column("extra_params", sa.Text(), "clientExtraParams, JSON as sent"),
        _column("status", sa.String(16), "status: unRefund refunding refunded refundFailed"),
        _column("sent", sa.String(8), "how far the component was asked: not maybe heard"),
        _column("parked", sa.Boolean(), "a person must look"),
        _maybe("third_refund_no", sa.String(64), "thirdRefundNo"),
        _maybe("result_code", sa.String(256), "resultCode"),
        _column("start_time", sa.DateTime(timezone=True), "refundStartAt"),
        _maybe("finish_time", sa.DateTime(timezone=True), "refundFinishAt"),
        _column("create_time", sa.DateTime(timezone=True), "createdAt"),
        _column("modify_time", sa.DateTime(timezone=True), "modifiedAt"),
        sa.CheckConstraint(
            "status IN ('unRefund', 'refunding', 'refunded', 'refundFailed')",
            name=op.f("refund_order_status"),
        ),
        sa.CheckConstraint(
            "amount_micros > 0 AND amount_micros % 10000 = 0", name=op.f("refund_order_amount")
        ),
        sa.ForeignKeyConstraint(
            ["pay_id"], ["pay_order.id"], name=op.f("refund_order_pay_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("refund_order_pkey")),
        sa.UniqueConstraint("merchant_uuid", "client_refund_no", name="refund_order_client"),
        sa.UniqueConstraint("traction_no", name=op.f("refund_order_traction_no_key")),
        sa.UniqueConstraint("uuid", name=op.f("refund_order_uuid_key")),
        comment="退款订单 (PayServer refundOrder)",
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "refund_order_merchant", "refund_order", ["merchant_uuid", "create_time"], unique=False
    )
    op.create_index("refund_order_pay", "refund_order", ["pay_id"], unique=False)


def _trade_records() -> None:
    """The history."""
    op.create_table(
        "trade_record",
        _id(),
        _column("uuid", sa.String(22), "uuid"),
        _column("traction_no", sa.String(16), "tractionNo of the pay or the refund"),
        _column("trade_type", sa.String(8), "tradeType: pay refund"),
        _column("amount_micros", sa.BigInteger(), "tradeAmount, 10^-6 元"),
        _column("status", sa.String(16), "the status it took, or still has after a contradiction"),
        _column("result_code", sa.String(256), "why; conflict:… when it was not applied"),
        _column("merchant_uuid", sa.String(64), "whose"),
        _column("mode_uuid", sa.String(22), "payModeUUID"),
        _maybe("template_id", sa.String(64), "payTemplateId"),
        _column("pay_uuid", sa.String(22), "payOrderUUID"),
        _column("refund_uuid", sa.String(22), "refundOrderUUID; empty for a pay"),
        _column("create_time", sa.DateTime(timezone=True), "createdAt"),
        sa.PrimaryKeyConstraint("id", name=op.f("trade_record_pkey")),
        sa.UniqueConstraint("uuid", name=op.f("trade_record_uuid_key")),
        comment="交易记录 (PayServer tradeRecord): one row per status, append-only",
    )
    op.create_index(
        "trade_record_merchant", "trade_record", ["merchant_uuid", "create_time"], unique=False
    )
    op.create_index("trade_record_pay", "trade_record", ["pay_uuid"], unique=False)


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
