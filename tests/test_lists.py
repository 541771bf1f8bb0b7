"""Lists: a page reads a bounded part of a table whatever it filters by, and says where to go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Select, text
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from shoudan_delivery.store import suppliers as deliveries
from shoudan_erp_ingest.store import finding
from shoudan_erp_ingest.tables.schema import REFUND, TRADE
from shoudan_kit.db import pages
from shoudan_kit.db.pool import PLANS, Database
from shoudan_kit.ids import first_of
from shoudan_order.store import views
from shoudan_pay.payserver.store import lists
from shoudan_pay.payserver.store.lists import Collection, Condition, Operator, Ordering, Wanted
from tests.test_plans import nodes, one_sided

NOW = datetime(2026, 11, 29, tzinfo=UTC)
ORDERS = views.OrderFilter("", (), None, None, parked=False, before_id=2**62, most=10)


def order_lists() -> Iterator[tuple[str, Select[Any]]]:
    asked = {
        "all": ORDERS,
        "of a channel": replace(ORDERS, channel_no="c"),
        "open": replace(ORDERS, statuses=(10, 20)),
        "failed": replace(ORDERS, statuses=(90,)),
        "parked": replace(ORDERS, parked=True),
        "of an account": replace(ORDERS, account="~1~a"),
        "of a day": replace(ORDERS, start=NOW, end=NOW + timedelta(days=1)),
    }
    for name, one in asked.items():
        yield name, views.orders_query(one, 2**62, first_of(NOW))


def erp_lists() -> Iterator[tuple[str, Select[Any]]]:
    place, edge = (NOW, 2**40), (NOW - timedelta(days=1), 1)
    for kind in (TRADE, REFUND):
        for wanted in (
            finding.Filter(),
            finding.Filter(status="5"),
            finding.Filter(shop="s"),
            finding.Filter(sender="s"),
        ):
            query = finding.page_query(kind, wanted, place, edge, most=10, newest_first=True)
            yield f"{kind} by {wanted}", query
        numbered = finding.Filter(tid="t", phone_mac=b"m")
        query = finding.page_query(kind, numbered, None, None, most=10, newest_first=True)
        yield f"{kind} by its numbers", query


def pay_lists() -> Iterator[tuple[str, Select[Any]]]:
    for collection, listed in lists.LISTS.items():
        for merchant in ("", "m"):
            wanted = Wanted(collection, merchant_uuid=merchant)
            yield f"{collection} of {merchant or 'all'}: edge", lists.edge_query(wanted)
        numbers = [n for n, column in listed.names.items() if column in listed.found_by]
        for number in numbers:
            by = Condition(number, Operator.IN, ("7",))
            yield f"{collection} by {number}", lists.page_query(Wanted(collection, conditions=[by]))


LISTS = {"order": order_lists, "erp_ingest": erp_lists, "pay": pay_lists}


@pytest.mark.parametrize("service", sorted(LISTS))
async def test_a_list_goes_along_an_index_and_between_two_ends(database: Any, service: str) -> None:
    db = await asyncpg.connect((await database(service)).owner.replace("+asyncpg", ""))
    dialect = PGDialect_asyncpg()
    wrong: list[str] = []
    try:
        await db.execute(PLANS)
        for name, query in LISTS[service]():
            sql = query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}).string
            plan = "\n".join(row[0] for row in await db.fetch(f"EXPLAIN {sql}"))
            found = await db.fetchval(f"EXPLAIN (FORMAT JSON) {sql}")
            wrong += [f"{name}: {one}\n{plan}" for one in unbounded(found, edge="edge" in name)]
    finally:
        await db.close()
    assert not wrong, "\n".join(wrong)


def unbounded(told: str, *, edge: bool) -> Iterator[str]:
    """What reads a table from end to end; an edge is counted along an index, from one end."""
    import json

    for node in nodes(json.loads(told)[0]["Plan"]):
        kind, condition = node["Node Type"], node.get("Index Cond")
        if kind == "Seq Scan":
            yield f"reads {node['Relation Name']} whole"
        elif (
            edge or "Index" not in kind or node.get("Index Name", "").endswith(("_parked", "_open"))
        ):
            continue
        elif condition is None or one_sided(condition):
            yield f"goes along {node['Index Name']} with {condition}"


async def test_a_page_of_few_among_many_is_short_and_says_where_to_go_on(database: Any) -> None:
    connected = Database((await database("delivery")).service)
    first = first_of(NOW)
    many = pages.WALK_MAX + 500
    try:
        async with connected.begin() as db:
            await db.execute(
                text("""
INSERT INTO vds_order_info (order_no, coop_id, coop_order_id, order_id, channel_no, service_class,
    carrier_no, product_face_micros, product_num, account, status, request_params, request_count,
    create_time, request_start_time, request_finish_time, result_source, result_code, result_desc,
    result_params, up_order_no, succ_face_micros, last_update_time, flow_timeout, conflict)
SELECT :first + n, 'c', n, n, 'u', 10, 'ZSH', 1000000, 1, '138', CASE WHEN n IN (1, 2) THEN 90 ELSE 0 END,
    '', 1, shoudan_now(), shoudan_now(), shoudan_now(), 1, '', '', '',
    CASE WHEN n = 3 THEN 'UP3' ELSE '' END, CASE WHEN n IN (1, 2) THEN 0 ELSE 1000000 END,
    shoudan_now(), shoudan_now(), n = 4
