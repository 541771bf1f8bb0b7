"""Small changes of a module, each as a bug would make it: a bound moved, a condition or a call forgotten.

No change is made in annotations, docstrings, assertions, texts of Python's own exceptions, or what is
written to the log: no test should hold their wording. A change is known by where it stands and what it
says, not by its line, so that a list of changes outlives other work on the module.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

TEXT_MAX: Final = 120
LOGS: Final = ("log", "_log", "logger", "warnings")
OWN_OF_PYTHON: Final = (
    "ValueError",
    "TypeError",
    "KeyError",
    "RuntimeError",
    "LookupError",
    "OverflowError",
)
GENERIC: Final = {
    *(
        "dict",
        "list",
        "tuple",
        "set",
        "frozenset",
        "deque",
        "defaultdict",
        "Counter",
        "OrderedDict",
    ),
    *("Literal", "Callable", "Mapping", "Sequence", "Iterable", "Iterator"),
}
NOTHING: Final = ("usedforsecurity",)  # named arguments that change no result
SWAPPED: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
# Types, and what makes a value comparable or unchangeable, which types hold.
_PASSED: Final = ("annotation", "returns", "decorator_list")
_COMPARED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ORDERED: Final = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_COMPUTED: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.Pow: ast.Mult,
}

T = TypeVar("T")
Instead = Iterator[tuple[str, ast.AST]]  # what is changed, in words, and what stands there then


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a tree: `node.field` becomes `new`. `lines`: the statement's up to it. `scope`: the
    outermost function it is in the body of, empty for what is done at import."""

    key: str
    lines: range
    scope: str
    node: ast.AST
    field: str
    new: Any

    def compiled(self, tree: ast.Module, path: str) -> Any:
        """The code of the changed module; the tree is left as it was."""
        old = getattr(self.node, self.field)
        setattr(self.node, self.field, self.new)
        try:
            return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)
        finally:
            setattr(self.node, self.field, old)


def changes(tree: ast.Module, name: str) -> list[Change]:
    """All changes of a module, in the order of its text."""
    found, seen = list[Change](), Counter[str]()
    for one in _below(tree, name, (), "", 1):
        seen[one.key] += 1
        key = one.key if seen[one.key] == 1 else f"{one.key} #{seen[one.key]}"
        found.append(Change(key, one.lines, one.scope, one.node, one.field, one.new))
    return found


def _below(
    parent: ast.AST, name: str, names: tuple[str, ...], scope: str, line: int
) -> Iterator[Change]:
    """The changes below a node. `line`: where the statement begins that it belongs to."""
    for field, value in ast.iter_fields(parent):
        if field in _PASSED or _is_wording(parent, field):
            continue
        together = isinstance(value, list)
        for at, child in enumerate(value if together else [value]):
            if not isinstance(child, ast.AST) or _is_word(parent, field, at):
                continue
            begins = child.lineno if isinstance(child, ast.stmt) else line
            here = (*names, child.name) if isinstance(child, (*_FUNCTIONS, ast.ClassDef)) else names
            is_body = isinstance(parent, _FUNCTIONS) and field == "body"
            inner = scope or (".".join(names) if is_body else "")
            for words, new in _instead(parent, field, child):
                whole = [*value[:at], new, *value[at + 1 :]] if together else new
                lines = range(begins, (getattr(child, "end_lineno", None) or begins) + 1)
                key = f"{name} {'.'.join(names) or '-'}: {words}"
                yield Change(key, lines, inner, parent, field, whole)
            yield from _below(child, name, here, inner, begins)


def _text(node: ast.AST) -> str:
    said = " ".join(ast.unparse(node).split())
    return said if len(said) <= TEXT_MAX else f"{said[: TEXT_MAX - 1]}…"


def _is_short(node: ast.AST) -> bool:
    """Whether the text of a node says where a constant stands."""
    return isinstance(node, (ast.expr, ast.keyword, ast.Assign, ast.AnnAssign, ast.Return))


def _is_word(parent: ast.AST, field: str, at: int) -> bool:
    """Docstrings, and the texts of members of enumerations, which the list of frozen names holds."""
    match parent:
        case ast.ClassDef(body=body, bases=[ast.Name(base), *_]) if field == "body":
            match body[at]:
                case ast.Assign(value=ast.Constant(str())) if base.endswith("Enum"):
                    return True
                case _:
                    pass
        case _:
            pass
    return (
        field == "body"
        and at == 0
        and isinstance(parent, (ast.Module, ast.ClassDef, *_FUNCTIONS))
        and ast.get_docstring(parent, clean=False) is not None
    )


