"""The pictures of docs/ideas: drawn from the code, so that a page cannot show what does not run."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from shoudan_delivery import interpret
from shoudan_delivery import results as delivery_results
from shoudan_delivery.states import CARD, DELIVERY, Event, Status
from shoudan_delivery.store.rows import Verdict
from shoudan_kit.batch import Coalescer
from shoudan_kit.tasks import store as task_store
from shoudan_kit.tasks.kinds import Kind, Task
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_kit.tasks.worker import Worker
from shoudan_order import binding, kinds, orders, results
from shoudan_order.tasks import HANDLERS
from shoudan_pay.ledger import chain_hash, group_commit

ROOT: Final = Path(__file__).resolve().parent.parent
IMPORT_ROOTS: Final = (
    "kit",
    *(f"services/{n}" for n in ("order", "pay", "delivery", "erp_ingest", "identity", "finance")),
    "gateway",
)
MARK: Final = re.compile(r"(<!-- picture: (\w+) -->\n).*?(<!-- end of picture -->\n)", re.DOTALL)
NEW_TASK: Final = re.compile(r"\bwork\.tasks\.add$|\bcontext\.enqueue$")
COALESCER: Final[Any] = Coalescer
SIGNATURE: Final = inspect.signature(COALESCER).parameters
DETACH: Final[Any] = Task[Any].detach
NACK: Final[Any] = Worker[Any].nack


@dataclass(frozen=True, slots=True)
class Place:
    """A function of the code: its module and its name there, such as `Worker.nack`."""

    module: str
    name: str

    @property
    def shown(self) -> str:
        """How pictures name it: the module's last word and the function."""
        return f"{self.module.rpartition('.')[2]}.{self.name}"


@dataclass(frozen=True, slots=True)
class Made:
    """A Coalescer that is made: in whose hands, what runs its batches, with which bounds."""

    owner: Place
    run: str
    bounds: Mapping[str, str]


def redrawn(text: str) -> str:
    """A page with each of its pictures drawn anew. Raises KeyError for one that is not drawn."""
    return MARK.sub(lambda found: f"{found[1]}{_block(PICTURES[found[2]]())}{found[3]}", text)


def _block(lines: Iterable[str]) -> str:
    return "\n".join(["", "```mermaid", *lines, "```", ""]) + "\n"


# ---------------------------------------------------------------- reading the code
@cache
def modules() -> dict[str, Path]:
    """Every module that runs in production, by its dotted name."""
    found: dict[str, Path] = {}
    for root in IMPORT_ROOTS:
        for path in sorted((ROOT / root).glob("shoudan_*/**/*.py")):
            inside = path.relative_to(ROOT / root).with_suffix("")
            parts_ = inside.parts[:-1] if inside.name == "__init__" else inside.parts
            found[".".join(parts_)] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    """A module, parsed."""
    return ast.parse(modules()[module].read_text("utf-8"))


@cache
def functions(module: str) -> dict[str, ast.AST]:
    """The functions and methods of a module by name."""
    found: dict[str, ast.AST] = {}
    for node in tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    found[f"{node.name}.{inner.name}"] = inner
    return found


@cache
def imported(module: str) -> dict[str, str]:
    """What the names imported by a module stand for, dotted."""
    found: dict[str, str] = {}
    for node in tree(module).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for one in node.names:
                found[one.asname or one.name] = f"{node.module}.{one.name}"
    return found


def used(place: Place) -> Iterator[Place]:
    """The functions of ours that a function names, called or handed on, in the order it names them."""
    own, names = functions(place.module), imported(place.module)
    cls = place.name.rpartition(".")[0]
    for node in _in_order(own[place.name]):
        if isinstance(node, ast.Name) and node.id in own:
            yield Place(place.module, node.id)
        elif isinstance(node, ast.Name) and node.id in names:
            module, _, name = names[node.id].rpartition(".")
            if module in modules() and name in functions(module):
                yield Place(module, name)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            there = names.get(node.value.id, "")
            if node.value.id == "self" and f"{cls}.{node.attr}" in own:
                yield Place(place.module, f"{cls}.{node.attr}")
            elif there in modules() and node.attr in functions(there):
                yield Place(there, node.attr)


def _in_order(node: ast.AST) -> list[ast.expr]:
    found = [one for one in ast.walk(node) if isinstance(one, ast.expr)]
    return sorted(found, key=lambda one: (one.lineno, one.col_offset))


def place_of(function: Any) -> Place:
    """Where a function stands."""
    return Place(function.__module__, function.__qualname__)


