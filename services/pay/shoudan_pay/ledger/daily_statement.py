"""Proof of the ledger with the statements of its folder, and the statement of the day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from shoudan_kit.clock import BEIJING
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import events
from shoudan_pay.ledger.chain_hash import trust_of
from shoudan_pay.ledger.entries import Finding, Head
from shoudan_pay.ledger.folders import make_folder, statements_folder
from shoudan_pay.ledger.head_files import read_logged
from shoudan_pay.ledger.proof import BEYOND_ALL
from shoudan_pay.ledger.proof_turn import turn_of
from shoudan_pay.ledger.refusals import StatementsOff
from shoudan_pay.ledger.statement_files import (
    Draft,
    HeadFile,
    Kept,
    Series,
    check_heads,
    file_name,
    read_folder,
)
from shoudan_pay.ledger.statements import Statement, StatementInvalid, keys_of
from shoudan_pay.ledger.store import accounts as account_store
from shoudan_pay.ledger.store import statements as store
from shoudan_pay.ledger.store.statements import Made
from shoudan_pay.ledger.verify import Limits, Listed, Place, Progress, Scope, verify

HEADS_PAGE: Final = 5000

P = ParamSpec("P")
R = TypeVar("R")
Watch = Callable[[Progress], None]
START: Final = Place()  # before the first account


class SealedElsewhere(Exception):
    """Another process is making a statement just now."""


class FolderUnusable(Exception):
    """The folder of statements cannot be read or written; what the system calls it, without a path."""


async def _on_disk(work: Callable[P, R], *args: P.args, **options: P.kwargs) -> R:
    """Do it in a thread. An OSError elsewhere is the database's: it never gets this name."""
    try:
        return await asyncio.to_thread(work, *args, **options)
    except OSError as error:
        raise FolderUnusable(error.strerror or type(error).__name__) from error


@dataclass(frozen=True, slots=True)
class Sealed:
    """What came of it: a statement, or why none was signed."""

    kept: Kept | None
    existed: bool
    progress: Progress


@dataclass(slots=True)
class _Known:
    """What folder and database say of the statements, and what is wrong with it."""

    series: Series
    made: Made | None
    wrong: list[Finding] = field(default_factory=list[Finding])
    logged: dict[int, Head] = field(default_factory=dict[int, Head])

    @property
    def last(self) -> Kept | None:
        """The newest statement that can be read."""
        return self.series.last

    @property
    def last_hash(self) -> str:
        """The hash the next statement quotes."""
        last, made = self.last, self.made
        if made is not None and (last is None or made.number > last.statement.number):
            return made.hash
        return "" if last is None else last.read.hash

    @property
    def next_number(self) -> int:
        """Above every number there ever was."""
        return max(self.series.highest, 0 if self.made is None else self.made.number) + 1


def limits_of(settings: PaySettings) -> Limits:
    """How this process proves."""
    return Limits(
        trust_of(settings),
        settings.verify_page_rows,
        settings.verify_workers,
        run_pages=settings.verify_run_pages,
    )


async def prove(
    app: App[PaySettings],
    *,
    ident: str = "",
    full: bool = False,
    begin: Place = START,
    call_s: float | None = None,
) -> AsyncIterator[Progress]:
    """Prove the ledger as it stands: what was added since the last statement, or with `full` all of it.

    Without a statement it is all of it. Raises FolderUnusable.
    """
    folder = statements_folder(app)
    limits = replace(limits_of(app.settings), call_s=call_s)
    known = _Known(Series(), None) if folder is None else await _known(app, folder)
    logged = Listed(list(known.logged.values()))
    with ExitStack() as stack:
        given = Scope(ident, begin, logged=logged, full=full or known.last is None)
        scope = _scope(stack, known.last, given)
        async for at in verify(app.db, scope, limits):
            yield replace(at, findings=[*known.wrong, *at.findings]) if at.done else at


async def seal(
    app: App[PaySettings], *, restart: bool = False, watch: Watch = lambda _: None
) -> Sealed:
    """Prove the ledger and sign the statement of the day; nothing is signed when something is found.

    Repeats: the statement of the day comes back. With `restart` the statements before count no more,
    which the new one admits. Raises SealedElsewhere, StatementsOff, FolderUnusable.
    """
    folder = statements_folder(app)
    if folder is None:
        raise StatementsOff
    async with turn_of(app), store.sealing(app.db, app.home.shard) as mine:
        if not mine:
            raise SealedElsewhere
        return await _seal(app, folder, restart=restart, watch=watch)


