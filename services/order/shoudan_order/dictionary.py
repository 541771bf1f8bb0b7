"""The data dictionary (dds): Chinese names of documented values and of catalogue rows.

Every table below is checked against its enum when it is made, so a new value cannot lack a name. What a
type means, and where the values of other services come from: docs/reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from shoudan.core.v1 import operations_service_pb2 as operations
from shoudan.delivery.v1 import delivery_service_pb2 as delivery
from shoudan.pay.v1 import ledger_service_pb2 as ledger
from shoudan.pay.v1 import ledger_service_pb2_grpc as ledger_grpc
from shoudan_order import states as s
from shoudan_order.catalogue.index import Catalogue
from shoudan_order.catalogue.model import Canton
from shoudan_order.context import Context

ACCOUNTS = "AccountId"
GRADES: Final[Mapping[str, int]] = {"province": 1, "city": 2, "region": 0}
# One answer fits a page for people; what is beyond is found with the ledger's own query.
ACCOUNTS_MAX: Final = 10_000
PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Word:
    """One value: as stored, its English name in the code, its Chinese name for people."""

    value: str
    english: str
    chinese: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of an answer."""

    name: str
    value: str
    type: str
    sort_no: int


def _named(states: type[IntEnum], names: str) -> tuple[Word, ...]:
    """The words of an enum of ours, as MEMBER=name. ValueError for a member or a name without the other."""
    return _words([(one.name, one.value) for one in states], names)


def _contract(wrapper: Any, prefix: str, names: str) -> tuple[Word, ...]:
    """The words of an enum of another service's contract."""
    pairs: list[tuple[str, int]] = wrapper.items()
    stored = [(name.removeprefix(prefix), value) for name, value in pairs]
    return _words([(name, value) for name, value in stored if name != "UNSPECIFIED"], names)


def _words(pairs: Iterable[tuple[str, int]], names: str) -> tuple[Word, ...]:
    members, chinese = dict(pairs), dict(one.split("=") for one in names.split())
    if members.keys() != chinese.keys():
        raise ValueError(f"names without values, or values without names: {members} {names}")
    return tuple(Word(str(value), name.lower(), chinese[name]) for name, value in members.items())


def _numbered(names: str) -> tuple[Word, ...]:
    """The words of documented numbers that no enum holds, as `number english=name`."""
    values, words = names.split()[::2], (one.split("=") for one in names.split()[1::2])
    return tuple(Word(value, *word) for value, word in zip(values, words, strict=True))


def _plain(names: str) -> tuple[Word, ...]:
    """The words of values that are text themselves."""
    return tuple(Word(value, value, name) for value, name in (w.split("=") for w in names.split()))


_YES_NO = _named(s.YesNo, "YES=是 NO=否")
_MONEY_BACK = _named(
    s.MoneyBackStatus,
    "DONE=退款成功 NOT_STARTED=未开始 WAITING=等待退款 RUNNING=正在退款 NOT_NEEDED=无需退款",
)
_NOTIFY = _named(
    s.NotifyStatus,
    "DONE=通知成功 NOT_STARTED=未开始 WAITING=等待通知 RUNNING=正在通知 ANSWERED=查询已应答",
)

