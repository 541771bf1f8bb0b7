"""The three models of the document, field by field: trades and refunds with their parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated

from shoudan_erp_ingest.tables.fields import amount_text, code, moment, money, quantity, text, whole


@dataclass(frozen=True, slots=True)
class Trade:
    """订单模型: the head of a trade. Source: 001 订单模型."""

    tid: Annotated[str, code("订单编号", required=True)]
    status: Annotated[str | None, code("交易状态", "orderstatus")] = None
    from_type: Annotated[str | None, code("来源平台, such as 淘宝")] = None
    total_weight: Annotated[str | None, quantity("该笔交易中所有商品的总数量")] = None
    created: Annotated[datetime | None, moment("交易创建时间")] = None
    pay_time: Annotated[datetime | None, moment("付款时间")] = None
    total_goods_fee_micros: Annotated[int | None, money("商品总额（不包括配送费用）")] = None
    shipping_fee_micros: Annotated[int | None, money("交易物流配送费用")] = None
    total_trade_fee_micros: Annotated[
        int | None, money("交易应付总额（包括商品价格+配送费用）")
    ] = None
    seller_uname: Annotated[str | None, text("卖家账号")] = None
    orders_number: Annotated[str | None, code("子订单数量, informative")] = None
    trade_memo: Annotated[str | None, text("交易的备注内容", chars_max=4000, personal=True)] = None
    receiver_name: Annotated[str | None, text("收货人姓名", personal=True)] = None
    receiver_mobile: Annotated[str | None, text("收货人电话", personal=True)] = None
    receiver_state: Annotated[str | None, text("收货人省份", personal=True)] = None
    receiver_city: Annotated[str | None, text("收货人城市", personal=True)] = None
    receiver_district: Annotated[str | None, text("收货人地区", personal=True)] = None
    receiver_address: Annotated[
        str | None, text("收货人详细地址", chars_max=1000, personal=True)
    ] = None
    extra: str = ""  # undocumented keys, as JSON


@dataclass(frozen=True, slots=True)
class Payment:
    """Who paid a trade. Source: 001 订单模型, payment_lists."""

    buy_name: Annotated[str | None, text("买家会员名", personal=True)] = None
    buyer_account: Annotated[str | None, text("买家支付账号", personal=True)] = None
    extra: str = ""


@dataclass(frozen=True, slots=True)
class TradeLine:
    """商品模型: one item of a trade. Source: 001 商品模型.

    `tid`, `status` and `msgid` of a line that has none are the trade's, where the example has them.
    """

    tid: Annotated[str | None, code("订单编号")] = None
    oid: Annotated[str | None, code("子订单编号")] = None
    status: Annotated[str | None, code("交易状态", "orderstatus")] = None
    msgid: Annotated[str | None, code("旺店通数据库的主键id", "msg_id")] = None
    iid: Annotated[str | None, code("商品id")] = None
    title: Annotated[str | None, text("商品名称", chars_max=1000)] = None
    refund_status: Annotated[str | None, code("退款状态")] = None
    sale_price_micros: Annotated[int | None, money("销售单价")] = None
    sku_properties: Annotated[str | None, text("商品规格", chars_max=1000)] = None
    bn: Annotated[str | None, code("商家编码")] = None
    num: Annotated[str | None, quantity("货品数量")] = None
    price_micros: Annotated[int | None, money("原价")] = None
    sku_id: Annotated[str | None, code("规格编码")] = None
    total_item_fee_micros: Annotated[int | None, money("子订单实付金额")] = None
    extra: str = ""


@dataclass(frozen=True, slots=True)
class Refund:
    """退换货订单模型: the head of a return, exchange or refund. Source: 001 退换货订单模型."""

    refund_no: Annotated[str, code("erp退换单号", required=True)]
    refund_id: Annotated[int, whole("退换单主键", required=True)]
    type: Annotated[int, whole("1.退款 2.退货 3.换货 4.退款不退货 5.订单补款", required=True)]
    platform_id: Annotated[int | None, whole("平台类型")] = None
    src_no: Annotated[str | None, text("平台退款单号")] = None
    process_status: Annotated[int | None, whole("处理状态", "process_statusYes")] = None
    status: Annotated[int | None, whole("平台状态")] = None
    guarantee_mode: Annotated[
        int | None, whole("担保方式：1.担保交易 2.非担保交易 3.非担保在线交易")
    ] = None
    cs_status: Annotated[
        int | None, whole("0.无 1.需要客服介入 2.客服已经介入 3.初审完成 4.复审失败 5.处理完成")
    ] = None
    shop_no: Annotated[str | None, text("店铺编号")] = None
    shop_name: Annotated[str | None, text("店铺名称")] = None
    swap_trade_id: Annotated[int | None, whole("换货订单id")] = None
    pay_no: Annotated[str | None, text("支付订单号")] = None
    goods_amount_micros: Annotated[int | None, money("货品金额")] = None
    refund_amount_micros: Annotated[int | None, money("买家申请退款金额")] = None
    guarante_refund_amount_micros: Annotated[
        int | None, money("平台退款金额", "guarantee_refund_amount")
    ] = None
    actual_refund_amount_micros: Annotated[int | None, money("实际退款/收款金额")] = None
    direct_refund_amount: Annotated[str | None, amount_text("直接退款金额")] = None
    exchange_amount_micros: Annotated[int | None, money("换货金额")] = None
    post_amount_micros: Annotated[int | None, money("邮费金额")] = None
    other_amount_micros: Annotated[int | None, money("其它金额")] = None
    paid_micros: Annotated[int | None, money("已退款/已收款")] = None
    tid: Annotated[str | None, code("订单的原始单号")] = None
    sales_trade_id: Annotated[int | None, whole("系统订单ID")] = None
    sales_tid: Annotated[str | None, text("系统订单号")] = None
    warehouse_no: Annotated[str | None, text("期望退回的仓库编号")] = None
    swap_warehouse_no: Annotated[str | None, text("换出货品出库仓库编号")] = None
    refund_time: Annotated[datetime | None, moment("退款创建时间")] = None
    modified: Annotated[datetime | None, moment("最后修改时间")] = None
    created: Annotated[datetime | None, moment("创建时间")] = None
    customer_no: Annotated[str | None, text("客户编号")] = None
    return_logistics_name: Annotated[str | None, text("退回物流公司")] = None
    swap_logistics_type: Annotated[int | None, whole("换出物流类型")] = None
    swap_logistics_name: Annotated[str | None, text("换出物流公司")] = None
    remark: Annotated[str | None, text("退款说明", chars_max=4000, personal=True)] = None
    pay_account: Annotated[str | None, text("买家支付帐号", personal=True)] = None
    buyer_nick: Annotated[str | None, text("昵称", personal=True)] = None
    customer_name: Annotated[str | None, text("客户姓名", personal=True)] = None
    creator_name: Annotated[str | None, text("建单人", personal=True)] = None
    receiver_name: Annotated[str | None, text("退款订单中收件人姓名", personal=True)] = None
    receiver_address: Annotated[
        str | None, text("退款订单中收件人地址", chars_max=1000, personal=True)
    ] = None
    receiver_telno: Annotated[str | None, text("退款订单中收件人电话", personal=True)] = None
    return_name: Annotated[str | None, text("退货人姓名", personal=True)] = None
    return_mobile: Annotated[str | None, text("退货人手机号", personal=True)] = None
    return_telno: Annotated[str | None, text("退货人电话", personal=True)] = None
    return_address: Annotated[str | None, text("退回仓库地址", chars_max=1000, personal=True)] = (
        None
    )
    return_logistics_no: Annotated[str | None, text("退回物流单号", personal=True)] = None
    swap_receiver: Annotated[str | None, text("换货收件人姓名", personal=True)] = None
    swap_mobile: Annotated[str | None, text("换货收件人手机", personal=True)] = None
    swap_telno: Annotated[str | None, text("换货收件人电话", personal=True)] = None
    swap_province: Annotated[str | None, text("换货收件人省份", personal=True)] = None
    swap_city: Annotated[str | None, text("换货收件人城市", personal=True)] = None
    swap_district: Annotated[str | None, text("换货收件人区县", personal=True)] = None
    swap_area: Annotated[str | None, text("换货收件人省市区", personal=True)] = None
    swap_zip: Annotated[str | None, text("换货收件人邮编", personal=True)] = None
    swap_address: Annotated[str | None, text("换货收件人地址", chars_max=1000, personal=True)] = (
        None
    )
    swap_logistics_no: Annotated[str | None, text("换出物流单号", personal=True)] = None
    extra: str = ""


@dataclass(frozen=True, slots=True)
class RefundLine:
    """退货商品模型: one item that comes back. Source: 001 退货商品模型."""

    order_id: Annotated[int | None, whole("erp子订单主键")] = None
    refund_id: Annotated[int | None, whole("退换单主键, as sent")] = None
    oid: Annotated[str | None, code("原始子订单id")] = None
    tid: Annotated[str | None, code("订单子订单的原始单号")] = None
    process_status: Annotated[int | None, whole("处理状态; the head's counts")] = None
    sales_tid: Annotated[str | None, text("销售订单编号")] = None
    order_num: Annotated[str | None, quantity("实际数量")] = None
    price_micros: Annotated[int | None, money("价格")] = None
    original_price_micros: Annotated[int | None, money("原价")] = None
    discount_micros: Annotated[int | None, money("优惠")] = None
    paid_micros: Annotated[int | None, money("已付金额")] = None
    refund_num: Annotated[str | None, quantity("退款数量")] = None
    total_amount_micros: Annotated[int | None, money("退款总金额")] = None
    refund_order_amount_micros: Annotated[int | None, money("子单退款金额 (example only)")] = None
    spec_id: Annotated[int | None, whole("erp商品主键")] = None
    spec_no: Annotated[str | None, text("商家编码")] = None
    goods_name: Annotated[str | None, text("货品名称", chars_max=1000)] = None
    spec_name: Annotated[str | None, text("规格名称", chars_max=1000)] = None
    suite_no: Annotated[str | None, text("组合装编号")] = None
    suite_name: Annotated[str | None, text("组合装名称", chars_max=1000)] = None
    suite_num: Annotated[str | None, quantity("组合装数量")] = None
    stockin_num: Annotated[str | None, quantity("退货入库数量")] = None
    market_price: Annotated[str | None, amount_text("市场价")] = None
    spec_code: Annotated[str | None, text("规格码")] = None
    goods_no: Annotated[str | None, text("货品编号")] = None
    cost_price_micros: Annotated[int | None, money("成本价")] = None
    remark: Annotated[str | None, text("退款说明", chars_max=4000, personal=True)] = None
    extra: str = ""


@dataclass(frozen=True, slots=True)
class SwapLine:
    """换货商品模型: one item sent out instead. Source: 001 换货商品模型."""

    rec_id: Annotated[int | None, whole("主键id")] = None
    refund_id: Annotated[int | None, whole("退换单主键id, as sent")] = None
    target_type: Annotated[int | None, whole("1.单品 2.组合装")] = None
    target_id: Annotated[str | None, text("商品id")] = None
    goods_name: Annotated[str | None, text("商品名称", chars_max=1000)] = None
    spec_name: Annotated[str | None, text("规格名称", chars_max=1000)] = None
    merchant_no: Annotated[str | None, text("商家编码")] = None
    retail_price_micros: Annotated[int | None, money("零售价")] = None
    num: Annotated[str | None, quantity("数量")] = None
    remark: Annotated[str | None, text("备注", chars_max=4000, personal=True)] = None
    extra: str = ""


@dataclass(frozen=True, slots=True)
class TradeDocument:
    """One trade as one push has it; lines it does not name are left unchanged."""

    head: Trade
    payments: tuple[Payment, ...] = ()
    lines: tuple[TradeLine, ...] = ()
    msg_id: str | None = None  # repeats carry a new one: for tracing, no part of the content


def untraced(lines: tuple[TradeLine, ...]) -> tuple[TradeLine, ...]:
    """Lines without the message they came in: a repeat under a new `msgid` says nothing new."""
    return tuple(replace(line, msgid=None) for line in lines)


@dataclass(frozen=True, slots=True)
class RefundDocument:
    """One refund whole: its lines replace those of the push before."""

    head: Refund
    lines: tuple[RefundLine, ...] = ()
    swaps: tuple[SwapLine, ...] = ()


Document = TradeDocument | RefundDocument
