"""The command of operators, run as a process."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from shoudan_kit.process.child import Child


async def shoudan(*words: str, env: Mapping[str, str]) -> tuple[int, str]:
    """Exit code, and all that it said; there is no keyboard."""
    with tempfile.NamedTemporaryFile() as file:
        child = Child.spawn(
            (sys.executable, "-m", "shoudan_cli", *words), env=env, output=Path(file.name)
        )
        return await child.wait(), file.read().decode()
