"""A database in memory: transactions, row locks, unique keys; what was not committed dies with its process.

It stands where the services' pools of connections stand. What a service sends is the statement and the
binds of its own `store/`; what the statement means is in `statements/`, and `test_statements.py` holds every
one of them to PostgreSQL. READ COMMITTED: a statement sees what is committed when it runs, and its own
transaction's rows; it waits for a row that another transaction has locked, and then begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias

from sqlalchemy.exc import DBAPIError

from shoudan_kit.db.text_statements import FastConnection
from shoudan_kit.db.text_statements import Rows as Result
from shoudan_kit.limits.slots import SlotBook
from tests.simulation.loop import Node, SimLoop, pause

Key: TypeAlias = Any
Values: TypeAlias = dict[str, Any]
LOCK_TIMEOUT_S: Final = 2.0  # as the pools of the product ask for
IDLE_S: Final = 10.0  # a transaction that says nothing for so long is rolled back


class _State(Exception):
    """What the driver would have raised."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


def refused(sqlstate: str) -> DBAPIError:
    """The error of a statement, as SQLAlchemy raises it."""
    return DBAPIError(None, None, _State(sqlstate))


class Blocked(Exception):
    """A row is locked by this transaction."""

    def __init__(self, by: Transaction) -> None:
        super().__init__()
        self.by = by


@dataclass(slots=True)
class Table:
    """Committed rows by key, and which of them have a value in one of the indexed columns."""

    name: str
    indexed: tuple[str, ...] = ()
    rows: dict[Key, Values] = field(default_factory=dict[Key, Values])
    index: dict[str, dict[Any, dict[Key, None]]] = field(
        default_factory=dict[str, dict[Any, dict[Key, None]]]
    )

    def __post_init__(self) -> None:
        for name in self.indexed:
            self.index[name] = {}

    def put(self, key: Key, row: Values | None) -> None:
        """Store a committed row, or take it away."""
        old = self.rows.get(key)
        for name, index in self.index.items():
            was, now = old and old[name], row and row[name]
            if old is not None and (row is None or was != now):
                same = index[was]
                del same[key]
                if not same:
                    del index[was]
            if row is not None and (old is None or was != now):
                index.setdefault(now, {})[key] = None
        if row is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = row


Written: TypeAlias = Mapping[str, Mapping[Key, "Values | None"]]


class Transaction:
    """What one connection has begun: its rows, its locks."""

    __slots__ = ("ended", "locks", "moment", "node", "number", "waiters", "waits_for", "written")

    def __init__(self, number: int, node: Node | None, moment: datetime) -> None:
        self.number, self.node, self.moment = number, node, moment
        self.written: dict[str, dict[Key, Values | None]] = {}
        self.locks: list[Key] = []
        self.waiters: list[tuple[Node, asyncio.Future[bool]]] = []
        self.waits_for: Transaction | None = None
        self.ended = False


class View:
    """What one statement sees and does. Nothing of a statement that has to wait is kept but its locks."""

    __slots__ = ("_locked", "_new", "_store", "_tables", "_transaction", "moment")

    def __init__(self, store: Store, transaction: Transaction) -> None:
        self._store, self._transaction = store, transaction
        self._tables, self._locked = store.tables, store.locked
        self._new: dict[str, dict[Key, Values | None]] = {}
        self.moment = transaction.moment  # as PostgreSQL's now(): that of the transaction's begin

    def get(self, table: str, key: Key) -> Values | None:
        """A row as this statement sees it: as it was before the statement."""
        written = self._transaction.written.get(table)
        if written is not None and key in written:
            return written[key]
        return self._tables[table].rows.get(key)

    def found(self, table: str, name: str, value: Any) -> list[Key]:
        """The keys of the rows whose indexed column has this value, in order."""
        keys = set(self._tables[table].index[name].get(value, ()))
        written = self._transaction.written.get(table)
        if written:
            for key, row in written.items():
                if row is not None and row[name] == value:
                    keys.add(key)
                else:
                    keys.discard(key)
        return sorted(keys)

    def late(self, table: str, name: str) -> list[tuple[Key, Values]]:
        """Every row whose moment of this name has come."""
        moment, written = self.moment, self._transaction.written.get(table) or {}
        found = [
            (key, row)
            for key, row in self._tables[table].rows.items()
            if row[name] <= moment and key not in written
        ]
        own = ((key, row) for key, row in written.items() if row is not None)
        return [*found, *((key, row) for key, row in own if row[name] <= moment)]

    def lock(self, table: str, key: Key) -> None:
        """Lock a row, or a unique key, to the end of the transaction."""
        at = (table, key)
        holder = self._locked.get(at)
        if holder is self._transaction:
            return
        if holder is not None:
            raise Blocked(holder)
        self._locked[at] = self._transaction
        self._transaction.locks.append(at)

    def free(self, table: str, key: Key) -> bool:
        """Whether no other transaction has locked it: SKIP LOCKED."""
        holder = self._locked.get((table, key))
        return holder is None or holder is self._transaction

    def locked(self, table: str, key: Key) -> Values | None:
        """The row, locked; None when there is none."""
        if self.get(table, key) is None:
            # Another transaction may be about to make it: nobody waits for a row that is not there.
            return None
        self.lock(table, key)
        return self.get(table, key)

    def write(self, table: str, key: Key, row: Values | None) -> None:
        """The row as the statement leaves it; its lock is held."""
        self._new.setdefault(table, {})[key] = row

    def change(self, table: str, key: Key, row: Values, **changed: Any) -> Values:
        """Write some columns of a row."""
        now = {**row, **changed}
        self._new.setdefault(table, {})[key] = now
        return now

    def written(self, table: str, key: Key) -> bool:
        """Whether this statement has written the row."""
        return key in self._new.get(table, ())

    def keep(self) -> None:
        """The statement has ended: its rows are the transaction's."""
        for table, rows in self._new.items():
            self._transaction.written.setdefault(table, {}).update(rows)


