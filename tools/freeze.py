"""Writes tests/frozen_names.txt: every name of the running code that something outside of it relies on.

Task kinds, queues, subjects, metrics, log words, fault points, settings, tables, the contract and the
command's own words are data: they stand in databases, dashboards, scripts and other people's code. They are
read from what the code declares, never from where it declares it, so a module may move and a name may not.
New names are added; a name that is gone is written only with --drop, which makes the loss a decision.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

import msgspec
import typer
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from sqlalchemy import MetaData

import shoudan
from shoudan_cli.main import collected
from shoudan_cli.reference import contract, declared
from shoudan_kit import config, faults, metrics
from shoudan_kit.events import nats
from shoudan_kit.secrets import named_secret
from shoudan_kit.setting_rows import describe
from shoudan_kit.tasks.kinds import Kind

ROOT: Final = Path(__file__).resolve().parents[1]
FROZEN: Final = ROOT / "tests" / "frozen_names.txt"
OWN: Final = ("shoudan_cli", "shoudan_fakes", "shoudan_kit")
LOGGED: Final = {"debug", "info", "warning", "error", "exception"}
FIELD_KINDS: Final = {
    getattr(FieldDescriptor, name): name.removeprefix("TYPE_").lower()
    for name in dir(FieldDescriptor)
    if name.startswith("TYPE_")
}


def packages() -> list[str]:
    """Every package of this repository that runs: the kit's, and those of the installed services."""
    found = {one.value.partition(".")[0] for one in entry_points(group="shoudan.services")}
    return sorted(found | set(OWN))


@cache
def modules() -> tuple[ModuleType, ...]:
    """All their modules but revisions, which are history."""
    found = [importlib.import_module(package) for package in packages()]
    for root in found[:]:
        names = [one.name for one in pkgutil.walk_packages(root.__path__, f"{root.__name__}.")]
        kept = [one for one in names if ".migrations" not in one and not one.endswith("__main__")]
        found += map(importlib.import_module, kept)
    return tuple(found)


@cache
def calls() -> tuple[ast.Call, ...]:
    """Every call that stands in their source: for names that exist only where they are used."""
    trees = (ast.parse(Path(cast("str", one.__file__)).read_text("utf-8")) for one in modules())
    return tuple(node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call))


def _word(node: ast.Call) -> str:
    """The text that is the call's first argument."""
    match node.args:
        case [ast.Constant(value=str() as text), *_]:
            return text
        case _:
            return ""


def _values() -> Iterator[Any]:
    for module in modules():
        yield from vars(module).values()


def _kinds() -> list[Kind[Any]]:
    return [cast("Kind[Any]", value) for value in _values() if isinstance(value, Kind)]


def kinds() -> Iterator[str]:
    """Stored in `task`: the name, the queue, and the payload's fields."""
    for one in _kinds():
        fields = " ".join(field.name for field in msgspec.structs.fields(one.payload))
        yield f"{one.name}: queue={one.queue} {fields}"


def queues() -> Iterator[str]:
    """Served by name (SHOUDAN_TASK_QUEUES) and stored with product lines."""
    yield from (one.queue for one in _kinds())
    for table in _tables():
        for column in table.columns:
            default = getattr(column.server_default, "arg", None)
            if column.name.endswith("_queue") and default is not None:
                yield str(default).strip("'")


def subjects() -> Iterator[str]:
    """NATS: the stream, the prefixes of the code, and what the contract says is published."""
    yield f"{nats.STREAM}: {nats.SUBJECTS}"
    yield f"{nats.WAKE}<queue>"
    yield from (one for one in _strings() if one.startswith("shoudan.events."))
    for message in contract.events():
        named = re.findall(r"(?:shoudan)?\.[a-z_.]*[a-z_|<>]+", message.about)
        yield f"{message.package}.{message.name}: {' '.join(named)}"


def _strings() -> Iterator[str]:
    for value in _values():
        if isinstance(value, str):
            yield value
        elif not isinstance(value, type | ModuleType):  # a declaration may hold its subject
            subject: Any = getattr(value, "subject", None)
            if isinstance(subject, str):
                yield subject


def measured() -> Iterator[str]:
    """Metrics with their labels."""
    for value in _values():
        if isinstance(value, metrics.Family):
            yield str(cast("object", value))


def log_words() -> Iterator[str]:
    """Events of log lines that the documentation tells people to look for."""
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "README.zh.md"]
    named = {word for page in pages for word in re.findall(r"`([a-z_]+)`", page.read_text("utf-8"))}
    for node in calls():
        if _logs(node.func) and _word(node) in named:
            yield _word(node)


def _logs(called: ast.expr) -> bool:
    """Whether it is a logger's method, or one of two."""
    if isinstance(called, ast.IfExp):
        return _logs(called.body)
    return isinstance(called, ast.Attribute) and called.attr in LOGGED


def fault_points() -> Iterator[str]:
    """Where SHOUDAN_FAULTS lets a process die: points of their own, and each transaction's two."""
    for node in calls():
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name == "hit" and _word(node):
            yield _word(node)
        if name == "work" and _word(node):
            yield f"{_word(node)}: before_commit after_commit"
        for one in node.keywords:
            if one.arg == "transaction" and isinstance(one.value, ast.Constant):
                yield f"{one.value.value}: before_commit after_commit"


def settings() -> Iterator[str]:
    """Environment variables; the keys of the TOML file are the same words."""
    for section, made in declared.sections().items():
        yield from (row.env for row in describe(made, section))
    yield from (config.FILE_VARIABLE, faults.VARIABLE)
    yield from (f"{one}<NAME>" for one in named_secret.VARIABLES)
    for module in modules():
        own = {name: value for name, value in vars(module).items() if name.endswith("VARIABLE")}
        yield from (value for value in own.values() if isinstance(value, str))


