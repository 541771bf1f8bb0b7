"""The tables of the catalogue: product lines, channels, shelves, products, cantons (000 §二.2.1)."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.schema import SchemaItem

from shoudan_kit.db.foundation import rights
from shoudan_order.states import LossRule, YesNo
from shoudan_order.tables.columns import (
    count,
    fact,
    holds,
    key,
    micros,
    now,
    number,
    ppm,
    status,
    text_key,
    when,
    words,
)

# The documented queue columns of a product line and their documented values.
QUEUES: Final = {
    "payment_queue": ("oms:order:pay", "支付队列"),
    "bind_queue": ("oms:order:bind", "绑定队列"),
    "delivery_queue": ("oms:order:delivery", "发货队列"),
    "delivery_finish_queue": ("oms:order:delivery_finish", "发货结束队列"),
    "up_payment_queue": ("oms:order:up_pay", "上游支付队列"),
    "notify_queue": ("oms:order:notify", "通知队列"),
    "return_queue": ("oms:refund:return", "退货队列"),
    "refund_queue": ("oms:refund:pay", "退款队列"),
    "up_refund_queue": ("oms:refund:up_pay", "上游退款队列"),
    "refund_notify_queue": ("oms:refund:notify", "退款通知队列"),
    "order_refund_queue": ("oms:overtime:refund", "订单失败退款队列"),
    "order_overtime_queue": ("oms:overtime:order_deal", "订单超时处理队列"),
    "delivery_unknown_queue": ("oms:overtime:delivery_unknown", "发货未知处理队列"),
    "refund_overtime_queue": ("oms:overtime:refund_deal", "退款超时处理队列"),
    "return_unknown_queue": ("oms:overtime:return_unknown", "退货未知处理队列"),
    "return_finish_queue": ("oms:refund:return_complete", "退货结束队列"),
}

# Two rows alike in all of these would be the same product of the same shelf.
SAME_PRODUCT: Final = (
    "shelf_id", "line_id", "carrier_no", "province_no", "city_no", "face_micros", "invoice_type",
    "can_refund",
)  # fmt: skip


_STATED: Final = (
    ("price_version", "the supplier's number of the newest price"),
    ("supply_version", "the supplier's number of the newest stock or shelf state"),
    ("stated_ppm", "newest price, of the face"),
    ("reference_ppm", "cost that a person set last, against which prices are judged"),
    ("taken_ppm", "price that was taken over last"),
    ("refused_ppm", "price that a person refused, while it is the newest"),
)


def _given(name: str, comment: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"), comment=comment)


def declare(made: MetaData) -> None:
    """Add the catalogue's tables to `made`."""
    before = set(made.tables)
    Table(
        "oms_product_line",
        made,
        key("line_id", "产品线编号"),
        words("line_name", "产品线名称", None),
        *status("can_package_delivery", YesNo, "支持打包发货", 1),
        *(words(name, comment, value) for name, (value, comment) in QUEUES.items()),
        count("service_class", "发货服务类型: 10 加油卡充值 20 电子券发货 30 话费充值", 10),
        count("return_service_class", "退货服务类型: 21 电子券退货", 21),
        words(
            "loss_rule",
            "what is done with a part that costs more than it sells for",
            LossRule.ALLOW,
        ),
        words(
            "route_policy",
            "how a supplier is chosen among those that can deliver",
            "cheapest",
        ),
        _numbers("route_weights", "by supplier, its share where the policy is weighted"),
        _numbers("route_terms", "by name, what the policy outcome weighs"),
        Column(
            "forbid_supplier_classes",
            JSONB,
            nullable=False,
            server_default=text("'[]'"),
            comment="risk classes of suppliers that never deliver its orders",
        ),
        fact("require_carrier_serial", "a success without 运营商流水号 is unknown"),
        comment="产品线",
    )
    _channels(made)
    _shelves(made)
    _products(made)
    _canton(made)
    _endpoints(made)
    for name in made.tables.keys() - before:
        made.tables[name].info.update(rights(update=_written(made.tables[name])))
    _versions(made)
    _shelf_changes(made)
    _supplier_prices(made)


def _shelf_changes(made: MetaData) -> None:
    Table(
        "oms_shelf_version",
        made,
        text_key("channel_no", "渠道编号"),
        key("product_id", "商品编号"),
        number("version", "catalogue version of its last change as the channel sees it"),
        when(
            "change_time",
            "when that was; NULL for what changed before there was this column",
            null=True,
        ),
        Index("oms_shelf_version_since", "channel_no", "version", "product_id"),
        comment="货架变更: when what a channel sees of a product last changed",
        info=rights(update=("version", "change_time")),
    )
    Table(
        "oms_shelf_cursor",
        made,
        text_key("channel_no", "渠道编号"),
        number("version", "catalogue version up to which the channel acknowledged its changes"),
        number("product_id", "product of that version up to which it did"),
        count("fails", "attempts in a row that were not acknowledged", 0),
        words("answer", "what the last of them came to"),
        when("notify_time", "last attempt", null=True),
        Index("oms_shelf_cursor_failing", "channel_no", postgresql_where=text("fails > 0")),
        comment="货架通知: what subscribed channels acknowledged of their shelves",
        info=rights(update=("version", "product_id", "fails", "answer", "notify_time")),
    )


