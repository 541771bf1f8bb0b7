"""Background work of this service: each task brings one thing nearer to its end."""

from __future__ import annotations

from typing import Any, Final

from shoudan_kit.tasks.kinds import Handler, Task, handles_each
from shoudan_pay.chinaums.kinds import ASK_UMS, ASK_UMS_NOW, AskUms
from shoudan_pay.context import Context
from shoudan_pay.dingdang.kinds import RELEASE, SEND_NOTICE, NoticeStep, Release
from shoudan_pay.ledger import closing, nightly
from shoudan_pay.ledger.kinds import CLOSE_DAY, PROVE, CloseDay, Prove
from shoudan_pay.payserver.kinds import ASK_PAY, ASK_REFUND, Ask


@handles_each(PROVE)
async def prove(context: Context, task: Task[Prove]) -> None:
    """Prove the ledger, and come again at the same time tomorrow."""
    await nightly.prove(context.app, task)


@handles_each(CLOSE_DAY)
async def close_day(context: Context, task: Task[CloseDay]) -> None:
    """Close the accounting days that are over, and come again when the next one is."""
    await closing.close_due(context.app, task)


@handles_each(ASK_PAY)
async def ask_pay(context: Context, task: Task[Ask]) -> None:
    """Bring one pay nearer to its end."""
    await context.payserver.polling.pay(task)


@handles_each(ASK_REFUND)
async def ask_refund(context: Context, task: Task[Ask]) -> None:
    """Bring one refund nearer to its end."""
    await context.payserver.polling.refund(task)


@handles_each(ASK_UMS)
async def ask_ums(context: Context, task: Task[AskUms]) -> None:
    """Query ChinaUMS for one refund."""
    await context.ums_refunds.ask(task)


@handles_each(ASK_UMS_NOW)
async def ask_ums_now(context: Context, task: Task[AskUms]) -> None:
    """The same, at once."""
    await context.ums_refunds.ask(task)


@handles_each(SEND_NOTICE)
async def send_notice(context: Context, task: Task[NoticeStep]) -> None:
    """One attempt of one notice to a partner of Dingdang."""
    await context.notices.send_notice(task)


@handles_each(RELEASE)
async def release(context: Context, task: Task[Release]) -> None:
    """Let the order of a paid trade go on, or stop that of a refunded one."""
    await context.order_holds.release(task)


HANDLERS: Final[tuple[Handler[Any], ...]] = (
    prove,
    close_day,
    ask_pay,
    ask_refund,
    ask_ums,
    ask_ums_now,
    send_notice,
    release,
)
