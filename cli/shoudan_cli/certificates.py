"""The certificates of one machine's system: made at its start, renewed while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from shoudan_cli.wiring import GATEWAY, LOOPBACK, STORES
from shoudan_kit.tls.authority import AUTHORITY, CA, CA_KEY, CERT, CURRENT, KEY, Authority
from shoudan_kit.tls.identity import Files

FOLDER: Final = "pki"
NATS: Final = "nats"
CLI: Final = "cli"
RENEW_EVERY_S: Final = 3_600.0  # of a third of a week
# Only NATS is checked by its address; a service by its own name, wherever it runs.
NAMES: Final = {**dict.fromkeys((*STORES, GATEWAY, CLI), ()), NATS: (LOOPBACK,)}


class Certificates:
    """The authority in `home`/pki and a certificate for every process."""

    def __init__(self, home: Path) -> None:
        """Makes what is missing and renews what is due."""
        folder = home / FOLDER
        there = (folder / AUTHORITY / CA_KEY).exists()
        self.authority = Authority(folder) if there else Authority.init(folder)
        self.authority.rotate()
        known = {one.name for one in self.authority.show()}
        for name, also in NAMES.items():
            if name not in known:
                self.authority.issue(name, also)

    def files(self, name: str) -> Files:
        """Where a process finds its own."""
        place = self.authority.folder / name / CURRENT
        return Files(place / CERT, place / KEY, place / CA)

    def environment(self) -> dict[str, str]:
        """For every process the three settings under its own name: it is given no other's."""
        env: dict[str, str] = {}
        for name in (*STORES, GATEWAY, CLI):
            files, prefix = self.files(name), f"SHOUDAN_{name.upper()}_TLS"
            env[f"{prefix}_CERT"] = str(files.cert)
            env[f"{prefix}_KEY"] = str(files.key)
            env[f"{prefix}_CA"] = str(files.ca)
        return env

    async def renew_forever(
        self, nats_changed: Callable[[], None], every_s: float = RENEW_EVERY_S
    ) -> None:
        """Renew in time; services take new files by themselves, NATS on a signal."""
        while True:
            await asyncio.sleep(every_s)
            renewed = await asyncio.to_thread(self.authority.rotate)
            if NATS in {one.name for one in renewed}:
                nats_changed()
