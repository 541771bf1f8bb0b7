"""What is written of every status of a pay or a refund: trade record, event, and what subscribers add."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from shoudan.pay.v1 import payment_events_pb2 as pb
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.payserver.numbers import new_uuid
from shoudan_pay.payserver.store import refunds as store
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder, Trade

PAY: Final = "pay"
REFUND: Final = "refund"
SUBJECT: Final = "shoudan.events.pay"
REASON_CHARS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Adds to the transaction of a change what its product owes for it; called with what has changed."""

    pays: Callable[[UnitOfWork, Collection[PayOrder]], Awaitable[None]]
    refunds: Callable[[UnitOfWork, Collection[RefundOrder]], Awaitable[None]]


class History:
    """Writes every change in the transaction that makes it, then calls the subscribers in it."""

    def __init__(self, subscribers: Sequence[Subscriber] = ()) -> None:
        self._subscribers = subscribers

    async def pays_changed(self, work: UnitOfWork, changed: Collection[PayOrder]) -> None:
        """These pay orders have just taken the status they show."""
        trades: list[Trade] = []
        for pay in changed:
            trades.append(_pay_trade(pay, pay.result_code or ""))
            body = pb.PayChanged(
                traction_no=pay.traction_no,
                client_pay_no=pay.client_pay_no,
                merchant_uuid=pay.merchant_uuid,
                mode_uuid=pay.mode_uuid,
                amount_micros=pay.amount_micros,
                status=pay.status,
                result_code=pay.result_code or "",
            )
            work.events.add(f"{SUBJECT}.pay.{pay.status}", key=pay.traction_no, body=body)
        if trades:
            await store.record(work.db, trades)
            for subscriber in self._subscribers:
                await subscriber.pays(work, changed)

    async def refunds_changed(self, work: UnitOfWork, changed: Collection[RefundOrder]) -> None:
        """These refunds have just taken the status they show."""
        trades: list[Trade] = []
        for refund in changed:
            trades.append(_refund_trade(refund, refund.result_code or ""))
            body = pb.RefundChanged(
                traction_no=refund.traction_no,
                client_refund_no=refund.client_refund_no,
                pay_traction_no=refund.pay_traction_no,
                merchant_uuid=refund.merchant_uuid,
                amount_micros=refund.amount_micros,
                status=refund.status,
                result_code=refund.result_code or "",
            )
            # Under the pay's number, so that its whole life is found under one key.
            subject = f"{SUBJECT}.refund.{refund.status}"
            work.events.add(subject, key=refund.pay_traction_no, body=body)
        if trades:
            await store.record(work.db, trades)
            for subscriber in self._subscribers:
                await subscriber.refunds(work, changed)

    async def contradicted(
        self, work: UnitOfWork, told: Iterable[tuple[PayOrder | RefundOrder, str]]
    ) -> None:
        """A component said `word` of what had ended otherwise: written down, not applied."""
        trades: list[Trade] = []
        for ended, word in told:
            why = f"conflict:{word}"[:REASON_CHARS_MAX]
            if isinstance(ended, PayOrder):
                trades.append(_pay_trade(ended, why))
                noun = PAY
            else:
                trades.append(_refund_trade(ended, why))
                noun = REFUND
            body = pb.ResultConflict(traction_no=ended.traction_no, status=ended.status, told=word)
            text = f"{ended.traction_no} is {ended.status}, its component says {word}"
            subject = f"{SUBJECT}.{noun}.conflict"
            work.events.add(subject, key=ended.traction_no, body=body, text=text)
        if trades:
            await store.record(work.db, trades)


def _pay_trade(pay: PayOrder, why: str) -> Trade:
    return Trade(
        new_uuid(),
        pay.traction_no,
        PAY,
        pay.amount_micros,
        pay.status,
        why,
        pay.merchant_uuid,
        pay.mode_uuid,
        pay.template_id,
        pay.uuid,
        "",
    )


def _refund_trade(refund: RefundOrder, why: str) -> Trade:
    return Trade(
        new_uuid(),
        refund.traction_no,
        REFUND,
        refund.amount_micros,
        refund.status,
        why,
        refund.merchant_uuid,
        refund.mode_uuid,
        refund.template_id,
        refund.pay_uuid,
        refund.uuid,
    )
