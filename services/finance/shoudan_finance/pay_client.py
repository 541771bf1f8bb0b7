"""Calls to the pay service: the days its ledger has closed, and the records of pieces of its chains."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from grpc import aio

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2_grpc as rpc
from shoudan.pay.v1 import payment_service_pb2 as payment_pb
from shoudan.pay.v1 import payment_service_pb2_grpc as payment_rpc
from shoudan_finance.store.alerts import Edge
from shoudan_finance.store.days import AccountFact, Closed
from shoudan_finance.store.movements import Movement, Piece, day_number
from shoudan_finance.store.pay_trades import PayTrade
from shoudan_kit.rpc.client import call_options
from shoudan_kit.rpc.refusal import refused_from_proto

DAYS_MAX: Final = 1000  # of one ListLedgerDays (ledger_service.proto)
ALERTS_PAGE: Final = 1000  # of one ListAlerts
ALERT_PAGES_MAX: Final = 1000
HOUR_S: Final = 3600
PIECES_MAX: Final = 1000  # of one ExportRecords
PAYS_PAGE: Final = 1000  # of one ListEndedPays
KINDS_BEFORE: Final = 4  # kinds of trade that are not PayServer's come before its own


@dataclass(frozen=True, slots=True)
class Flat:
    """A posting that levels books (平账)."""

    ident: str
    groups: str
    eid: str
    trade_no: str
    amount_micros: int
    memo: str


@dataclass(frozen=True, slots=True)
class Spending:
    """What left an account within a window, and what is left to spend."""

    spent_micros: int
    window_s: int
    left_micros: int

    @property
    def runway_tenths(self) -> int | None:
        """How long what is left lasts, in tenths of an hour; None when nothing was spent."""
        if self.spent_micros <= 0:
            return None
        return max(0, self.left_micros) * self.window_s * 10 // (self.spent_micros * HOUR_S)


class PayClient:
    """The ledger of the pay service. Every call raises grpc.RpcError when pay did not answer."""

    def __init__(self, channel: aio.Channel, *, call_s: float, export_s: float) -> None:
        self._stub = rpc.LedgerServiceStub(channel)
        self._pays = payment_rpc.PaymentServiceStub(channel)
        self._call_s, self._export_s = call_s, export_s

    async def closed_days(self, first: date | None) -> list[Closed]:
        """Days closed from this one on, oldest first, at most DAYS_MAX."""
        from_day = "" if first is None else first.isoformat()
        request = pb.ListLedgerDaysRequest(from_day=from_day, page_size=DAYS_MAX)
        found = await self._stub.ListLedgerDays(request, **call_options(self._call_s))
        return [_closed(one) for one in found.days]

    async def account_days(self, day: date, after: int) -> AsyncIterator[list[AccountFact]]:
        """What the day came to in accounts behind `after`, by id, page by page."""
        request = pb.ExportAccountDaysRequest(day=day.isoformat(), after_account_id=after)
        async for part in self._stub.ExportAccountDays(request, **call_options(self._export_s)):
            yield [_fact(day, one) for one in part.accounts]

    async def records(self, pieces: Sequence[Piece]) -> AsyncIterator[list[Movement]]:
        """The movements of pieces, in their order, page by page."""
        wanted = [
            pb.ExportRecordsRequest.Piece(
                account_id=one.account_id, seq_from=one.low + 1, seq_to=one.high
            )
            for one in pieces
        ]
        day_no = pieces[0].day_no
        request = pb.ExportRecordsRequest(pieces=wanted)
        async for part in self._stub.ExportRecords(request, **call_options(self._export_s)):
            yield [_movement(day_no, one) for one in part.records]

    async def ended_pays(self, day: date, page_token: str) -> tuple[list[PayTrade], str]:
        """A page of what ended in PayServer on a day, and the token of the next one; empty after the last."""
        request = payment_pb.ListEndedPaysRequest(
            day=day.isoformat(), page_size=PAYS_PAGE, page_token=page_token
        )
        found = await self._pays.ListEndedPays(request, **call_options(self._call_s))
        return [_pay(day_number(day), one) for one in found.pays], found.next_page_token

    async def alerts(self, now: datetime) -> AsyncIterator[list[Edge]]:
        """The last crossing of every threshold, page by page; `now` where its time is not known."""
        token = ""
        for _ in range(ALERT_PAGES_MAX):
            request = pb.ListAlertsRequest(page_size=ALERTS_PAGE, page_token=token)
            found = await self._stub.ListAlerts(request, **call_options(self._call_s))
            yield [_edge(one, now) for one in found.alerts]
            token = found.next_page_token
            if not token:
                return

    async def spending(self, ident: str, groups: str, eid: str) -> Spending:
        """What leaves an account. Raises Refused."""
        key = pb.AccountKey(ident=ident, groups=groups, eid=eid)
        request = pb.GetSpendingRequest(key=key)
        found = await self._stub.GetSpending(request, **call_options(self._call_s))
        left = found.balance_micros + found.credit_micros
        return Spending(found.spent_micros, found.window_s, left)

    async def post_flat(self, one: Flat) -> int:
        """Post it, once whatever is repeated; the number of its record. Raises Refused."""
        key = pb.AccountKey(ident=one.ident, groups=one.groups, eid=one.eid)
        wanted = pb.CreateAccountsRequest.Item(key=key, name=f"{one.groups} {one.eid}"[:64])
        options = call_options(self._call_s)
        made = await self._stub.CreateAccounts(pb.CreateAccountsRequest(items=[wanted]), **options)
        if made.results[0].HasField("refusal"):
            raise refused_from_proto(made.results[0].refusal)
        posting = pb.Posting(
            account=key,
            trade_no=one.trade_no,
            change_type=pb.CHANGE_TYPE_TRADE_FLAT,
            trade_type=pb.TRADE_TYPE_FLAT,
            amount_micros=one.amount_micros,
            memo=one.memo,
            about=pb.ABOUT_MANUAL,
        )
        group = pb.PostEntriesRequest.Group(postings=[posting])
        found = await self._stub.PostEntries(pb.PostEntriesRequest(groups=[group]), **options)
        if found.results[0].HasField("refusal"):
            raise refused_from_proto(found.results[0].refusal)
        return found.results[0].records[0].record_id


def _pay(day_no: int, one: payment_pb.EndedPay) -> PayTrade:
    return PayTrade(
        day_no=day_no,
        record_id=one.record_id,
        kind=KINDS_BEFORE + int(one.ended_kind),
        number=int(one.traction_no),
        pay_number=int(one.pay_traction_no),
        merchant=one.merchant_uuid,
        component=one.component,
        client_no=one.client_no,
        third_no=one.third_no,
        mode_name=one.mode_name,
        succeeded=int(one.succeeded),
        amount_micros=one.amount_micros,
        moved_micros=one.moved_micros,
        end_time=one.end_time.ToDatetime(UTC),
    )


def _edge(one: pb.Alert, now: datetime) -> Edge:
    return Edge(
        account_id=one.account_id,
        threshold_micros=one.threshold_micros,
        seq=one.seq,
        ident=one.key.ident,
        groups=one.key.groups,
        eid=one.key.eid,
        low=one.low,
        balance_micros=one.balance_micros,
        edge_time=one.crossed_time.ToDatetime(UTC) if one.HasField("crossed_time") else now,
    )


def _closed(one: pb.LedgerDay) -> Closed:
    return Closed(
        day=date.fromisoformat(one.day),
        accounts=one.accounts,
        movements=one.records,
        debits_micros=one.debits_micros,
        credits_micros=one.credits_micros,
        close_time=one.create_time.ToDatetime(UTC),
    )


def _fact(day: date, one: pb.AccountDay) -> AccountFact:
    return AccountFact(
        day=day,
        account_id=one.account_id,
        ident=one.account.ident,
        groups=one.account.groups,
        eid=one.account.eid,
        name=one.account_name,
        seq_from=one.seq_from,
        seq_to=one.seq_to,
        opening_micros=one.opening_micros,
        debits_micros=one.debits_micros,
        credits_micros=one.credits_micros,
        closing_micros=one.closing_micros,
        head_hash=one.head_hash,
    )


def _movement(day_no: int, one: pb.Record) -> Movement:
    return Movement(
        day_no=day_no,
        account_id=one.account_id,
        seq=one.seq,
        record_id=one.record_id,
        contra_account_id=one.contra_account_id,
        trade_no=one.trade_no,
        ext_no=one.ext_no,
        change_type=one.change_type,
        trade_type=one.trade_type,
        about=one.about,
        amount_micros=one.amount_micros,
        balance_micros=one.balance_micros,
        memo=one.memo,
        source=one.source,
        operator=one.operator,
        create_time=one.create_time.ToDatetime(UTC),
        hash=one.hash,
    )
