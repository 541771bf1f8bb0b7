"""Columns with sealed values, walked page by page and sealed anew under the first key of the ring."""

from __future__ import annotations

from binascii import Error as Malformed
from binascii import a2b_base64, b2a_base64
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.text_statements import statement, unnest
from shoudan_kit.secrets.sealing import LOOKUP_BYTES, MARK, KeyRing, Place, Unsealable, is_sealed

BYTES_MAX: Final = 8 * 2**20  # of values that one page reads whole; one row may have more
HEAD_BYTES: Final = 20  # of a sealed value: enough for its key id
_MAC_CHARS: Final = LOOKUP_BYTES // 3 * 4
_HEAD_CHARS: Final = len(MARK) + _MAC_CHARS + 28
# How keys are compared and bound, by their types in the table.
BIGINT, INTEGER, TEXT = "bigint", "integer", "text"
_MOST: Final[Mapping[str, int]] = {BIGINT: 2**63 - 1, INTEGER: 2**31 - 1}
_FIRST: Final[Mapping[str, Any]] = {BIGINT: -1, INTEGER: -1, TEXT: ""}

Bound = Callable[[Any], str | int]  # what a row's value is bound to


class Form(Protocol):
    """How a column holds what is sealed."""

    @property
    def type(self) -> str:
        """PostgreSQL's type of the column."""
        ...

    def head(self, column: str) -> str:
        """In SQL: what of a value shows its key; NULL where only the whole value does."""
        ...

    def key_ids(self, value: Any) -> list[str]:
        """The keys of a value, or of its head; none where nothing is sealed."""
        ...

    def resealed(self, ring: KeyRing, row: Any) -> Any:
        """The value of a row under the first key. Raises Unsealable."""
        ...


@dataclass(frozen=True, slots=True)
class Bytes:
    """Sealed bytes, bound to `place` and what `bound` says of the row."""

    place: str
    bound: Bound
    type: str = "bytea"

    def head(self, column: str) -> str:
        """Its first bytes."""
        return f"substring({column} FROM 1 FOR {HEAD_BYTES})"

    def key_ids(self, value: Any) -> list[str]:
        """One."""
        return [key_id(value)]

    def resealed(self, ring: KeyRing, row: Any) -> bytes:
        """The same content."""
        return anew(ring, self.place, self.bound(row), row.value)


@dataclass(frozen=True, slots=True)
class Marked:
    """Text as SealedColumn writes it; its digest stays, because the index key does."""

    place: str
    bound: Bound
    type: str = "text"

    def head(self, column: str) -> str:
        """Mark, digest and the first bytes."""
        return f"left({column}, {_HEAD_CHARS})"

    def key_ids(self, value: Any) -> list[str]:
        """One; none for text in clear, which `shoudan personal seal` seals."""
        if not value.startswith(MARK) or len(value) < _HEAD_CHARS:
            return []
        try:
            return [key_id(a2b_base64(value[len(MARK) + _MAC_CHARS : _HEAD_CHARS]))]
        except Malformed:
            return []

    def resealed(self, ring: KeyRing, row: Any) -> str:
        """The same content."""
        if not is_sealed(row.value):
            return row.value
        start = len(MARK) + _MAC_CHARS
        sealed = anew(ring, self.place, self.bound(row), a2b_base64(row.value[start:]))
        return row.value[:start] + b2a_base64(sealed, newline=False).decode()


# A part of a document: the object with a member `sealed`, its place and what it is bound to.
Part = tuple[dict[str, Any], str, str]


