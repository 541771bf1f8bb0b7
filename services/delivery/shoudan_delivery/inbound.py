"""Verifies suppliers' notifies: by signature, by the delivery's token, by the sender's address."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, Protocol, TypeVar
from urllib.parse import parse_qsl

from shoudan_delivery.kinds import StatedPrice
from shoudan_delivery.protocols import SPOKEN, InboundNotify, Unverified, protocol_of
from shoudan_delivery.protocols.messages import NOTIFY_PARAMETER
from shoudan_delivery.refusals import NotifyUnverified, TooManyAttempts
from shoudan_delivery.states import ServiceClass
from shoudan_delivery.store.rows import Reply, Supplier
from shoudan_kit import metrics
from shoudan_kit.clock import Clock
from shoudan_kit.limits.rates import Rates
from shoudan_signing import channel as signing

T = TypeVar("T")

TOKEN_BYTES: Final = 16
QUERY_FIELDS_MAX: Final = 20
DIGITS_MAX: Final = 19
ID_MAX: Final = 2**63 - 1
CALL_WINDOW_S: Final = 300
STAMP_CHARS_MAX: Final = 12


class Channels(Protocol):
    """The supplier channels."""

    def get(self, channel_no: str, service_class: int) -> Supplier | None:
        """The channel as last seen."""
        ...

    def note_used(self, credential_id: int) -> None:
        """A notify fitted this credential."""
        ...


class NotifyTokens:
    """One token per delivery, made of its number under a key of this service; nothing is stored.

    The first key makes tokens, all are believed, so that a key can be replaced: put the new one first,
    drop the old one once no notify under it can come any more.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        # Of the size BLAKE2b takes, whatever the settings hold.
        self._keys = tuple(hashlib.blake2b(key).digest() for key in keys)

    def url(self, supplier: Supplier, order_no: int) -> str:
        """The notify URL of one delivery."""
        if supplier.notify_without_token:
            return supplier.notify_url
        joint = "&" if "?" in supplier.notify_url else "?"
        token = _token(self._keys[0], supplier.key, order_no)
        return f"{supplier.notify_url}{joint}{NOTIFY_PARAMETER}={token}"

    def fits(self, key: tuple[str, int], order_no: int, given: str) -> bool:
        """Whether the token is that of this delivery of this channel."""
        found = [
            hmac.compare_digest(_token(one, key, order_no).encode(), given.encode())
            for one in self._keys
        ]
        return any(found)


def _token(secret: bytes, key: tuple[str, int], order_no: int) -> str:
    text = f"notify/{key[0]}/{key[1]}/{order_no}"
    mac = hashlib.blake2b(text.encode(), key=secret, digest_size=TOKEN_BYTES).digest()
    return urlsafe_b64encode(mac).rstrip(b"=").decode()


def is_trusted(
    tokens: NotifyTokens, supplier: Supplier, notify: InboundNotify, order_no: int
) -> bool:
    """Whether this notify may end the delivery; its signature is verified already where there is a secret.

    Configured networks are always checked. A secret replaces the token, because a supplier that signs may
    drop the query.
    """
    if supplier.notify_networks and not _inside(notify.remote_ip, supplier.notify_networks):
        return False
    if supplier.secret or supplier.secret_name:
        return True
    if supplier.notify_without_token:
        return bool(supplier.notify_networks)
    return tokens.fits(supplier.key, order_no, _given(notify.query))


def is_trusted_for_all(supplier: Supplier, remote_ip: str) -> bool:
    """Whether a notify that names no delivery may be believed: signed, or from networks agreed on.

    Its signature is verified where there is a secret. No token stands for it: each is of one delivery.
    """
    if supplier.notify_networks and not _inside(remote_ip, supplier.notify_networks):
        return False
    if supplier.secret or supplier.secret_name:
        return True
    return supplier.notify_without_token and bool(supplier.notify_networks)


def _given(query: str) -> str:
    """The token of a query; empty for none, for two, and for what is no query."""
    try:
        fields = parse_qsl(query, max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:
        return ""
    found = [value for name, value in fields if name == NOTIFY_PARAMETER]
    return found[0] if len(found) == 1 else ""


def _inside(remote_ip: str, networks: Sequence[str]) -> bool:
    try:
        address: IPv4Address | IPv6Address = ip_address(remote_ip.partition("%")[0])
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in ip_network(one) for one in networks)


class Attempts:
    """Refused notifies per sender's address, counted and limited.

    Only refused notifies are limited: verifying needs no database, so a flood of guesses costs little, and
    a supplier behind the same proxy as an attacker still gets through.
    """

    def __init__(self, clock: Clock, rate_per_s: float, burst: int) -> None:
        self._clock, self._senders = clock, Rates(rate_per_s, burst)

    def accepted(self) -> None:
        """Count a verified one."""
        metrics.NOTIFIES_TAKEN("accepted").inc()

    def refused(self, remote_ip: str) -> bool:
        """Count a refused one; False when its sender is over the limit."""
        within = self._senders.take(remote_ip, self._clock.monotonic())
        metrics.NOTIFIES_TAKEN("refused" if within else "limited").inc()
        return within


