"""What a service's role may do to its database: tried, statement by statement, as each role."""

from __future__ import annotations

import importlib
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import pytest

from shoudan_erp_ingest.store.bulk import Bulk
from shoudan_kit.audit_log.tables import KEPT as AUDIT_LOG
from shoudan_kit.db.foundation import rights_of
from shoudan_kit.db.migrate import upgrade
from shoudan_kit.embedded import DatabaseUrls, Postgres
from shoudan_order.catalogue.admin import TYPES, of_columns, to_columns
from shoudan_order.store.catalogue import KINDS
from tests.test_plans import generic_plan, statements

SERVICES = ("order", "pay", "delivery", "erp_ingest", "identity", "finance", "console")
PLACE = "SELECT column_name FROM information_schema.columns WHERE table_name = $1 ORDER BY 1"

every_service = pytest.mark.parametrize("service", SERVICES)


async def connected(url: str) -> asyncpg.Connection[Any]:
    return await asyncpg.connect(url.replace("+asyncpg", ""))


def declared(service: str) -> Any:
    return importlib.import_module(f"shoudan_{service}.app").SERVICE.schema


async def refused(url: str, *statements: str) -> list[str]:
    """The statements the role of `url` was not refused for want of a right."""
    db = await connected(url)
    let_through: list[str] = []
    try:
        for sql in statements:
            try:
                await db.execute(f"BEGIN; {sql}")
                let_through.append(sql)
            except asyncpg.InsufficientPrivilegeError:
                pass
            finally:
                await db.execute("ROLLBACK")
    finally:
        await db.close()
    return let_through


@every_service
async def test_a_service_may_not_change_or_delete_what_is_kept(
    database: Callable[[str], Awaitable[DatabaseUrls]], service: str
) -> None:
    urls, schema = await database(service), declared(service)
    owner = await connected(urls.owner)
    shared = ("event", *AUDIT_LOG) if "event" in schema.metadata.tables else ()
    kept = (*shared, "alembic_version", *schema.append_only)
    tried = [f"DELETE FROM {name}" for name in kept] + [f"TRUNCATE {name}" for name in kept]
    for name in kept:
        tried += [
            f"UPDATE {name} SET {row[0]} = {row[0]}" for row in await owner.fetch(PLACE, name)
        ]
    await owner.close()
    assert await refused(urls.service, *tried) == []


@every_service
async def test_a_service_deletes_only_from_tables_that_say_so(
    database: Callable[[str], Awaitable[DatabaseUrls]], service: str
) -> None:
    urls, schema = await database(service), declared(service)
    deletable = {name for name, one in schema.metadata.tables.items() if rights_of(one).delete}
    others = sorted(set(schema.metadata.tables) - deletable)
    assert await refused(urls.service, *(f"DELETE FROM {name}" for name in others)) == []


async def test_a_service_changes_no_column_that_is_not_declared(
    database: Callable[[str], Awaitable[DatabaseUrls]],
) -> None:
    urls = await database("pay")
    tried = (
        "DELETE FROM account_info",
        "UPDATE account_info SET account_id = account_id",
        "UPDATE account_info SET contra_account_id = NULL",
        "UPDATE account_info SET limited = false",
        "UPDATE account_info SET ident = ident",
        "UPDATE package_info SET account_id = account_id",
        "UPDATE pay_order SET amount_micros = 1",
        "UPDATE pay_order SET merchant_uuid = ''",
        "UPDATE refund_order SET amount_micros = 1",
        "UPDATE refund_order SET pay_id = 1",
        "UPDATE outbox SET event_ids = '{}'",
        "UPDATE task SET msg_content = ''",
        "UPDATE task_pause SET reason = ''",
        "UPDATE dingdang_trade SET total_fen = 1",
        "UPDATE ums_refund SET refund_fen = 1",
        "ALTER TABLE account_record DROP CONSTRAINT account_record_limit",
        "CREATE TABLE mine (id int)",
    )
    assert await refused(urls.service, *tried) == []


@every_service
async def test_every_statement_of_a_service_has_the_rights_it_needs(
    database: Callable[[str], Awaitable[DatabaseUrls]], service: str
) -> None:
    db = await connected((await database(service)).service)
    count = 0
    try:
        await db.execute("SET plan_cache_mode = force_generic_plan")
        for name, statement in statements(service):
            try:
                count += await generic_plan(db, statement) is not None
            except asyncpg.InsufficientPrivilegeError as error:
                raise AssertionError(f"{name}: {error}") from error
    finally:
        await db.close()
    assert count >= (10 if service == "console" else 20)


