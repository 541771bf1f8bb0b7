"""Each scripted account from /order/request to its final state, the ledger, the notify and the journal."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shoudan_cli.system import System
from tests.poll import eventually
from tests.system import invariants
from tests.system.conftest import Partner
from tests.system.turned import turn

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

SECRET = {"SHOUDAN_MOCK_SECRET": "s3cret", "SHOUDAN_DELIVERY_SECRET_SANDBOX": "s3cret"}
SUCCEEDED, FAILED, PARTIAL, UNDER_WAY = 0, 90, 91, 30
SYNC, QUERY, NOTIFY = "sync", "query", "notify"
SOURCES = {1: NOTIFY, 2: QUERY, 3: SYNC}
ENDS_S, OVERTIME_S = 60, 700

ASKED = {"line_id": "1", "carrier_no": "ZSH"}
REPEATED = {"line_id": "2", "carrier_no": "DZQ"}
TELLING = {"line_id": "3", "carrier_no": "YD"}
SPLIT = {"face": "1000", "amount": "990"}
SWITCHED = {"carrier_no": "ZSY"}

# Source: oms-behaviour §3.9, of face 200: sell 0.99, commission 0.02, service 0.01; cost 0.95,
# commission 0.01, service 0.02.
SALE = (-198_000_000, 4_000_000, -2_000_000)
PURCHASE = (-190_000_000, 2_000_000, 4_000_000)
NOTHING = (0, 0, 0)


@dataclass(frozen=True)
class Case:
    """One account, and how its order is to end. `words`: part of the incident that is kept."""

    name: str
    tail: str
    status: int = SUCCEEDED
    source: str = QUERY
    words: str = ""
    params: dict[str, str] = field(default_factory=lambda: ASKED)
    down: tuple[int, int, int] = SALE
    up: tuple[int, int, int] = PURCHASE
    attempts: int = 1


CASES = [
    Case("success", "0000", source=SYNC),
    Case("anything_else", "4242", source=SYNC),
    Case("unknown_then_success_on_query", "0002"),
    Case("duplicate_notify", "0005", source=SYNC),
    Case("slow", "0007"),
    Case("html_200", "0009", words="not the documented JSON"),
    Case("reset", "0010"),
    Case("wrong_amount", "0011", words="another amount"),
    Case("wrong_order_number", "0012", words="another order number"),
    Case("truncated_json", "0013", words="not the documented JSON"),
    Case("unlisted_code", "0014"),
    Case("http_500", "0016", words="HTTP 500"),
    Case("notify_only", "0018", source=NOTIFY, params=TELLING),
    Case("notify_before_answer", "0006", source=NOTIFY, params=TELLING),
    Case("late_success_after_time_out", "0008", source=NOTIFY, params=TELLING),
    Case("lost_and_sent_again_where_promised", "0017", source=SYNC, params=REPEATED, attempts=2),
]
# These end only when the order's time is over: nobody else supplies the goods, or nobody knows.
AT_OVERTIME = [
    Case("failure", "0001", FAILED, SYNC, down=NOTHING, up=NOTHING),
    Case("failure_by_notify", "0019", FAILED, NOTIFY, "", TELLING, NOTHING, NOTHING),
    Case("contradiction", "0015", UNDER_WAY, SYNC, "contradicts failed", up=NOTHING),
    Case(
        "two_contradictions",
        "0015",
        UNDER_WAY,
        SYNC,
        "contradicts failed",
        SWITCHED,
        up=NOTHING,
        attempts=2,
    ),
    Case("unknown_for_ever", "0003", UNDER_WAY, "", up=NOTHING),
    Case("lost_and_never_sent_again", "0017", UNDER_WAY, "", up=NOTHING),
    Case(
        "partial",
        "0004",
        PARTIAL,
        SYNC,
        "",
        ASKED | SPLIT,
        (-99_000_000, 2_000_000, -1_000_000),
        (-95_000_000, 1_000_000, 2_000_000),
        10,
    ),
]


@dataclass
class Play:
    """The system with every order placed; what became of them is read as it stands."""

    system: System
    partner: Partner
    placed: dict[str, tuple[int, Any]] = field(default_factory=dict[str, tuple[int, Any]])

    async def place(self, case: Case) -> None:
        self.placed[case.name] = await self.partner.order(
            request_no=case.name,
            rechage_account=f"1000110000{case.tail}",
            notify_url=f"{self.system.sandbox_url}/inbox/{case.name}",
            **case.params,
        )

    async def rows(self, service: str, sql: str, *args: Any) -> list[dict[str, Any]]:
        async with self.system.postgres.admin(f"shoudan_{service}") as db:
            return [dict(row) for row in await db.fetch(sql, *args)]

    async def told(self, name: str) -> list[dict[str, Any]]:
        url = f"{self.system.sandbox_url}/inbox/{name}?format=json"
        async with self.partner.http.get(url) as answer:
            letters = json.loads(await answer.text())["letters"]
        return [json.loads(letter["body"]) for letter in letters]

    async def ended(self, cases: list[Case]) -> None:
        """Every order is as it is to end, its supplier paid and its partner told."""
        wanted = {case.name: case.status for case in cases}

        async def so() -> bool:
            rows = await self.rows(
                "order",
                "SELECT request_no, order_status, notify_status, parked_reason, complete_up_pay,"
                " refund_status FROM oms_order_info WHERE request_no = ANY($1)",
                list(wanted),
            )
            return len(rows) == len(wanted) and all(
                _rests(row, wanted[row["request_no"]]) for row in rows
            )

        await eventually(so, ENDS_S, every_s=0.2)

    async def parts(self, name: str) -> list[dict[str, Any]]:
        """The deliveries of an order as the delivery service knows them."""
        (order,) = await self.rows(
            "order", "SELECT order_id FROM oms_order_info WHERE request_no = $1", name
        )
        return await self.rows(
            "delivery",
            "SELECT order_no, coop_order_id, status, result_source, conflict, request_count"
            " FROM vds_order_info WHERE order_id = $1",
            str(order["order_id"]),
        )

    async def money(self, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What an order moved in all on the three down accounts and the three up accounts."""
        (order,) = await self.rows(
            "order", "SELECT order_id FROM oms_order_info WHERE request_no = $1", name
        )
        number = str(order["order_id"])
        parts = [part["coop_order_id"] for part in await self.parts(name)]
        moved = await self.rows("pay", invariants.MOVED)

        def total(side: str, trades: list[str]) -> tuple[int, ...]:
            return tuple(
                sum(
                    row["amount"]
                    for row in moved
                    if row["groups"] == f"{side}_{what}" and row["trade_no"] in trades
                )
                for what in ("channel", "commission", "service")
            )

        return total("down", [number, f"r{number}"]), total("up", parts)


