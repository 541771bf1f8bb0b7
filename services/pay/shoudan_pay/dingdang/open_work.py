"""Notices that were given up and trades that are parked, for a person to decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from shoudan_kit.tasks.open_work import Decision, Item
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.dingdang.kinds import SEND_NOTICE, NoticeStep
from shoudan_pay.dingdang.states import TRADE_ENDED, NoticeEvent, TradeState
from shoudan_pay.dingdang.store import notices, trades
from shoudan_pay.dingdang.trades import end_trade
from shoudan_pay.payserver.open_work import FAILED, KEEP, SUCCESS, WorkKind, still
from shoudan_pay.payserver.refusals import ResourceNotFound
from shoudan_pay.store.open_work import Row

RETRY: Final = "retry"
DROP: Final = "drop"
NOTICE_EVENTS: Final = {RETRY: NoticeEvent.RETRIED, DROP: NoticeEvent.DROPPED}
TRADE_ENDS: Final = {SUCCESS: TradeState.SUCCESS, FAILED: TradeState.FAIL}


class GivenUpNotices(WorkKind):
    """A notice its partner never acknowledged: sent again from the first attempt, or dropped."""

    kind = "notice"
    moves_money: ClassVar[bool] = False
    queue = notices.GIVEN_UP

    def _decisions(self, row: Row) -> tuple[str, ...]:
        return (RETRY, DROP)

    async def _decide(self, work: UnitOfWork, item: Item, decision: Decision) -> None:
        event = NOTICE_EVENTS[decision.word]
        still(await notices.advance_given_up(work.db, int(item.key), event), item)
        if decision.word == RETRY:
            work.tasks.add(SEND_NOTICE, NoticeStep(int(item.key)), order_no=item.key)


class ParkedTrades(WorkKind):
    """A trade that pays only an order: a person ends an open one, or keeps the result of an ended one."""

    kind = "trade"
    queue = trades.PARKED

    def _decisions(self, row: Row) -> tuple[str, ...]:
        return (KEEP,) if TradeState(row.state) in TRADE_ENDED else (SUCCESS, FAILED)

    def _evidence(self, row: Row) -> Sequence[str]:
        third = [f"transactionId {row.third_no}"] if row.third_no else []
        return [f"pays {row.client_no}", row.history, *third]

    async def _decide(self, work: UnitOfWork, item: Item, decision: Decision) -> None:
        domain_id, _, trade_no = item.key.partition(":")
        trade = await trades.by_no(work.db, domain_id, trade_no, lock=True)
        if trade is None:
            raise ResourceNotFound(item.key)
        if decision.word == KEEP:
            still(await trades.unpark(work.db, domain_id, trade_no), item)
        else:
            still(await end_trade(work, trade, TRADE_ENDS[decision.word], ""), item)
