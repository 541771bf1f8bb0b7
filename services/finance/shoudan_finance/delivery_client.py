"""Calls to the delivery service: what suppliers know our deliveries by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
from grpc import aio

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan.delivery.v1 import delivery_service_pb2_grpc as rpc
from shoudan_kit.rpc.client import call_options
from shoudan_kit.rpc.refusal import refused_from_rpc

KEYS_MAX: Final = 1000  # of one QuerySupplierNumbers (delivery_service.proto)


@dataclass(frozen=True, slots=True)
class SupplierNumber:
    """The number that a supplier was sent and the account; empty when they are not known."""

    order_no: str
    account: str


@dataclass(frozen=True, slots=True)
class SupplierAnswer:
    """What a supplier says of a delivery now, and what is known of it here."""

    order_no: str
    known: str
    said: str
    code: str
    desc: str
    up_order_no: str


@dataclass(frozen=True, slots=True)
class SignedCall:
    """A call of a supplier as it came over HTTP."""

    channel_no: str
    method: str
    path: str
    params: Mapping[str, str]
    body: bytes
    remote_ip: str


class DeliveryClient:
    """The delivery service. Every call raises grpc.RpcError when it did not answer, or refused."""

    def __init__(self, channel: aio.Channel, *, call_s: float) -> None:
        self._stub, self._call_s = rpc.DeliveryServiceStub(channel), call_s
        self._suppliers = rpc.SupplierServiceStub(channel)

    async def supplier_numbers(self, owned: Sequence[tuple[str, int]]) -> list[SupplierNumber]:
        """Of deliveries and returns by down channel and number, in the order asked, at most KEYS_MAX."""
        keys = [pb.DeliveryKey(coop_id=coop_id, coop_order_id=str(no)) for coop_id, no in owned]
        request = pb.QuerySupplierNumbersRequest(keys=keys)
        found = await self._stub.QuerySupplierNumbers(request, **call_options(self._call_s))
        return [SupplierNumber(one.order_no, one.account) for one in found.results]

    async def check_call(self, one: SignedCall) -> None:
        """Whether a supplier signed a call. Raises grpc.RpcError with delivery's refusal when it did not."""
        request = pb.CheckSupplierCallRequest(
            channel_no=one.channel_no,
            method=one.method,
            path=one.path,
            params=one.params,
            body=one.body,
            remote_ip=one.remote_ip,
        )
        await self._suppliers.CheckSupplierCall(request, **call_options(self._call_s))

    async def supplier_answer(self, coop_id: str, number: int) -> SupplierAnswer:
        """Ask the supplier once how a delivery or return ended; nothing ends by it. Raises Refused."""
        key = pb.DeliveryKey(coop_id=coop_id, coop_order_id=str(number))
        request = pb.ReadSupplierAnswerRequest(key=key)
        try:
            found = await self._stub.ReadSupplierAnswer(request, **call_options(self._call_s))
        except grpc.RpcError as error:
            raise refused_from_rpc(error) or error from None
        known, said = _word(found.delivery.status), _word(found.said)
        return SupplierAnswer(
            found.delivery.order_no, known, said, found.code, found.desc, found.up_order_no
        )


def _word(status: pb.Status.ValueType) -> str:
    return "unknown" if status == pb.STATUS_SENDING else pb.Status.Name(status)[7:].lower()
