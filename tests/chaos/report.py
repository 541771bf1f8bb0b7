"""What a run says of itself: a JSON file for machines, a page for people."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.chaos.history import OK, History
from tests.chaos.plan import Plan
from tests.system import invariants

if TYPE_CHECKING:
    from tests.chaos.run import Run
    from tests.chaos.stage import Stage

SHOWN_MAX = 50
KEPT = {
    "order": ("oms_order_info", "oms_order_delivery", "event", "task"),
    "delivery": ("vds_order_info", "vds_order_exp"),
    "pay": ("account_record",),
}
ROOT = Path(__file__).parents[2]


def commit() -> str:
    """Of the checkout, with a star when it is changed."""
    git = ["git", "-C", str(ROOT)]
    name = subprocess.run(
        [*git, "log", "-1", "--format=%h"], capture_output=True, text=True, check=False
    )
    changed = subprocess.run(
        [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False
    )
    return name.stdout.strip() + ("*" if changed.stdout.strip() else "")


def facts(run: Run) -> dict[str, Any]:
    """All that is told."""
    assert run.nemesis is not None
    history, nemesis = run.history, run.nemesis
    taken = history.accepted()
    calls = Counter(f"{call.what} {call.end}" for call in history.calls)
    recovered = {
        kind: {
            "count": len(found),
            "median_s": round(statistics.median(found), 2),
            "worst_s": round(max(found), 2),
        }
        for kind, found in sorted(nemesis.recovered_s.items())
    }
    return {
        "seed": run.plan.seed,
        "tier": run.plan.tier,
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "faults": sum(nemesis.done.values()),
        "faults_by_kind": dict(sorted(nemesis.done.items())),
        "faults_not_put": {kind: words[:5] for kind, words in sorted(nemesis.failed.items())},
        "kinds_that_never_came": sorted({one.kind for one in run.plan.faults} - set(nemesis.done)),
        "orders": len(run.plan.orders),
        "orders_taken": len(taken),
        "refunds_taken": len(history.accepted("refund")),
        "pushes_taken": len(history.pushes),
        "notifies": len(history.letters),
        "notifies_acknowledged": sum(one.acknowledged for one in history.letters),
        "calls": dict(sorted(calls.items())),
        "repeated_calls": sum(one.end != OK for one in history.calls if one.what == "order"),
        "restarts": dict(sorted(run.restarts.items())),
        "recovered": recovered,
        "phases_s": {name: round(one, 1) for name, one in run.phases_s.items()},
        "errors_logged": dict(run.errors.most_common(20)),
        "violations": run.violations,
    }


def summary(run: Run) -> str:
    """A few lines."""
    told = facts(run)
    head = (
        f"seed {told['seed']} ({told['tier']}): {told['faults']} faults of"
        f" {len(told['faults_by_kind'])} kinds, {told['orders_taken']} of {told['orders']} orders taken,"
        f" {told['refunds_taken']} refunds, {told['notifies']} notifies, {sum(run.phases_s.values()):.0f} s"
    )
    lines = [
        head,
        f"not put: {json.dumps(told['faults_not_put'], ensure_ascii=False)}",
        f"logged: {told['errors_logged']}",
        f"{len(run.violations)} violations",
        *run.violations[:SHOWN_MAX],
    ]
    return "\n".join(lines)


def write(run: Run, out: Path) -> None:
    """Both forms; the newest run of a tier stands."""
    out.mkdir(parents=True, exist_ok=True)
    told = facts(run)
    name = f"report-{run.plan.tier}"
    text = json.dumps(told, indent=1, ensure_ascii=False) + "\n"
    (out / f"{name}.json").write_text(text, "utf-8")
    (out / f"{name}.md").write_text(page(told), "utf-8")


def page(told: dict[str, Any]) -> str:
    """For people."""
    verdict = "Every law held." if not told["violations"] else "**Laws were broken.**"
    parts = [
        f"# Chaos: tier {told['tier']}, seed {told['seed']}",
        "<!-- Written by `just chaos`; edits are lost. -->",
        f"{told['date']}, commit {told['commit']}. {verdict}",
        _table(
            ("what", "how many"),
            [
                ("faults", told["faults"]),
                ("orders asked for", told["orders"]),
                ("orders taken", told["orders_taken"]),
                ("refunds taken", told["refunds_taken"]),
                ("ERP pushes taken", told["pushes_taken"]),
                ("notifies received", told["notifies"]),
                ("calls for an order without an answer, repeated", told["repeated_calls"]),
                ("processes started again", sum(told["restarts"].values())),
                ("violations", len(told["violations"])),
            ],
        ),
        "## Faults",
        _table(("kind", "times"), sorted(told["faults_by_kind"].items())),
        "## Back again after",
        _table(
            ("fault", "times", "median s", "worst s"),
            [(kind, *one.values()) for kind, one in told["recovered"].items()],
        ),
        "## Phases",
        _table(("phase", "s"), list(told["phases_s"].items())),
    ]
    if told["violations"]:
        parts += ["## Violations", "\n".join(f"* {one}" for one in told["violations"][:SHOWN_MAX])]
    return "\n\n".join(parts) + "\n"


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in lines)


def errors_of(logs: Path) -> Counter[str]:
    """What the processes logged as errors, by event: to be looked at, not a law."""
    found: Counter[str] = Counter()
    for file in logs.glob("*.log*"):
        for line in file.read_text("utf-8", "replace").splitlines():
            if line.startswith("Traceback"):
                found[f"{file.name}: Traceback"] += 1
            if '"level":"error"' in line.replace(" ", ""):
                found[f"{file.name}: {_event(line)}"] += 1
    return found


def _event(line: str) -> str:
    """The event, and the last line of its exception."""
    try:
        told = json.loads(line)
    except ValueError:
        return line[:80]
    return f"{told.get('event')} {str(told.get('exception', '')).rpartition(chr(10))[2]}"[
        :160
    ].strip()


def keep(logs: Path, history: History, folder: Path, plan: Plan) -> Path:
    """Everything to find out from why a law was broken; the folder."""
    place = folder / f"{plan.tier}-{plan.seed}"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(logs, place)
    history.write(place / "history.jsonl")
    (place / "plan.json").write_text(json.dumps(plan.as_dict(), indent=1), "utf-8")
    return place


async def keep_rows(stage: Stage, place: Path) -> None:
    """The tables that tell how orders came to where they are, a JSON object a line."""
    for service, tables in KEPT.items():
        for table in tables:
            rows = await invariants.rows_of(
                stage, service, f"SELECT row_to_json(t) AS row FROM {table} t"
            )
            (place / f"{table}.jsonl").write_text("\n".join(one["row"] for one in rows), "utf-8")