WORDS: Final[Mapping[str, tuple[Word, ...]]] = {
    "Status": _named(s.YesNo, "YES=启用 NO=禁用"),
    "ServiceClass": _numbered(
        "10 fuel_card=加油卡充值 20 coupon=电子券发货 21 coupon_return=电子券退货 30 phone=话费充值"
    ),
    "InvoiceType": _numbered("1 none=不开发票 0 any=不限制 2 needed=需要发票"),
    "CanRefund": _named(s.YesNo, "YES=支持 NO=不支持"),
    "CanSplitOrder": _named(s.YesNo, "YES=允许 NO=不允许"),
    "CanQuery": _YES_NO,
    "OrderStatus": _named(
        s.OrderStatus, "SUCCEEDED=成功 PAYING=支付 DELIVERING=发货 FAILED=失败 PARTIAL=部分成功"
    ),
    "PaymentStatus": _named(
        s.PaymentStatus,
        "PAID=支付成功 NOT_STARTED=未开始 WAITING=等待支付 PAYING=正在支付 OVERTIME=支付超时"
        " NOT_NEEDED=无需支付",
    ),
    "DeliveryBindStatus": _named(
        s.BindStatus,
        "DONE=成功 NOT_STARTED=未开始 WAITING=等待绑定 DELIVERING=正在发货 FAILED=全部失败 PARTIAL=部分成功",
    ),
    "OrderFailRefundStatus": _named(
        s.FailRefundStatus,
        "DONE=退款成功 NOT_STARTED=未开始 WAITING=等待退款 RUNNING=正在退款 NOT_NEEDED=无需退款",
    ),
    "NotifyStatus": _NOTIFY,
    "NotifyType": _named(s.NotifyType, "ORDER=订单通知 REFUND=退款通知"),
    "DeliveryStatus": _named(
        s.DeliveryStatus, "SUCCEEDED=发货成功 WAITING=等待发货 SENDING=正在发货 FAILED=发货失败"
    ),
    "UpPaymentStatus": _named(
        s.UpPaymentStatus,
        "PAID=支付成功 NOT_STARTED=未开始 WAITING=等待支付 PAYING=正在支付 NOT_NEEDED=无需支付",
    ),
    "RefundStatus": _named(
        s.RefundStatus,
        "SUCCEEDED=退款成功 RETURNING=正在退货 REFUNDING=正在退款 FAILED=退款失败 PARTIAL=部分成功",
    ),
    "RefundType": _named(s.RefundType, "GENERAL=普通退款 MANDATORY=强制退款 MANUAL=人工退款"),
    "UpReturnStatus": _named(
        s.UpReturnStatus,
        "DONE=退货成功 WAITING=等待退货 RUNNING=正在退货 FAILED=退货失败 PARTIAL=部分成功"
        " NOT_NEEDED=无需退货",
    ),
    "DownRefundStatus": _MONEY_BACK,
    "RefundNotifyStatus": _NOTIFY,
    "ReturnStatus": _named(
        s.ReturnStatus, "SUCCEEDED=退货成功 WAITING=等待退货 SENDING=正在退货 FAILED=退货失败"
    ),
    "UpRefundStatus": _MONEY_BACK,
    "CompleteUpPay": _named(s.YesNo, "YES=已完成 NO=未完成"),
    "CompleteUpRefund": _named(s.YesNo, "YES=已完成 NO=未完成"),
    "IsRefund": _named(s.YesNo, "YES=已退款 NO=未退款"),
    "DeliveryPause": _named(s.YesNo, "YES=暂停 NO=正常"),
    "AuditStatus": _named(
        s.AuditStatus, "SUCCEEDED=审核成功 WAITING=等待审核 FAILED=审核失败 PARTIAL=部分成功"
    ),
    "AuditType": _named(
        s.AuditType,
        "DELIVERY=发货审核 RETURN=退货审核 ORDER=订单部分成功审核 REFUND=退款部分成功审核"
        " FALSE_SUCCESS=虚假成功审核",
    ),
    "ChangeType": _contract(
        ledger.ChangeType,
        "CHANGE_TYPE_",
        "ADD=加款 DRAWING=提款 DEDUCT=扣款 REFUND=退款 TRADE_FLAT=交易平账 BALANCE_FLAT=余额平账",
    ),
    "TradeType": _contract(
        ledger.TradeType,
        "TRADE_TYPE_",
        "TRADE=交易 SERVICE=手续费/服务费 COMMISSION=佣金 REVERSE=红冲 FLAT=平账",
    ),
    "Groups": _plain(
        "down_channel=下游渠道账户 down_commission=下游佣金账户 down_service=下游服务费账户 "
        "up_channel=上游渠道账户 up_commission=上游佣金账户 up_service=上游服务费账户"
    ),
    "TaskStatus": _contract(
        operations.TaskStatus,
        "TASK_STATUS_",
        "DONE=完成 WAITING=等待 PROCESSING=处理中 FAILED=失败",
    ),
    "ResultSource": _contract(
        delivery.ResultSource,
        "RESULT_SOURCE_",
        "NOTIFY=上游通知 QUERY=主动查询 SYNC=同步返回 MANUAL=人工处理",
    ),
}

# Names of carriers the documents and the demonstration use; another is shown by its number.
CARRIERS: Final = {
    "ZSH": "中石化",
    "ZSY": "中石油",
    "DZQ": "电子券",
    "YD": "中国移动",
    "LT": "中国联通",
    "DX": "中国电信",
}
FROM_TABLES: Final = ("CarrierNo", "LineId", "DownChannelNo", "UpChannelNo", "ShelfId")


async def of_type(context: Context, dic_type: str) -> list[Row]:
    """The rows of a type in their order; none for an unknown type. AccountId is read from pay."""
    if dic_type in WORDS:
        pairs = [(word.chinese, word.value) for word in WORDS[dic_type]]
    elif dic_type in FROM_TABLES:
        pairs = _of_catalogue(context.catalogue, dic_type)
    elif dic_type in GRADES:
        found = areas(context.catalogue, GRADES[dic_type], "")
        pairs = [(one.chinese_name, one.canton_code) for one in found]
    elif dic_type == ACCOUNTS:
        pairs = await _accounts(context)
    else:
        pairs = []
    return [Row(name, value, dic_type, place) for place, (name, value) in enumerate(pairs, 1)]


def areas(now: Catalogue, grade: int, parent_code: str) -> list[Canton]:
    """Areas of a grade (0: all) lying in `parent_code` (empty: anywhere), by grade, then number."""
    found = [
        one
        for one in now.cantons.values()
        if grade in {0, one.grade} and parent_code in {"", one.parent}
    ]
    return sorted(found, key=lambda one: (one.grade, one.canton_code))


def _of_catalogue(now: Catalogue, dic_type: str) -> list[tuple[str, str]]:
    """(name, value) of enabled rows. Shelves: those we sell from, then those we buy from."""
    if dic_type == "CarrierNo":
        products = (*now.down_products.values(), *now.up_products.values())
        numbers = sorted({product.carrier_no for product in products})
        return [(CARRIERS.get(number, number), number) for number in numbers]
    if dic_type == "LineId":
        return [(line.line_name, str(line.line_id)) for line in now.lines.values()]
    if dic_type == "ShelfId":
        shelves = (*now.down_shelves.values(), *now.up_shelves.values())
        return [(one.shelf_name, str(one.shelf_id)) for one in shelves if one.enabled]
    channels = now.down_channels if dic_type == "DownChannelNo" else now.up_channels
    return [(one.channel_name, one.channel_no) for one in channels.values() if one.enabled]


async def _accounts(context: Context) -> list[tuple[str, str]]:
    """Accounts of our system that are not locked, by number."""
    stub = ledger_grpc.LedgerServiceStub(context.app.channel("pay"))
    found: list[tuple[str, str]] = []
    token = ""
    for _ in range(ACCOUNTS_MAX // PAGE):
        answer = await stub.ListAccounts(
            ledger.ListAccountsRequest(
                ident=context.settings.ledger_ident, status=0, page_size=PAGE, page_token=token
            ),
            timeout=context.settings.pay_call_s,
        )
        found += [(one.name, str(one.account_id)) for one in answer.accounts]
        token = answer.next_page_token
        if not token:
            break
    return found
