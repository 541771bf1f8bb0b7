"""Channels are notified of their bills: once for each, with a link, until it is acknowledged.

The task is made with the bill. What a channel is sent is the bill of its own accounts alone, and the link is
made for each attempt, because it expires.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from grpc import aio

from shoudan_finance import alerts, bill_links, bills
from shoudan_finance.alert_messages import Message
from shoudan_finance.bill_links import Link
from shoudan_finance.bill_making import FUND
from shoudan_finance.context import Context
from shoudan_finance.kinds import NotifyBill
from shoudan_finance.order_client import NoticeOutcome
from shoudan_finance.states import BillStatus
from shoudan_finance.store import bill_notices as store
from shoudan_finance.store.bill_notices import Notice
from shoudan_finance.store.bills import Bill, Spec
from shoudan_kit import faults, log
from shoudan_kit.clock import beijing
from shoudan_kit.tasks.kinds import Task

FILES: Final = "/bill/file"  # of the gateway
LINK_S: Final = 86_400
GIVE_UP: Final = timedelta(days=3)
MAKING_S: Final = 2.0
FAILED_S: Final = 3600.0
AWAY_S: Final = 30.0

_log = log.get_logger("finance")


async def notify(context: Context, task: Task[NotifyBill]) -> None:
    """Send the notice of a bill; the task ends when the channel has it, or has no address."""
    bill = await bills.get(context, task.payload.bill_id)
    try:
        wanted = await _wanted(context, bill)
    except aio.AioRpcError as error:
        task.retry_after(AWAY_S, f"order: {error.code().name}")
        return
    if not wanted:
        async with context.app.work("finance.no_notice") as work:
            work.tasks.finish(task)
        return
    link = await bill_links.link(context, _spec(bill), LINK_S)
    if not link.token:  # the bill of the channel's own accounts is being made
        failed = link.bill is not None and link.bill.status is BillStatus.FAILED
        task.retry_after(FAILED_S if failed else MAKING_S)
        return
    await _send(context, task, bill, link)


async def _wanted(context: Context, bill: Bill) -> bool:
    """Whether the channel is to be notified still, and can be. Raises grpc.RpcError."""
    async with context.app.db.connect() as db:
        known = await store.get(db, bill.bill_id)
    if known is not None:
        return known.end_time is None
    outcome, _ = await context.order.send_notice(bill.eid, _key(bill), b"")
    if outcome is not NoticeOutcome.HAS_ADDRESS:
        return False
    async with context.app.work("finance.bill_notice") as work:
        await store.add(work.db, bill.bill_id, bill.eid)
    return True


def _spec(bill: Bill) -> Spec:
    """The bill that the channel is given: a supplier's or member's accounts may have its number."""
    names = Spec.__dataclass_fields__
    spec = Spec(**{name: getattr(bill, name) for name in names})
    return replace(spec, groups=alerts.CHANNEL_GROUPS) if bill.kind == FUND else spec


async def _send(context: Context, task: Task[NotifyBill], bill: Bill, link: Link) -> None:
    async with context.app.db.connect() as db:
        notice = await store.get(db, bill.bill_id)
    assert notice is not None, "it was added before"
    answer = await alerts.to_channel(context, bill.eid, message_of(context, bill, link))
    faults.hit("finance.bill_notice_sent")
    final = answer in {"", alerts.NO_ADDRESS}
    if not final and context.app.clock.now() - notice.create_time > GIVE_UP:
        answer, final = f"{alerts.GIVEN_UP}: {answer}", True
    async with context.app.work("finance.bill_notice_sent") as work:
        if final:
            await store.ended(work.db, bill.bill_id, answer)
            work.tasks.finish(task)
            return
        await store.refused(work.db, bill.bill_id, answer)
    _log.warning("bill_notice_refused", channel_no=bill.eid, answer=answer[:64])
    waits = context.app.settings.notice_waits_s
    task.retry_after(waits[min(notice.tries, len(waits) - 1)], answer)


def message_of(context: Context, bill: Bill, link: Link) -> Message:
    """What the channel is sent."""
    made = link.bill
    assert made is not None
    assert link.expire_time is not None
    day = bill.first_day.isoformat()
    facts: dict[str, Any] = {
        "event": "bill_ready",
        "channel_no": bill.eid,
        "type": bill.kind,
        "bill_date": day if bill.first_day == bill.last_day else day[:7],
        "url": f"{context.app.settings.public_url}{FILES}/{link.token}/{made.file}",
        "expire_time": beijing(link.expire_time),
        "file": made.file,
        "sha256": made.sha256,
        "bytes": made.bytes,
        "rows": made.rows,
    }
    return Message(_key(bill), "账单已生成", made.file, facts)


def _key(bill: Bill) -> str:
    return f"bill_{bill.bill_id}"


async def page(context: Context, before: int, most: int) -> list[Notice]:
    """Notices of bills below a number, newest first."""
    async with context.app.db.connect() as db:
        return await store.page(db, before, most)
