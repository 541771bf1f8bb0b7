"""Who may call: channels by signature, address and rate, as the catalogue says."""

from __future__ import annotations

import math
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from msgspec.structs import replace

from shoudan_gateway.channel_cache import ChannelCache
from shoudan_gateway.config import GatewaySettings
from shoudan_gateway.limits import CallerLimits
from shoudan_gateway.protocol import (
    ChannelRule,
    GatewayError,
    Inbound,
    Malformed,
    Nonce,
    ParameterError,
    Problem,
    SignedCall,
)
from shoudan_kit.clock import Clock
from shoudan_signing import channel as signing
from shoudan_signing import goofish

DUMMY: Final = ChannelRule("", auth_mode="hmac", keys=(b"nobody",))
# What a channel's mode lets in. The first version is ambiguous, so only channels set up for it have it.
SIGN_TYPES: Final = {
    "hmac": (signing.HMAC_SHA256, signing.HMAC_SHA256_V2),
    "hmac2": (signing.HMAC_SHA256_V2,),
}
NONCES_MAX: Final = 200_000
FORWARDED_MAX: Final = 16
STAMP_CHARS_MAX: Final = 12

Network = IPv4Network | IPv6Network


class Admission:
    """Decides on one request at a time, from memory; what it keeps is bounded."""

    def __init__(
        self,
        channels: ChannelCache,
        settings: GatewaySettings,
        clock: Clock,
        limits: CallerLimits,
    ) -> None:
        self._channels, self._settings, self._clock = channels, settings, clock
        self._limits = limits
        self._demo = settings.profile != "prod"
        self._nonces = Nonces(settings.nonce_keep_s, clock)

    def admit(self, request: Inbound, *, once: bool) -> Inbound:
        """The request with its caller's rule, and of a write (`once`) the nonce. Raises Problem.

        Unsigned calls of channels without a scheme are taken from their networks, or from anywhere
        outside of the prod profile. An unknown channel gets the services' own words there,
        and in prod like a wrong signature, after the same work.
        """
        channel_no = request.params.get("channel_no", "")
        rule = self._channels.find(channel_no)
        if rule is None:
            request = self._limit(ChannelRule(""), request)
            if self._demo:
                return replace(request, channel=ChannelRule(channel_no))
            self._verify(DUMMY, request)
            raise Problem(GatewayError.SIGN_WRONG)
        self._check_address(rule, request.remote)
        nonce = ""
        if rule.auth_mode or signing.SIGN in request.params:
            nonce = self._verify(rule, request)
        # After the signature: a caller that only knows the channel's number must not use up its rate.
        request = self._limit(rule, request)
        if nonce and once and not self._nonces.add(channel_no, nonce):
            raise Problem(GatewayError.SIGN_WRONG)
        return replace(request, channel=rule, nonce=self._travelling(nonce) if once else None)

    def admit_signed(self, request: Inbound, call: SignedCall) -> Inbound:
        """The request of a channel that signs as its platform does, with its rule. Raises Problem, Malformed.

        A channel of another scheme is none of these: it is refused like an unknown one, after the same work.
        """
        rule = self._channels.find(call.channel_no)
        known = rule is not None and rule.auth_mode == goofish.SCHEME
        if rule is None or not known:
            request = self._limit(ChannelRule(""), request)
            rule = DUMMY
        else:
            self._check_address(rule, request.remote)
        app_id = self._settings.goofish_app_id
        fits = [
            goofish.sign(
                goofish.Parties(app_id, secret, call.channel_no, key.decode("utf-8", "replace")),
                call.timestamp,
                request.body,
            )
            for secret in self._channels.platform_secrets(app_id)
            for key in rule.keys
        ]
        at = signing.fitting(call.sign, fits)
        if at is None or not known:
            raise Problem(GatewayError.SIGN_WRONG)
        self._channels.note_used(rule, at % len(rule.keys))
        request = self._limit(rule, request)
        stamp = call.timestamp
        fresh = stamp.isascii() and stamp.isdigit() and len(stamp) <= STAMP_CHARS_MAX
        if not fresh or self._is_off(int(stamp)):
            raise Malformed("timestamp", ParameterError.UNREADABLE, "已超过有效期")
        return replace(request, channel=rule, params={"channel_no": call.channel_no})

    def _is_off(self, stamp: int) -> bool:
        """Whether a time is not about now."""
        return abs(self._clock.now().timestamp() - stamp) > self._settings.sign_window_s

    def _travelling(self, nonce: str) -> Nonce | None:
        if not nonce:
            return None
        return Nonce(nonce, secrets.randbits(62) + 1, math.ceil(self._settings.nonce_keep_s))

    def _limit(self, rule: ChannelRule, request: Inbound) -> Inbound:
        limit = self._limits.of_partner(rule.rate_per_s, rule.calls_max)
        party = f"channel {rule.channel_no}"
        return self._limits.partner(party, limit, request)

    def _check_address(self, rule: ChannelRule, remote: str) -> None:
        if not rule.networks:
            if not rule.auth_mode and not self._demo:
                raise Problem(GatewayError.ADDRESS_REFUSED)
            return
        address = _address(remote)
        if address is None or not _inside(address, rule.networks):
            raise Problem(GatewayError.ADDRESS_REFUSED)

    def _verify(self, rule: ChannelRule, request: Inbound) -> str:
        """The nonce of a signature that fits one of the channel's keys, "" for MD5. Raises Problem."""
        params = request.params
        given = params.get(signing.SIGN, "")
        if not given:
            raise Problem(GatewayError.SIGN_MISSING)
        asked = params.get(signing.SIGN_TYPE, "")
        scheme = rule.auth_mode or ("hmac" if asked else "md5")
        expected: list[str] = []
        if scheme == "md5":
            expected = [signing.md5_sign(params, key) for key in rule.keys]
        elif scheme in SIGN_TYPES:
            if asked not in SIGN_TYPES[scheme]:
                raise Malformed(
                    signing.SIGN_TYPE, ParameterError.UNREADABLE, f"只支持{SIGN_TYPES[scheme][0]}"
                )
            self._check_freshness(params)
            sign = signing.HMACS[asked]
            expected = [
                sign(request.method, request.path, params, request.body, key) for key in rule.keys
            ]
        at = signing.fitting(given, expected)
        if at is None:
            raise Problem(GatewayError.SIGN_WRONG)
        self._channels.note_used(rule, at)
        return params.get("nonce", "") if scheme in SIGN_TYPES else ""

    def _check_freshness(self, params: Mapping[str, str]) -> None:
        nonce, stamp = params.get("nonce", ""), params.get("timestamp", "")
        if not nonce or not stamp:
            raise Problem(GatewayError.SIGN_MISSING)
        if not signing.NONCE_CHARS_MIN <= len(nonce) <= signing.NONCE_CHARS_MAX:
            raise Malformed("nonce", ParameterError.UNREADABLE, "长度16-64")
        if not stamp.isascii() or not stamp.isdigit() or len(stamp) > STAMP_CHARS_MAX:
            raise Malformed("timestamp", ParameterError.UNREADABLE, "不是秒数")
        if self._is_off(int(stamp)):
            raise Problem(GatewayError.SIGN_WRONG)


