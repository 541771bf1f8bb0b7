"""Books to reconcile: trades of ours as facts, statements imported, and what became of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from grpc import aio

from shoudan.finance.v1 import reconcile_service_pb2 as pb
from shoudan.finance.v1 import reconcile_service_pb2_grpc as stubs
from shoudan.finance.v1 import statement_service_pb2 as statement_pb
from shoudan.finance.v1 import statement_service_pb2_grpc as statement_stubs
from shoudan_fakes.statements import Traded
from shoudan_finance.states import ExceptionKind
from shoudan_finance.store.movements import day_number
from tests.finance.harness import FinanceHarness
from tests.poll import eventually

TODAY = datetime.now(UTC).date()
TRADE = """INSERT INTO trade (day_no, number, kind, order_id, down_channel_no, up_channel_no, line_id,
    their_no, product_no, carrier_no, invoice_type, face_micros, num, result, done_face_micros,
    amount_micros, commission_micros, service_micros, fee_micros, end_time, supplier_no, account)
    SELECT $1, n, k, 1, 'down', $2, 1, t, '', 'C', 1, a, 1, r, a, a, 0, 0, 0, e, s, c
    FROM unnest($3::bigint[], $4::smallint[], $5::text[], $6::bigint[], $7::smallint[], $8::timestamptz[],
        $9::text[], $10::text[]) AS given(n, k, t, a, r, e, s, c)"""
PAY_TRADE = """INSERT INTO pay_trade (day_no, record_id, kind, number, pay_number, merchant, component,
    client_no, third_no, mode_name, succeeded, amount_micros, moved_micros, end_time)
    SELECT $1, n, k, n, n, 'm', $2, '', t, '微信', s, a, a * s, e
    FROM unnest($3::bigint[], $4::smallint[], $5::text[], $6::bigint[], $7::smallint[], $8::timestamptz[])
        AS given(n, k, t, a, s, e)"""
TRADE_DAY = """INSERT INTO trade_day (day, status, trades, page_token, apart, what, create_time, pays)
    VALUES ($1, 20, 0, '', 0, '', now(), 0) ON CONFLICT DO NOTHING"""


@dataclass(frozen=True)
class Difference:
    """An exception as tests compare it."""

    kind: ExceptionKind
    number: int
    their_no: str
    diff_micros: int


class Books:
    """A finance service with the facts and statements that a test gives it."""

    def __init__(self, harness: FinanceHarness, channel: aio.Channel) -> None:
        self.harness = harness
        self.stub = stubs.ReconcileServiceStub(channel)
        self.statements = statement_stubs.StatementServiceStub(channel)

    async def traded(self, source: str, day: date, trades: Sequence[Traded]) -> None:
        """Trades of a day that is here whole."""
        await self.harness.sql(
            TRADE,
            day_number(day),
            source,
            [one.number for one in trades],
            [4 if one.gives_back else 3 for one in trades],
            [one.their_no for one in trades],
            [one.micros for one in trades],
            [90 if one.failed else 0 for one in trades],
            [one.end_time for one in trades],
            [str(one.sent_no or "") for one in trades],
            [self.harness.context.accounts.hidden(one.account) for one in trades],
        )
        await self.harness.sql(TRADE_DAY, day)

    async def paid(self, component: str, day: date, pays: Sequence[Traded]) -> None:
        """What a payment component did on a day of which all is here: pays, and what it gave back."""
        await self.harness.sql(
            PAY_TRADE,
            day_number(day),
            component,
            [one.number for one in pays],
            [6 if one.gives_back else 5 for one in pays],
            [one.their_no for one in pays],
            [one.micros for one in pays],
            [0 if one.failed else 1 for one in pays],
            [one.end_time for one in pays],
        )
        await self.harness.sql(TRADE_DAY, day)
        await self.harness.sql("UPDATE trade_day SET pays = $2 WHERE day = $1", day, len(pays))

    async def days_pass(self, first: date, last: date) -> None:
        """The days' trades are here, though there may be none."""
        day = first
        while day <= last:
            await self.harness.sql(TRADE_DAY, day)
            day += timedelta(days=1)

    async def imported(self, source: str, data: bytes, **more: Any) -> statement_pb.Statement:
        """A statement in our own form."""
        sha256 = hashlib.sha256(data).digest()
        part = statement_pb.StorePartRequest(sha256=sha256, part_no=0, data=data)
        await self.statements.StorePart(part)
        given = {"template": "plain-csv", "file_name": "s.csv", "source": source, **more}
        request = statement_pb.ImportStatementRequest(sha256=sha256, parts=1, **given)
        return (await self.statements.ImportStatement(request)).statement

    async def run(self, source: str) -> pb.Run:
        """A run, ended."""
        request = pb.RunReconciliationRequest(source=source)
        found = (await self.stub.RunReconciliation(request)).run

        async def ended() -> bool:
            return (await self.get(found.run_id)).status != pb.RUN_STATUS_WAITING

        await eventually(ended, 30)
        return await self.get(found.run_id)

    async def quiet(self, source: str) -> None:
        """Every run of the source that imports asked for has ended."""

        async def ended() -> bool:
            rows = await self.harness.sql(
                "SELECT count(*) FROM reconcile_run WHERE source = $1 AND status = 10", source
            )
            return rows[0][0] == 0

        await eventually(ended, 60)

    async def get(self, run_id: int) -> pb.Run:
        return (await self.stub.GetRun(pb.GetRunRequest(run_id=run_id))).run

    async def open(self, source: str) -> list[Difference]:
        """What is left to decide, sorted."""
        rows = await self.harness.sql(
            "SELECT x.kind, coalesce(o.trade_no, 0) AS number, coalesce(t.their_no, o.their_no) AS no,"
            " x.diff_micros FROM exception x LEFT JOIN entry o ON o.entry_id = x.ours_id"
            " LEFT JOIN entry t ON t.entry_id = x.theirs_id"
            " WHERE x.source = $1 AND x.status IN (10, 20, 30)",
            source,
        )
        found = [Difference(ExceptionKind(kind), no, their, diff) for kind, no, their, diff in rows]
        return sorted(found, key=lambda one: (one.kind, one.their_no, one.number))

    async def statuses(self, source: str) -> dict[int, int]:
        """How many entries that count are in each status."""
        rows = await self.harness.sql(
            "SELECT status, count(*) FROM entry WHERE source = $1 AND status <> 90 GROUP BY 1",
            source,
        )
        return {row[0]: row[1] for row in rows}


def noon(day: date) -> datetime:
    """Noon in Beijing."""
    return datetime(day.year, day.month, day.day, 4, tzinfo=UTC)


def delivery(number: int, day: date, micros: int = 98_000_000, **more: Any) -> Traded:
    """A delivery at noon."""
    values: dict[str, Any] = {"gives_back": False, "failed": False, "end_time": noon(day), **more}
    return Traded(number, f"S{number}", micros, **values)
