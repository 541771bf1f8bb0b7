"""Promises of the generated reference: nothing declared is missing, both languages hold the same facts."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shoudan_cli.ddl import schemas
from shoudan_cli.main import collected
from shoudan_cli.reference import contract, declared
from shoudan_cli.reference.headings import _WORDS
from shoudan_cli.reference.lifecycles import page
from shoudan_cli.reference.pages import _error, pages

ROOT = Path(__file__).resolve().parents[2]
EN, ZH = pages("en"), pages("zh")


def test_every_table_and_column_is_told() -> None:
    for service, metadata in schemas().items():
        begins = EN["tables.md"].index(f"\n## {service}\n")  # two services may name a table alike
        of_service = EN["tables.md"][begins : EN["tables.md"].find("\n## ", begins + 1)]
        for table in metadata.tables.values():
            start = of_service.find(f"\n### {table.name}\n")
            start, text = (start, of_service) if start >= 0 else (
                EN["tables.md"].index(f"\n### {table.name}\n"), EN["tables.md"],
            )  # fmt: skip
            told = text[start : text.find("\n### ", start + 1)]
            assert [c.name for c in table.columns if f"| `{c.name}` |" not in told] == []


def test_every_error_code_is_told_with_its_documented_number() -> None:
    reasons = [one for one in contract.enums() if one.name == "ErrorReason"]
    assert len({one.package for one in reasons}) == len(reasons) == 7
    for reason in (value for one in reasons for value in one.values[1:]):
        name, code, status, _, about = _error(reason)
        assert f"| {name} | {code} | {status} |" in EN["errors.md"]
        assert about
        assert "Code:" not in about
        assert "[" not in about, reason


def test_every_published_message_is_told_with_its_subjects() -> None:
    told = EN["events.md"]
    events = contract.events()
    assert {one.package.split(".")[1] for one in events} == {
        "core",
        "order",
        "pay",
        "delivery",
        "erp",
        "identity",
        "finance",
    }
    for one in events:
        assert f"## {one.package}.{one.name}\n\nSubjects: `" in told
        assert all(field.about for field in one.values), one.name


def test_every_setting_is_told() -> None:
    for section, made in declared.sections().items():
        for name in made.model_fields:
            assert f"`SHOUDAN_{section.upper()}_{name.upper()}`" in EN["settings.md"]


def test_both_languages_hold_the_same_facts() -> None:
    assert ZH.keys() == EN.keys()
    for name in EN:
        assert ZH[name].count("\n") == EN[name].count("\n"), name
        facts = [re.findall(r"`([A-Za-z0-9_.]+)`", text) for text in (EN[name], ZH[name])]
        assert sorted(facts[0]) == sorted(facts[1]), name
    assert all(one.en and one.zh for one in _WORDS.values())


def test_every_lifecycle_is_drawn() -> None:
    drawn = page()
    names = [
        (service.name, machine.name)
        for service in declared.services()
        for module in service.modules(declared.STATES)
        for machine in declared.machines(module)
    ]
    assert {("order", "order"), ("delivery", "delivery"), ("pay", "pay")} <= set(names)
    assert drawn.count("stateDiagram-v2") == len(names)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_command_writes_a_file_per_page(lang: str, tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(
        collected(), ["dictionary", "export", "--lang", lang, "--out", str(tmp_path)]
    )
    assert done.exit_code == 0
    assert {one.name: one.read_text("utf-8") for one in tmp_path.iterdir()} == pages(lang)
    shown = runner.invoke(collected(), ["dictionary", "export", "--lang", lang])
    assert "order_status" in shown.output


def test_a_stale_page_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = tmp_path / "tools" / "docs.py"
    tool.parent.mkdir()
    (tmp_path / "gateway/shoudan_gateway").mkdir(parents=True)
    for name in ("docs.py", "pictures.py", "recordings.py"):
        (tool.parent / name).write_text((ROOT / "tools" / name).read_text("utf-8"))
    (tmp_path / "docs").mkdir()
    measured = (ROOT / "docs" / "capacity.json").read_text("utf-8")
    (tmp_path / "docs" / "capacity.json").write_text(measured)
    monkeypatch.syspath_prepend(tool.parent)  # as when the tool itself is run
    for name in ("pictures", "recordings"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    main = runpy.run_path(str(tool))["main"]

    def run(*args: str) -> int:
        monkeypatch.setattr(sys, "argv", [str(tool), *args])
        return main()

    assert run("--check") == 1
    assert run() == 0
    assert run("--check") == 0
    written = tmp_path / "docs" / "lifecycles.md"
    written.write_text(written.read_text("utf-8") + "by hand\n")
    capsys.readouterr()
    assert run("--check") == 1
    assert "docs/lifecycles.md is stale" in capsys.readouterr().err
