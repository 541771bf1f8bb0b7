"""The node number in this process's ids: leased with an owner and an end, refused when lost."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from shoudan_kit import log
from shoudan_kit.clock import Clock
from shoudan_kit.db.errors import Unavailable, describe, survived
from shoudan_kit.db.pool import Database
from shoudan_kit.db.server_version import major_version
from shoudan_kit.db.text_statements import statement
from shoudan_kit.ids import NODE_MAX, IdMaker

LEASE_S: Final = 15.0
PROOF_S: Final = 2.0  # how long a successful write proves that the database takes writes
PROVE_S_MAX: Final = 1.5  # below the time a health check gets

# Leases of processes are measured by the machine's clock: a test clock that is advanced ends none.
# The next free number after the one handed out last, so that a number rests as long as possible. What the
# last owner may have used is the new owner's floor: its ids cannot repeat, whatever the clocks say.
_CLAIM = statement("""
WITH last AS (SELECT nextval('kit_node_seq') AS number), free AS (
    SELECT wanted.node FROM last, generate_series(0, :node_max) AS step,
        LATERAL (SELECT CAST((last.number + step) % (:node_max + 1) AS smallint) AS node) AS wanted
    LEFT JOIN id_node ON id_node.node = wanted.node
    WHERE id_node.node IS NULL OR id_node.expire_time <= now()
    ORDER BY step LIMIT 1
)
INSERT INTO id_node (node, owner, expire_time, floor_ms, used_until_ms)
SELECT node, :owner, now() + make_interval(secs => :lease_s), 0, :until_ms FROM free
ON CONFLICT (node) DO UPDATE SET owner = excluded.owner, expire_time = excluded.expire_time,
    floor_ms = id_node.used_until_ms,
    used_until_ms = greatest(id_node.used_until_ms + :lease_ms, excluded.used_until_ms)
WHERE id_node.expire_time <= now()
RETURNING node, floor_ms, used_until_ms
""")
_RENEW = statement("""
UPDATE id_node SET expire_time = now() + make_interval(secs => :lease_s),
    used_until_ms = greatest(used_until_ms, :until_ms)
WHERE node = :node AND owner = :owner
RETURNING used_until_ms
""")
_RELEASE = statement("UPDATE id_node SET expire_time = now() WHERE node = :node AND owner = :owner")

_log = log.get_logger("node_lease")


class NoNodeFree(Unavailable):
    """Every number is leased: more processes than numbers, or many were killed a moment ago."""


class NodeLease:
    """One process's lease and the ids made under it.

    The owner may use its number up to a moment that is written down before it does, and another may take
    the number over only after the lease has ended, beginning where the last owner had to stop.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        shard: int = 0,
        lease_s: float = LEASE_S,
        proof_s: float = PROOF_S,
    ) -> None:
        self.proof_s = proof_s  # how long a write proves that the next one is possible
        self._database, self._lease_s = database, lease_s
        self._owner = f"{socket.gethostname()[:64]}:{os.getpid()}:{secrets.token_hex(4)}"
        self.ids = IdMaker(0, clock, shard=shard)
        self.ids.lose()
        self._node: int | None = None
        self._proved_at = 0.0
        self._one_at_a_time = asyncio.Lock()

    @property
    def node(self) -> int | None:
        """The number leased now."""
        return self._node

    async def claim(self) -> None:
        """Take a free number. Raises NoNodeFree, ServerTooOld, or what a database raises that is away."""
        async with self._database.begin() as db:
            await major_version(db)
            lease_ms = int(self._lease_s * 1000)
            binds = {
                "node_max": NODE_MAX,
                "owner": self._owner,
                "lease_ms": lease_ms,
                **self._wanted(),
            }
            row = (await db.execute(_CLAIM, binds)).one_or_none()
        if row is None:
            raise NoNodeFree("node")
        self._node = int(row.node)
        self.ids.lease(self._node, int(row.floor_ms), int(row.used_until_ms))
        self._proved_at = time.monotonic()
        _log.info("node_leased", node=self._node, owner=self._owner)

    async def renew(self, ahead_s: int = 0) -> None:
        """Move the end ahead; when another has taken the number, stop using it and take a new one.

        `ahead_s`: so far the clock of the ids is about to be advanced.
        """
        async with self._one_at_a_time:
            if self._node is not None:
                binds = {"node": self._node, "owner": self._owner, **self._wanted(ahead_s)}
                async with self._database.begin() as db:
                    until_ms = (await db.execute(_RENEW, binds)).scalar_one_or_none()
                if until_ms is not None:
                    self.ids.extend(int(until_ms))
                    self._proved_at = time.monotonic()
                    return
                _log.error("node_lost", node=self._node, owner=self._owner)
                self._node = None
                self.ids.lose()
            await self.claim()

    async def prove(self) -> str | None:
        """None when the database has taken a write of ours a moment ago, else why not: a health check."""
        if time.monotonic() - self._proved_at < self.proof_s:
            return None
        try:
            async with asyncio.timeout(PROVE_S_MAX):
                await self.renew()
        except (SQLAlchemyError, Unavailable, OSError, TimeoutError) as error:
            return f"cannot write: {describe(error)}"
        return None

    async def run(self) -> None:
        """Renew until cancelled; while the database is away the ids end with the lease."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            with survived(_log, "node_not_renewed", node=self._node):  # ids are refused meanwhile
                await self.renew()

    async def release(self) -> None:
        """Give the number back, so that another may take it at once."""
        if self._node is None:
            return
        binds = {"node": self._node, "owner": self._owner}
        self._node = None
        self.ids.lose()
        async with self._database.begin() as db:
            await db.execute(_RELEASE, binds)

    def _wanted(self, ahead_s: int = 0) -> dict[str, float]:
        until_ms = self.ids.reached_ms + int((self._lease_s + ahead_s) * 1000)
        return {"lease_s": self._lease_s, "until_ms": until_ms}