Meaning: TypeAlias = Callable[[View, Mapping[str, Any]], "Sequence[Any]"]


class Row(tuple[Any, ...]):
    """A row of a result: by place, by name, as an attribute."""

    __slots__ = ()
    names: Mapping[str, int] = {}

    def __getitem__(self, at: Any) -> Any:
        if at.__class__ is str:
            return tuple.__getitem__(self, self.names[at])
        return tuple.__getitem__(self, at)

    def __getattr__(self, name: str) -> Any:
        try:
            return tuple.__getitem__(self, self.names[name])
        except KeyError:
            raise AttributeError(name) from None

    @property
    def _mapping(self) -> Row:
        return self


def row_of(*names: str) -> type[Row]:
    """The class of rows with these columns."""
    places: dict[str, Any] = {"names": {name: at for at, name in enumerate(names)}, "__slots__": ()}
    for name in ("count", "index"):  # which a tuple has, too
        if name in names:
            at = names.index(name)
            places[name] = property(lambda row, at=at: tuple.__getitem__(row, at))
    return type("Row", (Row,), places)


@dataclass(slots=True)
class Ran:
    """One statement that was run, as the differential test replays it."""

    transaction: int
    moment: Any
    sql: str
    binds: Mapping[str, Any] | None
    rows: Sequence[Any] | None
    copied: tuple[str, Sequence[str], Sequence[Sequence[Any]]] | None = None


MEANINGS: Final[dict[str, Meaning]] = {}
ORDERED: Final[set[str]] = set()


def means(*statements: Any) -> Callable[[Meaning], Meaning]:
    """Declare what statements do."""

    def declare(meaning: Meaning) -> Meaning:
        for one in statements:
            assert one.text not in MEANINGS, "a statement has one meaning"
            MEANINGS[one.text] = meaning
        return meaning

    return declare


class Engine:
    """What a pool is known by."""


@dataclass
class Faults:
    """What may happen to a transaction: waits, a death before or after the commit, a lost answer."""

    delay_s: Callable[[], float] = lambda: 0.0
    at_commit: Callable[[Node], str] = lambda node: ""


class Store:
    """One service's database."""

    def __init__(self, loop: SimLoop, name: str, tables: Iterable[Table]) -> None:
        self.loop, self.name = loop, name
        self.tables = {table.name: table for table in tables}
        self.locked: dict[tuple[str, Key], Transaction] = {}
        self.faults = Faults()
        self.transactions = 0
        self.transitions = 0
        self.statements = 0
        self.committed: list[Callable[[Written, Written], None]] = []
        self.tape: list[Ran] | None = None

    def begin(self, node: Node | None) -> Transaction:
        """A transaction of a process."""
        self.transactions += 1
        return Transaction(self.transactions, node, self.loop.moment)

    def end(self, transaction: Transaction, *, commit: bool) -> None:
        """Commit it or forget it, and let those go on that wait for it."""
        if transaction.ended:
            assert not commit, "what has ended is committed"
            return
        transaction.ended = True
        if commit and transaction.written:
            before = self._apply(transaction.written)
            for watch in self.committed:
                watch(before, transaction.written)
        for at in transaction.locks:
            del self.locked[at]
        if self.tape is not None:
            self.tape.append(
                Ran(
                    transaction.number,
                    self.loop.moment,
                    "COMMIT" if commit else "ROLLBACK",
                    None,
                    None,
                )
            )
        for node, waiter in transaction.waiters:
            if node.alive:
                node.soon(_wake, waiter, True)

    def _apply(self, written: Written) -> Written:
        """Make the rows everybody's; those of before."""
        before: dict[str, dict[Key, Values | None]] = {}
        for name, rows in written.items():
            table = self.tables[name]
            if name in DECIDED:
                self.transitions += len(rows)
                before[name] = {key: table.rows.get(key) for key in rows}
            for key, row in rows.items():
                table.put(key, row)
        return before

    def run(self, transaction: Transaction, sql: str, binds: Mapping[str, Any]) -> Result:
        """Run a statement; Blocked when it has to wait."""
        view = View(self, transaction)
        rows = MEANINGS[sql](view, binds)
        view.keep()
        self.statements += 1
        if self.tape is not None:
            self.tape.append(Ran(transaction.number, transaction.moment, sql, dict(binds), rows))
        return Result(rows, len(rows))

    def copy(
        self, transaction: Transaction, table: str, names: Sequence[str], rows: Sequence[Any]
    ) -> None:
        """COPY: rows whose keys nobody else can have."""
        place = transaction.written.setdefault(table, {})
        given = [tuple(row) for row in rows]
        for row in given:
            values = dict(zip(names, row, strict=True))
            place[COPIED[table](values)] = values
        if self.tape is not None:
            self.tape.append(
                Ran(transaction.number, self.loop.moment, "COPY", None, None, (table, names, given))
            )


