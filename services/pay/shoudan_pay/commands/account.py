"""`shoudan account ...` makes accounts and moves money by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.money import micros_to_yuan, yuan_to_micros
from shoudan_kit.proposals.command import Why
from shoudan_pay.commands.calls import (
    DEFAULT_TARGET,
    Eid,
    Evidence,
    Groups,
    Ident,
    Reason,
    Target,
    console,
    fail,
    key,
    run_or_propose,
)

account = typer.Typer(no_args_is_help=True)

Yuan = Annotated[str, typer.Argument(help="Yuan, at most five decimals.")]
TradeNo = Annotated[str, typer.Argument(help="Number of the movement; a repeat changes nothing.")]
Memo = Annotated[str, typer.Option(help="Why, for people.")]


@account.callback()
def account_group() -> None:
    """Accounts: make, lock, credit, move by hand."""


@account.command()
def create(
    ident: Ident,
    groups: Groups,
    eid: Eid,
    name: Annotated[str, typer.Option(help="Name for people; the eid without it.")] = "",
    credit: Annotated[str, typer.Option(help="Yuan it may go below zero.")] = "0",
    reason: Reason = "",
    evidence: Evidence = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Make an account; one that exists is left as it is."""
    item = pb.CreateAccountsRequest.Item(
        key=key(ident, groups, eid), name=name, credit_micros=_micros(credit)
    )
    request = pb.CreateAccountsRequest(items=[item])
    answer = run_or_propose(target, "CreateAccounts", request, Why(reason, evidence))
    if answer is None:
        return
    (made,) = answer.results
    if made.HasField("refusal"):
        fail(made.refusal.message)
    console.print(f"{'existed' if made.existed else 'made'}: account {made.account.account_id}")


@account.command()
def credit(
    ident: Ident,
    groups: Groups,
    eid: Eid,
    yuan: Yuan,
    reason: Reason = "",
    evidence: Evidence = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Set how far below zero spending may go."""
    owner = key(ident, groups, eid)
    asked = pb.UpdateAccountRequest(key=owner, credit_micros=_micros(yuan))
    _changed(target, asked, Why(reason, evidence))


@account.command()
def lock(ident: Ident, groups: Groups, eid: Eid, target: Target = DEFAULT_TARGET) -> None:
    """Refuse every movement of the account."""
    _changed(target, pb.UpdateAccountRequest(key=key(ident, groups, eid), locked=True), Why(""))


@account.command()
def unlock(ident: Ident, groups: Groups, eid: Eid, target: Target = DEFAULT_TARGET) -> None:
    """Allow movements again."""
    _changed(target, pb.UpdateAccountRequest(key=key(ident, groups, eid), locked=False), Why(""))


@account.command()
def add(
    ident: Ident,
    groups: Groups,
    eid: Eid,
    yuan: Yuan,
    trade_no: TradeNo,
    memo: Memo = "",
    reason: Reason = "",
    evidence: Evidence = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """加款: pay into the account."""
    amount = _micros(yuan)
    posting = _posting(key(ident, groups, eid), pb.CHANGE_TYPE_ADD, amount, trade_no, memo)
    _moved(target, posting, Why(reason or memo, evidence))


@account.command()
def drawing(
    ident: Ident,
    groups: Groups,
    eid: Eid,
    yuan: Yuan,
    trade_no: TradeNo,
    memo: Memo = "",
    reason: Reason = "",
    evidence: Evidence = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """提款: pay out of the account."""
    amount = -_micros(yuan)
    posting = _posting(key(ident, groups, eid), pb.CHANGE_TYPE_DRAWING, amount, trade_no, memo)
    _moved(target, posting, Why(reason or memo, evidence))


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
    reason: Reason = "",
    evidence: Evidence = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """红冲: take back an add or a drawing, whole and once."""
    change = pb.CHANGE_TYPE_DRAWING if was_drawing else pb.CHANGE_TYPE_ADD
    posting = _posting(key(ident, groups, eid), change, 0, trade_no, memo)
    posting.trade_type, posting.ext_no = pb.TRADE_TYPE_REVERSE, quoted
    _moved(target, posting, Why(reason or memo, evidence))


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
        about=pb.ABOUT_MANUAL,
    )


def _moved(target: str, posting: pb.Posting, why: Why) -> None:
    made = run_or_propose(target, "Post", pb.PostRequest(posting=posting), why)
    if made is None:
        return
    word = "was there before" if made.existed else "posted"
    left = micros_to_yuan(made.record.balance_micros)
    console.print(f"{word}: record {made.record.record_id}, balance {left} 元")


def _changed(target: str, request: pb.UpdateAccountRequest, why: Why) -> None:
    answer = run_or_propose(target, "UpdateAccount", request, why)
    if answer is None:
        return
    one = answer.account
    state = "locked" if one.locked else "open"
    console.print(
        f"account {one.account_id}: credit {micros_to_yuan(one.credit_micros)} 元, {state}"
    )


def _micros(yuan: str) -> int:
    try:
        return yuan_to_micros(yuan)
    except ValueError as error:
        raise typer.BadParameter(f"{yuan}: {error}") from None