FROM generate_series(CAST(1 AS bigint), :many) AS n"""),
                {"first": first, "many": many},
            )
        async with connected.connect() as db:
            failed = deliveries.DeliveryFilter(statuses=[90])
            none, token = await deliveries.list_deliveries(db, failed, before=2**62, most=10)
            assert (none, int(token)) == ([], first + many - pages.WALK_MAX + 1)
            found, end = await deliveries.list_deliveries(db, failed, before=int(token), most=10)
            assert (found, end) == ([first + 2, first + 1], "")
            one, token = await deliveries.list_deliveries(db, failed, before=int(token), most=1)
            assert (one, token) == ([first + 2], str(first + 2))
            up = deliveries.DeliveryFilter(up_order_no="UP3")
            by_number = await deliveries.list_deliveries(db, up, before=2**62, most=10)
            assert by_number == ([first + 3], "")
            told = deliveries.DeliveryFilter(conflict=True)
            assert await deliveries.list_deliveries(db, told, before=2**62, most=10) == (
                [first + 4],
                "",
            )
            since = deliveries.DeliveryFilter(since=first + many)
            assert await deliveries.list_deliveries(db, since, before=2**62, most=10) == (
                [first + many],
                "",
            )
    finally:
        await connected.dispose()


async def test_a_walk_ends_along_an_index_once_the_table_has_rows(database: Any) -> None:
    db = await asyncpg.connect((await database("order")).owner.replace("+asyncpg", ""))
    try:
        await db.execute(PLANS)
        await db.execute("CREATE TEMP TABLE walked (id bigint PRIMARY KEY, other text)")
        await db.execute("INSERT INTO walked SELECT n, 'x' FROM generate_series(1, 40000) n")
        await db.execute("ANALYZE walked")
        sql = str(pages.edge("walked", "id")).replace(":before", "40001").replace(":since", "0")
        assert await db.fetchval(sql) == 40_001 - pages.WALK_MAX
        plan = "\n".join(row[0] for row in await db.fetch(f"EXPLAIN {sql}"))
    finally:
        await db.close()
    assert "Index Only Scan Backward" in plan
    assert "Sort" not in plan


MERCHANT = "m" * 22
INSERT_TRADES = text("""
INSERT INTO trade_record (uuid, traction_no, trade_type, amount_micros, status, result_code,
    merchant_uuid, mode_uuid, pay_uuid, refund_uuid, create_time)
SELECT 'u' || n, 't' || n, 'pay', 10000, CASE WHEN n = 1 THEN 'payFailed' ELSE 'payed' END, '',
    :merchant, 'mode', 'pay' || n, '', shoudan_now() - interval '1 hour' + n * interval '1 second'
FROM generate_series(1, 60) AS n""")


async def test_a_page_by_number_is_never_silently_incomplete(database: Any) -> None:
    connected = Database((await database("pay")).service)
    listed = Wanted(Collection.TRADES, merchant_uuid=MERCHANT, rows_max=50)
    failed = replace(listed, conditions=[Condition("status", Operator.IN, ("payFailed",))])
    try:
        async with connected.begin() as db:
            await db.execute(INSERT_TRADES, {"merchant": MERCHANT})
        async with connected.connect() as db:
            rows, size = await lists.page(db, listed)
            assert ([row.traction_no for row in rows[:2]], size) == (["t60", "t59"], 50)
            oldest = replace(listed, orderings=[Ordering("createdAt", descending=False)])
            rows, size = await lists.page(db, oldest)
            assert ([row.traction_no for row in rows[:2]], size) == (["t1", "t2"], 50)
            with pytest.raises(lists.PageTooFar):
                await lists.page(db, failed)
            with pytest.raises(lists.PageTooFar):
                await lists.page(db, replace(listed, offset=50))
            of_pay = Condition("payOrderUUID", Operator.IN, ("pay1",))
            rows, size = await lists.page(db, replace(listed, conditions=[of_pay]))
            assert ([row.traction_no for row in rows], size) == (["t1"], 1)
        listed, failed = replace(listed, rows_max=100), replace(failed, rows_max=100)
        async with connected.connect() as db:
            rows, size = await lists.page(db, failed)
            assert ([row.traction_no for row in rows], size) == (["t1"], 1)
            assert (await lists.page(db, replace(listed, offset=55)))[1] == 60
    finally:
        await connected.dispose()


GROWING = {
    "order": ("event", "oms_notify_attempt", "oms_operation"),
    "pay": (
        "account_record",
        "dingdang_notice_attempt",
        "event",
        "package_record",
        "trade_record",
    ),
    "delivery": ("event", "vds_order_exp"),
    "erp_ingest": ("audit", "event", "history"),
    "identity": ("event", "operator_audit"),
    "finance": (
        *("account_fact", "bill_piece", "entry", "event", "exception_note", "movement"),
        *("trade", "trade_money"),
    ),
}


@pytest.mark.parametrize("service", sorted(GROWING))
async def test_tables_that_only_grow_are_vacuumed_as_they_grow(database: Any, service: str) -> None:
    db = await asyncpg.connect((await database(service)).owner.replace("+asyncpg", ""))
    try:
        found = await db.fetch(
            "SELECT coalesce(whole.relname, part.relname) FROM pg_class part"
            " LEFT JOIN pg_inherits i ON i.inhrelid = part.oid"
            " LEFT JOIN pg_class whole ON whole.oid = i.inhparent"
            " WHERE part.relkind = 'r' AND coalesce(whole.relname, part.relname) = ANY($1)"
            " GROUP BY 1 HAVING bool_and(EXISTS (SELECT 1 FROM unnest(part.reloptions) one"
            " WHERE one LIKE 'autovacuum_vacuum_insert_scale_factor=%')) ORDER BY 1",
            list(GROWING[service]),
        )
    finally:
        await db.close()
    assert [row[0] for row in found] == sorted(GROWING[service])