# Tables whose rows are what was decided: what changes there at a commit is a transition. Tasks, events and
# their outbox follow from it and are not counted, nor are leases.
DECIDED: Final[set[str]] = set()
COPIED: Final[dict[str, Callable[[Values], Key]]] = {}


def _wake(waiter: asyncio.Future[bool], granted: bool) -> None:
    if not waiter.done():
        waiter.set_result(granted)


class Connection(FastConnection):
    """A connection of a process, with or without a transaction."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self._store, self._node = pool, pool.store, pool.node
        self.held: Transaction | None = None
        self.begun = False

    @property
    def engine(self) -> Any:
        """What the pool is known by."""
        return self._pool.engine

    async def execute(self, statement: Any, parameters: Any = None, **_: Any) -> Any:
        """Run a statement; without a transaction it is committed at once."""
        own = self.held or self._begin()
        try:
            await self._travel(own)
            while True:
                try:
                    result = self._store.run(own, statement.text, parameters or {})
                    break
                except Blocked as blocked:
                    await self._wait(own, blocked.by)
        except BaseException:
            if not self.begun:
                self._end(own, commit=False)
            raise
        if not self.begun:
            self._end(own, commit=True)
        return result

    def _begin(self) -> Transaction:
        self.held = self._store.begin(self._node)
        self._pool.open[self.held] = None
        return self.held

    def _end(self, own: Transaction, *, commit: bool) -> None:
        self.held = None
        self._pool.open.pop(own, None)
        self._store.end(own, commit=commit)

    async def _wait(self, own: Transaction, by: Transaction) -> None:
        """Until the other transaction has ended; the one that closes a circle is refused."""
        one: Transaction | None = by
        while one is not None:
            if one is own:
                raise refused("40P01")
            one = one.waits_for
        waiter: asyncio.Future[bool] = self._node.loop.create_future()
        by.waiters.append((self._node, waiter))
        own.waits_for = by
        self._node.later(LOCK_TIMEOUT_S, _wake, waiter, False)
        try:
            granted = await waiter
        finally:
            own.waits_for = None
        if not granted:
            raise refused("55P03")
        if own.ended:
            raise refused("25P03")

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Append rows."""
        assert self.held is not None, "a COPY is part of a transaction"
        self._store.copy(self.held, table, columns, list(rows))

    async def commit(self) -> None:
        """Commit; the process may die before it, behind it, or hear no answer."""
        own = self.held
        if own is None:
            return
        fault = self._store.faults.at_commit(self._node) if own.written and not own.ended else ""
        if fault == "before":
            await self._die()
        await self._travel(own)
        if fault == "refused":
            self._end(own, commit=False)
            raise refused("40001")
        self._end(own, commit=True)
        if fault == "after":
            await self._die()
        if fault == "lost":
            raise ConnectionResetError("the answer to the commit was lost")

    async def _travel(self, own: Transaction) -> None:
        """To the server, which may have lost its patience by the time that words arrive there."""
        if (delay_s := self._store.faults.delay_s()) > 0 and not own.ended:
            await pause(self._node, delay_s)
        if own.ended:
            raise refused("25P03")

    async def _die(self) -> None:
        self._node.loop.add(self._node.loop.now, None, self._node.kill, (), None)
        await self._node.loop.create_future()

    def roll_back(self) -> None:
        """Forget what was begun."""
        if self.held is not None:
            self._end(self.held, commit=False)


class Pool:
    """A process's connections to one database; it stands where a Database stands."""

    def __init__(self, store: Store, node: Node) -> None:
        self.store, self.node, self.engine = store, node, Engine()
        self.slots = SlotBook()
        self.open: dict[Transaction, None] = {}
        node.at_death.append(self._died)

    def time_out(self) -> None:
        """The server has lost its patience with a process that stands still."""
        self._died()

    def _died(self) -> None:
        for own in list(self.open):
            self.store.end(own, commit=False)
        self.open.clear()

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[Connection]:
        """A connection to read with: each statement is its own transaction."""
        yield Connection(self)

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Connection]:
        """One transaction."""
        connection = Connection(self)
        connection.begun = True
        try:
            yield connection
        except BaseException:
            connection.roll_back()
            raise
        await connection.commit()