def _supplier_prices(made: MetaData) -> None:
    Table(
        "oms_supplier_price",
        made,
        key("product_id", "上游商品编号"),
        *(_given(name, comment) for name, comment in _STATED),
        when("as_of", "when the newest was heard, or asked for", null=True),
        when("due_time", "from when the stated price is in force, while it is not", null=True),
        Column("asked_id", BigInteger, comment="a person is asked about the stated price"),
        when("asked_time", "since when", null=True),
        fact("suspended", "taken off by what its supplier stated"),
        Index(
            "oms_supplier_price_asked",
            "asked_id",
            unique=True,
            postgresql_where=text("asked_id IS NOT NULL"),
        ),
        comment="上游报价: what suppliers stated of their products, and what was made of it",
        info=rights(
            update=(
                *(name for name, _ in _STATED),
                *("as_of", "due_time", "asked_id", "asked_time", "suspended"),
            )
        ),
    )


def _versions(made: MetaData) -> None:
    Table(
        "oms_catalogue_version",
        made,
        Column("one", Boolean, primary_key=True, comment="always true: there is one row"),
        number("version", "raised by every change"),
        Column(
            "shelved_version",
            BigInteger,
            nullable=False,
            server_default=text("0"),
            comment="version up to which oms_shelf_version has what changed",
        ),
        holds("one", "one"),
        comment="目录版本",
        info=rights(update=("version", "shelved_version")),
    )
    Table(
        "oms_catalogue_change",
        made,
        key("version", "catalogue version that changed the row"),
        text_key("kind", "kind of row, as the catalogue's files name it"),
        text_key("row_key", "the row's own key"),
        comment="目录变更: which rows the last versions changed",
        info=rights(delete=True),
    )


def _numbers(name: str, comment: str) -> Column[Any]:
    return Column(name, JSONB, nullable=False, server_default=text("'{}'"), comment=comment)


def _written(table: Table) -> tuple[str, ...]:
    """What a change of the catalogue writes anew: never a number, or when it was first there."""
    return tuple(
        one.name for one in table.columns if not one.primary_key and one.name != "create_time"
    )


def _channels(made: MetaData) -> None:
    Table(
        "oms_down_channel",
        made,
        text_key("channel_no", "渠道编号"),
        words("channel_name", "渠道名称", None),
        *status("status", YesNo, "状态", 0),
        now("create_time", "创建时间"),
        words("ext_channel_no", "外部渠道编号"),
        words("auth_mode", "signing scheme of its requests; empty for none"),
        words("secret_name", "name of its secret, never the secret"),
        Column("allowed_networks", JSONB, nullable=False, comment="networks it may call from"),
        fact("word_status", "words, not numbers"),
        Column(
            "notify_networks",
            JSONB,
            nullable=False,
            comment="private networks it may be notified at",
        ),
        count("rate_per_s", "calls a second it may make; 0 as the gateways' settings say", 0),
        count("calls_max", "calls it may have in flight; 0 as the gateways' settings say", 0),
        words(
            "card_key",
            "X25519 key in base64 that its notifies carry cards encrypted to; empty for none",
        ),
        words(
            "shelf_url", "where it is notified of what changed on its shelves; empty for nowhere"
        ),
        Column(
            "shelf_events",
            JSONB,
            nullable=False,
            server_default=text("'[]'"),
            comment="price, stock, shelf: of which changes; empty for all",
        ),
        words("notice_url", "where it is notified of its bills and balance; empty for nowhere"),
        words("api_version", "version its calls are answered in; empty for the documents"),
        comment="下游渠道",
    )
    Table(
        "oms_up_channel",
        made,
        text_key("channel_no", "渠道编号"),
        words("channel_name", "渠道名称", None),
        *status("status", YesNo, "状态", 0),
        now("create_time", "创建时间"),
        words("ext_channel_no", "外部渠道编号"),
        words("risk_class", "风险类别, such as slow (慢充); empty for none"),
        words("price_rule", "what is done with prices and stock it states", "ignore"),
        ppm("price_move_max_ppm", "how far a price may move by itself, of the cost a person set"),
        comment="上游渠道",
    )


def _channel_of(table: str) -> Column[str]:
    return Column(
        "channel_no", Text, ForeignKey(f"{table}.channel_no"), nullable=False, comment="渠道编号"
    )


