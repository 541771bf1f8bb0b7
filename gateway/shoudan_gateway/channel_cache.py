"""The catalogue's channels as the gateway needs them, kept in memory; changes are read as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from google.protobuf.message import Message

from shoudan.order.v1 import catalogue_service_pb2 as catalogue
from shoudan_gateway.protocol import Call, ChannelRule, GatewayError, Problem, Unary
from shoudan_gateway.versions import FIRST
from shoudan_kit.credentials.fetched import FetchedSecrets
from shoudan_kit.log import get_logger
from shoudan_kit.rpc.refusal import Refused
from shoudan_kit.secrets import named_secret
from shoudan_signing import goofish

GET_CATALOGUE: Final = Unary("shoudan.order.v1.CatalogueService/GetCatalogue")
SCHEMES: Final = {
    "": "",
    "none": "",
    "md5": "md5",
    "hmac": "hmac",
    "hmac-sha256": "hmac",
    "hmac2": "hmac2",
    "hmac-sha256-v2": "hmac2",
    goofish.SCHEME: goofish.SCHEME,
}
CHANNEL: Final = "channel"  # kind of the credentials that channels sign their calls with
RETRY_S: Final = 0.5
EARLY_S: Final = 1.0

_log = get_logger("gateway.channel_cache")

Ask = Callable[[Call, Message], Awaitable[Message]]


class ChannelCache:
    """Channels by number. The last good reading stays valid while the order service is away."""

    def __init__(
        self,
        ask: Ask,
        refresh_s: float,
        secrets_dir: Path | None,
        stored: FetchedSecrets,
        stored_age_s_max: float,
    ) -> None:
        """`stored` are the channels' credentials; older than `stored_age_s_max` none is believed."""
        self._ask, self._refresh_s, self._secrets_dir = ask, refresh_s, secrets_dir
        self._stored, self._stored_age_s_max = stored, stored_age_s_max
        self._rules: Mapping[str, ChannelRule] | None = None
        self._version = 0
        self._channels: dict[str, catalogue.DownChannel] = {}
        self._wake = asyncio.Event()
        self._shut_out: set[str] = set()

    def find(self, channel_no: str) -> ChannelRule | None:
        """The rule of a channel; None for an unknown one, which is looked up again soon.

        Raises Problem before the first readings, or when credentials may have been revoked for long:
        no call is admitted on a guess.
        """
        if self._rules is None or not self._stored.known:
            raise Problem(GatewayError.BUSY)
        rule = self._rules.get(channel_no)
        if rule is None:
            self._wake.set()
            return None
        if self._stored.age_s > self._stored_age_s_max:
            raise Problem(GatewayError.BUSY)
        return self._with_stored(rule)

    def exists(self, channel_no: str) -> bool:
        """Whether there is a channel of this number, enabled or not."""
        return self._rules is not None and channel_no in self._rules

    def platform_secrets(self, app_id: str) -> tuple[str, ...]:
        """The secrets of a platform's application; none where there is no application."""
        return self._stored.texts(goofish.CREDENTIAL, app_id) if app_id else ()

    def note_used(self, rule: ChannelRule, at: int) -> None:
        """A signature fitted the key at this place of the rule."""
        if at < len(rule.credential_ids):
            self._stored.use(rule.credential_ids[at])

    def _with_stored(self, rule: ChannelRule) -> ChannelRule:
        """The rule with the stored credentials that are in force now, before the named secret's keys."""
        live = self._stored.of(CHANNEL, rule.channel_no)
        if not live:
            return rule
        keys = (*(one.secret.encode() for one in live), *rule.keys)
        ids = tuple(one.credential_id for one in live)
        return replace(rule, keys=keys, credential_ids=ids)

    async def ready(self) -> str | None:
        """Why the gateway cannot serve; None when it can."""
        if self._rules is None:
            return "catalogue not read yet"
        return None if self._stored.known else "credentials not read yet"

    async def run(self) -> None:
        """Read, wait, read again, for ever; an unknown channel shortens the wait to a second."""
        while True:
            wait_s = self._refresh_s if await self.read() else RETRY_S
            early_s = min(EARLY_S, wait_s)
            await asyncio.sleep(early_s)
            self._wake.clear()
            try:
                async with asyncio.timeout(wait_s - early_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def read(self) -> bool:
        """Read once what changed in the catalogue, all of it the first time; whether it answered.

        Secrets in files are read anew each time: they change without the catalogue.
        """
        request = catalogue.GetCatalogueRequest(known_version=self._version)
        try:
            answer = await self._ask(GET_CATALOGUE, request)
        except (Problem, Refused) as error:
            _log.warning("catalogue_not_read", error=str(error))
            return False
        assert isinstance(answer, catalogue.GetCatalogueResponse)
        self._keep(answer)
        channels = self._channels.values()
        self._rules = {one.channel_no: rule_of(one, self._secrets_dir) for one in channels}
        self._say_who_is_shut_out()
        return True

    def _keep(self, answer: catalogue.GetCatalogueResponse) -> None:
        if not answer.only_changed:
            self._channels = {}
        self._channels |= {one.channel_no: one for one in answer.catalogue.down_channels}
        self._version = answer.version

    def _say_who_is_shut_out(self) -> None:
        """One error line when a channel stops admitting calls, not one per reading."""
        rules = {no: self._with_stored(rule) for no, rule in (self._rules or {}).items()}
        shut_out = {no for no, rule in rules.items() if admits_none(rule)}
        for channel_no in sorted(shut_out - self._shut_out):
            _log.error("channel_admits_nobody", channel_no=channel_no)
        self._shut_out = shut_out


def admits_none(rule: ChannelRule) -> bool:
    """Whether no call can be right: an unknown scheme, or a scheme without a key."""
    return rule.auth_mode == "unknown" or bool(rule.auth_mode and not rule.keys)


def rule_of(channel: catalogue.DownChannel, directory: Path | None) -> ChannelRule:
    """The rule of one row. An unknown scheme, an unreadable network or a missing secret admits no call."""
    scheme = SCHEMES.get(channel.auth_mode.lower(), "unknown")
    try:
        networks = tuple(ip_network(one, strict=False) for one in channel.allowed_networks)
    except ValueError:
        scheme, networks = "unknown", ()
    keys = _keys(channel.secret_name, directory) if channel.secret_name else ()
    return ChannelRule(
        channel.channel_no,
        scheme,
        keys,
        networks,
        channel.word_status,
        max(0, channel.rate_per_s),
        max(0, channel.calls_max),
        channel.api_version or FIRST,
    )


def _keys(name: str, directory: Path | None) -> tuple[bytes, ...]:
    """The lines of a secret; none when it is nowhere."""
    return tuple(line.encode() for line in named_secret.lines(name, directory))
