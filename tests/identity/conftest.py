"""What the identity tests share: a service with an empty database for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from shoudan_kit.embedded import DatabaseUrls
from tests.identity.harness import IdentityHarness, open_desk

Databases = Callable[[str], Awaitable[DatabaseUrls]]


@pytest.fixture
async def harness(new_database: Databases) -> AsyncIterator[IdentityHarness]:
    """An identity service without operators."""
    async with open_desk(await new_database("identity")) as made:
        yield made
