"""The command tells people what it can do, and what is wrong in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from shoudan_cli import tasks
from shoudan_cli.main import collected

RUNNER = CliRunner()
COMMANDS = ("up", "demo", "serve", "migrate", "status", "config", "task", "bench", "mock", "work")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    shown = RUNNER.invoke(collected(), [name, "--help"])
    assert shown.exit_code == 0
    assert "Usage" in shown.output


def test_an_unknown_service_is_refused_by_name() -> None:
    for command in ("serve", "migrate"):
        refused = RUNNER.invoke(collected(), [command, "nobody"])
        assert refused.exit_code == 2
        assert "order" in refused.output


def test_an_unknown_role_is_refused() -> None:
    assert RUNNER.invoke(collected(), ["serve", "order", "--roles", "dance"]).exit_code == 2


def test_a_wrong_file_ends_with_one_and_its_mistakes(tmp_path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("lines: [{line_id: x}]")
    ended = RUNNER.invoke(collected(), ["config", "plan", str(file)])
    assert ended.exit_code == 1
    assert "lines[0].line_id" in ended.stderr


def test_a_map_of_shards_is_shown_and_its_mistakes_end_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOUDAN_PAY_DATABASE_URL", "postgresql://pay:hunter2@db1/pay")
    alone = RUNNER.invoke(collected(), ["shard", "ls", "pay"])
    assert (alone.exit_code, "no map: one shard" in alone.output) == (0, True)
    monkeypatch.setenv("SHOUDAN_PAY_SHARDS", str(file := tmp_path / "map.toml"))
    file.write_text('epoch = 7\nshards = 2\n[[ranges]]\nshards = "0-1"\nserver = "own"\n')
    shown = RUNNER.invoke(collected(), ["shard", "ls", "pay"])
    assert (shown.exit_code, "shard_01" in shown.output) == (0, True)
    assert "epoch 7" in shown.output
    assert "db1:5432" in shown.output
    assert "hunter2" not in shown.output
    file.write_text('epoch = 7\nshards = 3\n[[ranges]]\nshards = "0-1"\nserver = "own"\n')
    refused = RUNNER.invoke(collected(), ["shard", "ls", "pay"])
    assert refused.exit_code == 1
    assert "3 is no power of two" in refused.stderr
    assert "shard 2 is in none" in refused.stderr
    monkeypatch.setenv("SHOUDAN_IDENTITY_DATABASE_URL", "postgresql://identity@localhost/identity")
    monkeypatch.setenv("SHOUDAN_IDENTITY_SHARDS", str(file))
    unchanged = RUNNER.invoke(collected(), ["migrate", "identity"])
    assert unchanged.exit_code == 1
    assert "this service cannot have several shards" in " ".join(unchanged.stderr.split())


def test_retry_wants_numbers_or_a_kind_but_not_both() -> None:
    assert RUNNER.invoke(tasks.app, ["retry", "order"]).exit_code == 2
    both = ["retry", "order", "1", "--failed", "pay"]
    assert RUNNER.invoke(tasks.app, both).exit_code == 2


def test_status_of_nothing_running_ends_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ORDER", "PAY", "DELIVERY", "ERP_INGEST"):
        monkeypatch.setenv(f"SHOUDAN_CLI_{name}_TARGET", "127.0.0.1:1")
    monkeypatch.setenv("SHOUDAN_CLI_GATEWAY_URL", "http://127.0.0.1:1")
    ended = RUNNER.invoke(collected(), ["status"])
    assert ended.exit_code == 1
    assert "order" in ended.output
