"""Refunds that ChinaUMS has not ended and is no longer queried about, for a person to decide."""

from __future__ import annotations

from typing import Final

from shoudan_kit.tasks.open_work import Decision, Item
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.chinaums.kinds import ASK_UMS, AskUms
from shoudan_pay.chinaums.store import refunds
from shoudan_pay.payserver.open_work import FAILED, SUCCESS, WorkKind, settle_refund, still
from shoudan_pay.payserver.refusals import ResourceNotFound
from shoudan_pay.platforms.states import RefundState
from shoudan_pay.store.open_work import Row

RETRY: Final = "retry"
STATES: Final = {SUCCESS: RefundState.SUCCESS, FAILED: RefundState.FAIL}


class OpenUmsRefunds(WorkKind):
    """Queried for another day, or ended together with PayServer's refund."""

    kind = "ums_refund"
    queue = refunds.UNASKED

    def _decisions(self, row: Row) -> tuple[str, ...]:
        return (RETRY, SUCCESS, FAILED)

    async def _decide(self, work: UnitOfWork, item: Item, decision: Decision) -> None:
        row = await refunds.by_number(work.db, item.key, lock=True)
        if row is None:
            raise ResourceNotFound(item.key)
        if decision.word == RETRY:
            work.tasks.add(ASK_UMS, AskUms(item.key), order_no=item.key)
            return
        await settle_refund(work, self.history, item, decision)
        moved = await refunds.advance_refund(
            work.db,
            item.key,
            row.status,
            STATES[decision.word],
            sent=row.sent,
            last_code=f"decided {decision.word}",
        )
        still(moved, item)