WRITE = re.compile(
    r"\bUPDATE\s+(?P<table>\w+)(?:\s+(?:AS\s+)?\w+)?\s+SET\s+|\bINSERT\s+INTO\s+(?P<into>\w+)"
    r"|\bDO\s+UPDATE\s+SET\s+"
)
CLAUSE = re.compile(r"\b(?:FROM|WHERE|RETURNING)\b")
SET = re.compile(r"\s*\(?([\w\s,]+)\)?\s*$")


def flat(sql: str) -> str:
    """The words up to the end of this level of brackets, deeper ones after a `=` left out."""
    depth, made = 0, ""
    for at, char in enumerate(sql):
        names = char == "(" and depth == 0 and made.rstrip()[-1:] in {"", ","}
        if names:
            end = sql.index(")", at)
            made += sql[at : end + 1].replace(",", " ")
        depth += (char == "(") - (char == ")")
        if depth < 0:
            break
        if depth == 0 and char != ")":
            made += char
    return made


def written(sql: str) -> Iterator[tuple[str, str]]:
    """The columns a statement changes of rows that are there: (table, column)."""
    into = ""
    for found in WRITE.finditer(sql):
        if found["into"]:
            into = found["into"]
            continue
        for part in CLAUSE.split(flat(sql[found.end() :]))[0].split(","):
            if names := SET.fullmatch(part.partition("=")[0]):
                for name in names[1].split():
                    yield found["table"] or into, name


def held(service: str) -> Iterator[str]:
    """The statements of a service and those its makers of statements hold."""
    for _, one in statements(service):
        yield str(one)
    if service == "erp_ingest":
        from shoudan_erp_ingest.store import pushes, refunds, trades

        for module in (pushes, refunds, trades):
            yield from (str(one._insert) for one in vars(module).values() if isinstance(one, Bulk))


def changed(service: str) -> dict[str, set[str]]:
    """By table, what the code of a service changes; what it builds as it runs is asked of its builders."""
    made: dict[str, set[str]] = defaultdict(set)
    for sql in held(service):
        for table, column in written(sql):
            made[table].add(column)
    place = getattr(importlib.import_module(f"shoudan_{service}.tables"), "ACCOUNTS", None)
    if place is not None:
        made[place.table] |= {place.column, place.hashed} - {""}
    if service == "order":
        for kind, table in KINDS.items():
            row: dict[str, Any] = defaultdict(str)
            made[table] |= set(to_columns(of_columns(kind, row))) - {TYPES[kind][1]}
    return made


def test_the_columns_a_statement_changes_are_found() -> None:
    sql = """WITH a AS (UPDATE t x SET b = CASE WHEN (c, d) = (1, 2) THEN e END, f = g(h, i)
        FROM y WHERE z = 1 RETURNING k) INSERT INTO u (l, m) VALUES (1, 2)
        ON CONFLICT (l) DO UPDATE SET (m, n) = ROW(1, 2), o = excluded.o RETURNING p"""
    assert list(written(sql)) == [("t", "b"), ("t", "f"), ("u", "m"), ("u", "n"), ("u", "o")]


@every_service
def test_a_service_may_change_exactly_the_columns_its_statements_change(service: str) -> None:
    schema = declared(service)
    said = {
        name: set(rights_of(one).update) if name not in schema.append_only else set[str]()
        for name, one in schema.metadata.tables.items()
    }
    does = changed(service)
    assert {name: may ^ does[name] for name, may in said.items() if may != does[name]} == {}


async def test_reports_read_every_table_and_write_none(
    postgres: Postgres, database: Callable[[str], Awaitable[DatabaseUrls]]
) -> None:
    urls = await database("pay")
    name = urls.owner.partition("@/")[2].partition("?")[0]
    url = postgres.url(name, "shoudan_reader")
    tables = declared("pay").metadata.tables
    db = await connected(url)
    try:
        assert await db.fetchval("SHOW default_transaction_read_only") == "on"
        for table in tables:
            await db.execute(f"SELECT * FROM {table} LIMIT 1")
    finally:
        await db.close()
    writes = [f"SET TRANSACTION READ WRITE; DELETE FROM {table}" for table in tables]
    assert await refused(url, *writes) == []


async def test_nobody_connects_to_the_database_of_another_service(
    postgres: Postgres, database: Callable[[str], Awaitable[DatabaseUrls]]
) -> None:
    pay = await database("pay")
    await database("order")
    name = pay.owner.partition("@/")[2].partition("?")[0]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connected(postgres.url(name, "shoudan_order"))


async def test_a_session_turns_the_clock_only_outside_of_prod(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
) -> None:
    urls = await new_database("pay")
    shifted = "SELECT shoudan_now() > now() + interval '1 hour'"
    for turnable in (True, False):
        await upgrade("pay", declared("pay"), urls.owner, "shoudan_pay", turnable=turnable)
        db = await connected(urls.service)
        await db.execute("SET shoudan.clock_shift = '1 day'")
        assert await db.fetchval(shifted) is turnable
        await db.close()
