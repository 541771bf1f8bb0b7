"""Promises about accounts of down channels: each asks of its own channels alone."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from shoudan.core.v1 import credential_service_pb2 as credential_pb
from shoudan_kit.rpc.rights import Right, right_of
from shoudan_kit.secrets.tokens import TokenVerifier, key_set, read_key_set
from tests.kit.rpc.test_callers import (
    CALLERS,
    KEY,
    METHODS,
    MONEY,
    REFUSED,
    SIGNER,
    SYSTEM,
    enforcing,
)

__all__ = ("enforcing",)  # the fixture


def asking(method: Any, right: Right, number: str) -> bytes:
    """A request that names this channel where the contract says it stands."""
    request: Any = GetMessageClass(method.input_type)()
    if right.partners is not None and right.partners.channel:
        setattr(request, right.partners.channel, right.partners.prefix + number)
        for name, values in right.partners.limits:
            setattr(request, name, min(values))
    return request.SerializeToString()


async def code_as_partner(channel: aio.Channel, path: str, body: bytes) -> grpc.StatusCode:
    metadata = tuple(CALLERS["partner"].items())
    with pytest.raises(aio.AioRpcError) as refused:
        await channel.unary_unary(path)(body, metadata=metadata, timeout=10)
    return refused.value.code()


async def test_a_partner_asks_of_its_own_channels_alone_and_of_nothing_else(
    enforcing: aio.Channel,
) -> None:
    opened = 0
    for service, method in METHODS:
        right, path = (
            right_of(service.full_name, method.name),
            f"/{service.full_name}/{method.name}",
        )
        itself = right.anyone or (right.partners is not None and right.partners.itself)
        own = itself or right.partners is not None
        opened += own and not itself
        for number in ("A-1", "B-2"):
            code = await code_as_partner(enforcing, path, asking(method, right, number))
            assert (code not in REFUSED) == own, path
        for number in ("C-3", "", "a-1", "A-1 ", "A-1\0"):
            code = await code_as_partner(enforcing, path, asking(method, right, number))
            assert (code not in REFUSED) == itself, (path, number)
    assert opened >= 17


async def test_a_partner_s_request_holds_the_values_that_are_open_to_it(
    enforcing: aio.Channel,
) -> None:
    path = "/shoudan.core.v1.CredentialService/ListCredentials"
    for kind, code in (
        ("channel", "UNIMPLEMENTED"),
        ("endpoint", "PERMISSION_DENIED"),
        ("", "PERMISSION_DENIED"),
    ):
        body = credential_pb.ListCredentialsRequest(kind=kind, owner="A-1").SerializeToString()
        assert (await code_as_partner(enforcing, path, body)).name == code, kind


def test_what_is_open_to_partners_moves_no_money_and_needs_no_second_person() -> None:
    for service, method in METHODS:
        right = right_of(service.full_name, method.name)
        if right.partners is not None:
            assert method.name not in MONEY
            assert not right.approvers


def test_a_token_with_channels_has_no_roles() -> None:
    with pytest.raises(ValueError, match="no roles"):
        SIGNER.issue("1", "zhou", ["viewer"], channels=["A-1"])
    verifier = TokenVerifier(SYSTEM)
    verifier.trust("test", read_key_set(key_set([KEY.public_key()])))
    caller = verifier.caller_of(SIGNER.issue("7", "zhou", [], channels=["A-1"]))
    assert (caller.kind, caller.id, caller.roles) == ("partner", "7", frozenset())
    assert caller.channels == {"A-1"}
