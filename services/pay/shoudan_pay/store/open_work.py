"""The statements on one kind of what waits for a person, over the partial index that holds it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows
from shoudan_kit.db.text_statements import statement
from shoudan_kit.ids import id_of


@dataclass(frozen=True, slots=True)
class Row:
    """One item; `history` is its newest history, oldest first."""

    key: str
    state: str
    reason: str
    since: datetime
    amount_micros: int
    sent: str
    client_no: str
    third_no: str
    history: str


class Queue:
    """The open items of one kind, by key."""

    def __init__(
        self, select: str, key: str, open_: str, table: str, since: str, *, numbered: bool = False
    ) -> None:
        """`select` gives the columns of Row from `table` q; `numbered`: the key is a bigint."""
        self._read, self._numbered = Rows(Row), numbered
        kind = "bigint" if numbered else "text"
        rows = f"SELECT {select} FROM {table} q WHERE {open_} AND {key}"
        self._find = statement(f"{rows} = CAST(:key AS {kind})")
        self._page = statement(f"{rows} > CAST(:after AS {kind}) ORDER BY {key} LIMIT :most")
        self._count = statement(f"""
SELECT count(*), min(w.since) FROM (
    SELECT {since} AS since FROM {table} q WHERE {open_} ORDER BY {key} LIMIT :most) w
""")

    async def page(self, db: AsyncConnection, after: str, most: int) -> list[Row]:
        """Items after this key, by key."""
        start = int(after or 0) if self._numbered else after
        return self._read.all(await db.execute(self._page, {"after": start, "most": most}))

    async def find(self, db: AsyncConnection, key: str) -> Row | None:
        """The item with this key."""
        wanted = id_of(key) if self._numbered else key
        if wanted is None:
            return None
        binds = {"key": wanted}
        return self._read.one(await db.execute(self._find, binds))

    async def count(self, db: AsyncConnection, most: int) -> tuple[int, datetime | None]:
        """How many items there are, up to `most`, and the time of the oldest of these."""
        row = (await db.execute(self._count, {"most": most})).one()
        return row[0], row[1]
