"""An order's life step by step: nothing runs by itself, each event is made to happen, statuses are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from shoudan.order.v1 import audit_service_pb2 as audit_pb
from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_kit.tasks.kinds import Task
from shoudan_order import returns
from shoudan_order.delivery_client import Outcome
from shoudan_order.tasks import HANDLERS
from tests.order.harness import YUAN, OrderHarness
from tests.poll import eventually

GENERAL, MANDATORY = pb.REFUND_TYPE_GENERAL, pb.REFUND_TYPE_MANDATORY
LANES = {handler.kind.name: handler for handler in HANDLERS}

_DUE = """SELECT task_id, queue_name, order_no, msg_content, count, max_execute_time FROM task
    WHERE name = :name AND status = 20 AND (:early OR next_execute_time <= shoudan_now())
    ORDER BY task_id"""
_ORDER = """SELECT order_status, payment_status, delivery_bind_status, refund_status, notify_status
    FROM oms_order_info WHERE order_id = :id"""
_PARTS = """SELECT delivery_status, up_payment_status FROM oms_order_delivery WHERE order_id = :id
    ORDER BY delivery_id"""
_REFUNDS = """SELECT refund_status, up_return_status, down_refund_status, refund_notify_status
    FROM oms_refund_info WHERE order_id = :id ORDER BY refund_id"""
_RETURNS = """SELECT return_status, up_refund_status FROM oms_refund_up_return WHERE order_id = :id
    ORDER BY return_id"""


@dataclass
class Steps:
    """The tasks of a harness without workers, run when a test says so."""

    harness: OrderHarness

    async def run(self, name: str, *, early: bool = True) -> int:
        """Run every waiting task of a kind once, due or (`early`) not; how many there were."""
        handler = LANES[name]
        rows = await self.harness.sql(_DUE, name=name, early=early)
        tasks = [
            Task(
                id=row.task_id,
                kind=handler.kind,
                payload=msgspec.json.decode(row.msg_content, type=handler.kind.payload),
                queue=row.queue_name,
                order_no=row.order_no,
                count=row.count + 1,
                deadline=row.max_execute_time or datetime.now(UTC),
            )
            for row in rows
        ]
        if tasks:
            await handler.run(self.harness.context, tasks)
            kept = [task for task in tasks if task.detached]
            await eventually(lambda: all(task.finished for task in kept))
        return len(tasks)

    async def settle(
        self, *, without: tuple[str, ...] = ("order.overtime", "refund.overtime")
    ) -> None:
        """Run what is due until nothing is: the harness at rest. Bounded by the kinds' own ends."""
        for _ in range(50):
            ran = 0
            for name in LANES:
                if name not in without:
                    ran += await self.run(name, early=False)
            if not ran:
                return
        raise AssertionError("the tasks do not come to rest")


