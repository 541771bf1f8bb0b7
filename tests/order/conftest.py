"""What the order tests share: one order service in the test's own loop, its neighbours scripted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from shoudan_kit.embedded import DatabaseUrls
from tests.order.harness import Inbox, OrderHarness, inboxes, running


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    """A partner's notify endpoint."""
    async with inboxes() as made:
        yield made


@pytest.fixture
async def harness(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], inbox: Inbox
) -> AsyncIterator[OrderHarness]:
    """An order service with the example's catalogue."""
    async with running(await new_database("order"), inbox) as made:
        yield made


@pytest.fixture
async def by_hand(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], inbox: Inbox
) -> AsyncIterator[OrderHarness]:
    """The same where a person decides about what is half done."""
    async with running(await new_database("order"), inbox, partial_auto=False) as made:
        yield made
