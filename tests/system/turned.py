"""Turning the clock of a running system: what would come in minutes comes at once."""

from __future__ import annotations

from collections.abc import Sequence

from shoudan_cli.system import System

SERVICES = ("order", "delivery")


async def turn(system: System, seconds: int, services: Sequence[str] = SERVICES) -> None:
    """The databases' clock goes `seconds` ahead of the real one, for every service and at once."""
    for service in services:
        database = f"shoudan_{service}"
        async with system.postgres.admin(database) as db:
            await db.execute(
                f"ALTER DATABASE {database} SET \"shoudan.clock_shift\" = '{seconds} s'"
            )
            # A setting of the database holds for new connections.
            await db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
