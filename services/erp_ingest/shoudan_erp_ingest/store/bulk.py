"""One statement for any number of rows of one table, its columns made from a documented model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_erp_ingest.tables.fields import Kind, clear_specs, personal_specs
from shoudan_kit.db.text_statements import statement
from shoudan_kit.secrets.sealing import KeyRing

# What is bound, and what it becomes: decimals travel as text, which is exact and quick to make.
_TYPES = {
    Kind.TEXT: "text",
    Kind.CODE: "text",
    Kind.AMOUNT_TEXT: "text",
    Kind.MONEY: "bigint",
    Kind.QUANTITY: "text",
    Kind.WHOLE: "bigint",
    Kind.TIME: "timestamptz",
}
EXTRA = "extra"  # name of the undocumented keys among the sealed values


class Bulk:
    """Inserts rows given as tuples: our own columns first, then the model's, then `sealed`."""

    def __init__(
        self,
        table: str,
        model: type[Any],
        own: Mapping[str, str],
        *,
        stamped: Sequence[str] = (),
        conflict: str = "",
        kept: Sequence[str] = (),
    ) -> None:
        """`stamped` columns get the time; `conflict` makes it an upsert that leaves `kept`."""
        self.table = table
        clear = clear_specs(model)
        types = {**own, **{s.attribute: _TYPES[s.wire.kind] for s in clear}, "sealed": "bytea"}
        self.names = tuple(types)
        exact = {s.attribute for s in clear if s.wire.kind is Kind.QUANTITY}
        taken = [f"CAST({n} AS numeric)" if n in exact else n for n in types]
        arrays = ", ".join(f"CAST(:{n} AS {kind}[])" for n, kind in types.items())
        columns = [*types, *stamped]
        update = ", ".join(f"{n} = excluded.{n}" for n in columns if n not in kept)
        self._insert = statement(
            f"INSERT INTO {table} ({', '.join(columns)})"
            f" SELECT {', '.join([*taken, *['shoudan_now()'] * len(stamped)])}"
            f" FROM unnest({arrays}) AS given({', '.join(types)})"
            + (f" ON CONFLICT ({conflict}) DO UPDATE SET {update}" if conflict else "")
        )
        self._clear = attrgetter(*(s.attribute for s in clear)) if clear else None
        self._one = len(clear) == 1
        self._hidden = tuple(s.attribute for s in personal_specs(model))

    def values(self, row: Any, sealed: bytes | None) -> tuple[Any, ...]:
        """The model's part of a row."""
        if self._clear is None:
            return (sealed,)
        clear = self._clear(row)
        return (clear, sealed) if self._one else (*clear, sealed)

    def hidden(self, row: Any) -> dict[str, str]:
        """What of a row must be sealed."""
        made = {n: v for n in self._hidden if (v := getattr(row, n)) is not None}
        if row.extra:
            made[EXTRA] = row.extra
        return made

    def sealed(self, ring: KeyRing, key: str, row: Any) -> bytes | None:
        """The personal data of a row, encrypted for the place it goes to."""
        return ring.seal_fields(self.table, key, self.hidden(row))

    async def insert(self, db: AsyncConnection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write all rows; none is fine, too."""
        if rows:
            arrays = map(list, zip(*rows, strict=True))
            await db.execute(self._insert, dict(zip(self.names, arrays, strict=True)))
