"""Which ends of pays and refunds a Dingdang partner is told of: owed in the transaction that ends them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from shoudan_kit.work import Work
from shoudan_pay.payserver.states import PayStatus, RefundStatus
from shoudan_pay.platforms.kinds import TELL, Tell
from shoudan_pay.store.payserver.pays import PayOrder
from shoudan_pay.store.payserver.refunds import RefundOrder
from shoudan_pay.store.platforms import callers, notices
from shoudan_pay.store.platforms.notices import NewNotice

PAID: Final = "paid"
REFUNDED: Final = "refunded"
ENDED: Final = frozenset({RefundStatus.REFUNDED, RefundStatus.REFUND_FAILED})


async def pays(work: Work, changed: Collection[PayOrder]) -> None:
    """Owe 通知发货 for those that have just been payed."""
    paid = [(p.merchant_uuid, p.traction_no) for p in changed if p.status == PayStatus.PAYED]
    await _owe(work, PAID, paid)


async def refunds(work: Work, changed: Collection[RefundOrder]) -> None:
    """Owe 退款结果通知 for those that have just ended."""
    ended = [(r.merchant_uuid, r.traction_no) for r in changed if r.status in ENDED]
    await _owe(work, REFUNDED, ended)


async def _owe(work: Work, kind: str, ended: list[tuple[str, str]]) -> None:
    if not ended:
        return
    domains = await callers.platform_domains(work.db, {merchant for merchant, _ in ended})
    told = [
        (domain.domain_id, number)
        for domain in domains
        if (domain.paid_url if kind == PAID else domain.refunded_url)
        for merchant, number in ended
        if merchant == domain.merchant_uuid
    ]
    if not told:
        return
    new = [
        NewNotice(notice_id, kind, domain_id, number)
        for notice_id, (domain_id, number) in zip(work.ids.take(len(told)), told, strict=True)
    ]
    for notice_id in await notices.owe(work.db, new):
        work.tasks.add(TELL, Tell(notice_id), order_no=str(notice_id))