def _is_wording(parent: ast.AST, field: str) -> bool:
    """Assertions, which are tests themselves, and texts for people."""
    match parent:
        case ast.Assert() | ast.Import() | ast.ImportFrom():
            return True
        case ast.ClassDef():
            return field == "keywords"
        case ast.keyword(arg):
            return arg in NOTHING
        case ast.Subscript(ast.Name(name)) if field == "slice":
            return name in GENERIC  # a type
        case ast.Raise(ast.Call(ast.Name(name))) if field == "exc":
            return name in OWN_OF_PYTHON
        case ast.Call(ast.Attribute(ast.Name(name))):
            return name in LOGS
        case _:
            return False


def _instead(parent: ast.AST, field: str, node: ast.AST) -> Instead:
    """What a bug would write instead of this node."""
    if not isinstance(node, ast.expr):
        yield from _statements(parent, node)
        return
    if isinstance(parent, ast.Expr) and _is_wording(node, "args"):
        return
    is_test = isinstance(parent, (ast.If, ast.IfExp)) and field == "test"
    is_test = is_test or (isinstance(parent, ast.comprehension) and field == "ifs")
    said = _text(node)
    if is_test:
        yield f"if {said} -> if True", ast.Constant(True)
    if is_test or (isinstance(parent, ast.While) and not isinstance(node, ast.Constant)):
        yield f"if {said} -> if False", ast.Constant(False)
    where = f" in {_text(parent)}" if isinstance(node, ast.Constant) and _is_short(parent) else ""
    for new in _expressions(node, is_test):
        yield f"{said} -> {_text(new)}{where}", new
    if not isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del)):
        for left_out, new in _fewer(node):
            yield f"{said} without {_text(left_out)}", new


def _expressions(node: ast.AST, is_test: bool) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left, ops, rest):
            for at, op in enumerate(ops):
                # Another comparison is seen where the condition is taken as true, and as false.
                if isinstance(op, _ORDERED) or not is_test:
                    moved = [*ops[:at], _COMPARED[type(op)](), *ops[at + 1 :]]
                    yield ast.Compare(left, moved, rest)
        case ast.BinOp(left, op, right) if type(op) in _COMPUTED:
            yield ast.BinOp(left, _COMPUTED[type(op)](), right)
        case ast.UnaryOp(ast.USub() | ast.Not(), operand) if not is_test:
            yield operand
        case ast.Constant(value):
            yield from _constants(value)
        case ast.Call(ast.Name(name), args, keywords) if name in SWAPPED:
            yield ast.Call(ast.Name(SWAPPED[name], ast.Load()), args, keywords)
        case _:
            pass


def _constants(value: object) -> Iterator[ast.Constant]:
    match value:
        case bool():
            yield ast.Constant(not value)
        case int() | float():
            yield ast.Constant(value + 1)
        case str():
            yield ast.Constant(f"{value}?")
        case bytes():
            yield ast.Constant(value + b"?")
        case _:
            pass


def _fewer(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """A term, an element, an entry or a named argument, and the whole without it."""
    match node:
        case ast.BoolOp(op, values):
            for one, rest in _each_left_out(values):
                yield one, rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.Tuple(many) | ast.List(many) | ast.Set(many) if len(many) > 1:
            for one, rest in _each_left_out(many):
                made = ast.Set(rest) if isinstance(node, ast.Set) else type(node)(rest, ast.Load())
                yield one, made
        case ast.Dict(keys, values) if len(keys) > 1:
            entries = list(zip(keys, values, strict=True))
            for (key, value), rest in _each_left_out(entries):
                yield key or value, ast.Dict([one for one, _ in rest], [one for _, one in rest])
        case ast.Call(func, args, keywords):
            for one, rest in _each_left_out(keywords):
                if one.arg in NOTHING:
                    continue
                yield one, ast.Call(func, args, rest)
        case _:
            pass


def _each_left_out(many: list[T]) -> Iterator[tuple[T, list[T]]]:
    for at, one in enumerate(many):
        yield one, many[:at] + many[at + 1 :]


def _statements(parent: ast.AST, node: ast.AST) -> Instead:
    match node:
        case ast.AugAssign(target, op, value):
            if type(op) in _COMPUTED:
                new = ast.AugAssign(target, _COMPUTED[type(op)](), value)
                yield f"{_text(node)} -> {_text(new)}", new
        case ast.Expr(ast.Call() | ast.Await() as value):
            made = value.value if isinstance(value, ast.Await) else value
            if _is_wording(made, "args"):
                return
        case ast.Raise():
            if isinstance(parent, ast.If) and parent.body == [node]:
                return  # the same as its condition taken as false
        case ast.Break():
            yield "break -> continue", ast.Continue()
            return
        case ast.Continue():
            yield "continue -> break", ast.Break()
            return
        case ast.Delete():
            pass
        case _:
            return
    yield f"without `{_text(node)}`", ast.Pass()
