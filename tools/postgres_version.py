"""Run tests on another PostgreSQL than the embedded one.

    .venv/bin/python tools/postgres_version.py BIN_DIR [PYTEST ARGUMENT…]

BIN_DIR holds `postgres` and `initdb`, readable by every user. Without arguments it runs what meets the
server most. PostgreSQL before 17 knows neither the builtin locale nor transaction_timeout: the embedded
server is started without them. docs/operations.md says when this last ran.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import asyncpg
import pytest

from shoudan_kit.db.server_version import LIMITS_TRANSACTIONS
from shoudan_kit.embedded import postgres
from shoudan_kit.embedded.roles import Admin, Roles

TESTS: Final = (
    *(
        "tests/kit/db",
        "tests/kit/tasks",
        "tests/order/test_happy_path.py",
        "tests/order/test_crashes.py",
    ),
    *(
        "tests/order/test_refunds.py",
        "tests/order/test_states.py",
        "tests/delivery/test_crashes.py",
    ),
    *("tests/pay/ledger", "tests/erp_ingest/test_ingest.py", "tests/identity/test_sessions.py"),
)
# The programs are run through these: what the version does not know is dropped from the command line.
_WRAPPER: Final = r"""#!/bin/sh
count=$#
while [ "$count" -gt 0 ]; do
    one=$1; shift; count=$((count - 1))
    case "$one" in
    --locale-provider=builtin | --builtin-locale=*) continue ;;
    -c)
        next=$1; shift; count=$((count - 1))
        case "$next" in transaction_timeout=*) continue ;; esac
        set -- "$@" -c "$next"; continue ;;
    esac
    set -- "$@" "$one"
done
exec "{program}" "$@"
"""


def major_of(bin_dir: Path) -> int:
    """What `postgres --version` says."""
    argv = [str(bin_dir / "postgres"), "--version"]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    found = re.search(r"\) (\d+)", said)
    assert found is not None, said
    return int(found[1])


def wrapped(bin_dir: Path, folder: Path) -> Path:
    """A folder of programs with the same names that every user may run."""
    folder.chmod(0o755)
    for program in bin_dir.iterdir():
        file = folder / program.name
        file.write_text(_WRAPPER.replace("{program}", str(program)))
        file.chmod(0o755)
    return folder


def leave_out_transaction_timeout() -> None:
    """Sessions of the embedded server's superuser and owner do without it."""
    driver: Any = asyncpg
    connect = driver.connect

    async def without(*args: Any, **given: Any) -> Any:
        given.get("server_settings", {}).pop("transaction_timeout", None)
        return await connect(*args, **given)

    async def ensure_owner(roles: Roles, db: Admin) -> None:
        await roles.ensure(db, roles.owner)

    driver.connect = without
    patch.object(Roles, "ensure_owner", ensure_owner).start()


def main() -> None:
    """BIN_DIR, then what pytest is given."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    bin_dir = Path(sys.argv[1]).resolve()
    major = major_of(bin_dir)
    with tempfile.TemporaryDirectory() as folder:
        programs = bin_dir
        if major < LIMITS_TRANSACTIONS:
            programs = wrapped(bin_dir, Path(folder))
            leave_out_transaction_timeout()

        def postgres_bin(*_: object) -> Path:
            return programs

        def postgres_version(*_: object) -> str:
            return str(major)

        embedded: Any = postgres
        embedded.postgres_bin, embedded.postgres_version = postgres_bin, postgres_version
        sys.exit(pytest.main(sys.argv[2:] or ["-q", *TESTS]))


if __name__ == "__main__":
    main()
