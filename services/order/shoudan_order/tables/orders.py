"""The tables of orders, deliveries, refunds, notifies and audits, as 000 §二 names them.

Money columns end in _micros (10^-6 元), rates in _ppm; other names are the documented ones. Hot tables
have no foreign keys (each would cost a lock per row); their ids are made and checked by this service.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Column,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shoudan_kit.credentials import tables as credentials
from shoudan_kit.db.foundation import GROWING, by_month, rights
from shoudan_kit.db.moves import lifecycles
from shoudan_kit.proposals.tables import add_alone_call, add_alone_price, add_proposal
from shoudan_kit.secrets.sealing import Place
from shoudan_kit.tasks.tables import metadata
from shoudan_order import states as s
from shoudan_order.tables import endpoints, goods, request_log, retention, risk, routes, segments
from shoudan_order.tables.catalogue import declare
from shoudan_order.tables.columns import (
    count,
    fact,
    holds,
    key,
    micros,
    moments,
    now,
    number,
    ppm,
    status,
    text_key,
    when,
    words,
    yes_no,
)
from shoudan_order.tables.rules import (
    AUDIT_CHANGES,
    DELIVERY_CHANGES,
    ENDED,
    NOTIFY_CHANGES,
    ORDER_CHANGES,
    PROFIT,
    REFUND_CHANGES,
    RETURN_CHANGES,
    SOLD,
)

METADATA: Final = metadata()
declare(METADATA)
risk.declare(METADATA)
retention.declare(METADATA)
routes.declare(METADATA)
segments.declare(METADATA)
goods.declare(METADATA)
request_log.declare(METADATA)
endpoints.declare(METADATA)
credentials.declare(METADATA)
add_proposal(METADATA)
add_alone_call(METADATA)
add_alone_price(METADATA)

# Room for updates in place: rows of hot tables change three to five times.
HOT: Final = {"fillfactor": "75"}

ORDER: Final = Table(
    "oms_order_info",
    METADATA,
    key("order_id", "订单编号"),
    words("down_channel_no", "下游渠道编号", None),
    words("request_no", "下游渠道订单编号", None),
    number("down_shelf_id", "下游货架编号"),
    number("down_product_id", "下游商品编号"),
    words("ext_product_no", "外部商品编号"),
    number("line_id", "产品线编号"),
    words("carrier_no", "运营商", None),
    words("province_no", "省份", "*"),
    words("city_no", "城市", "*"),
    count("invoice_type", "开票方式: 1 不开发票 0 不限制 2 需要发票"),
    micros("face_micros", "商品面值", given=True),
    count("num", "数量"),
    micros("total_face_micros", "商品总面值", given=True),
    micros("mer_amount_micros", "商户支付金额: amount of the request"),
    micros("courier_amount_micros", "渠道费用"),
    micros("sell_amount_micros", "总销售金额"),
    micros("commission_amount_micros", "总佣金金额"),
    micros("service_amount_micros", "总服务费金额"),
    micros("fee_amount_micros", "总手续费金额"),
    ppm("sell_discount_ppm", "销售折扣 agreed when it was sold"),
    ppm("commission_discount_ppm", "佣金折扣 agreed when it was sold"),
    ppm("service_discount_ppm", "服务费折扣 agreed when it was sold"),
    ppm("payment_fee_discount_ppm", "手续费折扣 agreed when it was sold"),
    yes_no("can_split_order", "是否允许拆单"),
    micros("split_order_face_micros", "拆单面值"),
    now("create_time", "创建时间"),
    when("order_overtime", "订单超时时间"),
    when("pay_time", "支付时间", null=True),
    when("end_time", "结束时间: its first end, the moment of its sale in reports", null=True),
    when("money_time", "退款时间: what it paid and did not get went back", null=True),
    now("modify_time", "修改时间"),
    yes_no("delivery_pause", "发货暂停 (0 paused)", 1),
    *status("order_status", s.OrderStatus, "订单状态", 10),
    *status("payment_status", s.PaymentStatus, "支付状态", 30),
    *status("delivery_bind_status", s.BindStatus, "绑定状态", 10),
    *status("refund_status", s.FailRefundStatus, "失败退款状态", 10),
    *status("notify_status", s.NotifyStatus, "通知状态", 10),
    yes_no("complete_up_pay", "上游支付完成", 1),
    yes_no("is_refund", "用户已退款", 1),
    micros("bind_face_micros", "成功绑定总面值"),
    micros("success_face_micros", "实际成功总面值"),
    micros("success_sell_amount_micros", "实际成功总销售金额 (1)"),
    micros("success_commission_micros", "实际成功总佣金金额 (2)"),
    micros("success_service_micros", "实际成功总服务费金额 (3)"),
    micros("success_fee_micros", "实际成功总手续费金额 (4)"),
    micros("success_cost_amount_micros", "实际成功总成本 (5)"),
    micros("success_up_commission_micros", "实际成功上游总佣金金额 (6)"),
    micros("success_up_service_micros", "实际成功上游总服务费金额 (7)"),
    micros("profit_micros", "利润 1-2+3-4-5+6+7"),
    micros("up_paid_face_micros", "已支付上游总面值: makes complete_up_pay exact"),
    words("rechage_account", "用户账户, sealed; empty when it was erased"),
    words("fail_code", "失败码"),
    words("fail_msg", "失败原因"),
    words("parked_reason", "why it waits for a person; empty otherwise"),
    fact("has_notify", "a notify_url was given", given=True),
    Column("request_hash", LargeBinary, nullable=False, comment="what the first request said"),
    words("extend_info", "拓展信息"),
    UniqueConstraint("down_channel_no", "request_no"),
    holds("faces", "total_face_micros = face_micros * num AND num > 0"),
    holds("bound", "bind_face_micros BETWEEN 0 AND total_face_micros"),
    holds("delivered", "success_face_micros BETWEEN 0 AND bind_face_micros"),
    holds("up_paid", "up_paid_face_micros BETWEEN 0 AND total_face_micros"),
    holds("whole", "order_status <> 0 OR success_face_micros = total_face_micros"),
    holds("ended", ENDED),
    holds("sold", SOLD),
    holds("profit", PROFIT),
    holds(
        "toggles", "delivery_pause IN (0, 1) AND complete_up_pay IN (0, 1) AND is_refund IN (0, 1)"
    ),
    moments("oms_order_info", "create_time"),
    moments("oms_order_info", "end_time"),
    Index("oms_order_info_parked", "order_id", postgresql_where=text("parked_reason <> ''")),
    Index("oms_order_info_open", "order_id", postgresql_where=text("end_time IS NULL")),
    # Partial, though all numbers are above 0, so that who looks for one order is never served by it.
    Index(
        "oms_order_info_channel",
        "down_channel_no",
        "order_id",
        postgresql_where=text("order_id > 0"),
    ),
    comment="订单记录",
    info=rights(update=ORDER_CHANGES)
    | lifecycles(
        order_status=s.ORDER.moves,
        payment_status=s.PAYMENT.moves,
        delivery_bind_status=s.BIND.moves,
        refund_status=s.FAIL_REFUND.moves,
        notify_status=s.NOTIFY.moves,
    ),
    postgresql_with=HOT,
)

DELIVERY: Final = Table(
    "oms_order_delivery",
    METADATA,
    key("delivery_id", "发货编号"),
    words("up_channel_no", "上游渠道编号", None),
    number("up_product_id", "上游商品编号"),
    words("up_delivery_no", "上游发货编号"),
    words("up_ext_product_no", "上游外部商品编号"),
    number("order_id", "订单编号"),
    words("down_channel_no", "下游渠道编号", None),
    number("down_product_id", "下游商品编号"),
    number("line_id", "产品线编号"),
    words("carrier_no", "运营商", None),
    words("province_no", "省份", None),
    words("city_no", "城市", None),
    count("invoice_type", "开票方式: 1 不开发票 2 上游开发票"),
    *status("delivery_status", s.DeliveryStatus, "发货状态", 20),
    *status("up_payment_status", s.UpPaymentStatus, "支付状态", 10),
    now("create_time", "创建时间"),
    micros("face_micros", "商品面值", given=True),
    count("num", "发货数量"),
    micros("total_face_micros", "发货总面值", given=True),
    micros("cost_amount_micros", "发货成本"),
    micros("up_commission_amount_micros", "上游佣金"),
    micros("service_amount_micros", "服务费"),
    micros("courier_cost_amount_micros", "渠道费用: real cost reported by the supplier"),
    when("start_time", "开始时间", null=True),
    when("end_time", "结束时间", null=True),
    when("money_time", "支付时间: the supplier's account has moved", null=True),
    words("return_msg", "发货返回信息"),
    words("result_params", "结果数据: further facts reported by the supplier, JSON"),
    fact("conflict", "the supplier has reported another end since"),
    words("extend_info", "拓展信息"),
    words("route_reason", "why this supplier: policy, draw and candidates, JSON"),
    holds("faces", "total_face_micros = face_micros * num AND num > 0"),
    holds("ended", "(delivery_status IN (0, 90)) = (end_time IS NOT NULL)"),
    holds("started", "delivery_status NOT IN (0, 30) OR start_time IS NOT NULL"),
    holds("paid_is_delivered", "up_payment_status NOT IN (0, 30) OR delivery_status = 0"),
    Index("oms_order_delivery_order_id", "order_id"),
    Index(
        "oms_order_delivery_up_delivery_no",
        "up_delivery_no",
        postgresql_where=text("up_delivery_no <> ''"),
    ),
    moments("oms_order_delivery", "create_time"),
    moments("oms_order_delivery", "end_time"),
    comment="订单发货表",
    info=rights(update=DELIVERY_CHANGES)
    | lifecycles(delivery_status=s.DELIVERY.moves, up_payment_status=s.UP_PAYMENT.moves),
    postgresql_with=HOT,
)

REFUND: Final = Table(
    "oms_refund_info",
    METADATA,
    key("refund_id", "退款编号"),
    number("order_id", "订单编号"),
    words("down_channel_no", "下游渠道编号", None),
    words("request_no", "下游渠道订单编号", None),
    words("down_refund_no", "下游退款编号", None),
    number("down_shelf_id", "下游货架编号"),
    number("down_product_id", "下游商品编号"),
    words("ext_product_no", "外部商品编号"),
    number("line_id", "产品线编号"),
    words("carrier_no", "运营商", None),
    words("province_no", "省份", None),
    words("city_no", "城市", None),
    *status("refund_type", s.RefundType, "退款方式"),
    micros("face_micros", "商品面值", given=True),
    count("refund_num", "退款数量"),
    micros("refund_face_micros", "退款总面值", given=True),
    micros("refund_mer_amount_micros", "退款商户金额"),
    micros("refund_courier_amount_micros", "退款渠道费用"),
    micros("refund_sell_amount_micros", "退款金额"),
    micros("refund_commission_amount_micros", "退款佣金"),
    micros("refund_service_amount_micros", "退款服务费"),
    micros("refund_fee_amount_micros", "退款手续费"),
    now("create_time", "创建时间"),
    *status("refund_status", s.RefundStatus, "退款状态", 10),
    *status("up_return_status", s.UpReturnStatus, "上游退货状态", 20),
    *status("down_refund_status", s.MoneyBackStatus, "下游退款状态", 10),
    *status("refund_notify_status", s.NotifyStatus, "退款通知状态", 10),
    when("return_overtime", "退货超时时间"),
    when("end_time", "结束时间: decided, the moment it counts in reports", null=True),
    when("money_time", "退款时间: the channel has its money", null=True),
    now("modify_time", "修改时间"),
    yes_no("complete_up_refund", "上游退款完成", 1),
    words("parked_reason", "why it waits for a person; empty otherwise"),
    words("reason", "why, as it was asked for; empty when nothing was said"),
    fact("has_notify", "a notify_url was given", given=True),
    Column("request_hash", LargeBinary, nullable=False, comment="what the first request said"),
    words("extend_info", "拓展信息"),
    UniqueConstraint("down_channel_no", "down_refund_no"),
    holds("faces", "refund_face_micros BETWEEN 0 AND face_micros * refund_num"),
    holds("ended", "(refund_status = 10) = (end_time IS NULL)"),
    holds("money", "down_refund_status NOT IN (0, 20) OR refund_status IN (0, 20, 91)"),
    holds("toggles", "complete_up_refund IN (0, 1)"),
    # One refund of an order at a time: the database itself refuses a second one.
    Index(
        "oms_refund_info_one_open",
        "order_id",
        unique=True,
        postgresql_where=text("refund_status = 10 AND refund_type = 1"),
    ),
    Index("oms_refund_info_order_id", "order_id"),
    Index(
        "oms_refund_info_channel",
        "down_channel_no",
        "refund_id",
        postgresql_where=text("refund_id > 0"),
    ),
    moments("oms_refund_info", "end_time"),
    comment="订单退款表",
    info=rights(update=REFUND_CHANGES)
    | lifecycles(
        refund_status=s.REFUND.moves,
        up_return_status=s.UP_RETURN.moves,
        down_refund_status=s.MONEY_BACK.moves,
        refund_notify_status=s.NOTIFY.moves,
    ),
    postgresql_with=HOT,
)

RETURN: Final = Table(
    "oms_refund_up_return",
    METADATA,
    key("return_id", "退货编号"),
    words("up_channel_no", "上游渠道编号", None),
    number("up_product_id", "上游商品编号"),
    words("up_return_no", "上游退货编号"),
    words("up_ext_product_no", "上游外部商品编号"),
    number("order_id", "订单编号"),
    number("refund_id", "退款编号; 0 for a false success"),
    number("delivery_id", "发货编号"),
    words("down_channel_no", "下游渠道编号", None),
    number("down_product_id", "下游商品编号"),
    number("line_id", "产品线编号"),
    words("carrier_no", "运营商", None),
    words("province_no", "省份", None),
    words("city_no", "城市", None),
    count("invoice_type", "开票方式"),
    *status("return_status", s.ReturnStatus, "退货状态", 20),
    *status("up_refund_status", s.MoneyBackStatus, "上游退款状态", 10),
    now("create_time", "创建时间"),
    micros("return_face_micros", "商品面值", given=True),
    count("return_num", "退货数量"),
    micros("return_total_face_micros", "退货总面值", given=True),
    micros("return_cost_amount_micros", "退货成本"),
    micros("return_commission_amount_micros", "退货佣金"),
    micros("return_service_amount_micros", "退货服务费"),
    micros("courier_refund_amount_micros", "渠道退款费用"),
    when("start_time", "开始时间", null=True),
    when("end_time", "结束时间", null=True),
    when("money_time", "支付时间: the supplier's account has moved", null=True),
    words("return_msg", "退货返回信息"),
    fact("conflict", "the supplier has reported another end since"),
    words("extend_info", "拓展信息"),
    holds("faces", "return_total_face_micros = return_face_micros * return_num AND return_num > 0"),
    holds("ended", "(return_status IN (0, 90)) = (end_time IS NOT NULL)"),
    holds("started", "return_status <> 30 OR start_time IS NOT NULL"),
    holds("money", "up_refund_status NOT IN (0, 20) OR return_status = 0"),
    Index("oms_refund_up_return_refund_id", "refund_id"),
    Index(
        "oms_refund_up_return_up_return_no",
        "up_return_no",
        postgresql_where=text("up_return_no <> ''"),
    ),
    Index("oms_refund_up_return_delivery_id", "delivery_id"),
    moments("oms_refund_up_return", "end_time"),
    comment="上游退货表",
    info=rights(update=RETURN_CHANGES)
    | lifecycles(return_status=s.RETURN.moves, up_refund_status=s.MONEY_BACK.moves),
    postgresql_with=HOT,
)

NOTIFY: Final = Table(
    "oms_notify_info",
    METADATA,
    key("notify_id", "通知编号"),
    number("order_id", "订单编号"),
    number("refund_id", "退款编号; 0 for the order"),
    words("down_channel_no", "下游渠道编号", None),
    *status("notify_type", s.NotifyType, "通知类型"),
    *status("notify_status", s.NotifyStatus, "通知状态", 10),
    count("notify_count", "通知次数", 0),
    count("max_count", "最大通知次数"),
    now("create_time", "创建时间"),
    when("start_time", "开始时间", null=True),
    when("end_time", "结束时间", null=True),
    words("notify_url", "通知地址", None),
    words("notify_msg", "通知结果: the last answer"),
    Column("http_status", Integer, nullable=False, server_default="0", comment="状态码; 0 none"),
    fact("given_up", "max_count reached"),
    Column("owed_status", SmallInteger, comment="what it says, fixed when it was owed"),
    words("owed_code", "错误码 it says"),
    words("owed_msg", "错误描述 it says"),
    holds("ended", "(notify_status IN (0, 100)) = (end_time IS NOT NULL)"),
    holds("open", "NOT given_up OR notify_status IN (10, 20)"),
    UniqueConstraint("order_id", "refund_id"),
    Index("oms_notify_info_dead", "notify_id", postgresql_where=text("given_up")),
    Index(
        "oms_notify_info_dead_channel",
        "down_channel_no",
        "notify_id",
        postgresql_where=text("given_up"),
    ),
    comment="订单通知表",
    info=rights(update=NOTIFY_CHANGES) | lifecycles(notify_status=s.MESSAGE.moves),
    postgresql_with=HOT,
)

ATTEMPT: Final = Table(
    "oms_notify_attempt",
    METADATA,
    key("attempt_id", "编号"),
    number("notify_id", "通知编号"),
    count("http_status", "状态码; 0 when no answer came"),
    words("answer", "the answer, or why there was none", None),
    count("took_ms", "milliseconds it took"),
    now("create_time", "创建时间"),
    Index("oms_notify_attempt_notify_id", "notify_id"),
    comment="通知记录: each attempt and what was answered",
    **by_month("attempt_id"),
)

AUDIT: Final = Table(
    "oms_audit_info",
    METADATA,
    key("audit_id", "审核编号"),
    number("order_id", "订单编号"),
    number("refund_id", "退款编号; 0 if none"),
    number("delivery_id", "发货编号 or 退货编号; 0 if none"),
    *status("change_type", s.AuditType, "变动类型"),
    *status("audit_status", s.AuditStatus, "审核状态", 20),
    words("audit_by", "审核人"),
    when("audit_time", "审核时间", null=True),
    words("audit_msg", "审核信息"),
    now("create_time", "创建时间"),
    holds("ended", "(audit_status = 20) = (audit_time IS NULL)"),
    Index(
        "oms_audit_info_one_waiting",
        "order_id",
        "refund_id",
        "delivery_id",
        "change_type",
        unique=True,
        postgresql_where=text("audit_status = 20"),
    ),
    Index("oms_audit_info_order_id", "order_id"),
    Index("oms_audit_info_waiting", "audit_id", postgresql_where=text("audit_status = 20")),
    comment="审核表",
    info=rights(update=AUDIT_CHANGES) | lifecycles(audit_status=s.AUDIT.moves),
)

CHANGE: Final = Table(
    "oms_operation",
    METADATA,
    key("operation_id", "编号"),
    words("operator", "操作人", None),
    words("operation", "操作", None),
    words("subject", "what it was done to", None),
    Column("detail", JSONB, nullable=False, comment="what changed, or why it was done"),
    number("version", "catalogue version it made; 0 for other operations"),
    now("create_time", "操作时间"),
    Index("oms_operation_subject", "subject"),
    comment="操作记录: who changed what, when and why",
    postgresql_with=GROWING,
)

USED_NONCE: Final = Table(
    "oms_used_nonce",
    METADATA,
    text_key("channel_no", "渠道编号"),
    text_key("nonce", "随机串 of a signed write"),
    number("call_id", "the HTTP request that used it; sent again it is no replay"),
    when("expire_time", "when it may be forgotten"),
    Index("oms_used_nonce_expire", "expire_time"),
    comment="随机串记录: used nonces, shared by all replicas of gateway and order",
    info=rights(update=("call_id", "expire_time"), delete=True),
)

# An order needs its account while it may still be delivered or returned.
ACCOUNTS: Final = Place(
    "oms_order_info",
    "order_id",
    "rechage_account",
    open="order_status IN (10, 20) OR EXISTS (SELECT FROM oms_refund_info r"
    " WHERE r.order_id = oms_order_info.order_id AND r.refund_status = 10)",
    hashed="request_hash",
)
APPEND_ONLY: Final = ("oms_operation", "oms_notify_attempt")
