"""A thousand orders of every kind at once: each ends or waits for a person, and the money agrees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import aiohttp
import pytest

from shoudan.order.v1 import audit_service_pb2 as audit_pb
from shoudan.order.v1 import audit_service_pb2_grpc as audit_grpc
from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_cli.credentials import HOME_VARIABLE
from shoudan_cli.system import System
from tests.command import shoudan
from tests.poll import eventually
from tests.system import invariants
from tests.system.conftest import Partner
from tests.system.turned import turn

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

AT_ONCE = 20
REST_S = 60
OVERTIMES_S = (700, 1_500)
# These end without any overtime; were the clock turned before, theirs would be parked instead.
OF_THEMSELVES = {"success", "unknown_then_success", "given_back", "taken_back_late", "money_back"}

CARD: dict[str, str] = {}
SPLIT = {"face": "1000", "amount": "990"}
VOUCHER = {"line_id": "2", "carrier_no": "DZQ", "face": "50", "amount": "47.5"}
PHONE = {"line_id": "3", "carrier_no": "YD", "face": "50", "amount": "49.5"}
NOBODYS = {"line_id": "3", "carrier_no": "LT", "face": "30", "amount": "29.7"}


@dataclass(frozen=True)
class Kind:
    """Orders of one kind: how many, what, the account's script, the refund asked for, how they end."""

    name: str
    count: int
    params: dict[str, str]
    tail: str
    status: int
    refund: str = ""
    refund_status: int = 0


KINDS = [
    Kind("success", 530, CARD, "0000", 0),
    Kind("failure", 80, CARD, "0001", 90),
    Kind("unknown_then_success", 60, CARD, "0002", 0),
    Kind("unknown_for_ever", 30, CARD, "0003", 20),
    Kind("partial", 30, SPLIT, "0004", 91),
    Kind("nobodys", 40, NOBODYS, "0000", 90),
    Kind("given_back", 100, VOUCHER, "0000", 90, "general", 0),
    Kind("not_taken_back", 30, VOUCHER, "0020", 0, "general", 90),
    Kind("taken_back_late", 30, VOUCHER, "0021", 90, "general", 0),
    Kind("money_back", 50, PHONE, "0000", 90, "mandatory", 0),
    Kind("return_unknown", 20, VOUCHER, "0022", 0, "general", 10),
]


@pytest.fixture(scope="module")
async def own() -> AsyncIterator[Partner]:
    """A system of its own, because its clock is turned."""
    async with System.start(profile="test") as system:
        clients = system.clients()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
            message = pay.UpdateAccountRequest(
                key=pay.AccountKey(ident="oms", groups="down_channel", eid="test"),
                credit_micros=10**13,
            )
            await clients.call("pay", pay_grpc.LedgerServiceStub, "UpdateAccount", message)
            yield Partner(system, http, clients)
        await clients.close()


async def rows(partner: Partner, service: str, sql: str, *args: Any) -> list[dict[str, Any]]:
    async with partner.system.postgres.admin(f"shoudan_{service}") as db:
        return [dict(row) for row in await db.fetch(sql, *args)]


