"""Database errors sorted once: which connection is spent, what may be tried again, what the caller did."""

from __future__ import annotations

import inspect
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, cast

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from structlog.typing import FilteringBoundLogger

from shoudan_kit import log

# Serialisation failure, deadlock, lock time-out: the transaction did nothing and may be run again.
RETRYABLE: Final = frozenset({"40001", "40P01", "55P03"})
# The server as this session sees it cannot be worked with, another session or server may: a standby
# after a failover (25006), rights or login lost (42501, 28xxx), resources or disk spent (53xxx), shut
# down or terminated (57P0x), I/O and internal errors (58xxx, XX0xx), a time-out that ends the session
# (25P03, 25P04), statements the server no longer has or plans whose tables have changed (26000, 0A000).
SPENT: Final = frozenset({"25006", "25P03", "25P04", "42501", "3D000", "26000", "0A000"})
SPENT_CLASSES: Final = ("08", "28", "53", "57P", "58", "XX")
# Values the statement could not take: the caller's, as our own are checked where they are made.
DATA: Final = frozenset(
    {
        "2201W",
        "2201X",
        "22001",
        "22003",
        "22007",
        "22008",
        "22021",
        "22P02",
        "22P03",
        "22P05",
        "22026",
    }
)
UNIQUE_VIOLATION: Final = "23505"
LOG_EVERY_S: Final = 1.0
SITES_MAX: Final = 1_000
STATEMENT_CHARS_MAX: Final = 80

_log = log.get_logger("db")
_quiet_until: dict[tuple[str, str], tuple[float, int]] = {}


class Unavailable(Exception):
    """The database did not answer; what was asked may or may not have happened, repeat it by its key."""


class NotConnected(ConnectionError):
    """No host of the database took a session that can write; `sqlstate` is the last one's answer."""

    def __init__(self, sqlstate: str | None, reason: str) -> None:
        super().__init__(f"{reason} {sqlstate or ''}".strip())
        self.sqlstate = sqlstate


def sql_state(error: BaseException) -> str | None:
    """The five letters PostgreSQL gave, or None when it gave none."""
    origin = getattr(error, "orig", error)
    return cast("str | None", getattr(origin, "sqlstate", None))


def is_spent(state: str | None) -> bool:
    """Whether an answer with this SQLSTATE means that the connection must leave the pool."""
    return state is not None and (state in SPENT or state.startswith(SPENT_CLASSES))


def connection_lost(error: BaseException) -> bool:
    """Whether the session is gone or spent: on another one the work may be repeated by its key."""
    if isinstance(error, OSError | TimeoutError | PoolTimeout):
        return True
    if isinstance(error, DBAPIError) and not data_refused(error):
        state = sql_state(error)
        return (
            error.connection_invalidated
            or is_spent(state)
            or state == "57014"  # it took too long
            or (isinstance(error, InterfaceError | OperationalError) and not state)
        )
    return False


def away(error: BaseException) -> bool:
    """Whether the database could not do it now, whatever was asked: UNAVAILABLE, never a bug."""
    return isinstance(error, Unavailable) or connection_lost(error) or sql_state(error) in RETRYABLE


def unconnected(error: BaseException | None) -> bool:
    """Whether it came of a database of which no host took a session."""
    while error is not None:
        if isinstance(error, NotConnected):
            return True
        error = error.__cause__
    return False


def taken(error: BaseException) -> bool:
    """Whether a unique key was taken, most often by another transaction at the same moment."""
    return sql_state(error) == UNIQUE_VIOLATION


def data_refused(error: BaseException) -> bool:
    """Whether a value did not fit what the database can hold: out of range, NUL in a text."""
    if not isinstance(error, DBAPIError):
        return False
    if sql_state(error) in DATA:
        return True
    # The driver itself refuses an integer that does not fit, as an overflow behind its own error.
    refused = error.orig.__cause__ if error.orig is not None else None
    return isinstance(refused, asyncpg.DataError) and isinstance(refused.__cause__, OverflowError)


def describe(error: BaseException) -> str:
    """What a log line says of an error: its class and SQLSTATE, never its text, which may hold values."""
    origin = getattr(error, "orig", None)
    cause = getattr(origin, "__cause__", None) or origin or error
    return f"{type(cause).__name__} {sql_state(error) or ''}".strip()


@contextmanager
def survived(
    logger: FilteringBoundLogger,
    event: str,
    *,
    but: tuple[type[Exception], ...] = (),
    **fields: object,
) -> Generator[None]:
    """Log what one pass of a background loop raises, as `event`; the loop goes on with its next pass.

    Exceptions of the classes `but` are raised to the caller.
    """
    try:
        yield
    except but:
        raise
    except Exception as error:  # noqa: BLE001 - a loop that ended would stand still unseen
        logger.warning(event, error=describe(error), **fields)


def report(error: BaseException, sql: str | None) -> None:
    """Log a database error with SQLSTATE and place; the same at the same place once a second."""
    state, at = sql_state(error) or "", _place()
    if state.startswith("23"):
        return  # a rule of the tables said no: the caller's to answer, expected
    now = time.monotonic()
    until, unsaid = _quiet_until.get((state, at), (0.0, 0))
    if now < until:
        _quiet_until[state, at] = (until, unsaid + 1)
        return
    if len(_quiet_until) >= SITES_MAX:
        _quiet_until.clear()
    _quiet_until[state, at] = (now + LOG_EVERY_S, 0)
    _log.warning(
        "database_error",
        sqlstate=state or None,
        error=describe(error),
        at=at,
        statement=" ".join((sql or "").split())[:STATEMENT_CHARS_MAX],
        unsaid=unsaid,
    )


def _place() -> str:
    """The nearest line of ours outside of the database layer: `module:function:line`."""
    frame = inspect.currentframe()
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("shoudan") and module not in _LAYER:
            return f"{module}:{frame.f_code.co_name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


_LAYER: Final = frozenset(
    {"shoudan_kit.db.pool", "shoudan_kit.db.errors", "shoudan_kit.db.text_statements"}
)
