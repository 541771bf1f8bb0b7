"""Runs a seed: its plan, the product on stores in memory, the laws after each commit and in the end."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_kit.tasks import worker
from tests.simulation.laws import Broken, Laws
from tests.simulation.loop import Node
from tests.simulation.operators import Operators
from tests.simulation.partners import Partners
from tests.simulation.plan import Size, Step, plan
from tests.simulation.store import IDLE_S, Ran
from tests.simulation.system import SimApp, System, virtual

REST_S: Final = 300.0  # between looks whether all is quiet
DRAIN_S: Final = 14_400.0
DECISIONS: Final = 4  # times that all is decided that waits: a decision may ask for another
SLOW_STATEMENTS: Final = 1 / 16  # their share; the others take no time
STATEMENT_S: Final = 0.05  # at most
TICK_S: Final = (
    1.0  # a worker looks after its leases; a quarter of it in the product costs the same again
)

IDLE_TICK_S: Final = 5.0  # once nobody asks for anything; a lease is 20 s


@dataclass
class Outcome:
    """What became of a run."""

    seed: int
    transitions: int = 0
    statements: int = 0
    commits: int = 0
    checks: int = 0
    orders: int = 0
    simulated_s: float = 0.0
    digest: str = ""
    broken: str = ""
    faults: dict[str, int] = field(default_factory=dict[str, int])


class Caught:
    """Keeps what is raised: whatever a handler raises that nobody expects is a finding."""

    error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.error = error
        return isinstance(error, Exception)


class Run:
    """One run."""

    def __init__(self, seed: int, size: Size, only: Collection[int] | None = None) -> None:
        self.seed, self.size = seed, size
        self.steps = [s for s in plan(seed, size) if only is None or s.number in only]
        self.system = System(seed, Partners)
        self.laws = Laws(self.system)
        self.operators = Operators(self.system, self.laws, seed)
        self.random = self.system.random
        self.faulty: dict[str, str] = {}  # service -> what befalls its next commits
        self.faults: dict[str, int] = {}
        self.refund_no = 0
        for store in self.system.stores:
            store.faults.at_commit = self._at_commit
            store.faults.delay_s = self._delay_s

    def go(self, trace: Any = None) -> Outcome:
        """Play the plan, heal, wait, look."""
        system = self.system
        if trace is not None:
            for store in system.stores:
                store.committed.append(Trace(system, store.name, trace).commit)
        outcome = Outcome(self.seed)
        tick, worker.TICK_S = worker.TICK_S, TICK_S
        with virtual(system.loop, self.seed), Caught() as caught:
            self._play()
            self._drain()
        worker.TICK_S = tick
        if isinstance(caught.error, Broken):
            outcome.broken = str(caught.error)
        elif caught.error is not None:
            outcome.broken = f"raised: {type(caught.error).__name__}: {caught.error}"
        self.error = caught.error
        self._sum(outcome)
        system.close()
        return outcome

    def _sum(self, outcome: Outcome) -> None:
        system = self.system
        outcome.transitions = system.transitions
        outcome.statements = sum(store.statements for store in system.stores)
        outcome.commits = sum(store.transactions for store in system.stores)
        outcome.checks, outcome.simulated_s = self.laws.checks, system.loop.now
        outcome.orders = len(system.order_store.tables["oms_order_info"].rows)
        outcome.faults = {**self.faults, **system.network.counted, **self.operators.counted}
        text = hashlib.sha256()
        for store in system.stores:
            for table in store.tables.values():
                text.update(
                    f"{table.name} {sorted(table.rows.items(), key=lambda r: str(r[0]))}".encode()
                )
        outcome.digest = text.hexdigest()[:16]

    # ------------------------------------------------------------ the plan
    def _play(self) -> None:
        system = self.system
        system.start_all()
        system.loop.run(1.0)
        for step in self.steps:
            system.loop.run(1.0 + step.at_s)
            self._do(step)
        system.loop.run(1.0 + self.size.seconds)

    def _do(self, step: Step) -> None:
        system, partners = self.system, self.system.partners
        match step.what:
            case "order":
                batch = [partners.new_order() for _ in range(step.size)]
                system.caller.spawn(partners.order(batch))
            case "order again" | "query":
                known = list(partners.wanted.values())
                if known:
                    batch = [known[self.random.randrange(len(known))] for _ in range(step.size)]
                    call = partners.query if step.what == "query" else partners.order
                    system.caller.spawn(call(batch))
            case "refund":
                for _ in range(step.size):
                    self._refund()
            case "operator":
                self.operators.act()
            case _:
                self._fault(step)

    def _refund(self) -> None:
        partners = self.system.partners
        ended = [
            one for one in partners.wanted.values() if one.status in {0, 91} and not one.refused
        ]
        if not ended:
            return
        one = ended[self.random.randrange(len(ended))]
        kind: Any = (pb.REFUND_TYPE_GENERAL, pb.REFUND_TYPE_MANDATORY)[self.random.randrange(2)]
        asked: dict[str, int] = {}
        for _ in range(self.random.choice((1, 1, 1, 2))):
            if one.refunds and not self.random.randrange(4):
                refund_no = one.refunds[-1]
            else:
                self.refund_no += 1
                refund_no = f"f{self.refund_no}"
            asked[refund_no] = self.random.randint(1, one.new.num)
        self.system.caller.spawn(partners.refund(one, asked, kind))

    # ------------------------------------------------------------ faults
    def _app(self, service: str, replica: int) -> SimApp | None:
        for app in self.system.apps:
            if app.name == service and app.number == replica and app.node.alive:
                return app
        return None

    def _count(self, what: str) -> None:
        self.faults[what] = self.faults.get(what, 0) + 1

    def _fault(self, step: Step) -> None:
        chances, loop = self.system.network.chances, self.system.loop
        app = self._app(step.service, step.replica)
        match step.what:
            case "kill":
                if app is not None:
                    self._count("kill")
                    app.node.kill()
            case "freeze":
                if app is not None:
                    self._count("freeze")
                    app.node.freeze(step.seconds)
                    if step.seconds > IDLE_S:
                        loop.add(loop.now + IDLE_S, None, self._lose_patience, (app,), None)
            case "lose calls":
                self._count("lose calls")
                chances.lost_request, chances.lost_answer = 150, 150
                loop.add(loop.now + step.seconds, None, self._calm, ("lost",), None)
            case "slow calls":
                self._count("slow calls")
                chances.slow = 200
                loop.add(loop.now + step.seconds, None, self._calm, ("slow",), None)
            case "repeat calls":
                self._count("repeat calls")
                chances.twice = 200
                loop.add(loop.now + step.seconds, None, self._calm, ("twice",), None)
            case "lose messages":
                self._count("lose messages")
                self.system.bus_lost = 400
                loop.add(loop.now + step.seconds, None, self._calm, ("bus",), None)
            case _:
                self.faulty[step.service] = step.what

    def _lose_patience(self, app: SimApp) -> None:
        if app.node.alive and app.node.frozen_until > self.system.loop.now:
            app.db.time_out()

    def _calm(self, what: str) -> None:
        chances = self.system.network.chances
        if what == "lost":
            chances.lost_request = chances.lost_answer = 0
        elif what == "slow":
            chances.slow = 0
        elif what == "twice":
            chances.twice = 0
        else:
            self.system.bus_lost = 0

    def _delay_s(self) -> float:
        roll = self.random.random()
        return 0.0 if roll > SLOW_STATEMENTS else roll / SLOW_STATEMENTS * STATEMENT_S

    def _at_commit(self, node: Node) -> str:
        service = node.name.partition("-")[0]
        what = self.faulty.get(service)
        if what is None or self.random.randrange(4):
            return ""
        del self.faulty[service]
        self._count(what)
        return {
            "kill before a commit": "before",
            "kill after a commit": "after",
            "refuse commits": "refused",
            "lose the answers of commits": "lost",
        }[what]

    # ------------------------------------------------------------ the end
    def _drain(self) -> None:
        """Heal everything, start what is dead, and wait until nothing is under way."""
        system = self.system
        worker.TICK_S = IDLE_TICK_S
        self.faulty.clear()
        for what in ("lost", "slow", "twice", "bus"):
            self._calm(what)
        system.partners.troubled = False
        for supplier in system.suppliers.values():
            supplier.troubled = False
        system.caller.spawn(self.operators.resume_all())
        self._rest()
        for _ in range(DECISIONS):
            system.caller.spawn(self.operators.settle())
            system.loop.run(system.loop.now + REST_S)
            if not self.operators.waiting():
                break
        self.laws.settled = True
        self._rest()

    def _rest(self) -> None:
        """Wait until the laws of what is quiet hold."""
        system = self.system
        until = system.loop.now + DRAIN_S
        while True:
            system.loop.run(system.loop.now + REST_S)
            try:
                self.laws.at_rest()
                return
            except Broken:
                if system.loop.now >= until:
                    raise


class Trace:
    """Prints what each commit changed."""

    def __init__(self, system: System, store: str, write: Any) -> None:
        self._system, self._store, self._write = system, store, write

    def commit(self, before: Any, after: Any) -> None:
        """One line for each row."""
        node = self._system.loop.node
        who = node.name if node is not None else "-"
        for table, rows in after.items():
            for key, row in rows.items():
                was = before.get(table, {}).get(key) or {}
                new = {name: value for name, value in (row or {}).items() if was.get(name) != value}
                shown = {n: new[n] for n in new if "status" in n or "reason" in n or "micros" in n}
                self._write(
                    f"{self._system.loop.now:10.4f} {who:12} {self._store} {table} {key} {shown}"
                )


def simulate(seed: int, size: Size, only: Collection[int] | None = None) -> Outcome:
    """Run a seed."""
    return Run(seed, size, only).go()


def shrunk(seed: int, size: Size, broken: str) -> list[Step]:
    """A shorter plan that breaks the same law: parts of it are left out as long as it still does."""
    law = broken.split(":", maxsplit=1)[0]
    left = [step.number for step in plan(seed, size)]
    chunk = len(left) // 2
    while chunk:
        at = 0
        while at < len(left):
            tried = left[:at] + left[at + chunk :]
            if simulate(seed, size, tried).broken.split(":")[0] == law:
                left = tried
            else:
                at += chunk
        chunk //= 2
    return [step for step in plan(seed, size) if step.number in left]


__all__ = ["Outcome", "Ran", "Run", "Sequence", "Size", "shrunk", "simulate"]
