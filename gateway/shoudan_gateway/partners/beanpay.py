"""The ledger by HTTP, amounts in 分, for systems inside: accounts and packages. Source: 000 beanpay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_gateway.beanpay_shapes import (
    Values,
    account,
    package,
    package_record,
    paged,
    period,
    record,
)
from shoudan_gateway.fields import Choice, Day, Fen, Text, Whole, fen_text
from shoudan_gateway.partners import oms
from shoudan_gateway.partners.oms import BOTH
from shoudan_gateway.protocol import (
    Batch,
    Endpoint,
    Facts,
    Failure,
    Field,
    Inbound,
    Malformed,
    Outbound,
    ParameterError,
    Partner,
    Problem,
    Unary,
    values_of,
)

SERVICE: Final = "shoudan.pay.v1.LedgerService"
POST: Final = Batch(f"{SERVICE}/PostEntries", "groups")
MOVE: Final = Batch(f"{SERVICE}/MoveCapacity", "moves")
DONE, EXISTED = 200, 201
PAGE_MAX: Final = 1000

# Documented code, HTTP status and text; {…} are the facts of the refusal.
REFUSALS: Final = {
    "ERROR_REASON_ACCOUNT_NOT_FOUND": (908, 404, "帐户不存在"),
    "ERROR_REASON_BALANCE_TOO_LOW": (904, 400, "帐户余额不足"),
    "ERROR_REASON_AMOUNT_INVALID": (903, 400, "金额错误"),
    "ERROR_REASON_ACCOUNT_LOCKED": (401, 400, "账户({eid})未启用"),
    "ERROR_REASON_POSTING_DIFFERS": (901, 409, "交易编号({trade_no})已存在，内容不一致"),
    "ERROR_REASON_RECORD_NOT_FOUND": (908, 404, "交易编号({ext_no})不存在"),
    "ERROR_REASON_REFUND_TOO_HIGH": (
        903,
        400,
        "扣款金额:{deducted},已退款金额:{refunded},本次退款金额:{amount}",
    ),
    "ERROR_REASON_ALREADY_REVERSED": (201, 409, "红冲交易编号({ext_no})已存在"),
    "ERROR_REASON_PACKAGE_NOT_FOUND": (908, 404, "服务包不存在"),
    "ERROR_REASON_CAPACITY_TOO_LOW": (904, 400, "服务包剩余数量不足"),
    "ERROR_REASON_PACKAGE_EXPIRED": (904, 400, "服务包已过期"),
    "ERROR_REASON_FIELD_INVALID": (406, 406, "输入参数:{field}值错误"),
    "ERROR_REASON_GROUP_REFUSED": (901, 400, "添加资金变动记录失败"),
    "ERROR_REASON_POSTING_FAILED": (901, 503, "添加资金变动记录失败"),
    "ERROR_REASON_NUMBER_INVALID": (903, 400, "数量错误{num}"),
    "ERROR_REASON_PROPOSAL_REQUIRED": (403, 403, "须由两人完成，请提案后由另一人审批"),
}


def refuse(failure: Failure, request: Inbound, legacy: bool) -> Outbound:
    """Every no of this protocol, in the shape of the channels' errors."""
    if isinstance(failure, Problem):
        return oms.gateway_failure(failure, legacy)
    if isinstance(failure, Malformed):
        name = oms.WHERE.get(failure.name, failure.name)
        what = "值不能为空" if failure.error is ParameterError.MISSING else "值错误"
        code = (
            903
            if failure.name in {"amount", "credit", "num"}
            and failure.error is not ParameterError.MISSING
            else 406
        )
        return oms.error(code, 406 if code == 406 else 400, f"输入参数:{name}{what}", legacy)
    code, status, text = REFUSALS[failure.reason]
    facts = Facts(request.params) | dict(failure.metadata) | _in_fen(failure.metadata)
    return oms.error(code, status, text.format_map(Facts(facts)), legacy)


def _in_fen(facts: Mapping[str, str]) -> Values:
    """Amounts as this protocol writes them, under names without their unit."""
    suffix = "_micros"
    amounts = {name: text for name, text in facts.items() if name.endswith(suffix)}
    return {name.removesuffix(suffix): fen_text(int(text)) for name, text in amounts.items()}


