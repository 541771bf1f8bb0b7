"""Every named fault point in the life of an order, failed at in every way, for every way an order may end.

    just sweep [--only PREFIX]     # each point in each way
    just sweep --pairs             # dies at one point, and then at another: each ordered pair of a life
    just sweep --points            # no fault: the points of each life, and those that no life passes

First each life is lived once and the points that it passes are recorded. Then, life by life, each point is
armed in turn: the process dies there, stands still for longer than a lease, raises what nobody foresaw, or
loses its connection. The order must end as its life says all the same; at last the laws are checked over all
of them. A point that does not fire where it was passed before fails the run, as a law that is broken does.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import aiohttp

from shoudan.core.v1 import operations_service_pb2 as operations
from shoudan.core.v1 import operations_service_pb2_grpc as operations_grpc
from shoudan_cli.clients import Clients
from shoudan_cli.system import System, demo_catalogue
from shoudan_kit.process.child import Child
from shoudan_kit.process.polling import until
from tests.chaos import checker, report
from tests.chaos.partner import PARTS
from tests.chaos.run import LOAD_S, OUT
from tests.chaos.stage import fill
from tests.preloaded import Nursery, started
from tests.system import invariants

ROOT = Path(__file__).parents[2]
VERBS = ("exit", "pause", "raise", "drop")
OURS = ("order.", "refund.", "delivery.", "ledger", "notify.")
END_S = 60
FIRE_S = 15
HURRY_S = 4
HURRIED = "hurried"  # a channel whose orders have a short overtime
BEFORE = "  - channel_no: ycdown\n"
CHANNEL = """  - channel_no: hurried
    channel_name: hurried
    auth_mode: none
    allowed_networks: [127.0.0.0/8]
    notify_networks: [127.0.0.0/8]
    shelves:
      - shelf_id: 98
        shelf_name: hurried
        order_overtime_s: 4
        products:
          - { product_id: 980, line_id: 1, carrier_no: ZSH, face: 200, sell_discount: 0.99, limit_count: 10 }
          - product_id: 981
            line_id: 1
            carrier_no: ZSH
            face: 1000
            sell_discount: 0.99
            can_split_order: true
            split_order_face: 100
            limit_count: 1
"""


@dataclass(frozen=True)
class Life:
    """A way an order may live: what is ordered, how its supplier behaves, how it ends."""

    name: str
    part: str
    tail: str
    ends: tuple[int, ...]
    channel: str = "test"
    refund: str = ""


LIVES = (
    Life("success", "card", "0000", (0,)),
    Life("failure", "card", "0001", (90,), HURRIED),
    Life("unknown", "card", "0002", (0,)),
    Life(
        "partial", "split", "0004", (91, 90), HURRIED
    ),  # 90: the fault took longer than its overtime
    Life("refund", "voucher", "0000", (90,), refund="general"),
)
_ENDED = """
SELECT count(*) FROM oms_order_info o WHERE request_no = $1 AND order_status = ANY($2)
    AND notify_status IN (0, 100) AND refund_status <> 20
    AND NOT EXISTS (SELECT FROM oms_order_delivery d WHERE d.order_id = o.order_id
        AND d.up_payment_status = 30)
    AND NOT EXISTS (SELECT FROM oms_refund_info r WHERE r.order_id = o.order_id
        AND (refund_status NOT IN (0) OR refund_notify_status <> 0))
