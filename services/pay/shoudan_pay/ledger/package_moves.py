"""Packages made and moved: each call is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.pages import Asked, Page
from shoudan_kit.db.pool import retry
from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.service import App
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import accounts, packages
from shoudan_pay.ledger.entries import PLATFORM, PackageKey, PackageRecord
from shoudan_pay.ledger.packages import Move, Moved
from shoudan_pay.ledger.refusals import NumberInvalid, PackageNotFound
from shoudan_pay.ledger.store import packages as store
from shoudan_pay.refusals import FieldInvalid


@dataclass(frozen=True, slots=True)
class NewPackage:
    """A requested package."""

    key: PackageKey
    name: str
    total_capacity: int
    capacity_daily: int
    expires: date


def check_new(new: NewPackage) -> None:
    """Refuse what cannot be a package: FieldInvalid, NumberInvalid."""
    if new.key[0][1] == PLATFORM:
        raise FieldInvalid("groups", "a platform account owns no packages")
    for number in (new.total_capacity, new.capacity_daily):
        if not 0 <= number <= packages.NUMBER_MAX:
            raise NumberInvalid(number)


async def create(db: AsyncConnection, new: NewPackage) -> tuple[store.Found, bool]:
    """The package as it is now, and whether it was there before. Raises AccountNotFound."""
    account = await accounts.get(db, new.key[0])
    row = store.NewPackage(
        account.account_id,
        new.key[1],
        new.name,
        new.total_capacity,
        new.capacity_daily,
        new.expires,
    )
    made = await store.create(db, [row])
    return await store.by_key(db, [new.key]), not made


async def move(work: UnitOfWork, moves: Sequence[Move]) -> list[Moved | Refusal]:
    """Apply moves in order, independent of each other; one answer each. Locks their packages."""
    found = await store.by_key(work.db, {one.package for one in moves}, lock=True)
    if found.now is None:
        return [PackageNotFound(one.package[1]) for one in moves]
    keys = [
        key
        for one in moves
        if (package := found.packages.get(one.package)) is not None
        for key in packages.quoted(one, package.pkg_id)
    ]
    records = await store.records_by_key(work.db, list(dict.fromkeys(keys)))
    ids = iter(work.ids.take(len(moves)))
    decided = packages.decide(found.packages, records, moves, ids, found.now)
    if decided.new:
        await store.write(work.db, decided.new, decided.packages)
    return decided.answers


class Packages:
    """The same for callers outside: each call is one transaction."""

    def __init__(self, app: App[PaySettings]) -> None:
        self._app = app

    async def create(self, new: NewPackage) -> tuple[store.Found, bool]:
        """Like `create`."""
        async with self._app.work("packages") as work:
            return await create(work.db, new)

    async def find(self, key: PackageKey) -> store.Found:
        """The package, if it is there."""
        async with self._app.db.connect() as db:
            return await store.by_key(db, [key])

    async def records(
        self, key: PackageKey, start: datetime | None, stop: datetime | None, asked: Asked
    ) -> Page[PackageRecord]:
        """A page, newest first. Raises PackageNotFound."""
        async with self._app.db.connect() as db:
            found = (await store.by_key(db, [key])).packages.get(key)
            if found is None:
                raise PackageNotFound(key[1])
            return await store.page(db, store.Period(found.pkg_id, start, stop), asked)

    async def move(self, moves: Sequence[Move]) -> list[Moved | Refusal]:
        """Apply them in order, independent of each other; one answer each."""
        return await retry(lambda: self._move(moves)) if moves else []

    async def _move(self, moves: Sequence[Move]) -> list[Moved | Refusal]:
        async with self._app.work("packages") as work:
            return await move(work, moves)
