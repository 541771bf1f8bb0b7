"""The order service as far as a bound trade needs it: over real gRPC, it keeps what it was asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc import aio

from shoudan.core.v1 import core_pb2
from shoudan.order.v1 import audit_service_pb2 as audit
from shoudan.order.v1 import audit_service_pb2_grpc as audit_grpc
from shoudan.order.v1 import order_service_pb2 as order
from shoudan.order.v1 import order_service_pb2_grpc as order_grpc
from shoudan_kit.rpc.shard_router import ShardAway

NOBODY = "nobody"


@dataclass
class Orders(order_grpc.OrderServiceServicer, audit_grpc.AuditServiceServicer):
    """Every request_no but `nobody` has an order; `away` answers UNAVAILABLE that often, `shard_away` says of
    an order that its shard is."""

    away: int = 0
    shard_away: int = 0
    paused: list[tuple[int, bool, str]] = field(default_factory=list[tuple[int, bool, str]])
    numbers: dict[str, int] = field(default_factory=dict[str, int])
    failed: set[str] = field(default_factory=set[str])

    async def QueryOrders(self, request: Any, context: Any) -> Any:
        if self.away:
            self.away -= 1
            await context.abort(grpc.StatusCode.INTERNAL, "down")
        return order.QueryOrdersResponse(results=[self._found(key) for key in request.keys])

    async def PauseDelivery(self, request: Any, context: Any) -> Any:
        self.paused += [(one, request.paused, request.reason) for one in request.order_ids]
        return audit.PauseDeliveryResponse(order_ids=request.order_ids)

    def _found(self, key: Any) -> order.QueryOrdersResponse.Result:
        if self.shard_away:
            self.shard_away -= 1
            return order.QueryOrdersResponse.Result(refusal=ShardAway(1).to_proto())
        if key.request_no == NOBODY:
            refusal = core_pb2.Refusal(
                code=5, domain="order.shoudan", reason="ERROR_REASON_ORDER_NOT_FOUND"
            )
            return order.QueryOrdersResponse.Result(refusal=refusal)
        number = self.numbers.setdefault(key.request_no, 1_100_000_000 + len(self.numbers))
        status = order.ORDER_STATUS_DELIVERING
        if key.request_no in self.failed:
            status = order.ORDER_STATUS_FAILED
        found = order.OrderState(order_id=number, status=status)
        return order.QueryOrdersResponse.Result(order=found)

    def of(self, request_no: str) -> list[bool]:
        """What was asked of an order, in order: True paused, False let go."""
        return [paused for one, paused, _ in self.paused if one == self.numbers.get(request_no)]

    async def serve(self) -> tuple[aio.Server, str]:
        server = aio.server()
        order_grpc.add_OrderServiceServicer_to_server(self, server)
        audit_grpc.add_AuditServiceServicer_to_server(self, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, f"127.0.0.1:{port}"
