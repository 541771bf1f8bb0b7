"""Which ends of pays and refunds a Dingdang partner is told of: owed in the transaction that ends them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from shoudan_kit import log
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.dingdang.kinds import TELL, Tell
from shoudan_pay.dingdang.protocol import ID_CHARS_MAX
from shoudan_pay.dingdang.store import notices
from shoudan_pay.dingdang.store.notices import NewNotice
from shoudan_pay.payserver.history import Subscriber
from shoudan_pay.payserver.states import PayStatus, RefundStatus
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder
from shoudan_pay.platforms.store import callers

PAID: Final = "paid"
REFUNDED: Final = "refunded"
_log = log.get_logger("dingdang")

ENDED: Final = frozenset({RefundStatus.REFUNDED, RefundStatus.REFUND_FAILED})


async def pays(work: UnitOfWork, changed: Collection[PayOrder]) -> None:
    """Owe 通知发货 for those that have just been payed."""
    paid = [p for p in changed if p.status == PayStatus.PAYED]
    await _owe(work, PAID, [(p.merchant_uuid, p.traction_no, p.client_pay_no) for p in paid])


async def refunds(work: UnitOfWork, changed: Collection[RefundOrder]) -> None:
    """Owe 退款结果通知 for those that have just ended."""
    ended = [r for r in changed if r.status in ENDED]
    await _owe(
        work, REFUNDED, [(r.merchant_uuid, r.traction_no, r.client_refund_no) for r in ended]
    )


SUBSCRIBER: Final = Subscriber(pays, refunds)


async def _owe(work: UnitOfWork, kind: str, ended: list[tuple[str, str, str]]) -> None:
    if not ended:
        return
    domains = await callers.platform_domains(work.db, {merchant for merchant, _, _ in ended})
    told = [
        (domain.domain_id, number)
        for domain in domains
        if (domain.paid_url if kind == PAID else domain.refunded_url)
        for merchant, number, client_no in ended
        if merchant == domain.merchant_uuid and _fits(client_no)
    ]
    if not told:
        return
    new = [
        NewNotice(notice_id, kind, domain_id, number)
        for notice_id, (domain_id, number) in zip(work.ids.take(len(told)), told, strict=True)
    ]
    for notice_id in await notices.owe(work.db, new):
        work.tasks.add(TELL, Tell(notice_id), order_no=str(notice_id))


def _fits(client_no: str) -> bool:
    """Whether the client's number can travel as tradeNo or refundTradeNo."""
    if len(client_no) <= ID_CHARS_MAX:
        return True
    _log.error("number_too_long_for_notice", client_no=client_no)
    return False
