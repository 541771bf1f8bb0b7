"""Who may use the internal listener: operators and programs by token, a channel for its own account."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from shoudan_gateway.admission import Admission
from shoudan_gateway.config import GatewaySettings
from shoudan_gateway.protocol import (
    ChannelRule,
    Endpoint,
    GatewayError,
    Inbound,
    Problem,
)
from shoudan_kit.log import get_logger
from shoudan_kit.rpc.callers import Mode, Verify
from shoudan_kit.rpc.messages import BEARER
from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.rpc.rights import Right, right_of
from shoudan_kit.tls.hops import is_loopback
from shoudan_signing import channel as signing

LEDGER: Final = "shoudan.pay.v1.LedgerService"
# What a channel may ask of its own account.
OWN: Final = frozenset(
    f"{LEDGER}/{one}" for one in ("GetAccount", "ListRecords", "GetPackage", "ListPackageRecords")
)
OWN_GROUPS: Final = "down_"  # how the groups of a channel's accounts begin; `up_` are suppliers'

_log = get_logger("gateway.internal")


class InternalAccess:
    """Lets a request in by the right of the RPC behind it, so that HTTP opens nothing that gRPC does not."""

    def __init__(self, admission: Admission, verify: Verify, mode: Mode, ledger_ident: str) -> None:
        """`ledger_ident`: the system that the channels' accounts belong to."""
        self._admission, self._verify, self._mode = admission, verify, mode
        self._ledger_ident = ledger_ident

    def admit(self, inbound: Inbound, endpoint: Endpoint[Any, Any]) -> Inbound:
        """The request, with its channel when one signed it. Raises Problem."""
        authorization = inbound.headers.get("Authorization", "")
        if authorization:
            self._check_token(authorization, endpoint)
            # The service behind asks for two persons and writes the audit log: it must know who calls.
            shown = authorization if endpoint.writes else ""
            return _handed_on(inbound, endpoint, shown)
        if signing.SIGN in inbound.params and "channel_no" in inbound.params:
            admitted = self._admission.admit(inbound, once=endpoint.writes)
            channel = admitted.channel
            if not (channel and channel.keys and self._is_own(endpoint, inbound, channel)):
                raise Problem(GatewayError.NOT_ALLOWED)
            return admitted
        if self._mode == "loopback" and is_loopback(inbound.remote):
            return _handed_on(inbound, endpoint)
        raise Problem(GatewayError.TOKEN_MISSING)

    def _check_token(self, authorization: str, endpoint: Endpoint[Any, Any]) -> None:
        if not authorization.startswith(BEARER):
            raise Problem(GatewayError.TOKEN_WRONG)
        try:
            caller = self._verify(authorization.removeprefix(BEARER))
        except Refusal as refusal:
            _log.info("refused", route=endpoint.path, reason=refusal.reason, facts=refusal.metadata)
            raise Problem(GatewayError.TOKEN_WRONG) from None
        # A partner's account signs in at the console; here its channel signs its calls.
        if caller.kind == "partner" or not right_for(endpoint).allows(caller):
            _log.info(
                "refused", route=endpoint.path, caller=caller.name, roles=sorted(caller.roles)
            )
            raise Problem(GatewayError.NOT_ALLOWED)

    def _is_own(self, endpoint: Endpoint[Any, Any], inbound: Inbound, channel: ChannelRule) -> bool:
        """Whether the request asks of the channel's own account and of nothing else."""
        if endpoint.call.method not in OWN:
            return False
        message = endpoint.read(inbound)
        key = message.account if hasattr(message, "account") else message.key
        return (
            key.ident == self._ledger_ident
            and key.groups.startswith(OWN_GROUPS)
            and key.eid == channel.channel_no
        )


def _handed_on(inbound: Inbound, endpoint: Endpoint[Any, Any], authorization: str = "") -> Inbound:
    return msgspec.structs.replace(inbound, authorization=authorization, handed_on=endpoint.writes)


def mode_of(settings: GatewaySettings) -> Mode:
    """As of the services, but TLS changes nothing: outside of prod who calls from this machine is let in."""
    if settings.callers != "auto":
        return settings.callers
    return "enforce" if settings.profile == "prod" else "loopback"


def right_for(endpoint: Endpoint[Any, Any]) -> Right:
    """Who may call the RPC behind an endpoint."""
    service, _, method = endpoint.call.method.partition("/")
    return right_of(service, method)
