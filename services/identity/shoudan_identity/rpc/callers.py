"""Who calls identity: the operator of the bearer token, and the address of the connection."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from shoudan_identity.access import Caller
from shoudan_kit.ids import id_of
from shoudan_kit.rpc.callers import address_of
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.secrets.tokens import TokenRefused, TokenVerifier

AUTHORIZATION: Final = "authorization"
BEARER: Final = "Bearer "


def caller_of(verifier: TokenVerifier, context: RpcContext) -> Caller:
    """The operator whose token calls. Refuses TokenRefused."""
    found = verifier.verify(_bearer(context))
    operator_id = id_of(found.id)
    if operator_id is None:
        raise TokenRefused("no operator of this service")
    expires = datetime.fromtimestamp(found.expires_s, UTC)
    return Caller(operator_id, found.name, found.roles, address_of(context), expires)


def _bearer(context: RpcContext) -> str:
    for name, value in context.invocation_metadata() or ():
        if name == AUTHORIZATION and isinstance(value, str) and value.startswith(BEARER):
            return value.removeprefix(BEARER)
    raise TokenRefused("missing")
