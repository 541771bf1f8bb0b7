"""What must hold in any system at rest, whatever was done to it: one statement or comparison for each rule.

Money is conserved (I1-I4), an order is one order and ends once as its money says (I5-I8), a supplier
fulfils once (I9), partners are told the final state (I15). The numbers are those of the design.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from shoudan_cli.system import System

# Each gives the rows that break its rule.
LEDGER = {
    "I1 a record's contra is a platform account": """
        SELECT r.record_id FROM account_record r
        LEFT JOIN account_info c ON c.account_id = r.contra_account_id
        WHERE c.account_id IS NULL OR c.contra_account_id IS NOT NULL""",
    "I2 a balance is the sum of its records": """
        SELECT a.account_id FROM account_info a
        LEFT JOIN (SELECT account_id, sum(amount_micros) AS moved FROM account_record GROUP BY 1) r
            USING (account_id)
        WHERE a.contra_account_id IS NOT NULL AND a.balance_micros <> coalesce(r.moved, 0)""",
    "I2 running balances and positions have no gap": """
        SELECT record_id FROM (SELECT record_id, seq, balance_micros,
            lag(balance_micros, 1, 0::bigint) OVER w + amount_micros AS balance_wanted,
            lag(seq, 1, 0::bigint) OVER w + 1 AS seq_wanted
            FROM account_record WINDOW w AS (PARTITION BY account_id ORDER BY seq)) AS run
        WHERE balance_micros <> balance_wanted OR seq <> seq_wanted""",
    "I3 nobody was let spend more than the credit there was": """
        SELECT record_id FROM account_record
        WHERE amount_micros < 0 AND floor_micros IS NOT NULL AND balance_micros < floor_micros""",
}
ORDERS = {
    "I5 one order per request": """
        SELECT down_channel_no, request_no FROM oms_order_info GROUP BY 1, 2 HAVING count(*) > 1""",
    "I6 the first request is kept": """
        SELECT order_id FROM oms_order_info WHERE length(request_hash) = 0""",
    "I7 no refund beyond what was paid": """
        SELECT o.order_id FROM oms_order_info o JOIN oms_refund_info r USING (order_id)
        WHERE r.refund_status IN (0, 10, 20)
        GROUP BY o.order_id, o.sell_amount_micros, o.num
        HAVING sum(r.refund_sell_amount_micros) > o.sell_amount_micros OR sum(r.refund_num) > o.num""",
    "I8 an order ends once": """
        SELECT key FROM event WHERE subject IN ('shoudan.events.order.order.succeeded',
            'shoudan.events.order.order.failed', 'shoudan.events.order.order.partial')
        GROUP BY key HAVING count(*) > 1""",
    "I8 deliveries less returns explain what an order got": """
        SELECT o.order_id FROM oms_order_info o
        LEFT JOIN (SELECT order_id, sum(total_face_micros) AS face FROM oms_order_delivery
            WHERE delivery_status = 0 GROUP BY 1) d USING (order_id)
        LEFT JOIN (SELECT order_id, sum(refund_face_micros) AS face FROM oms_refund_info
            WHERE refund_status IN (0, 20, 91) GROUP BY 1) r USING (order_id)
        WHERE o.success_face_micros <> coalesce(d.face, 0) - coalesce(r.face, 0)""",
    "I8 nothing is on its way for what has ended": """
        SELECT o.order_id, o.order_status, o.bind_face_micros, o.success_face_micros, d.delivery_id,
            d.delivery_status, d.create_time - o.create_time
        FROM oms_order_info o JOIN oms_order_delivery d USING (order_id)
        WHERE o.order_status IN (0, 90, 91) AND d.delivery_status IN (20, 30)""",
    "I9 no order is bound to more than it bought": """
        SELECT o.order_id, o.order_status, array_agg(d.delivery_status) FROM oms_order_info o
        JOIN oms_order_delivery d USING (order_id) WHERE d.delivery_status IN (0, 20, 30)
        GROUP BY o.order_id, o.order_status, o.total_face_micros
        HAVING sum(d.total_face_micros) > o.total_face_micros""",
    "I8 what has not ended waits for a person": """
        SELECT order_id FROM oms_order_info
        WHERE order_status IN (10, 20) AND parked_reason = ''""",
    "I8 what waits for a person is listed for one": """
        SELECT o.order_id FROM oms_order_info o WHERE parked_reason <> '' AND NOT EXISTS
            (SELECT FROM oms_audit_info a WHERE a.order_id = o.order_id AND a.audit_status = 20)""",
}
DELIVERIES = {
    "I9 one row per delivery": """
        SELECT coop_id, coop_order_id, service_class FROM vds_order_info
        GROUP BY 1, 2, 3 HAVING count(*) > 1""",
    "I9 nothing ended is still asked about": """
        SELECT order_no FROM vds_order_info JOIN vds_order_query q USING (order_no)
        WHERE vds_order_info.status IN (0, 90) AND q.status = 20 AND q.query_count > 0
            AND q.last_query_time > vds_order_info.request_finish_time""",
}
APPEND_ONLY = {
    "order": ("oms_operation", "oms_notify_attempt"),
    "pay": ("account_record", "package_record"),
    "delivery": ("vds_order_exp",),
}
CHANGED = """
    SELECT relname FROM pg_stat_user_tables
    WHERE relname = ANY($1) AND (n_tup_upd > 0 OR n_tup_del > 0)
    UNION ALL
    SELECT table_name || ' may be changed by ' || grantee FROM information_schema.table_privileges
    WHERE table_name = ANY($1) AND privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE')
        AND grantee <> (SELECT tableowner FROM pg_tables
            WHERE tablename = table_name AND schemaname = table_schema)
        AND grantee <> 'postgres'