IDENT: Final = Field("ident", "", "系统标识", Text(32))
GROUPS: Final = Field("groups", "", "账户类型，缺省-", Text(32), required=False, aliases=("group",))
EID: Final = Field("eid", "", "外部用户账户编号", Text(64))
NAME: Final = Field("account_name", "", "帐户名称", Text(32), aliases=("name",))
TRADE_NO: Final = Field("trade_no", "", "交易编号", Text(64))
EXT_NO: Final = Field("ext_no", "", "扩展编号（原交易编号）", Text(64))
AMOUNT: Final = Field("amount", "", "金额（分）", Fen())
MEMO: Final = Field("memo", "", "备注", Text(256), required=False)
TRADE_TYPE: Final = Field(
    "trade_type", "", "交易类型 1交易 2手续费 3佣金", Choice((1, 2, 3)), required=False
)
FLAT_TYPE: Final = Field(
    "trade_type", "", "交易类型，缺省5平账", Choice((1, 2, 3, 5)), required=False
)
PAGE: Final = (
    Field("pi", "", "页码，从1开始", Whole(1, 10**6), required=False),
    Field("ps", "", "每页条数，缺省10", Whole(1, PAGE_MAX), required=False),
)
PERIOD: Final = (
    Field("start", "", "开始日期yyyymmdd", Day(), required=False),
    Field("end", "", "结束日期yyyymmdd（含）", Day(), required=False),
)
ACCOUNT: Final = (IDENT, GROUPS, EID)
SPKG: Final = Field("spkg_id", "", "服务包编号", Text(32))
NUM: Final = Field("num", "", "数量", Whole(1, 2**53))
PACKAGE: Final = (*ACCOUNT, SPKG)
STATUS: Final = Field("status", "", "账户状态 0正常 1锁定", Choice((0, 1)), required=False)


def key(values: Values) -> pb.AccountKey:
    """The account meant; groups is "-" when a system has only one kind."""
    return pb.AccountKey(ident=values["ident"], groups=values.get("groups", "-"), eid=values["eid"])


def done(existed: bool, shown: Values) -> Outbound:
    """200, or 201 for what was there before; the body says which."""
    code = EXISTED if existed else DONE
    return Outbound(DONE, {"code": code, **shown}, replayed=existed)


def page(count: int, rows: list[Values]) -> Outbound:
    """One page of a list."""
    return Outbound(DONE, {"code": DONE, "count": count, "data": rows})


def write_account(answer: Any, _: Inbound) -> Outbound:
    """One account."""
    return done(getattr(answer, "existed", False), account(answer.account))


def write_posted(answer: Any, _: Inbound) -> Outbound:
    """The record of one posting."""
    return done(answer.existed, record(answer.records[0]))


def write_package(answer: Any, _: Inbound) -> Outbound:
    """One service package."""
    return done(getattr(answer, "existed", False), package(answer.package))


def write_moved(answer: Any, _: Inbound) -> Outbound:
    """The record of one move of capacity."""
    return done(answer.existed, package_record(answer.record))


def write_accounts(answer: pb.ListAccountsResponse, _: Inbound) -> Outbound:
    """A page of accounts."""
    return page(answer.count, [account(one) for one in answer.accounts])


def write_records(answer: pb.ListRecordsResponse, _: Inbound) -> Outbound:
    """A page of records."""
    return page(answer.count, [record(one) for one in answer.records])


def write_package_records(answer: pb.ListPackageRecordsResponse, _: Inbound) -> Outbound:
    """A page of a package's records."""
    return page(answer.count, [package_record(one) for one in answer.records])


def reader(rows: tuple[Field, ...], make: Callable[[Values], Any]) -> Callable[[Inbound], Any]:
    """Reads the table and lets `make` build the message."""
    return lambda request: make(values_of(request, rows))


