"""`shoudan ledger ...` looks into the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer
from rich.table import Table

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.clock import beijing, from_beijing
from shoudan_kit.money import micros_to_yuan
from shoudan_pay.commands.calls import (
    CALL_S,
    DEFAULT_TARGET,
    Eid,
    Groups,
    Ident,
    Target,
    console,
    key,
    run,
)

ROWS_MAX: Final = 1000

ledger = typer.Typer(no_args_is_help=True)


@ledger.callback()
def ledger_group() -> None:
    """The ledger: prove it, look into it."""


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
    request = pb.GetBalanceRequest(key=key(ident, groups, eid))
    if at:
        request.time.FromDatetime(_time(at))
    found = run(target, lambda stub: stub.GetBalance(request, timeout=CALL_S))
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
    found = run(target, lambda stub: stub.ListAccounts(request, timeout=CALL_S))
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
    request = pb.ListRecordsRequest(account=key(ident, groups, eid), page_size=most)
    found = run(target, lambda stub: stub.ListRecords(request, timeout=CALL_S))
    table = Table(
        *("seq", "time", "trade no", "quotes", "change", "trade", "amount 元", "balance 元", "memo")
    )
    for one in found.records:
        table.add_row(
            *(str(one.seq), beijing(one.create_time.ToDatetime(UTC)), one.trade_no, one.ext_no),
            _short(pb.ChangeType.Name(one.change_type), "CHANGE_TYPE_"),
            _short(pb.TradeType.Name(one.trade_type), "TRADE_TYPE_"),
            *(micros_to_yuan(one.amount_micros), micros_to_yuan(one.balance_micros), one.memo),
        )
    console.print(table)


@ledger.command()
def days(
    since: Annotated[str, typer.Option("--from", help="From this day on, yyyy-mm-dd.")] = "",
    most: Annotated[int, typer.Option("--max", min=1, max=ROWS_MAX, help="Rows.")] = 31,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Accounting days that are closed, oldest first."""
    request = pb.ListLedgerDaysRequest(from_day=since, page_size=most)
    found = run(target, lambda stub: stub.ListLedgerDays(request, timeout=CALL_S))
    table = Table("day", "accounts", "records", "debits 元", "credits 元", "closed")
    for one in found.days:
        table.add_row(
            *(one.day, str(one.accounts), str(one.records)),
            *(micros_to_yuan(one.debits_micros), micros_to_yuan(one.credits_micros)),
            beijing(one.create_time.ToDatetime(UTC)),
        )
    console.print(table)


def _time(text: str) -> datetime:
    """The end of the second named: people name the last second of a day and mean all of it."""
    try:
        return from_beijing(text) + timedelta(microseconds=999_999)
    except ValueError as error:
        raise typer.BadParameter(f"{text}: {error}") from None


def _short(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower().replace("_", " ")