@dataclass
class Walk:
    """One order and what happens to it. Each event is a method without arguments."""

    harness: OrderHarness
    order_id: int = 0
    refund_count: int = 0

    @property
    def steps(self) -> Steps:
        return Steps(self.harness)

    async def vector(self) -> str:
        """`order/payment/bind/refund/notify`, then d(elivery/up payment), r(efund/up return/down
        refund/notify) and u(p return/up refund) of each."""
        parts = ["/".join(map(str, (await self._rows(_ORDER))[0]))]
        for mark, query in (("d", _PARTS), ("r", _REFUNDS), ("u", _RETURNS)):
            parts += [mark + "/".join(map(str, row)) for row in await self._rows(query)]
        return " ".join(parts)

    async def _rows(self, query: str) -> list[Any]:
        return [tuple(row) for row in await self.harness.sql(query, id=self.order_id)]

    async def happen(self, event: str) -> None:
        """Let one event happen, by name."""
        happening: Callable[[], Any] = getattr(self, event)
        await happening()

    # ------------------------------------------------------------ the order
    async def order(self, **changes: Any) -> None:
        self.order_id = await self.harness.order(notify_url=self.harness.inbox.url, **changes)

    async def order_two(self) -> None:
        """Two units, each delivered by itself."""
        await self.order(num=2, amount_micros=2 * 180 * YUAN)

    async def pay(self) -> None:
        await self.steps.run("order.pay")

    async def pay_short(self) -> None:
        self.harness.ledger.limits["test"] = -(10**18)
        await self.pay()
        self.harness.ledger.limits.clear()

    async def bind(self) -> None:
        await self.steps.run("order.bind")

    async def hand_over(self) -> None:
        self.harness.delivery.script = lambda item: None
        await self.steps.run("order.deliver")

    async def _report(self, which: int, succeeded: bool) -> None:
        found = await self.harness.sql(
            "SELECT delivery_id FROM oms_order_delivery WHERE order_id = :id ORDER BY delivery_id",
            id=self.order_id,
        )
        number = found[which][0]
        self.harness.delivery.ended.setdefault(number, succeeded)
        await self.harness.report(pb.DeliveryResult(id=number, succeeded=succeeded))

    async def succeed(self) -> None:
        await self._report(0, True)

    async def fail(self) -> None:
        await self._report(0, False)

    async def succeed_last(self) -> None:
        await self._report(-1, True)

    async def fail_last(self) -> None:
        await self._report(-1, False)

    async def up_pay(self) -> None:
        await self.steps.run("order.up_pay")

    async def notify(self) -> None:
        self.harness.inbox.answer = lambda told: (200, "success")
        await self.steps.run("order.notify")

    async def notify_refused(self) -> None:
        self.harness.inbox.answer = lambda told: (500, "no")
        await self.steps.run("order.notify")

    async def query(self) -> None:
        (row,) = await self.harness.sql(
            "SELECT request_no FROM oms_order_info WHERE order_id = :id", id=self.order_id
        )
        key = pb.OrderKey(channel_no="test", request_no=row[0])
        await self.harness.orders.QueryOrders(pb.QueryOrdersRequest(keys=[key]))

    async def overtime(self) -> None:
        """The order's time is over."""
        await self.harness.sql(
            "UPDATE oms_order_info SET order_overtime = shoudan_now() - interval '1 s'"
            " WHERE order_id = :id",
            id=self.order_id,
        )
        await self.steps.run("order.overtime")

    async def too_early(self) -> None:
        """The overtime task runs though the order has time left."""
        await self.steps.run("order.overtime")

    async def ask(self) -> None:
        await self.steps.run("order.delivery_unknown")

    async def money_back(self) -> None:
        await self.steps.run("order.refund")

    # ------------------------------------------------------------ refunds
    async def _refund(self, kind: Any, num: int) -> Any:
        (row,) = await self.harness.sql(
            "SELECT request_no FROM oms_order_info WHERE order_id = :id", id=self.order_id
        )
        self.refund_count += 1
        new = pb.NewRefund(
            channel_no="test", request_no=row[0], refund_no=f"{row[0]}-{self.refund_count}",
            refund_num=num, notify_url=self.harness.inbox.url, type=kind,
        )  # fmt: skip
        answer = await self.harness.orders.CreateRefunds(pb.CreateRefundsRequest(refunds=[new]))
        return answer.results[0]

    async def refund(self) -> None:
        await self._refund(GENERAL, 1)

    async def refund_two(self) -> None:
        await self._refund(GENERAL, 2)

    async def mandatory(self) -> None:
        await self._refund(MANDATORY, 1)

    async def give_back(self) -> None:
        self.harness.delivery.script = lambda item: None
        await self.steps.run("refund.return")

    async def _returned(self, which: int, succeeded: bool) -> None:
        found = await self.harness.sql(
            "SELECT return_id FROM oms_refund_up_return WHERE order_id = :id ORDER BY return_id",
            id=self.order_id,
        )
        number = found[which][0]
        self.harness.delivery.ended.setdefault(number, succeeded)
        await returns.report(self.harness.context, [Outcome(number, succeeded, True)])

    async def returned(self) -> None:
        await self._returned(0, True)

    async def not_returned(self) -> None:
        await self._returned(0, False)

    async def returned_last(self) -> None:
        await self._returned(-1, True)

    async def not_returned_last(self) -> None:
        await self._returned(-1, False)

    async def down_refund(self) -> None:
        await self.steps.run("refund.pay")

    async def up_refund(self) -> None:
        await self.steps.run("refund.up_pay")

    async def refund_notify(self) -> None:
        self.harness.inbox.answer = lambda told: (200, "success")
        await self.steps.run("refund.notify")

    async def refund_overtime(self) -> None:
        """The refund's time is over."""
        await self.harness.sql(
            "UPDATE oms_refund_info SET return_overtime = shoudan_now() - interval '1 s'"
            " WHERE order_id = :id",
            id=self.order_id,
        )
        await self.steps.run("refund.overtime")

    async def ask_return(self) -> None:
        await self.steps.run("refund.return_unknown")

    # ------------------------------------------------------------ people
    async def _decide(self, status: int) -> None:
        found = await self.harness.audits.ListAudits(
            audit_pb.ListAuditsRequest(order_id=self.order_id)
        )
        await self.harness.audits.DecideAudit(
            audit_pb.DecideAuditRequest(
                audit_id=found.audits[0].audit_id, status=status, by="ops", reason="asked"
            )
        )

    async def decide_success(self) -> None:
        await self._decide(0)

    async def decide_failure(self) -> None:
        await self._decide(90)

    async def decide_partial(self) -> None:
        await self._decide(91)

    async def false_success(self) -> None:
        (row, *_) = await self.harness.sql(
            "SELECT delivery_id FROM oms_order_delivery WHERE order_id = :id", id=self.order_id
        )
        request = audit_pb.RequestAuditRequest(
            type=audit_pb.AUDIT_TYPE_FALSE_SUCCESS, id=row[0], by="ops", reason="empty"
        )
        await self.harness.audits.RequestAudit(request)
        await self._decide(0)
