"""What the database asks to be run again is, what it refused for good is not: one statement, one answer."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from shoudan_kit.db.errors import Unavailable
from shoudan_kit.db.pool import retry

AGAIN = ("40001", "40P01", "55P03")
# A key twice, a rule broken, a value that is none, rights missing for good, a statement that is none.
NEVER = ("23505", "23514", "23503", "22P02", "22003", "42601", "42703")
TRIES = 2


class Refusing:
    """A transaction that the database refuses so each time."""

    def __init__(self, state: str) -> None:
        self.state, self.runs = state, 0

    async def __call__(self) -> None:
        self.runs += 1
        origin: Any = asyncpg.PostgresError()
        origin.sqlstate = self.state
        raise DBAPIError("SELECT 1", None, origin)


@pytest.mark.parametrize("state", AGAIN)
async def test_what_did_nothing_is_run_again_and_ends(state: str) -> None:
    refusing = Refusing(state)
    with pytest.raises(DBAPIError):
        await retry(refusing, tries=TRIES)
    assert refusing.runs == TRIES


@pytest.mark.parametrize("state", NEVER)
async def test_what_cannot_succeed_is_run_once(state: str) -> None:
    refusing = Refusing(state)
    with pytest.raises(DBAPIError):
        await retry(refusing, tries=TRIES)
    assert refusing.runs == 1


async def test_a_session_that_is_gone_is_unknown_after_the_last_try() -> None:
    refusing = Refusing("57P01")
    with pytest.raises(Unavailable):
        await retry(refusing, tries=TRIES)
    assert refusing.runs == TRIES
