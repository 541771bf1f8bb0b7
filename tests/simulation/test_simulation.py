"""The simulation is deterministic, keeps its laws, and breaks them where the product is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import pytest

from tests.simulation.main import ROOT, bitten, known
from tests.simulation.plan import Size, plan
from tests.simulation.run import Run, simulate
from tests.simulation.store import DECIDED, Table
from tests.simulation.system import quiet

SMALL: Final = Size(orders=150, batch=15, faults=30)
SEEDS: Final = (1, 2, 3)


@pytest.fixture(autouse=True)
def silent() -> None:
    quiet()


@pytest.mark.parametrize("seed", [*SEEDS, *known()])
def test_no_law_is_broken(seed: int) -> None:
    outcome = simulate(seed, SMALL)
    assert not outcome.broken
    assert outcome.orders > 100
    assert outcome.transitions > 2_000
    assert outcome.checks > 500
    assert sum(outcome.faults.values()) > 15


def test_a_seed_is_the_same_run_again() -> None:
    small = Size(orders=40, batch=10, faults=20)
    first, again, other = simulate(4, small), simulate(4, small), simulate(5, small)
    assert first == again
    assert first.digest != other.digest


def test_a_seed_is_the_same_run_in_every_process() -> None:
    """Whatever order sets of texts and maps of messages have there."""
    program = (
        "from tests.simulation.run import Size, simulate\n"
        "from tests.simulation.system import quiet\n"
        "quiet()\n"
        "print(simulate(4, Size(orders=60, batch=15, faults=20)).digest)\n"
    )
    digests: list[str] = []
    for order in ("1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": order}
        command = [sys.executable, "-c", program]
        said = subprocess.check_output(command, cwd=ROOT, env=environment, text=True)
        digests.append(said.splitlines()[-1])
    assert digests[0] == digests[1]


# Bugs of tests/mutants, and the law that each breaks within a few seeds; `just simulate --mutants` tries all.
BUGS: Final = {
    "any_200_acknowledges": "I15",
    "a_failed_part_stays_bound": "I8",
    "failed_at_once_and_paid_after_all": "I7",
    "another_key_is_voided": "I7",
    "a_contradiction_is_not_reported": "I5",
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_breaks_the_law_that_it_is_about(bug: str) -> None:
    seed, broken = bitten(bug)
    assert seed
    assert broken.startswith(BUGS[bug])


def test_a_plan_is_drawn_before_the_run_and_may_be_cut() -> None:
    steps = plan(7, SMALL)
    assert steps == plan(7, SMALL)
    assert [step.number for step in steps] == list(range(len(steps)))
    orders = [step.number for step in steps if step.what == "order"]
    outcome = simulate(7, SMALL, orders[:2])
    assert outcome.orders == 30
    assert not outcome.broken


def test_what_a_process_had_not_committed_dies_with_it() -> None:
    run = Run(1, SMALL)
    store, system = run.system.order_store, run.system
    pool = None

    async def half() -> None:
        async with pool.begin() as db:
            db._begin().written["oms_order_info"] = {1: {"order_id": 1}}
            db.held.locks.append(("oms_order_info", 1))
            store.locked["oms_order_info", 1] = db.held
            await system.loop.create_future()

    from tests.simulation.loop import Node
    from tests.simulation.store import Pool

    node = Node(system.loop, "order-9")
    pool = Pool(store, node)
    node.spawn(half())
    system.loop.run(1.0)
    assert store.locked
    node.kill()
    assert not store.locked
    assert 1 not in store.tables["oms_order_info"].rows


def test_an_index_follows_its_rows() -> None:
    table = Table("some", ("of",))
    table.put(1, {"of": "a"})
    table.put(2, {"of": "a"})
    table.put(1, {"of": "b"})
    table.put(2, None)
    assert {name: list(keys) for name, keys in table.index["of"].items()} == {"b": [1]}


def test_only_what_is_decided_counts_as_a_transition() -> None:
    assert {"task", "event", "outbox", "account_info"}.isdisjoint(DECIDED)
    assert {"oms_order_info", "oms_refund_info", "vds_order_info", "account_record"} <= DECIDED
