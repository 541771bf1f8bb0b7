"""Runs the signing clients of docs/reference/http/signing against the vectors, each in its own language.

What is not installed here is named and not run; `--all` makes that an error. On Debian:
`apt-get install nodejs default-jdk-headless php-cli golang-go`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parent.parent / "docs/reference/http/signing"
# language: the program it needs, and how the file is run with it
CLIENTS: Final = {
    "Python": (sys.executable, ["sign.py"]),
    "Node.js": ("node", ["sign.js"]),
    "Java": ("javac", ["Sign.java"]),
    "PHP": ("php", ["sign.php"]),
    "Go": ("go", ["run", "sign.go"]),
}
RUN_S: Final = 120


def vectors() -> list[dict[str, Any]]:
    """The golden vectors."""
    return json.loads((FOLDER / "vectors.json").read_text("utf-8"))


def line_of(vector: dict[str, Any]) -> str:
    """A vector as the clients read it."""
    pairs = "&".join(
        f"{name.encode().hex()}={value.encode().hex()}" for name, value in vector["params"].items()
    )
    parts = (vector["method"], vector["path"], vector["key"], vector["body"].encode().hex(), pairs)
    return "\t".join(parts) + "\n"


def signs(language: str, lines: str) -> list[str] | None:
    """What the client of a language answers; None where its program is not installed."""
    program, arguments = CLIENTS[language]
    found = shutil.which(program)
    if found is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        if language == "Java":
            run([found, "-d", folder, str(FOLDER / "Sign.java")], "")
            command = [str(Path(found).parent / "java"), "-cp", folder, "Sign"]
        else:
            command = [found, *arguments[:-1], str(FOLDER / arguments[-1])]
        return run(command, lines).split()


def run(command: list[str], given: str) -> str:
    """What a program prints. Raises CalledProcessError with what it complained of."""
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=RUN_S, check=False
    )
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr}")
    return done.stdout


def outcomes() -> Iterator[tuple[str, str]]:
    """Of each language `agrees`, `not run`, or which vectors it signs otherwise."""
    known = vectors()
    lines = "".join(map(line_of, known))
    for language, (program, _) in CLIENTS.items():
        found = signs(language, lines)
        if found is None:
            yield language, f"not run: no {program} here"
        elif found == [one["sign"] for one in known]:
            yield language, f"agrees on {len(known)} vectors"
        else:
            pairs = zip(known, found + [""] * len(known), strict=False)
            wrong = [one["name"] for one, sign in pairs if one["sign"] != sign]
            yield language, f"DIFFERS: {'; '.join(wrong)}"


def main() -> int:
    """Print the outcomes; 1 when a client differs, or with `--all` when one was not run."""
    bad = ("DIFFERS", "not run") if "--all" in sys.argv[1:] else ("DIFFERS",)
    failed = False
    for language, verdict in outcomes():
        print(f"signing client in {language}: {verdict}")
        failed = failed or verdict.startswith(bad)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
