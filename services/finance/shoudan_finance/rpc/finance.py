"""FinanceService: messages to values and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

from shoudan.finance.v1 import finance_service_pb2 as pb
from shoudan.finance.v1 import finance_service_pb2_grpc as pb_grpc
from shoudan_finance import day_books
from shoudan_finance.context import Context
from shoudan_finance.rpc.reading import day_of, days_after, page_size
from shoudan_finance.store.days import Day
from shoudan_kit.rpc.messages import RpcContext, filled


class FinanceServicer(pb_grpc.FinanceServiceServicer):
    """The calls of FinanceService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ListDays(
        self, request: pb.ListDaysRequest, context: RpcContext
    ) -> pb.ListDaysResponse:
        """Days, oldest first."""
        after, most = days_after(request.from_day, request.page_token), page_size(request.page_size)
        found = await day_books.page(self._context, after, most + 1)
        token = found[most - 1].day.isoformat() if len(found) > most else ""
        return pb.ListDaysResponse(days=map(_message, found[:most]), next_page_token=token)

    async def GetDay(self, request: pb.GetDayRequest, context: RpcContext) -> pb.GetDayResponse:
        """One day with its proof."""
        found = await day_books.get(self._context, day_of("day", request.day))
        return pb.GetDayResponse(day=_message(found))

    async def ExportAccountDays(
        self, request: pb.ExportAccountDaysRequest, context: RpcContext
    ) -> AsyncIterator[pb.ExportAccountDaysResponse]:
        """What a day came to in each account that moved."""
        day, after = day_of("day", request.day), request.after_account_id
        async for found in day_books.export_accounts(self._context, day, after):
            accounts = [filled(pb.AccountDay, one) for one in found]
            yield pb.ExportAccountDaysResponse(accounts=accounts)

    async def ExportMovements(
        self, request: pb.ExportMovementsRequest, context: RpcContext
    ) -> AsyncIterator[pb.ExportMovementsResponse]:
        """The movements of a day, page by page."""
        day, after = day_of("day", request.day), (request.after_account_id, request.after_seq)
        pages = day_books.export_movements(self._context, day, request.account_id, after)
        async for found in pages:
            yield pb.ExportMovementsResponse(movements=[filled(pb.Movement, one) for one in found])

    async def RecheckDay(
        self, request: pb.RecheckDayRequest, context: RpcContext
    ) -> pb.RecheckDayResponse:
        """Fill and prove a day at once."""
        found = await day_books.recheck(self._context, day_of("day", request.day))
        return pb.RecheckDayResponse(day=_message(found))


def _message(day: Day) -> pb.Day:
    return filled(
        pb.Day,
        day,
        day=day.day.isoformat(),
        status=cast("pb.DayStatus.ValueType", int(day.status)),
    )
