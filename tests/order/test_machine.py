"""Laws that hold after every step of any history of orders, repeats, answers, overtimes, refunds, audits.

I5 one order per key, I6 the first request is kept, I7 the ledger says what the orders say, I8 ends are
final and parts explain the whole, I15 whoever is to be told is told the end. Source: reliability §3, §4.7.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from shoudan.order.v1 import audit_service_pb2 as audit_pb
from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_kit.embedded import DatabaseUrls, Postgres
from shoudan_kit.rpc.refusal import refused_from_rpc
from tests.order.harness import YUAN, OrderHarness, inboxes, running
from tests.order.walk import GENERAL, MANDATORY, Steps

ENDED = {0, 90, 91}
HOUR_S = 3_600
KINDS = (
    "order.pay", "order.bind", "order.deliver", "order.up_pay", "order.notify", "order.overtime",
    "order.delivery_unknown", "order.refund", "refund.return", "refund.pay", "refund.up_pay",
    "refund.notify", "refund.overtime", "refund.return_unknown",
)  # fmt: skip

_STATE = """
SELECT order_id, order_status, payment_status, refund_status, sell_amount_micros,
    success_sell_amount_micros, total_face_micros, bind_face_micros, success_face_micros,
    (SELECT coalesce(sum(total_face_micros), 0) FROM oms_order_delivery d
        WHERE d.order_id = o.order_id AND delivery_status <> 90) AS bound,
    (SELECT coalesce(sum(total_face_micros), 0) FROM oms_order_delivery d
        WHERE d.order_id = o.order_id AND delivery_status = 0) AS delivered,
    (SELECT coalesce(sum(refund_face_micros), 0) FROM oms_refund_info r
        WHERE r.order_id = o.order_id AND refund_status IN (0, 20, 91)) AS refunded,
    profit_micros - (success_sell_amount_micros - success_commission_micros
        + success_service_micros - success_fee_micros - success_cost_amount_micros
        + success_up_commission_micros + success_up_service_micros) AS profit_off,
    parked_reason
FROM oms_order_info o WHERE order_id = ANY(:ids)
"""
SEED: Final = 1  # one in three leads to no refund that succeeds
_ENDS = """
SELECT key FROM event WHERE key = ANY(:keys) AND subject IN ('shoudan.events.order.order.succeeded',
    'shoudan.events.order.order.failed', 'shoudan.events.order.order.partial')
GROUP BY key HAVING count(*) > 1
"""
_OPEN = """
SELECT o.order_id FROM oms_order_info o WHERE o.order_id = ANY(:ids) AND o.parked_reason = ''
    AND (order_status IN (10, 20) OR notify_status = 30)
UNION ALL
SELECT refund_id FROM oms_refund_info r JOIN oms_order_info o USING (order_id)
WHERE o.order_id = ANY(:ids) AND o.parked_reason = ''
    AND (r.refund_status IN (10, 20) OR r.refund_notify_status = 30)
