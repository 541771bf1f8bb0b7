"""A small run of everything that `just chaos` does, so that a change that breaks it is seen at once."""

from __future__ import annotations

import pytest

from tests.chaos import plan, report
from tests.chaos.run import Run

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.alone("twenty processes, and laws of what ends by itself in time"),
]

SEED = 1


async def test_a_few_faults_break_no_law(tmp_path) -> None:
    run = Run(plan.drawn(SEED, "smoke"))
    await run.go(tmp_path / "kept")
    told = report.facts(run)
    assert run.violations == []
    assert told["orders_taken"] == len(run.plan.orders)
    assert told["faults"] >= len(run.plan.faults) // 2
    assert told["notifies"] > 0
    report.write(run, tmp_path)
    assert "Every law held." in (tmp_path / "report-smoke.md").read_text("utf-8")
