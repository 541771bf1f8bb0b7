"""The client is a distribution of its own: it needs nothing but Python, and is whole."""

from __future__ import annotations

import ast
import email
import sys
import zipfile
from pathlib import Path

import hatchling.build
import pytest

FOLDER = Path(__file__).parents[2] / "client"


def test_it_imports_nothing_but_the_standard_library_and_itself() -> None:
    found: set[str] = set()
    for path in (FOLDER / "shoudan_client").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {one.name.partition(".")[0] for one in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    assert "http" in found
    assert found - sys.stdlib_module_names == {"shoudan_client"}


def test_its_wheel_has_its_types_its_readme_and_no_requirement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER)
    with zipfile.ZipFile(tmp_path / hatchling.build.build_wheel(str(tmp_path))) as wheel:
        names = set(wheel.namelist())
        metadata = next(one for one in names if one.endswith("METADATA"))
        read = email.message_from_string(wheel.read(metadata).decode())
    modules = {f"shoudan_client/{one.name}" for one in (FOLDER / "shoudan_client").glob("*.py")}
    assert modules | {"shoudan_client/py.typed"} <= names
    assert (read["Name"], read.get_all("Requires-Dist")) == ("shoudan-client", None)
    assert "Unknown" in read.get_payload()
