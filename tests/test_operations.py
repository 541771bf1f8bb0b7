"""Promises of docs/operations.md: every metric, setting and command it names exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from prometheus_client import Metric

from shoudan_cli import kept_logins, parts, pki
from shoudan_cli.main import collected
from shoudan_cli.reference import declared
from shoudan_kit import metrics

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "operations.md").read_text("utf-8")
TEXT = " ".join(PAGE.split())


def test_every_metric_named_is_measured() -> None:
    known = {f"shoudan_{service.name}" for service in declared.services()}  # databases; loads all
    known.add("shoudan_reader")  # the role for reports
    families: list[Metric] = list(metrics.REGISTRY.collect())
    known |= {name for one in families for name in (one.name, f"{one.name}_total")}
    named = set(re.findall(r"`(shoudan_[a-z_]+)`", PAGE))
    assert "shoudan_tasks_dead" in named
    assert sorted(named - known) == []


def test_every_setting_named_exists() -> None:
    of_commands = {kept_logins.ACCESS_VARIABLE, kept_logins.API_VARIABLE, pki.DAYS_VARIABLE}
    of_commands |= {parts.ARCHIVE_VARIABLE}
    known = {"SHOUDAN_CONFIG", "SHOUDAN_EVENTS", *of_commands}
    for section, made in declared.sections().items():
        for name in made.model_fields:
            known |= {f"SHOUDAN_{name.upper()}", f"SHOUDAN_{section.upper()}_{name.upper()}"}
    known |= {f"{name}_FILE" for name in known}
    named = set(
        re.findall(r"SHOUDAN_(?!SECRET_|COMPONENT_)[A-Z_]+", PAGE)
    )  # named secrets: any name
    assert named
    assert sorted(named - known) == []


def commands(group: Any) -> dict[str, Any]:
    names = group.list_commands(None) if hasattr(group, "list_commands") else ()
    return {name: group.get_command(None, name) for name in names}


@pytest.mark.parametrize("line", sorted(set(re.findall(r"`(shoudan [a-z][^`]*)`", TEXT))))
def test_every_command_named_exists(line: str) -> None:
    here: Any = typer.main.get_command(collected())
    words = line.split()[1:]
    while commands(here) and words:
        assert words[0] in commands(here), line
        here = commands(here)[words.pop(0)]
    options = {flag for one in here.params for flag in (*one.opts, *one.secondary_opts)}
    used = {word for word in words if word.startswith("--")}
    assert used <= options, line
