"""The pages of the reference as Markdown, in one language."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Any, Final

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Table, UniqueConstraint
from sqlalchemy.schema import CreateIndex

from shoudan_cli.dialects import dialect_of
from shoudan_cli.reference import contract, declared
from shoudan_cli.reference.headings import Headings
from shoudan_kit.rpc import rights
from shoudan_kit.setting_rows import describe
from shoudan_kit.tasks.tables import metadata

PAGES: Final = ("tables", "values", "errors", "events", "callers", "settings")
REASON: Final = "ErrorReason"
TICK: Final = "✔"
# The code in brackets, what it means, then the sentences on gRPC code and metadata.
_REASON: Final = re.compile(
    r"(?:\[(?P<code>[^\]]+)\] )?(?P<about>.*?)(?: Code: (?P<status>\w+)\.)?(?: Metadata: (?P<facts>.*?)\.)?$"
)


def pages(language: str) -> dict[str, str]:
    """Every page by file name, README first."""
    words = Headings(language)
    made = {
        "tables": _tables(words),
        "values": _values(words),
        "errors": _errors(words),
        "events": _events(words),
        "callers": _callers(words),
        "settings": _settings(words),
    }
    texts = {f"{name}.md": _page(words, name, made[name]) for name in PAGES}
    links = [f"* [{words[name]}]({name}.md)" for name in PAGES]
    readme = [f"# {words['reference']}", "", f"<!-- {words['generated']} -->", "", *links]
    return {"README.md": "\n".join(readme) + "\n", **texts}


def _page(words: Headings, name: str, lines: Iterable[str]) -> str:
    head = [f"# {words[name]}", "", f"<!-- {words['generated']} -->", "", words[f"about_{name}"]]
    return "\n".join([*head, *lines]) + "\n"


def _grid(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield f"| {' | '.join(_cell(one) for one in row)} |"


def _cell(text: str) -> str:
    """Bars would end the cell, angle brackets would be taken for tags."""
    shown = " ".join(text.split()).replace("|", "\\|")
    return shown if "`" in shown else shown.replace("<", "&lt;")


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


# ---------------------------------------------------------------- tables


def _tables(words: Headings) -> Iterator[str]:
    shared = metadata().tables
    yield from _database(words, "kit", shared.values())
    for service in declared.services():
        if service.metadata is not None:
            own = [t for t in service.metadata.tables.values() if t.name not in shared]
            yield from _database(words, service.name, own)


def _database(words: Headings, name: str, tables: Iterable[Table]) -> Iterator[str]:
    yield ""
    yield f"## {name}"
    for table in sorted(tables, key=lambda one: one.name):
        yield ""
        yield f"### {table.name}"
        yield ""
        yield str(table.comment)
        heads = [words[one] for one in ("column", "type", "null", "default", "about")]
        yield from _grid(heads, [_column(words, one) for one in table.columns])
        keys = [[_code(one)] for one in _keys(table)]
        if keys:
            yield from _grid([words["key"]], keys)


def _column(words: Headings, column: Any) -> list[str]:
    kind = column.type.compile(dialect=dialect_of("postgresql")).lower()
    given = column.server_default
    default = "" if given is None else str(getattr(given, "arg", "identity"))
    if default.startswith("<next"):
        default = f"nextval({column.default.name})"
    null = words["yes"] if column.nullable else ""
    return [_code(column.name), kind, null, _code(default), str(column.comment)]


def _keys(table: Table) -> Iterator[str]:
    yield f"PRIMARY KEY ({', '.join(c.name for c in table.primary_key.columns)})"
    for rule in sorted(table.constraints, key=lambda one: str(one.name)):
        names = ", ".join(c.name for c in getattr(rule, "columns", ()))
        if isinstance(rule, UniqueConstraint):
            yield f"UNIQUE ({names})"
        elif isinstance(rule, ForeignKeyConstraint):
            targets = ", ".join(str(one.column) for one in rule.elements)
            yield f"FOREIGN KEY ({names}) → {targets}"
        elif isinstance(rule, CheckConstraint):
            yield f"CHECK ({rule.sqltext})"
    for index in sorted(table.indexes, key=lambda one: str(one.name)):
        made = str(CreateIndex(index).compile(dialect=dialect_of("postgresql")))
        yield " ".join(made.removeprefix("CREATE ").split())


# ---------------------------------------------------------------- values


def _values(words: Headings) -> Iterator[str]:
    yield ""
    yield f"## {words['dictionary']}"
    yield ""
    yield words["from_tables"]
    for kind, found in declared.dictionary().items():
        yield ""
        yield f"### {kind}"
        names = [zh if words.language == "zh" else en.replace("_", " ") for _, en, zh in found]
        rows = [[value, name] for (value, _, _), name in zip(found, names, strict=True)]
        yield from _grid([words["value"], words["name"]], rows)
    yield ""
    yield f"## {words['kept']}"
    for service in declared.services():
        for module in service.modules(declared.STATES):
            for one in declared.enums(module):
                yield from _enum(words, module.__name__, one)
    yield ""
    yield f"## {words['contract']}"
    for found in contract.enums():
        if found.name != REASON:
            yield ""
            yield f"### {found.package}.{found.name}"
            yield ""
            yield found.about
            rows = [[one.kind, _code(one.name), one.about] for one in found.values]
            yield from _grid([words["value"], words["name"], words["about"]], rows)


def _enum(words: Headings, module: str, made: type[Enum]) -> Iterator[str]:
    yield ""
    yield f"### {module}.{made.__name__}"
    yield ""
    yield " ".join((made.__doc__ or "").split())
    rows = [[str(one.value), one.name.lower().replace("_", " ")] for one in made]
    yield from _grid([words["value"], words["name"]], rows)


# ---------------------------------------------------------------- errors, events, settings


def _errors(words: Headings) -> Iterator[str]:
    heads = [words[one] for one in ("reason", "code", "status", "metadata", "about")]
    for found in contract.enums():
        if found.name == REASON:
            yield ""
            yield f"## {found.package}"
            yield ""
            yield found.about
            yield from _grid(heads, [_error(one) for one in found.values[1:]])


def _error(reason: contract.Value) -> list[str]:
    match = _REASON.fullmatch(reason.about)
    assert match is not None, "every part of the pattern but the meaning is optional"
    facts = match["facts"] or ""
    name = reason.name.removeprefix("ERROR_REASON_")
    shown = ", ".join(_code(one) for one in facts.split(", ")) if facts != "none" else ""
    return [
        _code(name),
        match["code"] or "",
        match["status"] or "",
        shown if facts else "",
        match["about"],
    ]


def _events(words: Headings) -> Iterator[str]:
    for found in contract.events():
        yield ""
        yield f"## {found.package}.{found.name}"
        yield ""
        yield f"{words['subjects']}: {_subjects(found.about)}"
        rows = [[_code(one.name), one.kind, one.about] for one in found.values]
        yield from _grid([words["field"], words["type"], words["about"]], rows)


def _subjects(about: str) -> str:
    """Subjects as code, so that their angle brackets and bars are shown."""
    return re.sub(r"(?:shoudan)?\.[a-z_.]+[a-z_|<>]*", lambda found: _subject(found[0]), about)


def _subject(text: str) -> str:
    whole = text.rstrip(".")
    return f"`{whole}`{text[len(whole) :]}"


def _callers(words: Headings) -> Iterator[str]:
    """RPC × caller: who may call which method."""
    for service in contract.services():
        yield ""
        yield f"## {service}"
        rows = [[_code(method), *_ticks(right)] for _, method, right in rights.methods(service)]
        yield from _grid(
            [
                words["method"],
                *rights.SERVICES,
                *rights.ROLES,
                "no role",
                "partner",
                "anyone",
                words["approvers"],
            ],
            rows,
        )


def _ticks(right: rights.Right) -> Iterator[str]:
    yield from (TICK if one in right.services else "" for one in rights.SERVICES)
    yield from (TICK if one in right.roles else "" for one in rights.ROLES)
    yield TICK if right.operators else ""
    yield _own(right.partners)
    yield TICK if right.anyone else ""
    yield ", ".join(one for one in rights.ROLES if one in right.approvers)


def _own(partners: rights.OwnRows | None) -> str:
    """What a partner's account may ask for: the field that names one of its channels."""
    if partners is None or partners.itself:
        return "" if partners is None else TICK
    limits = (f"{name}: {', '.join(sorted(values))}" for name, values in partners.limits)
    return "; ".join((_code(partners.channel), *limits))


def _settings(words: Headings) -> Iterator[str]:
    heads = [words[one] for one in ("setting", "type", "default", "about")]
    for section, made in declared.sections().items():
        yield ""
        yield f"## {section}"
        rows = [
            [_code(one.env), one.type, _code(one.default), one.description]
            for one in describe(made, section)
        ]
        yield from _grid(heads, rows)
