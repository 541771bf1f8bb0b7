"""Calls to the order service: how deliveries and returns ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from grpc import aio

from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan.order.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from shoudan.order.v1.order_service_pb2_grpc import OrderServiceStub
from shoudan_delivery.kinds import Result, StatedPrice
from shoudan_kit import log
from shoudan_kit.money import yuan_to_micros
from shoudan_kit.rpc.client import call_options

Ack = order_pb.ReportResultsResponse.Ack

_log = log.get_logger("order_client")


class OrderClient:
    """The order service."""

    def __init__(self, channel: aio.Channel, *, call_s: float) -> None:
        self._stub, self._call_s = OrderServiceStub(channel), call_s
        self._catalogue = CatalogueServiceStub(channel)

    async def report(self, results: Sequence[Result]) -> Sequence[Ack]:
        """The acknowledgements, in no order. Raises AioRpcError when it did not answer or refused."""
        message = order_pb.ReportResultsRequest(results=[_message(result) for result in results])
        answer = await self._stub.ReportResults(message, **call_options(self._call_s))
        return answer.acks

    async def report_prices(self, stated: Sequence[StatedPrice]) -> None:
        """Report what suppliers stated. Raises AioRpcError when it did not answer or refused."""
        message = catalogue_pb.ReportPricesRequest(prices=[_stated(one) for one in stated])
        await self._catalogue.ReportPrices(message, **call_options(self._call_s))


def _stated(one: StatedPrice) -> catalogue_pb.StatedPrice:
    made = catalogue_pb.StatedPrice(
        channel_no=one.channel_no,
        product=one.product,
        version=one.version,
        price_micros=one.price_micros,
        available=one.available,
        carrier_no=one.carrier_no,
        face_micros=one.face_micros,
    )
    made.as_of.FromDatetime(one.as_of.astimezone(UTC))
    if one.from_time is not None:
        made.from_time.FromDatetime(one.from_time.astimezone(UTC))
    return made


def _message(result: Result) -> order_pb.DeliveryResult:
    reported = order_pb.DeliveryResult(
        id=int(result.coop_order_id),
        is_return=result.is_return,
        succeeded=result.succeeded,
        up_order_no=result.up_order_no,
        result_code=result.code,
        result_desc=result.desc,
        params=result.params,
        contradicts=result.contradicts,
    )
    if cost := result.params.get("cost_amount"):
        try:
            reported.cost_amount_micros = yuan_to_micros(cost)
        except ValueError:
            _log.warning("cost_unreadable", order_no=str(result.order_no))
    return reported
