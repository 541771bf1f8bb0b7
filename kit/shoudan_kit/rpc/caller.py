"""Who calls: the name in the certificate of a mutual TLS connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.tls.names import service_of

_NAMES: Final = (
    "x509_subject_alternative_name"  # gRPC's property: every alternative name of the peer
)
_SECURITY: Final = "transport_security_type"

Kind = Literal["service", "operator", "partner", "none"]


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of one call: a service by its certificate, an operator by a token, an account of down
    channels by a token, or none."""

    kind: Kind
    name: str = ""
    roles: frozenset[str] = frozenset()
    id: str = ""  # of an operator or an account: stays when the name changes
    channels: frozenset[str] = (
        frozenset()
    )  # of an account: the down channels whose rows are its own


NO_CALLER: Final = Caller("none")


def peer_of(context: RpcContext) -> Caller | None:
    """The service whose certificate the connection was made with; None without a certificate.

    gRPC has checked certificate and authority before. A certificate with no name of a service, or with
    two, authenticates no one.
    """
    properties = context.auth_context()
    if b"ssl" not in properties.get(_SECURITY, ()):
        return None
    found = {
        service
        for name in properties.get(_NAMES, ())
        if (service := service_of(name.decode("utf-8", "replace"))) is not None
    }
    return Caller("service", found.pop()) if len(found) == 1 else None