"""


class History(RuleBasedStateMachine):
    """One channel's history. The harness is shared by all examples; what is checked is this one's."""

    harness: OrderHarness
    postgres: Postgres
    run: Callable[[Awaitable[Any]], Any]
    shift_s = 0
    orders = Bundle("orders")
    refunds = Bundle("refunds")

    def __init__(self) -> None:
        super().__init__()
        self.requests: dict[int, pb.NewOrder] = {}
        self.refund_no = 0
        self.final: dict[int, int] = {}
        self.harness.delivery.script = lambda item: None

    @property
    def ids(self) -> list[int]:
        return list(self.requests)

    # ------------------------------------------------------------ partners
    @rule(target=orders, num=st.integers(1, 3))
    def order(self, num: int) -> int:
        new = self.harness.new(
            num=num, amount_micros=num * 180 * YUAN, notify_url=self.harness.inbox.url
        )
        (result,) = self.run(self.harness.create(new))
        self.requests[result.order.order_id] = new
        return result.order.order_id

    @rule(target=orders, num=st.integers(1, 3))
    def delivered(self, num: int) -> int:
        """An order whose life goes well, for what may come after."""
        order_id = self.order(num)
        self.work_all()
        for number, _ in self._sent():
            item = self.harness.delivery.made[number]
            if item.order_id == str(order_id):
                self.harness.delivery.ended.setdefault(number, True)
                result = pb.DeliveryResult(id=number, succeeded=True)
                self.run(self.harness.report(result))
        self.work_all()
        return order_id

    @rule(order_id=orders)
    def order_again(self, order_id: int) -> None:
        (result,) = self.run(self.harness.create(self.requests[order_id]))
        assert (result.order.order_id, result.existed) == (order_id, True)

    @rule(order_id=orders)
    def order_otherwise(self, order_id: int) -> None:
        other = pb.NewOrder()
        other.CopyFrom(self.requests[order_id])
        other.recharge_account = "somebody else"
        (result,) = self.run(self.harness.create(other))
        assert result.refusal.reason == "ERROR_REASON_REQUEST_DIFFERS"

    @rule(
        target=refunds,
        order_id=orders,
        num=st.integers(1, 3),
        kind=st.sampled_from([GENERAL, GENERAL, MANDATORY]),
    )
    def refund(self, order_id: int, num: int, kind: Any) -> Any:
        self.refund_no += 1
        new = pb.NewRefund(
            channel_no="test",
            request_no=self.requests[order_id].request_no,
            refund_no=f"{self.requests[order_id].request_no}-{self.refund_no}",
            refund_num=num,
            notify_url=self.harness.inbox.url,
            type=kind,
        )
        result = self._refund(new)
        return new if result.HasField("refund") else multiple()

    @rule(new=refunds, other=st.booleans())
    def refund_again(self, new: Any, other: bool) -> None:
        again = pb.NewRefund()
        again.CopyFrom(new)
        again.refund_num += int(other)
        result = self._refund(again)
        if other:
            assert result.refusal.reason == "ERROR_REASON_REFUND_DIFFERS"
        else:
            assert result.existed

    def _refund(self, new: Any) -> Any:
        request = pb.CreateRefundsRequest(refunds=[new])
        return self.run(_call(self.harness.orders.CreateRefunds, request)).results[0]

    # ------------------------------------------------------------ the harness and its clock
    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4), early=st.booleans())
    def work(self, kinds: list[str], early: bool) -> None:
        """Workers run; `early`: also what is not due, as after a lost lease."""
        for kind in kinds:
            self.run(Steps(self.harness).run(kind, early=early and not kind.endswith("overtime")))

    @rule()
    def work_all(self) -> None:
        """Workers run everything that is due, in the order of an order's life."""
        for kind in KINDS:
            self.run(Steps(self.harness).run(kind, early=False))

    @rule()
    def overtime(self) -> None:
        """An hour goes by: everything's time is over."""
        type(self).shift_s += HOUR_S
        self.run(self.harness.turn_clock(self.postgres, type(self).shift_s))
        for kind in ("order.overtime", "refund.overtime"):
            self.run(Steps(self.harness).run(kind, early=False))

    # ------------------------------------------------------------ suppliers
    @rule(data=st.data(), succeeded=st.booleans(), twice=st.booleans())
    def told(self, data: st.DataObject, succeeded: bool, twice: bool) -> None:
        """A supplier's word: first, repeated, late, or against what it said before."""
        sent = self._sent()
        if not sent:
            return
        number, is_return = data.draw(st.sampled_from(sent))
        self.harness.delivery.ended.setdefault(number, succeeded)
        for _ in range(1 + twice):
            result = pb.DeliveryResult(id=number, succeeded=succeeded, is_return=is_return)
            self.run(self.harness.report(result))

    @rule(data=st.data(), succeeded=st.sampled_from([True, False, None]))
    def knows(self, data: st.DataObject, succeeded: bool | None) -> None:
        """What the delivery service will say when it is asked; None: it does not know either."""
        if (sent := self._sent()) and succeeded is not None:
            number, _ = data.draw(st.sampled_from(sent))
            self.harness.delivery.ended.setdefault(number, succeeded)

    def _sent(self) -> list[tuple[int, bool]]:
        mine = {f"{i}" for i in self.ids}
        items = [i for i in self.harness.delivery.sent if i.order_id in mine]
        return [(int(i.key.coop_order_id), i.key.service_class == 21) for i in items]

    # ------------------------------------------------------------ people
    @rule(data=st.data(), status=st.sampled_from([0, 90, 91]))
    def decide(self, data: st.DataObject, status: int) -> None:
        for order_id in self.ids:
            request = audit_pb.ListAuditsRequest(order_id=order_id)
            for audit in self.run(_call(self.harness.audits.ListAudits, request)).audits:
                decision = audit_pb.DecideAuditRequest(
                    audit_id=audit.audit_id, status=status, by="ops", reason="model"
                )
                self.run(_may_refuse(_call(self.harness.audits.DecideAudit, decision)))

    # ------------------------------------------------------------ what holds
    @invariant()
    def laws(self) -> None:
        if not self.requests:
            return
        rows = self.run(self.harness.sql(_STATE, ids=self.ids))
        assert len(rows) == len(self.requests)
        for row in rows:
            assert row.bind_face_micros == row.bound, row
            assert row.success_face_micros == row.delivered - row.refunded, row
            assert row.profit_off == 0, row
            self._ends_are_final(row)
            self._ledger_agrees(row)
        assert not self.run(self.harness.sql(_ENDS, keys=[str(i) for i in self.ids]))

    def _ends_are_final(self, row: Any) -> None:
        before = self.final.get(row.order_id)
        if before is not None:
            # A user's refund alone leads on, and never back.
            allowed = {0: {0, 90, 91}, 91: {91, 90}, 90: {90}}[before]
            assert row.order_status in allowed, (before, row)
        if row.order_status in ENDED:
            self.final[row.order_id] = row.order_status

    def _ledger_agrees(self, row: Any) -> None:
        ledger = self.harness.ledger
        paid = ledger.trades(str(row.order_id)).get("down_channel", 0)
        back = ledger.trades(f"r{row.order_id}").get("down_channel", 0)
        assert paid in {0, -row.sell_amount_micros}, row
        assert 0 <= back <= -paid, row
        if row.payment_status == 0:
            assert paid == -row.sell_amount_micros, row
        assert back == 0 or row.refund_status in {0, 20}, row

    def teardown(self) -> None:
        """At rest, with suppliers who have made up their mind, everything is over or waits for a person."""
        if not self.requests:
            return
        self.overtime()
        for place, (number, is_return) in enumerate(self._sent()):
            self.harness.delivery.ended.setdefault(number, not is_return or place % 2 == 0)
        for _ in range(3):
            for kind in KINDS:
                self.run(Steps(self.harness).run(kind))
        assert not self.run(self.harness.sql(_OPEN, ids=self.ids))
        self.laws()
        self._money_is_where_it_belongs()
        self._partners_know()

    def _money_is_where_it_belongs(self) -> None:
        """I7: what a channel has paid is what it got; what suppliers got is what it cost."""
        found = """SELECT o.order_id, o.order_status, o.payment_status, o.sell_amount_micros,
            o.success_sell_amount_micros AS sold, o.success_cost_amount_micros AS cost,
            (SELECT array_agg(refund_id) FROM oms_refund_info r WHERE r.order_id = o.order_id) AS refunds,
            (SELECT array_agg(delivery_id) FROM oms_order_delivery d
                WHERE d.order_id = o.order_id) AS parts,
            (SELECT array_agg(return_id) FROM oms_refund_up_return u
                WHERE u.order_id = o.order_id) AS returns
            FROM oms_order_info o WHERE order_id = ANY(:ids) AND order_status IN (0, 90, 91)"""
        trades = self.harness.ledger.trades
        for row in self.run(self.harness.sql(found, ids=self.ids)):
            down = [str(row.order_id), f"r{row.order_id}", *map(str, row.refunds or ())]
            moved = sum(trades(no).get("down_channel", 0) for no in down)
            assert moved == -row.sold, row
            up = [str(no) for no in [*(row.parts or ()), *(row.returns or ())]]
            assert sum(trades(no).get("up_channel", 0) for no in up) == -row.cost, row

    def _partners_know(self) -> None:
        """I15: the last thing told of an ended order is an end, and a first one at that."""
        told = {
            t["request_no"]: t["status"] for t in self.harness.inbox.told if "refund_no" not in t
        }
        for order_id, status in self.final.items():
            assert told.get(self.requests[order_id].request_no) in ENDED, (order_id, status)


