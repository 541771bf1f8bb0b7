"""Promises of rules and boards: they name what is measured, each alert has a runbook and fires in a test."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shoudan_cli.observability import alerts, boards
from shoudan_cli.observability.files import FOLDER, files, measured

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = (ROOT / alerts.RUNBOOK).read_text("utf-8")
PROMETHEUS = ROOT / FOLDER / "prometheus"
RULES = yaml.safe_load((PROMETHEUS / "rules.yaml").read_text("utf-8"))["groups"]
SUFFIXES = ("", "_bucket", "_count", "_sum")


def known() -> dict[str, frozenset[str]]:
    """Every series by name, with its labels."""
    common = {"service", "replica", "job", "instance"}
    found = {"up": frozenset(common)}
    for one in measured():
        labels = frozenset({*one.labels, *common, *(["le"] if one.kind == "histogram" else [])})
        found |= {f"{one.name}{end}": labels for end in SUFFIXES}
    return found


def expressions() -> list[str]:
    made = [one.expression for one in (*alerts.RECORDED, *alerts.ALERTS)]
    queries = [
        query
        for board in boards.BOARDS
        for panel in boards.panels(board, measured())
        for query, _ in panel.queries
    ]
    return [*made, *queries, *(name for one in alerts.ALERTS for name, _ in one.fires)]


def test_generated_files_are_those_that_are_committed():
    stale = [
        path
        for path, text in files().items()
        if not (ROOT / path).exists() or (ROOT / path).read_text("utf-8") != text
    ]
    assert stale == [], "run: just docs"


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_names_what_is_measured(expression):
    series, recorded = known(), {one.name for one in alerts.RECORDED}
    for name in re.findall(r"\b(?:shoudan[a-z_]*:[a-z0-9_:]+|shoudan_[a-z_]+|up\b)", expression):
        assert name in series or name in recorded, name
    for name, labels in re.findall(r"\b(shoudan_[a-z_]+|up)\{([^}]*)\}", expression):
        assert {one.strip() for one in re.findall(r"(\w+)\s*(?:=~|=|!)", labels)} <= series[name]


def test_an_expression_is_balanced():
    for expression in expressions():
        assert expression.count("(") == expression.count(")"), expression
        assert expression.count("{") == expression.count("}"), expression


@pytest.mark.parametrize("alert", alerts.ALERTS, ids=lambda one: one.name)
def test_an_alert_has_a_runbook_a_summary_and_series_that_fire_it(alert):
    assert f"\n### {alert.name}\n" in RUNBOOK
    assert alert.anchor == f"docs/operations.md#{alert.name.lower()}"
    (rule,) = [one for one in RULES[1]["rules"] if one["alert"] == alert.name]
    assert rule["annotations"] == {"summary": alert.summary, "runbook": alert.anchor}
    assert rule["labels"]["severity"] in {"page", "message"}
    assert rule.get("for", "0m") == f"{alert.minutes}m"
    used = set(re.findall(r"\bshoudan_[a-z_]+|\bup\b", _plain(alert.expression)))
    assert used & {re.split(r"[{]", name)[0] for name, _ in alert.fires}
    assert all(int(values.rpartition("x")[2]) >= 60 for _, values in alert.fires)


def _plain(expression: str) -> str:
    """The expression with recorded figures spelled out."""
    for one in alerts.RECORDED:
        expression = expression.replace(one.name, one.expression)
    return expression


def test_names_are_unique():
    names = [one.name for one in (*alerts.ALERTS, *alerts.RECORDED)]
    assert len(set(names)) == len(names)


def test_a_service_level_is_a_share_and_its_bucket_exists():
    levels = [one for one in alerts.RECORDED if one.objective]
    assert len(levels) == 3
    assert all(0 < one.objective < 1 for one in levels)
    from shoudan_order.endings import NOTIFY_DELAY_SECONDS, ORDER_NOTIFIED_SECONDS

    for family, bound in (
        (ORDER_NOTIFIED_SECONDS, alerts.NOTIFIED_S),
        (NOTIFY_DELAY_SECONDS, alerts.DELAY_S),
    ):
        assert float(bound) in family._metric._kwargs["buckets"]


def test_every_metric_is_drawn_on_a_board_of_its_own():
    drawn = [one.title for board in boards.BOARDS for one in boards.panels(board, measured())]
    assert {one.name for one in measured()} <= set(drawn)
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("board", boards.BOARDS, ids=lambda one: one.uid)
def test_a_board_is_what_grafana_loads(board):
    made: dict[str, Any] = json.loads(boards.board(board, measured()))
    assert made["uid"] == f"shoudan-{board.uid}"
    assert made["panels"]
    places = [tuple(one["gridPos"].values()) for one in made["panels"]]
    assert len(set(places)) == len(places)
    for one in made["panels"]:
        assert one["type"] == "timeseries"
        assert one["description"]
        assert one["datasource"]["uid"] == "shoudan"
        assert all(target["expr"] for target in one["targets"])


def test_provisioning_names_the_data_source_of_the_boards():
    folder = ROOT / FOLDER / "grafana" / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "shoudan.yaml").read_text("utf-8"))
    assert source["datasources"][0]["uid"] == boards.SOURCE["uid"]
    assert yaml.safe_load((folder / "dashboards" / "shoudan.yaml").read_text("utf-8"))["providers"]


def test_prometheus_and_collector_are_set_up_as_the_rules_expect():
    prometheus = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text("utf-8"))
    assert prometheus["scrape_configs"][0]["job_name"] == "shoudan"
    assert prometheus["rule_files"] == ["rules.yaml"]
    collector = yaml.safe_load((ROOT / FOLDER / "collector.yaml").read_text("utf-8"))
    pipeline = collector["service"]["pipelines"]["traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) <= set(collector[kind])


def test_every_alert_fires_under_promtool_where_it_is_installed(capsys):
    promtool = shutil.which("promtool")
    with capsys.disabled():
        if promtool is None:
            print("\npromtool: not run, not installed")
            return
    run = subprocess.run(
        [promtool, "test", "rules", "rules-test.yaml"],
        cwd=PROMETHEUS,
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
