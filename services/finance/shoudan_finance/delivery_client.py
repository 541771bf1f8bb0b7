"""Calls to the delivery service: what suppliers know our deliveries by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from grpc import aio

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan.delivery.v1 import delivery_service_pb2_grpc as rpc
from shoudan_kit.rpc.client import call_options

KEYS_MAX: Final = 1000  # of one QuerySupplierNumbers (delivery_service.proto)


@dataclass(frozen=True, slots=True)
class SupplierNumber:
    """The number that a supplier was sent and the account; empty when they are not known."""

    order_no: str
    account: str


class DeliveryClient:
    """The delivery service. Every call raises grpc.RpcError when it did not answer, or refused."""

    def __init__(self, channel: aio.Channel, *, call_s: float) -> None:
        self._stub, self._call_s = rpc.DeliveryServiceStub(channel), call_s

    async def supplier_numbers(self, owned: Sequence[tuple[str, int]]) -> list[SupplierNumber]:
        """Of deliveries and returns by down channel and number, in the order asked, at most KEYS_MAX."""
        keys = [pb.DeliveryKey(coop_id=coop_id, coop_order_id=str(no)) for coop_id, no in owned]
        request = pb.QuerySupplierNumbersRequest(keys=keys)
        found = await self._stub.QuerySupplierNumbers(request, **call_options(self._call_s))
        return [SupplierNumber(one.order_no, one.account) for one in found.results]
