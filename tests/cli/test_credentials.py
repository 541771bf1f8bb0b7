"""Promises about whose token a command sends: the owner's, an operator's, and to whom alone."""

from __future__ import annotations

import getpass
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import time_machine
from grpc import aio

from shoudan_cli.credentials import (
    OWNER_KEY,
    make_owner_key,
    owner_token,
    present,
)
from shoudan_kit.config import ProcessSettings
from shoudan_kit.rpc import client
from shoudan_kit.rpc.callers import NO_CALLER, Callers
from shoudan_kit.rpc.rights import ROLES
from shoudan_kit.rpc.server import RpcServer
from shoudan_kit.secrets.tokens import VALID_S, TokenRefused, TokenVerifier

SYSTEM = "here"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No token of a test before."""
    monkeypatch.setattr(client, "_tokens", {})


def test_the_owner_of_the_data_folder_is_logged_in_under_the_users_name(tmp_path: Path) -> None:
    public = make_owner_key(tmp_path)
    assert (tmp_path / OWNER_KEY).stat().st_mode & 0o777 == 0o600
    token = owner_token(tmp_path, SYSTEM)
    assert token is not None
    caller = TokenVerifier(SYSTEM, [public]).caller_of(token())
    assert caller.name == getpass.getuser()
    assert caller.roles == set(ROLES)
    with pytest.raises(TokenRefused, match="another system"):
        TokenVerifier("there", [public]).verify(token())


def test_the_owners_key_stays_and_its_token_is_renewed_before_it_expires(tmp_path: Path) -> None:
    first = make_owner_key(tmp_path).read_bytes()
    assert make_owner_key(tmp_path).read_bytes() == first
    with time_machine.travel("2030-01-01", tick=False) as clock:
        token = owner_token(tmp_path, SYSTEM)
        assert token is not None
        before = token()
        assert token() == before
        clock.shift(VALID_S - 60)
        assert token() != before


def test_without_the_key_there_is_no_owner(tmp_path: Path) -> None:
    assert owner_token(tmp_path, SYSTEM) is None


class Echo:
    """Says which token a call came with, by both shapes of call."""

    async def unary(self, _: bytes, context: Any) -> bytes:
        return dict(context.invocation_metadata()).get("authorization", "none").encode()

    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield await self.unary(request, context)

    def register(self, server: Any) -> None:
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Stream": grpc.unary_stream_rpc_method_handler(self.stream),
        }
        server.add_registered_method_handlers("test.Tokens", handlers)


async def said(channel: aio.Channel) -> tuple[str, str]:
    metadata = (("x-request-id", "1"),)
    unary = await channel.unary_unary("/test.Tokens/Unary")(b"", metadata=metadata)
    stream = channel.unary_stream("/test.Tokens/Stream")(b"", metadata=metadata)
    return unary.decode(), b"".join([one async for one in stream]).decode()


class Believing(Callers):
    """Lets everything in: what is asked here is what was sent."""

    def admit(self, access: Any, authorization: str, context: Any) -> Any:
        return NO_CALLER


async def test_a_token_goes_to_the_system_it_is_for_and_nowhere_else() -> None:
    servers = [
        RpcServer(ProcessSettings(drain_s=1), [Echo().register], [], callers=Believing("enforce"))
        for _ in range(2)
    ]
    ours, theirs = [f"127.0.0.1:{await one.start()}" for one in servers]
    present(SYSTEM, None, [ours], login="t")
    async with client.connect(ours) as channel:
        assert await said(channel) == ("Bearer t", "Bearer t")
    async with client.connect(theirs) as channel:
        assert await said(channel) == ("none", "none")
    for server in servers:
        await server.stop()


def test_who_logged_in_goes_before_the_owner_of_the_folder(tmp_path: Path) -> None:
    make_owner_key(tmp_path)
    present(SYSTEM, tmp_path, ["a:1"])
    assert client._tokens["a:1"]().count(".") == 2
    present(SYSTEM, tmp_path, ["a:1"], login="of-login")
    assert client._tokens["a:1"]() == "of-login"
    present("there", None, ["b:1"])
    assert "b:1" not in client._tokens
