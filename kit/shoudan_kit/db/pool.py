"""The database of one service: its pool, its time-outs, and the helpers set-based statements need."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine

from shoudan_kit.db.errors import (
    RETRYABLE,
    NotConnected,
    Unavailable,
    connection_lost,
    describe,
    is_spent,
    report,
    sql_state,
    unconnected,
)
from shoudan_kit.db.lender import ACQUIRE_S, Lender, Places
from shoudan_kit.db.text_statements import Driver, FastConnection, refuse_naive
from shoudan_kit.db.url import DatabaseUrl

T = TypeVar("T")

# THE clock of leases and overtimes: every due time is compared with it. Tests turn it by `clock_shift_s`
# or by `ALTER DATABASE … SET shoudan.clock_shift`, a test system by `shoudan clock advance`.
NOW: Final = "shoudan_now()"

CLOCK_SHIFT: Final = "shoudan.clock_shift"
RETRIES_MAX: Final = 5
# True where requests of other shards wait for the end of this one: it is not tried again while no host of
# its database takes a session, nor after a session was lost to silence.
OTHERS_WAIT: Final = ContextVar("others_wait", default=False)
SHIFTED: Final = " +"  # between the name of sessions and the seconds that their clock is ahead
# After so long a server that drops packets is noticed. With the wait for a new session after it, a call over
# several shards of which one is silent ends within its deadline.
SILENT_S: Final = 3
HOST_S_MIN: Final = 1.0  # for one host of several; a host that is gone answers nothing

_NOT_CONNECTED: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
# Plans are kept. One made while a table was nearly empty would read it whole for ever, so the only plan
# left is the one that stays right at any size: look each row up by an index. It is made once per
# connection, whatever the values: planning anew for each call was a quarter of the server's CPU.
# A row costs a page's fetch, because by their own costs reading seven rows from end to end, or through an
# index of something else, is as cheap as finding one; a plan made then is kept while they become a million.
PLANS: Final = (
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; "
    "SET cpu_tuple_cost = 1; SET cpu_index_tuple_cost = 1; "
    "SET plan_cache_mode = force_generic_plan"
)
# reliability: a half-open connection must not hold a hot row, so every wait has an end.
TIMEOUTS: Final = {
    "statement_timeout": "5000",
    "lock_timeout": "2000",
    "idle_in_transaction_session_timeout": "10000",
    "client_connection_check_interval": "5000",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


class Database:
    """A pool of connections. One per process; transactions are short and READ COMMITTED."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 8,
        application: str = "shoudan",
        clock_shift_s: float = 0,
        timeouts: bool = True,
        settings: Mapping[str, str] | None = None,
        plans: bool = True,
        places: Places | None = None,
    ) -> None:
        """`places` are shared by the pools of one server's shards; without them this pool has its own."""
        server = {"application_name": application, "jit": "off"}
        if timeouts:
            server |= TIMEOUTS
        server |= settings or {}
        if clock_shift_s:
            server[CLOCK_SHIFT] = f"{clock_shift_s} seconds"
        self.application, self._server, self._size = application, server, pool_size
        self._hosts = DatabaseUrl.parse(url).hosts
        self._first = 0  # the host that took the last session is asked first
        self._options: dict[str, Any] = {
            "connection_class": Driver,
            "server_settings": server,
            "command_timeout": 10 if timeouts else None,
        }
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._open,
            hide_parameters=True,  # an error's text goes to logs, what was stored does not
            pool_size=pool_size,
            max_overflow=0,
        )
        event.listen(engine.sync_engine, "handle_error", self._judge)
        if plans:  # after the driver has looked its types up, which needs every kind of plan
            event.listen(engine.sync_engine, "connect", _plan)
        event.listen(engine.sync_engine, "before_cursor_execute", _zoned)
        self.engine = engine
        places = places or Places(pool_size)
        self._lender, self.slots = Lender(engine, places), places.slots

    @property
    def in_use(self) -> int:
        """Connections lent at this moment."""
        return self._lender.lent

    async def _open(self) -> Any:
        """A session on the first host that takes one and can be written to. Raises NotConnected."""
        state, reason = None, "no host"
        host_s = max(HOST_S_MIN, ACQUIRE_S / len(self._hosts))
        for step in range(len(self._hosts)):
            place = (self._first + step) % len(self._hosts)
            try:
                opened: Any = await asyncpg.connect(
                    self._hosts[place], timeout=host_s, **self._options
                )
            except _NOT_CONNECTED as error:
                state, reason = sql_state(error), describe(error)
                report(error, None)
                continue
            self._first = place
            opened.bound_silence(SILENT_S)
            return opened
        raise NotConnected(state, reason)

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[FastConnection]:
        """A connection to read with: each statement sees the newest committed state."""
        connection = await self._lender.take()
        try:
            yield connection
        finally:
            self._lender.give_back(connection)

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[FastConnection]:
        """One transaction, committed at the end of the block, rolled back by an exception."""
        connection = await self._lender.take()
        try:
            connection.begin_with_next()
            try:
                yield connection
            except BaseException:
                with suppress(
                    DBAPIError, OSError, TimeoutError
                ):  # the session goes, the cause is raised
                    await connection.roll_back_begun()
                raise
            await connection.commit_begun()
        finally:
            self._lender.give_back(connection)

    @property
    def session_name(self) -> str:
        """The name of its sessions; it says their time where the clock was advanced."""
        return str(self._server["application_name"])

    async def turn(self, shift_s: int, renewed: Callable[[], Awaitable[None]]) -> None:
        """From now on sessions are so far ahead of the machine's clock.

        `renewed` is called when those of before have ended what they were doing. One is kept until it
        returns, so that others see that this process is not there yet; a pool of one has none to keep.
        """
        last = await self._lender.take() if self._size > 1 else None
        try:
            self._server[CLOCK_SHIFT] = f"{shift_s} seconds"
            self._server["application_name"] = f"{self.application}{SHIFTED}{shift_s}"
            self._lender.retire()
            self._lender.close_retired()
            await self._lender.all_new(besides=0 if last is None else 1)
            await renewed()
        finally:
            if last is not None:
                self._lender.give_back(last)

    async def dispose(self) -> None:
        """Close every connection; one that is in use is closed when it comes back."""
        await self._lender.dispose()
        await self.engine.dispose()

    def _judge(self, context: ExceptionContext) -> None:
        """Log every error once; what says that the session is spent takes it out of the pool.

        Without that a pool keeps its sessions on a server that was demoted: they answer, but never write.
        """
        error = context.sqlalchemy_exception or context.original_exception
        report(error, context.statement)
        others_too = context.invalidate_pool_on_disconnect
        if is_spent(sql_state(error)):
            context.is_disconnect = True
            # One host for all: after a failover every other session is spent, too.
            others_too = sql_state(error) in {"25006", "57P01", "57P02"}
        context.invalidate_pool_on_disconnect = False  # its own checkout is passed by
        if context.is_disconnect and others_too:
            self._lender.retire()