def endpoint(
    path: str,
    title: str,
    rows: tuple[Field, ...],
    make: Callable[[Values], Any],
    call: Batch | str,
    write: Callable[[Any, Inbound], Outbound],
    *,
    writes: bool = False,
) -> Endpoint[Any, Any]:
    """One row of the tables below."""
    return Endpoint(
        path=path,
        methods=BOTH,
        source="000 beanpay API",
        title=title,
        fields=rows,
        read=reader(rows, make),
        call=Unary(f"{SERVICE}/{call}") if isinstance(call, str) else call,
        write=write,
        writes=writes,
    )


def posting(
    name: str,
    title: str,
    change: pb.ChangeType.ValueType,
    sign: int,
    rows: tuple[Field, ...],
    trade_type: pb.TradeType.ValueType = pb.TRADE_TYPE_TRADE,
) -> Endpoint[Any, Any]:
    """One movement of money; `sign` 0 is a reversal, whose amount the ledger looks up."""
    table = (*ACCOUNT, TRADE_NO, *rows, MEMO)

    def make(values: Values) -> Any:
        one = pb.Posting(
            account=key(values),
            trade_no=values["trade_no"],
            ext_no=values.get("ext_no", ""),
            change_type=change,
            trade_type=values.get("trade_type", trade_type),
            amount_micros=sign * values.get("amount", 0),
            memo=values.get("memo", ""),
        )
        return pb.PostEntriesRequest.Group(postings=[one])

    path = f"/account/balance/{name}"
    return endpoint(path, title, table, make, POST, write_posted, writes=True)


def move(name: str, title: str, change: pb.ChangeType.ValueType) -> Endpoint[Any, Any]:
    """One move of a package's capacity."""
    table = (*PACKAGE, TRADE_NO, NUM, MEMO)

    def make(values: Values) -> Any:
        return pb.MoveCapacityRequest.Move(
            account=key(values),
            spkg_id=values["spkg_id"],
            trade_no=values["trade_no"],
            change_type=change,
            num=values["num"],
            memo=values.get("memo", ""),
        )

    path = f"/package/capacity/{name}"
    return endpoint(path, title, table, make, MOVE, write_moved, writes=True)


def create(values: Values) -> Any:
    """An account to make."""
    return pb.CreateAccountsRequest.Item(key=key(values), name=values["account_name"])


def update(values: Values) -> Any:
    """Name and status, whichever is given."""
    message = pb.UpdateAccountRequest(key=key(values))
    if "account_name" in values:
        message.name = values["account_name"]
    if "status" in values:
        message.locked = bool(values["status"])
    return message


def list_accounts(values: Values) -> Any:
    """Filters of a list of accounts."""
    return pb.ListAccountsRequest(
        ident=values["ident"],
        groups_prefix=values.get("groups", ""),
        eid=values.get("eid", ""),
        name_contains=values.get("account_name", ""),
        status=values.get("status"),
        **paged(values),
    )


def list_records(values: Values) -> Any:
    """Filters of a list of records; always of one system."""
    return pb.ListRecordsRequest(
        account=pb.AccountKey(
            ident=values["ident"], groups=values.get("groups", ""), eid=values.get("eid", "")
        ),
        trade_no=values.get("trade_no", ""),
        change_type=values.get("change_type", 0),
        trade_type=values.get("trade_type", 0),
        **period(values),
        **paged(values),
    )


def create_package(values: Values) -> Any:
    """A service package to make."""
    return pb.CreatePackageRequest(
        account=key(values),
        spkg_id=values["spkg_id"],
        name=values["pkg_name"],
        total_capacity=values["total_capacity"],
        capacity_daily=values.get("capacity_daily", 0),
        expires=values.get("expires", ""),
    )


TYPES: Final = Field(
    "groups", "", "账户类型前缀", Text(32), required=False, aliases=("types", "group")
)
CREDIT: Final = Field("credit", "", "信用余额（分）", Fen(zero=True))

