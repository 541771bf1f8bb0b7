"""The house's words, and its silenced checks: old words do not come back, and suppressions only get fewer."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.test_tidy import CODE, ROOT, Finding, Source, at, sources

# Words of an earlier private vocabulary, and what is said instead: none of them is a part of a name.
BANNED = {
    "coming": "in_progress",
    "egress": "http client",
    "everybody": "all",
    "handout": "enqueue",
    "hear": "read_notify",
    "heard": "answer",
    "judging": "rules",
    "lane": "queue, writer",
    "leash": "die_with_parent",
    "nobody": "none, dummy",
    "releasing": "order_holds",
    "settling": "settlement",
    "somebody": "the caller",
    "tell": "report, notify, log",
    "thank": "ack",
    "told": "reported, answer, notice",
    "trouble": "error",
    "turns": "fair_queue",
    "verdicts": "interpret",
    "wear": "preallocate",
    "whoever": "the caller",
    "writing": "responses",
}
# Names of the contract, which stay, and where they are used.
CONTRACT = {
    **dict.fromkeys(
        (
            "gateway/shoudan_gateway/partners/payserver/requests.py",
            "services/pay/shoudan_pay/payserver/history.py",
            "services/pay/shoudan_pay/rpc/payment.py",
        ),
        frozenset({"Told", "told"}),
    )
}
# Lines that silence a check, product, tests and tools alike, and the checks that the configuration silences
# for a folder, one by one; the number only falls.
SUPPRESSIONS_MAX = 39
SUPPRESSION = re.compile(
    r"#\s*(ruff: )?noqa|#\s*(type|pyright): |#\s*pragma|#\s*nosec|shellcheck disable|cast\(\"Any\""
)


def banned_word(source: Source) -> Iterator[Finding]:
    """Names of the old vocabulary, in whatever part of an identifier or of a module's name."""
    named = [(1, source.stem)]
    for node in source.nodes:
        names = (getattr(node, kind, None) for kind in ("name", "id", "attr", "arg"))
        named += [(getattr(node, "lineno", 1), name) for name in names if isinstance(name, str)]
    stay = CONTRACT.get(source.path, frozenset[str]())
    for line, name in named:
        if name in stay:
            continue
        parts = {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
        for word in parts & (BANNED.keys() | {f"{one}s" for one in BANNED}):
            better = BANNED.get(word) or BANNED[word.removesuffix("s")]
            yield source.found(line, f"{name}: say {better}, not {word}")


# Riddles of who: a sentence names the process, the caller or the party it speaks of.
RIDDLE = re.compile(r"\b(any|every|no|some)body\b|\bwhoever\b|\btold\b", re.IGNORECASE)


def riddles(source: Source) -> Iterator[Finding]:
    """Docstrings, comments and comments of columns that say whoever, somebody, nobody, anybody or told."""
    if not RIDDLE.search(source.text):  # reading a file word by word takes long
        return
    tables = "tables" in Path(source.path).with_suffix("").parts
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT and (hit := RIDDLE.search(token.string)):
            yield source.found(token.start[0], hit[0])
    for node in source.nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            hit = RIDDLE.search(ast.get_docstring(node) or "")
            if hit is not None:
                yield source.found(node.body[0].lineno, hit[0])
        elif tables:
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and (hit := RIDDLE.search(text)):
                yield source.found(node.lineno, hit[0])


def suppressions(source: Source) -> list[int]:
    """Lines that silence a check."""
    lines = enumerate(source.text.splitlines(), 1)
    return [number for number, line in lines if SUPPRESSION.search(line)]


def test_no_name_has_a_word_of_the_old_vocabulary() -> None:
    found = [
        one
        for s in sources()
        if s.path.startswith(CODE) and s.path.endswith(".py")
        for one in banned_word(s)
    ]
    assert not found, "\n".join(["use the field's term:", *map(str, found)])


def test_an_old_word_is_seen_in_whatever_part_of_a_name() -> None:
    for text in ("def lane_of(a): ...", "class KindLanes: ...", "a.thank()", "def f(leash): ..."):
        assert len(list(banned_word(at("kit/a.py", text)))) == 1
    assert list(banned_word(at("kit/turns.py", "")))
    assert not list(banned_word(at("kit/a.py", "planes = returns(a)")))


def test_prose_names_who_it_speaks_of() -> None:
    code = [s for s in sources() if s.path.startswith(CODE) and s.path.endswith(".py")]
    found = [one for s in code for one in riddles(s)]
    assert not found, "\n".join(["say which process, caller or party:", *map(str, found)])


def test_a_riddle_is_seen_in_a_comment_and_in_a_docstring() -> None:
    text = '"""Nobody reads it."""\na = 1  # whoever comes\nb = "somebody"\n'
    assert [one.line for one in riddles(at("kit/a.py", text))] == [2, 1]
    assert [one.line for one in riddles(at("kit/tables.py", "a = 1\nb = 'told'"))] == [2]


def test_fewer_and_fewer_lines_silence_a_check() -> None:
    this = str(Path(__file__).relative_to(ROOT))
    code = [s for s in sources() if s.path.endswith((".py", ".pyi", ".sh")) and s.path != this]
    found = [
        f"{s.path}:{line}"
        for s in code
        if not s.path.startswith("protos/gen/")
        for line in suppressions(s)
    ]
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    folders = lint["per-file-ignores"].items()
    found += [f"{folder}: {check}" for folder, checks in folders for check in checks]
    wanted = (
        f"{len(found)}, at most {SUPPRESSIONS_MAX}: mend the cause; with fewer, lower the number"
    )
    assert len(found) <= SUPPRESSIONS_MAX, "\n".join([wanted, *found])


def test_a_line_that_silences_a_check_is_seen() -> None:
    text = (
        'a = 1  # noqa: E501\nb = 2  # pyright: ignore[x]\nc = cast("Any", b)\nd = cast("int", b)\n'
    )
    assert suppressions(at("kit/a.py", text)) == [1, 2, 3]
