"""The house rules a formatter cannot see: each failure names the place and says what to do.

Every rule also carries a line that breaks it, so that no rule can fall asleep unnoticed.
"""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
SERVICE_CODE = ("services/", "gateway/", "console/")
CODE = ("kit/", "cli/", "client/", "fakes/", "signing/", "configuration/", *SERVICE_CODE, "tools/")
PYTHON = (*CODE, "tests/")

VAGUE = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}
PURE_NEVER_IMPORTS = {"aiohttp", "asyncpg", "grpc", "nats", "shoudan", "sqlalchemy"}
# A module imports its own floor and those below. Nouns are not named: their order is in pyproject.toml.
NOUN = 3
COMMANDS = ("exception", "hold", "reconcile", "report", "request", "risk", "route", "segment")
FLOORS = {
    **dict.fromkeys(
        ["commands", *(f"{n}_commands" for n in (*COMMANDS, "endpoint", "statement"))], 6
    ),
    "app": 5,
    **dict.fromkeys(["rpc", "tasks"], 4),
    # A rule adds its events, and calls the other services, inside its own steps: both stand below it.
    # statements: the form of what the ledger signs, read by its commands without the service.
    **dict.fromkeys(["events", "protocol", "protocols", "statements", "store"], 2),
    # entries: what rows are as values; the store makes them, the nouns judge them.
    **dict.fromkeys(["config", "credential_kinds", "entries", "kinds", "refusals", "tables"], 1),
    **dict.fromkeys(["endpoint_states", "rows", "states"], 1),
}
# Homes inside a service, each with role files of its own; in which order they stand, import-linter reads.
PRODUCTS = {"shoudan_pay": {"chinaums", "dingdang", "ledger", "payserver", "platforms"}}
# Functions that put a statement together of names of tables and columns. Anything else is written at the
# top of its module, where no value of a caller can come near it.
STATEMENT_BUILDERS = {
    "kit/shoudan_kit/archive/": {"_sum", "_copy", "_convert", "_rows", "of", "read_from", "_remove", "write"},
    "kit/shoudan_kit/db/chains.py": {"__init__", "_judged", "_waits"}, "cli/shoudan_cli/": {"lay", "read"},
    "kit/shoudan_kit/db/": {
        "rest_part", "give_rights", "_grant_table", "_rights", "lay", "edge", "rising_edge", "_outside",
        "_become", "_prepare", "_filled", "begin", "_subscribe", "sums", "differences", "lay_parts",
    },
    "kit/shoudan_kit/embedded/postgres.py": {"drop_database"}, "kit/shoudan_kit/db/ended.py": {"__init__"},
    "kit/shoudan_kit/proposals/alone.py": {"counting"}, "kit/shoudan_kit/secrets/": {"__init__"},
    "services/erp_ingest/shoudan_erp_ingest/store/bulk.py": {"__init__"},
    "services/order/shoudan_order/store/": {"_queue", "_moved", "_any"},
    "services/pay/shoudan_pay/ledger/archived_files.py": {"_records", "_kept", "_kept_in"},
    "services/pay/shoudan_pay/platforms/store/callers.py": {"_upsert"},
    "services/pay/shoudan_pay/payserver/store/open_work.py": {"_history", "_parked"},
    "services/pay/shoudan_pay/payserver/store/orders.py": {"__init__"},
    "services/pay/shoudan_pay/store/open_work.py": {"__init__"},
}  # fmt: skip
# Services whose stores name no state: what a statement says of one comes from its Machine or enum.
STATES_FROM_MACHINES = (
    "kit/shoudan_kit/tasks/",
    "services/delivery/",
    "services/erp_ingest/",
    "services/order/",
    "services/pay/",
)
STATUS = re.compile(r"\b(?:\w+_)?status\b\s*(=|<>|(NOT )?IN \()\s*('|\d)")
SQL = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH)\s")
SECRET = re.compile(r"(^|_)(sign|sig|signature|token|mac|hmac|secret|password)$")
POLL_NAMES = ("poll", "until", "eventually", "lasting")  # the last: of a fault by plan
REGISTRIES = re.compile("|".join([r"pypi\." + "org", "pythonhosted" + r"\.", "npmjs" + r"\."]))
HOMES = re.compile(r"(?<![\w.$}])/(home|Users)/\w+/")


