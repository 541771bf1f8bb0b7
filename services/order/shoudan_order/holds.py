"""Setting and lifting holds: what a court or an audit has asked for stays in the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from shoudan_kit.audit_log.entries import describe
from shoudan_kit.db.ended import HOLDS_MAX
from shoudan_order.context import Context
from shoudan_order.refusals import FieldInvalid
from shoudan_order.store import holds as store
from shoudan_order.store.catalogue import Operation, record
from shoudan_order.store.holds import Hold


async def page(context: Context, after: str, most: int) -> list[Hold]:
    """Holds by name, those after this one."""
    async with context.app.db.connect() as db:
        return await store.holds(db, after, most)


async def set_hold(context: Context, hold: Hold) -> None:
    """Make a hold exactly so. A repeat changes nothing. Refuses: FieldInvalid."""
    async with context.app.work("order.hold") as work:
        was = await store.find_hold(work.db, hold.hold_no)
        if was is None and await store.count_holds(work.db) >= HOLDS_MAX:
            raise FieldInvalid("hold", f"there are {HOLDS_MAX} holds")
        describe("order_hold", hold.hold_no, _facts(was) if was else None, _facts(hold))
        await store.set_hold(work.db, hold)
        what = Operation(work.ids.next(), hold.made_by, "order.hold", hold.hold_no, _facts(hold), 0)
        await record(work.db, what)


async def lift_hold(context: Context, hold_no: str, by: str, reason: str) -> None:
    """Lift a hold. Refuses: FieldInvalid when there is none."""
    async with context.app.work("order.hold") as work:
        was = await store.find_hold(work.db, hold_no)
        describe("order_hold", hold_no, _facts(was) if was else None, None)
        if was is None:
            raise FieldInvalid("hold_no", "no hold has this name")
        await store.lift_hold(work.db, hold_no)
        detail = {**_facts(was), "reason": reason}
        await record(work.db, Operation(work.ids.next(), by, "order.lift_hold", hold_no, detail, 0))


def _facts(hold: Hold) -> Mapping[str, Any]:
    """A hold as it is recorded."""
    period = {
        name: moment.isoformat() if moment else None
        for name, moment in (("start_time", hold.start_time), ("end_time", hold.end_time))
    }
    return {**asdict(hold), **period}
