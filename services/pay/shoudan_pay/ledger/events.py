"""What the ledger publishes: groups that were posted, and accounts that changed, ran low or recovered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from shoudan.core.v1.core_pb2 import Event
from shoudan.pay.v1 import events_pb2 as pb
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.tasks.unit_of_work import WorkEvents
from shoudan_pay.ledger.entries import Account, Crossing, Decision, Finding, Record
from shoudan_pay.ledger.statements import Statement
from shoudan_pay.ledger.store.days import LedgerDay
from shoudan_pay.ledger.store.records import Shown

POSTED: Final = "shoudan.events.pay.ledger.posted"
SEALED: Final = "shoudan.events.pay.ledger.sealed"
BROKEN: Final = "shoudan.events.pay.ledger.broken"
DAY_CLOSED: Final = "shoudan.events.pay.ledger.day_closed"
CHANGED: Final = "shoudan.events.pay.account.changed"
LOW: Final = "shoudan.events.pay.account.low"
RECOVERED: Final = "shoudan.events.pay.account.recovered"

# Of the longest texts still far below what a message of the bus may hold.
LINES_MAX: Final = 200


def posted(
    events: WorkEvents, decisions: Iterable[Decision], accounts: Mapping[int, Account]
) -> None:
    """Announce the groups that wrote records; repeats and refusals are no news.

    One event for many groups: the records themselves are the history of a trade number.
    """
    body, room = pb.PostedGroups(), LINES_MAX
    add = body.groups.add
    for decision in decisions:
        for part in _parts(decision.new):
            if len(part) > room:
                events.add(POSTED, key="", body=body)
                body, room = pb.PostedGroups(), LINES_MAX
                add = body.groups.add
            _put(add(), part, accounts)
            room -= len(part)
    if room < LINES_MAX:
        events.add(POSTED, key="", body=body)


def _parts(new: Sequence[Record]) -> Sequence[Sequence[Record]]:
    """The records of a group as messages can hold them: mostly together."""
    if len(new) <= LINES_MAX:
        return (new,) if new else ()
    return [new[start : start + LINES_MAX] for start in range(0, len(new), LINES_MAX)]


def _put(group: pb.Posted, records: Sequence[Record], accounts: Mapping[int, Account]) -> None:
    first = records[0]
    group.trade_no = first.trade_no
    if first.ext_no:
        group.ext_no = first.ext_no
    add = group.lines.add  # in place: a message made apart would be copied in
    for record in records:
        account = accounts[record.account_id]
        _line(add(), record, account.groups, account.eid)


def _line(made: pb.Posted.Line, record: Record, groups: str, eid: str) -> None:
    """Field by field, which costs less than one call with all of them."""
    made.account_id = record.account_id
    made.groups = groups
    made.eid = eid
    made.amount_micros = record.amount_micros
    made.balance_micros = record.balance_micros
    made.change_type = record.change_type
    made.trade_type = record.trade_type


def history(found: Iterable[Shown]) -> list[Event]:
    """Records of some trade numbers, oldest first, as the events their groups would have been."""
    groups: dict[tuple[str, datetime], list[Shown]] = {}
    for one in found:
        groups.setdefault((one.record.trade_no, one.record.create_time), []).append(one)
    return [_remembered(group) for group in groups.values()]


def _remembered(group: Sequence[Shown]) -> Event:
    first = group[0].record
    body = pb.Posted(trade_no=first.trade_no, ext_no=first.ext_no)
    words: list[str] = []
    for one in group:
        record, (_, groups, eid) = one.record, one.account
        words.append(f"{groups}/{eid} {micros_to_yuan(record.amount_micros)}")
        _line(body.lines.add(), record, groups, eid)
    made = Event(event_id=first.record_id, subject=POSTED, key=first.trade_no)
    made.time.FromDatetime(first.create_time)
    made.text, made.body = ", ".join(words), body.SerializeToString()
    return made


def broken(events: WorkEvents, findings: Sequence[Finding], shard: int) -> None:
    """Announce that the proof of the ledger found damage."""
    body = pb.LedgerBroken(shard=shard)
    for one in findings:
        body.findings.add(account_id=one.account_id, record_id=one.record_id, what=one.what)
    first = findings[0]
    where = f"account {first.account_id}, record {first.record_id}: {first.what}"
    if not first.account_id:
        where = f"statements: {first.what}"
    events.add(BROKEN, key="", body=body, text=f"{len(findings)} found; {where}")


def sealed(events: WorkEvents, statement: Statement, hash_: str, signed: bytes) -> None:
    """Announce the day's statement."""
    body = pb.LedgerSealed(
        number=statement.number,
        day=statement.day,
        hash=hash_,
        accounts=statement.accounts,
        records=statement.records,
        sum_micros=statement.sum_micros,
        signed=signed,
        shard=statement.shard,
    )
    text = f"statement {statement.number} of {statement.day}: {hash_}"
    events.add(SEALED, key=f"statement-{statement.number}", body=body, text=text)


def day_closed(events: WorkEvents, day: LedgerDay, shard: int) -> None:
    """Announce that an accounting day is closed."""
    body = pb.LedgerDayClosed(
        day=day.day.isoformat(),
        accounts=day.accounts,
        records=day.records,
        debits_micros=day.debits_micros,
        credits_micros=day.credits_micros,
        shard=shard,
    )
    text = f"{day.records} records of {day.accounts} accounts"
    events.add(DAY_CLOSED, key=f"day-{day.day}", body=body, text=text)


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


def crossed(
    events: WorkEvents, crossings: Iterable[Crossing], accounts: Mapping[int, Account]
) -> None:
    """Announce balances that fell below a threshold or have recovered."""
    for crossing in crossings:
        alert = crossing.alert
        account = accounts[alert.account_id]
        body = pb.BalanceAlert(
            account_id=alert.account_id,
            groups=account.groups,
            eid=account.eid,
            balance_micros=crossing.balance_micros,
            threshold_micros=alert.threshold_micros,
            ident=account.ident,
            seq=crossing.seq,
            low=alert.low,
        )
        shown = micros_to_yuan(crossing.balance_micros), micros_to_yuan(alert.threshold_micros)
        events.add(
            LOW if alert.low else RECOVERED,
            key=str(alert.account_id),
            body=body,
            text=f"{account.groups}/{account.eid}: balance {shown[0]}, threshold {shown[1]}",
        )
