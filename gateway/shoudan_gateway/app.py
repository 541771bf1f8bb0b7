"""The gateway's composition root: two listeners, the partners, the services behind them."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import msgspec
from aiohttp import web
from google.protobuf.message import Message

from shoudan_gateway import advice, openapi, partners
from shoudan_gateway.admission import Admission
from shoudan_gateway.backend import Backend
from shoudan_gateway.backend_health import BackendHealth
from shoudan_gateway.channel_cache import CHANNEL, ChannelCache
from shoudan_gateway.config import GatewaySettings
from shoudan_gateway.docs_site import DocsSite
from shoudan_gateway.internal_access import InternalAccess, mode_of
from shoudan_gateway.limits import CallerLimits
from shoudan_gateway.partners.payserver.authenticate import PAYSERVER
from shoudan_gateway.protocol import JSON, MARKDOWN, Call, Outbound, Partner
from shoudan_gateway.request_log import RequestLog
from shoudan_gateway.server import Gateway
from shoudan_kit import metrics
from shoudan_kit.credentials.fetched import FetchedSecrets
from shoudan_kit.events.kept import Kept
from shoudan_kit.events.share_exchange import LEASE_S, ShareExchange, Sharing
from shoudan_kit.limits.shares import Shares
from shoudan_kit.log import get_logger
from shoudan_kit.service import App, Running, Service
from shoudan_signing.goofish import CREDENTIAL

INTERNAL: Final = "internal"
BUCKET: Final = "gateway_shares"

_log = get_logger("gateway")


class Site:
    """One listening address with the gateway behind it."""

    def __init__(
        self,
        gateway: Gateway,
        settings: GatewaySettings,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._gateway, self._settings, self._tls = gateway, settings, tls
        self._host, self.port = host, port
        self._runner: web.ServerRunner | None = None

    async def start(self) -> None:
        """Listen; `port` is the real one afterwards."""
        left_s = max(1.0, self._settings.drain_s - self._settings.lame_duck_s)
        self._runner = web.ServerRunner(self._gateway.listener(), shutdown_timeout=left_s)
        await self._runner.setup()
        backlog = self._settings.backlog
        await web.TCPSite(
            self._runner, self._host, self.port, backlog=backlog, ssl_context=self._tls
        ).start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Take no new connections, answer what is in flight."""
        if self._runner is not None:
            await self._runner.cleanup()


def served(
    found: Mapping[str, Partner], settings: GatewaySettings
) -> tuple[list[Partner], list[Partner]]:
    """The partners of the outer and of the internal listener."""
    allowed = [one for one in found.values() if one.role != "test" or settings.profile != "prod"]
    inner = [one for one in allowed if one.role == INTERNAL]
    return [one for one in allowed if one.role != INTERNAL], inner


def pages(shown: list[Partner], base_url: str) -> dict[str, Outbound]:
    """What is served without a partner."""
    document = openapi.document(shown, base_url)
    return {
        "/openapi.json": Outbound(200, msgspec.json.encode(document), JSON),
        advice.PAGE: Outbound(200, advice.page().encode(), MARKDOWN),
    }


@dataclass(frozen=True, slots=True)
class _Place:
    """One listener: what it serves and where."""

    partners: list[Partner]
    pages: dict[str, Outbound]
    log: RequestLog | None
    host: str
    port: int
    tls: ssl.SSLContext | None = None
    docs: DocsSite | None = None


async def start(app: App[GatewaySettings]) -> Running:
    """Serve both listeners; channels are read in the background, readiness waits for them."""
    settings = app.settings
    backend = Backend(settings, app.channel)
    health = BackendHealth(settings, app.channel)

    async def ask(call: Call, message: Message) -> Message:
        return await backend(call, message)

    of_order = FetchedSecrets(app.channel("order"), "order", [CHANNEL, CREDENTIAL], app.clock)
    of_pay = FetchedSecrets(app.channel("pay"), "pay", [PAYSERVER], app.clock)
    age_s_max = settings.credentials_age_s_max
    channels = ChannelCache(
        ask, settings.catalogue_refresh_s, settings.secrets_dir, of_order, age_s_max
    )
    shares = Shares(secrets.token_hex(8), LEASE_S, settings.gateway_replicas, at_once=True)
    limits = CallerLimits(settings, shares, app.clock)
    sharing = Sharing(limits.asked, metrics.GATEWAYS_SHARING().set)
    exchange = ShareExchange(Kept(app.bus, BUCKET), shares, sharing, app.clock)
    admission = Admission(channels, settings, app.clock, limits)
    internal = InternalAccess(
        admission, app.tokens.caller_of, mode_of(settings), settings.ledger_ident
    )
    log = RequestLog(
        ask, channels.exists, settings.request_log_flush_s, settings.request_log_waiting_max
    )

    def site(at: _Place) -> Site:
        parts = settings, at.partners, backend, admission, internal, limits, at.pages, of_pay
        return Site(Gateway(*parts, at.log, at.docs), settings, at.host, at.port, at.tls)

    sites = [site(one) for one in _places(app, log if settings.request_log else None)]
    for one in sites:
        await one.start()
    _log.info("listening", port=sites[0].port, internal_port=sites[1].port)

    async def close() -> None:
        await asyncio.sleep(settings.lame_duck_s)
        await asyncio.gather(*(one.stop() for one in sites))
        await log.flush()
        await backend.aclose()

    return Running(
        context=sites,
        background=(of_order.run, of_pay.run, channels.run, health.run, exchange.run, log.run),
        closers=(close,),
        checks={"catalogue": channels.ready, "backends": health.ready},
    )


def _places(app: App[GatewaySettings], log: RequestLog | None) -> tuple[_Place, _Place]:
    """The outer listener, whose requests are logged, and the internal one."""
    one = app.settings
    outer, inner = served(partners.load(), one)
    at = pages(outer, one.public_base_url)
    return (
        _Place(outer, at, log, one.listen_host, one.listen_port, docs=DocsSite(on=one.docs)),
        _Place(
            inner, pages(inner, ""), None, one.internal_host, one.internal_port, _internal_tls(app)
        ),
    )


def _internal_tls(app: App[GatewaySettings]) -> ssl.SSLContext | None:
    """What the internal listener speaks TLS with; None for plain HTTP."""
    wanted = app.settings.internal_tls and app.identity is not None
    return app.identity.server_context() if wanted and app.identity is not None else None


SERVICE = Service(name="gateway", settings=GatewaySettings, start=start)


def ports(running: Running) -> tuple[int, int]:
    """The real ports of a started gateway: outer and internal."""
    sites = cast("list[Site]", running.context)
    return sites[0].port, sites[1].port