def _metadata() -> Iterator[tuple[str, MetaData]]:
    for service in declared.services():
        if service.metadata is not None:
            yield service.name, service.metadata


def _tables() -> Iterator[Any]:
    for _, metadata in _metadata():
        yield from metadata.tables.values()


def tables() -> Iterator[str]:
    """Tables with their columns; readers of a copy for reports rely on both."""
    for service, metadata in _metadata():
        for name, table in metadata.tables.items():
            yield f"{service} {name}: {' '.join(column.name for column in table.columns)}"


def constraints() -> Iterator[str]:
    """Indexes and constraints: refusals and revisions call them by name."""
    for service, metadata in _metadata():
        for name, table in metadata.tables.items():
            rules = {str(one.name) for one in table.constraints if one.name}
            rules |= {str(one.name) for one in table.indexes}
            yield f"{service} {name}: {' '.join(sorted(rules))}"


def _files() -> list[FileDescriptor]:
    """Every file of the contract."""
    root = Path(next(iter(shoudan.__path__)))
    names = sorted(path.relative_to(root.parent).with_suffix("") for path in root.rglob("*_pb2.py"))
    return [importlib.import_module(".".join(name.parts)).DESCRIPTOR for name in names]


def methods() -> Iterator[str]:
    """gRPC: services, methods, and what goes in and out."""
    for file in _files():
        for service in file.services_by_name.values():
            for one in service.methods:
                asked, given = one.input_type.full_name, one.output_type.full_name
                yield f"{one.full_name}: in={asked} out={given}"


def messages() -> Iterator[str]:
    """Messages with name, number and type of each field."""
    for message in _messages():
        fields = " ".join(f"{one.name}={one.number}:{_kind(one)}" for one in message.fields)
        yield f"{message.full_name}: {fields}"


def _messages() -> Iterator[Descriptor]:
    pending = [one for file in _files() for one in file.message_types_by_name.values()]
    while pending:  # nested ones, of which there are finitely many
        message = pending.pop()
        yield message
        pending += message.nested_types


def _kind(field: FieldDescriptor) -> str:
    named = field.message_type or field.enum_type
    kind = named.full_name if named is not None else FIELD_KINDS[field.type]
    return f"{kind}[]" if field.is_repeated else kind


def enums() -> Iterator[str]:
    """Enums with their values."""
    found: list[EnumDescriptor] = [
        one for file in _files() for one in file.enum_types_by_name.values()
    ]
    found += [one for message in _messages() for one in message.enum_types]
    for enum in found:
        values = " ".join(f"{one.name}={one.number}" for one in enum.values)
        yield f"{enum.full_name}: {values}"


def commands() -> Iterator[str]:
    """Commands with their arguments and options, the command itself first."""
    yield from _commands("shoudan", typer.main.get_command(collected()))


def _commands(path: str, command: Any) -> Iterator[str]:
    words = [
        "|".join([*one.opts, *one.secondary_opts])
        if one.param_type_name == "option"
        else f"<{one.name}>"
        for one in command.params
    ]
    yield f"{path}: {' '.join(words)}".rstrip(": ")
    context = typer.Context(command, info_name=path)
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from _commands(f"{path} {name}", command.get_command(context, name))


SECTIONS: Final[Mapping[str, Callable[[], Iterable[str]]]] = {
    "task kinds": kinds,
    "queues": queues,
    "subjects": subjects,
    "metrics": measured,
    "log words": log_words,
    "fault points": fault_points,
    "settings": settings,
    "tables": tables,
    "constraints and indexes": constraints,
    "methods": methods,
    "messages": messages,
    "enums": enums,
    "commands": commands,
}


def names() -> dict[str, list[str]]:
    """Every name the code declares, by what it is."""
    return {title: sorted(set(find())) for title, find in SECTIONS.items()}


def page(found: Mapping[str, Iterable[str]]) -> str:
    """One name a line, so that a difference shows which."""
    parts = [
        "# Names that are data. Written by `just freeze`; a line that goes or changes is a decision."
    ]
    for title, lines in found.items():
        parts += ["", f"[{title}]", *lines]
    return "\n".join(parts) + "\n"


def frozen(file: Path = FROZEN) -> dict[str, list[str]]:
    """What the file holds."""
    found: dict[str, list[str]] = {}
    for line in file.read_text("utf-8").splitlines() if file.exists() else ():
        if line.startswith("["):
            found[line.strip("[]")] = []
        elif line and not line.startswith("#"):
            found[list(found)[-1]].append(line)
    return found


def words(lines: Iterable[str]) -> set[str]:
    """Each single name with what it belongs to, so that an added column takes none away."""
    found: set[str] = set()
    for line in lines:
        owner, _, own = line.partition(": ")
        found |= {owner, *(f"{owner}: {one}" for one in own.split())}
    return found


def gone(before: Mapping[str, Iterable[str]], now: Mapping[str, Iterable[str]]) -> list[str]:
    """Names that were there and are no more."""
    return [
        f"{title}: {one}"
        for title, lines in before.items()
        for one in sorted(words(lines) - words(now.get(title, ())))
    ]


def main() -> int:
    """Write the file; 1, and nothing written, when a name is gone and --drop was not said."""
    now = names()
    lost = gone(frozen(), now)
    if lost and "--drop" not in sys.argv[1:]:
        print("names that are data are gone; if that is meant: just freeze --drop", file=sys.stderr)
        print("\n".join(lost), file=sys.stderr)
        return 1
    FROZEN.write_text(page(now), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
