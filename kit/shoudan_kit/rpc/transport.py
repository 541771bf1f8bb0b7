"""Mutual TLS under gRPC: credentials made of one process's files, and channels that follow their renewal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Self, cast

import grpc
from grpc import aio

from shoudan_kit.rpc.messages import Options
from shoudan_kit.tls.identity import Identity, Material
from shoudan_kit.tls.names import server_name

# Calls under way on the connection of an old certificate may take this long, none takes longer.
RETIRED_S: Final = 60.0


def server_credentials(identity: Identity) -> grpc.ServerCredentials:
    """Only clients with a certificate of our authorities; each new connection gets the newest files."""
    given, lock = identity.material, threading.Lock()

    def changed() -> grpc.ServerCertificateConfiguration | None:
        """New files, once; called at every handshake, by threads of gRPC's own.

        What it is given gRPC puts in place of what handshakes on other threads are using at that moment,
        and one of them may end the process by SIGSEGV. So nothing is given again.
        """
        nonlocal given
        with lock:
            material = identity.material
            if material is given:
                return None
            given = material
        return _configuration(material)

    first, fetch = _configuration(given), cast("Any", changed)  # the stubs leave the None out
    return grpc.dynamic_ssl_server_credentials(first, fetch, require_client_authentication=True)


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.cert)], material.ca)


class RenewedChannel:
    """A channel to one service; new files bring a new connection, calls under way end on the old one.

    gRPC for Python gives a channel its certificate once, so a new certificate needs another channel.
    It stands for an aio.Channel where stubs are made.
    """

    def __init__(
        self,
        target: str,
        identity: Identity,
        service: str,
        options: Options,
        interceptors: Sequence[aio.ClientInterceptor] = (),
    ) -> None:
        self._target, self._identity, self._interceptors = target, identity, interceptors
        # The server must be the service that is meant, whatever its address.
        self._options = (*options, ("grpc.ssl_target_name_override", server_name(service)))
        self._material = identity.material
        self._channel = self._open()
        self._retired: dict[asyncio.Task[None], aio.Channel] = {}

    def current(self) -> aio.Channel:
        """The channel of the newest certificate."""
        material = self._identity.material
        if material is not self._material:
            old, self._material = self._channel, material
            self._channel = self._open()
            task = asyncio.ensure_future(old.close(RETIRED_S))
            self._retired[task] = old
            task.add_done_callback(lambda done: self._retired.pop(done, None))
        return self._channel

    def unary_unary(self, *args: Any, **kwargs: Any) -> _Method:
        """As aio.Channel."""
        return _Method(self, lambda channel: channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> _Method:
        """As aio.Channel."""
        return _Method(self, lambda channel: channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> _Method:
        """As aio.Channel."""
        return _Method(self, lambda channel: channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> _Method:
        """As aio.Channel."""
        return _Method(self, lambda channel: channel.stream_stream(*args, **kwargs))

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """As aio.Channel."""
        return self.current().get_state(try_to_connect)

    async def wait_for_state_change(self, last: grpc.ChannelConnectivity) -> None:
        """As aio.Channel."""
        await self.current().wait_for_state_change(last)

    async def channel_ready(self) -> None:
        """As aio.Channel."""
        await self.current().channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """As aio.Channel; the retired ones go with it."""
        retired = dict(self._retired)
        for task in retired:
            task.cancel()
        await asyncio.gather(*retired, return_exceptions=True)
        for channel in (*retired.values(), self._channel):
            await channel.close(grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _open(self) -> aio.Channel:
        material = self._material
        credentials = grpc.ssl_channel_credentials(material.ca, material.key, material.cert)
        return aio.secure_channel(
            self._target, credentials, self._options, interceptors=self._interceptors
        )


class _Method:
    """One method of a stub; each call goes to the channel of the newest certificate."""

    __slots__ = ("_channel", "_make", "_method", "_owner")

    def __init__(self, owner: RenewedChannel, make: Callable[[aio.Channel], Any]) -> None:
        self._owner, self._make = owner, make
        self._channel = owner.current()
        self._method = make(self._channel)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        channel = self._owner.current()
        if channel is not self._channel:
            self._channel, self._method = channel, self._make(channel)
        return self._method(*args, **kwargs)


def renewed(
    target: str,
    identity: Identity,
    service: str,
    options: Options,
    interceptors: Sequence[aio.ClientInterceptor] = (),
) -> aio.Channel:
    """A RenewedChannel, typed as what it stands for."""
    made = RenewedChannel(target, identity, service, options, interceptors)
    return cast("aio.Channel", made)