def _rests(row: dict[str, Any], status: int) -> bool:
    if status == UNDER_WAY:
        return row["order_status"] == 20 and row["parked_reason"] != ""
    if row["order_status"] != status or row["notify_status"] != 0:
        return False
    return row["complete_up_pay"] == 0 if status == SUCCEEDED else row["refund_status"] == 0


@pytest.fixture(scope="module")
async def play() -> AsyncIterator[Play]:
    """Every order is placed at the same time; then the clock passes the overtimes."""
    catalogue = Path(__file__).with_name("scripts.yaml")
    async with System.start(profile="test", catalogue=catalogue, env=SECRET) as system:
        clients = system.clients()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as http:
            one = Play(system, Partner(system, http, clients))
            knobs = f"{system.sandbox_url}/supplier/knobs"
            # A supplier that promises nothing: a number sent twice would be fulfilled twice.
            await http.post(knobs, json={"late_s": 4, "idempotent": False})
            await http.post(f"{knobs}?channel_no=repeated", json={"idempotent": True})
            await asyncio.gather(*(one.place(case) for case in CASES + AT_OVERTIME))
            await one.ended(CASES)
            await switching(one)
            await turn(system, OVERTIME_S)
            await one.ended(CASES + AT_OVERTIME)
            yield one
        await clients.close()


async def switching(play: Play) -> None:
    """What test_an_operator… looks at, done before the clock is turned."""
    for name, command in (
        ("as_ever", ()),
        ("suspended", ("suspend", "cheap", "--reason", "maintenance")),
        ("resumed", ("resume", "cheap")),
    ):
        if command:
            await channel(play, *command)
        case = Case(name, "0000", params=SWITCHED)
        await play.place(case)
        await play.ended([case])
    await channel(play, "hold", "cheap", "--reason", "wait")
    held = Case("held", "0000", params=SWITCHED)
    await play.place(held)

    async def waits() -> bool:
        return [part["status"] for part in await parts_or_none(play, "held")] == [20]

    await eventually(waits, ENDS_S, every_s=0.1)
    await channel(play, "release", "cheap")
    await play.ended([held])


async def parts_or_none(play: Play, name: str) -> list[dict[str, Any]]:
    found = await play.rows("order", "SELECT FROM oms_order_info WHERE request_no = $1", name)
    return await play.parts(name) if found else []


