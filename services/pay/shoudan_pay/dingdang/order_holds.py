"""Orders that a Dingdang trade pays: paused when bound, released when paid, paused when refunded."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final, TypeVar

from grpc import aio

from shoudan.order.v1 import audit_service_pb2 as audit
from shoudan.order.v1 import audit_service_pb2_grpc as audit_grpc
from shoudan.order.v1 import order_service_pb2 as order
from shoudan.order.v1 import order_service_pb2_grpc as order_grpc
from shoudan_kit import log
from shoudan_kit.rpc.refusal import Refused, refused_from_proto, refused_from_rpc
from shoudan_kit.rpc.shard_router import ShardAway
from shoudan_kit.service import App
from shoudan_kit.tasks.kinds import Task
from shoudan_pay.config import PaySettings
from shoudan_pay.dingdang.kinds import Release
from shoudan_pay.dingdang.refusals import OrdersAway
from shoudan_pay.dingdang.store import trades

T = TypeVar("T")

CALL_S: Final = 2.0
BY: Final = "dingdang"

_log = log.get_logger("dingdang")


class OrderHolds:
    """Calls of the order service; nothing is stored here."""

    def __init__(self, app: App[PaySettings]) -> None:
        self._app = app
        channel = app.channel("order")
        self._orders = order_grpc.OrderServiceStub(channel)
        self._audits = audit_grpc.AuditServiceStub(channel)

    async def hold(self, channel_no: str, request_no: str, trade_no: str) -> None:
        """Pause the order's delivery. A repeat changes nothing. Raises Refused, OrdersAway."""
        reason = f"trade {trade_no} waits to be paid"
        await self._pause(channel_no, request_no, reason, paused=True)

    async def release(self, task: Task[Release]) -> None:
        """Let it go on, or stop it, repeated until the order service has acknowledged it."""
        wish = task.payload
        reason = f"trade {wish.trade_no} is {'refunded' if wish.refunded else 'paid'}"
        try:
            status = await self._pause(
                wish.channel_no, wish.request_no, reason, paused=wish.refunded
            )
        except (Refused, OrdersAway) as error:
            _log.warning("release_waits", trade_no=wish.trade_no, error=str(error))
            task.retry_after(task.kind.interval_s, str(error))
            return
        async with self._app.work("dingdang_release") as work:
            work.tasks.finish(task)
            if status == order.ORDER_STATUS_FAILED and not wish.refunded:
                # The user has paid for what is not delivered any more.
                domain_id = (task.order_no or "").partition(":")[0]
                why = f"is paid, but order {wish.request_no} of {wish.channel_no} has failed"
                await trades.park(work.db, domain_id, wish.trade_no, why)

    async def _pause(self, channel_no: str, request_no: str, reason: str, *, paused: bool) -> int:
        """The status the order had before."""
        key = order.OrderKey(channel_no=channel_no, request_no=request_no)
        asked = order.QueryOrdersRequest(keys=[key])
        found = (await _answer(self._orders.QueryOrders(asked, timeout=CALL_S))).results[0]
        if found.HasField("refusal"):
            raise _refused(refused_from_proto(found.refusal))
        wish = audit.PauseDeliveryRequest(
            order_ids=[found.order.order_id], paused=paused, by=BY, reason=reason
        )
        await _answer(self._audits.PauseDelivery(wish, timeout=CALL_S))
        return found.order.status


async def _answer(call: Awaitable[T]) -> T:
    try:
        return await call
    except aio.AioRpcError as error:
        said = refused_from_rpc(error)
        raise OrdersAway(error.code().name) if said is None else _refused(said) from None


def _refused(said: Refused) -> Refused | OrdersAway:
    """A shard that is away says nothing of the order: it is asked again."""
    return OrdersAway(said.reason) if said.reason == ShardAway.reason else said
