"""The command starts at once: what it lists is not imported before it is used."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from shoudan_cli.command_list import SINGLE
from shoudan_cli.main import collected, listed

CPU_S_MAX = 0.3
TRIES = 5  # the best of them: others use this machine, too
HEAVY = {"aiohttp", "asyncio", "asyncpg", "grpc", "nats", "pydantic", "rich", "sqlalchemy"}
SEEN = """
import json, sys
from shoudan_cli.main import main
try:
    main()
except SystemExit:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
# Without what measures coverage, which would be measured, too.
ENV = {name: value for name, value in os.environ.items() if not name.startswith("COV")}


def cpu_s(*args: str) -> float:
    child = subprocess.Popen(
        [sys.executable, "-m", "shoudan_cli", *args], stdout=subprocess.DEVNULL, env=ENV
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return used.ru_utime + used.ru_stime


def imported(*args: str) -> set[str]:
    told = subprocess.run(
        [sys.executable, "-c", SEEN, *args], capture_output=True, text=True, check=True, env=ENV
    )
    return set(json.loads(told.stderr))


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_command_answers_within_a_third_of_a_second_of_cpu(option: str) -> None:
    assert min(cpu_s(option) for _ in range(TRIES)) < CPU_S_MAX


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_list_of_commands_imports_none_of_them(option: str) -> None:
    seen = imported(option)
    assert "shoudan_cli.main" in seen
    assert not HEAVY & seen
    assert not {name for name in seen if "commands" in name and name.startswith("shoudan")}


def test_help_of_a_command_imports_its_own_service_alone() -> None:
    seen = imported("order", "--help")
    roots = {name.partition(".")[0] for name in seen if name.startswith("shoudan")}
    assert roots == {"shoudan_cli", "shoudan_kit", "shoudan_order"}
    assert not (HEAVY - {"asyncio", "pydantic", "rich"}) & seen  # Typer imports the last two itself


def test_the_list_names_every_command_once_and_in_order() -> None:
    shown = CliRunner().invoke(collected(), ["--help"]).output
    lines = shown.partition("Commands:")[2].splitlines()
    assert [line.split()[0] for line in lines if line[2:3].strip()] == list(listed())
    assert list(listed()) == [*SINGLE, *sorted(set(listed()) - set(SINGLE))]
    text = " ".join(shown.split())
    assert [one.help for one in listed().values() if one.help not in text] == []


@pytest.mark.parametrize("name", SINGLE)
def test_the_line_of_a_command_is_what_it_says_itself(name: str) -> None:
    said = inspect.getdoc(SINGLE[name].load()) or ""
    assert said.split("\n\n")[0] == SINGLE[name].help


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one() -> None:
    refused = CliRunner().invoke(collected(), ["ordre"])
    assert refused.exit_code == 2
    assert "'order'" in refused.output
