"""`shoudan pki`: what a person sees of the authority and its certificates."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from shoudan_cli.pki import app
from shoudan_kit.tls.authority import CURRENT, KEY, Authority


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pki"


def pki(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--folder", str(folder)], env={"COLUMNS": "200"})


def test_init_makes_what_is_missing_and_repeats_change_nothing(folder: Path) -> None:
    first = pki(folder, "init", "order", "nats=nats,127.0.0.1")
    assert first.exit_code == 0
    assert "nats 127.0.0.1" in first.output
    serials = [one.serial for one in Authority(folder).show()]
    again = pki(folder, "init", "order", "nats=nats,127.0.0.1", "pay")
    assert [line.split()[1] for line in again.output.splitlines() if "20" in line] == ["pay"]
    assert [one.serial for one in Authority(folder).show()][:2] == serials


def test_show_says_what_is_wrong_and_ends_with_1(folder: Path) -> None:
    assert pki(folder, "init", "order", "pay").exit_code == 0
    assert pki(folder, "show").exit_code == 0
    (folder / "pay" / CURRENT / KEY).chmod(0o644)
    shown = pki(folder, "show")
    assert shown.exit_code == 1
    assert "chmod 600" in re.sub(r"[\s│]+", " ", shown.output)  # however narrow the terminal is


def test_rotate_renews_what_is_due_alone(folder: Path) -> None:
    made = Authority.init(folder)
    now = datetime.now(UTC)
    made.issue("order", now=now - timedelta(days=6))
    made.issue("pay", now=now)
    rotated = pki(folder, "rotate")
    assert rotated.exit_code == 0
    assert "order" in rotated.output
    assert "pay" not in rotated.output
    assert pki(folder, "rotate").output == ""


def test_a_key_for_a_server_of_another_user_stays_readable_by_its_group(folder: Path) -> None:
    made = pki(folder, "init", "postgres=postgres", "--group-readable", "postgres")
    assert made.exit_code == 0
    then = datetime.now(UTC) + timedelta(days=6)
    Authority(folder).rotate(now=then)
    assert (folder / "postgres" / CURRENT / KEY).stat().st_mode & 0o777 == 0o640
    assert Authority(folder).look("postgres", then).wrong == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["issue", "pay"], "shoudan pki init makes an authority"),
        (["rotate"], "No such file or directory"),
        (["show"], "No such file or directory"),
    ],
)
def test_without_an_authority_it_says_what_to_do(
    folder: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = pki(folder, *words)
    assert done.exit_code == 1
    assert said in done.stderr + capsys.readouterr().err
