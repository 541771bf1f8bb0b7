"""What the finance service publishes: days that are complete or differ from the ledger, and bills."""

from __future__ import annotations

from typing import Final

from shoudan.finance.v1 import events_pb2
from shoudan_finance.store.bills import Bill, Published
from shoudan_finance.store.days import Day
from shoudan_finance.store.runs import Counts, Run
from shoudan_finance.store.statements import Statement
from shoudan_kit.tasks.unit_of_work import UnitOfWork

COMPLETE: Final = "shoudan.events.finance.day.complete"
DIFFERS: Final = "shoudan.events.finance.day.differs"
IMPORTED: Final = "shoudan.events.finance.statement.imported"
BILL_READY: Final = "shoudan.events.finance.bill.ready"
RECONCILED: Final = "shoudan.events.finance.reconcile.done"
RECONCILE_FAILED: Final = "shoudan.events.finance.reconcile.failed"


def completed(work: UnitOfWork, day: Day, digest: bytes) -> None:
    """Every movement of the day is here."""
    body = events_pb2.DayCompleted(
        day=day.day.isoformat(),
        accounts=day.accounts,
        movements=day.movements,
        debits_micros=day.debits_micros,
        credits_micros=day.credits_micros,
        digest=digest,
    )
    text = f"{day.movements} movements of {day.accounts} accounts: complete"
    work.events.add(COMPLETE, key=f"day-{day.day}", body=body, text=text)


def differs(work: UnitOfWork, day: Day, what: str) -> None:
    """The day's movements are not what the ledger closed it with."""
    body = events_pb2.DayDiffers(day=day.day.isoformat(), what=what)
    work.events.add(DIFFERS, key=f"day-{day.day}", body=body, text=what)


def imported(work: UnitOfWork, one: Statement) -> None:
    """The rows of a statement are here."""
    body = events_pb2.StatementImported(
        statement_id=one.statement_id,
        source=one.source,
        entries=one.entries,
        first_day="" if one.first_day is None else one.first_day.isoformat(),
        last_day="" if one.last_day is None else one.last_day.isoformat(),
        supersedes=one.supersedes,
    )
    text = f"statement of {one.source}: {one.entries} rows, {one.duplicates} were here before"
    work.events.add(IMPORTED, key=f"statement-{one.statement_id}", body=body, text=text)


def bill_ready(work: UnitOfWork, bill: Bill, made: Published) -> None:
    """The bill is published."""
    body = events_pb2.BillReady(
        bill_id=bill.bill_id,
        kind=bill.kind,
        ident=bill.ident,
        groups=bill.groups,
        eid=bill.eid,
        first_day=bill.first_day.isoformat(),
        last_day=bill.last_day.isoformat(),
        file=made.file,
        sha256=made.sha256,
        rows=made.rows,
    )
    text = f"{made.file}: {made.rows} rows, sha256 {made.sha256}"
    work.events.add(BILL_READY, key=f"bill-{bill.bill_id}", body=body, text=text)


def reconciled(work: UnitOfWork, one: Run, counts: Counts) -> None:
    """A run of the reconciliation has ended."""
    names = [field.name for field in events_pb2.Reconciled.DESCRIPTOR.fields]
    found = {name: getattr(counts, name) for name in names if hasattr(counts, name)}
    body = events_pb2.Reconciled(run_id=one.run_id, source=one.source, **found)
    new = sum((counts.longs, counts.shorts, counts.amounts, counts.outcomes, counts.settlements))
    text = f"{one.source}: {counts.matched} matched, {new} exceptions, {counts.awaiting} awaited"
    work.events.add(RECONCILED, key=f"run-{one.run_id}", body=body, text=text)


def reconcile_failed(work: UnitOfWork, one: Run, what: str) -> None:
    """A run of the reconciliation could not be made."""
    body = events_pb2.ReconcileFailed(run_id=one.run_id, source=one.source, what=what)
    text = f"{one.source}: {what}"
    work.events.add(RECONCILE_FAILED, key=f"run-{one.run_id}", body=body, text=text)