def _shelves(made: MetaData) -> None:
    Table(
        "oms_down_shelf",
        made,
        key("shelf_id", "货架编号"),
        words("shelf_name", "货架名称", None),
        _channel_of("oms_down_channel"),
        count("order_overtime", "订单超时时长, 秒", 600),
        count("refund_overtime", "退款超时时长, 秒", 600),
        *status("status", YesNo, "状态", 0),
        fact("pay_fail_fast", "too little balance fails the order at once"),
        now("create_time", "创建时间"),
        words("extend_info", "拓展信息"),
        holds("overtimes", "order_overtime > 0 AND refund_overtime > 0"),
        comment="下游货架",
    )
    Table(
        "oms_up_shelf",
        made,
        key("shelf_id", "货架编号"),
        words("shelf_name", "货架名称", None),
        _channel_of("oms_up_channel"),
        count("delivery_overtime", "发货超时时间, 秒", 300),
        count("return_overtime", "退货超时时间, 秒", 300),
        *status("status", YesNo, "状态", 0),
        now("create_time", "创建时间"),
        words("extend_info", "拓展信息"),
        holds("overtimes", "delivery_overtime > 0 AND return_overtime > 0"),
        comment="上游货架",
    )


def _reference(name: str, target: str, comment: str) -> Column[int]:
    return Column(name, BigInteger, ForeignKey(target), nullable=False, comment=comment)


def _products(made: MetaData) -> None:
    _product(
        made, "down", "下游商品", "1 不开发票 0 不限制 2 需要发票", "0, 1, 2", "支持退款",
        ppm("sell_discount_ppm", "销售折扣（以面值算）"),
        ppm("commission_discount_ppm", "佣金折扣（以面值算）"),
        ppm("service_discount_ppm", "服务费折扣（以面值算）"),
        ppm("payment_fee_discount_ppm", "手续费折扣（以销售金额算）"),
        *status("can_split_order", YesNo, "是否允许拆单"),
        micros("split_order_face_micros", "拆单面值; 0 整单"),
        count("limit_count", "单次最大购买数量"),
    )  # fmt: skip
    _product(
        made, "up", "上游商品", "1 不开发票 2 上游开发票", "1, 2", "支持退货",
        ppm("cost_discount_ppm", "成本折扣（以面值算）"),
        ppm("commission_discount_ppm", "佣金折扣（以面值算）"),
        ppm("service_discount_ppm", "服务费折扣（以面值算）"),
        count("limit_count", "单次最大发货数量"),
        words("price_rule", "what is done with what its supplier states; empty: as the supplier's"),
        ppm("price_move_max_ppm", "how far its price may move by itself; 0: as the supplier's"),
    )  # fmt: skip


def _product(
    made: MetaData,
    side: str,
    comment: str,
    invoice: str,
    invoice_types: str,
    can_refund: str,
    *terms: SchemaItem,
) -> None:
    """A table of products: what is sold (down) or bought (up), and on which terms."""
    Table(
        f"oms_{side}_product",
        made,
        key("product_id", "商品编号"),
        _reference("shelf_id", f"oms_{side}_shelf.shelf_id", "货架编号"),
        _reference("line_id", "oms_product_line.line_id", "产品线编号"),
        words("carrier_no", "运营商", None),
        words("province_no", "省份", "*"),
        words("city_no", "城市", "*"),
        count("invoice_type", f"开票方式: {invoice}"),
        words("ext_product_no", "外部商品编号"),
        *status("can_refund", YesNo, can_refund),
        micros("face_micros", "面值", given=True),
        *terms,
        *status("status", YesNo, "状态", 0),
        now("create_time", "创建时间"),
        words("extend_info", "拓展信息"),
        UniqueConstraint(*SAME_PRODUCT, name=f"oms_{side}_product_same"),
        holds("invoice_type", f"invoice_type IN ({invoice_types})"),
        holds("positive", "face_micros > 0 AND limit_count > 0"),
        comment=comment,
    )


def _endpoints(made: MetaData) -> None:
    Table(
        "oms_notify_endpoint",
        made,
        text_key("endpoint_no", "通知端点编号"),
        _channel_of("oms_down_channel"),
        words("url", "where its channel is sent what happens", None),
        Column(
            "events",
            JSONB,
            nullable=False,
            server_default=text("'[]'"),
            comment="what of; empty for all",
        ),
        count("body_version", "form of the body: 0 as documented, 1 in an envelope", 0),
        *status("status", YesNo, "状态", 0),
        now("create_time", "创建时间"),
        comment="通知端点: where channels are sent what happens, beside the notify_url of orders",
    )


def _canton(made: MetaData) -> None:
    Table(
        "oms_canton_info",
        made,
        text_key("canton_code", "区域编号"),
        words("chinese_name", "中文名称", None),
        words("spell", "英文或全拼"),
        count("grade", "行政级别: 1 省 2 市 3 区县"),
        words("parent", "父级"),
        words("simple_spell", "简拼"),
        words("area_code", "区号"),
        words("standard_code", "标准编号"),
        comment="区域信息",
    )
