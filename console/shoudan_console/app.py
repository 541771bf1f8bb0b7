"""The console's composition root."""

from __future__ import annotations

from typing import Final, cast

from shoudan_console import assets
from shoudan_console.advances import Advances
from shoudan_console.backend import Backend
from shoudan_console.config import ConsoleSettings
from shoudan_console.replicas import Replicas
from shoudan_console.server import Listener
from shoudan_console.sessions import Sessions
from shoudan_console.site import application, environments
from shoudan_console.system_clock import SystemClock
from shoudan_console.tables import APPEND_ONLY, METADATA
from shoudan_console.visits import Site
from shoudan_kit.db.errors import away, describe
from shoudan_kit.db.pool import Database
from shoudan_kit.db.revisions import SchemaCheck
from shoudan_kit.db.schema import Schema
from shoudan_kit.log import get_logger
from shoudan_kit.service import App, Running, Service

NAME: Final = "console"

_log = get_logger(NAME)


async def start(app: App[ConsoleSettings]) -> Running:
    """Serve browsers; readiness waits for the console's own database alone, services may come and go."""
    settings = app.settings
    db = Database(
        settings.database_url.reveal(),
        pool_size=settings.db_pool_size,
        application=f"shoudan-{NAME}",
    )
    backend = Backend(app.channel, settings.call_s)
    sessions = Sessions(db, backend, settings)
    found = assets.Assets()
    clock = SystemClock(backend)
    advances = Advances(backend, sessions, clock)
    made = environments(found, settings.profile)
    replicas = Replicas(settings.ops_urls)
    site = Site(settings, db, backend, sessions, made, clock, advances, replicas)
    listener = Listener(
        application(site, found),
        settings.listen_host,
        settings.listen_port,
        settings.connections_max,
    )
    await listener.start()
    _log.info("listening", port=listener.port)

    async def reached() -> str | None:
        try:
            async with db.connect():
                return None
        except Exception as error:
            if not away(error):
                raise
            return describe(error)

    async def stop() -> None:
        site.ending.set()
        await advances.stop()
        await listener.stop()
        await replicas.aclose()

    return Running(
        context=listener,
        background=(sessions.sweep,),
        closers=(stop, db.dispose),
        checks={"database": reached, "schema": SchemaCheck(db, "shoudan_console")},
    )


SERVICE = Service(
    name=NAME,
    settings=ConsoleSettings,
    start=start,
    schema=Schema("shoudan_console", METADATA, APPEND_ONLY),
)


def port_of(running: Running) -> int:
    """The real port of a started console."""
    return cast("Listener", running.context).port
