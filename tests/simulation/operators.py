"""Operators: what a person decides, asks for, hurries, pauses and cancels, by the product's own calls.

While it runs they err: a decision may be any. In the end they decide what still waits by what suppliers have
really done, and each thing that waits must let itself be decided.
"""

from __future__ import annotations

from collections.abc import Coroutine
from random import Random
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc import aio

from shoudan.order.v1 import audit_service_pb2 as pb
from shoudan.order.v1 import channel_service_pb2 as channel_pb
from shoudan_order.states import AuditType
from tests.simulation.loop import pause
from tests.simulation.store import Values

if TYPE_CHECKING:
    from tests.simulation.laws import Laws
    from tests.simulation.system import System

BY: Final = {"by": "nobody", "reason": "simulated"}
SUCCESS, FAILED, PARTIAL = 0, 90, 91
WAITING: Final = 20
TRIES: Final = 30
RIGHT: Final = 7  # of ten decisions
# Calls without an answer, which are made again; anything else is an answer.
UNANSWERED: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
CANCELLED: Final = 1

# What they do, each as often as it stands here.
WHAT: Final = (
    "decide", "decide", "decide", "decide", "request", "retry", "retry", "pause", "resume", "resend",
    "cancel", "cancel",
)  # fmt: skip
_STEP: Final = pb.RetryStepRequest
STEPS: Final = (
    (_STEP.STEP_BIND, "oms_order_info"),
    (_STEP.STEP_UP_PAY, "oms_order_delivery"),
    (_STEP.STEP_ORDER_NOTIFY, "oms_notify_info"),
    (_STEP.STEP_RETURN, "oms_refund_up_return"),
    (_STEP.STEP_UP_REFUND, "oms_refund_up_return"),
    (_STEP.STEP_DOWN_REFUND, "oms_refund_info"),
)
REQUESTS: Final = (
    (AuditType.ORDER, "oms_order_info"),
    (AuditType.REFUND, "oms_refund_info"),
    (AuditType.DELIVERY, "oms_order_delivery"),
    (AuditType.FALSE_SUCCESS, "oms_order_delivery"),
)


