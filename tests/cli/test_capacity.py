"""Promises of the capacity model: it follows its measurement, and says what ends first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from shoudan_cli import bench, capacity
from shoudan_cli.capacity import Machines, Measured
from shoudan_cli.footprint import Footprint, between
from tests.test_tidy import ROOT

FILE = ROOT / "docs/capacity.json"
MACHINES = Machines()


@pytest.fixture
def measured() -> Measured:
    return msgspec.json.decode(FILE.read_bytes(), type=Measured)


def dearer(measured: Measured, times: int) -> Measured:
    """The same machine with a CPU so many times slower."""
    cpu = {name: value * times for name, value in measured.lifecycle.cpu_us_per_order.items()}
    life = msgspec.structs.replace(measured.lifecycle, cpu_us_per_order=cpu)
    return msgspec.structs.replace(measured, lifecycle=life)


def test_processes_follow_the_rate_and_the_cpu_and_are_never_fewer_than_replicas(
    measured: Measured,
) -> None:
    assert capacity.processes(measured, MACHINES, 1, "order") == MACHINES.replicas_min
    at_10_000 = capacity.processes(measured, MACHINES, 10_000, "order")
    at_20_000 = capacity.processes(measured, MACHINES, 20_000, "order")
    assert abs(at_20_000 - 2 * at_10_000) <= 1
    assert capacity.processes(dearer(measured, 2), MACHINES, 10_000, "order") == at_20_000


def test_cores_of_all_databases_are_those_of_the_server(measured: Measured) -> None:
    each = [capacity.database_cores(measured, MACHINES, 10**6, n) for n in capacity.DATABASES]
    whole = measured.lifecycle.cpu_us_per_order["postgres"] / MACHINES.busy_max
    assert sum(each) == pytest.approx(whole, rel=0.05)  # the rest is of services without orders


def test_a_slower_disk_needs_more_primaries(measured: Measured) -> None:
    slow = replace(MACHINES, wal_mb_per_s_max=1.0, cores=10**6)
    wal = capacity.wal_mb_per_s(measured, 10_000, "order")
    assert capacity.primaries(measured, slow, 10_000, "order") == -int(-wal // 1)


def test_limits_begin_with_the_one_that_ends_first(measured: Measured) -> None:
    found = capacity.limits(measured, MACHINES)
    assert [one.per_s for one in found] == sorted(one.per_s for one in found)
    assert {"order", "pay", "delivery"} <= {
        word for one in found for word in one.what.replace("'s", "").split()
    }
    first = capacity.limits(dearer(measured, 1_000), MACHINES)[0]
    assert "account" not in first.what


def test_the_command_prints_the_page_of_a_file_and_refuses_another(tmp_path: Path) -> None:
    shown = CliRunner().invoke(bench.app, ["capacity", str(FILE)])
    assert (shown.exit_code, shown.stdout) == (0, (ROOT / "docs/capacity.md").read_text("utf-8"))
    other = CliRunner().invoke(bench.app, ["capacity", str(FILE), "--rate", "123456"])
    assert "## 123,456 orders a second" in other.stdout
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{}")
    for path in (wrong, tmp_path / "absent.json"):
        refused = CliRunner().invoke(bench.app, ["capacity", str(path)])
        assert (refused.exit_code, path.name in refused.stderr.replace("\n", "")) == (1, True)


def test_what_lies_between_two_looks_is_divided_by_the_orders() -> None:
    first = Footprint(
        1_000, {"order": 100}, 50, {7: ("shoudan_order", 1.0)}, {"commits": 10, "inserted": 30}
    )
    last = Footprint(
        5_000,
        {"order": 300},
        90,
        {7: ("shoudan_order", 1.5), 8: ("shoudan_order", 0.5)},
        {"commits": 12, "inserted": 110},
    )
    found = between(first, last, 4)
    assert (found.wal_bytes, found.rows_bytes, found.loopback_bytes) == (1_000, {"order": 50}, 10)
    assert found.database_cpu_us == {"order": 250_000}
    assert found.work == {"commits": 0.5, "inserted": 20}
