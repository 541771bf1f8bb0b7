"""One proof at a time in a process: shards of a server share its connections, and a statement holds one."""

from __future__ import annotations

import asyncio

from shoudan_kit.service import App
from shoudan_pay.config import PaySettings


class ProofTurn(asyncio.Lock):
    """Whose turn it is; a process has one."""


def turn_of(app: App[PaySettings]) -> ProofTurn:
    """The turn of this process."""
    return app.once(ProofTurn, ProofTurn)