class Operators:
    """All of them."""

    def __init__(self, system: System, laws: Laws, seed: int) -> None:
        self.system, self.laws = system, laws
        self.random = Random(f"operators {seed}")
        self.tables = system.order_store.tables
        self.counted: dict[str, int] = {}

    def act(self) -> None:
        """One of what they do, if there is something to do it to."""
        what = self.random.choice(WHAT)
        work: Coroutine[Any, Any, Any] | None = getattr(self, f"_{what}")()
        if work is not None:
            self.counted[f"operator: {what}"] = self.counted.get(f"operator: {what}", 0) + 1
            self.system.caller.spawn(work)

    async def _call(self, service: str, method: str, request: Any) -> Any:
        """Again until it is answered; None when it is refused."""
        for _ in range(TRIES):
            try:
                return await self.system.network.call(
                    self.system.caller, service, method, request, 8.0
                )
            except aio.AioRpcError as error:
                if error.code() not in UNANSWERED:
                    return None
            await pause(self.system.caller, 1.0 + self.random.random() * 4)
        return None

    def _any(self, table: str) -> int | None:
        """The number of some row."""
        rows: list[int] = list(self.tables[table].rows)
        return rows[self.random.randrange(len(rows))] if rows else None

    # ------------------------------------------------------------ decisions
    def waiting(self) -> list[Values]:
        """What waits for a decision."""
        rows = self.tables["oms_audit_info"].rows.values()
        return [row for row in rows if row["audit_status"] == WAITING]

    def _decide(self) -> Coroutine[Any, Any, Any] | None:
        waiting = self.waiting()
        if not waiting:
            return None
        audit = waiting[self.random.randrange(len(waiting))]
        right = self.random.randrange(10) < RIGHT
        status = (
            self.verdicts(audit)[0] if right else self.random.choice((SUCCESS, FAILED, PARTIAL))
        )
        return self._end(audit, [status])

    async def _end(self, audit: Values, statuses: list[int]) -> None:
        """Decide it so, or else so."""
        self.laws.decided.add(audit["order_id"])
        for status in statuses:
            request = pb.DecideAuditRequest(audit_id=audit["audit_id"], status=status, **BY)
            if await self._call("audit", "DecideAudit", request) is not None:
                return

    def verdicts(self, audit: Values) -> list[int]:
        """What an operator decides who asks the supplier; then what else there is."""
        kind, number = audit["change_type"], audit["delivery_id"]
        if kind == AuditType.ORDER:
            order = self.tables["oms_order_info"].rows[audit["order_id"]]
            return [PARTIAL if order["success_face_micros"] else FAILED, SUCCESS, PARTIAL, FAILED]
        if kind == AuditType.REFUND:
            return [PARTIAL, SUCCESS, FAILED]
        delivered = self.laws.fulfilled(number)
        if kind == AuditType.FALSE_SUCCESS:
            return [FAILED, SUCCESS] if delivered else [SUCCESS, FAILED]
        return [SUCCESS, FAILED] if delivered else [FAILED, SUCCESS]

    async def settle(self) -> None:
        """Everything that waits, one after the other."""
        for audit in self.waiting():
            await self._end(audit, self.verdicts(audit))

    def _request(self) -> Coroutine[Any, Any, Any] | None:
        kind, table = self.random.choice(REQUESTS)
        number = self._any(table)
        if number is None:
            return None
        request = pb.RequestAuditRequest(type=int(kind), id=number, **BY)
        return self._call("audit", "RequestAudit", request)

    # ------------------------------------------------------------ the rest
    def _retry(self) -> Coroutine[Any, Any, Any] | None:
        step, table = self.random.choice(STEPS)
        number = self._any(table)
        if number is None:
            return None
        return self._call("audit", "RetryStep", _STEP(step=step, id=number, **BY))

    def _pause(self) -> Coroutine[Any, Any, Any] | None:
        number = self._any("oms_order_info")
        return None if number is None else self._paused([number], paused=True)

    def paused(self) -> list[int]:
        """Orders that are paused."""
        rows = self.tables["oms_order_info"].rows
        return [i for i, row in rows.items() if row["delivery_pause"] == 0]

    def _resume(self) -> Coroutine[Any, Any, Any] | None:
        paused = self.paused()
        return self._paused(paused[:3], paused=False) if paused else None

    async def _paused(self, numbers: list[int], *, paused: bool) -> None:
        request = pb.PauseDeliveryRequest(order_ids=numbers, paused=paused, **BY)
        await self._call("audit", "PauseDelivery", request)

    async def resume_all(self) -> None:
        """Nothing is paused any more."""
        if paused := self.paused():
            await self._paused(paused[:1_000], paused=False)

    def _resend(self) -> Coroutine[Any, Any, Any] | None:
        dead = [i for i, row in self.tables["oms_notify_info"].rows.items() if row["given_up"]]
        if not dead:
            return None
        request = pb.ResendNotifiesRequest(notify_ids=dead[:20], by=BY["by"])
        return self._call("audit", "ResendNotifies", request)

    def _cancel(self) -> Coroutine[Any, Any, Any] | None:
        """A channel's own: 撤单."""
        wanted = list(self.system.partners.wanted)
        if not wanted:
            return None
        recent = wanted[-20:]
        return self._cancelled(*recent[self.random.randrange(len(recent))])

    async def _cancelled(self, channel_no: str, request_no: str) -> None:
        request = channel_pb.CancelOrderRequest(channel_no=channel_no, request_no=request_no)
        answer = await self._call("channel", "CancelOrder", request)
        if answer is not None and answer.result == CANCELLED:
            self.system.partners.cancelled.add((channel_no, request_no))
