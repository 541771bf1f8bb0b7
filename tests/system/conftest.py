"""The whole system for these tests: every process real, on ports of its own, gone afterwards."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_cli.clients import Clients
from shoudan_cli.system import System
from shoudan_kit.db.pool import Database
from shoudan_kit.process.polling import until
from shoudan_order.states import NotifyStatus
from tests.console.chromium import PROGRAM
from tests.pay.ledger.invariants import broken
from tests.poll import eventually
from tests.receiver import Receiver, receiving

# A browser is steered where there is one; the head of a run says so where there is none.
collect_ignore = [] if PROGRAM else ["test_try_call.py"]

ORDER = {
    "channel_no": "test",
    "line_id": "1",
    "carrier_no": "ZSH",
    "invoice_type": "1",
    "num": "1",
    "face": "200",
    "amount": "198",
    "rechage_account": "100011000000000",
}
ENDED_S = 60


@dataclass
class Partner:
    """A down channel that places orders and reads what it is told."""

    system: System
    http: aiohttp.ClientSession
    clients: Clients
    numbers: Any = field(default_factory=itertools.count)
    prefix: str = field(default_factory=lambda: f"s{time.time_ns() // 1_000_000:x}")

    def number(self) -> str:
        return f"{self.prefix}-{next(self.numbers)}"

    async def get(self, path: str, **params: Any) -> tuple[int, Any]:
        url = self.system.gateway_url + path
        async with self.http.get(url, params={k: str(v) for k, v in params.items()}) as answer:
            return answer.status, json.loads(await answer.text())

    async def order(self, **changed: Any) -> tuple[int, Any]:
        values = {**ORDER, "notify_url": f"{self.system.sandbox_url}/inbox/test", **changed}
        values.setdefault("request_no", self.number())
        return await self.get("/order/request", **values)

    async def order_again_and_again(self, request_no: str) -> None:
        """As a partner does who got no answer: the same request until one comes."""

        async def placed() -> bool:
            try:
                status, _ = await self.order(request_no=request_no)
            except (aiohttp.ClientError, TimeoutError, OSError):
                return False
            return status == 200

        await eventually(placed, ENDED_S, every_s=0.2)

    async def status(self, request_no: str) -> int | None:
        try:
            status, body = await self.get("/order/query", channel_no="test", request_no=request_no)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        return body["status"] if status == 200 else None

    async def sql(self, service: str, query: str, *args: Any) -> Any:
        async with self.system.postgres.admin(f"shoudan_{service}") as db:
            return await db.fetchval(query, *args)

    async def all_ended(self, prefix: str, count: int, *, queried: bool = False) -> None:
        """Every order of the prefix delivered, its supplier paid, its partner told.

        Who queries an order that has ended is told by the answer: `queried` lets that do for a notify.
        """
        told = [NotifyStatus.DONE, NotifyStatus.ANSWERED] if queried else [NotifyStatus.DONE]

        async def ended() -> bool:
            done = await self.sql(
                "order",
                "SELECT count(*) FROM oms_order_info WHERE request_no LIKE $1 || '%'"
                " AND order_status = 0 AND notify_status = ANY($2) AND complete_up_pay = 0",
                prefix,
                told,
            )
            return done == count

        if not await until(ended, ENDED_S, every_s=0.2):
            raise AssertionError(f"not all of {prefix} ended: {await self.open_orders(prefix)}")

    async def open_orders(self, prefix: str) -> str:
        """The first orders that have not ended, with the tasks that should end them."""
        async with self.system.postgres.admin("shoudan_order") as db:
            rows = await db.fetch(
                "SELECT o.order_id, o.order_status, o.payment_status, o.notify_status,"
                " o.complete_up_pay, o.parked_reason,"
                " (SELECT json_agg(json_build_array(t.name, t.status, t.count, t.last_error,"
                " t.next_execute_time)) FROM task t WHERE t.order_no = o.order_id::text) AS tasks,"
                " (SELECT json_agg(json_build_array(d.delivery_status, d.return_msg))"
                " FROM oms_order_delivery d WHERE d.order_id = o.order_id) AS deliveries"
                " FROM oms_order_info o WHERE o.request_no LIKE $1 || '%'"
                " AND NOT (order_status = 0 AND notify_status = 0 AND complete_up_pay = 0)"
                " ORDER BY order_id LIMIT 5",
                prefix,
            )
        return "\n".join(str(dict(row)) for row in rows) or "some were never placed"

    async def ledger_is_whole(self) -> None:
        stub: Any = pay_grpc.LedgerServiceStub(self.clients.channel("pay"))
        last: Any = None
        async for told in stub.Verify(pay.VerifyRequest()):
            last = told
        assert last.done
        assert not last.findings

    async def journal(self) -> Any:
        async with self.http.get(f"{self.system.sandbox_url}/supplier/journal") as answer:
            return json.loads(await answer.text())

    async def balance(self) -> int:
        key = pay.AccountKey(ident="oms", groups="down_channel", eid="test")
        message = pay.GetAccountRequest(key=key)
        answer = await self.clients.call("pay", pay_grpc.LedgerServiceStub, "GetAccount", message)
        return answer.account.balance_micros


@pytest.fixture(scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    """The collector of the shared system."""
    async with receiving() as one:
        yield one


@pytest.fixture(scope="session")
async def system(receiver: Receiver) -> AsyncIterator[System]:
    """Every request of it is sampled, so that following one is part of every test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOUDAN_TRACE_ENDPOINT", receiver.endpoint)
        patch.setenv("SHOUDAN_TRACE_RATIO", "1")
        async with System.start(profile="test") as running:
            yield running


@pytest.fixture(scope="session")
async def spare_system() -> AsyncIterator[System]:
    """Another one, where accounts, prices and keys are changed at will."""
    async with System.start(profile="test") as running:
        yield running


@pytest.fixture(autouse=True)
async def the_ledger_holds(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """After every test of the system, whatever it did: the ledger's invariants as SQL."""
    yield
    if not {"system", "partner"} & set(request.fixturenames):
        return
    running: System = request.getfixturevalue("system")
    database = Database(running.databases["pay"].owner)
    try:
        assert await broken(database) == {}
    finally:
        await database.dispose()


@pytest.fixture(scope="session")
async def partner(system: System) -> AsyncIterator[Partner]:
    clients = system.clients()
    timeout = aiohttp.ClientTimeout(total=15)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        one = Partner(system, http, clients)
        message = pay.UpdateAccountRequest(
            key=pay.AccountKey(ident="oms", groups="down_channel", eid="test"),
            credit_micros=10**13,
        )
        await clients.call("pay", pay_grpc.LedgerServiceStub, "UpdateAccount", message)
        yield one
    await clients.close()