"""
_DELIVERED = "SELECT count(*) FROM oms_order_info WHERE request_no = $1 AND order_status = 0"


@dataclass
class Sweep:
    """One run over all points."""

    system: System
    http: aiohttp.ClientSession
    clients: Clients
    file: Path
    done: int = 0
    twice: int = 0  # pairs of which the second fired, too
    broken: list[str] = field(default_factory=list)

    async def get(self, path: str, **params: Any) -> int:
        """The status; 0 without an answer."""
        url = self.system.gateway_url + path
        try:
            async with self.http.get(url, params={k: str(v) for k, v in params.items()}) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0

    async def again(self, path: str, **params: Any) -> bool:
        """As a partner does: until it is answered."""

        async def answered() -> bool:
            return await self.get(path, **params) == 200

        return await until(answered, END_S, every_s=0.1)

    async def count(self, sql: str, *args: Any) -> bool:
        return bool((await invariants.rows_of(self.system, "order", sql, *args))[0]["count"])

    async def hurry(self) -> None:
        """As an operator does after an error that nobody foresaw: its task is tried again in minutes else."""
        stub = operations_grpc.OperationsServiceStub
        for service in ("order", "delivery"):
            listed = await self.clients.call(
                service, stub, "ListTasks", operations.ListTasksRequest(page_size=1000)
            )
            if ids := [one.task_id for one in listed.tasks]:
                retry = operations.RetryTasksRequest(task_ids=ids)
                await self.clients.call(service, stub, "RetryTasks", retry)

    async def live(self, life: Life, no: str, *, hurried: bool = False) -> bool:
        """One order to its end; whether it came there."""
        inbox = f"{self.system.sandbox_url}/inbox/sweep"
        common = {"channel_no": life.channel, "request_no": no, "notify_url": inbox}
        placed = await self.again(
            "/order/request",
            **common,
            **PARTS[life.part],
            invoice_type=1,
            num=1,
            rechage_account=f"10001100000{life.tail}",
        )
        delivered = partial(self.count, _DELIVERED, no)
        if hurried and life.refund and not await until(delivered, HURRY_S, every_s=0.05):
            await self.hurry()
        if life.refund and await until(delivered, END_S, every_s=0.05):
            refund = {**common, "refund_no": f"r-{no}", "refund_num": 1}
            placed = placed and await self.again(f"/refund/{life.refund}", **refund)
        ends = list(life.ends)
        if hurried and not await until(lambda: self.count(_ENDED, no, ends), HURRY_S, every_s=0.05):
            await self.hurry()
        return placed and await until(lambda: self.count(_ENDED, no, ends), END_S, every_s=0.05)

    async def passed(self, life: Life) -> list[str]:
        """The points of a life, in the order in which they come first."""
        seen = self.file.with_suffix(".passed")
        seen.write_text("", "utf-8")
        self.file.write_text("record", "utf-8")
        if not await self.live(life, f"{life.name}-0"):
            raise AssertionError(f"a {life.name} does not end without any fault")
        self.file.write_text("", "utf-8")
        found = dict.fromkeys(seen.read_text("utf-8").split())
        return [one for one in found if one.startswith(OURS)]

    async def fail_at(self, life: Life, point: str, verb: str, then: str = "") -> None:
        """One scenario; `then` is where it dies once more, if it comes there after the first."""
        fired = self.file.with_suffix(".fired")
        fired.write_text("", "utf-8")
        self.file.write_text(f"{point}:{verb}", "utf-8")
        later = asyncio.create_task(self._arm_later(point, then)) if then else None
        for kept in self.system.supervisor._kept.values():
            kept.failures = 0  # it is started again at once, however often it died before
        self.done += 1
        no = f"{life.name}-{self.done}"
        ended = await self.live(life, no, hurried=verb == "raise")
        if not await until(lambda: self._fired(point), FIRE_S):
            self.broken.append(f"{life.name} {point} {verb}: the point did not fire")
        if not ended:
            self.broken.append(f"{life.name} {point} {verb} {then}: {no} does not end")
        if later is not None:
            later.cancel()
            self.twice += self._fired(then)
        self.file.write_text("", "utf-8")
        await asyncio.gather(*map(self.system.wait_healthy, ("order", "pay", "delivery")))

    def _fired(self, point: str) -> bool:
        return point in self.file.with_suffix(".fired").read_text("utf-8").split()

    async def _arm_later(self, first: str, then: str) -> None:
        """Once the first has fired."""
        if await until(lambda: self._fired(first), END_S, every_s=0.005):
            self.file.write_text(f"{then}:exit", "utf-8")

    async def check(self) -> None:
        """All laws, over all orders."""
        try:
            await invariants.check(self.system)
        except AssertionError as error:
            self.broken += str(error).splitlines()
        rows = partial(invariants.rows_of, self.system)
        self.broken += (await invariants.profits(rows))[0]
        self.broken += await checker.ledger_findings(self.clients)


def named(root: Path = ROOT) -> set[str]:
    """Every point that the services of an order's life have, as their sources name them."""
    found: set[str] = set()
    for service in ("order", "delivery", "pay"):
        for path in (root / "services" / service).rglob("*.py"):
            text = path.read_text("utf-8")
            found.update(re.findall(r'\bhit\("([a-z_.]+)"\)', text))
            for name in re.findall(r'\.work\("([a-z_.]+)"\)', text):
                found |= {f"{name}.before_commit", f"{name}.after_commit"}
    return found


