"""A second process of a service beside the one of a running system: other settings, or other code."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shoudan_cli.system import System
from shoudan_cli.wiring import LOOPBACK, own_environment
from shoudan_kit.process.ports import free_port, http_status
from shoudan_kit.process.supervise import Process, Program

READY_S_MAX = 60


@dataclass(frozen=True)
class Beside:
    """A process that works on the same database, and where it listens."""

    process: Process
    port: int

    @property
    def target(self) -> str:
        """Its address."""
        return f"{LOOPBACK}:{self.port}"


def beside(
    system: System,
    service: str,
    env: Mapping[str, str],
    *,
    code: Path | None = None,
    port: int | None = None,
) -> Beside:
    """Not started yet. `code` is a checkout whose modules it runs instead of ours."""
    port, ops = port or free_port(), free_port()
    big = service.upper()
    given = {**os.environ, **system.env, **env}
    given |= {f"SHOUDAN_{big}_LISTEN_PORT": str(port), f"SHOUDAN_{big}_OPS_PORT": str(ops)}
    if service == "gateway":
        given["SHOUDAN_GATEWAY_INTERNAL_PORT"] = str(free_port())
    own = own_environment(service, system.settings[service], given)
    if code is not None:
        own["PYTHONPATH"] = os.pathsep.join(str(one) for one in roots(code))

    async def healthy() -> bool:
        return await http_status(ops, "/readyz") == 200

    name = f"{service}-beside"
    argv = (sys.executable, "-m", "shoudan_cli", "serve", service)
    program = Program(name, argv, own, healthy, READY_S_MAX)
    return Beside(Process(program, system.log_path(name)), port)


def roots(code: Path) -> list[Path]:
    """Where the packages of a checkout lie, whichever folders it has."""
    folders = [
        code / name
        for name in ("kit", "cli", "fakes", "signing", "configuration", "gateway", "protos/gen")
    ]
    return [one for one in folders if one.is_dir()] + sorted((code / "services").iterdir())
