"""Node, where it is installed: runs what partners paste into programs of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any, Final

PROGRAM: Final = shutil.which("node")


def ran(script: str, given: Any) -> str:
    """What a script prints that is given a value as JSON on its input."""
    assert PROGRAM is not None
    done = subprocess.run(
        [PROGRAM, "-e", script],
        input=json.dumps(given), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
