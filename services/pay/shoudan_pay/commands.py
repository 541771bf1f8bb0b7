"""`shoudan ledger ...` proves and looks; `shoudan account ...` makes accounts and moves money by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypeVar, cast

import typer
from grpc import aio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2_grpc as stubs
from shoudan_kit.clock import beijing, from_beijing
from shoudan_kit.money import micros_to_yuan, yuan_to_micros
from shoudan_kit.refusal import refused_from_rpc
from shoudan_kit.rpc import connect

T = TypeVar("T")

CALL_S: Final = 30.0
VERIFY_S: Final = 3600.0
ROWS_MAX: Final = 1000
DEFAULT_TARGET: Final = "127.0.0.1:50052"

ledger = typer.Typer(no_args_is_help=True, help="The ledger: prove it, look into it.")
account = typer.Typer(no_args_is_help=True, help="Accounts: make, lock, credit, move by hand.")
console, errors = Console(), Console(stderr=True)

Target = Annotated[
    str, typer.Option(help="gRPC address of the pay service.", envvar="SHOUDAN_PAY_TARGET")
]
Ident = Annotated[str, typer.Argument(help="System that owns it, such as oms.")]
Groups = Annotated[str, typer.Argument(help="Kind of account, such as down_channel; - for none.")]
Eid = Annotated[str, typer.Argument(help="Channel or member number.")]
Yuan = Annotated[str, typer.Argument(help="Yuan, at most five decimals.")]
TradeNo = Annotated[str, typer.Argument(help="Number of the movement; a repeat changes nothing.")]
Memo = Annotated[str, typer.Option(help="Why, for people.")]


@ledger.callback()
def ledger_group() -> None:
    """The ledger: prove it, look into it."""


@account.callback()
def account_group() -> None:
    """Accounts: make, lock, credit, move by hand."""


@ledger.command()
def verify(
    ident: Annotated[str, typer.Option(help="Only accounts of this system.")] = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Recompute every account from its records. Exit code 1 and the first broken row on damage."""
    last = _run(target, lambda stub: _verified(stub, ident))
    if not last.findings:
        console.print(f"{last.accounts:,} accounts, {last.records:,} records: all hold")
        return
    for found in last.findings:
        where = f"record {found.record_id}" if found.record_id else "its own row"
        _plain(errors, f"account {found.account_id}, {where}: {found.what}")
    raise typer.Exit(1)