async def channel(play: Play, *command: str) -> str:
    """`shoudan channel ...`, as an operator runs it."""
    argv = (sys.executable, "-m", "shoudan_cli", "channel", *command)
    child = await asyncio.create_subprocess_exec(
        *argv, env=play.system.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await child.communicate()
    assert child.returncode == 0, told.decode()
    return told.decode()


@pytest.mark.parametrize("case", CASES + AT_OVERTIME, ids=lambda case: case.name)
async def test_an_order_ends_as_its_account_says(play, case) -> None:
    status, answer = play.placed[case.name]
    assert (status, answer["status"]) == (200, UNDER_WAY), answer
    assert await play.partner.status(case.name) == case.status
    told = [letter["status"] for letter in await play.told(case.name)]
    assert told[-1:] == ([] if case.status == UNDER_WAY else [case.status])
    assert await play.money(case.name) == (case.down, case.up)

    parts = await play.parts(case.name)
    assert sum(part["request_count"] for part in parts) == case.attempts
    sources = {SOURCES.get(part["result_source"], "") for part in parts}
    assert sources == {case.source}
    if case.words:
        incidents = await play.rows(
            "delivery",
            "SELECT error_msg FROM vds_order_exp WHERE coop_order_id = ANY($1)",
            [part["coop_order_id"] for part in parts],
        )
        assert any(case.words in one["error_msg"] for one in incidents), incidents


@pytest.mark.parametrize("name", ["unknown_for_ever", "lost_and_never_sent_again"])
async def test_what_nobody_knows_at_overtime_is_left_to_a_person(play, name) -> None:
    audits = await play.rows(
        "order",
        "SELECT audit_status, audit_msg FROM oms_audit_info JOIN oms_order_info USING (order_id)"
        " WHERE request_no = $1",
        name,
    )
    assert [one["audit_status"] for one in audits] == [20]


@pytest.mark.parametrize(("name", "suppliers"), [("contradiction", 1), ("two_contradictions", 2)])
async def test_a_supplier_that_contradicts_itself_delivers_once_and_parks_the_order(
    play, name, suppliers
) -> None:
    parts = await play.parts(name)
    assert [(part["status"], part["conflict"]) for part in parts] == [(FAILED, True)] * suppliers
    audits = await play.rows(
        "order",
        "SELECT a.delivery_id, a.audit_status FROM oms_audit_info a"
        " JOIN oms_order_info USING (order_id) WHERE request_no = $1",
        name,
    )
    assert [one["audit_status"] for one in audits] == [20] * suppliers
    (took,) = await play.rows(
        "order",
        "SELECT extract(epoch FROM min(e.create_time) - o.create_time) AS seconds FROM event e"
        " JOIN oms_order_info o ON e.key = o.order_id::text AND o.request_no = $1"
        " WHERE e.subject LIKE '%.parked' GROUP BY o.create_time",
        name,
    )
    assert took["seconds"] < 5
    numbers = {str(part["order_no"]) for part in parts}
    journal = (play.system.home / "sandbox.jsonl").read_text("utf-8").splitlines()
    fulfilled = [
        one
        for one in map(json.loads, journal)
        if one["order_no"] in numbers and one["effect"] == "fulfilled"
    ]
    assert len(fulfilled) == suppliers


async def test_an_operator_switches_a_running_system(play) -> None:
    rows = await play.rows(
        "order",
        "SELECT o.request_no, array_agg(d.up_channel_no) AS channels FROM oms_order_info o"
        " JOIN oms_order_delivery d USING (order_id) WHERE d.delivery_status = 0"
        " AND o.request_no IN ('as_ever', 'suspended', 'resumed', 'held') GROUP BY 1",
    )
    delivered = {row["request_no"]: row["channels"] for row in rows}
    assert delivered == {
        "as_ever": ["cheap"],
        "suspended": ["dear"],
        "resumed": ["cheap"],
        "held": ["cheap"],
    }
    assert "cheap" in await channel(play, "ls")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("telling/30", {"order_no": "1", "code": "R_0000", "sign": "0" * 64}, 403),
        ("telling/30", {"order_no": "1", "code": "R_0000"}, 403),
        ("nobody/30", {"order_no": "1", "code": "R_0000"}, 403),
    ],
)
async def test_a_notify_that_is_none_of_the_suppliers_is_refused(play, path, body, status) -> None:
    url = f"{play.system.gateway_url}/vds/notify/{path}"
    async with play.partner.http.post(url, json=body) as answer:
        assert answer.status == status
        assert (await answer.read()).strip() != b"success"


async def test_everything_adds_up(play) -> None:
    await play.partner.ledger_is_whole()
    letters: dict[str, int] = {}
    for name in [case.name for case in CASES + AT_OVERTIME] + [
        "as_ever", "suspended", "resumed", "held",
    ]:  # fmt: skip
        letters |= {letter["request_no"]: letter["status"] for letter in await play.told(name)}
    await invariants.check(play.system, letters=letters)
