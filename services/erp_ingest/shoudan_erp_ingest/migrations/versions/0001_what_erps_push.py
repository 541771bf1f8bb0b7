"""Raw pushes, trades, refunds, their history, the phone index and the audit."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG, SMALL, INT, BOOL = sa.BigInteger(), sa.SmallInteger(), sa.Integer(), sa.Boolean()
TEXT, BYTES, TIME = sa.Text(), sa.LargeBinary(), sa.DateTime(timezone=True)


def _c(
    name: str, kind: Any, comment: str, *, null: bool = False, default: Any = None
) -> sa.Column[Any]:
    return sa.Column(
        name, kind, nullable=null, autoincrement=False, server_default=default, comment=comment
    )


_AUDIT = (
    _c("audit_id", BIG, "number"),
    _c("action", TEXT, "reveal, reveal_push, erase"),
    _c("kind", SMALL, "1 trade, 2 refund, 3 push, 0 a person"),
    _c("document_id", BIG, "what was shown; 0 for a person"),
    _c("mac", BYTES, "keyed digest of the phone erased", null=True),
    _c("actor", TEXT, "who"),
    _c("reason", TEXT, "why"),
    _c("documents", INT, "how many"),
    _c("create_time", TIME, "when"),
    sa.PrimaryKeyConstraint("audit_id", name=sa.schema.conv("audit_pkey")),
)

_EVENT = (
    _c("event_id", BIG, "事件编号"),
    _c("subject", TEXT, "shoudan.events.<service>.<noun>.<what>"),
    _c("key", TEXT, "订单号: order, refund, account …"),
    _c("tag", TEXT, "生命周期标签 (lcs)"),
    _c("text", TEXT, "内容: one line for people"),
    _c("body", BYTES, "the service's message, protobuf"),
    _c("create_time", TIME, "创建时间"),
    sa.PrimaryKeyConstraint("event_id", name=sa.schema.conv("event_pkey")),
)

_HISTORY = (
    _c("history_id", BIG, "number"),
    _c("kind", SMALL, "1 trade, 2 refund"),
    _c("document_id", BIG, "whose"),
    _c("version", INT, "the version kept, or met by the late one"),
    _c("late", BOOL, "came too late and was never current"),
    _c("push_id", BIG, "push it came with"),
    _c(
        "snapshot",
        postgresql.JSONB(astext_type=sa.Text()),
        "its rows; personal data stays encrypted",
    ),
    _c("create_time", TIME, "when it was replaced or refused"),
    sa.PrimaryKeyConstraint("history_id", name=sa.schema.conv("history_pkey")),
)

_OUTBOX = (
    _c("batch_id", BIG, "批次"),
    _c("event_ids", sa.ARRAY(sa.BigInteger()), "its events"),
    _c("published", BOOL, "JetStream has it", default=sa.text("false")),
    _c("create_time", TIME, "创建时间"),
    sa.PrimaryKeyConstraint("batch_id", name=sa.schema.conv("outbox_pkey")),
)

_PHONE_INDEX = (
    _c("mac", BYTES, "keyed digest of a phone"),
    _c("kind", SMALL, "1 trade, 2 refund, 3 push"),
    _c("document_id", BIG, "where the phone is"),
    sa.PrimaryKeyConstraint("mac", "kind", "document_id", name=sa.schema.conv("phone_index_pkey")),
)

_PUSH = (
    _c("push_id", BIG, "number"),
    _c("kind", SMALL, "1 /pushData, 2 /pushReturngoods"),
    _c("sender", TEXT, "customerid or app_key"),
    _c("sha256", BYTES, "of the exact body; null after an erasure", null=True),
    _c("size", INT, "bytes of the body"),
    _c("sealed", BYTES, "encrypted: the exact body; null after an erasure", null=True),
    _c("status", SMALL, "0 stored, 90 quarantined"),
    _c("place", TEXT, "where it is wrong", null=True),
    _c("why", TEXT, "what is wrong", null=True),
    _c("remote_ip", TEXT, "who sent it"),
    _c("create_time", TIME, "first received"),
    sa.CheckConstraint("status IN (0, 90)", name=sa.schema.conv("push_status_known")),
    sa.PrimaryKeyConstraint("push_id", name=sa.schema.conv("push_pkey")),
)

_REFUND = (
    _c("document_id", BIG, "our number"),
    _c("app_key", TEXT, "who pushed it"),
    _c("refund_no", TEXT, "erp退换单号"),
    _c("refund_id", BIG, "退换单主键"),
    _c("type", BIG, "1.退款 2.退货 3.换货 4.退款不退货 5.订单补款"),
    _c("platform_id", BIG, "平台类型", null=True),
    _c("src_no", TEXT, "平台退款单号", null=True),
    _c("process_status", BIG, "处理状态", null=True),
    _c("status", BIG, "平台状态", null=True),
    _c("guarantee_mode", BIG, "担保方式：1.担保交易 2.非担保交易 3.非担保在线交易", null=True),
    _c(
        "cs_status",
        BIG,
        "0.无 1.需要客服介入 2.客服已经介入 3.初审完成 4.复审失败 5.处理完成",
        null=True,
    ),
    _c("shop_no", TEXT, "店铺编号", null=True),
    _c("shop_name", TEXT, "店铺名称", null=True),
    _c("swap_trade_id", BIG, "换货订单id", null=True),
    _c("pay_no", TEXT, "支付订单号", null=True),
    _c("goods_amount_micros", BIG, "货品金额 (micros)", null=True),
    _c("refund_amount_micros", BIG, "买家申请退款金额 (micros)", null=True),
    _c("guarante_refund_amount_micros", BIG, "平台退款金额 (micros)", null=True),
    _c("actual_refund_amount_micros", BIG, "实际退款/收款金额 (micros)", null=True),
    _c("direct_refund_amount", TEXT, "直接退款金额", null=True),
    _c("exchange_amount_micros", BIG, "换货金额 (micros)", null=True),
    _c("post_amount_micros", BIG, "邮费金额 (micros)", null=True),
    _c("other_amount_micros", BIG, "其它金额 (micros)", null=True),
    _c("paid_micros", BIG, "已退款/已收款 (micros)", null=True),
    _c("tid", TEXT, "订单的原始单号", null=True),
    _c("sales_trade_id", BIG, "系统订单ID", null=True),
    _c("sales_tid", TEXT, "系统订单号", null=True),
    _c("warehouse_no", TEXT, "期望退回的仓库编号", null=True),
    _c("swap_warehouse_no", TEXT, "换出货品出库仓库编号", null=True),
    _c("refund_time", TIME, "退款创建时间", null=True),
    _c("modified", TIME, "最后修改时间", null=True),
    _c("created", TIME, "创建时间", null=True),
    _c("customer_no", TEXT, "客户编号", null=True),
    _c("return_logistics_name", TEXT, "退回物流公司", null=True),
    _c("swap_logistics_type", BIG, "换出物流类型", null=True),
    _c("swap_logistics_name", TEXT, "换出物流公司", null=True),
    _c("sealed", BYTES, "encrypted: the personal fields and the undocumented keys", null=True),
    _c("content", BYTES, "keyed digest of the content; null after an erasure", null=True),
    _c("version", INT, "1 for the first, counted up"),
    _c("push_id", BIG, "push of this version"),
    _c("create_time", TIME, "first seen"),
    _c("update_time", TIME, "last changed"),
    _c("erase_time", TIME, "when its personal data was erased", null=True),
    sa.PrimaryKeyConstraint("document_id", name=sa.schema.conv("refund_pkey")),
)

_TASK = (
    _c("task_id", BIG, "任务编号"),
    _c("name", TEXT, "任务名称: kind of work"),
    _c("queue_name", TEXT, "消息队列"),
    _c("order_no", TEXT, "订单号: what it belongs to", null=True),
    _c("exclusive", BOOL, "only one pending of its name and order_no"),
    _c("msg_content", TEXT, "消息内容: payload, JSON"),
    _c("status", SMALL, "20 等待 30 处理中 0 完成 90 失败"),
    _c("count", INT, "执行次数"),
    _c("max_count", INT, "最大执行次数"),
    _c("next_interval", INT, "seconds to the next try"),
    _c("delete_interval", INT, "seconds it is kept when ended"),
    _c("create_time", TIME, "创建时间"),
    _c("last_execute_time", TIME, "上次执行时间", null=True),
    _c("next_execute_time", TIME, "下次执行时间: due, or end of the lease of who works on it"),
    _c("max_execute_time", TIME, "执行期限"),
    _c("delete_time", TIME, "删除时间", null=True),
    _c("last_error", TEXT, "why the last try left it undone", null=True),
    sa.PrimaryKeyConstraint("task_id", name=sa.schema.conv("task_pkey")),
)

_TASK_PAUSE = (
    _c("queue_name", TEXT, "paused queue"),
    _c("paused_by", TEXT, "who"),
    _c("reason", TEXT, "why"),
    _c("create_time", TIME, "when"),
    sa.PrimaryKeyConstraint("queue_name", name=sa.schema.conv("task_pause_pkey")),
)

_TRADE = (
    _c("document_id", BIG, "our number"),
    _c("customerid", TEXT, "推送数据的客户"),
    _c("tid", TEXT, "订单编号"),
    _c("status", TEXT, "交易状态", null=True),
    _c("from_type", TEXT, "来源平台, such as 淘宝", null=True),
    _c("total_weight", sa.Numeric(19, 4), "该笔交易中所有商品的总数量", null=True),
    _c("created", TIME, "交易创建时间", null=True),
    _c("pay_time", TIME, "付款时间", null=True),
    _c("total_goods_fee_micros", BIG, "商品总额（不包括配送费用） (micros)", null=True),
    _c("shipping_fee_micros", BIG, "交易物流配送费用 (micros)", null=True),
    _c("total_trade_fee_micros", BIG, "交易应付总额（包括商品价格+配送费用） (micros)", null=True),
    _c("seller_uname", TEXT, "卖家账号", null=True),
    _c("orders_number", TEXT, "子订单数量, informative", null=True),
    _c("sealed", BYTES, "encrypted: the personal fields and the undocumented keys", null=True),
    _c("msg_id", TEXT, "ERP message id of this version, for tracing", null=True),
    _c("content", BYTES, "keyed digest of the content; null after an erasure", null=True),
    _c("version", INT, "1 for the first, counted up"),
    _c("push_id", BIG, "push of this version"),
    _c("create_time", TIME, "first seen"),
    _c("update_time", TIME, "last changed"),
    _c("erase_time", TIME, "when its personal data was erased", null=True),
    sa.PrimaryKeyConstraint("document_id", name=sa.schema.conv("trade_pkey")),
)

_PAYMENT = (
    _c("document_id", BIG, "the trade it is part of"),
    _c("payment_no", INT, "from 0"),
    _c("sealed", BYTES, "encrypted: the personal fields and the undocumented keys", null=True),
    sa.ForeignKeyConstraint(
        ["document_id"], ["trade.document_id"], name=sa.schema.conv("payment_document_id_fkey")
    ),
    sa.PrimaryKeyConstraint("document_id", "payment_no", name=sa.schema.conv("payment_pkey")),
)

_REFUND_LINE = (
    _c("document_id", BIG, "the refund it is part of"),
    _c("line_no", INT, "from 0"),
    _c("order_id", BIG, "erp子订单主键", null=True),
    _c("refund_id", BIG, "退换单主键, as sent", null=True),
    _c("oid", TEXT, "原始子订单id", null=True),
    _c("tid", TEXT, "订单子订单的原始单号", null=True),
    _c("process_status", BIG, "处理状态; the head's counts", null=True),
    _c("sales_tid", TEXT, "销售订单编号", null=True),
    _c("order_num", sa.Numeric(19, 4), "实际数量", null=True),
    _c("price_micros", BIG, "价格 (micros)", null=True),
    _c("original_price_micros", BIG, "原价 (micros)", null=True),
    _c("discount_micros", BIG, "优惠 (micros)", null=True),
    _c("paid_micros", BIG, "已付金额 (micros)", null=True),
    _c("refund_num", sa.Numeric(19, 4), "退款数量", null=True),
    _c("total_amount_micros", BIG, "退款总金额 (micros)", null=True),
    _c("refund_order_amount_micros", BIG, "子单退款金额 (example only) (micros)", null=True),
    _c("spec_id", BIG, "erp商品主键", null=True),
    _c("spec_no", TEXT, "商家编码", null=True),
    _c("goods_name", TEXT, "货品名称", null=True),
    _c("spec_name", TEXT, "规格名称", null=True),
    _c("suite_no", TEXT, "组合装编号", null=True),
    _c("suite_name", TEXT, "组合装名称", null=True),
    _c("suite_num", sa.Numeric(19, 4), "组合装数量", null=True),
    _c("stockin_num", sa.Numeric(19, 4), "退货入库数量", null=True),
    _c("market_price", TEXT, "市场价", null=True),
    _c("spec_code", TEXT, "规格码", null=True),
    _c("goods_no", TEXT, "货品编号", null=True),
    _c("cost_price_micros", BIG, "成本价 (micros)", null=True),
    _c("sealed", BYTES, "encrypted: the personal fields and the undocumented keys", null=True),
    sa.ForeignKeyConstraint(
        ["document_id"], ["refund.document_id"], name=sa.schema.conv("refund_line_document_id_fkey")
    ),
    sa.PrimaryKeyConstraint("document_id", "line_no", name=sa.schema.conv("refund_line_pkey")),
)

_SWAP_LINE = (
    _c("document_id", BIG, "the refund it is part of"),
    _c("line_no", INT, "from 0"),
    _c("rec_id", BIG, "主键id", null=True),
    _c("refund_id", BIG, "退换单主键id, as sent", null=True),
    _c("target_type", BIG, "1.单品 2.组合装", null=True),
    _c("target_id", TEXT, "商品id", null=True),
    _c("goods_name", TEXT, "商品名称", null=True),
    _c("spec_name", TEXT, "规格名称", null=True),
    _c("merchant_no", TEXT, "商家编码", null=True),
    _c("retail_price_micros", BIG, "零售价 (micros)", null=True),
    _c("num", sa.Numeric(19, 4), "数量", null=True),
    _c("sealed", BYTES, "encrypted: the personal fields and the undocumented keys", null=True),
    sa.ForeignKeyConstraint(
        ["document_id"], ["refund.document_id"], name=sa.schema.conv("swap_line_document_id_fkey")
    ),
    sa.PrimaryKeyConstraint("document_id", "line_no", name=sa.schema.conv("swap_line_pkey")),
)

_TRADE_LINE = (
    _c("document_id", BIG, "the trade it is part of"),
    _c("line_oid", TEXT, "oid; empty when it has none"),
    _c("item_no", INT, "within its oid"),
    _c("tid", TEXT, "订单编号", null=True),
    _c("oid", TEXT, "子订单编号", null=True),
    _c("status", TEXT, "交易状态", null=True),
    _c("msgid", TEXT, "旺店通数据库的主键id", null=True),
    _c("iid", TEXT, "商品id", null=True),
    _c("title", TEXT, "商品名称", null=True),
    _c("refund_status", TEXT, "退款状态", null=True),
    _c("sale_price_micros", BIG, "销售单价 (micros)", null=True),
    _c("sku_properties", TEXT, "商品规格", null=True),
    _c("bn", TEXT, "商家编码", null=True),
    _c("num", sa.Numeric(19, 4), "货品数量", null=True),
    _c("price_micros", BIG, "原价 (micros)", null=True),
    _c("sku_id", TEXT, "规格编码", null=True),
    _c("total_item_fee_micros", BIG, "子订单实付金额 (micros)", null=True),
    _c("sealed", BYTES, "encrypted: the personal fields and the undocumented keys", null=True),
    _c("content", BYTES, "keyed digest of all items of this oid", null=True),
    sa.ForeignKeyConstraint(
        ["document_id"], ["trade.document_id"], name=sa.schema.conv("trade_line_document_id_fkey")
    ),
    sa.PrimaryKeyConstraint(
        "document_id", "line_oid", "item_no", name=sa.schema.conv("trade_line_pkey")
    ),
)


def upgrade() -> None:
    """Forward."""
    op.create_table("audit", *_AUDIT, comment="个人信息的查看与删除, never changed")
    op.create_table("event", *_EVENT, comment="生命周期与事件 (lcs)")
    op.create_table("history", *_HISTORY, comment="历史版本")
    op.create_table("outbox", *_OUTBOX, comment="发件箱", postgresql_with={"fillfactor": "70"})
    op.create_table(
        "phone_index", *_PHONE_INDEX, comment="电话盲索引: finds a phone without holding it"
    )
    op.create_table("push", *_PUSH, comment="原始推送: every push as it came")
    op.create_table("refund", *_REFUND, comment="退换货订单")
    op.create_table(
        "task",
        *_TASK,
        comment="任务 (qtask)",
        postgresql_with={"autovacuum_vacuum_scale_factor": "0.02", "fillfactor": "70"},
    )
    op.create_table("task_pause", *_TASK_PAUSE, comment="暂停的队列")
    op.create_table("trade", *_TRADE, comment="订单")
    op.create_table("payment", *_PAYMENT, comment="订单付款")
    op.create_table("refund_line", *_REFUND_LINE, comment="退货商品")
    op.create_table("swap_line", *_SWAP_LINE, comment="换货商品")
    op.create_table("trade_line", *_TRADE_LINE, comment="订单商品")
    _indexes()


def _indexes() -> None:
    """What finds rows."""
    op.create_index(sa.schema.conv("event_key"), "event", ["key"], unique=False)
    op.create_index(
        "history_document", "history", ["kind", "document_id", "history_id"], unique=False
    )
    op.create_index(
        "outbox_unpublished",
        "outbox",
        ["batch_id"],
        unique=False,
        postgresql_where=sa.text("NOT published"),
    )
    op.create_index("phone_index_document", "phone_index", ["kind", "document_id"], unique=False)
    op.create_index(
        "push_body",
        "push",
        ["kind", "sender", "sha256"],
        unique=True,
        postgresql_where=sa.text("sha256 IS NOT NULL"),
    )
    op.create_index(
        "push_quarantined",
        "push",
        ["push_id"],
        unique=False,
        postgresql_where=sa.text("status = 90"),
    )
    op.create_index("refund_changed", "refund", ["update_time", "document_id"], unique=False)
    op.create_index("refund_natural", "refund", ["app_key", "refund_no"], unique=True)
    op.create_index("refund_number", "refund", ["refund_no"], unique=False)
    op.create_index("refund_shop", "refund", ["shop_no", "update_time"], unique=False)
    op.create_index("refund_tid", "refund", ["tid"], unique=False)
    op.create_index(
        "task_due",
        "task",
        ["next_execute_time"],
        unique=False,
        postgresql_where=sa.text("status IN (20, 30)"),
    )
    op.create_index(
        "task_ended",
        "task",
        ["delete_time"],
        unique=False,
        postgresql_where=sa.text("status IN (0, 90)"),
    )
    op.create_index(
        "task_one_pending",
        "task",
        ["order_no", "name"],
        unique=True,
        postgresql_where=sa.text("exclusive AND status IN (20, 30)"),
    )
    op.create_index("trade_changed", "trade", ["update_time", "document_id"], unique=False)
    op.create_index("trade_natural", "trade", ["customerid", "tid"], unique=True)
    op.create_index("trade_tid", "trade", ["tid"], unique=False)


def downgrade() -> None:
    """Back; what was pushed is lost with it."""
    for table in (
        "trade_line",
        "swap_line",
        "refund_line",
        "payment",
        "trade",
        "task_pause",
        "task",
        "refund",
        "push",
        "phone_index",
        "outbox",
        "history",
        "event",
        "audit",
    ):
        op.drop_table(table)