def _zoned(
    _connection: Any, _cursor: Any, _sql: str, binds: Any, _context: Any, many: bool
) -> None:
    """What goes the usual way is held to the rule of the short one."""
    for values in binds if many else (binds,):
        refuse_naive(
            cast("Mapping[str, Any]", values).values() if isinstance(values, dict) else values
        )


def _plan(connection: Any, _: object) -> None:
    """Limit a new connection to plans that stay right."""

    async def limit(driver: Any) -> None:
        await driver.execute(PLANS)

    connection.run_async(limit)


async def retry(run: Callable[[], Awaitable[T]], *, tries: int = RETRIES_MAX) -> T:
    """Run a whole transaction again when the database asks for it or went away under it.

    Only for work that may be repeated by its key: a commit whose answer was lost is run again, too.
    Raises Unavailable when the last try was lost, anything else as it came.
    """
    began = time.monotonic()
    for attempt in range(1, tries + 1):
        try:
            return await run()
        except (DBAPIError, OSError, TimeoutError, PoolTimeout) as error:
            gone = connection_lost(error)
            if not gone and sql_state(error) not in RETRYABLE:
                raise
            silent = gone and time.monotonic() - began >= SILENT_S
            if attempt == tries or (OTHERS_WAIT.get() and (silent or unconnected(error))):
                if gone:
                    raise Unavailable(describe(error)) from error
                raise
            ceiling = (0.25 if gone else 0.02) * 2**attempt
            await asyncio.sleep(random.uniform(0, ceiling))
    raise AssertionError("tries is at least 1")
