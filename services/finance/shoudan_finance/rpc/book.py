"""BookService: messages to values and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from typing import Final

from shoudan.finance.v1 import book_service_pb2 as pb
from shoudan.finance.v1 import book_service_pb2_grpc as grpc_pb
from shoudan_finance import periods, reports
from shoudan_finance.context import Context
from shoudan_finance.refusals import FieldInvalid
from shoudan_finance.reports import Debt, Invoice
from shoudan_finance.rpc.reading import BEFORE_ALL, before_of, day_of, page_size
from shoudan_finance.store.periods import Period
from shoudan_kit.rpc.messages import RpcContext, filled

WORDS_MAX: Final = 64
IDENT_MAX: Final = 32


class BookServicer(grpc_pb.BookServiceServicer):
    """The calls of BookService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ExportTrialBalance(
        self, request: pb.ExportTrialBalanceRequest, context: RpcContext
    ) -> AsyncIterator[pb.ExportTrialBalanceResponse]:
        """Account by account."""
        first, last = _days(request.first_day, request.last_day)
        _words("ident", request.ident, IDENT_MAX)
        async for page in reports.trial_balance(self._context, first, last, request.ident):
            accounts = [filled(pb.AccountBalance, one) for one in page]
            yield pb.ExportTrialBalanceResponse(accounts=accounts)

    async def ExportIncome(
        self, request: pb.ExportIncomeRequest, context: RpcContext
    ) -> AsyncIterator[pb.ExportIncomeResponse]:
        """Key by key."""
        first, last = _days(request.first_day, request.last_day)
        found = await reports.income(self._context, first, last, request.by)
        for start in range(0, len(found), reports.PAGE_ROWS):
            part = found[start : start + reports.PAGE_ROWS]
            yield pb.ExportIncomeResponse(incomes=[filled(pb.Income, one) for one in part])

    async def ExportLosses(
        self, request: pb.ExportLossesRequest, context: RpcContext
    ) -> AsyncIterator[pb.ExportLossesResponse]:
        """Movement by movement."""
        first, last = _days(request.first_day, request.last_day)
        async for day, page in reports.lost(self._context, first, last):
            losses = [filled(pb.Loss, one, day=day.isoformat()) for one in page]
            yield pb.ExportLossesResponse(losses=losses)

    async def ExportDebts(
        self, request: pb.ExportDebtsRequest, context: RpcContext
    ) -> AsyncIterator[pb.ExportDebtsResponse]:
        """Accounts below zero."""
        async for page in reports.debts(self._context, day_of("day", request.day)):
            yield pb.ExportDebtsResponse(debts=[_debt(one) for one in page])

    async def ExportInvoices(
        self, request: pb.ExportInvoicesRequest, context: RpcContext
    ) -> AsyncIterator[pb.ExportInvoicesResponse]:
        """Orders that need an invoice, and refunds of such."""
        day = day_of("day", request.day)
        async for page in reports.invoices(self._context, day):
            yield pb.ExportInvoicesResponse(invoices=[_invoice(one) for one in page])

    async def ClosePeriod(
        self, request: pb.ClosePeriodRequest, context: RpcContext
    ) -> pb.ClosePeriodResponse:
        """A day or a month."""
        first, last = _days(request.first_day, request.last_day)
        if not request.by:
            raise FieldInvalid("by", "say who closes it")
        _words("by", request.by, WORDS_MAX)
        found = await periods.close(self._context, first, last, request.by)
        return pb.ClosePeriodResponse(period=_period(found.period), existed=found.existed)

    async def ReopenPeriod(
        self, request: pb.ReopenPeriodRequest, context: RpcContext
    ) -> pb.ReopenPeriodResponse:
        """Open again what was closed."""
        _words("by", request.by, WORDS_MAX)
        await periods.reopen(self._context, request)
        return pb.ReopenPeriodResponse()

    async def ListReopenings(
        self, request: pb.ListReopeningsRequest, context: RpcContext
    ) -> pb.ListReopeningsResponse:
        """Newest first."""
        most, before = page_size(request.page_size), before_of(request.page_token)
        found = await periods.reopenings(self._context, before, most + 1)
        token = str(found[most - 1].reopening_id) if len(found) > most else ""
        shown = [
            filled(pb.Reopening, one, first_day=str(one.first_day), last_day=str(one.last_day))
            for one in found[:most]
        ]
        return pb.ListReopeningsResponse(reopenings=shown, next_page_token=token)

    async def ListPeriods(
        self, request: pb.ListPeriodsRequest, context: RpcContext
    ) -> pb.ListPeriodsResponse:
        """Oldest first."""
        most = page_size(request.page_size)
        found = await periods.page(self._context, _place(request.page_token), most + 1)
        last = found[most - 1] if len(found) > most else None
        token = "" if last is None else f"{last.first_day}.{last.last_day}"
        return pb.ListPeriodsResponse(periods=map(_period, found[:most]), next_page_token=token)


def _days(first_day: str, last_day: str) -> tuple[date, date]:
    first = day_of("first_day", first_day)
    return first, day_of("last_day", last_day) if last_day else first


def _words(field: str, value: str, most: int) -> None:
    if len(value) > most or not value.isprintable():
        raise FieldInvalid(field, f"at most {most} printable characters")


def _place(token: str) -> tuple[date, date]:
    if not token:
        return BEFORE_ALL, BEFORE_ALL
    first, _, last = token.partition(".")
    return day_of("page_token", first), day_of("page_token", last)


def _period(one: Period) -> pb.Period:
    days = {"first_day": one.first_day.isoformat(), "last_day": one.last_day.isoformat()}
    return filled(pb.Period, one, **days)


def _debt(one: Debt) -> pb.Debt:
    return filled(
        pb.Debt,
        one.balance,
        owed_micros=-one.balance.closing_micros,
        since_day=one.since_day.isoformat(),
        days=one.days,
    )


def _invoice(one: Invoice) -> pb.Invoice:
    terms = one.terms
    return filled(
        pb.Invoice,
        one.trade,
        day=one.day.isoformat(),
        rate_ppm=None if terms is None else terms.goods_ppm,
        service_rate_ppm=None if terms is None else terms.service_ppm,
    )
