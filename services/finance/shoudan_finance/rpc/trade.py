"""TradeService: days of trades and their proof."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

from shoudan.finance.v1 import trade_service_pb2 as pb
from shoudan.finance.v1 import trade_service_pb2_grpc as grpc_pb
from shoudan_finance import trade_books
from shoudan_finance.accounts import shown
from shoudan_finance.context import Context
from shoudan_finance.rpc.reading import day_of, days_after, page_size
from shoudan_finance.store.trades import TradeDay
from shoudan_kit.rpc.messages import RpcContext, filled


class TradeServicer(grpc_pb.TradeServiceServicer):
    """The calls of TradeService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ListTradeDays(
        self, request: pb.ListTradeDaysRequest, context: RpcContext
    ) -> pb.ListTradeDaysResponse:
        """Oldest first."""
        after, most = days_after(request.from_day, request.page_token), page_size(request.page_size)
        found = await trade_books.page(self._context, after, most + 1)
        token = found[most - 1].day.isoformat() if len(found) > most else ""
        return pb.ListTradeDaysResponse(days=map(_message, found[:most]), next_page_token=token)

    async def GetTradeDay(
        self, request: pb.GetTradeDayRequest, context: RpcContext
    ) -> pb.GetTradeDayResponse:
        """One day."""
        found = await trade_books.get(self._context, day_of("day", request.day))
        return pb.GetTradeDayResponse(day=_message(found))

    async def ExportTrades(
        self, request: pb.ExportTradesRequest, context: RpcContext
    ) -> AsyncIterator[pb.ExportTradesResponse]:
        """The trades of a day, page by page."""
        day = day_of("day", request.day)
        async for found in trade_books.export(self._context, day, request.after_number):
            yield pb.ExportTradesResponse(
                trades=[filled(pb.TradeFact, one, account=shown(one.account)) for one in found]
            )

    async def RecheckTradeDay(
        self, request: pb.RecheckTradeDayRequest, context: RpcContext
    ) -> pb.RecheckTradeDayResponse:
        """Fetch and prove a day at once."""
        found = await trade_books.recheck(self._context, day_of("day", request.day))
        return pb.RecheckTradeDayResponse(day=_message(found))


def _message(day: TradeDay) -> pb.TradeDay:
    status = cast("pb.TradeDayStatus.ValueType", int(day.status))
    return filled(pb.TradeDay, day, day=day.day.isoformat(), status=status)
