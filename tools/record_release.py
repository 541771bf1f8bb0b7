"""Writes tests/release.json: what the code of this release asks of its databases.

Run when a release is made. The next revisions are linted from there on, and a test runs every recorded
statement against the schema they make: old processes work beside new ones.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator
from importlib.metadata import entry_points, version
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from shoudan_kit.db.revisions import needed

RELEASE: Final = Path(__file__).parents[1] / "tests" / "release.json"
# Modules of the kit for a table that only some services have.
OF_SOME: Final[dict[str, str]] = {
    "shoudan_kit.credentials.store": "credential",
    "shoudan_kit.credentials.sealed": "credential",
    "shoudan_kit.proposals.alone": "alone_call",
    "shoudan_kit.proposals.store": "proposal",
}
DATA: Final = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


def modules(root: str) -> Iterator[ModuleType]:
    """Every module of a package but its migrations and the embedded servers."""
    package = importlib.import_module(root)
    for found in pkgutil.walk_packages(package.__path__, f"{root}."):
        if ".migrations" not in found.name and ".embedded" not in found.name:
            yield importlib.import_module(found.name)


def texts(value: Any) -> Iterator[TextClause]:
    """The text statements in a module's value: itself, in a tuple, or an object's own."""
    if isinstance(value, TextClause):
        yield value
    elif isinstance(value, tuple):
        several = cast("tuple[Any, ...]", value)
        for one in several:
            yield from texts(one)
    elif type(value).__module__.startswith("shoudan_"):
        for one in getattr(value, "__dict__", {}).values():
            if isinstance(one, TextClause):
                yield one


def statements(service: str) -> list[str]:
    """Every text statement of a service, and of the kit if it has its tables, as PostgreSQL is given it."""
    found: set[str] = set()
    schema = importlib.import_module(f"shoudan_{service}.app").SERVICE.schema
    own = f"shoudan_{service}"
    for root in (own, "shoudan_kit") if "task" in schema.metadata.tables else (own,):
        for module in modules(root):
            table = OF_SOME.get(module.__name__)
            if table is not None and table not in schema.metadata.tables:
                continue
            held: dict[str, Any] = dict(vars(module))
            for value in held.values():
                for one in texts(value):
                    sql = str(one.compile(dialect=PGDialect_asyncpg()))
                    if sql.lstrip().upper().startswith(DATA):
                        found.add("\n".join(line.strip() for line in sql.strip().splitlines()))
    return sorted(found)


def recorded() -> dict[str, Any]:
    """The whole record."""
    services: dict[str, Any] = {}
    for entry in sorted(entry_points(group="shoudan.services"), key=lambda one: one.name):
        declared: Any = entry.load()
        schema = declared.schema
        if schema is None:
            continue
        services[declared.name] = {
            "revision": needed(schema.package),
            "columns": {
                name: [column.name for column in table.columns]
                for name, table in sorted(schema.metadata.tables.items())
            },
            "statements": statements(declared.name),
        }
    return {"release": version("shoudan"), "services": services}


if __name__ == "__main__":
    RELEASE.write_text(json.dumps(recorded(), ensure_ascii=False, indent=1) + "\n", "utf-8")