async def _seal(app: App[PaySettings], folder: Path, *, restart: bool, watch: Watch) -> Sealed:
    known = await _known(app, folder)
    async with app.db.connect() as db:
        day = (await store.now(db)).astimezone(BEIJING).date()
    last = known.last
    if last is not None and not known.wrong and _stands(last, day, restart=restart):
        await _announce(app, last)
        return Sealed(last, existed=True, progress=_nothing(()))
    if known.wrong and not restart:
        return Sealed(None, existed=False, progress=_nothing(known.wrong))
    base = None if restart else last
    full = base is None or _full_is_due(base, day, app.settings.verify_full_days)
    draft = await _on_disk(Draft, folder)
    try:
        taken = await _draw(app, draft)
        logged = Listed([] if restart else list(known.logged.values()))
        progress = await _prove_draft(app, draft, base, logged, full=full, watch=watch)
        if progress.findings:
            return Sealed(None, existed=False, progress=progress)
        statement = Statement(
            number=known.next_number,
            day=day.isoformat(),
            taken=taken.astimezone(UTC).isoformat(),
            accounts=draft.accounts,
            records=draft.records,
            sum_micros=draft.sum_micros,
            heads=draft.heads,
            previous=known.last_hash,
            proved_from=0 if full or base is None else base.statement.number,
            full_day=day.isoformat() if full or base is None else base.statement.full_day,
            restart=restart,
            shard=app.home.shard,
        )
        kept = await _on_disk(_keep, draft, statement, app.settings)
    finally:
        await _on_disk(draft.discard)
    await _announce(app, kept)
    return Sealed(kept, existed=False, progress=progress)


def _stands(last: Kept, day: date, *, restart: bool) -> bool:
    """Whether the newest statement is of this day. A clock that went back makes no second one."""
    return last.statement.day >= day.isoformat() and (not restart or last.statement.restart)


def _full_is_due(base: Kept, day: date, days: int) -> bool:
    return (day - date.fromisoformat(base.statement.full_day)).days >= days


def _nothing(findings: list[Finding] | tuple[()]) -> Progress:
    return Progress(0, 0, 0, 0, done=True, findings=findings)


def _keep(draft: Draft, statement: Statement, settings: PaySettings) -> Kept:
    keys = keys_of(settings)
    signed = keys.sign(statement)
    path = draft.keep(file_name(statement), signed)
    return Kept(path, keys.read(signed), draft.size, signed)


async def _draw(app: App[PaySettings], draft: Draft) -> datetime:
    """Write where every account's chain ends, all at one moment; the moment."""
    after = -1
    async with store.snapshot(app.db) as db:
        taken = await store.now(db)
        while True:
            page = await account_store.heads(db, after=after, last=BEYOND_ALL, most=HEADS_PAGE)
            await _on_disk(draft.add, page)
            if len(page) < HEADS_PAGE:
                return taken
            after = page[-1].account_id


async def _prove_draft(
    app: App[PaySettings],
    draft: Draft,
    base: Kept | None,
    logged: Listed,
    *,
    full: bool,
    watch: Watch,
) -> Progress:
    """Prove exactly the heads that will be signed."""
    last = _nothing(())
    with ExitStack() as stack:
        ends = stack.enter_context(draft.read())
        scope = _scope(stack, base, Scope(ends=ends.take, logged=logged, full=full))
        async for last in verify(app.db, scope, limits_of(app.settings)):
            watch(last)
    return last


def _scope(stack: ExitStack, base: Kept | None, scope: Scope) -> Scope:
    """The scope with the heads of the statement `base`."""
    if base is None:
        return scope
    stated = stack.enter_context(HeadFile(base.path, base.heads_bytes))
    said = base.statement
    return replace(scope, stated=stated, stated_records=said.records, number=said.number)


async def _known(app: App[PaySettings], folder: Path) -> _Known:
    """The statements of the folder, held to those the database knows of."""
    await make_folder(app)
    series = await _on_disk(read_folder, folder, keys_of(app.settings))
    async with app.db.connect() as db:
        made = await store.last(db)
    logged = await _on_disk(read_logged, folder, keys_of(app.settings), series.restart)
    strays = [one.path.name for one in series.kept if one.statement.shard != app.home.shard]
    wrong = [*series.wrong, *logged.wrong, *_disagreements(series, made)]
    wrong += [f"{name}: it is of another shard" for name in strays]
    while series.last is not None:
        try:
            await _on_disk(check_heads, series.last)
            break
        except StatementInvalid as error:
            wrong.append(f"{series.last.path.name}: {error}")
            series.kept.pop()
    return _Known(series, made, [Finding(0, 0, what) for what in wrong], logged.heads)


def _disagreements(series: Series, made: Made | None) -> list[str]:
    if made is None:
        return []
    if series.highest < made.number:
        return [f"statement {made.number} was made, but its file is missing"]
    same = [one.read.hash for one in series.kept if one.statement.number == made.number]
    if same and same[0] != made.hash:
        return [f"statement {made.number} is not the one that was made"]
    return []


async def _announce(app: App[PaySettings], kept: Kept) -> None:
    """Note and publish that it was made, unless that was done."""
    statement = kept.statement
    async with app.work("seal") as work:
        if await store.hash_of(work.db, statement.number) is not None:
            return
        day = date.fromisoformat(statement.day)
        await store.insert(work.db, statement.number, day, kept.read.hash)
        events.sealed(work.events, statement, kept.read.hash, kept.signed)
