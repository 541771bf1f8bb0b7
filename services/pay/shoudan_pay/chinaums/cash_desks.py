"""Refunds of this system as a cash desk of ChinaUMS may see them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from shoudan_kit.clock import BEIJING, beijing
from shoudan_kit.service import App
from shoudan_pay.chinaums.protocol import Detail
from shoudan_pay.chinaums.store import refunds
from shoudan_pay.chinaums.store.refunds import Asked
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver.rules import fen
from shoudan_pay.payserver.states import RefundStatus
from shoudan_pay.platforms.refusals import NoOrder
from shoudan_pay.platforms.store.callers import UmsApp
from shoudan_pay.refusals import FieldInvalid

TEMPLATE: Final = "4CE44A21-68DA-4ADA-B7EE-371187327F75"  # 银联
NUMBER_CHARS_MAX: Final = 64


async def refund(app: App[PaySettings], desk: UmsApp, mid: str, tid: str, number: str) -> Asked:
    """The refund that merOrderId names; another merchant's, and another mid's, is like none.

    Raises FieldInvalid, NoOrder.
    """
    if not number or len(number) > NUMBER_CHARS_MAX:
        raise FieldInvalid("merOrderId", "is missing or too long")
    if (mid, tid) != (desk.mid, desk.tid):
        raise NoOrder(number)
    async with app.db.connect() as db:
        found = await refunds.asked(
            db, merchant=desk.merchant_uuid, app_id=desk.app_id, number=number, template_id=TEMPLATE
        )
    if found is None:
        raise NoOrder(number)
    return found


def detail(found: Asked) -> dict[str, Any]:
    """The detail ChinaUMS gave of the refund, completed from our own rows."""
    detail = msgspec.json.decode(found.detail, type=Detail) if found.detail else Detail()
    given = fen(found.refund_micros)
    done = found.status == RefundStatus.REFUNDED
    # 支付时间, 结算日期: the payment's, whatever became of the refund.
    paid = found.pay_finish_time
    own: dict[str, Any] = {
        "refund_target_order_id": found.third_refund_no or "",
        "seq_id": found.traction_no,
        "target_order_id": found.third_pay_no or "",
        "refund_funds": f"现金:{given}" if done else "",
        "refund_funds_desc": f"现金退款{given // 100}.{given % 100:02d}元" if done else "",
        "pay_time": beijing(paid) if paid else "",
        "settle_date": paid.astimezone(BEIJING).strftime("%Y-%m-%d") if paid else "",
        "refund_invoice_fen": given if done else 0,
        "send_back_fen": given if done else 0,
    }
    whole = {name: getattr(detail, name) or own.get(name) for name in Detail.__struct_fields__}
    # The document: the same as seqId unless the source gave a number of its own.
    whole["settle_ref_id"] = whole["settle_ref_id"] or whole["seq_id"]
    return {name: value for name, value in whole.items() if value}
