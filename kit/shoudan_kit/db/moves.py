"""Lifecycles kept by the database: a row never goes back to a state it has left for good.

The trigger of a table is made from the lifecycles declared beside it, by every `shoudan migrate`, as the
grants are: it can never differ from the tables of moves the services run on. It fires after an update that
names a status and its condition is evaluated without a call, so that a move that is right costs a comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Table, text

from shoudan_kit.db.columns import literal

Moves = Mapping[tuple[Any, Any], Any]

# Raised as a CHECK would be, so that callers tell it from trouble of the database.
FUNCTION: Final = """CREATE OR REPLACE FUNCTION shoudan_refuse_move() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'new row for relation "%" violates lifecycle "%"', TG_TABLE_NAME, TG_NAME
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
    END $$"""

# Changed only when the declaration has: a trigger is made under a lock that stops writers.
_KNOWN: Final = text("""
    SELECT obj_description(oid, 'pg_trigger') FROM pg_trigger
    WHERE tgrelid = CAST(:table AS regclass) AND tgname = :name
""")


def lifecycles(**columns: Moves) -> dict[str, Any]:
    """`Table(…, info=rights(…) | lifecycles(order_status=ORDER.moves))`: moves as `(from, event): to`."""
    return {"lifecycles": columns}


def lifecycles_of(table: Table) -> Mapping[str, Moves]:
    """What was declared beside the table, by column."""
    return table.info.get("lifecycles", {})


def lay(connection: Connection, table: Table) -> None:
    """Make or replace the table's trigger. Several steps may be one update: what is refused is what no
    path of moves leads to."""
    columns = lifecycles_of(table)
    if not columns:
        return
    name = f"{table.name}_lifecycle"
    rule = " OR ".join(f"({_broken(column, moves)})" for column, moves in columns.items())
    if connection.execute(_KNOWN, {"table": table.name, "name": name}).scalar() == rule:
        return
    connection.execute(text(FUNCTION))
    quote = connection.dialect.identifier_preparer.quote
    made = f"{quote(name)} AFTER UPDATE OF {', '.join(columns)} ON {quote(table.name)}"
    connection.execute(
        text(
            f"CREATE OR REPLACE TRIGGER {made} FOR EACH ROW WHEN ({rule})"
            " EXECUTE FUNCTION shoudan_refuse_move()"
        )
    )
    literal = rule.replace("'", "''")
    connection.execute(
        text(f"COMMENT ON TRIGGER {quote(name)} ON {quote(table.name)} IS '{literal}'")
    )


def _broken(column: str, moves: Moves) -> str:
    """Whether a row moved to where no path leads."""
    ways = " ".join(
        f"WHEN {literal(state)} THEN NEW.{column} NOT IN ({', '.join(map(literal, later))})"
        for state, later in sorted(_reached(moves).items())
    )
    return f"OLD.{column} <> NEW.{column} AND CASE OLD.{column} {ways} ELSE true END"


def _reached(moves: Moves) -> dict[Any, list[Any]]:
    """From each state, every state that some path leads to."""
    after: dict[Any, set[Any]] = {}
    for (state, _), later in moves.items():
        after.setdefault(state, set()).add(later)
    # Each round adds a step to every path, so there are at most as many rounds as states.
    for _ in range(len(after)):
        for reached in after.values():
            reached |= {far for near in tuple(reached) for far in after.get(near, ())}
    return {state: sorted(reached) for state, reached in after.items()}
