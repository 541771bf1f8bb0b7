"""All fuzzing, counted: `just fuzz [--inputs N] [--hour] [--seconds S] [--asked S] [--out FOLDER]`.

Always: so many inputs for all gRPC methods, for all HTTP endpoints, and a share of them for each parser.
With --hour also each area of parsers for S seconds under atheris, its corpus kept, and every documented
operation of HTTP by schemathesis for so long: its examples, its bounds, any value, and calls that follow each
other. The two are installed once, by hash, apart from our packages, in .venv/fuzz. The figures are written to
report-fuzz.json; any finding ends the run with an error.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from shoudan_cli.system import System
from tests.chaos.report import commit
from tests.chaos.run import OUT
from tests.fuzz.areas import AREAS, SAMPLES, keep, kept
from tests.fuzz.values import BODIES, COUNTS, TEXTS
from tests.system.test_fuzzed import DOCUMENTED, INSIDES, OWN_CODES

ROOT = Path(__file__).parents[2]
LOCK = Path(__file__).parent / "packages.lock"
HOME = ROOT / ".venv/fuzz"
PACKAGES = HOME / "lib/python3.11/site-packages"
TESTS = ("tests/fuzz", "tests/system/test_fuzzed.py")
LEN_MAX, KEPT_MAX, KEPT_BYTES_MAX = 600, 60, 160
EXECUTED = re.compile(r"number_of_executed_units: (\d+)")
CHECKS = "not_a_server_error"


def drawn(inputs: int, folder: Path) -> tuple[dict[str, int], list[str]]:
    """What pytest gave to methods, endpoints and parsers, and what went wrong."""
    counts = folder / "counts"
    env = {**os.environ, "SHOUDAN_FUZZ_INPUTS": str(inputs), COUNTS: str(counts)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *TESTS], cwd=ROOT, env=env, check=False
    )
    found: Counter[str] = Counter()
    for line in counts.read_text("utf-8").splitlines():
        what, _, count = line.rpartition(" ")
        found[what] += int(count)
    return dict(found), ["a test of fuzzing failed"] if done.returncode else []


def install() -> None:
    """Once."""
    uv = str(ROOT / ".venv/bin/uv")
    if not (HOME / "bin/schemathesis").exists():
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, HOME], check=True)
        python = str(HOME / "bin/python")
        given = ("--python", python, "--require-hashes", "-r", str(LOCK))
        subprocess.run([uv, "pip", "install", "-q", *given], check=True)


def covered(area: str, seconds: int, folder: Path) -> tuple[int, list[str]]:
    """How many inputs an area was given, and what it may not do; what reaches most is kept."""
    found, seeds = (folder / area / name for name in ("found", "seeds"))
    for place in (found, seeds):
        place.mkdir(parents=True)
    for number, data in enumerate([*kept(area), *_seeds(area)]):
        (seeds / str(number)).write_bytes(data)
    prefix = f"-artifact_prefix={folder / area}/"
    told = _libfuzzer(
        area, str(found), str(seeds), f"-max_total_time={seconds}", "-print_final_stats=1", prefix
    )
    runs = EXECUTED.search(told.stdout)
    if told.returncode:
        broken = [one.read_bytes() for one in (folder / area).iterdir() if one.is_file()]
        return int(runs[1]) if runs else 0, [f"{area}: {broken} {told.stdout[-2_000:]}"]
    keep(area, chosen({*kept(area), *(one.read_bytes() for one in found.iterdir())}))
    return int(runs[1]) if runs else 0, []


def chosen(inputs: Collection[bytes]) -> list[bytes]:
    """Few of them, of every length that is not long."""
    short = sorted(
        (one for one in inputs if len(one) <= KEPT_BYTES_MAX), key=lambda one: (len(one), one)
    )
    step = max(len(short) / KEPT_MAX, 1)
    return [short[int(at * step)] for at in range(min(len(short), KEPT_MAX))]


def _seeds(area: str) -> list[bytes]:
    """What has broken programs before, for each parser."""
    nasty = [*SAMPLES[area], *(one.encode() for one in TEXTS), *BODIES]
    short = [one for one in nasty if len(one) < LEN_MAX]
    return [bytes([number]) + one for number in range(len(AREAS[area])) for one in short]


def _libfuzzer(area: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.covered", area, str(PACKAGES)]
    command += [*options, f"-max_len={LEN_MAX}", "-timeout=20", "-rss_limit_mb=2048"]
    return subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


async def asked(seconds: int, folder: Path) -> tuple[dict[str, int], list[str]]:
    """Every documented operation of a whole system, by schemathesis."""
    report = folder / "schemathesis.ndjson"
    async with System.start(profile="test", report=lambda _: None) as system:
        process = await asyncio.create_subprocess_exec(
            str(HOME / "bin/schemathesis"), "run", f"{system.gateway_url}/openapi.json",
            f"--max-time={seconds}", f"--checks={CHECKS}", "--continue-on-failure", "--workers=1",
            "--warnings=off", f"--report-ndjson-path={report}",
            cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        told, _ = await process.communicate()
    print(told.decode("utf-8", "replace")[-3_000:])
    return answers(report.read_text("utf-8").splitlines())


def answers(lines: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """How many calls of each phase there were, and which answers no document knows."""
    counts: Counter[str] = Counter()
    wrong: dict[str, str] = {}
    for line in lines:
        scenario = json.loads(line).get("ScenarioFinished", {})
        for one in scenario.get("recorder", {}).get("interactions", {}).values():
            counts[scenario["phase"]] += 1
            if found := undocumented(one):
                wrong.setdefault(found, json.dumps(one["request"])[:1_000])
    return dict(counts), [f"{found}: {asked}" for found, asked in wrong.items()]


def undocumented(one: dict[str, Any]) -> str:
    """What is wrong with an answer; empty when nothing is."""
    request, answer = one["request"], one.get("response")
    path = urlsplit(request["uri"]).path
    if answer is None:
        return f"{request['method']} {path}: no answer"
    status, text = answer["status_code"], _text(answer)
    server_error = status >= 500 and status not in DOCUMENTED and not OWN_CODES.search(text)
    if server_error or INSIDES.search(text):
        return f"{request['method']} {path}: {status} {text[:200]}"
    return ""


def _text(answer: dict[str, Any]) -> str:
    content = answer.get("content") or {}
    return base64.b64decode(content.get("$base64", "")).decode("utf-8", "replace")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="just fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=21_000)
    parser.add_argument("--hour", action="store_true")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--asked", type=int, default=600)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    with TemporaryDirectory() as home:
        folder = Path(home)
        told: dict[str, Any] = {}
        broken: list[str] = []
        if given.hour:
            install()
            told["covered"] = {}
            for area in AREAS:
                told["covered"][area], wrong = covered(area, given.seconds, folder)
                broken += wrong
            told["operations"], wrong = asyncio.run(asked(given.asked, folder))
            broken += wrong
        told["inputs"], wrong = drawn(given.inputs, folder)
        broken += wrong
    told |= {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "broken": broken,
    }
    (given.out / "report-fuzz.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    print(json.dumps(told, indent=1))
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