"""

MOVED = """
    SELECT a.groups, r.trade_no, sum(r.amount_micros)::bigint AS amount
    FROM account_record r JOIN account_info a USING (account_id)
    WHERE a.ident = 'oms' GROUP BY 1, 2
"""
_ORDERS = """
    SELECT order_id::text AS id, order_status, payment_status, sell_amount_micros AS sell,
        commission_amount_micros AS commission, service_amount_micros AS service,
        success_sell_amount_micros AS sold, success_commission_micros AS sold_commission,
        success_service_micros AS sold_service, has_notify, request_no,
        (SELECT coalesce(array_agg(refund_id::text), '{}') FROM oms_refund_info r
            WHERE r.order_id = o.order_id) AS refunds
    FROM oms_order_info o
"""
_PARTS = """
    SELECT delivery_id::text AS id, delivery_status, up_payment_status AS paid,
        cost_amount_micros AS cost, up_commission_amount_micros AS commission,
        service_amount_micros AS service,
        (SELECT coalesce(array_agg(return_id::text), '{}') FROM oms_refund_up_return r
            WHERE r.delivery_id = d.delivery_id AND up_refund_status = 0) AS returns
    FROM oms_order_delivery d
"""
_SENT = """
    SELECT order_no::text AS no, coop_order_id AS id, status, conflict,
        EXISTS (SELECT FROM vds_channel_info c WHERE c.channel_no = i.channel_no
            AND c.protocol = 'stock') AS own_stock
    FROM vds_order_info i
"""
RESTLESS = """
SELECT count(*) FROM oms_order_info o WHERE (order_status IN (10, 20) AND parked_reason = '')
    OR notify_status = 30 OR refund_status = 20
    OR EXISTS (SELECT FROM oms_order_delivery d WHERE d.order_id = o.order_id
        AND d.up_payment_status = 30)
    OR EXISTS (SELECT FROM oms_refund_info r WHERE r.order_id = o.order_id
        AND (r.refund_status = 20 OR r.refund_notify_status = 30
            OR r.refund_status = 10 AND o.parked_reason = ''))
"""
_PROFITS = """
SELECT order_id::text AS id, order_status, profit_micros AS profit, success_fee_micros AS fee,
    ARRAY(SELECT refund_id::text FROM oms_refund_info r WHERE r.order_id = o.order_id) AS refunds,
    ARRAY(SELECT delivery_id::text FROM oms_order_delivery d WHERE d.order_id = o.order_id) AS parts,
    ARRAY(SELECT return_id::text FROM oms_refund_up_return u WHERE u.order_id = o.order_id) AS returns
