"""Which URLs that others supply may be called: none that leads into our own network."""

from __future__ import annotations

import re
import socket
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

URL_CHARS_MAX: Final = 2_048
NAME_CHARS_MAX: Final = 253
PORTS: Final = frozenset({80, 443})
ANY_PORT: Final = range(1, 65_536)

# Written out, because ipaddress.is_global lets NAT64, 6to4, v4-compatible and multicast pass.
DENIED: Final[tuple[Network, ...]] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier NAT
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        # Outside of 2000::/3 nothing is public: v4-compatible, v4-mapped (::ffff:0:0/96), v4-translated
        # (::ffff:0:0:0/96), NAT64, unique local, link local, multicast.
        "::/3",
        "4000::/2",
        "8000::/1",
        "2001::/23",  # Teredo and other protocol use
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
)
# Cloud metadata hands out credentials: no allow-list opens these.
NEVER: Final = frozenset(
    ip_address(text) for text in ("169.254.169.254", "100.100.100.200", "fd00:ec2::254")
)

# IPv6 addresses whose last 32 bits are an IPv4 address that the packet may end at.
CARRIERS: Final = tuple(
    IPv6Network(text)
    for text in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)

_AUTHORITY = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_OPENED = re.compile(r"([^/]+/[0-9]{1,3}):([0-9]{1,5}(?:,[0-9]{1,5}){0,20})")
_NUMBER_LIKE = re.compile(r"[0-9]+|0x[0-9a-f]*")


class UrlForbidden(OSError):
    """`reason` is for our operators; the supplier of the URL learns only that it is not allowed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Opened:
    """A private network an operator has opened, on these ports."""

    network: Network
    ports: Collection[int]


def opened(text: str, ports: Collection[int] = ANY_PORT) -> Opened:
    """`10.0.0.0/8`, on `ports`, or `10.0.0.0/8:8080,8443`, on those alone. Raises ValueError."""
    found = _OPENED.fullmatch(text)
    if found is None:
        return Opened(ip_network(text), ports)
    named = frozenset(int(one) for one in found[2].split(","))
    if not all(one in ANY_PORT for one in named):
        raise ValueError("no port")
    return Opened(ip_network(found[1]), named)


class Guard:
    """Public addresses on allowed ports, plus the private networks an operator has opened."""

    def __init__(
        self, allow_private: Sequence[Network | Opened] = (), ports: Collection[int] = PORTS
    ) -> None:
        """A network without ports of its own is open on `ports`, like public addresses."""
        self._ports = ports if isinstance(ports, range) else frozenset(ports)
        self._opened = tuple(
            one if isinstance(one, Opened) else Opened(one, self._ports) for one in allow_private
        )

    def allows(self, address: Address, port: int | None = None) -> bool:
        """Whether this address may be connected to, on this port or on any."""
        if not NEVER.isdisjoint(_reached(address)):
            return False
        for one in self._opened:
            if address in one.network and (port is None or port in one.ports):
                return True
        if port is not None and port not in self._ports:
            return False
        return not any(address in network for network in DENIED)

    def parse(self, url: str) -> URL:
        """The URL if its form is allowed and, where the host is an address, that, too.

        Raises UrlForbidden. Names are not resolved here: GuardedResolver does that when connecting.
        """
        host = _host_as_written(url)
        try:
            parsed = URL(url)
            port = parsed.port
        except ValueError:
            raise UrlForbidden("not a URL") from None
        # The library connects to what it parsed, so a second opinion on the host ends it here.
        if (parsed.raw_host or "").lower() != host.strip("[]").lower():
            raise UrlForbidden("the host can be read in two ways")
        if port not in self._ports and not any(port in one.ports for one in self._opened):
            raise UrlForbidden("port not allowed")
        address = _literal(host.lower())
        if address is not None and not self.allows(address, port):
            raise UrlForbidden("address not allowed")
        return parsed

    async def check(self, url: str, resolver: AbstractResolver) -> None:
        """Form and every address of `url`, as when a URL is handed in; sending checks again.

        Raises UrlForbidden, also when the name cannot be resolved.
        """
        parsed = self.parse(url)
        host = parsed.raw_host or ""
        if _literal(f"[{host}]" if ":" in host else host) is not None:
            return
        try:
            await GuardedResolver(self, resolver).resolve(host, parsed.port or 0)
        except UrlForbidden:
            raise
        except OSError:
            raise UrlForbidden("name not resolved") from None


class GuardedResolver(AbstractResolver):
    """Resolves a name to checked addresses; one forbidden address forbids the name.

    The connector connects to exactly what this returns, so a name cannot change its mind in between.
    """

    def __init__(self, guard: Guard, inner: AbstractResolver) -> None:
        self._guard, self._inner = guard, inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host`. Raises UrlForbidden or the inner resolver's OSError."""
        found = await self._inner.resolve(host, port, family)
        if not found:
            raise UrlForbidden("name not resolved")
        for one in found:
            if not self._guard.allows(_address(one["host"]), port or None):
                raise UrlForbidden("address not allowed")
        return found

    async def close(self) -> None:
        """Close the inner resolver."""
        await self._inner.close()


def _reached(address: Address) -> set[Address]:
    """The address and the IPv4 address a translator would make of it."""
    reached: set[Address] = {address}
    if isinstance(address, IPv6Address):
        if any(address in network for network in CARRIERS):
            reached.add(IPv4Address(int(address) & 0xFFFFFFFF))
        if address.sixtofour is not None:
            reached.add(address.sixtofour)
    return reached


def _host_as_written(url: str) -> str:
    """The host in `url`, an IPv6 one in brackets; everything ambiguous is forbidden."""
    if len(url) > URL_CHARS_MAX:
        raise UrlForbidden("URL too long")
    if "\\" in url or any(c.isspace() or unicodedata.category(c)[0] == "C" for c in url):
        raise UrlForbidden("URL with spaces, control characters or backslashes")
    found = _AUTHORITY.match(url)
    if found is None:
        raise UrlForbidden("not an http or https URL")
    authority = found[1]
    if "@" in authority:
        raise UrlForbidden("URL with a user name")
    if authority.startswith("["):
        host, bracket, port = authority.partition("]")
        host += bracket
    else:
        host, _, port = authority.partition(":")
        port = f":{port}" if port else ""
    if port and not re.fullmatch(r":[0-9]{1,5}", port):
        raise UrlForbidden("port is not a number")
    return host


def _literal(host: str) -> Address | None:
    """The address when `host` is one, None when it is a name. Raises UrlForbidden for neither.

    Only the plain forms count as addresses: 127.1, 0x7f000001 or 2130706433 are neither.
    """
    if host.startswith("["):
        return _strict(IPv6Address, host[1:-1])
    if _NUMBER_LIKE.fullmatch(host.rsplit(".", 1)[-1]):
        return _strict(IPv4Address, host)
    # ASCII only: a name in another script comes in its xn-- form, so nothing folds into digits later.
    if len(host) > NAME_CHARS_MAX or not _HOST_NAME.fullmatch(host):
        raise UrlForbidden("not a plain host name or address")
    return None


def _strict(kind: type[IPv4Address | IPv6Address], text: str) -> Address:
    try:
        if "%" not in text:  # a zone names one of our own interfaces
            return kind(text)
    except ValueError:
        pass
    raise UrlForbidden("not a plain host name or address")


def _address(text: str) -> Address:
    try:
        return ip_address(text)  # a zone (fe80::1%eth0) stays inside the networks it belongs to
    except ValueError:
        raise UrlForbidden("resolver gave no address") from None
