"""The morning after the demo's order: the ledger's day is closed, and the bill of yesterday proves itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import msgspec

from shoudan.finance.v1 import bill_service_pb2 as bill_pb
from shoudan.finance.v1 import bill_service_pb2_grpc as bill_stubs
from shoudan.finance.v1 import finance_service_pb2 as day_pb
from shoudan.finance.v1 import finance_service_pb2_grpc as day_stubs
from shoudan_cli import clock
from shoudan_cli.clients import Clients, Failed
from shoudan_kit.clock import BEIJING
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.process.polling import until

IDENT, GROUPS, EID = "oms", "down_channel", "test"
AFTER_MIDNIGHT: Final = timedelta(minutes=5)  # the ledger waits a minute for what is late
WAIT_S: Final = 60.0
LOOK_S: Final = 0.1


async def next_morning(clients: Clients, balance_micros: int, show: Callable[[str], None]) -> None:
    """Let time pass until after midnight, as `shoudan clock advance` does, and show the bill of that day.

    Raises Failed when the day is not proved in time, or the bill does not end with the balance.
    """
    now = datetime.now(UTC).astimezone(BEIJING)
    midnight = datetime(now.year, now.month, now.day, tzinfo=BEIJING) + timedelta(days=1)
    ahead = int((midnight + AFTER_MIDNIGHT - now).total_seconds())
    await clock.to(clients, ahead)
    day = await _proved(clients, now.date())
    show(f"the next morning, on a clock turned by {timedelta(seconds=ahead)}:")
    show(f"  {day.day} is closed: {day.movements} movements of {day.accounts} accounts, all here")
    show(f"  proof {day.digest.hex()}")
    bill = await _published(clients, day.day)
    show(f"  bill of yesterday: {bill.file}, {bill.rows} rows, sha256 {bill.sha256}")
    for line in proofs(bill.manifest, balance_micros):
        show(f"  {line}")


def proofs(manifest: str, balance_micros: int) -> Iterator[str]:
    """A line for each account of a bill: opening and movements make its closing. Raises Failed."""
    closings: list[int] = []
    for one in msgspec.json.decode(manifest)["accounts"]:
        opening, closing = one["opening_micros"], one["closing_micros"]
        up, down = one["credits_micros"], one["debits_micros"]
        yield (
            f"{one['groups']}/{one['eid']}: {micros_to_yuan(opening)} + {micros_to_yuan(up)}"
            f" - {micros_to_yuan(down)} = {micros_to_yuan(closing)} 元"
        )
        if opening + up - down != closing:
            raise Failed("the bill's sums do not make its closing balance")
        closings += [closing] if one["groups"] == GROUPS else []
    if closings != [balance_micros]:
        raise Failed(f"the bill does not end with the balance {micros_to_yuan(balance_micros)}")


async def _proved(clients: Clients, day: date) -> Any:
    """The day once the books hold it to be complete. Raises Failed."""
    found: list[Any] = []

    async def complete() -> bool:
        answer = await clients.call(
            "finance", day_stubs.FinanceServiceStub, "ListDays", day_pb.ListDaysRequest()
        )
        found[:] = [
            one
            for one in answer.days
            if one.day == day.isoformat() and one.status == day_pb.DAY_STATUS_COMPLETE
        ]
        return bool(found)

    if not await until(complete, WAIT_S, every_s=LOOK_S):
        raise Failed(f"{day} was not complete in {WAIT_S:g} s")
    return found[0]


async def _published(clients: Clients, day: str) -> Any:
    """The fund bill of the channel once it is published. Raises Failed."""
    request = bill_pb.MakeBillRequest(kind="fund", ident=IDENT, eid=EID, first_day=day)
    stub = bill_stubs.BillServiceStub
    bill = (await clients.call("finance", stub, "MakeBill", request)).bill

    async def published() -> bool:
        nonlocal bill
        asked = bill_pb.GetBillRequest(bill_id=bill.bill_id)
        bill = (await clients.call("finance", stub, "GetBill", asked)).bill
        return bill.status != bill_pb.BILL_STATUS_MAKING

    if (
        not await until(published, WAIT_S, every_s=LOOK_S)
        or bill.status != bill_pb.BILL_STATUS_PUBLISHED
    ):
        raise Failed(f"the bill was not made: {bill.what}")
    return bill
