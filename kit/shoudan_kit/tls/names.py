"""The names a certificate carries: who its process is, and what its server is called."""

from __future__ import annotations

import re
from typing import Final

TRUST_DOMAIN: Final = "spiffe://shoudan/"
SERVER_DOMAIN: Final = ".shoudan.internal"
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")


def is_name(name: str) -> bool:
    """Whether a process may be called this."""
    return bool(_NAME.fullmatch(name))


def spiffe_name(service: str) -> str:
    """The name that says who a process is: spiffe://shoudan/<service>."""
    return TRUST_DOMAIN + service


def service_of(spiffe: str) -> str | None:
    """The service that such a name stands for; None for names of other kinds."""
    name = spiffe.removeprefix(TRUST_DOMAIN)
    return name if name != spiffe and is_name(name) else None


def server_name(service: str) -> str:
    """The DNS name a client expects in a service's certificate, wherever the service runs.

    TLS libraries compare DNS names and not SPIFFE names; `_` is no letter of a DNS name.
    """
    return service.replace("_", "-") + SERVER_DOMAIN