@dataclass(frozen=True, slots=True)
class SupplierCall:
    """A call that a supplier signed, as it came."""

    channel_no: str
    method: str
    path: str
    params: Mapping[str, str]
    body: bytes
    remote_ip: str


def _is_fresh(params: Mapping[str, str], now: datetime) -> bool:
    """Whether a signature of version 2 was made about now, and names a nonce."""
    stamp, nonce = params.get("timestamp", ""), params.get("nonce", "")
    if params.get(signing.SIGN_TYPE) != signing.HMAC_SHA256_V2:
        return False
    if not signing.NONCE_CHARS_MIN <= len(nonce) <= signing.NONCE_CHARS_MAX:
        return False
    known = stamp.isascii() and stamp.isdigit() and len(stamp) <= STAMP_CHARS_MAX
    return known and abs(int(now.timestamp()) - int(stamp)) <= CALL_WINDOW_S


class NotifyVerifier:
    """Verifies every notify; all refusals look alike to the sender."""

    def __init__(self, channels: Channels, tokens: NotifyTokens, attempts: Attempts) -> None:
        self._channels, self._tokens, self._attempts = channels, tokens, attempts

    def verify(
        self, channel_no: str, service_class: int, notify: InboundNotify
    ) -> tuple[Supplier, Reply, int]:
        """The channel, what it says and the number it names. Raises what `refusal` gives."""
        supplier = self._channels.get(channel_no, service_class)
        if supplier is None or supplier.protocol not in SPOKEN:  # our own stock sends none
            raise self.refusal(channel_no, service_class, notify.remote_ip)
        read = protocol_of(supplier).read_notify
        reply = self._read(supplier, lambda one: read(one, notify))
        order_no = None if isinstance(reply, Unverified) else _number(reply)
        if (
            isinstance(reply, Unverified)
            or order_no is None
            or not is_trusted(self._tokens, supplier, notify, order_no)
        ):
            raise self.refusal(channel_no, service_class, notify.remote_ip)
        return supplier, reply, order_no

    def verify_prices(
        self, channel_no: str, service_class: int, notify: InboundNotify, as_of: datetime
    ) -> list[StatedPrice]:
        """What a notify states of prices and stock. Raises what `refusal` gives."""
        supplier = self._channels.get(channel_no, service_class)
        if (
            supplier is None
            or supplier.protocol not in SPOKEN
            or not is_trusted_for_all(supplier, notify.remote_ip)
        ):
            raise self.refusal(channel_no, service_class, notify.remote_ip)
        protocol = protocol_of(supplier)
        found = self._read(supplier, lambda one: protocol.read_prices(one, notify, as_of))
        if isinstance(found, Unverified):
            raise self.refusal(channel_no, service_class, notify.remote_ip)
        return found

    def check_call(self, call: SupplierCall, now: datetime) -> None:
        """Whether a supplier signed a call with a secret of its channel. Raises what `refusal` gives.

        An unknown supplier, a wrong signature and a wrong address look alike and cost the same work.
        """
        there = [self._channels.get(call.channel_no, one) for one in sorted(ServiceClass)]
        known = [one for one in there if one is not None and one.secret]
        allowed = [
            one
            for one in known
            if not one.notify_networks or _inside(call.remote_ip, one.notify_networks)
        ]
        secrets = {secret for one in allowed for secret in (one.secret, *one.older_secrets)}
        expected = [
            signing.hmac_v2_sign(call.method, call.path, call.params, call.body, secret)
            for secret in sorted(secrets) or [b"nobody"]
        ]
        fits = signing.fitting(call.params.get(signing.SIGN, ""), expected)
        if fits is None or not secrets or not _is_fresh(call.params, now):
            raise self.refusal(call.channel_no, 0, call.remote_ip)

    def _read(
        self, supplier: Supplier, read: Callable[[Supplier], T | Unverified]
    ) -> T | Unverified:
        """The notify by the first of the channel's secrets that fits it."""
        reply = read(supplier)
        fits = 0
        # At most as many as a channel may have: while one replaces another there are two.
        for at, secret in enumerate(supplier.older_secrets if _unsigned(reply) else (), 1):
            reply = read(replace(supplier, secret=secret))
            if not _unsigned(reply):
                fits = at
                break
        if fits < len(supplier.credential_ids) and not _unsigned(reply):
            self._channels.note_used(supplier.credential_ids[fits])
        return reply

    def refusal(
        self, channel_no: str, service_class: int, remote_ip: str
    ) -> NotifyUnverified | TooManyAttempts:
        """The refusal of an unverified notify or call, counted."""
        if not self._attempts.refused(remote_ip):
            return TooManyAttempts()
        return NotifyUnverified(channel_no, service_class)

    def accepted(self) -> None:
        """Count a verified notify."""
        self._attempts.accepted()


def _unsigned(reply: object) -> bool:
    return isinstance(reply, Unverified)


def _number(reply: Reply) -> int | None:
    """The number a notify names; None when it can be none of ours."""
    text = reply.order_no
    if not (text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX):
        return None
    number = int(text)
    return number if number <= ID_MAX else None
