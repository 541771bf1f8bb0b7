"""Importing statements: a file comes in parts, is read with a template, and is here whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import islice
from typing import IO, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_finance import events, reconciling
from shoudan_finance.context import Context
from shoudan_finance.entries import Line
from shoudan_finance.refusals import (
    FieldInvalid,
    FileIncomplete,
    StatementInvalid,
    StatementNotFound,
    StatementSuperseded,
    StatementTooLarge,
    TemplateNotFound,
)
from shoudan_finance.row_errors import Wrong
from shoudan_finance.statement_files import FileTooLarge
from shoudan_finance.statement_lines import Reading
from shoudan_finance.states import STATEMENT
from shoudan_finance.store import entries, matches, statements
from shoudan_finance.store.entries import Digests, New
from shoudan_finance.store.statements import Statement
from shoudan_finance.templates import BOOKS, Template
from shoudan_kit import faults, log
from shoudan_kit.db.errors import survived

PART_BYTES: Final = 2**20
ERRORS_SHOWN: Final = 100
PREVIEW: Final = 20
BATCH: Final = 10_000
HIDDEN_MAX: Final = 1000  # accounts hidden in one transaction
FORGET_EVERY_S: Final = 3600.0

_log = log.get_logger("finance")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be imported."""

    sha256: bytes
    parts: int
    template: Template
    source: str
    file_name: str
    supersedes: int
    by: str


@dataclass(slots=True)
class Found:
    """What a file comes to."""

    statement: Statement
    existed: bool = False
    errors: list[Wrong] = field(default_factory=list[Wrong])
    error_count: int = 0
    preview: list[Line] = field(default_factory=list[Line])


def template_of(context: Context, name: str) -> Template:
    """A template by its name. Refuses TemplateNotFound."""
    found = context.templates.get(name)
    if found is None:
        raise TemplateNotFound(name)
    return found


# ------------------------------------------------------------ files
async def store_part(context: Context, sha256: bytes, part_no: int, data: bytes) -> None:
    """Store one part of a file. Refuses FieldInvalid, StatementTooLarge."""
    most = context.app.settings.statement_bytes_max
    if part_no * PART_BYTES + len(data) > most:
        raise StatementTooLarge("bytes", most)
    async with context.app.work("finance.statement_part") as work:
        await statements.store_part(work.db, sha256, part_no, data)


async def forget_forever(context: Context) -> None:
    """Delete the parts of files that no statement was made of."""
    while True:
        with survived(_log, "statement_parts_not_deleted"):
            async with context.app.work("finance.forget_parts") as work:
                await statements.forget_parts(work.db)
            while True:
                async with context.app.work("finance.hide_accounts") as work:
                    if (
                        await entries.hide(work.db, context.accounts.hidden, HIDDEN_MAX)
                        < HIDDEN_MAX
                    ):
                        break
        await asyncio.sleep(FORGET_EVERY_S)


@asynccontextmanager
async def stored_file(
    context: Context, sha256: bytes, parts: int
) -> AsyncGenerator[tuple[IO[bytes], int]]:
    """The file put together, and its size. Refuses FileIncomplete, StatementTooLarge."""
    most, size, sha = context.app.settings.statement_bytes_max, 0, hashlib.sha256()
    with tempfile.TemporaryFile() as file:
        for part_no in range(parts):
            async with context.app.db.connect() as db:
                data = await statements.part(db, sha256, part_no)
            if data is None:
                raise FileIncomplete(f"part {part_no} is not here")
            size += len(data)
            if size > most:
                raise StatementTooLarge("bytes", most)
            sha.update(data)
            await asyncio.to_thread(file.write, data)
        if sha.digest() != sha256:
            raise FileIncomplete("its parts have another SHA-256 together")
        file.seek(0)
        yield file, size


# ------------------------------------------------------------ reading and storing
async def dry_run(context: Context, asked: Asked) -> Found:
    """What the file would come to, and what is wrong with it. Writes nothing."""
    async with context.app.db.connect() as db:
        existing = await statements.by_file(db, asked.source, asked.sha256)
    if existing is not None:
        return Found(existing, existed=True)
    async with stored_file(context, asked.sha256, asked.parts) as (file, size):
        reader = _Reader(context, asked, file, size)
        async for new in reader.batches():
            async with context.app.db.connect() as db:
                reader.stored += len(new) - len(await entries.known(db, new))
    return reader.found(0)


async def import_file(context: Context, asked: Asked) -> Found:
    """Import the file whole; one that was imported before gives that statement again.

    Refuses FileIncomplete, StatementInvalid, StatementTooLarge, StatementNotFound, StatementSuperseded.
    """
    async with context.app.db.connect() as db:
        existing = await statements.by_file(db, asked.source, asked.sha256)
    if existing is not None:
        return Found(existing, existed=True)
    statement_id = context.app.ids.next()
    async with stored_file(context, asked.sha256, asked.parts) as (file, size):
        reader = _Reader(context, asked, file, size)
        async with context.app.work("finance.statement") as work:
            await statements.allow_time(work.db)
            await statements.lock(work.db, asked.source)
            existing = await statements.by_file(work.db, asked.source, asked.sha256)
            if existing is not None:  # imported while this call waited for the lock
                return Found(existing, existed=True)
            books = sorted({asked.source, *asked.template.counterparties.values()})
            now = [await entries.lock(work.db, one, BOOKS[asked.template.book]) for one in books]
            await _supersede(work.db, asked)
            async for new in reader.batches(statement_id):
                if not reader.error_count:  # what is wrong is counted to the end, and refused
                    reader.stored += await entries.add(work.db, new, now[0])
                    faults.hit("finance.statement_rows_stored")
            found = reader.found(statement_id)
            if found.error_count:
                first = found.errors[0]
                why = f"{first.column}: {first.why}" if first.column else first.why
                raise StatementInvalid(found.error_count, first.row_no, why)
            stored = await statements.add(work.db, found.statement)
            for source in sorted(reader.sources | {asked.source}):
                await reconciling.add_run(context, work, source, "")
            events.imported(work, stored)
    return Found(stored)


