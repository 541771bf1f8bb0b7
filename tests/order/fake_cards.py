"""The cards of the deliveries of order tests, as the delivery service gives them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc

from shoudan.core.v1 import core_pb2
from shoudan.delivery.v1 import card_service_pb2 as card_pb
from shoudan.delivery.v1 import card_service_pb2_grpc as card_grpc
from tests.order.refusals import refusal, refuse


@dataclass
class FakeCards(card_grpc.CardServiceServicer):
    """One card for each delivery asked about, which tells its number; `refusal` is given instead."""

    asked: list[Any] = field(default_factory=list[Any])
    refusal: str = ""
    more: str = ""
    calls: int = 0  # about notifies
    stocked: dict[tuple[str, str, int], int] = field(
        default_factory=dict[tuple[str, str, int], int]
    )
    stock_channels: tuple[str, ...] = ()

    async def ListStock(self, request: Any, context: Any) -> Any:
        if self.refusal == "away":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        level = card_pb.ListStockResponse.Level
        return card_pb.ListStockResponse(
            channel_nos=self.stock_channels,
            levels=[
                level(channel_no=one[0], carrier_no=one[1], face_micros=one[2], stocked=count)
                for one, count in self.stocked.items()
            ],
        )

    async def FetchNotifyCards(self, request: Any, context: Any) -> Any:
        self.calls += 1
        if self.refusal == "before":
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "a release that has no such call")
        self.asked.extend(request.orders)
        if self.refusal == "away":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        result = card_pb.FetchNotifyCardsResponse.Result
        if self.refusal:
            why = refusal(self.refusal, "delivery.shoudan")
            return card_pb.FetchNotifyCardsResponse(
                results=[result(refusal=why)] * len(request.orders)
            )
        return card_pb.FetchNotifyCardsResponse(
            results=[result(page=self._page(one.keys)) for one in request.orders]
        )

    async def FetchCards(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        if self.refusal == "away":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        elif self.refusal and self.refusal != "before":
            await refuse(context, self.refusal, "delivery.shoudan")
        return self._page(request.keys)

    def _page(self, keys: Any) -> Any:
        made = [
            core_pb2.Card(
                card_id=at,
                number=self.number(key.coop_order_id),
                password="8812 4501",
                face_micros=50_000_000,
                status="revealed",
            )
            for at, key in enumerate(keys, 1)
        ]
        return card_pb.FetchCardsResponse(cards=made, next_page_token=self.more)

    @staticmethod
    def number(delivery_id: Any) -> str:
        return f"6001-{delivery_id}"
