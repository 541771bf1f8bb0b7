"""The pages of the console, one module each; what is listed here is served and stands in the navigation."""

from __future__ import annotations

from typing import Final

from shoudan_console.page import Entry, Page
from shoudan_console.pages import login, order, orders, overview, preferences, search, work

_MODULES: Final = (overview, orders, order, work, search, login, preferences)

PAGES: Final[tuple[Page, ...]] = tuple(page for module in _MODULES for page in module.PAGES)
NAVIGATION: Final[tuple[Entry, ...]] = (
    *overview.NAVIGATION,
    *orders.NAVIGATION,
    *work.NAVIGATION,
)
