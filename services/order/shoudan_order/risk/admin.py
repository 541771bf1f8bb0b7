"""Changing and loading risk rules and the list; other processes see a change within catalogue_poll_s."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.audit_log.entries import describe
from shoudan_kit.secrets.sealing import plain_account
from shoudan_order.context import Context, Risk
from shoudan_order.refusals import FieldInvalid, NotFound
from shoudan_order.risk import decisions
from shoudan_order.risk.guard import account_subject
from shoudan_order.store import risk as store
from shoudan_order.store.catalogue import Operation, record
from shoudan_order.store.risk import Entry, Rule

TAIL_CHARS: Final = 4
LIST_PAGE: Final = 1_000


async def refresh(context: Context) -> None:
    """Load the newest version, if it is not loaded."""
    async with context.app.db.connect() as db:
        version = await store.version(db)
        if version == context.risk.version:
            return
        rules, listed = await store.rules(db), await store.any_entry(db)
        entries = await _by_subject(db) if context.app.home.shards > 1 else None
    in_force = tuple(rule for rule in rules if rule.enabled)
    context.known.risk = Risk(version, in_force, listed, entries)


async def _by_subject(db: AsyncConnection) -> dict[bytes, list[Entry]]:
    """The whole list by what accounts are known by, page by page."""
    found: dict[bytes, list[Entry]] = {}
    after = 0
    while page := await store.entries(db, after, LIST_PAGE):
        for one in page:
            found.setdefault(one.subject, []).append(one)
        after = page[-1].entry_id
    return found


async def poll(context: Context) -> None:
    """Refresh every catalogue_poll_s, for versions that other processes made."""
    while True:
        await asyncio.sleep(context.settings.catalogue_poll_s)
        await refresh(context)


async def rules(context: Context) -> list[Rule]:
    """Every rule, by its name."""
    async with context.app.db.connect() as db:
        return await store.rules(db)


async def entries(context: Context, after: int, most: int) -> list[Entry]:
    """A page of the list, oldest first."""
    async with context.app.db.connect() as db:
        return await store.entries(db, after, most)


async def set_rule(context: Context, rule: Rule, by: str, reason: str) -> None:
    """Make a rule exactly so; what it has counted stays. Refuses: FieldInvalid."""
    if why := decisions.problem(rule) or _unbounded(context, rule):
        raise FieldInvalid("rule", why)
    async with context.app.work("risk.change") as work:
        version = await store.raise_version(work.db)
        there = {one.rule_id: one for one in await store.rules(work.db)}
        if rule.rule_id not in there and len(there) >= decisions.RULES_MAX:
            raise FieldInvalid("rule", f"there are {decisions.RULES_MAX} rules")
        was = there.get(rule.rule_id)
        describe("risk_rule", rule.rule_id, asdict(was) if was else None, asdict(rule))
        await store.set_rule(work.db, rule)
        detail: Mapping[str, Any] = {**asdict(rule), "reason": reason}
        what = Operation(work.ids.next(), by, "risk.rule", rule.rule_id, detail, version)
        await record(work.db, what)
    await refresh(context)


def _unbounded(context: Context, rule: Rule) -> str:
    """Why the counters of a rule would not be in one shard; empty when they are."""
    spans = rule.per in {decisions.Per.ACCOUNT, decisions.Per.ACCOUNT_FACE} and not rule.channel_no
    if context.app.home.shards > 1 and spans:
        return "with several shards a rule that counts accounts is one of one channel"
    return ""


async def remove_rule(context: Context, rule_id: str, by: str, reason: str) -> None:
    """Remove a rule and its counters. Refuses: FieldInvalid when there is none."""
    async with context.app.work("risk.change") as work:
        version = await store.raise_version(work.db)
        describe("risk_rule", rule_id, before={"rule_id": rule_id})
        if not await store.remove_rule(work.db, rule_id):
            raise FieldInvalid("rule_id", "no rule has this name")
        what = Operation(work.ids.next(), by, "risk.remove", rule_id, {"reason": reason}, version)
        await record(work.db, what)
    await refresh(context)


async def set_entry(
    context: Context,
    account: str,
    channel_no: str,
    *,
    exempt: bool,
    expire_time: datetime | None,
    by: str,
    reason: str,
) -> int:
    """Block an account, or make it exempt from the rules; the number of its entry."""
    async with context.app.work("risk.change") as work:
        version = await store.raise_version(work.db)
        entry_id = await store.set_entry(
            work.db,
            Entry(
                work.ids.next(),
                exempt,
                account_subject(context, account),
                channel_no,
                plain_account(account)[-TAIL_CHARS:],
                reason,
                by,
                expire_time,
            ),
        )
        word = "exempt" if exempt else "block"
        describe("risk_entry", entry_id, after={"entry": word, "channel_no": channel_no})
        detail = {"reason": reason, "channel_no": channel_no}
        subject = f"entry {entry_id}"
        what = Operation(work.ids.next(), by, f"risk.{word}", subject, detail, version)
        await record(work.db, what)
    await refresh(context)
    return entry_id


async def remove_entry(context: Context, entry_id: int, by: str, reason: str) -> None:
    """Take an entry off the list. Refuses: NotFound."""
    async with context.app.work("risk.change") as work:
        version = await store.raise_version(work.db)
        describe("risk_entry", entry_id, before={"entry_id": entry_id})
        if not await store.remove_entry(work.db, entry_id):
            raise NotFound("risk entry", entry_id)
        subject = f"entry {entry_id}"
        what = Operation(work.ids.next(), by, "risk.lift", subject, {"reason": reason}, version)
        await record(work.db, what)
    await refresh(context)