async def _verified(stub: Any, ident: str) -> pb.VerifyResponse:
    columns = TextColumn("records"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    last = pb.VerifyResponse()
    with Progress(*columns, console=errors, transient=True) as shown:
        bar = shown.add_task("verify", total=None)
        async for last in stub.Verify(pb.VerifyRequest(ident=ident), timeout=VERIFY_S):
            shown.update(bar, total=last.records_total, completed=last.records)
    if not last.done:
        _fail("the proof ended early; nothing is proved")
    return last


@ledger.command()
def balance(
    ident: Ident,
    groups: Groups,
    eid: Eid,
    at: Annotated[
        str, typer.Option(help="Beijing time YYYY-MM-DD HH:MM:SS, that whole second included.")
    ] = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """What an account holds, or held."""
    request = pb.GetBalanceRequest(key=_key(ident, groups, eid))
    if at:
        request.time.FromDatetime(_time(at))
    found = _run(target, lambda stub: stub.GetBalance(request, timeout=CALL_S))
    console.print(f"{micros_to_yuan(found.balance_micros)} 元 after {found.seq} records")


@ledger.command()
def accounts(
    ident: Annotated[str, typer.Option(help="Only this system.")] = "",
    groups: Annotated[str, typer.Option(help="Only groups that begin so.")] = "",
    most: Annotated[int, typer.Option("--max", min=1, max=ROWS_MAX, help="Rows.")] = 100,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Accounts with balance and credit."""
    request = pb.ListAccountsRequest(ident=ident, groups_prefix=groups, page_size=most)
    found = _run(target, lambda stub: stub.ListAccounts(request, timeout=CALL_S))
    table = Table("id", "ident", "groups", "eid", "name", "balance 元", "credit 元", "state")
    for one in found.accounts:
        credit = micros_to_yuan(one.credit_micros) if one.limited else "no limit"
        key = one.key
        table.add_row(
            str(one.account_id),
            *(key.ident, key.groups, key.eid, one.name),
            *(micros_to_yuan(one.balance_micros), credit, "locked" if one.locked else ""),
        )
    console.print(table)
    if found.count > len(found.accounts):
        console.print(f"{len(found.accounts)} of {found.count}")


@ledger.command()
def records(
    ident: Ident,
    groups: Groups,
    eid: Eid,
    most: Annotated[int, typer.Option("--max", min=1, max=ROWS_MAX, help="Rows.")] = 20,
    target: Target = DEFAULT_TARGET,
) -> None:
    """The newest records of an account."""
    request = pb.ListRecordsRequest(account=_key(ident, groups, eid), page_size=most)
    found = _run(target, lambda stub: stub.ListRecords(request, timeout=CALL_S))
    table = Table("seq", "time", "trade no", "quotes", "change", "trade", "amount 元", "balance 元")
    for one in found.records:
        table.add_row(
            *(str(one.seq), beijing(one.create_time.ToDatetime(UTC)), one.trade_no, one.ext_no),
            _short(pb.ChangeType.Name(one.change_type), "CHANGE_TYPE_"),
            _short(pb.TradeType.Name(one.trade_type), "TRADE_TYPE_"),
            *(micros_to_yuan(one.amount_micros), micros_to_yuan(one.balance_micros)),
        )
    console.print(table)


@account.command()
def create(
    ident: Ident,
    groups: Groups,
    eid: Eid,
    name: Annotated[str, typer.Option(help="Name for people; the eid without it.")] = "",
    credit: Annotated[str, typer.Option(help="Yuan it may go below zero.")] = "0",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Make an account; one that exists is left as it is."""
    item = pb.CreateAccountsRequest.Item(
        key=_key(ident, groups, eid), name=name, credit_micros=_micros(credit)
    )
    request = pb.CreateAccountsRequest(items=[item])
    (made,) = _run(target, lambda stub: stub.CreateAccounts(request, timeout=CALL_S)).results
    if made.HasField("refusal"):
        _fail(made.refusal.message)
    console.print(f"{'existed' if made.existed else 'made'}: account {made.account.account_id}")


@account.command()
def credit(
    ident: Ident, groups: Groups, eid: Eid, yuan: Yuan, target: Target = DEFAULT_TARGET
) -> None:
    """Set how far below zero spending may go."""
    key = _key(ident, groups, eid)
    _changed(target, pb.UpdateAccountRequest(key=key, credit_micros=_micros(yuan)))


@account.command()
def lock(ident: Ident, groups: Groups, eid: Eid, target: Target = DEFAULT_TARGET) -> None:
    """Refuse every movement of the account."""
    _changed(target, pb.UpdateAccountRequest(key=_key(ident, groups, eid), locked=True))


@account.command()
def unlock(ident: Ident, groups: Groups, eid: Eid, target: Target = DEFAULT_TARGET) -> None:
    """Allow movements again."""
    _changed(target, pb.UpdateAccountRequest(key=_key(ident, groups, eid), locked=False))


@account.command()
def add(
    ident: Ident,
    groups: Groups,
    eid: Eid,
    yuan: Yuan,
    trade_no: TradeNo,
    memo: Memo = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """加款: pay into the account."""
    amount = _micros(yuan)
    posting = _posting(_key(ident, groups, eid), pb.CHANGE_TYPE_ADD, amount, trade_no, memo)
    _moved(target, posting)


@account.command()
def drawing(
    ident: Ident,
    groups: Groups,
    eid: Eid,
    yuan: Yuan,
    trade_no: TradeNo,
    memo: Memo = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """提款: pay out of the account."""
    amount = -_micros(yuan)
    posting = _posting(_key(ident, groups, eid), pb.CHANGE_TYPE_DRAWING, amount, trade_no, memo)
    _moved(target, posting)


@account.command()
def reverse(
    ident: Ident,
    groups: Groups,
    eid: Eid,
    quoted: Annotated[str, typer.Argument(help="Number of the add or drawing to take back.")],
    trade_no: TradeNo,
    was_drawing: Annotated[
        bool, typer.Option("--drawing", help="It was a drawing, not an add.")
    ] = False,
    memo: Memo = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """红冲: take back an add or a drawing, whole and once."""
    change = pb.CHANGE_TYPE_DRAWING if was_drawing else pb.CHANGE_TYPE_ADD
    posting = _posting(_key(ident, groups, eid), change, 0, trade_no, memo)
    posting.trade_type, posting.ext_no = pb.TRADE_TYPE_REVERSE, quoted
    _moved(target, posting)


def _posting(
    key: pb.AccountKey, change: pb.ChangeType.ValueType, micros: int, trade_no: str, memo: str
) -> pb.Posting:
    return pb.Posting(
        account=key,
        trade_no=trade_no,
        change_type=change,
        trade_type=pb.TRADE_TYPE_TRADE,
        amount_micros=micros,
        memo=memo,
    )


def _moved(target: str, posting: pb.Posting) -> None:
    request = pb.PostRequest(posting=posting)
    made = _run(target, lambda stub: stub.Post(request, timeout=CALL_S))
    word = "was there before" if made.existed else "posted"
    left = micros_to_yuan(made.record.balance_micros)
    console.print(f"{word}: record {made.record.record_id}, balance {left} 元")


def _changed(target: str, request: pb.UpdateAccountRequest) -> None:
    one = _run(target, lambda stub: stub.UpdateAccount(request, timeout=CALL_S)).account
    state = "locked" if one.locked else "open"
    console.print(
        f"account {one.account_id}: credit {micros_to_yuan(one.credit_micros)} 元, {state}"
    )


def _run(target: str, ask: Callable[[Any], Awaitable[T]]) -> T:
    """Ask the pay service; a refusal or a failure becomes one line on stderr and exit code 1."""

    async def asked() -> T:
        channel = connect(target)
        try:
            return await ask(stubs.LedgerServiceStub(cast("Any", channel)))
        finally:
            await channel.close()

    try:
        return asyncio.run(asked())
    except aio.AioRpcError as error:
        refused = refused_from_rpc(error)
        _fail(str(refused or f"{error.code().name} {error.details()}"))
    raise typer.Exit(1)


def _fail(words: str) -> None:
    _plain(errors, words)
    raise typer.Exit(1)


def _plain(where: Console, words: str) -> None:
    """Words from data: no colours or links are read out of them."""
    where.print(words, markup=False, highlight=False, soft_wrap=True)


def _key(ident: str, groups: str, eid: str) -> pb.AccountKey:
    return pb.AccountKey(ident=ident, groups=groups, eid=eid)


def _micros(yuan: str) -> int:
    try:
        return yuan_to_micros(yuan)
    except ValueError as error:
        raise typer.BadParameter(f"{yuan}: {error}") from None


def _time(text: str) -> datetime:
    """The end of the second named: people name the last second of a day and mean all of it."""
    try:
        return from_beijing(text) + timedelta(microseconds=999_999)
    except ValueError as error:
        raise typer.BadParameter(f"{text}: {error}") from None


def _short(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower().replace("_", " ")
