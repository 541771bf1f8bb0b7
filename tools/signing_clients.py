"""Runs the partners' clients of docs/reference/http against the vectors, each in its language.

`signing` signs calls in both versions, `notify` verifies notifies. What is not installed here is named and
not run; `--all` makes that an error. On Debian:
`apt-get install nodejs default-jdk-headless php-cli golang-go mono-mcs`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

FOLDER: Final = Path(__file__).resolve().parent.parent / "docs/reference/http/signing"
NOTIFY: Final = FOLDER.parent / "notify"
# language: the program it needs, and what its files are called
CLIENTS: Final = {
    "Python": (sys.executable, ".py"),
    "Node.js": ("node", ".js"),
    "Java": ("javac", ".java"),
    "PHP": ("php", ".php"),
    "Go": ("go", ".go"),
    "C#": ("mcs", ".cs"),
}
# What each says of itself; Go's takes no dashes, and mcs is run by mono.
ASKED: Final = {"Go": ("go", "version"), "C#": ("mono", "--version")}
CAPITAL: Final = frozenset({".java", ".cs"})  # a file is called as its class
RUN_S: Final = 120


class Question(NamedTuple):
    """What one vector asks of a client: its name, its line, what the client must answer."""

    name: str
    line: str
    wanted: str


def vectors() -> list[dict[str, Any]]:
    """The golden vectors of the second version."""
    return _read(FOLDER / "vectors.json")


def notifies() -> list[dict[str, Any]]:
    """The golden vectors of notifies."""
    return _read(NOTIFY / "vectors.json")


def _read(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text("utf-8"))


def file_of(folder: Path, language: str) -> Path:
    """The client of a language."""
    ending = CLIENTS[language][1]
    stem = "sign" if folder == FOLDER else "verify"
    return folder / f"{stem.title() if ending in CAPITAL else stem}{ending}"


def questions() -> dict[Path, list[Question]]:
    """What the clients of each folder are asked."""
    signed = [_signing(one, "2") for one in vectors()]
    signed += [_signing(one, "1") for one in _read(FOLDER / "vectors_v1.json")]
    return {FOLDER: signed, NOTIFY: [_notify(one) for one in notifies()]}


def _signing(vector: dict[str, Any], version: str) -> Question:
    pairs = "&".join(
        f"{name.encode().hex()}={value.encode().hex()}" for name, value in vector["params"].items()
    )
    body = vector["body"].encode().hex()
    parts = (vector["method"], vector["path"], vector["key"], body, pairs, version)
    return Question(f"{vector['name']}, version {version}", "\t".join(parts), vector["sign"])


def _notify(one: dict[str, Any]) -> Question:
    body = one["body"].encode().hex()
    parts = (one["secrets"], one["id"], one["timestamp"], one["signature"], body, str(one["now"]))
    return Question(one["name"], "\t".join(parts), "yes" if one["ours"] else "no")


def answers(file: Path, language: str, lines: str) -> list[str] | None:
    """What the client of a language answers; None where its program is not installed."""
    found = shutil.which(CLIENTS[language][0])
    if found is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        if language == "Java":
            run([found, "-d", folder, str(file)], "")
            command = [str(Path(found).parent / "java"), "-cp", folder, file.stem]
        elif language == "C#":
            run([found, f"-out:{folder}/client.exe", str(file)], "")
            command = ["mono", f"{folder}/client.exe"]
        else:
            command = [found, *(["run"] if language == "Go" else []), str(file)]
        return run(command, lines).split()


def run(command: list[str], given: str) -> str:
    """What a program prints. Raises SystemExit with what it complained of."""
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=RUN_S, check=False
    )
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr}")
    return done.stdout


def version_of(language: str) -> str:
    """The first line of what a language's program says of itself."""
    command = ASKED.get(language, (CLIENTS[language][0], "--version"))
    return run(list(command), "").partition("\n")[0].strip()


def outcomes() -> Iterator[tuple[str, str]]:
    """Of each language `agrees`, `not run`, or which vectors it answers otherwise."""
    asked = questions()
    for language, (program, _) in CLIENTS.items():
        wrong: list[str] = []
        run_ = True
        for folder, known in asked.items():
            lines = "".join(f"{one.line}\n" for one in known)
            found = answers(file_of(folder, language), language, lines)
            if found is None:
                run_ = False
                continue
            pairs = zip(known, found + [""] * len(known), strict=False)
            wrong += [one.name for one, said in pairs if one.wanted != said]
        if not run_:
            yield language, f"not run: no {program} here"
        elif wrong:
            yield language, f"DIFFERS: {'; '.join(wrong)}"
        else:
            count = sum(map(len, asked.values()))
            yield language, f"agrees on {count} vectors ({version_of(language)})"


def main() -> int:
    """Print the outcomes; 1 when a client differs, or with `--all` when one was not run."""
    bad = ("DIFFERS", "not run") if "--all" in sys.argv[1:] else ("DIFFERS",)
    failed = False
    for language, verdict in outcomes():
        print(f"partners' client in {language}: {verdict}")
        failed = failed or verdict.startswith(bad)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