@dataclass(frozen=True, slots=True)
class Documents:
    """JSON whose parts have sealed members in hexadecimal, as to_jsonb writes bytes."""

    parts: Callable[[Any, Any], Iterable[Part]]  # of a row and its parsed document
    type: str = "jsonb"

    def head(self, column: str) -> str:
        """Nothing shows it but the whole."""
        return "NULL"

    def key_ids(self, value: Any) -> list[str]:
        """One for each part."""
        found: list[str] = []
        _each_sealed(orjson.loads(value), found)
        return found

    def resealed(self, ring: KeyRing, row: Any) -> str:
        """The same content in every part."""
        whole = orjson.loads(row.value)
        for part, place, bound in self.parts(row, whole):
            if part.get("sealed"):
                sealed = anew(ring, place, bound, bytes.fromhex(part["sealed"][2:]))
                part["sealed"] = f"\\x{sealed.hex()}"
        return orjson.dumps(whole).decode()


def _each_sealed(value: Any, found: list[str]) -> None:
    """The keys of every member `sealed`; documents are as deep as their tables, so three levels."""
    if isinstance(value, list):
        for one in cast("list[Any]", value):
            _each_sealed(one, found)
    elif isinstance(value, dict):
        for name, one in cast("dict[str, Any]", value).items():
            if name == "sealed" and isinstance(one, str):
                found.append(key_id(bytes.fromhex(one[2:])))
            else:
                _each_sealed(one, found)


def key_id(sealed: bytes) -> str:
    """The id of the key that a value, or its head, says it is sealed under."""
    return sealed[1 : 1 + sealed[0]].decode("ascii", "replace") if sealed else ""


def anew(ring: KeyRing, place: str, bound: str | int, sealed: bytes) -> bytes:
    """The same content under the first key of the ring. Raises Unsealable."""
    return ring.seal(place, bound, ring.open(place, bound, sealed))


@dataclass(frozen=True, slots=True)
class Page:
    """What one page gave. `after` is the key of the last row looked at."""

    after: str
    done: bool
    looked: int
    resealed: int
    counts: Mapping[str, int]
    unreadable: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Looked:
    """The rows of a page: those to seal anew, and what was counted."""

    stale: list[Any] = field(default_factory=list[Any])
    counts: Counter[str] = field(default_factory=Counter[str])