async def _call(method: Any, request: Any) -> Any:
    """A call, begun in the loop of its channel."""
    return await method(request)


async def _may_refuse(call: Any) -> None:
    """A person may be too late, or ask for what cannot be."""
    try:
        await call
    except grpc.RpcError as error:
        refused = refused_from_rpc(error)
        if refused is None or refused.reason != "ERROR_REASON_AUDIT_REFUSED":
            raise


@pytest.mark.timeout(900)
async def test_any_history_keeps_the_laws(
    postgres: Postgres,
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
) -> None:
    async with inboxes() as inbox:
        nobody = frozenset({"rpc"})
        async with running(await new_database("order"), inbox, roles=nobody) as harness:
            loop = asyncio.get_running_loop()
            History.harness, History.postgres = harness, postgres
            History.run = staticmethod(
                lambda call: asyncio.run_coroutine_threadsafe(_await(call), loop).result(30)
            )
            ci = settings(
                max_examples=int(os.environ.get("SHOUDAN_HISTORIES", "30")),
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            )
            # The same histories whatever anything is called; others with SHOUDAN_HISTORIES.
            machine = History if "SHOUDAN_HISTORIES" in os.environ else seed(SEED)(History)
            await asyncio.to_thread(run_state_machine_as_test, machine, settings=ci)
            # Histories that lead nowhere would keep any law.
            orders = await harness.sql("SELECT DISTINCT order_status FROM oms_order_info")
            refunds = await harness.sql("SELECT DISTINCT refund_status FROM oms_refund_info")
            assert {row[0] for row in orders} >= {0, 90, 91}
            assert {row[0] for row in refunds} >= {0, 90}


async def _await(call: Awaitable[Any]) -> Any:
    return await call
