"""What must be true after a run: laws of the data at rest, and of what the partners saw.

Each law gives the lines of what breaks it; none means that it holds. The numbers are those of the design.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from shoudan.erp.v1 import erp_service_pb2 as erp
from shoudan.erp.v1 import erp_service_pb2_grpc as erp_grpc
from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_cli import bench_erp
from shoudan_cli.clients import Clients
from tests.chaos.history import OK, REFUSED, History
from tests.chaos.partner import PARTS, RUNNING, request_no
from tests.chaos.plan import Plan, Wanted
from tests.chaos.stage import Stage
from tests.system import invariants

NOT_FOUND, DIFFERS = 404, 409
ENDS = {0, 90, 91}
DONE, ANSWERED = 0, 100
# What ends without any overtime once nothing is broken: the rest wait for one by their nature.
OF_THEMSELVES = {"card", "late", "voucher", "phone"}
PUSHES_MAX = 500
_ORDERS = """
SELECT order_id::text AS order_id, request_no, down_channel_no, order_status, notify_status,
    sell_amount_micros, payment_status, parked_reason,
    (SELECT count(*) FROM oms_refund_info r WHERE r.order_id = o.order_id AND refund_status IN (0, 20))
        AS refunds
FROM oms_order_info o
"""
_REFUNDS = """
SELECT request_no, down_refund_no, refund_status, refund_notify_status FROM oms_refund_info
"""
_UNPUBLISHED = "SELECT count(*) FROM outbox WHERE NOT published"
Rows = Sequence[Mapping[str, Any]]


# ---------------------------------------------------------------- what the partners saw
def acknowledged_is_kept(history: History, orders: Rows) -> list[str]:
    """H1: every order that was taken is there, under the number that was answered."""
    there = {one["request_no"]: one["order_id"] for one in orders}
    return [
        f"H1 {key} was taken as {call.order_id}, stored is {there.get(key)}"
        for key, call in history.accepted().items()
        if there.get(key) != call.order_id
    ]


def one_answer_per_key(history: History) -> list[str]:
    """H2: whoever asked under one key got one order."""
    found: dict[str, set[str]] = defaultdict(set)
    for call in history.calls:
        if call.what in {"order", "query"} and call.end == OK:
            found[call.key].add(call.order_id)
    return [f"H2 {key} is {sorted(ids)}" for key, ids in found.items() if len(ids) > 1]


def ended_stays_ended(history: History, refunded: Iterable[str]) -> list[str]:
    """H3: what a partner has seen ended runs no more, and ends otherwise by a refund alone."""
    broken, given_back = [], set(refunded)
    for key, calls in history.by_key("query").items():
        seen = [one.status for one in calls if one.end == OK]
        ended = next((at for at, one in enumerate(seen) if one != RUNNING), len(seen))
        later = set(seen[ended:])
        if RUNNING in later or (len(later) > 1 and key not in given_back):
            broken.append(f"H3 {key} was seen {seen}")
    return broken


def found_after_taken(history: History) -> list[str]:
    """H5: after an order was taken no query says that there is none."""
    taken = history.accepted()
    return [
        f"H5 {call.key} was taken at {taken[call.key].at_s:.2f} s, unknown at {call.at_s:.2f} s"
        for call in history.calls
        if call.what == "query"
        and call.code == NOT_FOUND
        and call.key in taken
        and call.at_s > taken[call.key].at_s
    ]


def first_request_counts(history: History) -> list[str]:
    """I6: another content under a known number is refused as such, or gets no answer."""
    return [
        f"I6 {call.key} with another amount: {call.end} {call.code}"
        for call in history.calls
        if call.what == "differs" and (call.end, call.code) != (REFUSED, DIFFERS)
        if call.end in {OK, REFUSED}
    ]


def sums_are_those_asked(plan: Plan, orders: Rows) -> list[str]:
    """H4, H6: a paid order took what its request said; one without money took nothing."""
    wanted = {request_no(one.number): one for one in plan.orders}
    broken = []
    for order in orders:
        one = wanted[order["request_no"]]
        amount = round(float(PARTS.get(one.kind, PARTS["card"])["amount"]) * 1_000_000)
        if order["sell_amount_micros"] != amount:
            broken.append(f"H6 {order['request_no']}: {order['sell_amount_micros']}, not {amount}")
        if one.kind == "poor" and order["payment_status"] == 0:
            broken.append(f"H4 {order['request_no']} was paid without money")
    return broken


def told_the_end(history: History, orders: Rows, refunds: Rows) -> list[str]:
    """I15: a notify that counts as done was acknowledged, and said how it ended."""
    acknowledged: dict[str, set[int]] = defaultdict(set)
    told: dict[str, set[int]] = defaultdict(set)
    for letter in history.letters:
        told[letter.key].add(letter.status)
        if letter.acknowledged:
            acknowledged[letter.key].add(letter.status)
    broken = []
    for order in orders:
        key, status = order["request_no"], order["order_status"]
        if order["notify_status"] == DONE and not acknowledged[key]:
            broken.append(f"I15 {key} counts as told, acknowledged is nothing")
        if order["notify_status"] not in {DONE, ANSWERED} and status in ENDS:
            broken.append(f"I15 {key} has ended, its notify is {order['notify_status']}")
        if not order["refunds"] and not told[key] <= {status}:
            broken.append(f"I15 {key} is {status}, told was {sorted(told[key])}")
    for refund in refunds:
        key = f"{refund['request_no']} {refund['down_refund_no']}"
        if refund["refund_notify_status"] == DONE and not acknowledged[key]:
            broken.append(f"I15 {key} counts as told, acknowledged is nothing")
    return broken


def nothing_else(plan: Plan, history: History, orders: Rows) -> list[str]:
    """I5, I9 from outside: what is stored was asked for, what was told is stored."""
    asked = {request_no(one.number) for one in plan.orders}
    stored = {one["request_no"] for one in orders}
    broken = [f"I5 {one} was asked for by nobody" for one in stored - asked]
    told = {letter.key.partition(" ")[0] for letter in history.letters}
    return broken + [f"I15 {one} was told of and is not there" for one in told - stored]


def of_itself(plan: Plan, orders: Rows) -> list[str]:
    """Orders that need nothing but a whole system to end and be told of, and have not."""
    wanted = {request_no(one.number): one for one in plan.orders}
    return [
        f"{order['request_no']}: {order['order_status']}, notify {order['notify_status']}"
        for order in orders
        if wanted[order["request_no"]].kind in OF_THEMSELVES
        and not (order["order_status"] in ENDS and order["notify_status"] in {DONE, ANSWERED})
        and not order["parked_reason"]
    ]


async def open_parts(stage: Stage) -> list[str]:
    """What open orders wait for: their deliveries here and there, and their tasks."""
    parts = """SELECT o.request_no, d.delivery_id::text AS id, d.delivery_status, d.up_channel_no,
        (SELECT json_agg(json_build_array(t.name, t.status, t.count, t.last_error,
            t.next_execute_time - shoudan_now())) FROM task t WHERE t.order_no IN
            (o.order_id::text, d.delivery_id::text))::text AS tasks
        FROM oms_order_info o LEFT JOIN oms_order_delivery d USING (order_id)
        WHERE o.order_status IN (10, 20) ORDER BY o.order_id LIMIT 20"""
    sent = """SELECT coop_order_id AS id, status, channel_no, result_code, conflict,
        (SELECT json_agg(json_build_array(t.name, t.status, t.count, t.last_error,
            t.next_execute_time - shoudan_now())) FROM task t
            WHERE t.order_no = i.order_no::text)::text AS tasks
        FROM vds_order_info i ORDER BY order_no DESC LIMIT 5000"""
    found = [dict(row) for row in await invariants.rows_of(stage, "order", parts)]
    there = {row["id"]: dict(row) for row in await invariants.rows_of(stage, "delivery", sent)}
    return [f"{one} there: {there.get(one['id'])}" for one in found]


def never_taken(plan: Plan, history: History) -> list[str]:
    """Orders that no call ever got a clear answer for."""
    calls = history.by_key("order")

    def clear(one: Wanted) -> bool:
        return any(call.end in {OK, REFUSED} for call in calls.get(request_no(one.number), []))

    return [
        f"L {request_no(one.number)} was never answered" for one in plan.orders if not clear(one)
    ]


def refused_orders(plan: Plan, history: History) -> list[str]:
    """Every order of the plan is right, so none may be refused; the poor one is not paid, that is all."""
    kinds = {request_no(one.number): one.kind for one in plan.orders}
    return [
        f"L {call.key} was refused with {call.code}"
        for call in history.calls
        if call.what == "order" and call.end == REFUSED and kinds[call.key] != "poor"
    ]


# ---------------------------------------------------------------- all of them
async def orders_of(stage: Stage) -> Rows:
    """The stored orders, as far as the laws look at them."""
    return await invariants.rows_of(stage, "order", _ORDERS)


async def unpublished(stage: Stage, services: Iterable[str]) -> int:
    """I13: events that JetStream has not got yet."""
    found = [await invariants.rows_of(stage, one, _UNPUBLISHED) for one in services]
    return sum(rows[0]["count"] for rows in found)


async def restless(stage: Stage) -> int:
    """Orders that wait for something that is not a person."""
    return (await invariants.rows_of(stage, "order", invariants.RESTLESS))[0]["count"]


async def violations(stage: Stage, clients: Clients, plan: Plan, history: History) -> list[str]:
    """Everything that is broken in a system at rest."""
    rows = partial(invariants.rows_of, stage)
    orders, refunds = await rows("order", _ORDERS), await rows("order", _REFUNDS)
    refunded = {one["request_no"] for one in orders if one["refunds"]}
    broken = [
        *acknowledged_is_kept(history, orders),
        *one_answer_per_key(history),
        *ended_stays_ended(history, refunded),
        *found_after_taken(history),
        *first_request_counts(history),
        *sums_are_those_asked(plan, orders),
        *told_the_end(history, orders, refunds),
        *nothing_else(plan, history, orders),
        *never_taken(plan, history),
        *refused_orders(plan, history),
        *(f"answer no document knows: {one}" for one in history.strange),
    ]
    try:
        await invariants.check(stage)
    except AssertionError as error:
        broken += str(error).splitlines()
    broken += (await invariants.profits(rows))[0]
    broken += await ledger_findings(clients)
    return broken + await lost_pushes(clients, history)


async def ledger_findings(clients: Clients) -> list[str]:
    """What the ledger's own proof finds."""
    last: Any = None
    async for told in clients.stream(
        "pay", pay_grpc.LedgerServiceStub, "Verify", pay.VerifyRequest(), 120
    ):
        last = told
    if last is None or not last.done:
        return ["the ledger was not verified to its end"]
    return [f"ledger: {one}" for one in last.findings]


async def lost_pushes(clients: Clients, history: History) -> list[str]:
    """I16: every push that was acknowledged is kept byte for byte."""
    broken = []
    for at in range(0, len(history.pushes), PUSHES_MAX):
        wanted = [
            erp.CheckPushesRequest.Digest(
                kind=erp.PUSH_KIND_TRADE, sender=bench_erp.SENDER, sha256=one
            )
            for one in history.pushes[at : at + PUSHES_MAX]
        ]
        answer = await clients.call(
            "erp_ingest",
            erp_grpc.ErpServiceStub,
            "CheckPushes",
            erp.CheckPushesRequest(digests=wanted),
        )
        lost = sum(not (one.stored and one.intact) for one in answer.results)
        broken += [f"I16 {lost} acknowledged pushes are not kept"] if lost else []
    return broken