class Nonces:
    """Nonces seen lately by this process. When full, the oldest are forgotten first.

    A first, cheap look: a replay here costs the services nothing. Replicas share what the service that
    owns the write keeps; it uses the nonce up in the transaction of the write.
    """

    def __init__(self, keep_s: float, clock: Clock) -> None:
        self._keep_s, self._clock = keep_s, clock
        self._seen: OrderedDict[tuple[str, str], float] = OrderedDict()

    def add(self, channel_no: str, nonce: str) -> bool:
        """Whether the nonce is new."""
        now = self._clock.monotonic()
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest] > now and len(self._seen) < NONCES_MAX:
                break
            del self._seen[oldest]
        if (channel_no, nonce) in self._seen:
            return False
        self._seen[channel_no, nonce] = now + self._keep_s
        return True


@lru_cache(maxsize=1024)  # callers come from few, and reading one costs as much as its signature
def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address as text is of one of the networks."""
    found = _address(address) if networks else None
    return found is not None and _inside(found, networks)


def _inside(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def remote_of(peer: str, forwarded: str, proxies: Sequence[Network]) -> str:
    """Who really calls: the right-most X-Forwarded-For entry that no trusted proxy wrote."""
    if not proxies or not forwarded:
        return peer
    chain = [*(part.strip() for part in forwarded.split(",")[-FORWARDED_MAX:]), peer]
    for hop in reversed(chain):
        address = _address(hop)
        if address is None or not _inside(address, proxies):
            return (
                hop if hop.isascii() else ""
            )  # other bytes are no address, and no message holds them
    return chain[0]


def proxies_of(settings: GatewaySettings) -> tuple[Network, ...]:
    """The networks whose X-Forwarded-For is believed."""
    return tuple(ip_network(one, strict=False) for one in settings.trusted_proxies)