@dataclass(frozen=True)
class Finding:
    """One breach of one rule."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Source:
    """One tracked file, parsed at most once."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def stem(self) -> str:
        return Path(self.path).stem

    def found(self, line: int, what: str) -> Finding:
        return Finding(self.path, line, what)


@dataclass(frozen=True)
class Rule:
    """A rule, where it holds, and a file that breaks it."""

    name: str
    fix: str
    folders: tuple[str, ...]
    find: Callable[[Source], Iterable[Finding]]
    breaks: Source
    suffixes: tuple[str, ...] = (".py",)

    def applies(self, path: str) -> bool:
        inside = not self.folders or path.startswith(self.folders)
        return inside and path.endswith(self.suffixes) and not path.startswith("protos/gen/")


def tracked() -> list[str]:
    """Paths git knows, new ones included, ignored ones not; works in anybody's checkout."""
    git = ["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "-z"]
    git += ["--cached", "--others", "--exclude-standard"]
    names = subprocess.run(git, check=True, capture_output=True, text=True).stdout.split("\0")
    return sorted(n for n in set(names) if n and (ROOT / n).is_file())


@cache
def sources() -> list[Source]:
    """Every tracked text file."""
    found: list[Source] = []
    for name in tracked():
        body = (ROOT / name).read_bytes()
        if b"\0" not in body:
            found.append(Source(name, body.decode()))
    return found


@cache
def documented_reasons() -> frozenset[str]:
    """Every value of every ErrorReason in the contract."""
    protos = (s.text for s in sources() if s.path.endswith(".proto"))
    return frozenset(r for text in protos for r in re.findall(r"\b(ERROR_REASON_\w+) = \d+", text))


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (n for n in source.nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def calls(source: Source, name: str, *, method: bool) -> Iterator[Finding]:
    """Calls of `name(`, or with `method` of `.name(`."""
    for node in source.nodes:
        if not isinstance(node, ast.Call):
            continue
        if method and isinstance(node.func, ast.Attribute) and node.func.attr == name:
            yield source.found(node.lineno, f".{name}(")
        if not method and isinstance(node.func, ast.Name) and node.func.id == name:
            yield source.found(node.lineno, f"{name}(")


def imported(source: Source) -> Iterator[tuple[int, str]]:
    """Every absolute module name imported, `from a import b` also as a.b."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def no_sentence(source: Source) -> Iterator[Finding]:
    words = ast.get_docstring(source.tree) or ""
    if not words.split("\n\n")[0].rstrip().endswith("."):
        yield source.found(1, "no sentence at the top")


def vague_name(source: Source) -> Iterator[Finding]:
    parts = Path(source.path).with_suffix("").parts
    yield from (source.found(1, part) for part in parts if part.removeprefix("_") in VAGUE)


def long_module(source: Source) -> Iterator[Finding]:
    lines = source.text.count("\n")
    if lines > MODULE_LINES_MAX and "/migrations/" not in source.path:
        yield source.found(lines, f"{lines} lines")


def long_function(source: Source) -> Iterator[Finding]:
    if "/migrations/" in source.path:
        return  # Alembic writes a table as one call, and history is not split
    for node in functions(source):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            yield source.found(node.lineno, f"{node.name}() has {lines} lines")


def commit_outside_kit(source: Source) -> Iterator[Finding]:
    yield from calls(source, "commit", method=True)


def float_near_money(source: Source) -> Iterator[Finding]:
    yield from calls(source, "float", method=False)


def select_star(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and re.search(r"\bselect\s+(\w+\.)?\*", text, re.IGNORECASE):
            yield source.found(node.lineno, "SELECT *")


def built_statement(source: Source) -> Iterator[Finding]:
    if "/migrations/" in source.path:
        return
    of = [names for place, names in STATEMENT_BUILDERS.items() if source.path.startswith(place)]
    builders = set().union(*of)
    for function in functions(source):
        for node in [] if function.name in builders else ast.walk(function):
            if isinstance(node, ast.JoinedStr) and SQL.search(ast.unparse(node)):
                yield source.found(node.lineno, f"{function.name}() puts SQL together")


@cache
def state_words(package: str) -> frozenset[str]:
    """The words of the states that a service declares, as SQL quotes them."""
    found: set[str] = set()
    for source in sources():
        if source.path.startswith(package) and source.stem == "states":
            for node in source.nodes:
                words = isinstance(node, ast.ClassDef) and "StrEnum" in map(ast.unparse, node.bases)
                if words and not node.name.endswith("Event"):
                    values = (one.value for one in node.body if isinstance(one, ast.Assign))
                    found |= {f"'{one.value}'" for one in values if isinstance(one, ast.Constant)}
    return frozenset(found)


def status_literal(source: Source) -> Iterator[Finding]:
    """In the SQL of a store: a status compared with what is written out, or a state's word."""
    if "/store/" not in source.path:
        return
    words = state_words("/".join(source.path.split("/")[:3]))
    for node in source.nodes:
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str):
            found = [hit[0] for hit in STATUS.finditer(text)] + [w for w in words if w in text]
            yield from (source.found(node.lineno, one) for one in found)


def sleeping_test(source: Source) -> Iterator[Finding]:
    allowed = {
        id(node)
        for function in functions(source)
        if function.name.lstrip("_").startswith(POLL_NAMES)
        for node in ast.walk(function)
    }
    for node in source.nodes:
        if isinstance(node, ast.Call) and id(node) not in allowed:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name == "sleep":
                yield source.found(node.lineno, "sleep(")


def naive_time(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        made = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "ToDatetime"
        if made and not ast.unparse(node).endswith("(UTC)"):
            yield source.found(node.lineno, ast.unparse(node))


def left_for_later(source: Source) -> Iterator[Finding]:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    lines = io.StringIO(source.text if marks.search(source.text) else "").readline  # few have one
    for token in tokenize.generate_tokens(lines):
        if token.type == tokenize.COMMENT and marks.search(token.string):
            yield source.found(token.start[0], token.string)
    for node in source.nodes:
        if isinstance(node, ast.Name) and node.id == "NotImplementedError":
            yield source.found(node.lineno, node.id)


def skipped_test(source: Source) -> Iterator[Finding]:
    names = {"skip", "skipif", "xfail", "importorskip", "skipTest"}
    for node in source.nodes:
        text = ast.unparse(node) if isinstance(node, ast.Attribute) and node.attr in names else ""
        if text.startswith(("pytest.", "self.")):
            yield source.found(node.lineno, text)


def tied_to_a_place(source: Source) -> Iterator[Finding]:
    """Paths of this checkout, of somebody's home, and hosts packages are fetched from."""
    here = [re.escape(str(ROOT))] if len(ROOT.parts) > 2 else []
    if len(ROOT.parts) == 3 and ROOT.parts[1] not in {"tmp", "root", "home", "srv", "opt", "var"}:
        here = [rf"(?<![\w./-])/{re.escape(ROOT.parts[1])}/"]
    place = re.compile("|".join([HOMES.pattern, REGISTRIES.pattern, *here]))
    for number, line in enumerate(source.text.splitlines(), 1):
        if hit := place.search(line):
            yield source.found(number, hit[0])


def undocumented_reason(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            known = node.value in documented_reasons()
            if re.fullmatch(r"ERROR_REASON_\w+", node.value) and not known:
                yield source.found(node.lineno, node.value)


def impure_states(source: Source) -> Iterator[Finding]:
    if source.stem != "states":
        return
    for line, name in imported(source):
        if name.split(".")[0] in PURE_NEVER_IMPORTS:
            yield source.found(line, f"imports {name}")


def floor(role: str) -> int:
    """Where a module stands in its service; `*_client` calls another service."""
    return 2 if role.endswith("_client") else FLOORS.get(role, NOUN)


def home_and_role(package: str, parts: list[str]) -> tuple[str, str]:
    """Whose module it is inside its service, and its role there."""
    if parts[0] in PRODUCTS.get(package, ()):
        return parts[0], parts[1] if len(parts) > 1 else "__init__"
    return "", parts[0]


def imports_up(source: Source) -> Iterator[Finding]:
    package, *rest = source.path.removesuffix(".py").split("/")[2:]
    home, role = home_and_role(package, rest)
    if role in {"migrations", "__init__"}:
        return
    own = floor(role)
    for line, name in imported(source):
        parts = name.split(".")
        if parts[0] != package or len(parts) == 1:
            continue
        there, other = home_and_role(package, parts[1:])
        if there in {"", home} and floor(other) > own:
            yield source.found(line, f"{role} imports {name}")


def name_of(node: ast.expr) -> str:
    """What an expression is called by its last part."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=func):
            return name_of(func)
        case ast.Subscript(slice=ast.Constant(value=str() as name)):
            return name
        case _:
            return ""


def secret_compared(source: Source) -> Iterator[Finding]:
    """How long `==` takes says how much of a guess was right. Nothing is known of an empty one."""
    for node in source.nodes:
        if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
            continue
        sides = (node.left, node.comparators[0])
        named = [one for one in sides if SECRET.search(name_of(one))]
        empty = any(isinstance(one, ast.Constant) and not one.value for one in sides)
        # A person's two inputs, and a column of a statement, are no guess at a secret.
        harmless = len(named) == len(sides) or ".c." in ast.unparse(node.left)
        if named and not empty and not harmless:
            yield source.found(node.lineno, ast.unparse(node))


def transaction_in_rpc(source: Source) -> Iterator[Finding]:
    if "/rpc/" in source.path:
        for name in ("work", "connect", "begin"):
            yield from calls(source, name, method=True)


def servicer_name(source: Source) -> Iterator[Finding]:
    """OrderServiceServicer of the contract is served by OrderServicer."""
    for node in source.nodes:
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
            wanted = [b.replace("Service", "", 1) for b in bases if b.endswith("ServiceServicer")]
            if wanted and node.name not in wanted:
                yield source.found(node.lineno, f"{node.name} serves {wanted[0]}")


def at(path: str, text: str) -> Source:
    return Source(path, text)


ORDER = "services/order/shoudan_order"
ALIKE = (
    *("services/order/", "services/delivery/", "services/erp_ingest/", "services/pay/"),
    "services/identity/",
)
ROLES = (
    "app",
    "commands",
    "config",
    "context",
    "events",
    "refusals",
    "rpc",
    "states",
    "store",
    "tables",
)
RULES = [
    Rule("sentence", "start the module with one sentence that says what it is for", PYTHON,
         no_sentence, at("kit/a.py", "import os\n")),
    Rule("telling name", "name the module after what it holds", PYTHON,
         vague_name, at("kit/shoudan_kit/utils.py", "")),
    Rule("module size", f"split the module: at most {MODULE_LINES_MAX} lines", PYTHON,
         long_module, at("kit/a.py", "a = 1\n" * (MODULE_LINES_MAX + 1))),
    Rule("function size", f"split the function: at most {FUNCTION_LINES_MAX} lines", PYTHON,
         long_function, at("kit/a.py", "def f():\n" + "    a = 1\n" * FUNCTION_LINES_MAX)),
    Rule("commit", "code inside a batch never commits: let kit's UnitOfWork do it at the edge",
         (*SERVICE_CODE, "cli/", "fakes/"),
         commit_outside_kit, at("gateway/a.py", "await db.commit()")),
    Rule("float", "money is int micros, rates are int ppm: use shoudan_kit.money", SERVICE_CODE,
         float_near_money, at("gateway/a.py", "a = float('1')")),
    Rule("compared secret", "compare it with hmac.compare_digest", CODE,
         secret_compared, at("kit/a.py", "a = request.sign == expected\n")),
    Rule("select star", "list the columns", CODE,
         select_star, at("kit/a.py", "q = 'select  * from task'")),
    Rule("built statement", "write it at the top of the module and bind its values by name (:name); what "
         "is made of names of tables is listed in STATEMENT_BUILDERS", CODE,
         built_statement, at("kit/a.py", "def f(a):\n    return f'SELECT a FROM b WHERE c = {a}'\n")),
    Rule("status literal", "name the state by its Machine: literal(PAY.initial), literals(PAY.sources(…))",
         STATES_FROM_MACHINES, status_literal,
         at("services/pay/shoudan_pay/store/a.py", "q = 'UPDATE a SET b = 1 WHERE status IN (20, 30)'")),
    Rule("sleep", "wait for the thing itself: poll with a deadline, or turn the clock", ("tests/",),
         sleeping_test, at("tests/a.py", "await asyncio.sleep(1)")),
    Rule("naive time", "a time without a zone is read in the host's: .ToDatetime(UTC)", PYTHON,
         naive_time, at("kit/a.py", "a = stamp.ToDatetime(None)")),
    Rule("left for later", "do it now, or write the issue and take the line out", PYTHON,
         left_for_later, at("kit/a.py", "a = 1  # TO" + "DO: more\n")),
    Rule("skipped test", "make it run or take it out", ("tests/",),
         skipped_test, at("tests/a.py", "@pytest.mark.skip\ndef test_a(): ...\n")),
    Rule("tied to a place", "name no path of one machine and no download host", (),
         tied_to_a_place, at("README.md", "see /home" + "/me/shoudan"), ("",)),
    Rule("documented reason", "add the reason to an ErrorReason of the contract",
         CODE, undocumented_reason, at("kit/a.py", "reason = 'ERROR_REASON_NOBODY_WROTE_DOWN'")),
    Rule("pure states", "states touch neither wire nor database: move that up", SERVICE_CODE,
         impure_states, at(f"{ORDER}/states.py", "import grpc")),
    Rule("imports point down", "app > rpc, tasks > nouns > events, clients, store, protocols > kinds, "
         "states, refusals, config, tables, rows: move what both need to the lower floor",
         ("services/",), imports_up, at(f"{ORDER}/events.py", "from shoudan_order import orders")),
    Rule("rpc translates", "open the transaction in a noun: rpc makes values of messages and back",
         ALIKE, transaction_in_rpc, at(f"{ORDER}/rpc/order.py", "async with app.work('a'): ...")),
    Rule("servicer name", "name the servicer after its service: OrderService, OrderServicer",
         ALIKE, servicer_name, at(f"{ORDER}/rpc/order.py", "class Os(grpc.OrderServiceServicer): ...")),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_house_rule_is_kept(rule: Rule) -> None:
    found = [f for s in sources() if rule.applies(s.path) for f in rule.find(s)]
    assert not found, "\n".join([f"{rule.fix}:", *map(str, found)])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_house_rule_is_awake(rule: Rule) -> None:
    assert rule.applies(rule.breaks.path)
    assert list(rule.find(rule.breaks))


@pytest.mark.parametrize("service", ALIKE)
def test_a_service_has_the_role_files_of_every_service(service: str) -> None:
    paths = [
        Path(s.path).with_suffix("").parts[2:] for s in sources() if s.path.startswith(service)
    ]
    there = {home_and_role(package, rest)[1] for package, *rest in paths if rest}
    assert not set(ROLES) - there, f"{service} lacks {set(ROLES) - there}"


def test_the_locks_name_no_host_and_pin_every_package_by_hash() -> None:
    for name in ("requirements.lock", "requirements-run.lock", "requirements-build.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text, f"{name}: run `just lock`"
        entries = re.split(r"\n(?=\S)", text.strip())
        loose = [e.splitlines()[0] for e in entries if "--hash=sha256:" not in e]
        assert not loose, f"{name}: without a hash: {loose}; run `just lock`"


def test_what_runs_in_production_is_locked_to_the_versions_tested() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^\S+==\S+", (ROOT / name).read_text(), re.MULTILINE))

    for name in ("requirements-run.lock", "requirements-build.lock"):
        assert pins(name) <= pins("requirements.lock"), "run `just lock`"
