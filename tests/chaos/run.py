"""One run: quiet, faults, heal, drain, check, report.

    just chaos [--seed N] [--tier smoke|commit|hour] [--known] [--out FOLDER]

Without --seed one is made of the time. With --known the seeds of known_bad.txt are run, too. Ends with an
error when a law is broken, and then notes the seed there.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp

from shoudan_kit.process.child import Child
from shoudan_kit.process.polling import until
from tests.chaos import checker, plan, report
from tests.chaos.history import History
from tests.chaos.lasting import lasting
from tests.chaos.nemesis import Nemesis
from tests.chaos.partner import CALL_S, Partner, inbox
from tests.chaos.plan import Plan, Tier
from tests.chaos.stage import Stage, staged
from tests.preloaded import Nursery, started
from tests.system.turned import turn

HERE = Path(__file__).parent
KNOWN = HERE / "known_bad.txt"
OUT = HERE.parents[1] / "docs" / "chaos"
OVERTIMES_S = (700, 1_500)
PUBLISHED_S = 90
LOAD_S = 20


@dataclass
class Run:
    """A run and what it has found."""

    plan: Plan
    history: History = field(default_factory=History)
    restarts: Counter[str] = field(default_factory=Counter)
    phases_s: dict[str, float] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    nemesis: Nemesis | None = None

    @property
    def size(self) -> Tier:
        return plan.TIERS[self.plan.tier]

    def heard(self, line: object) -> None:
        """What the supervisor says."""
        self.restarts[str(line).partition(" ")[0]] += 1

    async def go(self, folder: Path) -> None:
        """All phases. The system's history and the logs of a broken run are kept in `folder`."""
        timeout = aiohttp.ClientTimeout(total=CALL_S)
        began = time.monotonic()
        async with (
            staged(self.heard) as stage,
            inbox(self.history) as box,
            aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http,
        ):
            self.phases_s["start"] = time.monotonic() - began
            clients = stage.both()
            self.nemesis = Nemesis(stage, box, http, clients)
            partner = Partner(http, stage.gateways, box, self.history)
            try:
                await self._live(stage, partner)
                await self._timed("check", self._check(stage, clients))
            finally:
                await clients.close()
                self.errors = report.errors_of(stage.home / "logs")
                if self.violations or sys.exc_info()[0]:
                    place = report.keep(stage.home / "logs", self.history, folder, self.plan)
                    await report.keep_rows(stage, place)

    async def _live(self, stage: Stage, partner: Partner) -> None:
        assert self.nemesis is not None
        nemesis = self.nemesis
        lives = [asyncio.create_task(self._order(partner, one)) for one in self.plan.orders]
        self._began = time.monotonic()
        await self._timed("quiet", lasting(plan.QUIET_S))
        await self._timed("faults", nemesis.run(list(self.plan.faults), time.monotonic()))
        await self._timed("heal", nemesis.heal(plan.QUEUES))
        partner.healed.set()
        ends = await asyncio.gather(*lives, return_exceptions=True)
        self.violations += [f"L an order was given up: {one!r}" for one in ends if one]
        await self._timed("drain", self._drain(stage))

    async def _order(self, partner: Partner, wanted: Any) -> None:
        await lasting(wanted.at_s)
        await partner.live(wanted)

    async def _drain(self, stage: Stage) -> None:
        """What ends by itself ends by itself; the clock is turned for what waits for an overtime."""
        left: list[str] = []

        async def ended() -> bool:
            left[:] = checker.of_itself(self.plan, await checker.orders_of(stage))
            return not left

        if not await until(ended, self.size.drain_s, every_s=1):
            open_ = await checker.open_parts(stage)
            self.violations += [f"L did not end by itself: {one}" for one in left[:20]]
            self.violations += [f"  {one}" for one in open_[:20]]
        for seconds in OVERTIMES_S:
            await turn(stage, seconds)
        await self._comes("L {} orders have no rest", partial(checker.restless, stage))
        published = partial(checker.unpublished, stage, ("order", "delivery", "pay"))
        await self._comes("I13 {} transactions' events are unpublished", published)

    async def _comes(self, words: str, count: Callable[[], Any]) -> None:
        """Until nothing of it is left."""
        left = [0]

        async def none() -> bool:
            left[0] = await count()
            return left[0] == 0

        if not await until(none, max(self.size.drain_s, PUBLISHED_S), every_s=1):
            self.violations.append(words.format(left[0]))

    async def _check(self, stage: Stage, clients: Any) -> None:
        self.violations += await checker.violations(stage, clients, self.plan, self.history)

    async def _timed(self, name: str, work: Any) -> None:
        began = time.monotonic()
        try:
            await work
        finally:
            self.phases_s[name] = time.monotonic() - began
            print(f"  {name} {self.phases_s[name]:.1f} s", flush=True)


async def one(seed: int, tier: str, out: Path | None) -> Run:
    """A whole run of a seed, its report written to `out`."""
    run = Run(plan.drawn(seed, tier))
    print(run.plan.line(), flush=True)
    await run.go((out or HERE) / "kept")
    if out is not None:
        report.write(run, out)
    print(report.summary(run), flush=True)
    return run


def known() -> list[tuple[int, str]]:
    """Seeds that once broke a law, and their tiers."""
    lines = (line.partition("#")[0].split() for line in KNOWN.read_text("utf-8").splitlines())
    return [(int(words[0]), words[1]) for words in lines if words]


def note(run: Run) -> None:
    """Keep the seed of a run that broke a law."""
    if (run.plan.seed, run.plan.tier) not in known():
        with KNOWN.open("a", encoding="utf-8") as file:
            file.write(f"{run.plan.seed} {run.plan.tier}  # {run.violations[0][:90]}\n")


async def all_of(seeds: list[tuple[int, str]], out: Path | None) -> list[Run]:
    """One after the other; processes are forked from one that has loaded them."""
    nursery, spawn, runs = Nursery(), Child.spawn, []
    with mock.patch.object(Child, "spawn", partial(started, nursery, spawn)):
        await until(lambda: nursery.ready, LOAD_S)
        try:
            for seed, tier in seeds:
                runs.append(await one(seed, tier, out))
        finally:
            nursery.close()
    return runs


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="just chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--tier", choices=sorted(plan.TIERS), default="commit")
    parser.add_argument("--known", action="store_true", help="the known bad seeds, too")
    parser.add_argument("--out", type=Path, default=OUT, help="where the report is written")
    asked = parser.parse_args()
    seeds = [(asked.seed, asked.tier)]
    if asked.known:
        seeds = [*known(), *seeds]
    runs = asyncio.run(all_of(list(dict.fromkeys(seeds)), asked.out))
    for run in runs:
        if run.violations:
            note(run)
    sys.exit(any(run.violations for run in runs))


if __name__ == "__main__":
    main()