PARTNER = Partner(
    name="beanpay",
    role="internal",
    refuse=refuse,
    endpoints=(
        endpoint(
            "/account/create",
            "创建帐户",
            (*ACCOUNT, NAME),
            create,
            Batch(f"{SERVICE}/CreateAccounts", "items"),
            write_account,
            writes=True,
        ),
        endpoint(
            "/account/update",
            "修改帐户",
            (*ACCOUNT, NAME.optional(), STATUS),
            update,
            "UpdateAccount",
            write_account,
            writes=True,
        ),
        endpoint(
            "/account/query",
            "查询帐户",
            ACCOUNT,
            lambda values: pb.GetAccountRequest(key=key(values)),
            "GetAccount",
            write_account,
        ),
        endpoint(
            "/account/querylist",
            "查询帐户列表",
            (IDENT, TYPES, EID.optional(), NAME.optional(), STATUS, *PAGE),
            list_accounts,
            "ListAccounts",
            write_accounts,
        ),
        endpoint(
            "/account/balance/setcredit",
            "设置信用余额",
            (*ACCOUNT, CREDIT),
            lambda v: pb.UpdateAccountRequest(key=key(v), credit_micros=v["credit"]),
            "UpdateAccount",
            write_account,
            writes=True,
        ),
        posting("add", "加款", pb.CHANGE_TYPE_ADD, 1, (AMOUNT,)),
        posting("drawing", "提款", pb.CHANGE_TYPE_DRAWING, -1, (AMOUNT,)),
        posting("deduct", "扣款", pb.CHANGE_TYPE_DEDUCT, -1, (TRADE_TYPE, AMOUNT)),
        posting("refund", "退款", pb.CHANGE_TYPE_REFUND, 1, (EXT_NO, TRADE_TYPE, AMOUNT)),
        posting("reverseadd", "加款红冲", pb.CHANGE_TYPE_ADD, 0, (EXT_NO,), pb.TRADE_TYPE_REVERSE),
        posting(
            "reversedrawing",
            "提款红冲",
            pb.CHANGE_TYPE_DRAWING,
            0,
            (EXT_NO,),
            pb.TRADE_TYPE_REVERSE,
        ),
        posting(
            "tradeflat",
            "交易平账",
            pb.CHANGE_TYPE_TRADE_FLAT,
            -1,
            (FLAT_TYPE, AMOUNT),
            pb.TRADE_TYPE_FLAT,
        ),
        posting(
            "balanceflat",
            "余额平账",
            pb.CHANGE_TYPE_BALANCE_FLAT,
            1,
            (FLAT_TYPE, AMOUNT),
            pb.TRADE_TYPE_FLAT,
        ),
        endpoint(
            "/account/record/query",
            "查询资金变动",
            (
                IDENT,
                GROUPS,
                EID.optional(),
                TRADE_NO.optional(),
                Field("change_type", "", "变动类型1-6", Whole(1, 6), required=False),
                Field("trade_type", "", "交易类型1-5", Whole(1, 5), required=False),
                *PERIOD,
                *PAGE,
            ),
            list_records,
            "ListRecords",
            write_records,
        ),
        endpoint(
            "/package/create",
            "创建服务包",
            (
                *PACKAGE,
                Field("pkg_name", "", "服务包名称", Text(64), aliases=("name",)),
                Field("total_capacity", "", "总数量", Whole(0, 2**53), aliases=("total",)),
                Field("capacity_daily", "", "每日数量，0不限", Whole(0, 2**53), False, ("daily",)),
                Field("expires", "", "过期日期yyyymmdd，缺省20991231", Day(), required=False),
            ),
            create_package,
            "CreatePackage",
            write_package,
            writes=True,
        ),
        endpoint(
            "/package/query",
            "查询服务包",
            PACKAGE,
            lambda v: pb.GetPackageRequest(account=key(v), spkg_id=v["spkg_id"]),
            "GetPackage",
            write_package,
        ),
        move("add", "服务包增加数量", pb.CHANGE_TYPE_ADD),
        move("drawing", "服务包减少数量", pb.CHANGE_TYPE_DRAWING),
        move("deduct", "服务包扣减", pb.CHANGE_TYPE_DEDUCT),
        move("refund", "服务包退回", pb.CHANGE_TYPE_REFUND),
        endpoint(
            "/package/record/query",
            "查询服务包变动",
            (*PACKAGE, *PERIOD, *PAGE),
            lambda v: pb.ListPackageRecordsRequest(
                account=key(v), spkg_id=v["spkg_id"], **period(v), **paged(v)
            ),
            "ListPackageRecords",
            write_package_records,
        ),
    ),
)
