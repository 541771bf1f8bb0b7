"""Raw pushes, trades, refunds, their history, the phone index and the audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shoudan_kit.db.revising import (
    BIG,
    BOOL,
    BYTES,
    INT,
    SMALL,
    TEXT,
    TIME,
    check,
    column,
    index,
    refers,
)
from shoudan_kit.tasks import first_tables

revision = "0001"
down_revision = None

_AUDIT = (
    column("audit_id", BIG, "number"),
    column("action", TEXT, "reveal, reveal_push, erase"),
    column("kind", SMALL, "1 trade, 2 refund, 3 push, 0 a person"),
    column("document_id", BIG, "what was shown; 0 for a person"),
    column("mac", BYTES, "keyed digest of the phone erased", null=True),
    column("actor", TEXT, "who"),
    column("reason", TEXT, "why"),
    column("documents", INT, "how many"),
    column("create_time", TIME, "when"),
    sa.PrimaryKeyConstraint("audit_id", name=sa.schema.conv("audit_pkey")),
)

_HISTORY = (
    column("history_id", BIG, "number"),
    column("kind", SMALL, "1 trade, 2 refund"),
    column("document_id", BIG, "whose"),
    column("version", INT, "the version kept, or met by the late one"),
    column("late", BOOL, "came too late and was never current"),
    column("push_id", BIG, "push it came with"),
    column(
        "snapshot",
        postgresql.JSONB(astext_type=sa.Text()),
        "its rows; personal data stays encrypted",
    ),
    column("create_time", TIME, "when it was replaced or refused"),
    sa.PrimaryKeyConstraint("history_id", name=sa.schema.conv("history_pkey")),
)

_PHONE_INDEX = (
    column("mac", BYTES, "keyed digest of a phone"),
    column("kind", SMALL, "1 trade, 2 refund, 3 push"),
    column("document_id", BIG, "where the phone is"),
    sa.PrimaryKeyConstraint("mac", "kind", "document_id", name=sa.schema.conv("phone_index_pkey")),
)

_PUSH = (
    column("push_id", BIG, "number"),
    column("kind", SMALL, "1 /pushData, 2 /pushReturngoods"),
    column("sender", TEXT, "customerid or app_key"),
    column("sha256", BYTES, "of the exact body; null after an erasure", null=True),
    column("size", INT, "bytes of the body"),
    column("sealed", BYTES, "encrypted: the exact body; null after an erasure", null=True),
    column("status", SMALL, "0 stored, 90 quarantined"),
    column("place", TEXT, "where it is wrong", null=True),
    column("why", TEXT, "what is wrong", null=True),
    column("remote_ip", TEXT, "who sent it"),
    column("create_time", TIME, "first received"),
    check("push_status_known", "status IN (0, 90)"),
    sa.PrimaryKeyConstraint("push_id", name=sa.schema.conv("push_pkey")),
)

_REFUND = (
    column("document_id", BIG, "our number"),
    column("app_key", TEXT, "who pushed it"),
    column("refund_no", TEXT, "erp退换单号"),
    column("refund_id", BIG, "退换单主键"),
    column("type", BIG, "1.退款 2.退货 3.换货 4.退款不退货 5.订单补款"),
    column("platform_id", BIG, "平台类型", null=True),
    column("src_no", TEXT, "平台退款单号", null=True),
    column("process_status", BIG, "处理状态", null=True),
    column("status", BIG, "平台状态", null=True),
    column("guarantee_mode", BIG, "担保方式：1.担保交易 2.非担保交易 3.非担保在线交易", null=True),
    column(
        "cs_status",
        BIG,
        "0.无 1.需要客服介入 2.客服已经介入 3.初审完成 4.复审失败 5.处理完成",
        null=True,
    ),
    column("shop_no", TEXT, "店铺编号", null=True),
    column("shop_name", TEXT, "店铺名称", null=True),
    column("swap_trade_id", BIG, "换货订单id", null=True),
    column("pay_no", TEXT, "支付订单号", null=True),
    column("goods_amount_micros", BIG, "货品金额 (micros)", null=True),
    column("refund_amount_micros", BIG, "买家申请退款金额 (micros)", null=True),
    column("guarante_refund_amount_micros", BIG, "平台退款金额 (micros)", null=True),
    column("actual_refund_amount_micros", BIG, "实际退款/收款金额 (micros)", null=True),
    column("direct_refund_amount", TEXT, "直接退款金额", null=True),
    column("exchange_amount_micros", BIG, "换货金额 (micros)", null=True),
    column("post_amount_micros", BIG, "邮费金额 (micros)", null=True),
    column("other_amount_micros", BIG, "其它金额 (micros)", null=True),
    column("paid_micros", BIG, "已退款/已收款 (micros)", null=True),
    column("tid", TEXT, "订单的原始单号", null=True),
    column("sales_trade_id", BIG, "系统订单ID", null=True),
    column("sales_tid", TEXT, "系统订单号", null=True),
    column("warehouse_no", TEXT, "期望退回的仓库编号", null=True),
    column("swap_warehouse_no", TEXT, "换出货品出库仓库编号", null=True),
    column("refund_time", TIME, "退款创建时间", null=True),
    column("modified", TIME, "最后修改时间", null=True),
    column("created", TIME, "创建时间", null=True),
    column("customer_no", TEXT, "客户编号", null=True),
    column("return_logistics_name", TEXT, "退回物流公司", null=True),
    column("swap_logistics_type", BIG, "换出物流类型", null=True),
    column("swap_logistics_name", TEXT, "换出物流公司", null=True),
    column("sealed", BYTES, "encrypted: the personal fields and the undocumented keys", null=True),
    column("content", BYTES, "keyed digest of the content; null after an erasure", null=True),
    column("version", INT, "1 for the first, counted up"),
    column("push_id", BIG, "push of this version"),
    column("create_time", TIME, "first seen"),
    column("update_time", TIME, "last changed"),
    column("erase_time", TIME, "when its personal data was erased", null=True),
    sa.PrimaryKeyConstraint("document_id", name=sa.schema.conv("refund_pkey")),
)

_TRADE = (
    column("document_id", BIG, "our number"),
    column("customerid", TEXT, "推送数据的客户"),
    column("tid", TEXT, "订单编号"),
    column("status", TEXT, "交易状态", null=True),
    column("from_type", TEXT, "来源平台, such as 淘宝", null=True),
    column("total_weight", sa.Numeric(19, 4), "该笔交易中所有商品的总数量", null=True),
    column("created", TIME, "交易创建时间", null=True),
    column("pay_time", TIME, "付款时间", null=True),
    column("total_goods_fee_micros", BIG, "商品总额（不包括配送费用） (micros)", null=True),
    column("shipping_fee_micros", BIG, "交易物流配送费用 (micros)", null=True),
    column(
        "total_trade_fee_micros", BIG, "交易应付总额（包括商品价格+配送费用） (micros)", null=True
    ),
    column("seller_uname", TEXT, "卖家账号", null=True),
    column("orders_number", TEXT, "子订单数量, informative", null=True),
    column("sealed", BYTES, "encrypted: the personal fields and the undocumented keys", null=True),
    column("msg_id", TEXT, "ERP message id of this version, for tracing", null=True),
    column("content", BYTES, "keyed digest of the content; null after an erasure", null=True),
    column("version", INT, "1 for the first, counted up"),
    column("push_id", BIG, "push of this version"),
    column("create_time", TIME, "first seen"),
    column("update_time", TIME, "last changed"),
    column("erase_time", TIME, "when its personal data was erased", null=True),
    sa.PrimaryKeyConstraint("document_id", name=sa.schema.conv("trade_pkey")),
)

_PAYMENT = (
    column("document_id", BIG, "the trade it is part of"),
    column("payment_no", INT, "from 0"),
    column("sealed", BYTES, "encrypted: the personal fields and the undocumented keys", null=True),
    refers("payment_document_id_fkey", ["document_id"], ["trade.document_id"]),
    sa.PrimaryKeyConstraint("document_id", "payment_no", name=sa.schema.conv("payment_pkey")),
)

_REFUND_LINE = (
    column("document_id", BIG, "the refund it is part of"),
    column("line_no", INT, "from 0"),
    column("order_id", BIG, "erp子订单主键", null=True),
    column("refund_id", BIG, "退换单主键, as sent", null=True),
    column("oid", TEXT, "原始子订单id", null=True),
    column("tid", TEXT, "订单子订单的原始单号", null=True),
    column("process_status", BIG, "处理状态; the head's counts", null=True),
    column("sales_tid", TEXT, "销售订单编号", null=True),
    column("order_num", sa.Numeric(19, 4), "实际数量", null=True),
    column("price_micros", BIG, "价格 (micros)", null=True),
    column("original_price_micros", BIG, "原价 (micros)", null=True),
    column("discount_micros", BIG, "优惠 (micros)", null=True),
    column("paid_micros", BIG, "已付金额 (micros)", null=True),
    column("refund_num", sa.Numeric(19, 4), "退款数量", null=True),
    column("total_amount_micros", BIG, "退款总金额 (micros)", null=True),
    column("refund_order_amount_micros", BIG, "子单退款金额 (example only) (micros)", null=True),
    column("spec_id", BIG, "erp商品主键", null=True),
    column("spec_no", TEXT, "商家编码", null=True),
    column("goods_name", TEXT, "货品名称", null=True),
    column("spec_name", TEXT, "规格名称", null=True),
    column("suite_no", TEXT, "组合装编号", null=True),
    column("suite_name", TEXT, "组合装名称", null=True),
    column("suite_num", sa.Numeric(19, 4), "组合装数量", null=True),
    column("stockin_num", sa.Numeric(19, 4), "退货入库数量", null=True),
    column("market_price", TEXT, "市场价", null=True),
    column("spec_code", TEXT, "规格码", null=True),
    column("goods_no", TEXT, "货品编号", null=True),
    column("cost_price_micros", BIG, "成本价 (micros)", null=True),
    column("sealed", BYTES, "encrypted: the personal fields and the undocumented keys", null=True),
    refers("refund_line_document_id_fkey", ["document_id"], ["refund.document_id"]),
    sa.PrimaryKeyConstraint("document_id", "line_no", name=sa.schema.conv("refund_line_pkey")),
)

_SWAP_LINE = (
    column("document_id", BIG, "the refund it is part of"),
    column("line_no", INT, "from 0"),
    column("rec_id", BIG, "主键id", null=True),
    column("refund_id", BIG, "退换单主键id, as sent", null=True),
    column("target_type", BIG, "1.单品 2.组合装", null=True),
    column("target_id", TEXT, "商品id", null=True),
    column("goods_name", TEXT, "商品名称", null=True),
    column("spec_name", TEXT, "规格名称", null=True),
    column("merchant_no", TEXT, "商家编码", null=True),
    column("retail_price_micros", BIG, "零售价 (micros)", null=True),
    column("num", sa.Numeric(19, 4), "数量", null=True),
    column("sealed", BYTES, "encrypted: the personal fields and the undocumented keys", null=True),
    refers("swap_line_document_id_fkey", ["document_id"], ["refund.document_id"]),
    sa.PrimaryKeyConstraint("document_id", "line_no", name=sa.schema.conv("swap_line_pkey")),
)

_TRADE_LINE = (
    column("document_id", BIG, "the trade it is part of"),
    column("line_oid", TEXT, "oid; empty when it has none"),
    column("item_no", INT, "within its oid"),
    column("tid", TEXT, "订单编号", null=True),
    column("oid", TEXT, "子订单编号", null=True),
    column("status", TEXT, "交易状态", null=True),
    column("msgid", TEXT, "旺店通数据库的主键id", null=True),
    column("iid", TEXT, "商品id", null=True),
    column("title", TEXT, "商品名称", null=True),
    column("refund_status", TEXT, "退款状态", null=True),
    column("sale_price_micros", BIG, "销售单价 (micros)", null=True),
    column("sku_properties", TEXT, "商品规格", null=True),
    column("bn", TEXT, "商家编码", null=True),
    column("num", sa.Numeric(19, 4), "货品数量", null=True),
    column("price_micros", BIG, "原价 (micros)", null=True),
    column("sku_id", TEXT, "规格编码", null=True),
    column("total_item_fee_micros", BIG, "子订单实付金额 (micros)", null=True),
    column("sealed", BYTES, "encrypted: the personal fields and the undocumented keys", null=True),
    column("content", BYTES, "keyed digest of all items of this oid", null=True),
    refers("trade_line_document_id_fkey", ["document_id"], ["trade.document_id"]),
    sa.PrimaryKeyConstraint(
        "document_id", "line_oid", "item_no", name=sa.schema.conv("trade_line_pkey")
    ),
)


def upgrade() -> None:
    """Forward."""
    first_tables.create_tables()
    op.create_table("audit", *_AUDIT, comment="个人信息的查看与删除, never changed")
    op.create_table("history", *_HISTORY, comment="历史版本")
    op.create_table(
        "phone_index", *_PHONE_INDEX, comment="电话盲索引: finds a phone without holding it"
    )
    op.create_table("push", *_PUSH, comment="原始推送: every push as it came")
    op.create_table("refund", *_REFUND, comment="退换货订单")
    op.create_table("trade", *_TRADE, comment="订单")
    op.create_table("payment", *_PAYMENT, comment="订单付款")
    op.create_table("refund_line", *_REFUND_LINE, comment="退货商品")
    op.create_table("swap_line", *_SWAP_LINE, comment="换货商品")
    op.create_table("trade_line", *_TRADE_LINE, comment="订单商品")
    _indexes()


def _indexes() -> None:
    """What finds rows."""
    index("history_document", "history", ["kind", "document_id", "history_id"])
    index("phone_index_document", "phone_index", ["kind", "document_id"])
    index(
        "push_body", "push", ["kind", "sender", "sha256"], unique=True, where="sha256 IS NOT NULL"
    )
    index("push_quarantined", "push", ["push_id"], where="status = 90")
    index("refund_changed", "refund", ["update_time", "document_id"])
    index("refund_natural", "refund", ["app_key", "refund_no"], unique=True)
    index("refund_number", "refund", ["refund_no"])
    index("refund_shop", "refund", ["shop_no", "update_time"])
    index("refund_tid", "refund", ["tid"])
    index("trade_changed", "trade", ["update_time", "document_id"])
    index("trade_natural", "trade", ["customerid", "tid"], unique=True)
    index("trade_tid", "trade", ["tid"])
