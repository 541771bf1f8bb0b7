"""Pages of what PayServer has, with what their rows link to."""

from __future__ import annotations

from collections.abc import Collection as Members
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.pages import NUMBERED_MAX
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver.refusals import ResourceNotFound
from shoudan_pay.payserver.store import lists
from shoudan_pay.payserver.store import modes as mode_store
from shoudan_pay.payserver.store.lists import Collection, Ordering, PageTooFar, UnknownField, Wanted
from shoudan_pay.payserver.store.modes import Mode, Template
from shoudan_pay.payserver.store.pays import PayOrder
from shoudan_pay.refusals import FieldInvalid

# A resource whose rows are wanted: its collection, None when it has no rows of its own, and its uuid.
Parent: TypeAlias = tuple[Collection | None, str]

# Column by which the rows of a collection belong to a resource of another.
SCOPES: Final[Mapping[tuple[Collection, Collection], str]] = {
    (Collection.TEMPLATES, Collection.MODES): "template_id",
    (Collection.TEMPLATES, Collection.PAYS): "template_id",
    (Collection.TEMPLATES, Collection.REFUNDS): "template_id",
    (Collection.TEMPLATES, Collection.TRADES): "template_id",
    (Collection.MODES, Collection.PAYS): "mode_uuid",
    (Collection.MODES, Collection.REFUNDS): "mode_uuid",
    (Collection.MODES, Collection.TRADES): "mode_uuid",
    (Collection.PAYS, Collection.REFUNDS): "pay_uuid",
    (Collection.PAYS, Collection.TRADES): "pay_uuid",
    (Collection.REFUNDS, Collection.TRADES): "refund_uuid",
}


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of one collection, how many there are, and the modes and pays they link to."""

    rows: Sequence[Any]
    size: int
    modes: Sequence[Mode]
    pays: Sequence[PayOrder]


class Lists:
    """Each call reads in one connection."""

    def __init__(self, app: App[PaySettings]) -> None:
        self._app = app

    async def modes_of(
        self, merchant: str, orderings: Sequence[Ordering]
    ) -> tuple[Sequence[Mode], Sequence[Template]]:
        """A merchant's modes, and the templates it has none of. Raises FieldInvalid."""
        wanted = Wanted(
            Collection.MODES, merchant_uuid=merchant, orderings=orderings, limit=mode_store.LIST_MAX
        )
        async with self._app.db.connect() as db:
            modes, _ = await _page(db, wanted, counted=False)
            return modes, await mode_store.unopened(db, merchant)

    async def page(self, wanted: Wanted, parent: Parent | None, expand: Members[str]) -> Found:
        """One page, of a resource's own rows when there is a `parent`.

        Raises ResourceNotFound, for a parent, too, and FieldInvalid.
        """
        async with self._app.db.connect() as db:
            if parent is not None:
                wanted = replace(wanted, scope=await _scope(db, wanted, parent))
            rows, size = await _page(db, wanted)
            if wanted.uuid and not rows:
                raise ResourceNotFound(wanted.uuid[:64])
            modes, pays = await _linked(db, wanted.collection, rows, expand)
        return Found(rows, size, modes, pays)


async def _scope(db: AsyncConnection, of: Wanted, parent: Parent) -> tuple[str, str]:
    """The column and value of the resource whose rows are wanted. Raises ResourceNotFound."""
    collection, uuid = parent
    column = None if collection is None else SCOPES.get((collection, of.collection))
    if collection is None or column is None:
        raise FieldInvalid("parent", "has no such collection")
    wanted = Wanted(collection, merchant_uuid=of.merchant_uuid, uuid=uuid, limit=1)
    rows, _ = await _page(db, wanted, counted=False)
    if not rows:
        raise ResourceNotFound(uuid[:64])
    return column, rows[0].template_id if column == "template_id" else uuid


async def _page(
    db: AsyncConnection, wanted: Wanted, *, counted: bool = True
) -> tuple[list[Any], int]:
    try:
        return await lists.page(db, wanted, counted=counted)
    except UnknownField as unknown:
        raise FieldInvalid(str(unknown)[:64], "cannot be filtered or sorted by so") from None
    except PageTooFar:
        raise FieldInvalid(
            "createdAt", f"leaves more than {NUMBERED_MAX} rows to look through: narrow it"
        ) from None


async def _linked(
    db: AsyncConnection, of: Collection, rows: Sequence[Any], expand: Members[str]
) -> tuple[Sequence[Mode], Sequence[PayOrder]]:
    """What the rows link to; links a collection has not are nothing to fetch."""
    modes: Sequence[Mode] = ()
    pays: Sequence[PayOrder] = ()
    if "payMode" in expand and rows and of not in {Collection.TEMPLATES, Collection.MODES}:
        numbers = {row.mode_uuid for row in rows if hasattr(row, "mode_uuid")}
        modes = [one.mode for one in (await mode_store.usable(db, numbers)).values()]
    if "payOrder" in expand and rows and of in {Collection.REFUNDS, Collection.TRADES}:
        uuids = tuple({row.pay_uuid for row in rows})
        condition = lists.Condition("uuid", lists.Operator.IN, uuids)
        wanted = Wanted(Collection.PAYS, conditions=[condition], limit=len(uuids))
        pays, _ = await _page(db, wanted, counted=False)
    return modes, pays
