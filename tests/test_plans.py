"""Plans: no statement compares every row of a batch with every other, or reads a table from end to end.

Connections plan without hash and merge joins (kit/db/pool.py), so that a plan made on an empty table stays
right. What that leaves is a loop: right over an index, quadratic over anything else.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

import asyncpg
import msgspec
import pytest
from sqlalchemy import TextClause, text
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from shoudan_kit.db.columns import names_of
from shoudan_kit.db.pool import PLANS, Database
from tests import plans_of_finance
from tests.filled import fill

SERVICES = ("order", "pay", "delivery", "erp_ingest", "identity", "finance", "console")
# Reading one of these finds a row at once, or gives one row at most.
SHORT = ("Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Result", "Aggregate")
# Statements whose inner side is a handful of rows whatever the batch: why, in a word.
SMALL = {
    "shoudan_pay.ledger.store.accounts._CREATE": "platform accounts are one per group",
    "shoudan_pay.ledger.store.accounts._CREATE_PLATFORMS": "platform accounts are one per group",
    "shoudan_pay.ledger.store.records._BOUNDS": "a step of a halving is one row",
    "shoudan_pay.ledger.store.records._BALANCE_AT": "a step of a halving is one row",
    "shoudan_pay.ledger.store.days._RANGES": "a step of a halving is one row",
    "shoudan_pay.ledger.store.days._OPENING": "a step of a halving is one row",
    "shoudan_kit.db.shard_copy._READY": "subscriptions of a server are few, those of one name one",
    "shoudan_kit.db.node_lease._CLAIM": "at most 64 numbers, once per start of a process",
}

# Statements that read a table or an index whole, and why that is right.
WHOLE = {
    "shoudan_pay.ledger.archived_files._EDGES": "the proof of all that has left",
    "shoudan_order.store.routes._LAST": "the newest one, from the end of the index",
    "shoudan_order.store.risk._LIST": "rules that people write, at most a hundred",
    "shoudan_order.store.holds._COUNT": "holds that people set, at most a thousand",
    "shoudan_order.store.risk._ANY": "its first row, if there is one",
    "shoudan_pay.ledger.store.records._BY_KEY": "whether anything has left: a first row, once a batch",
    "shoudan_kit.credentials.store._VERSION": "the newest one, from the end of the index",
    "shoudan_kit.credentials.store._LIVE_ONES": "an index of what is live, all of which is wanted",
    "shoudan_kit.credentials.store._EXPIRE": "an index of what is live, when one of it has ended",
    "shoudan_kit.events.refill._NEWEST": "the newest of a bounded number of rows, from the end of the key",
    "shoudan_kit.events.refill._OLDEST_UNPUBLISHED": "an index of what is not published yet, its first row",
    "shoudan_delivery.store.stock._LEVELS": "a step of an index for each kind of goods; counts up to a bound",
    "shoudan_delivery.store.stock._STATES": "two steps of an index for each kind of goods",
    "shoudan_delivery.store.unmapped._LIST": "at most two hundred of a channel, all of them wanted",
    "shoudan_delivery.store.suppliers._CODES": "all channels are wanted",
    "shoudan_delivery.store.suppliers._LIST": "all channels are wanted",
    "shoudan_delivery.store.suppliers._VERSION": "all channels are wanted",
    "shoudan_kit.db.migrate._PART_NAMES": "the catalogue's tables, once per comparison",
    "shoudan_kit.db.migrate._INVALID": "the catalogue's indexes, once per migration",
    "shoudan_kit.db.revisions.CURRENT": "its only row",
    "shoudan_kit.db.shard_grow._WORKING": "at most 64 rows, while a person gives a service its map",
    "shoudan_kit.db.shard_copy._PARTS": "the catalogue's tables, once per copy of a shard",
    "shoudan_kit.db.shard_copy._SEQUENCES": "the catalogue's sequences, once per move of a shard",
    "shoudan_kit.db.shard_copy._READY": "the catalogue's subscriptions, while a person moves a shard",
    "shoudan_kit.db.partitions._PARTS": "the catalogue's tables, a look in ten minutes",
    "shoudan_kit.proposals.store._COUNT": "an index of what waits for a person, up to a bound",
    "shoudan_kit.proposals.store._LEFT": "an index of what waits for a person",
    "shoudan_kit.tasks.operations._PAUSED": "paused queues are few",
    "shoudan_kit.tasks.operations._PAUSES": "paused queues are few",
    "shoudan_kit.tasks.store._GAUGES": "the first rows of an index, up to a bound; one of each paused queue",
    "shoudan_kit.tasks.store._PAUSED": "paused queues are few",
    "shoudan_kit.tasks.store._OLDEST_UNPUBLISHED": "an index of what is not published yet, its first row",
    "shoudan_kit.tasks.store._CLAIM_UNPUBLISHED": "an index of what is not published yet",
    **plans_of_finance.WHOLE,
    "shoudan_kit.audit_log.sealing._LAST": "the newest one, from the end of the key",
    "shoudan_kit.audit_log.sealing._ROWS": "an index of the rows of the last seconds, up to a bound",
    "shoudan_kit.audit_log.sealing._OLDEST": "the oldest of the rows of the last seconds",
    "shoudan_kit.audit_log.verify._LAST": "the newest one, from the end of the key",
    "shoudan_kit.audit_log.verify._WAITING_GONE": "the rows of the last seconds",
    "shoudan_erp_ingest.store.pushes._COUNT_WAITING": "an index of what waits for a person, up to a bound",
    "shoudan_order.store.pauses._PARKED": "an index of what waits for a person",
    "shoudan_order.store.notifies._RESEND": "an index of what was given up",
    "shoudan_order.store.reports._SPAN": "its first and last row",
    **{
        f"shoudan_{one}": "an index of what waits for a person, up to a bound"
        for one in (
            "order.store.open_work.AUDITS.count",
            "order.store.open_work.ORDERS.count",
            "order.store.open_work.NOTIFIES.count",
            "order.store.supplier_prices._COUNT",
            "pay.payserver.store.open_work.PAYS._count",
            "pay.payserver.store.open_work.REFUNDS._count",
            "pay.chinaums.store.refunds.UNASKED._count",
            "pay.dingdang.store.notices.GIVEN_UP._count",
            "pay.dingdang.store.trades.PARKED._count",
        )
    },
    "shoudan_pay.payserver.store.modes._UNOPENED": "templates are few",
    "shoudan_pay.platforms.store.callers._APP_OF": "apps are few",
    "shoudan_pay.platforms.store.callers._FORGET_TOKENS": "ten tokens live per app",
    "shoudan_pay.dingdang.store.notices._NEWEST": "a page of the newest",
    "shoudan_pay.ledger.store.records._BALANCE_AT": "a person asks for one account",
    "shoudan_pay.ledger.store.accounts._CREATE": "the newest closed day, from the end of the key",
    "shoudan_pay.ledger.store.days._RANGES": "the oldest closed day, from the beginning of the key",
    "shoudan_pay.ledger.store.days._CLOSED": "the oldest and the newest one, from both ends of the key",
    "shoudan_pay.ledger.store.days._LAST": "the newest one, from the end of the key",
    "shoudan_pay.ledger.store.statements._LAST": "the newest one, from the end of the key",
    "shoudan_pay.ledger.store.records._TOTALS": "a proof adds all accounts up",
    "shoudan_identity.store.keys._PUBLISHED": "an index of the few keys that are published",
    "shoudan_identity.store.operators._RENAME_DOERS": "operators are few, and one is erased seldom",
    "shoudan_identity.store.operators._ANY": "its first row",
    "shoudan_identity.store.operators._LOCK_ADMINS": "operators are few, and one changes seldom",
}

# Statements that begin at a cursor and pass rows: why they pass only a few.
PASSED = {
    "shoudan_delivery.store.stock._HELD_LONG": "reserved is what deliveries under way hold",
    "shoudan_identity.store.operators._PAGE": "operators and accounts of partners are few",
    "shoudan_kit.credentials.store._LIST": "credentials are few: five live ones for each owner",
    "shoudan_kit.events.refill._AGAIN": "nearly all is published",
    "shoudan_kit.events.refill._LAST": "nearly all is published",
    "shoudan_kit.proposals.store._EXPIRE": "an index of what is open",
    "shoudan_kit.tasks.store._CLAIM": "what is due is what is to be run",
    "shoudan_kit.tasks.store._CLEAR": "all of the index is 0 or 90, as the condition says again",
    "shoudan_kit.tasks.store._FORGET_PUBLISHED": "nearly all is published",
    "shoudan_kit.tasks.store._GAUGES": "an index of what has ended and is kept",
    "shoudan_erp_ingest.store.pushes._QUARANTINED_AFTER": "an index of what is quarantined",
    "shoudan_order.store.open_work.AUDITS.page": "an index of what waits for a person",
    "shoudan_order.store.open_work.ORDERS.page": "an index of what is parked",
    "shoudan_order.store.catalogue._FORGET": "what the last change left over is deleted",
    "shoudan_order.store.catalogue._SINCE": "all that came since is wanted, up to a bound",
    "shoudan_order.store.endpoints._FORGET": "what is over is deleted",
    "shoudan_order.store.request_log._FORGET_DAYS": "what is over is deleted",
    "shoudan_order.store.nonces._FORGET": "what is over is deleted",
    "shoudan_order.store.routes._FORGET": "what is over is deleted",
    "shoudan_order.store.risk._FORGET": "what is over is deleted",
    "shoudan_pay.chinaums.store.refunds.UNASKED._page": "an index of what is open",
    "shoudan_pay.ledger.store.accounts._HEADS": "a proof reads every account",
    "shoudan_pay.ledger.store.days._FENCE": "a day is closed in every account",
    "shoudan_pay.platforms.store.callers._FORGET_NONCES": "what is over is deleted",
}
# What finds the end of a bounded walk: counted along an index, once the table is no longer nearly empty.
EDGE = re.compile(r"_EDGES?(\..*)?$")


def statements(service: str) -> Iterator[tuple[str, TextClause]]:
    """Every statement a module of a service or of the kit keeps, by its name."""
    own = f"shoudan_{service}"
    roots = (own, "shoudan_kit") if _has(service, "task") else (own,)
    for root in roots:
        package = importlib.import_module(root)
        for found in pkgutil.walk_packages(package.__path__, f"{root}."):
            if ".migrations" in found.name or ".embedded" in found.name:
                continue
            if ".proposals." in found.name and not _has(service, "proposal"):
                continue
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                yield from _statements_in(f"{found.name}.{name}", value)


def _has(service: str, table: str) -> bool:
    """Whether the service has a table that the kit has statements for: the console has no tasks, and only
    methods of two persons need proposals."""
    declared: Any = importlib.import_module(f"shoudan_{service}.app")
    return table in declared.SERVICE.schema.metadata.tables


def _statements_in(name: str, value: Any) -> Iterator[tuple[str, TextClause]]:
    """A statement, or those a mapping, a tuple, a record or an object of ours holds."""
    if isinstance(value, TextClause):
        yield name, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _statements_in(f"{name}.{key}", one)
    elif isinstance(value, tuple):
        for at, one in enumerate(value):
            yield from _statements_in(f"{name}.{at}", one)
    elif is_dataclass(type(value)) or isinstance(value, msgspec.Struct):
        for field in names_of(type(value)):
            yield from _statements_in(f"{name}.{field}", getattr(value, field, None))
    elif type(value).__module__.startswith("shoudan_") and hasattr(value, "__dict__"):
        own = {key: one for key, one in vars(value).items() if isinstance(one, TextClause)}
        yield from _statements_in(name, own)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan and everything below it."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def short(plan: dict[str, Any]) -> bool:
    """Whether one look at this costs the same whatever the batch."""
    kind = plan["Node Type"]
    if kind in SHORT:
        return True
    below = [one for one in plan.get("Plans", []) if one["Parent Relationship"] == "Outer"]
    if kind in {"Nested Loop", "Append", "Merge Append"}:  # parts are one a month
        return all(short(one) for one in plan["Plans"])
    if kind in {"Memoize", "LockRows", "Limit", "Subquery Scan", "Unique", "Sort"}:
        return all(short(one) for one in below)
    return False


def quadratic(plan: dict[str, Any]) -> list[str]:
    """The loops of a plan that go through all of something for each of something else."""
    found: list[str] = []
    for node in nodes(plan):
        if node["Node Type"] != "Nested Loop":
            continue
        outer, inner = node["Plans"][:2]
        if not short(inner) and not (
            short(outer) and outer["Node Type"] in {"Result", "Aggregate"}
        ):
            found.append(f"{outer['Node Type']} x {inner['Node Type']} {inner.get('Alias', '')}")
    return found


# The hot statements and the indexes that find their rows, whatever is in the tables.
HOT = {
    "shoudan_pay.ledger.store.accounts._LOCK": {"beanpay_account_info_eid"},
    "shoudan_pay.ledger.store.accounts.LOCK_TO_POST": {"beanpay_account_info_eid"},
    "shoudan_pay.ledger.store.accounts.LOCK_BY_ID": {"account_info_pkey"},
    "shoudan_pay.ledger.store.records._BY_KEY": {
        "account_record_key",
        "account_archived_record_pkey",
        "account_info_pkey",
        "account_archived_pkey",
    },
    "shoudan_pay.ledger.store.records._RETURNED": {
        "account_record_ext_no",
        "account_archived_record_ext_no",
    },
    "shoudan_pay.ledger.store.records._MOVE": {"account_info_pkey"},
    "shoudan_pay.ledger.store.records._OF_TRADES": {
        "account_record_key",
        "account_archived_record_pkey",
        "account_info_pkey",
    },
    "shoudan_order.store.orders._BY_KEYS": {
        "oms_order_info_down_channel_no_request_no_key",
        "oms_archived_order_pkey",
        "oms_order_info_pkey",
    },
    "shoudan_order.store.orders._INSERT": {"oms_archived_order_pkey"},
    "shoudan_order.store.orders._LOCK": {"oms_order_info_pkey"},
    "shoudan_order.store.orders._PAID": {"oms_order_info_pkey"},
    "shoudan_order.store.orders._UPDATE": {"oms_order_info_pkey"},
    "shoudan_order.store.audits._WAITING": {"oms_audit_info_waiting"},
    "shoudan_order.store.audits._LIST_OF_ORDER": {"oms_audit_info_order_id"},
    "shoudan_order.store.notifies._DEAD_OF_CHANNEL": {"oms_notify_info_dead_channel"},
    "shoudan_pay.ledger.store.packages._PAGE": {"package_record_of"},
    "shoudan_pay.dingdang.store.notices._NEWEST_OF": {"dingdang_notice_domain"},
    "shoudan_delivery.store.deliveries._BY_KEY": {
        "vds_order_info_coop_id_coop_order_id_service_class_key",
        "vds_order_query_pkey",
        "vds_archived_order_pkey",
        "vds_order_info_pkey",
    },
    "shoudan_delivery.store.deliveries._INSERT": {"vds_archived_order_pkey"},
    "shoudan_delivery.store.deliveries._CONFLICT": {
        "vds_archived_order_order_no",
        "vds_order_info_pkey",
    },
    **plans_of_finance.HOT,
    "shoudan_delivery.store.deliveries._BY_NO": {
        "vds_order_info_pkey",
        "vds_order_query_pkey",
        "vds_archived_order_order_no",
    },
    **{
        f"shoudan_delivery.store.deliveries.{name}": {"vds_order_info_pkey"}
        for name in (
            "_LOOK",
            "_MARK_SENDING",
            "_MARK_REPEATED",
            "_OVERDUE",
            "_END",
            "_NOTE_UNKNOWN",
            "_UNSEND",
            "_COUNT_QUERIES",
        )
    },
    "shoudan_delivery.store.cards._PAGE": {
        "vds_order_info_coop_id_coop_order_id_service_class_key",
        "vds_card_order_no",
    },
    "shoudan_delivery.store.cards._FIRST": {
        "vds_order_info_coop_id_coop_order_id_service_class_key",
        "vds_card_order_no",
    },
    "shoudan_delivery.store.cards._OF_DELIVERIES": {
        "vds_order_info_coop_id_coop_order_id_service_class_key",
        "vds_card_order_no",
    },
    "shoudan_delivery.store.cards._RESTORE": {"vds_card_return_no"},
    "shoudan_delivery.store.cards._LIST_OF_ORDER": {"vds_order_info_order_id", "vds_card_order_no"},
    "shoudan_delivery.store.stock._OPEN": {"vds_order_info_pkey", "vds_card_order_no"},
    "shoudan_delivery.store.stock._CLAIM_FREE": {"vds_card_stock"},
    "shoudan_delivery.store.stock._CLAIM_WAITING": {"vds_card_stock"},
    "shoudan_delivery.store.stock._RESERVE": {"vds_card_pkey"},
    "shoudan_delivery.store.stock._ISSUE": {"vds_card_order_no"},
    "shoudan_delivery.store.stock._RELEASE": {"vds_card_order_no"},
    "shoudan_delivery.store.cards._UNFIT": {"vds_card_digest_key"},
    "shoudan_delivery.store.cards._INSERT": {"vds_order_info_pkey"},
    "shoudan_delivery.store.suppliers._DELIVERIES_OF": {"vds_order_info_order_id"},
    "shoudan_delivery.store.suppliers._DELIVERIES_UP": {"vds_order_info_up_order_no"},
    "shoudan_delivery.store.suppliers._INCIDENTS_OF": {"vds_order_exp_coop_order_id"},
    "shoudan_erp_ingest.store.pushes._KNOWN": {"push_body"},
    "shoudan_erp_ingest.store.pushes._SETTLE": {"push_pkey"},
    "shoudan_erp_ingest.store.pushes._READ": {"push_pkey"},
    "shoudan_erp_ingest.store.pushes._INTACT": {"push_body"},
    "shoudan_erp_ingest.store.trades._LOCK": {"trade_natural"},
    "shoudan_erp_ingest.store.trades._GROUPS": {"trade_line_pkey"},
    "shoudan_erp_ingest.store.trades._KEEP": {"trade_pkey", "payment_pkey", "trade_line_pkey"},
    "shoudan_erp_ingest.store.trades._DROP_PAYMENTS": {"payment_pkey"},
    "shoudan_erp_ingest.store.refunds._LOCK": {"refund_natural"},
    "shoudan_erp_ingest.store.refunds._KEEP": {
        "refund_pkey",
        "refund_line_pkey",
        "swap_line_pkey",
    },
    "shoudan_erp_ingest.store.refunds._DROP_LINES": {"refund_line_pkey", "swap_line_pkey"},
    "shoudan_kit.tasks.store._WRITE": {"task_pkey"},
    "shoudan_kit.tasks.store._DEFER": {"task_pkey"},
    "shoudan_kit.tasks.store._EXTEND": {"task_pkey"},
    "shoudan_kit.tasks.store._CLAIM": {"task_due", "task_pkey"},
    "shoudan_kit.tasks.store._OLDEST_UNPUBLISHED": {"outbox_unpublished"},
    "shoudan_kit.tasks.store._CLAIM_UNPUBLISHED": {"outbox_unpublished", "outbox_pkey"},
    "shoudan_kit.tasks.store._EVENTS": {"event_pkey"},
}
ROWS = 5000
FEW = 7
SOME = 150  # an index of numbers still fits a page, one of texts does not: it costs a step more
# A plan may be made at any of these, and what the first statistics of a young system say holds for a minute.
# Not among them: a table believed to be empty, of which every plan costs the same (decision 0005).
STAGES = ("empty", "few", "few, analysed", "some", "full", "full, analysed")
CHECKS = """SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname)
    FROM pg_constraint WHERE contype IN ('c', 'f') AND conislocal AND connamespace = 'public'::regnamespace"""
# A part's index by that of its table: plans name the parts', which the calendar names.
PART_INDEXES = """SELECT part.relname, whole.relname FROM pg_inherits
    JOIN pg_class part ON part.oid = inhrelid JOIN pg_class whole ON whole.oid = inhparent
    WHERE whole.relkind = 'I'"""
# Without its ends a range holds no row, without its day a part none, and a plan shows no part.
RANGE = {"first": "0", "last": "9223372036854775807", "of_day": "1"}


async def generic_plan(db: asyncpg.Connection[Any], statement: TextClause) -> dict[str, Any] | None:
    """The plan kept for a statement, whatever its values; None for what is no query of this database."""
    compiled: Any = statement.compile(dialect=PGDialect_asyncpg())
    sql = compiled.string
    if not sql.lstrip().upper().startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")):
        return None
    try:
        await db.execute(f"PREPARE asked AS {sql}")
    except asyncpg.UndefinedTableError:
        return None
    try:
        given = ", ".join(RANGE.get(name, "NULL") for name in compiled.positiontup or ())
        values = f"({given})" if given else ""
        told = await db.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked{values}")
    finally:
        await db.execute("DEALLOCATE asked")
    return json.loads(told)[0]["Plan"]


def whole(plan: dict[str, Any]) -> list[str]:
    """The tables and indexes of which a plan reads everything."""
    return [
        f"{node['Node Type']} {node.get('Index Name') or node.get('Relation Name')}"
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan"
        or (
            node["Node Type"].endswith(("Index Scan", "Index Only Scan"))
            and "Index Cond" not in node
        )
    ]


_COMPARED = re.compile(r"(?<![<>=!])(<=|>=|<|>|=)(?!=)")


def one_sided(condition: str) -> bool:
    """Whether an index condition says no more than where to begin."""
    compared = set(_COMPARED.findall(re.sub(r"'[^']*'", "", condition)))
    return compared in ({"<"}, {">"}, {"<="}, {">="})


def only_a_cursor(plan: dict[str, Any]) -> list[str]:
    """The scans that begin at a place and pass whatever does not fit, however much that is.

    `id < cursor` finds where to begin, not what is wanted: with a filter beside it a page of ten may read
    a million rows. An equality, or a range with both ends, bounds what is read.
    """
    found: list[str] = []
    for node in nodes(plan):
        scans = [node]
        if node["Node Type"] == "Bitmap Heap Scan":  # reads all of the range before the first row
            scans = [one for one in nodes(node) if one["Node Type"] == "Bitmap Index Scan"]
        elif "Filter" not in node:
            continue
        for one in scans:
            if one_sided(one.get("Index Cond", "=")):
                passed = node.get("Filter", "nothing")
                found.append(f"{one.get('Index Name')}: {one['Index Cond']} past {passed}")
    return found


@pytest.fixture(scope="module", params=SERVICES)
async def plans(request: pytest.FixtureRequest, database: Any) -> dict[str, dict[str, Any]]:
    """The plan of every statement of a service, made on empty tables."""
    urls = await database(request.param)
    db = await asyncpg.connect(urls.owner.replace("+asyncpg", ""))
    try:
        await db.execute(PLANS)
        made = {name: await generic_plan(db, one) for name, one in statements(request.param)}
    finally:
        await db.close()
    found = {name: plan for name, plan in made.items() if plan is not None}
    assert len(found) >= (10 if request.param == "console" else 20)
    return found


async def test_no_statement_compares_every_row_with_every_other(plans: dict[str, Any]) -> None:
    wrong = {n: quadratic(plan) for n, plan in plans.items() if n not in SMALL and quadratic(plan)}
    assert not wrong, (
        "look rows up by an index, or by an IN that is hashed: (x IN (SELECT …)) IS TRUE"
    )


async def test_a_table_is_read_whole_only_where_that_is_meant(plans: dict[str, Any]) -> None:
    wrong = {n: whole(plan) for n, plan in plans.items() if n not in WHOLE and whole(plan)}
    assert not wrong, "use an index, or say in WHOLE why everything is to be read"


async def test_an_index_condition_is_more_than_a_cursor(plans: dict[str, Any]) -> None:
    found = [f"{n}: {one}" for n, plan in plans.items() for one in only_a_cursor(plan)]
    found = [one for one in found if not EDGE.search(one.partition(":")[0])]
    wrong = [one for one in found if one.partition(":")[0] not in PASSED]
    assert not wrong, (
        "walk a bounded range (shoudan_kit.db.pages), or find the rows by an index of what is asked for"
    )


@pytest.mark.parametrize("service", SERVICES)
async def test_a_hot_statement_uses_its_index_on_tables_of_any_size(
    new_database: Any, service: str
) -> None:
    urls = await new_database(service)
    hot = {name: one for name, one in statements(service) if name in HOT}
    assert {n for n in HOT if n.startswith(f"shoudan_{service}.")} <= set(hot)
    db = await asyncpg.connect(urls.owner.replace("+asyncpg", ""))
    schema = importlib.import_module(f"shoudan_{service}.app").SERVICE.schema
    wrong: dict[str, set[str]] = {}
    try:
        for (sql,) in await db.fetch(CHECKS):
            await db.execute(sql)
        await db.execute(PLANS)
        of_table = dict(await db.fetch(PART_INDEXES))
        for stage in STAGES:
            rows = {"few": FEW, "some": SOME, "full": ROWS}.get(stage)
            for table in schema.metadata.tables if rows else ():
                await fill(db, table, rows)
            if stage.endswith("analysed"):
                await db.execute("VACUUM ANALYZE")
            for name, one in hot.items():
                plan = await generic_plan(db, one)
                assert plan is not None
                named = [node["Index Name"] for node in nodes(plan) if "Index Name" in node]
                used = {of_table.get(one, one) for one in named}
                if used != HOT[name] or (name not in WHOLE and whole(plan)):
                    wrong[f"{name} on {stage} tables"] = used
    finally:
        await db.close()
    assert not wrong


async def test_a_service_plans_once_whatever_the_values(database: Any) -> None:
    connected = Database((await database("pay")).service)
    try:
        async with connected.connect() as db:
            mode = (await db.execute(text("SHOW plan_cache_mode"))).scalar_one()
        assert mode == "force_generic_plan"
    finally:
        await connected.dispose()
