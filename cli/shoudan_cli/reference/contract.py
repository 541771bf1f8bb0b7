"""What the gRPC contract says of itself: its comments live on as docstrings of the generated stubs."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

import shoudan

SUFFIX: Final = "_pb2.pyi"
WRAPPER: Final = "EnumTypeWrapper"
PUBLISHED: Final = " is published as "


@dataclass(frozen=True, slots=True)
class Value:
    """One value of an enum, or one field of a message with its type in `kind`."""

    name: str
    kind: str
    about: str


@dataclass(frozen=True, slots=True)
class Described:
    """An enum with its values, or a message with its fields."""

    package: str
    name: str
    about: str
    values: tuple[Value, ...]


def enums() -> list[Described]:
    """Every enum of the contract, by package."""
    return [one for stub in _stubs() for one in _enums(stub)]


def events() -> list[Described]:
    """Every message that is published, by package; `about` begins with its subjects."""
    return [
        one for stub in _stubs() for one in _messages(stub, import_module(_module(stub)).DESCRIPTOR)
    ]


def services() -> list[str]:
    """The full name of every service of the contract."""
    modules = [import_module(_module(stub)).DESCRIPTOR for stub in _stubs()]
    return sorted(one.full_name for file in modules for one in file.services_by_name.values())


def _stubs() -> list[Path]:
    root = Path(next(iter(shoudan.__path__)))
    return sorted(root.rglob(f"*{SUFFIX}"))


@cache
def _tree(stub: Path) -> ast.Module:
    return ast.parse(stub.read_text("utf-8"))


def _module(stub: Path) -> str:
    """The module's name of a stub: its last four parts are shoudan, package, version, file."""
    return ".".join([*stub.parts[-4:-1], stub.name.removesuffix(".pyi")])


def _package(stub: Path) -> str:
    return ".".join(stub.parts[-4:-1])


def _classes(body: list[ast.stmt]) -> Iterator[ast.ClassDef]:
    """Classes at any depth, outer ones first."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield node
            yield from _classes(node.body)


def _enums(stub: Path) -> Iterator[Described]:
    """A wrapper class holds the values with their docstrings, the class of the enum its own."""
    classes = list(_classes(_tree(stub).body))
    abouts = {one.name: ast.get_docstring(one) or "" for one in classes}
    for one in classes:
        if one.name.endswith(WRAPPER):
            name = one.name.removeprefix("_").removesuffix(WRAPPER)
            said = _docstrings(one.body)
            numbers = _numbers(stub, name)
            values = [Value(value, str(numbers[value]), said.get(value, "")) for value in numbers]
            yield Described(_package(stub), name, _line(abouts[name]), tuple(values))


def _numbers(stub: Path, name: str) -> Mapping[str, int]:
    """The values of an enum, which may lie inside a message."""
    descriptor = import_module(_module(stub)).DESCRIPTOR
    found = dict(descriptor.enum_types_by_name)
    pending = list(descriptor.message_types_by_name.values())
    while pending:  # nested messages, of which there are finitely many
        message = pending.pop()
        found |= {one.name: one for one in message.enum_types}
        pending += message.nested_types
    return {value.name: value.number for value in found[name].values}


def _messages(stub: Path, descriptor: Any) -> Iterator[Described]:
    for one in _tree(stub).body:
        if not isinstance(one, ast.ClassDef) or PUBLISHED not in (ast.get_docstring(one) or ""):
            continue
        said = _docstrings(one.body)
        fields = descriptor.message_types_by_name[one.name].fields
        values = [Value(f.name, _kind(f), said.get(f.name, "")) for f in fields]
        about = _line(ast.get_docstring(one) or "").partition(PUBLISHED)[2]
        yield Described(_package(stub), one.name, about, tuple(values))


def _docstrings(body: list[ast.stmt]) -> dict[str, str]:
    """The string after each annotated name, or inside each property."""
    said: dict[str, str] = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef):
            said[node.name] = _line(ast.get_docstring(node) or "")
        match node, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                said[name] = _line(str(text))
            case _:
                pass
    return said


def _kind(field: Any) -> str:
    """The type as the contract writes it."""
    kinds: Any = FieldDescriptor
    names = {getattr(kinds, k): k for k in dir(kinds) if k.startswith("TYPE_")}
    named = field.message_type or field.enum_type
    plain = names[field.type].removeprefix("TYPE_").lower()
    kind = named.full_name if named is not None else plain
    return f"repeated {kind}" if field.is_repeated else kind


def _line(text: str) -> str:
    """Broken lines joined; a subject broken at its bar stays in one piece."""
    return " ".join(text.split()).replace("| ", "|")