async def _supersede(db: AsyncConnection, asked: Asked) -> None:
    if not asked.supersedes:
        return
    if await statements.get(db, asked.supersedes) is None:
        raise StatementNotFound(asked.supersedes)
    if not await statements.supersede(db, asked.source, asked.supersedes):
        raise StatementSuperseded(asked.supersedes)
    await matches.supersede(db, asked.supersedes)


class _Reader:
    """Reads a file in a thread of its own, batch by batch, and counts."""

    def __init__(self, context: Context, asked: Asked, file: IO[bytes], size: int) -> None:
        settings = context.app.settings
        self._context, self._asked, self._size = context, asked, size
        self._rows_max = settings.statement_rows_max
        unpacked_max = settings.statement_unpacked_bytes_max
        self._reading = Reading(file, asked.template, asked.source, unpacked_max)
        self._digests = Digests(context.accounts.hidden)
        self._days: list[date] = []
        self.errors: list[Wrong] = []
        self.error_count = self.stored = 0
        self.preview: list[Line] = []
        self.sources = set[str]()  # the template's own and those of its counterparties

    async def batches(self, statement_id: int = 0) -> AsyncIterator[list[New]]:
        """The lines as entries. Refuses StatementTooLarge."""
        lines, book = self._reading.lines(), BOOKS[self._asked.template.book]
        while True:
            try:
                read, ended = await asyncio.to_thread(_batch, lines)
            except FileTooLarge as error:
                raise StatementTooLarge(error.what, error.most) from None
            good = [one for one in read if isinstance(one, Line)]
            self._note([one for one in read if isinstance(one, Wrong)])
            if self._reading.counted.rows > self._rows_max:
                raise StatementTooLarge("rows", self._rows_max)
            if good:
                self.sources.update(one.source for one in good)
                self.preview += good[: PREVIEW - len(self.preview)]
                ids = self._context.app.ids.take(len(good)) if statement_id else [0] * len(good)
                new = entries.made(good, ids, self._digests, book, statement_id)
                days = [*self._days, *(one.day for one in new)]
                self._days = [min(days), max(days)]
                yield new
            if ended:
                return

    def _note(self, wrong: list[Wrong]) -> None:
        self.errors += wrong[: ERRORS_SHOWN - len(self.errors)]
        self.error_count += len(wrong)

    def found(self, statement_id: int) -> Found:
        """What was read."""
        counted, asked = self._reading.counted, self._asked
        made = Statement(
            statement_id=statement_id,
            template=asked.template.name,
            source=asked.source,
            book=BOOKS[asked.template.book],
            file_name=asked.file_name,
            sha256=asked.sha256,
            file_bytes=self._size,
            entries=self.stored,
            duplicates=counted.rows - self.stored,
            skipped=counted.skipped,
            credits_micros=counted.credits_micros,
            debits_micros=counted.debits_micros,
            first_day=self._days[0] if self._days else None,
            last_day=self._days[1] if self._days else None,
            status=STATEMENT.initial,
            supersedes=asked.supersedes,
            imported_by=asked.by,
            create_time=datetime.now(UTC),
            supersede_time=None,
        )
        return Found(made, errors=self.errors, error_count=self.error_count, preview=self.preview)


def _batch(lines: Iterator[Line | Wrong]) -> tuple[list[Line | Wrong], bool]:
    read = list(islice(lines, BATCH))
    return read, len(read) < BATCH


# ------------------------------------------------------------ showing
async def get(context: Context, statement_id: int) -> Statement:
    """One statement. Refuses StatementNotFound."""
    async with context.app.db.connect() as db:
        found = await statements.get(db, statement_id)
    if found is None:
        raise StatementNotFound(statement_id)
    return found


async def page(context: Context, source: str, before: int, most: int) -> list[Statement]:
    """Statements below a number, newest first."""
    async with context.app.db.connect() as db:
        return await statements.page(db, source, before, most)


def asked_of(
    context: Context, *, template: str, source: str, file_name: str
) -> tuple[Template, str]:
    """The template, and whose statement it is. Refuses TemplateNotFound, FieldInvalid."""
    found = template_of(context, template)
    if found.source and source not in {"", found.source}:
        raise FieldInvalid("source", f"is {found.source}, says the template")
    whose = found.source or source
    if not 1 <= len(whose) <= 32 or not whose.isprintable():
        raise FieldInvalid("source", "has not 1 to 32 printable characters")
    parts = {"", ".", ".."}
    bad = file_name in parts or len(file_name) > 128 or not file_name.isprintable()
    if bad or any(one in file_name for one in "/\\:"):
        raise FieldInvalid(
            "file_name", "is no name of a file, without folders, at most 128 characters"
        )
    return found, whose
