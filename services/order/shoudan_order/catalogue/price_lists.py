"""A channel's price list, page by page: all it may buy, or what changed of it since a version."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from shoudan_order.catalogue import admin, shelves
from shoudan_order.catalogue.index import Catalogue
from shoudan_order.catalogue.shelves import ShelfProduct
from shoudan_order.context import Context
from shoudan_order.refusals import ChannelUnavailable, FieldInvalid
from shoudan_order.store import shelves as store
from shoudan_order.store.shelves import Place

PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 500
ID_MAX: Final = 2**63 - 1
BEGINNING: Final = Place(0, 0)
# Kind of list, version of its first page, place of the last product given.
_TOKEN: Final = re.compile(r"([ac])-([0-9]{1,19})-([0-9]{1,19})-([0-9]{1,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A page of a price list, as its channel asks for it."""

    channel_no: str
    since_version: int = 0
    page_size: int = 0
    page_token: str = ""


@dataclass(frozen=True, slots=True)
class PriceList:
    """One page; `version` is that of the first."""

    products: list[ShelfProduct]
    version: int
    full: bool
    next_page_token: str = ""


@dataclass(frozen=True, slots=True)
class _Reading:
    """Where in which list a page begins."""

    full: bool
    version: int
    after: Place

    def token(self, last: Place) -> str:
        """What leads to the page after this one."""
        return f"{'a' if self.full else 'c'}-{self.version}-{last.version}-{last.product_id}"


async def page(context: Context, wanted: Wanted) -> PriceList:
    """One page. All pages say the version of the first: what changes meanwhile comes with the next changes.

    All is given where the version is unknown, or written in part by a process of the release before.
    Refuses ChannelUnavailable, FieldInvalid.
    """
    if wanted.page_size < 0:
        raise FieldInvalid("page_size", f"1 to {PAGE_MAX}")
    if wanted.since_version < 0:
        raise FieldInvalid("since", "a version that an answer gave")
    await admin.refresh(context)
    now = context.catalogue
    channel = now.down_channels.get(wanted.channel_no)
    if channel is None or not channel.enabled:
        raise ChannelUnavailable(wanted.channel_no)
    reading = await _reading(context, now, wanted)
    most = min(wanted.page_size or PAGE_DEFAULT, PAGE_MAX)
    if reading.full:
        places = _all(now, wanted.channel_no, reading.after, most + 1)
    else:
        async with context.app.db.connect() as db:
            places = await store.changed(
                db, wanted.channel_no, reading.after, reading.version, most + 1
            )
    given = places[:most]
    return PriceList(
        [shelves.shown(now, wanted.channel_no, one.product_id) for one in given],
        reading.version,
        reading.full,
        reading.token(given[-1]) if len(places) > most else "",
    )


async def _reading(context: Context, now: Catalogue, wanted: Wanted) -> _Reading:
    if wanted.page_token:
        found = _TOKEN.fullmatch(wanted.page_token)
        if found is None:
            raise FieldInvalid("page", "not given by the page before")
        kind, version, after_version, after_id = found.groups()
        numbers = int(version), int(after_version), int(after_id)
        if max(numbers) > ID_MAX:
            raise FieldInvalid("page", "not given by the page before")
        return _Reading(kind == "a", numbers[0], Place(*numbers[1:]))
    known = wanted.since_version
    async with context.app.db.connect() as db:
        newest, shelved = await store.versions(db)
    full = not 0 < known <= now.version or shelved < newest
    return _Reading(full, now.version, BEGINNING if full else Place(known, ID_MAX))


def _all(now: Catalogue, channel_no: str, after: Place, most: int) -> list[Place]:
    """What is on the channel's shelves after a number, at most `most`."""
    ids = now.sold_to.get(channel_no, ())
    begin = bisect_right(ids, after.product_id)
    return [Place(0, one) for one in ids[begin : begin + most]]
