"""Text statements straight to the driver: same pool, transaction and errors, a fraction of the CPU.

SQLAlchemy spends several times the driver's own time on each statement. The statements of a hot path are
text, prepared once per connection and the same for ever, so they need none of it. Everything else (Core
constructs, executemany, streams) goes the usual way. Decision 0003.
"""

from __future__ import annotations

import socket
from collections.abc import (
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import asyncpg
from sqlalchemy import Connection, TextClause, text
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.exc import MultipleResultsFound, NoResultFound
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.compiler import SQLCompiler

from shoudan_kit.db.errors import report

FIRST_OWN_TYPE: Final = 16_384  # below are PostgreSQL's own types
PREPARED_MAX: Final = 200  # statements kept on one connection
COMPILED_MAX: Final = 2_000  # texts seen in this process; built at import, so few

_DIALECT: Final = PGDialect_asyncpg()
_compiled: dict[str, tuple[str, tuple[str, ...]]] = {}
_known_types: dict[frozenset[int], tuple[Any, Any]] = {}
_watchers: list[Callable[[str], None]] = []


@contextmanager
def watched(see: Callable[[str], None]) -> Generator[None]:
    """Show every text statement of this process to `see`: tests count what a batch costs."""
    _watchers.append(see)
    try:
        yield
    finally:
        _watchers.remove(see)


class Row(asyncpg.Record):
    """A row whose columns are attributes, as SQLAlchemy's are."""

    __slots__ = ()

    @property
    def _mapping(self) -> Row:
        """By column name, as SQLAlchemy offers it; a Record already is."""
        return self

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Rows:
    """The part of SQLAlchemy's result that statements here use; everything is already read."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: Sequence[Row], rowcount: int) -> None:
        self._rows, self.rowcount = rows, rowcount

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def all(self) -> Sequence[Row]:
        return self._rows

    def first(self) -> Row | None:
        return self._rows[0] if self._rows else None

    def one(self) -> Row:
        return _one(self._rows)

    def one_or_none(self) -> Row | None:
        return _one(self._rows) if self._rows else None

    def mappings(self) -> Values:
        """Rows by column name; a Row already is."""
        return Values(self._rows)

    def scalars(self) -> Values:
        """The first column of each row."""
        return Values([row[0] for row in self._rows])

    def scalar(self) -> Any:
        return self._rows[0][0] if self._rows else None

    def scalar_one(self) -> Any:
        return _one(self._rows)[0]

    def scalar_one_or_none(self) -> Any:
        return _one(self._rows)[0] if self._rows else None


class Values:
    """One value per row."""

    __slots__ = ("_values",)

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def all(self) -> Sequence[Any]:
        return self._values

    def first(self) -> Any:
        return self._values[0] if self._values else None

    def one(self) -> Any:
        return _one(self._values)

    def one_or_none(self) -> Any:
        return _one(self._values) if self._values else None


def _one(values: Sequence[Any]) -> Any:
    if not values:
        raise NoResultFound("no row was found when one was required")
    if len(values) > 1:
        raise MultipleResultsFound("several rows were found when one was required")
    return values[0]


class FastConnection(AsyncConnection):
    """An AsyncConnection that hands text statements, and its transactions, to asyncpg itself.

    SQLAlchemy's own transaction costs several times that of BEGIN and COMMIT. So its adapter is left in
    autocommit, and a transaction is begun before the first statement of a `begun` connection.
    """

    def __init__(self, engine: AsyncEngine, connection: Connection, generation: int = 0) -> None:
        """`generation`: whatever its lender tells older ones by."""
        super().__init__(engine, connection)
        self.generation = generation
        self._sync = connection
        fairy = connection.connection
        self._info: dict[str, Any] = fairy.info
        self._adapter: Any = fairy.dbapi_connection
        self._adapter.autocommit = True
        self._driver: Any = self._adapter.driver_connection
        self._begins = self._open = False

    @property
    def usable(self) -> bool:
        """Whether it can be lent again: nothing is left open, and the session lives."""
        sync = self._sync
        return not (self._open or sync.invalidated or sync.closed or self._driver.is_closed())

    def begin_with_next(self) -> None:
        """The next statement begins a transaction."""
        self._begins = True

    async def commit_begun(self) -> None:
        """Commit what was begun. Raises when the server had given the transaction up."""
        self._begins = False
        if self._open:
            if await self._send("COMMIT") != "COMMIT":
                self._raise(asyncpg.InFailedSQLTransactionError("rolled back"), "COMMIT")
            self._forget()

    async def roll_back_begun(self) -> None:
        """Roll back what was begun; a session that cannot is not usable any more."""
        self._begins = False
        if self._open and not self._sync.invalidated:
            await self._send("ROLLBACK")
            self._forget()

    def abandon(self) -> None:
        """Cut the session at once; the server rolls back what was open."""
        if not self._sync.closed:
            if not self._sync.invalidated:
                self._sync.invalidate()
            self._sync.close()

    async def _begin(self) -> None:
        # Open until the server said that it ended: one cancelled in its BEGIN may have begun.
        self._begins, self._open = False, True
        await self._send("BEGIN")

    async def _send(self, command: str) -> str:
        try:
            return await self._driver.execute(command)
        except Exception as error:  # sorted as those of statements
            self._raise(error, command)

    def _forget(self) -> None:
        self._open = False
        if self._sync.in_transaction():  # of a statement that went the usual way; nothing is sent
            self._sync.rollback()

    async def execute(
        self,
        statement: Any,
        parameters: Any = None,
        *,
        execution_options: Any = None,
    ) -> Any:
        """Run one statement; text with one set of binds goes the short way."""
        if self._begins:
            await self._begin()
        if (
            not isinstance(statement, TextClause)
            or execution_options is not None
            or not (parameters is None or isinstance(parameters, Mapping))
        ):
            return await super().execute(statement, parameters, execution_options=execution_options)
        sql, names = _compile(statement)
        for see in _watchers:
            see(sql)
        binds = cast("Mapping[str, Any]", parameters or {})
        values = [binds[name] for name in names]
        refuse_naive(values)
        try:
            prepared = await _prepare(self._info, self._driver, sql)
            rows = await prepared.fetch(*values)
            return Rows(rows, _affected(prepared.get_statusmsg()))
        except Exception as error:  # sorted by SQLAlchemy as its own cursor's would be
            self._raise(error, sql)

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Append rows by COPY, binary: a third of the cost of an INSERT from arrays.

        Only for rows no other writer can have: a conflict fails the whole transaction.
        """
        if self._begins:
            await self._begin()
        sql = f"COPY {table}"
        for see in _watchers:
            see(sql)
        try:
            await self._driver.copy_records_to_table(table, records=rows, columns=columns)
        except Exception as error:  # sorted as those of statements
            self._raise(error, sql)

    async def pages(
        self, statement: TextClause, binds: Mapping[str, Any], most: int
    ) -> AsyncIterator[Sequence[Row]]:
        """What a query gives inside a transaction, so many rows at a time: each is a statement of its own
        to the server's limit of time, and only one of them is memory."""
        if self._begins:
            await self._begin()
        sql, names = _compile(statement)
        for see in _watchers:
            see(sql)
        values = [binds[name] for name in names]
        refuse_naive(values)
        try:
            cursor = await (await _prepare(self._info, self._driver, sql)).cursor(*values)
            while rows := await cursor.fetch(most):
                yield rows
        except Exception as error:  # sorted as those of statements
            self._raise(error, sql)

    async def copy_out(self, statement: TextClause, binds: Mapping[str, Any], file: Path) -> int:
        """Write what a query gives to a file, as CSV without a header; how many rows it gave.

        For rows that this process does not look at: it costs a tenth of what fetching them does.
        """
        if self._begins:
            await self._begin()
        sql, names = _compile(statement)
        for see in _watchers:
            see(sql)
        values = [binds[name] for name in names]
        refuse_naive(values)
        try:
            return _affected(
                await self._driver.copy_from_query(sql, *values, output=file, format="csv")
            )
        except Exception as error:  # sorted as those of statements
            self._raise(error, sql)

    def _raise(self, error: Exception, sql: str) -> NoReturn:
        """The same exceptions as ever: DBAPIError and its kinds, a lost connection invalidated."""
        translated: Exception = error
        try:
            self._adapter._handle_exception(error)
        except Exception as known:  # that is how it answers
            translated = known
        connection: Any = self._proxied
        if isinstance(error, TimeoutError | OSError) and not connection.invalidated:
            # The server did not answer within the client's limit; SQLAlchemy would go on using the session.
            report(error, sql)
            connection.invalidate(error)
            raise error
        connection._handle_dbapi_exception(translated, sql, None, None, None)
        raise translated


class Driver(asyncpg.Connection):
    """asyncpg's connection, which asks the server about an array type once per process.

    Every new connection would ask again, each time with a query that costs the server more than a
    hundred orders. PostgreSQL's own types are the same for ever.
    """

    async def _introspect_types(self, typeoids: Any, *limit: Any) -> tuple[Any, Any]:
        wanted = frozenset(cast("Iterable[int]", typeoids))
        known = _known_types.get(wanted)
        if known is None:
            known = await super()._introspect_types(typeoids, *limit)
            if max(wanted, default=0) < FIRST_OWN_TYPE:
                _known_types[wanted] = (known[0], _Named())
        return known

    def bound_silence(self, seconds: int) -> None:
        """Let the kernel end this session when its server receives nothing for so long; 1 or more.

        `command_timeout` would end it, too, but it must leave a slow statement its time.
        """
        found: socket.socket = self._transport.get_extra_info("socket")
        if found.family == socket.AF_UNIX:
            return
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        options = {"TCP_KEEPIDLE": seconds, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3}
        for name, value in (options | {"TCP_USER_TIMEOUT": seconds * 1000}).items():
            if hasattr(socket, name):  # not on every system
                found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class _Named:
    """Stands for the query that was not made: with a name, it has replaced no other statement."""

    name = "known"


def refuse_naive(values: Iterable[Any]) -> None:
    """Raise for a datetime without a time zone: the driver would read it in the host's own.

    Looks into arrays as far as their first value says what they hold, so that it costs next to nothing.
    """
    for value in values:
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError("a datetime without a time zone")
        elif isinstance(value, list):
            for one in cast("list[Any]", value):
                if one is None:
                    continue
                if not isinstance(one, datetime):
                    break
                refuse_naive((one,))


def _compile(statement: TextClause) -> tuple[str, tuple[str, ...]]:
    """The text with $1, $2 … and the names in that order."""
    known = _compiled.get(statement.text)
    if known is None:
        if len(_compiled) >= COMPILED_MAX:
            _compiled.clear()
        compiled = statement.compile(dialect=_DIALECT)
        assert isinstance(compiled, SQLCompiler)
        known = _compiled[statement.text] = (compiled.string, tuple(compiled.positiontup or ()))
    return known


async def _prepare(info: dict[str, Any], connection: Any, sql: str) -> Any:
    """The prepared statement, made once per connection."""
    kept: dict[str, Any] = info.setdefault("shoudan_prepared", {})
    prepared = kept.get(sql)
    if prepared is None:
        if len(kept) >= PREPARED_MAX:
            kept.clear()
        prepared = kept[sql] = await connection.prepare(sql, record_class=Row)
    return prepared


def _affected(status: str) -> int:
    """Rows of "UPDATE 5" or "INSERT 0 5"; -1 where the command counts none."""
    count = status.rpartition(" ")[2]
    return int(count) if count.isdecimal() else -1


def columns(rows: Iterable[Any], *names: str) -> dict[str, list[Any]]:
    """Attributes of `rows` as one array per name: the binds of `FROM unnest(CAST(:name AS type[]), …)`."""
    get = attrgetter(*names)
    if len(names) == 1:
        return {names[0]: [get(row) for row in rows]}
    arrays: list[list[Any]] = [list(array) for array in zip(*map(get, rows), strict=True)]
    return dict(zip(names, arrays or [[] for _ in names], strict=True))


def holdable(key: Iterable[object]) -> bool:
    """Whether PostgreSQL can hold every text of `key`: one with NUL in it is in no row."""
    return not any(isinstance(part, str) and "\0" in part for part in key)


def unnest(**types: str) -> str:
    """`unnest(CAST(:a AS bigint[]), …) AS given(a, …)` for `unnest(a="bigint", …)`."""
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in types.items())
    return f"unnest({arrays}) AS given({', '.join(types)})"


def statement(sql: str) -> TextClause:
    """A statement built once at import. Bind arrays with CAST(:name AS type[]), never with `::`."""
    return text(sql)