def of_tests(root: Path = ROOT) -> str:
    """What the tests say, for the points that they name."""
    return "\n".join(path.read_text("utf-8") for path in (root / "tests").rglob("*.py"))


async def _fail(sweep: Sweep, life: Life, points: Sequence[str], mode: str) -> None:
    """All scenarios of a life."""
    if mode == "pairs":
        for first, then in itertools.permutations(points, 2):
            await sweep.fail_at(life, first, "exit", then)
    elif mode == "each":
        for point, verb in itertools.product(points, VERBS):
            await sweep.fail_at(life, point, verb)


async def swept(
    folder: Path, only: str, lives: Sequence[Life] = LIVES, mode: str = "each"
) -> dict[str, Any]:
    """The whole run; what it found."""
    began, file = time.monotonic(), folder / "faults"
    env = {
        "SHOUDAN_FAULTS": f"file:{file}",
        "SHOUDAN_TASK_LEASE_S": "1",
        "SHOUDAN_TASK_SCAN_S": "0.2",
        "SHOUDAN_ORDER_NOTIFY_WAITS_S": "[1]",
        "SHOUDAN_LOG_LEVEL": "error",
    }
    where = folder / "catalogue.yaml"
    async with (
        System.start(profile="test", env=env, catalogue=where, report=lambda _: None) as system,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=12)) as http,
    ):
        clients = system.clients()
        for channel in ("test", HURRIED):
            await fill(clients, channel)
        sweep, points, passed = Sweep(system, http, clients, file), {}, set[str]()
        for life in lives:
            whole = await sweep.passed(life)
            passed.update(whole)
            points[life.name] = [one for one in whole if one.startswith(only)]
            await _fail(sweep, life, points[life.name], mode)
            print(f"{life.name}: {len(points[life.name])} points, {sweep.broken}", flush=True)
        await sweep.check()
        await clients.close()
    others, tests = named() - passed, of_tests()
    return {
        "commit": report.commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "scenarios": sweep.done,
        "second_fired": sweep.twice,
        "named_by_tests_alone": sorted(one for one in others if one in tests),
        "passed_by_no_life": sorted(one for one in others if one not in tests),
        "points": points,
        "seconds": round(time.monotonic() - began),
        "broken": sweep.broken,
    }


def prepared(folder: Path) -> Path:
    """The files that a system of the sweep reads."""
    text = demo_catalogue().read_text("utf-8").replace(BEFORE, CHANNEL + BEFORE, 1)
    (folder / "catalogue.yaml").write_text(text, "utf-8")
    (folder / "faults").write_text("", "utf-8")
    return folder


async def _run(folder: Path, only: str, mode: str) -> dict[str, Any]:
    nursery = Nursery()
    with mock.patch.object(Child, "spawn", partial(started, nursery, Child.spawn)):
        await until(lambda: nursery.ready, LOAD_S)
        try:
            return await swept(folder, only, mode=mode)
        finally:
            nursery.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="just sweep", description=__doc__)
    parser.add_argument("--only", default="", help="points that begin so")
    modes = parser.add_mutually_exclusive_group()
    for name in ("pairs", "points"):
        modes.add_argument(f"--{name}", dest="mode", action="store_const", const=name)
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    mode = asked.mode or "each"
    with TemporaryDirectory() as folder:
        told = asyncio.run(_run(prepared(Path(folder)), asked.only, mode))
    name = "sweep" if mode == "each" else mode
    (asked.out / f"report-{name}.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    print(f"{told['scenarios']} scenarios in {told['seconds']} s, {len(told['broken'])} broken")
    print("\n".join(told["broken"]))
    sys.exit(bool(told["broken"]))


if __name__ == "__main__":
    main()