def reached(start: Place, stops: Iterable[Place]) -> set[Place]:
    """What a function leads to inside its own service, not beyond `stops`."""
    seen, open_, others = {start}, [start], set(stops) - {start}
    package = start.module.partition(".")[0]
    while open_:  # ends: every function is opened at most once
        for one in used(open_.pop()):
            if one not in seen and one.module.startswith(package):
                seen.add(one)
                if one not in others:
                    open_.append(one)
    return seen


def first_words(module: str, name: str) -> str:
    """The first sentence of a function's docstring."""
    node = functions(module)[name]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    words = " ".join((ast.get_docstring(node) or "").split())
    return re.split(r"[.;:]( |$)", words)[0].replace('"', "'")


# ---------------------------------------------------------------- batches
def coalescers() -> Iterator[Made]:
    """Every Coalescer that the code makes."""
    for module, path in modules().items():
        if Coalescer.__name__ not in path.read_text("utf-8"):
            continue
        for name, node in functions(module).items():
            for call in _in_order(node):
                if isinstance(call, ast.Call) and _called(call) == Coalescer.__name__:
                    given = {one.arg: ast.unparse(one.value) for one in call.keywords if one.arg}
                    run = ast.unparse(call.args[0]).removeprefix("self.")
                    yield Made(Place(module, name), run, given)


def _called(call: ast.Call) -> str:
    function = call.func.value if isinstance(call.func, ast.Subscript) else call.func
    return ast.unparse(function).rpartition(".")[2]


def batches() -> list[str]:
    """Who gathers calls, into batches of what size, and what runs them."""
    lines = ["flowchart LR"]
    for number, one in enumerate(coalescers()):
        owner = one.owner.module.removeprefix("shoudan_")
        cls = one.owner.name.rpartition(".")[0]
        said = {
            name: one.bounds.get(name, str(SIGNATURE[name].default))
            for name in ("size_max", "linger_s", "in_flight_max")
        }
        bounds = "<br>".join(f"{name} {_short(value)}" for name, value in said.items())
        lines += [
            f'    o{number}["{owner}<br>{cls}"] -->|"calls"| c{number}{{{{"{bounds}"}}}}',
            f'    c{number} -->|"one batch"| r{number}["{one.run}"]',
        ]
    return lines


def _short(text: str) -> str:
    return text.rpartition(".")[2] if not text.replace(".", "").isdigit() else text


# ---------------------------------------------------------------- orders in memory, inlined steps
def steps() -> list[str]:
    """Which step of an order makes which, and where binding may happen inside the step before."""
    handled = {one.kind.name: place_of(one.run) for one in HANDLERS if _of_orders(one.kind.name)}
    begun = {place_of(orders.create): "", place_of(results.report): ""}
    starts = {**begun, **{place: kind for kind, place in handled.items()}}
    lines, edges = ["flowchart TD"], list[str]()
    for start, kind in starts.items():
        there = reached(start, starts)
        own = [one for one in there if one == start or one not in starts]
        title = start.shown + (f"<br>{kind}" if kind else "")
        if place_of(binding.can_run_inline) in there:
            title += "<br>binds inside its own transaction if it may"
        lines.append(f'    {_id(start.shown)}["{title}"]')
        made = sorted({kind for one in own for kind in added(one) if kind in handled})
        edges += [f"    {_id(start.shown)} --> {_id(handled[kind].shown)}" for kind in made]
        calls = [one for one in begun if one in there and one != start]
        edges += [f"    {_id(start.shown)} -.->|calls| {_id(one.shown)}" for one in calls]
    return lines + edges


def _of_orders(kind: str) -> bool:
    return kind.startswith("order.")


def added(place: Place) -> Iterator[str]:
    """The kinds of task that a function makes."""
    by_name = {f"kinds.{name}": one.name for name, one in vars(kinds).items() if _is_kind(one)}
    for node in _in_order(functions(place.module)[place.name]):
        if isinstance(node, ast.Call) and NEW_TASK.search(ast.unparse(node.func)):
            given = map(ast.unparse, node.args)
            yield from (by_name[one] for one in given if one in by_name)


def _is_kind(one: object) -> bool:
    return isinstance(one, Kind)


def _id(text: str) -> str:
    return re.sub(r"\W", "_", text)


