"""What is written of every status of a pay or a refund: trade record, event, and what subscribers add."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final, TypeAlias

from google.protobuf.message import Message

from shoudan.pay.v1 import payment_events_pb2 as pb
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.payserver.numbers import new_uuid
from shoudan_pay.payserver.store import refunds as store
from shoudan_pay.payserver.store.orders import Order
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder, Trade

PAY: Final = "pay"
REFUND: Final = "refund"
SUBJECT: Final = "shoudan.events.pay"
REASON_CHARS_MAX: Final = 256

# Adds to the transaction of a change what its product does then; called with orders of one kind.
Subscriber: TypeAlias = Callable[[UnitOfWork, Collection[Order]], Awaitable[None]]


class History:
    """Writes every change in the transaction that makes it, then calls the subscribers in it."""

    def __init__(self, subscribers: Sequence[Subscriber] = ()) -> None:
        self._subscribers = subscribers

    async def changed(self, work: UnitOfWork, orders: Collection[Order]) -> None:
        """These pay orders, or refunds, have just taken the status they show."""
        for order in orders:
            # A refund is published under the number of its pay, so that one key finds the pay's whole life.
            key = order.pay_traction_no if isinstance(order, RefundOrder) else order.traction_no
            subject = f"{SUBJECT}.{_noun(order)}.{order.status}"
            work.events.add(subject, key=key, body=_body(order))
        if orders:
            await store.record(work.db, [_trade(one, one.result_code or "") for one in orders])
            for subscriber in self._subscribers:
                await subscriber(work, orders)

    async def contradicted(self, work: UnitOfWork, conflicts: Iterable[tuple[Order, str]]) -> None:
        """A component's `word` contradicts the result of an order: recorded, not applied."""
        trades: list[Trade] = []
        for order, word in conflicts:
            number, status = order.traction_no, order.status
            trades.append(_trade(order, f"conflict:{word}"[:REASON_CHARS_MAX]))
            body = pb.ResultConflict(traction_no=number, status=status, told=word)
            text = f"{number} is {status}, its component says {word}"
            subject = f"{SUBJECT}.{_noun(order)}.conflict"
            work.events.add(subject, key=number, body=body, text=text)
        if trades:
            await store.record(work.db, trades)


def _noun(order: Order) -> str:
    return PAY if isinstance(order, PayOrder) else REFUND


def _body(order: Order) -> Message:
    if isinstance(order, PayOrder):
        return pb.PayChanged(
            traction_no=order.traction_no,
            client_pay_no=order.client_pay_no,
            merchant_uuid=order.merchant_uuid,
            mode_uuid=order.mode_uuid,
            amount_micros=order.amount_micros,
            status=order.status,
            result_code=order.result_code or "",
        )
    assert isinstance(order, RefundOrder), "an order is a pay or a refund"
    return pb.RefundChanged(
        traction_no=order.traction_no,
        client_refund_no=order.client_refund_no,
        pay_traction_no=order.pay_traction_no,
        merchant_uuid=order.merchant_uuid,
        amount_micros=order.amount_micros,
        status=order.status,
        result_code=order.result_code or "",
    )


def _trade(order: Order, why: str) -> Trade:
    refund = order if isinstance(order, RefundOrder) else None
    return Trade(
        uuid=new_uuid(),
        traction_no=order.traction_no,
        trade_type=_noun(order),
        amount_micros=order.amount_micros,
        status=order.status,
        result_code=why,
        merchant_uuid=order.merchant_uuid,
        mode_uuid=order.mode_uuid,
        template_id=order.template_id,
        pay_uuid=order.uuid if refund is None else refund.pay_uuid,
        refund_uuid="" if refund is None else refund.uuid,
    )