async def all_at_once(calls: list[Any]) -> None:
    """Run these, so many at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(call: Any) -> None:
        async with room:
            status, body = await call
            assert status == 200, body

    await asyncio.gather(*(one(call) for call in calls))


def number(kind: Kind, at: int) -> str:
    return f"{kind.name}-{at}"


async def place(partner: Partner) -> None:
    orders = [
        partner.order(
            request_no=number(kind, at), rechage_account=f"1000110000{kind.tail}", **kind.params
        )
        for at in range(max(kind.count for kind in KINDS))
        for kind in KINDS
        if at < kind.count
    ]
    assert len(orders) == 1_000
    await all_at_once(orders)


async def refund(partner: Partner) -> None:
    wanted = [kind for kind in KINDS if kind.refund]
    names = [number(kind, at) for kind in wanted for at in range(kind.count)]

    async def delivered() -> bool:
        found = await rows(
            partner,
            "order",
            "SELECT count(*) FROM oms_order_info WHERE request_no = ANY($1) AND order_status = 0",
            names,
        )
        return found[0]["count"] == len(names)

    await eventually(delivered, REST_S, every_s=0.2)
    inbox = f"{partner.system.sandbox_url}/inbox/refund"
    await all_at_once(
        [
            partner.get(
                f"/refund/{kind.refund}", channel_no="test", request_no=number(kind, at),
                refund_no=f"r-{number(kind, at)}", refund_num=1, notify_url=inbox,
            )
            for kind in wanted
            for at in range(kind.count)
        ]
    )  # fmt: skip


async def comes_to_rest(partner: Partner) -> None:
    """Let what is on its way end, then turn the clock beyond every overtime."""

    async def settled() -> bool:
        found = await rows(partner, "order", "SELECT request_no, order_status FROM oms_order_info")
        now = {row["request_no"]: row["order_status"] for row in found}
        return all(
            now[number(kind, at)] == kind.status
            for kind in KINDS
            if kind.name in OF_THEMSELVES
            for at in range(kind.count)
        )

    await eventually(settled, REST_S, every_s=0.5)
    for overtime_s in OVERTIMES_S:
        await turn(partner.system, overtime_s)

    async def resting() -> bool:
        return (await rows(partner, "order", invariants.RESTLESS))[0]["count"] == 0

    await eventually(resting, REST_S, every_s=0.3)


async def test_a_thousand_mixed_orders_end_and_the_money_agrees(own) -> None:
    await place(own)
    await refund(own)
    await comes_to_rest(own)
    await ends_are_as_scripted(own)
    await own.ledger_is_whole()
    await invariants.check(own.system)
    await profits_are_the_ledgers(own)


async def ends_are_as_scripted(partner: Partner) -> None:
    found = await rows(
        partner,
        "order",
        "SELECT o.request_no, o.order_status, o.parked_reason, r.refund_status FROM oms_order_info o"
        " LEFT JOIN oms_refund_info r USING (order_id)",
    )
    kinds = {number(kind, at): kind for kind in KINDS for at in range(kind.count)}
    assert len(found) == len(kinds)
    for row in found:
        kind = kinds[row["request_no"]]
        assert row["order_status"] == kind.status, row
        assert row["refund_status"] == (kind.refund_status if kind.refund else None), row
        waits = kind.status == 20 or bool(kind.refund and kind.refund_status == 10)
        assert bool(row["parked_reason"]) == waits, row


async def profits_are_the_ledgers(partner: Partner) -> None:
    """Each ended order's profit is what its movements left, less its fee; the report is their sum."""
    broken, ended, total = await invariants.profits(partial(rows, partner))
    assert broken == []
    assert await reported(partner) == (ended, total)


async def reported(partner: Partner) -> tuple[int, int]:
    request = audit_pb.ReportRequest(kind=audit_pb.ReportRequest.KIND_PROFIT)
    request.start_time.GetCurrentTime()
    request.end_time.CopyFrom(request.start_time)
    request.start_time.FromDatetime(request.start_time.ToDatetime(UTC) - timedelta(days=2))
    request.end_time.FromDatetime(request.end_time.ToDatetime(UTC) + timedelta(days=2))
    stub: Any = audit_grpc.AuditServiceStub(partner.clients.channel("order"))
    lines = [line async for line in stub.Report(request)]
    profit = sum(line.sums_micros["profit_micros"] for line in lines)
    return sum(line.count for line in lines), profit


async def test_a_day_passes_by_command_and_overtime_and_bill_happen(own: Partner) -> None:
    """`shoudan clock advance` under a running system: nothing waits, nothing is refused."""
    env = {**own.system.env, HOME_VARIABLE: str(own.system.home)}
    code, said = await shoudan("clock", "advance", "1h", env=env)
    assert code == 0, said
    assert "interrupted" in said, (
        "only order and delivery had been turned: now all are where they are"
    )
    status, body = await own.order(
        request_no="waits", rechage_account="13000000000", face="30", amount="29.7",
        line_id="3", carrier_no="LT",
    )  # fmt: skip
    assert status == 200, body
    (row,) = await rows(
        own, "pay", "SELECT (shoudan_now() AT TIME ZONE 'Asia/Shanghai')::date AS day"
    )
    bill = {"channel_no": "test", "bill_date": row["day"].isoformat()}
    _, before = await own.get("/bill/trade", **bill)
    assert before["status"] == "WAITING", before
    code, said = await shoudan("clock", "advance", "1d", env=env)
    assert (code, "(1d " in said) == (0, True), said

    async def over() -> bool:
        return await own.status("waits") == 90

    await eventually(over, REST_S, every_s=0.5)

    async def made() -> bool:
        _, answer = await own.get("/bill/trade", **bill)
        return answer["status"] == "READY"

    await eventually(made, REST_S, every_s=1)
    code, said = await shoudan("clock", "show", env=env)
    assert code == 0, said
    assert said.count("1d") >= 5, "every service but identity"
    _, said = await shoudan("status", env=env)
    assert "test clock: 1d" in said
    # What outsiders see is the real time: a notify of after it is believed now.
    letters = await own.http.get(f"{own.system.sandbox_url}/inbox/test?format=json")
    newest = float((await letters.json())["letters"][-1]["time"])
    assert abs(newest - datetime.now(UTC).timestamp()) < 3_600
    await invariants.check(own.system)
