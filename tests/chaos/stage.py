"""The system that the faults are put on: two replicas of everything, each hop over a link that breaks."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_cli.clients import Clients
from shoudan_cli.credentials import present
from shoudan_cli.system import System, demo_catalogue
from shoudan_cli.wiring import LOOPBACK, SERVICES, replica
from tests.chaos import plan
from tests.chaos.pair import Pair
from tests.chaos.proxy import Link, linked

CHANNEL, POOR = "test", "poor"
LEASE_S = 2
CREDIT_MICROS = 10**14
SETTINGS = {
    "SHOUDAN_TASK_LEASE_S": str(LEASE_S),
    "SHOUDAN_DRAIN_S": "6",
    "SHOUDAN_GATEWAY_LAME_DUCK_S": "1",
    "SHOUDAN_RPC_CONNECTION_AGE_S": "5",
    "SHOUDAN_ORDER_NOTIFY_WAITS_S": json.dumps([1, 1, 2, 2, 3]),
    "SHOUDAN_ORDER_NOTIFY_COUNT_MAX": "60",
    "SHOUDAN_ORDER_NOTIFY_TIMEOUT_S": "3",
    "SHOUDAN_ORDER_PAY_SHORT_AGAIN_S": "5",
    "SHOUDAN_DELIVERY_BREAKER_PAUSE_S": "3",
    "SHOUDAN_LOG_LEVEL": "warning",
}
BEFORE = "  - channel_no: ycdown\n"
WITHOUT_MONEY = """  - channel_no: poor
    channel_name: poor
    auth_mode: none
    allowed_networks: [127.0.0.0/8]
    notify_networks: [127.0.0.0/8]
    shelves:
      - shelf_id: 99
        shelf_name: poor
        products:
          - { product_id: 990, line_id: 1, carrier_no: ZSH, face: 200, sell_discount: 0.99, limit_count: 10 }
"""
MONEY = "opening_yuan: 99999.99"
CONNECTIONS = 250


class Stage(System):
    """A whole system whose processes find the servers and each other behind links, by name."""

    server = Pair
    links: dict[str, Link]

    async def _start_servers(self, stack: AsyncExitStack) -> None:
        await super()._start_servers(stack)
        await self.pair.pair(CONNECTIONS)
        self.links = {}
        for name in plan.ANY_LINK:
            _, _, server = name.partition(">")
            self.links[name] = await stack.enter_async_context(linked(self._port(server)))

    @property
    def pair(self) -> Pair:
        """PostgreSQL."""
        assert isinstance(self.postgres, Pair)
        return self.postgres

    def _port(self, server: str) -> int:
        if server == plan.POSTGRES:
            return self.postgres.port
        return self.nats.port if server == plan.NATS else self.ports[server]

    def _environment(self) -> dict[str, str]:
        found = super()._environment()
        for client, server in plan.CALLS:
            ports = [
                self.links[f"{client}>{replica(server, number)}"].port
                for number in range(1, plan.REPLICAS + 1)
            ]
            target = "ipv4:" + ",".join(f"{LOOPBACK}:{port}" for port in ports)
            found[f"SHOUDAN_{client.upper()}_{server.upper()}_TARGET"] = target
        for name in SERVICES:
            database = f"shoudan_{name}"
            url = self.postgres.tcp_url(database, database)
            port = self.links[f"{name}>{plan.POSTGRES}"].port
            found[f"SHOUDAN_{name.upper()}_DATABASE_URL"] = url.replace(
                f":{self.postgres.port}/", f":{port}/"
            )
        for name in plan.ON_NATS:
            port = self.links[f"{name}>{plan.NATS}"].port
            found[f"SHOUDAN_{name.upper()}_NATS_URL"] = self.nats.url.replace(
                f":{self.nats.port}", f":{port}"
            )
        return found

    @property
    def gateways(self) -> list[str]:
        """Where partners call: both."""
        names = [replica(plan.GATEWAY, number) for number in range(1, plan.REPLICAS + 1)]
        return [f"http://{LOOPBACK}:{self.ports[name]}" for name in names]

    def both(self) -> Clients:
        """Clients of the services that find either replica, not over the links: an operator's."""
        targets = {
            name: "ipv4:"
            + ",".join(
                f"{LOOPBACK}:{self.ports[replica(name, number)]}"
                for number in range(1, plan.REPLICAS + 1)
            )
            for name in SERVICES
        }
        present(self.id, self.home, targets.values())
        return Clients(targets, timeout_s=10, identity=self.identity)

    def mend(self) -> None:
        """All links whole."""
        for link in self.links.values():
            link.mend()


def catalogue() -> str:
    """The demonstration's, with a channel that has no money; the other's credit is enough for all orders."""
    written = demo_catalogue().read_text("utf-8")
    assert BEFORE in written
    assert MONEY in written
    credit = f"{MONEY}, credit_yuan: {CREDIT_MICROS // 1_000_000}"
    return written.replace(BEFORE, WITHOUT_MONEY + BEFORE, 1).replace(MONEY, credit, 1)


async def fill(clients: Clients, channel: str = CHANNEL) -> None:
    """Credit enough for all orders of a channel."""
    key = pay.AccountKey(ident="oms", groups="down_channel", eid=channel)
    message = pay.UpdateAccountRequest(key=key, credit_micros=CREDIT_MICROS)
    await clients.call("pay", pay_grpc.LedgerServiceStub, "UpdateAccount", message)


@asynccontextmanager
async def staged(report: Callable[[Any], None]) -> AsyncGenerator[Stage]:
    """A running one, with money, gone afterwards."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".yaml") as file:
        file.write(catalogue())
        file.flush()
        async with Stage.start(
            profile="test",
            env=SETTINGS,
            catalogue=Path(file.name),
            replicas=plan.REPLICAS,
            connections=CONNECTIONS,
            report=report,
        ) as stage:
            clients = stage.clients()
            await fill(clients)
            await clients.close()
            yield stage
