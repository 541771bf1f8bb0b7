"""`just advisories`: known weaknesses of what the locks pin, from PyPI's advisories.

Ends with 1 when there is one. Where the index has no advisories it says `not run`, and it names the packages
that it has none of: nothing that was not looked up counts as looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
LOCKS: Final = ("requirements.lock", "requirements-run.lock", "requirements-build.lock")
AUDIT_S_MAX: Final = 600
SHOWN_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Audited:
    """What became of one lock. `error`: why nothing was looked up."""

    findings: Sequence[str] = ()
    skipped: Sequence[str] = ()
    looked_up: int = 0
    error: str = ""


def audit(lock: Path) -> Audited:
    """Ask for the advisories of every pin; nothing is installed and nothing resolved."""
    program = Path(sys.executable).with_name("pip-audit")
    command = [program, "--requirement", lock, "--require-hashes", "--disable-pip"]
    shown = ["--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(
            [*command, *shown], capture_output=True, text=True, check=False, timeout=AUDIT_S_MAX
        )
    except subprocess.TimeoutExpired:
        return Audited(error=f"no answer within {AUDIT_S_MAX} s")
    try:
        return read(json.loads(done.stdout))
    except ValueError:
        return Audited(error=(done.stderr.strip().splitlines() or ["no answer"])[-1])


def read(report: Mapping[str, Any]) -> Audited:
    """pip-audit's report."""
    packages: list[dict[str, Any]] = report["dependencies"]
    known = [one for one in packages if "skip_reason" not in one]
    return Audited(
        findings=[
            f"{one['name']} {one['version']}: {found['id']} {_fixed(found)}"
            for one in known
            for found in one["vulns"]
        ],
        skipped=[one["name"] for one in packages if "skip_reason" in one],
        looked_up=len(known),
    )


def _fixed(found: Mapping[str, Any]) -> str:
    versions = ", ".join(found.get("fix_versions", ()))
    return f"(mended in {versions})" if versions else "(not mended yet)"


def said(lock: str, audited: Audited) -> str:
    """One line, or one for each finding."""
    if audited.error or not audited.looked_up:
        why = audited.error or "the index tells no advisories"
        return f"{lock}: not run, {why}"
    lines = [f"{lock}: {one}" for one in audited.findings]
    if audited.skipped:
        names = ", ".join(audited.skipped[:SHOWN_MAX])
        lines.append(f"{lock}: not looked up: {len(audited.skipped)} packages ({names} …)")
    return "\n".join([*lines, f"{lock}: {audited.looked_up} packages looked up"])


def main() -> int:
    """1 when a lock has a finding."""
    found = False
    for lock in LOCKS:
        audited = audit(ROOT / lock)
        sys.stdout.write(said(lock, audited) + "\n")
        found = found or bool(audited.findings)
    return int(found)


if __name__ == "__main__":
    sys.exit(main())