FROM oms_order_info o
"""
_PLACES = ("down_channel", "down_commission", "down_service")
_UP_PLACES = ("up_channel", "up_commission", "up_service")

Moved = dict[tuple[str, str], int]
Rows = Callable[..., Awaitable[list[dict[str, Any]]]]


async def check(
    system: System, *, letters: dict[str, int] | None = None, rows: Rows | None = None
) -> None:
    """Raises AssertionError that lists every rule broken. The system must be at rest.

    `letters`: last status told of each request_no that was to be told, where they were collected.
    `rows`: how a service's rows are read, where they are in several shards.
    """
    broken: list[str] = []
    read = rows or partial(rows_of, system)
    for service, rules in (("pay", LEDGER), ("order", ORDERS), ("delivery", DELIVERIES)):
        for name, sql in rules.items():
            if found := await read(service, sql):
                broken.append(f"{name}: {[tuple(row.values()) for row in found[:5]]}")
    for service, tables in APPEND_ONLY.items():
        if found := await read(service, CHANGED, list(tables)):
            broken.append(f"I4 append-only tables: {[tuple(row.values()) for row in found]}")
    sums = await read("pay", MOVED)
    moved = {(row["groups"], row["trade_no"]): row["amount"] for row in sums}
    orders = await read("order", _ORDERS)
    parts = await read("order", _PARTS)
    broken += [line for order in orders if (line := sold(order, moved))]
    broken += [line for part in parts if (line := bought(part, moved))]
    broken += fulfilled(parts, await read("delivery", _SENT), system.home / "sandbox.jsonl")
    if letters is not None:
        broken += told(orders, letters)
    assert not broken, "\n".join(broken)


async def profits(rows: Rows) -> tuple[list[str], int, int]:
    """Orders whose profit is not what their movements left, less the fee; how many ended; all profits."""
    moved: dict[str, dict[str, int]] = {"down": {}, "up": {}}
    for row in await rows("pay", MOVED):
        side = moved["up" if row["groups"].startswith("up_") else "down"]
        side[row["trade_no"]] = side.get(row["trade_no"], 0) + int(row["amount"])
    broken: list[str] = []
    ended, total = 0, 0
    for order in await rows("order", _PROFITS):
        down = [order["id"], f"r{order['id']}", *order["refunds"]]
        left = -sum(moved["down"].get(no, 0) for no in down)
        left += sum(moved["up"].get(no, 0) for no in [*order["parts"], *order["returns"]])
        if order["order_status"] in (0, 90, 91):
            ended += 1
            if order["profit"] != left - order["fee"]:
                broken.append(f"profit of {order}: {left} was left")
        total += int(order["profit"])
    return broken, ended, total


async def rows_of(system: System, service: str, sql: str, *args: Any) -> list[dict[str, Any]]:
    async with system.postgres.admin(f"shoudan_{service}") as admin:
        db: Any = admin
        return [dict(row) for row in await db.fetch(sql, *args)]


def sold(order: dict[str, Any], moved: Moved) -> str:
    """I7: a paid order moved its amounts once; what it did not get or gave back was given back."""
    full = (-order["sell"], order["commission"], -order["service"])
    kept = (-order["sold"], order["sold_commission"], -order["sold_service"])
    paid = tuple(moved.get((place, order["id"]), 0) for place in _PLACES)
    trades = [f"r{order['id']}", *order["refunds"]]
    back = tuple(sum(moved.get((place, no), 0) for no in trades) for place in _PLACES)
    total = tuple(a + b for a, b in zip(paid, back, strict=True))
    status, wanted = order["order_status"], full if order["payment_status"] == 0 else (0, 0, 0)
    ended = {0: full, 90: (0, 0, 0), 91: kept}.get(status, full)
    if order["refunds"]:
        ended = kept
    # Ended before its payment was known: the debit was voided, or came and was given back.
    unsure = status == 90 and order["payment_status"] != 0
    if unsure and paid in {wanted, full} and total == wanted:
        return ""
    if not unsure and paid == wanted and (total == ended or wanted != full):
        return ""
    return f"I7 order {order['id']} ({status}): paid {paid} of {wanted}, with refunds {total}, not {ended}"


def bought(part: dict[str, Any], moved: Moved) -> str:
    """I7: a supplier is paid once for what it delivered, and gives back once what was returned."""
    full = (-part["cost"], part["commission"], part["service"])
    paid = tuple(moved.get((place, part["id"]), 0) for place in _UP_PLACES)
    wanted = full if part["paid"] == 0 else (0, 0, 0)
    line = f"I7 delivery {part['id']} ({part['delivery_status']}): paid {paid}, not {wanted}"
    return "" if paid == wanted else line


def fulfilled(parts: list[dict[str, Any]], sent: list[dict[str, Any]], journal: Path) -> list[str]:
    """I9: the supplier's own journal is the witness of what was really done."""
    effects: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for raw in journal.read_text("utf-8").splitlines():
        line = json.loads(raw)
        effects[line["order_no"]][line["effect"]] += 1
    broken = [f"I9 {no} was fulfilled twice" for no, one in effects.items() if one["fulfilled"] > 1]
    for one in sent:
        done = effects[one["no"]]["fulfilled"] > 0
        if one["own_stock"]:  # no supplier outside is the witness of it
            continue
        if one["status"] in (0, 90) and done != (one["status"] == 0) and not one["conflict"]:
            broken.append(f"I9 {one['no']} is {one['status']}, fulfilled: {done}")
    ends = {one["id"]: one["status"] for one in sent}
    for part in parts:
        there = ends.get(part["id"])
        if part["delivery_status"] in (0, 90) and there not in (None, part["delivery_status"]):
            broken.append(f"I9 {part['id']} is {part['delivery_status']} here, {there} there")
    unknown = [no for no in effects if no not in {one["no"] for one in sent}]
    return broken + [f"I9 {no} was never ours" for no in unknown]


def told(orders: list[dict[str, Any]], letters: dict[str, int]) -> list[str]:
    """I15: the last thing a partner was told of an ended order is its final state."""
    return [
        f"I15 {order['request_no']} is {order['order_status']}, told {letters.get(order['request_no'])}"
        for order in orders
        if order["has_notify"]
        and order["order_status"] in (0, 90, 91)
        and letters.get(order["request_no"]) != order["order_status"]
    ]
