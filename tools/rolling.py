"""Runs the processes of an earlier commit beside ours, on our schema: what a rolling upgrade does.

    .venv/bin/python tools/rolling.py COMMIT [ORDERS]

By hand: CI works on a checkout that may have no history. Its own test is weaker and runs always: every
statement of the recorded release on the new schema, in its role (tests/test_revisions.py). Here a whole
system of ours starts and migrates, then order, delivery, pay and a gateway of COMMIT beside it, with our
packages and its code. Orders go through both gateways at once, the old order process is killed in the
middle and the old ones leave before all has ended; at last every order has ended once and the ledger holds.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import aiohttp

from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_cli.system import System
from shoudan_cli.wiring import SERVICES
from tests.system import invariants
from tests.system.beside import Beside, beside, roots
from tests.system.conftest import Partner

ORDERS: Final = 200
AT_ONCE: Final = 20


@contextmanager
def checkout(commit: str) -> Generator[Path]:
    """The files of a commit, as long as it lasts."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "code"
        place.mkdir()
        packed = subprocess.run(
            [shutil.which("git") or "git", "-C", str(ROOT), "archive", commit],
            check=True,
            stdout=subprocess.PIPE,
        )
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
            files.extractall(place, filter="data")
        yield place


def revisions(code: Path) -> str:
    """The newest revision of each service that these files have."""
    found = {
        service: max(numbers)
        for service in SERVICES
        if (numbers := [one.name[:4] for one in _revision_files(code / "services" / service)])
    }
    return " ".join(f"{service} {number}" for service, number in found.items())


def _revision_files(service: Path) -> list[Path]:
    return list(service.glob("shoudan_*/migrations/versions/0*.py"))


def _knows_tls(code: Path) -> bool:
    return (code / "kit/shoudan_kit/tls/hops.py").is_file()


def check_code(code: Path) -> None:
    """Stop when the processes would run our code after all."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, roots(code)))}
    where = "import shoudan_order, shoudan_kit; print(shoudan_order.__file__, shoudan_kit.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], env=env, check=True, capture_output=True, text=True
    )
    assert all(one.startswith(str(code)) for one in found.stdout.split()), found.stdout


async def old_processes(system: System, code: Path) -> tuple[Beside, ...]:
    """Old order calls old delivery and our pay; old delivery reports to our order."""
    pay_old = beside(system, "pay", {}, code=code)
    delivery = beside(system, "delivery", {}, code=code)
    order = beside(system, "order", {"SHOUDAN_DELIVERY_TARGET": delivery.target}, code=code)
    gateway = beside(
        system,
        "gateway",
        {"SHOUDAN_ORDER_TARGET": order.target, "SHOUDAN_PAY_TARGET": pay_old.target},
        code=code,
    )
    made = (pay_old, delivery, order, gateway)
    await system.supervisor.start(*(one.process for one in made), watch=True)
    return made


class Through(Partner):
    """A partner that calls another gateway."""

    url: str = ""

    async def get(self, path: str, **params: Any) -> tuple[int, Any]:
        values = {name: str(value) for name, value in params.items()}
        async with self.http.get(self.url + path, params=values) as answer:
            return answer.status, await answer.json(content_type=None)


async def place(
    system: System, partners: dict[str, Partner], orders: int, victim: Beside
) -> dict[str, list[str]]:
    """Orders through each gateway; in the middle the victim is killed."""
    room, numbers = asyncio.Semaphore(AT_ONCE), {name: list[str]() for name in partners}

    async def one(name: str, at: int) -> None:
        async with room:
            number = f"{partners[name].prefix}-{name}-{at}"
            await partners[name].order_again_and_again(number)
            numbers[name].append(number)
        if name == "old" and at == orders // 2:
            await system.kill(victim.process.name)

    await asyncio.gather(*(one(name, at) for at in range(orders) for name in partners))
    return numbers


async def run(code: Path, orders: int) -> None:
    """The whole upgrade. Raises AssertionError for an order that does not end."""
    async with (
        System.start(profile="test", tls=_knows_tls(code)) as system,
        aiohttp.ClientSession() as http,
    ):
        began = time.monotonic()
        clients = system.clients()
        key = pay.AccountKey(ident="oms", groups="down_channel", eid="test")
        credit = pay.UpdateAccountRequest(key=key, credit_micros=10**13)
        await clients.call("pay", pay_grpc.LedgerServiceStub, "UpdateAccount", credit)
        old = await old_processes(system, code)
        ours, theirs = Partner(system, http, clients), Through(system, http, clients)
        theirs.url, theirs.prefix = f"http://{old[-1].target}", ours.prefix
        placed = await place(system, {"old": theirs, "new": ours}, orders, old[2])
        for one in reversed(old):
            await system.stop(one.process.name)
        for name, numbers in placed.items():
            await ours.all_ended(f"{ours.prefix}-{name}-", len(numbers))
        await ours.ledger_is_whole()
        await invariants.check(system)
        await clients.close()
        print(f"{2 * orders} orders ended once each, in {time.monotonic() - began:.0f} s")


def main() -> None:
    """COMMIT, and how many orders through each gateway."""
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    orders = int(sys.argv[2]) if len(sys.argv) == 3 else ORDERS
    with checkout(sys.argv[1]) as code:
        check_code(code)
        print(f"{sys.argv[1]}: {revisions(code)}\nours: {revisions(ROOT)}")
        asyncio.run(run(code, orders))


if __name__ == "__main__":
    main()
