"""Unsafe statements in revisions: squawk's rules and the phases'.

All revisions but the first drafts are looked at, recorded, released or not: one that is safe stays so.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from shoudan_kit.db.ddl_locks import statements
from shoudan_kit.db.migrate import NeedsDatabase, sql_of
from shoudan_kit.db.revisions import Phase, revisions
from shoudan_kit.db.schema import Schema

# The last revision of each service that was written before there were phases, on tables without rows.
DRAFTED: Final = {
    "order": "0007",
    "pay": "0007",
    "delivery": "0004",
    "erp_ingest": "0001",
    "identity": "0000",  # none
    "finance": "0000",
    "console": "0000",
}
SQUAWK: Final = Path(sys.executable).with_name("squawk")
# The runner sets the time-outs; texts, 16-bit states and repeatable statements are the house's choice.
EXCLUDED: Final = (
    "require-lock-timeout",
    "require-statement-timeout",
    "prefer-bigint-over-smallint",
    "prefer-bigint-over-int",
    "prefer-robust-stmts",
    "prefer-text-field",
    "renaming-object",  # an index: no statement names one
)
CONTRACTS: Final = ("ban-drop-column", "ban-drop-table", "ban-drop-not-null", "renaming-column")
ALLOWED: Final = {
    Phase.INDEX: r"(CREATE (UNIQUE )?|DROP )INDEX CONCURRENTLY|REINDEX \w+ CONCURRENTLY",
    Phase.VALIDATE: r"ALTER TABLE \S+ VALIDATE CONSTRAINT",
}
REWRITES: Final = re.compile(r"(UPDATE|DELETE FROM|INSERT INTO [^;]* SELECT)\b", re.IGNORECASE)
TAKES_AWAY: Final = re.compile(
    r"DROP (TABLE|INDEX(?! CONCURRENTLY)|FUNCTION)|ALTER TABLE .* (DROP|RENAME) ", re.IGNORECASE
)


def of_phase(phase: Phase, sql: str) -> Iterator[str]:
    """What a revision of this phase may not say."""
    for one in statements(sql):
        allowed = ALLOWED.get(phase)
        if allowed and not re.match(allowed, one, re.IGNORECASE):
            yield f"not of phase {phase}: {one[:80]}"
        if REWRITES.match(one):
            yield f"rewrites rows under its locks; let the service fill them in batches: {one[:80]}"
        if phase is Phase.EXPAND and TAKES_AWAY.match(one):
            yield f'takes away what the release before needs; PHASE = "contract": {one[:80]}'


def of_squawk(phase: Phase, sql: str) -> Iterator[str]:
    """What squawk finds, one line each."""
    excluded = (*EXCLUDED, *(CONTRACTS if phase is Phase.CONTRACT else ()))
    options = ["--assume-in-transaction"] if phase is not Phase.INDEX else []
    done = subprocess.run(
        [SQUAWK, *options, "--pg-version", "16.0", "--reporter", "json", "-e", ",".join(excluded)],
        input=sql,
        capture_output=True,
        text=True,
        check=False,
    )
    for one in json.loads(done.stdout or "[]"):
        yield f"{one['rule_name']}: {one['message']}"


def lint(schema: Schema, last: str) -> list[str]:
    """The findings of the revisions after `last`, oldest first."""
    found: list[str] = []
    before = "base"
    for one in revisions(schema.package):
        if one.number > last:
            where = f"{schema.package} {one.number} ({one.phase})"
            try:
                sql = sql_of(schema, before, one.number)
            except NeedsDatabase as error:
                found.append(f"{where}: {error}")
            else:
                texts = (*of_phase(one.phase, sql), *of_squawk(one.phase, sql))
                found += (f"{where}: {text}" for text in texts)
        before = one.number
    return found


def main() -> None:
    """Ends with 1 and the findings, or with nothing."""
    found: list[str] = []
    for entry in entry_points(group="shoudan.services"):
        declared: Any = entry.load()
        if declared.schema is not None:
            found += lint(declared.schema, DRAFTED.get(declared.name, ""))
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
