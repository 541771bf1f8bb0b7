"""Listeners and hops that would leave this machine without TLS, found in settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

NATS_SCHEMES: Final = frozenset({"nats", "tls", "ws", "wss"})
NATS_TLS: Final = frozenset({"tls", "wss"})
_FILES: Final = "tls_cert, tls_key and tls_ca"


def is_loopback(host: str) -> bool:
    """Whether an address served is reached from this machine alone. Names other than localhost are not."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def host_of(target: str) -> str:
    """The host of a gRPC target: `host:port`, `dns:///host:port`, `ipv4:1.2.3.4:5`."""
    address = target.rpartition("/")[2]
    for scheme in ("dns:", "ipv4:", "ipv6:"):
        address = address.removeprefix(scheme)
    host, _, port = address.rpartition(":")
    return host if host and port.isdecimal() else address


def nats_mistake(server: str) -> str | None:
    """What is wrong with one NATS server, without its password."""
    form = f"each server is written {'|'.join(sorted(NATS_SCHEMES))}://[user:password@]host[:port]"
    try:
        parts = urlsplit(server)
        port = parts.port
    except ValueError:  # a port that is no number
        return form
    if parts.scheme not in NATS_SCHEMES or not parts.hostname or port == 0:
        return form
    return form if parts.path.strip("/") or parts.query or parts.fragment else None


def exposed(
    *, tls: bool, served: Mapping[str, str], called: Mapping[str, str], nats: Sequence[str]
) -> Iterator[str]:
    """What is wrong in production: a host `served` or a target `called` outside of this machine."""
    for name, host in served.items():
        if not tls and not is_loopback(host):
            yield f"{name}: {host} is reached from outside: set {_FILES}"
    for name, target in called.items():
        if not tls and not is_loopback(host_of(target)):
            yield f"{name}: {target} is not on this machine: set {_FILES}"
    for server in nats:
        if nats_mistake(server):
            continue  # said already
        parts = urlsplit(server)
        if is_loopback(parts.hostname or ""):
            continue
        if parts.scheme not in NATS_TLS:
            yield f"nats_url: {parts.hostname} is not on this machine: write tls:// and set {_FILES}"
        elif not tls:
            yield f"nats_url: {parts.hostname} is not on this machine: set {_FILES}"
