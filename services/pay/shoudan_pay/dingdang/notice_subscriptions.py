"""Notices to Dingdang partners about ended pays and refunds, enqueued in the transaction that ends them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from shoudan_kit import log
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.dingdang.kinds import SEND_NOTICE, NoticeStep
from shoudan_pay.dingdang.protocol import ID_CHARS_MAX
from shoudan_pay.dingdang.store import notices
from shoudan_pay.dingdang.store.notices import NewNotice
from shoudan_pay.payserver.states import PayStatus, RefundStatus
from shoudan_pay.payserver.store.orders import Order
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.payserver.store.refunds import RefundOrder
from shoudan_pay.platforms.store import callers

PAID: Final = "paid"
REFUNDED: Final = "refunded"
_log = log.get_logger("dingdang")

ENDED: Final = frozenset({RefundStatus.REFUNDED, RefundStatus.REFUND_FAILED})


async def subscriber(work: UnitOfWork, changed: Collection[Order]) -> None:
    """Enqueue 通知发货 for pays that have just been payed, 退款结果通知 for refunds that have just ended."""
    paid = [one for one in changed if isinstance(one, PayOrder) and one.status == PayStatus.PAYED]
    await _enqueue(work, PAID, paid)
    ended = [one for one in changed if isinstance(one, RefundOrder) and one.status in ENDED]
    await _enqueue(work, REFUNDED, ended)


async def _enqueue(work: UnitOfWork, kind: str, ended: Sequence[Order]) -> None:
    if not ended:
        return
    domains = await callers.platform_domains(work.db, {one.merchant_uuid for one in ended})
    wanted = [
        (domain.domain_id, one.traction_no)
        for domain in domains
        if (domain.paid_url if kind == PAID else domain.refunded_url)
        for one in ended
        if one.merchant_uuid == domain.merchant_uuid and _fits(one.client_key[1])
    ]
    if not wanted:
        return
    new = [
        NewNotice(notice_id, kind, domain_id, number)
        for notice_id, (domain_id, number) in zip(work.ids.take(len(wanted)), wanted, strict=True)
    ]
    for notice_id in await notices.insert(work.db, new):
        work.tasks.add(SEND_NOTICE, NoticeStep(notice_id), order_no=str(notice_id))


def _fits(client_no: str) -> bool:
    """Whether the client's number can travel as tradeNo or refundTradeNo."""
    if len(client_no) <= ID_CHARS_MAX:
        return True
    _log.error("number_too_long_for_notice", client_no=client_no)
    return False
