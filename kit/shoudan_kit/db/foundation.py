"""What every schema stands on: names, the rights declared beside a table, what Alembic does not compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import MetaData, Table

NAMES: Final = {
    "ix": "%(table_name)s_%(column_0_N_name)s",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}

# Rows are only added: without these a vacuum, which lets an index alone answer, comes when a fifth is new.
GROWING: Final = {
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
}
FIRST: Final = "first"  # the part that was the table before it had parts
REST: Final = "rest"  # the part for what fits no other


@dataclass(frozen=True, slots=True)
class Rights:
    """What a service's role may do to rows that are there: which columns it changes, whether it deletes.

    Reading it always may, adding unless it is said; rows of a table that declares nothing stay as they are.
    """

    update: tuple[str, ...] = ()
    delete: bool = False
    insert: bool = True


def rights(
    *, update: tuple[str, ...] = (), delete: bool = False, insert: bool = True
) -> dict[str, Any]:
    """`Table(…, info=rights(update=("status",)))`: `shoudan migrate` grants this and no more."""
    return {"rights": Rights(update, delete, insert)}


def rights_of(table: Table) -> Rights:
    """What was declared beside the table."""
    return table.info.get("rights", Rights())


def copied_as(name: str) -> dict[str, Any]:
    """`Table(…, info=copied_as("beanpay_account_info"))`: the documented name, for copies elsewhere."""
    return {"copied_as": name}


def copied_name(table: Table) -> str:
    """The name of a table in a copy on another kind of database."""
    return table.info.get("copied_as", table.name)


def by_month(key: str) -> dict[str, Any]:
    """`Table(…, **by_month("event_id"))`: a part for each month, by its primary key, a number of `ids`.

    Only for tables without a unique key beside it, that nothing refers to. The parts are stored as GROWING
    says, because a partitioned table stores nothing itself.
    """
    return {"postgresql_partition_by": f"RANGE ({key})"}


def partition_key(table: Table) -> str:
    """The column its parts are ranges of; empty without parts."""
    declared: str = table.dialect_options["postgresql"].get("partition_by") or ""
    return declared.removeprefix("RANGE (").removesuffix(")")


def partitioned(made: MetaData) -> list[Table]:
    """The tables declared `by_month`."""
    return [one for one in made.tables.values() if partition_key(one)]


def stored_as() -> str:
    """How a part is stored, in the words of WITH."""
    return ", ".join(f"{name} = {value}" for name, value in GROWING.items())


def rest_part(table: Table) -> str:
    """The statement that makes the part for what fits no other; alone, it makes the table usable."""
    return (
        f"CREATE TABLE {table.name}_{REST} PARTITION OF {table.name} DEFAULT WITH ({stored_as()})"
    )


# Filled before any process works: they say nothing of whether a service was in use.
FOUNDATION_TABLES: Final = frozenset({"id_node"})
# What Alembic does not compare; made before the revisions run, each statement repeatable.
FOUNDATION: Final = (
    # STABLE and a single SELECT, so that the planner inlines it and due indexes are used.
    """CREATE OR REPLACE FUNCTION shoudan_now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
       SELECT now()
       $$""",
    "CREATE SEQUENCE IF NOT EXISTS kit_node_seq MINVALUE 0 MAXVALUE 1023 START 0 CYCLE",
    # Made again by TURNABLE_CLOCK, outside of prod alone.
    "DROP FUNCTION IF EXISTS shoudan_advance_clock(bigint)",
    "DROP FUNCTION IF EXISTS shoudan_clock_shift()",
)
# Outside of prod alone: any session could set the shift, and leases and overtimes would follow it.
# How far it was advanced is kept in a sequence, which needs no revision; sessions get it when they are
# opened, because a function that reads a table is not inlined, and every due time is compared with this one.
TURNABLE_CLOCK: Final = (
    """CREATE OR REPLACE FUNCTION shoudan_now() RETURNS timestamptz
    LANGUAGE sql STABLE AS $$
    SELECT now() + coalesce(nullif(current_setting('shoudan.clock_shift', true), ''), '0 s')::interval
    $$""",
    "CREATE SEQUENCE IF NOT EXISTS kit_clock_shift_seq MINVALUE 0 START 0",
    """CREATE FUNCTION shoudan_clock_shift() RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT last_value FROM kit_clock_shift_seq
    $$""",
    # Forward only: what was written at a later time would lie in the future.
    """CREATE FUNCTION shoudan_advance_clock(to_s bigint) RETURNS bigint
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT CASE WHEN to_s > last_value THEN setval('kit_clock_shift_seq', to_s) ELSE last_value END
    FROM kit_clock_shift_seq
    $$""",
)