# ---------------------------------------------------------------- leases
def leases() -> list[str]:
    """Who writes the task table, with which statement."""
    lines = ["flowchart LR"]
    table: dict[str, str] = {}
    for owner in (UnitOfWork, Worker):
        module = owner.__module__
        for name in functions(module):
            if not name.startswith(f"{owner.__name__}."):
                continue
            for one in used(Place(module, name)):
                if one.module == task_store.__name__:
                    table[one.name] = first_words(one.module, one.name)
                    lines.append(f'    {_id(name)}["{name}"] --> {one.name}')
    lines += ['    subgraph table ["the task table"]']
    lines += [f'        {name}["{name}<br>{words}"]' for name, words in table.items()]
    return [*dict.fromkeys(lines), "    end"]


def detached() -> list[str]:
    """Where a task is detached from its handler, and where it is given back."""
    lines = ["flowchart LR"]
    for module, path in modules().items():
        whole = path.read_text("utf-8")
        if not any(one.__name__ in whole for one in (DETACH, NACK)):
            continue
        for name, node in functions(module).items():
            text, place = ast.unparse(node), Place(module, name)
            for hand, method in (("task", DETACH), ("worker", NACK)):
                if re.search(rf"\b{hand}\.{method.__name__}\(", text):
                    lines.append(f'    {_id(place.shown)}["{place.shown}"] --> {method.__name__}')
    lines += [f'    {one.__name__}(["{one.__qualname__}"])' for one in (DETACH, NACK)]
    return lines


# ---------------------------------------------------------------- unknown
def unknown() -> list[str]:
    """What an answer of a supplier means, and the state in which it leaves the delivery."""
    lines = ["flowchart LR"]
    for outcome, found in _meanings().items():
        lines += [f'    {outcome}(["{outcome}"]) --> v{one.name}["{one.value}"]' for one in found]
    for one in Verdict:
        state = _left(one)
        lines.append(f'    v{one.name} --> s{state.name}(("{state.name} {int(state)}"))')
    return lines


def _meanings() -> dict[str, list[Verdict]]:
    """The verdicts that each outcome of a call can have; NEVER_SENT is given without a call."""
    module = interpret.__name__
    calls = functions(module)[interpret.of_http_result.__name__]
    match = next(node for node in ast.walk(calls) if isinstance(node, ast.Match))
    found: dict[str, list[Verdict]] = {}
    for case in match.cases:
        assert isinstance(case.pattern, ast.MatchClass)
        text = "\n".join(ast.unparse(one) for one in case.body)
        if interpret.of_reply.__name__ in text:
            text += ast.unparse(functions(module)[interpret.of_reply.__name__])
        named = re.findall(r"Verdict\.([A-Z_]+)", text)
        found[ast.unparse(case.pattern.cls)] = [Verdict[one] for one in dict.fromkeys(named)]
    return found


def _left(verdict: Verdict) -> Status:
    """The state of a delivery that was SENDING when it was judged so."""
    own = vars(delivery_results)
    if verdict in own["_FINAL"]:
        return own["_FINAL"][verdict]
    event = Event.UNKNOWN if verdict in own["_UNKNOWN"] else Event[verdict.name]
    return DELIVERY.next(Status.SENDING, event)


# ---------------------------------------------------------------- cards
def cards() -> list[str]:
    """The states of a card, as the code moves it."""
    return CARD.mermaid().splitlines()


# ---------------------------------------------------------------- the chain
def chain() -> list[str]:
    """What a seal is made of, and where one record's seal is the next one's beginning."""
    facts = [
        name
        for name in inspect.signature(chain_hash.Ring.seal).parameters
        if name not in {"self", "previous"}
    ]
    rows = "<br>".join(", ".join(facts[start : start + 4]) for start in range(0, len(facts), 4))
    return [
        "flowchart LR",
        '    before["record n-1: hash"] -->|previous| seal',
        f'    facts["record n:<br>{rows}"] --> seal',
        '    key(["key of the service"]) --> seal',
        '    seal{{"Ring.seal"}} --> hash["record n: hash"]',
        '    hash --> head["account row:<br>seq n, balance, head_hash"]',
        '    hash -->|previous| next["record n+1"]',
    ]


def commit() -> list[str]:
    """What one group commit does, in its order."""
    lines, seen = ["flowchart TD"], list[str]()
    for one in used(place_of(group_commit.post)):
        if one.shown not in seen:
            seen.append(one.shown)
            words = first_words(one.module, one.name)
            lines.append(f'    {_id(one.shown)}["{one.shown}<br>{words}"]')
    for before, after in pairwise(seen):
        lines.append(f"    {_id(before)} --> {_id(after)}")
    return lines


PICTURES: Final = {
    one.__name__: one for one in (batches, steps, leases, detached, unknown, cards, chain, commit)
}
