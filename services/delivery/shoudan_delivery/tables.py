"""The tables of vds. Source: 000 §二.2.2, oms-behaviour §4.1; money columns hold micro-yuan, not 分."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from shoudan_delivery.states import CARD, DELIVERY
from shoudan_kit.credentials import tables as credentials
from shoudan_kit.db.ended_tables import lots
from shoudan_kit.db.foundation import by_month, rights
from shoudan_kit.db.moves import lifecycles
from shoudan_kit.secrets.sealing import Place
from shoudan_kit.tasks.tables import metadata

METADATA = metadata()
credentials.declare(METADATA)
APPEND_ONLY = ("vds_order_exp", "vds_card_fetch")
# A delivery needs its account while it may still be sent.
ACCOUNTS = Place("vds_order_info", "order_no", "account", open="status IN (20, 30)")


def _id(name: str, comment: str) -> Column[Any]:
    return Column(name, BigInteger, primary_key=True, autoincrement=False, comment=comment)


def _when(name: str, comment: str, *, null: bool = False) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=null, comment=comment)


def _text(name: str, comment: str) -> Column[Any]:
    return Column(name, Text, nullable=False, comment=comment)


def _int(name: str, comment: str) -> Column[Any]:
    return Column(name, Integer, nullable=False, comment=comment)


def _small(name: str, comment: str) -> Column[Any]:
    return Column(name, SmallInteger, nullable=False, comment=comment)


def _micros(name: str, comment: str) -> Column[Any]:
    return Column(name, BigInteger, nullable=False, comment=comment)


_SUPPLIER_CHANGES = (
    "protocol",
    "request_url",
    "notify_url",
    "query_url",
    "request_replenish_time",
    "first_query_time",
    "query_replenish_time",
    "status",
    "can_query",
    "idempotent",
    "concurrency_max",
    "timeout_ms",
    "secret_name",
    "queue_name",
    "ext_params",
    "notify_networks",
    "notify_without_token",
    "delivers_cards",
    "template",
    "balance_low",
    "balance_micros",
    "balance_ask_time",
    "price_ask_time",
    "price_fails",
    "state",
    "state_reason",
    "tripped_until",
    "probe_until",
    "last_update_time",
)

CHANNEL_INFO = Table(
    "vds_channel_info",
    METADATA,
    _id("id", "编号"),
    _text("channel_no", "渠道编号, same as the up channel of the catalogue"),
    _small("service_class", "服务类型 10 加油卡充值 20 电子券发货 21 电子券退货 30 话费充值"),
    _text("protocol", "module of protocols/ that speaks with it"),
    _text("request_url", "上游请求地址"),
    _text("notify_url", "通知回调地址; empty for ours"),
    _text("query_url", "查询地址"),
    _int("request_replenish_time", "发货后补间隔时间, seconds"),
    _int("first_query_time", "首次查询时间, seconds"),
    _int("query_replenish_time", "查询后补间隔时间, seconds"),
    _small("status", "状态 0 启用 1 禁用"),
    _small("can_query", "是否支持查询 0 是 1 否"),
    Column(
        "idempotent", Boolean, nullable=False, comment="fulfils a number once, however often sent"
    ),
    _int("concurrency_max", "calls in flight, each process"),
    _int("timeout_ms", "wait for an answer, milliseconds"),
    _text("secret_name", "secret that signs requests and notifies; empty for none"),
    Column(
        "queue_name",
        Text,
        nullable=False,
        server_default="",
        comment="任务队列 of its requests and queries; empty for the common ones",
    ),
    _text("ext_params", "扩展参数, JSON"),
    Column(
        "notify_networks",
        Text,
        nullable=False,
        server_default="",
        comment="networks its notifies come from, comma-separated; empty for any",
    ),
    Column(
        "notify_without_token",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="cannot keep the query of a notify URL: no token is asked for",
    ),
    Column(
        "delivers_cards",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="卡密: a success without a card for every unit is unknown",
    ),
    Column(
        "template",
        Text,
        nullable=False,
        server_default="",
        comment="of protocol template: how it is called and read, JSON",
    ),
    Column(
        "balance_low",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="too little of our money is left there: held as if an operator had",
    ),
    Column("balance_micros", BigInteger, comment="余额 there, as it was read last, micro-yuan"),
    _when("balance_ask_time", "until then no other process asks for the balance", null=True),
    _when("price_ask_time", "until then no process asks for prices", null=True),
    Column(
        "price_fails",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="price lists in a row that could not be read",
    ),
    _small("state", "1 open 2 tripped 3 suspended 4 held"),
    _text("state_reason", "who set the state, and why"),
    _when("tripped_until", "a tripped channel is tried again after this", null=True),
    _when("probe_until", "until then one process tries it, and no other", null=True),
    _when("create_time", "创建时间"),
    _when("last_update_time", "最后更新时间"),
    UniqueConstraint("channel_no", "service_class"),
    CheckConstraint("service_class IN (10, 20, 21, 30)", name="service_class_check"),
    CheckConstraint("state BETWEEN 1 AND 4", name="state_check"),
    CheckConstraint("status IN (0, 1) AND can_query IN (0, 1)", name="toggles"),
    CheckConstraint("tripped_until IS NULL OR state = 2", name="tripped"),
    comment="上游渠道基本信息",
    info=rights(update=_SUPPLIER_CHANGES),
)

CHANNEL_ERROR_CODE = Table(
    "vds_channel_error_code",
    METADATA,
    _id("id", "编号"),
    _text("channel_no", "渠道编号"),
    _small("service_class", "服务类型"),
    _small("deal_code", "处理码 0 成功 10 普通失败 90 未知"),
    _text("error_code", "错误码"),
    _text("error_code_desc", "错误码描述"),
    _when("create_time", "创建时间"),
    UniqueConstraint("channel_no", "service_class", "error_code"),
    ForeignKeyConstraint(
        ["channel_no", "service_class"],
        ["vds_channel_info.channel_no", "vds_channel_info.service_class"],
        name="vds_channel_error_code_channel_fkey",
    ),
    CheckConstraint("deal_code IN (0, 10, 90)", name="deal_code_check"),
    comment="渠道错误码; a code not listed is unknown",
    info=rights(update=(), delete=True),
)

# What suppliers answered that no error code explains: a row for each code, however often it comes.
UNMAPPED_CODE = Table(
    "vds_unmapped_code",
    METADATA,
    Column("channel_no", Text, primary_key=True, comment="渠道编号"),
    Column(
        "service_class", SmallInteger, primary_key=True, autoincrement=False, comment="服务类型"
    ),
    Column("error_code", Text, primary_key=True, comment="错误码, cut to 64"),
    _text("error_desc", "the supplier's words when it came last, without the account"),
    Column("answers", BigInteger, nullable=False, comment="how many answers had it"),
    _text("coop_order_id", "the delivery that it came for last: its owner's number"),
    _when("create_time", "创建时间"),
    _when("last_update_time", "最后更新时间"),
    CheckConstraint("answers >= 1", name="answers_check"),
    comment="未识别错误码: codes of suppliers that vds_channel_error_code does not explain",
    info=rights(update=("error_desc", "answers", "coop_order_id", "last_update_time"), delete=True),
)

# An end has its moment and its source; what was not sent has no start, and only a success delivers.
_ENDED = (
    "(status IN (0, 90)) = (request_finish_time IS NOT NULL)"
    " AND (status <> 0 OR result_source BETWEEN 1 AND 4) AND (NOT conflict OR status IN (0, 90))"
)
_SENT = (
    "(status <> 30 OR request_start_time IS NOT NULL)"
    " AND (status <> 20 OR request_start_time IS NULL) AND request_count >= 0"
)
_DELIVERED = (
    "succ_face_micros = CASE WHEN status = 0 THEN product_face_micros * product_num ELSE 0 END"
)

# No index names the status, so that updates of a delivery stay within their page (HOT); only its end
# writes the supplier's number, which an index has.
ORDER_INFO = Table(
    "vds_order_info",
    METADATA,
    _id("order_no", "发货编号, the number the supplier sees"),
    _text("coop_id", "合作方: down channel"),
    _text("coop_order_id", "合作方订单号: delivery_id or return_id of the order service"),
    _text("order_id", "the order it belongs to"),
    _text("channel_no", "渠道编号"),
    _small("service_class", "服务类型"),
    _text("carrier_no", "运营商"),
    _micros("product_face_micros", "商品面值, one unit, micro-yuan"),
    _int("product_num", "商品数量"),
    _text("account", "充值账号, sealed; empty for vouchers and when it was erased"),
    _small("status", "状态 20 待发货 30 发货中 0 成功 90 失败"),
    _text("request_params", "请求参数, JSON"),
    _int("request_count", "how often it was sent"),
    _when("request_start_time", "请求开始时间: intent to send, written before the call", null=True),
    _when("request_finish_time", "请求结束时间", null=True),
    _when("create_time", "创建时间"),
    _small("result_source", "结果来源 1 通知 2 查询 3 同步 4 人工"),
    _text("result_code", "结果码"),
    _text("result_desc", "结果描述"),
    _text("result_params", "结果参数, JSON"),
    _text("up_order_no", "上游订单号"),
    _micros("succ_face_micros", "成功面值, micro-yuan"),
    _when("last_update_time", "最后更新时间"),
    _when("flow_timeout", "流程超时时间: its owner stops waiting"),
    Column("conflict", Boolean, nullable=False, comment="a contradictory later result is recorded"),
    UniqueConstraint("coop_id", "coop_order_id", "service_class"),
    Index("vds_order_info_order_id", "order_id"),
    # A supplier's statements are matched by its own numbers.
    Index("vds_order_info_up_order_no", "up_order_no", postgresql_where=text("up_order_no <> ''")),
    Index("vds_order_info_conflict", "order_no", postgresql_where=text("conflict")),
    CheckConstraint("status IN (0, 20, 30, 90)", name="status_check"),
    CheckConstraint("product_face_micros >= 0 AND product_num > 0", name="amount_check"),
    CheckConstraint(_ENDED, name="ended"),
    CheckConstraint(_SENT, name="sent"),
    CheckConstraint(_DELIVERED, name="delivered"),
    comment="发货订单",
    info=rights(
        update=(
            "account",  # to seal and to erase it
            "status",
            "request_count",
            "request_start_time",
            "request_finish_time",
            "result_source",
            "result_code",
            "result_desc",
            "result_params",
            "up_order_no",
            "succ_face_micros",
            "last_update_time",
            "conflict",
        )
    )
    | lifecycles(status=DELIVERY.moves),
    postgresql_with={"fillfactor": "75"},
)

ORDER_QUERY = Table(
    "vds_order_query",
    METADATA,
    _id("order_no", "发货编号"),
    _text("coop_id", "合作方"),
    _text("channel_no", "渠道编号"),
    _int("query_count", "查询次数"),
    _small("status", "状态 20 等待 0 结束"),
    _when("last_query_time", "最后查询时间"),
    _text("query_result", "查询结果"),
    _when("create_time", "创建时间"),
    Index("vds_order_query_waiting", "order_no", postgresql_where=text("status = 20")),
    CheckConstraint("status IN (0, 20) AND query_count > 0", name="status_check"),
    comment="上游查询",
    info=rights(update=("query_count", "status", "last_query_time", "query_result")),
)

ORDER_NOTIFY = Table(
    "vds_order_notify",
    METADATA,
    _id("order_no", "发货编号"),
    _text("coop_id", "合作方"),
    _text("coop_order_id", "合作方订单号"),
    _text("notify_url", "通知地址: the RPC that was called"),
    _text("notify_content", "通知内容, JSON"),
    _small("status", "状态 20 等待 0 已确认 90 放弃"),
    _text("result_msg", "返回内容"),
    _when("finish_time", "完成时间", null=True),
    _int("notify_count", "通知次数"),
    _int("notify_limit_count", "通知上限"),
    _when("create_time", "创建时间"),
    Index("vds_order_notify_open", "order_no", postgresql_where=text("status <> 0")),
    CheckConstraint("status IN (0, 20, 90) AND notify_count > 0", name="status_check"),
    CheckConstraint("(status = 20) = (finish_time IS NULL)", name="ended"),
    info=rights(update=("notify_content", "status", "result_msg", "finish_time", "notify_count")),
    comment="结果通知 to the order service; written with each attempt's outcome",
)

ORDER_EXP = Table(
    "vds_order_exp",
    METADATA,
    _id("id", "编号"),
    _text("coop_id", "合作方"),
    _text("coop_order_id", "合作方订单号"),
    _text("channel_no", "渠道编号"),
    _when("create_time", "创建时间"),
    _small("service_class", "服务类型"),
    _text("carrier_no", "运营商"),
    _micros("product_face_micros", "商品面值, micro-yuan"),
    _int("product_num", "商品数量"),
    _text("error_msg", "错误信息"),
    _text("user_ip", "who sent it"),
    _text("local_ip", "service and process that saw it"),
    _text("ext_params", "the raw text, cut to 4000"),
    Index("vds_order_exp_coop_order_id", "coop_order_id"),
    comment="异常: rejected requests, unusable answers, contradictory results",
    **by_month("id"),
)

lots(METADATA, "vds_archived_lot", "deliveries", "delivery")
# All that is answered of a delivery, but its account: what a person may have erased is not kept beside.
ARCHIVED: Final = (
    "coop_id", "coop_order_id", "service_class", "order_no", "order_id", "channel_no", "carrier_no",
    "product_face_micros", "product_num", "status", "request_params", "request_count", "request_start_time",
    "request_finish_time", "create_time", "result_source", "result_code", "result_desc", "result_params",
    "up_order_no", "succ_face_micros", "conflict",
)  # fmt: skip
ARCHIVED_ORDER = Table(
    "vds_archived_order",
    METADATA,
    *(
        Column(
            one.name,
            one.type,
            primary_key=one.name in {"coop_id", "coop_order_id", "service_class"},
            autoincrement=False,
            nullable=one.nullable,
            comment=one.comment,
        )
        for one in (ORDER_INFO.c[name] for name in ARCHIVED)
    ),
    _int("query_count", "查询次数"),
    _text("lot_no", "批次 that has its rows"),
    Index("vds_archived_order_order_no", "order_no", unique=True),
    comment="归档发货: what stays known of deliveries that have left the database",
    info=rights(update=("conflict",)),
)

_GOODS = ("channel_no", "carrier_no", "face_micros")

# Sealed before it is written and found by a keyed digest, so that no code is ever issued twice.
CARD_INFO = Table(
    "vds_card",
    METADATA,
    _id("card_id", "卡密编号"),
    _text("channel_no", "渠道编号: the supplier, or our own stock"),
    _text("carrier_no", "运营商"),
    _micros("face_micros", "面值, micro-yuan"),
    Column(
        "order_no", BigInteger, comment="发货编号 it is reserved or issued for; NULL in the stock"
    ),
    _int("seq", "its place among the cards of the delivery, from 1; 0 in the stock"),
    _small("status", "状态 10 库存 20 预留 30 已发放 40 已查看 50 已核销 90 作废"),
    Column(
        "sealed",
        LargeBinary,
        nullable=False,
        comment="卡号, 卡密, link and QR text, sealed",
    ),
    Column(
        "digest",
        LargeBinary,
        nullable=False,
        comment="keyed digest of the same, so that it is stored once",
    ),
    _text("import_no", "批次: the import it came with; empty for a supplier's"),
    _when("expire_time", "有效期", null=True),
    _when("reveal_time", "first fetched by the partner", null=True),
    Column("return_no", BigInteger, comment="发货编号 of the return that voided it"),
    _when("create_time", "创建时间"),
    _when("last_update_time", "最后更新时间"),
    UniqueConstraint("digest"),
    Index("vds_card_order_no", "order_no", "seq", postgresql_where=text("order_no IS NOT NULL")),
    Index("vds_card_return_no", "return_no", postgresql_where=text("return_no IS NOT NULL")),
    Index(
        "vds_card_stock",
        "channel_no",
        "carrier_no",
        "face_micros",
        "expire_time",
        "card_id",
        postgresql_where=text("status = 10"),
    ),
    Index("vds_card_kind", *_GOODS, postgresql_where=text("import_no <> ''")),
    Index("vds_card_reserved", *_GOODS, postgresql_where=text("status = 20")),
    CheckConstraint("status IN (10, 20, 30, 40, 50, 90)", name="status_check"),
    CheckConstraint(
        "CASE WHEN status = 10 THEN order_no IS NULL"
        " WHEN status = 90 THEN true ELSE order_no IS NOT NULL END",
        name="owned",
    ),
    comment="卡密: codes that suppliers or our own stock deliver",
    info=rights(
        update=(
            "order_no",
            "seq",
            "status",
            "sealed",  # under another key
            "reveal_time",
            "return_no",
            "last_update_time",
        )
    )
    | lifecycles(status=CARD.moves),
)

# Written when a supplier says success and what it sends cannot be issued; it stays when it has ended.
CARD_MISSING = Table(
    "vds_card_missing",
    METADATA,
    _id("order_no", "发货编号"),
    _text("why", "why its cards could not be issued, without a word of them"),
    _text("answer", "the supplier's last answer: its shape, its values masked"),
    _int("answers", "how many such answers came"),
    _when("create_time", "创建时间"),
    _when("last_update_time", "最后更新时间"),
    _when("end_time", "since then it has its cards, or has failed", null=True),
    Index("vds_card_missing_open", "order_no", postgresql_where=text("end_time IS NULL")),
    CheckConstraint("answers >= 0", name="answers_check"),
    comment="缺卡发货: deliveries whose supplier says success without cards that can be issued",
    info=rights(update=("why", "answer", "answers", "last_update_time", "end_time")),
)

CARD_FETCH = Table(
    "vds_card_fetch",
    METADATA,
    _id("fetch_id", "编号"),
    _text("coop_id", "合作方"),
    _text("order_id", "the order whose cards were fetched"),
    _text("reader", "partner, notify, or the operator"),
    _text("remote_ip", "where the call came from; empty for a notify"),
    _int("cards", "how many were in the answer"),
    _text("reason", "why, of an operator"),
    _when("create_time", "创建时间"),
    Index("vds_card_fetch_order_id", "order_id"),
    comment="卡密查看记录: every answer that held cards in clear",
    **by_month("fetch_id"),
)
