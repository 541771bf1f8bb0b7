"""How a page is declared: its address, what shows it, what its forms do, and its place in the navigation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from starlette.responses import Response

from shoudan_console import lists, store
from shoudan_console.backend import Rpc
from shoudan_console.lists import Listing
from shoudan_console.security import FORM_BYTES_MAX
from shoudan_console.sessions import Session
from shoudan_console.visits import Missing, Visit, local

Whose = Literal["staff", "partner", "both"]
Handler = Callable[[Visit], Awaitable[Response]]
VIEW_CHARS_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Page:
    """An address. `show` answers GET, `act` a form; `open`: without a login; `enrolling`: also while an
    authenticator is missing; `whose`: for whom it is there."""

    path: str
    show: Handler | None = None
    act: Handler | None = None
    open: bool = False
    enrolling: bool = False
    upload: bool = False  # a form of it may send a file
    text_bytes_max: int = FORM_BYTES_MAX  # of one field of such a form
    whose: Whose = "staff"

    def there_for(self, session: Session) -> bool:
        """Whether it is a page of this session's side."""
        return self.open or self.whose == "both" or (self.whose == "partner") == session.partner


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the navigation; shown to roles that may call one of `needs`, or to all without any."""

    path: str
    label: str
    group: str
    needs: tuple[Rpc, ...] = ()
    whose: Whose = "staff"
    where: Callable[[Visit], bool] | None = None  # in which systems; in all without it

    def shown_to(self, visit: Visit) -> bool:
        if self.where is not None and not self.where(visit):
            return False
        if self.whose != "both" and (self.whose == "partner") != visit.known.partner:
            return False
        return not self.needs or any(map(visit.may, self.needs))

    def here(self, path: str) -> bool:
        """Whether an address is this page, or one below it."""
        return path == self.path or (self.path != "/" and path.startswith(f"{self.path}/"))


def listing_pages(listing: Listing, whose: Whose = "staff", **more: Any) -> tuple[Page, ...]:
    """The pages of a list: itself, its export, its saved views."""

    async def show(visit: Visit) -> Response:
        return await lists.show(listing, visit, **more)

    async def export(visit: Visit) -> Response:
        return await lists.export(listing, visit)

    return (
        Page(listing.path, show, whose=whose),
        Page(f"{listing.path}.csv", export, whose=whose),
        Page(f"{listing.path}/views", act=partial(_views, listing), whose=whose),
    )


async def _views(listing: Listing, visit: Visit) -> Response:
    """Save the query of the page that was shown under a name, or drop a view."""
    name = visit.form.get("name", "").strip()[:VIEW_CHARS_MAX]
    query = visit.form.get("query", "")
    whose = visit.known.operator_id
    where = local(f"{listing.path}?{query}" if query else listing.path)
    if not name:
        raise Missing
    async with visit.site.db.begin() as db:
        if visit.form.get("drop"):
            await store.drop_view(db, whose, listing.name, name)
        else:
            await store.save_view(db, whose, listing.name, name, query[:2_000])
    return visit.redirect(where)
