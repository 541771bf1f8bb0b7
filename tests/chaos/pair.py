"""PostgreSQL with a synchronous standby, whose data are the primary's after a failover."""

from __future__ import annotations

from shoudan_kit.embedded import Postgres
from shoudan_kit.embedded.postgres import AGAIN_S_MAX
from tests.kit import standby
from tests.poll import eventually

IN_STEP = (
    "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'"
)
PAIRED_S = 60


class Pair(Postgres):
    """A primary; a commit is answered once its standby has it on disk.

    Address and passwords stay at a failover, as behind a proxy that follows the primary. What the old one
    had alone is gone with it: commits that were not answered.
    """

    copy: standby.Standby | None = None
    connections = 0
    _failing = False

    async def launch(self, again_s_max: float = AGAIN_S_MAX) -> None:
        """Start; after `fail_over` with what the standby has."""
        if self._failing and self.copy is not None:
            self._failing = False
            copy, self.copy = self.copy, None
            await copy.hand_over(self.home.path / "data")
            await copy.discard()
        await super().launch(again_s_max)

    async def pair(self, connections: int) -> None:
        """Give it a standby, and let commits wait for that."""
        self.connections = connections
        self.copy = await standby.made(self, connections=connections)
        await self._commits_wait_for("'*'")
        await eventually(self.in_step, PAIRED_S)

    async def in_step(self) -> bool:
        """Whether the standby has all that is answered: only then it may take over."""
        async with self.admin() as db:
            return await db.fetchval(IN_STEP) == 1

    async def fail_over(self) -> None:
        """The primary dies, and its next start is the standby's."""
        await eventually(self.in_step, PAIRED_S)
        self._failing = True
        await self.kill()

    async def aclose(self) -> None:
        """Both."""
        await super().aclose()
        if self.copy is not None:
            await self.copy.discard()

    async def _commits_wait_for(self, names: str) -> None:
        async with self.admin() as db:
            await db.execute(f"ALTER SYSTEM SET synchronous_standby_names = {names}")
            await db.execute("SELECT pg_reload_conf()")
