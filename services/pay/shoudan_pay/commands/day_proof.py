"""`shoudan ledger day`: the records of a closed day are what it was closed with, account by account."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import date
from typing import Annotated, Any, Final

import typer

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.money import micros_to_yuan
from shoudan_pay.commands.calls import CALL_S, DEFAULT_TARGET, Target, console, fail, plain, run

EXPORT_S: Final = 3600.0
PIECES_MAX: Final = 1000  # of one ExportRecords (ledger_service.proto)


class DayDiffers(ValueError):
    """The records are not what a day was closed with, in words."""


class DayProof:
    """Holds an account's records to its closed days: each once, in order, sums and last hash alike."""

    def __init__(self, days: Sequence[pb.AccountDay]) -> None:
        self._days, self._at = days, 0
        self._next, self._balance = days[0].seq_from, days[0].opening_micros
        self._credits = self._debits = 0

    def day_of(self, record: pb.Record) -> str:
        """The day the record belongs to. Raises DayDiffers."""
        if self._at == len(self._days):
            raise DayDiffers(f"record {record.record_id} is behind the last day")
        day, amount = self._days[self._at], record.amount_micros
        if record.account_id != day.account_id or record.seq != self._next:
            raise DayDiffers(f"record {record.record_id} comes in place of seq {self._next}")
        if self._balance + amount != record.balance_micros:
            raise DayDiffers(f"record {record.record_id} does not follow the one before")
        self._next, self._balance = self._next + 1, record.balance_micros
        self._credits += max(amount, 0)
        self._debits += max(-amount, 0)
        if record.seq == day.seq_to:
            self._close(day, record)
        return day.day

    def _close(self, day: pb.AccountDay, last: pb.Record) -> None:
        sums = self._debits, self._credits, last.balance_micros, last.hash
        if sums != (day.debits_micros, day.credits_micros, day.closing_micros, day.head_hash):
            raise DayDiffers(
                f"account {day.account_id}: its records of {day.day} are not what it was closed with"
            )
        self._at, self._debits, self._credits = self._at + 1, 0, 0

    @property
    def complete(self) -> bool:
        """Whether every record of every day has come."""
        return self._at == len(self._days)

    def end(self) -> None:
        """Raises DayDiffers when records are missing."""
        if not self.complete:
            raise DayDiffers(f"records of {self._days[self._at].day} are missing")


def day(
    which: Annotated[str, typer.Argument(metavar="DAY", help="Accounting day, yyyy-mm-dd.")],
    target: Target = DEFAULT_TARGET,
) -> None:
    """Prove a closed day by all its records. Exit code 1 when one is missing or another one."""
    try:
        wanted = date.fromisoformat(which)
    except ValueError:
        raise typer.BadParameter(f"{which} is no day of the form yyyy-mm-dd") from None
    try:
        found = run(target, lambda stub: proved(stub, wanted.isoformat()))
    except DayDiffers as error:
        fail(f"{which}: {error}")
    sums = micros_to_yuan(found.credits_micros), micros_to_yuan(found.debits_micros)
    words = f"{found.records} records of {found.accounts} accounts, + {sums[0]} - {sums[1]} 元"
    plain(console, f"{which}: {words}: complete")


async def proved(stub: Any, day: str) -> pb.LedgerDay:
    """The day, when its accounts and their records come to it. Raises DayDiffers."""
    listed = await stub.ListLedgerDays(
        pb.ListLedgerDaysRequest(from_day=day, page_size=1), timeout=CALL_S
    )
    made = pb.LedgerDay(day=day)
    request = pb.ExportAccountDaysRequest(day=day)
    async for part in stub.ExportAccountDays(request, timeout=EXPORT_S):
        for start in range(0, len(part.accounts), PIECES_MAX):
            some = part.accounts[start : start + PIECES_MAX]
            await _hold(stub, some)
            _add(made, some)
    known = listed.days[0]  # ExportAccountDays has refused a day that is not closed
    made.create_time.CopyFrom(known.create_time)
    if made != known:
        raise DayDiffers("its accounts do not come to the sums it was closed with")
    return made


def _add(made: pb.LedgerDay, accounts: Iterable[pb.AccountDay]) -> None:
    for one in accounts:
        made.accounts += 1
        made.records += one.seq_to - one.seq_from + 1
        made.debits_micros += one.debits_micros
        made.credits_micros += one.credits_micros


async def _hold(stub: Any, accounts: Sequence[pb.AccountDay]) -> None:
    """Hold the records of these accounts to their days, one account after the other."""
    left = iter(accounts)
    proof: DayProof | None = None
    async for record in _records(stub, accounts):
        if proof is None or proof.complete:
            following = next(left, None)
            if following is None:
                raise DayDiffers(f"record {record.record_id} belongs to no account of the day")
            proof = DayProof([following])
        proof.day_of(record)
    if proof is not None:
        proof.end()
    if (missing := next(left, None)) is not None:
        raise DayDiffers(f"account {missing.account_id}: its records are missing")


async def _records(stub: Any, accounts: Sequence[pb.AccountDay]) -> AsyncIterator[pb.Record]:
    pieces = [
        pb.ExportRecordsRequest.Piece(
            account_id=one.account_id, seq_from=one.seq_from, seq_to=one.seq_to
        )
        for one in accounts
    ]
    request = pb.ExportRecordsRequest(pieces=pieces)
    async for part in stub.ExportRecords(request, timeout=EXPORT_S):
        for record in part.records:
            yield record