class SealedValues:
    """One column: `SealedValues("credential", "sealed", {"credential_id": BIGINT}, Bytes(…))`."""

    def __init__(
        self,
        table: str,
        column: str,
        keys: Mapping[str, str],
        form: Form,
        more: Sequence[str] = (),
    ) -> None:
        """`keys`: the columns of the primary key with their types, by which it is walked; `more`: further
        columns that the form's `bound` reads."""
        self.name, self.table, self.form = f"{table}.{column}", table, form
        self._keys = tuple(keys)
        self._types = dict(keys)
        named = ", ".join(self._keys)
        after = ", ".join(f"CAST(:{one} AS {kind})" for one, kind in keys.items())
        shown = "CAST({0} AS text)" if form.type == "jsonb" else "{0}"
        value = shown.format(f"{table}.{column}")
        self._page = statement(
            f"SELECT {named}, {form.head(column)} AS head,"
            f" coalesce(octet_length({shown.format(column)}), 0) AS size"
            f" FROM {table} WHERE ({named}) > ({after}) ORDER BY {named} LIMIT :rows"
        )
        same = " AND ".join(f"{table}.{one} = given.{one}" for one in keys)
        read = ", ".join(f"{table}.{one}" for one in (*self._keys, *more))
        self._read = statement(
            f"SELECT {read}, {value} AS value FROM {table} JOIN {unnest(**keys)} ON {same}"
            f" WHERE {table}.{column} IS NOT NULL"
        )
        # What was written meanwhile is left: it is under the first key already.
        kinds = {**keys, "before": "text" if form.type == "jsonb" else form.type}
        kinds["after"] = kinds["before"]
        new = "CAST(given.after AS jsonb)" if form.type == "jsonb" else "given.after"
        self._write = statement(
            f"UPDATE {table} SET {column} = {new} FROM {unnest(**kinds)}"
            f" WHERE {same} AND {value} = given.before"
        )

    async def page(
        self, db: AsyncConnection, ring: KeyRing, after: str, rows: int, *, dry_run: bool
    ) -> Page:
        """Look at the next rows; ValueError when `after` is of no page of this column."""
        binds = self._cursor(after)
        heads = (await db.execute(self._page, {**binds, "rows": rows})).all()
        most = self._within_bytes(heads, ring)
        shown = heads[:most]
        looked = await self._look(db, ring, shown)
        unreadable: list[str] = []
        written: list[tuple[Any, Any]] = []
        for row in looked.stale:
            try:
                written.append((row, self.form.resealed(ring, row)))
            except (Unsealable, ValueError):
                unreadable.append(self._text(row))
        if written and not dry_run:
            await db.execute(self._write, self._binds(written))
        return Page(
            after=self._text(shown[-1]) if shown else after,
            done=most == len(heads) < rows,
            looked=len(shown),
            resealed=0 if dry_run else len(written),
            counts=looked.counts,
            unreadable=unreadable,
        )

    def _within_bytes(self, heads: Sequence[Any], ring: KeyRing) -> int:
        """How many of the rows have no more bytes to read whole than a page may; at least one."""
        total = 0
        for at, row in enumerate(heads):
            total += row.size if self._is_stale(row.head, ring) else 0
            if total > BYTES_MAX and at:
                return at
        return len(heads)

    def _is_stale(self, head: Any, ring: KeyRing) -> bool:
        """Whether a value must be read whole: its key is another, or only the whole shows it."""
        if head is None:
            return True
        return any(one != ring.first_id for one in self.form.key_ids(head))

    async def _look(self, db: AsyncConnection, ring: KeyRing, rows: Sequence[Any]) -> _Looked:
        looked = _Looked()
        wanted: list[Any] = []
        for row in rows:
            if row.head is not None:
                looked.counts.update(self.form.key_ids(row.head))
            if row.size and self._is_stale(row.head, ring):
                wanted.append(row)
        if not wanted:
            return looked
        binds = {one: [getattr(row, one) for row in wanted] for one in self._keys}
        for row in await db.execute(self._read, binds):
            if self.form.head("x") != "NULL":
                looked.stale.append(row)
                continue
            ids = self.form.key_ids(row.value)
            looked.counts.update(ids)
            if any(one != ring.first_id for one in ids):
                looked.stale.append(row)
        return looked

    def _binds(self, written: Sequence[tuple[Any, Any]]) -> dict[str, list[Any]]:
        made = {one: [getattr(row, one) for row, _ in written] for one in self._keys}
        made["before"] = [row.value for row, _ in written]
        made["after"] = [after for _, after in written]
        return made

    def fits(self, after: str) -> bool:
        """Whether it is the end of a page of this column, or the beginning."""
        try:
            self._cursor(after)
        except ValueError:
            return False
        return True

    def _cursor(self, after: str) -> dict[str, Any]:
        """The key that a page begins behind. Raises ValueError."""
        if not after:
            return {one: _FIRST[kind] for one, kind in self._types.items()}
        parsed: Any = orjson.loads(after)
        found = cast("list[Any]", parsed) if isinstance(parsed, list) else []
        kinds = [str if kind == TEXT else int for kind in self._types.values()]
        if list(map(type, found)) != kinds:
            raise ValueError(after)
        for kind, one in zip(self._types.values(), found, strict=True):
            if ("\0" in one) if kind == TEXT else not -1 <= one <= _MOST[kind]:
                raise ValueError(after)
        return dict(zip(self._keys, found, strict=True))

    def _text(self, row: Any) -> str:
        return orjson.dumps([getattr(row, one) for one in self._keys]).decode()


def accounts(place: Place) -> SealedValues:
    """The column of recharge accounts that SealedColumn writes."""
    form = Marked(place.table, lambda row: getattr(row, place.key))
    return SealedValues(place.table, place.column, {place.key: BIGINT}, form)
