"""What the ledger publishes: one Posted per group, and accounts that changed, ran low or recovered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from shoudan.pay.v1 import events_pb2 as pb
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.work import WorkEvents
from shoudan_pay.alerts import Crossing
from shoudan_pay.entries import Account, Decision

POSTED: Final = "shoudan.events.pay.ledger.posted"
CHANGED: Final = "shoudan.events.pay.account.changed"
LOW: Final = "shoudan.events.pay.account.low"
RECOVERED: Final = "shoudan.events.pay.account.recovered"

_line = pb.Posted.Line


def posted(
    events: WorkEvents, decisions: Iterable[Decision], accounts: Mapping[int, Account]
) -> None:
    """Announce every group that wrote records; repeats and refusals are no news."""
    for decision in decisions:
        new = decision.new
        if not new:
            continue
        first = new[0]
        lines: list[pb.Posted.Line] = []
        for record in new:
            account = accounts[record.account_id]
            lines.append(
                _line(
                    account_id=record.account_id,
                    groups=account.groups,
                    eid=account.eid,
                    amount_micros=record.amount_micros,
                    balance_micros=record.balance_micros,
                    change_type=record.change_type,
                    trade_type=record.trade_type,
                )
            )
        body = pb.Posted(trade_no=first.trade_no, ext_no=first.ext_no, lines=lines)
        events.add(POSTED, key=first.trade_no, body=body)


def account_changed(events: WorkEvents, account: Account) -> None:
    """Announce a new name, credit or lock."""
    body = pb.AccountChanged(
        account_id=account.account_id,
        ident=account.ident,
        groups=account.groups,
        eid=account.eid,
        name=account.name,
        credit_micros=account.credit_micros,
        locked=account.locked,
    )
    events.add(CHANGED, key=str(account.account_id), body=body)


def crossed(events: WorkEvents, told: Iterable[Crossing], accounts: Mapping[int, Account]) -> None:
    """Announce balances that fell below a threshold or have recovered."""
    for crossing in told:
        alert = crossing.alert
        account = accounts[alert.account_id]
        body = pb.BalanceAlert(
            account_id=alert.account_id,
            groups=account.groups,
            eid=account.eid,
            balance_micros=crossing.balance_micros,
            threshold_micros=alert.threshold_micros,
        )
        shown = micros_to_yuan(crossing.balance_micros), micros_to_yuan(alert.threshold_micros)
        events.add(
            LOW if alert.low else RECOVERED,
            key=str(alert.account_id),
            body=body,
            text=f"{account.groups}/{account.eid}: balance {shown[0]}, threshold {shown[1]}",
        )
