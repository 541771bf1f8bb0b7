"""How commands reach a running system: its addresses, gRPC channels and refusals shown to people."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar, cast

import typer
from grpc import aio
from pydantic import Field
from rich.console import Console

from shoudan_cli.systems import (
    NAME_VARIABLE,
    Answer,
    Known,
    SystemUnclear,
    meant,
    proved,
    running,
)
from shoudan_kit.config import FILE_VARIABLE, ConfigError, Seconds, TlsSettings
from shoudan_kit.rpc.address import address
from shoudan_kit.rpc.client import connect
from shoudan_kit.rpc.command import identity_of
from shoudan_kit.rpc.refusal import Refused, refused_from_rpc
from shoudan_kit.tls.identity import Identity

T = TypeVar("T")

SECTION: Final = "cli"
SERVICES: Final = ("order", "pay", "delivery", "erp_ingest", "identity", "finance")

console = Console()
errors = Console(stderr=True)


class ClientSettings(TlsSettings):
    """Where the commands find a running system; the defaults are those of `shoudan up`."""

    order_target: str = address("order", 50051)
    pay_target: str = address("pay", 50052)
    delivery_target: str = address("delivery", 50053)
    erp_ingest_target: str = address("erp_ingest", 50054)
    identity_target: str = address("identity", 50055)
    finance_target: str = address("finance", 50056)
    gateway_url: str = Field("http://127.0.0.1:8600", description="Where partners call.")
    sandbox_url: str = Field(
        "http://127.0.0.1:8690",
        description="Sandbox supplier and notify inbox, for demonstrations.",
    )
    ops_urls: dict[str, str] = Field(
        {},
        description="Base URLs of /readyz and /metrics of each service, for `shoudan status` and `top`: "
        "several separated by commas; a name stands for all its addresses.",
        examples=[{"order": "http://127.0.0.1:9091"}],
    )
    call_timeout_s: Seconds = Field(30, description="Seconds one call of a command may take.")


_ADDRESSES: Final = tuple(
    f"SHOUDAN_{prefix}{service.upper()}_TARGET" for prefix in ("CLI_", "") for service in SERVICES
) + tuple(
    f"SHOUDAN_{prefix}{name}" for prefix in ("CLI_", "") for name in ("GATEWAY_URL", "OPS_URLS")
)


TLS_VARIABLES: Final = tuple(
    f"SHOUDAN_{prefix}TLS_{name}" for prefix in ("CLI_", "") for name in ("CERT", "KEY", "CA")
)


class Failed(Exception):
    """A command's expected end with an error: one readable sentence, exit code 1.

    `refused` is the service's refusal when there was one.
    """

    def __init__(self, text: str, refused: Refused | None = None) -> None:
        super().__init__(text)
        self.refused = refused


def settings(**given: str) -> ClientSettings:
    """From environment and file, or of the system that is meant; the command line wins."""
    return resolved(**given)[0]


def resolved(**given: str) -> tuple[ClientSettings, Known | None]:
    """The one resolver of all commands: where the services are, and of which system that is up here.

    A system named by --system wins over the environment's addresses. Raises ConfigError, SystemUnclear.
    """
    named = os.environ.get(NAME_VARIABLE, "")
    if os.environ.get(FILE_VARIABLE) and not named:
        system, environ = None, dict(os.environ)
    else:
        urls = {one.gateway_url for one in running()}
        wanted = named or next((url for url in given.values() if url in urls), "")
        there = addressed() or any(name.endswith("_target") for name, text in given.items() if text)
        system = meant(wanted, addressed=there)
        of_others = (*_ADDRESSES, *TLS_VARIABLES) if named else ()
        environ = {k: v for k, v in os.environ.items() if k not in of_others}
    found = ClientSettings.load(SECTION, system.file if system else None, environ=environ)
    return found.model_copy(update={k: v for k, v in given.items() if v}), system


def addressed() -> bool:
    """Whether an address is configured: in the environment or in the file that it names."""
    return any(os.environ.get(name) for name in (FILE_VARIABLE, *_ADDRESSES))


async def answered(system: Known | None, found: ClientSettings, *services: str) -> list[Answer]:
    """What answers at the services' addresses, all without names; of the system named, if one is.

    Raises SystemUnclear.
    """
    targets = {cast("str", getattr(found, f"{name}_target")): name for name in services or SERVICES}
    named = system if os.environ.get(NAME_VARIABLE) else None
    return await proved(named, targets, identity_of(found))


class Clients:
    """gRPC channels to the services, opened when first used."""

    def __init__(
        self,
        targets: Mapping[str, str],
        timeout_s: float = 30,
        identity: Identity | None = None,
    ) -> None:
        self._targets, self._timeout_s, self._identity = targets, timeout_s, identity
        self._channels: dict[str, aio.Channel] = {}

    async def call(
        self,
        service: str,
        stub: Callable[[aio.Channel], Any],
        rpc: str,
        message: Any,
        *,
        token: str = "",
    ) -> Any:
        """One unary call, as the operator of `token`. Raises Failed with the service's words."""
        method = getattr(stub(self.channel(service)), rpc)
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        try:
            return await method(message, timeout=self._timeout_s, metadata=metadata)
        except aio.AioRpcError as error:
            refused = refused_from_rpc(error)
            raise Failed(explained(service, rpc, error), refused) from None

    async def stream(
        self,
        service: str,
        stub: Callable[[aio.Channel], Any],
        rpc: str,
        message: Any,
        timeout_s: float,
    ) -> AsyncIterator[Any]:
        """The answers of one call with many. Raises Failed with the service's words."""
        method = getattr(stub(self.channel(service)), rpc)
        try:
            async for answer in method(message, timeout=timeout_s):
                yield answer
        except aio.AioRpcError as error:
            refused = refused_from_rpc(error)
            raise Failed(explained(service, rpc, error), refused) from None

    def channel(self, service: str) -> aio.Channel:
        """The channel to a service."""
        if service not in self._channels:
            target = self._targets[service]
            self._channels[service] = connect(target, service, self._identity)
        return self._channels[service]

    async def close(self) -> None:
        """Hang up."""
        for channel in self._channels.values():
            await channel.close()


def explained(service: str, rpc: str, error: aio.AioRpcError) -> str:
    """What went wrong, for people: the refusal when there is one."""
    refused = refused_from_rpc(error)
    if refused is not None:
        return f"{service} {rpc}: {refused}"
    return f"{service} {rpc}: {error.code().name} {error.details()}"


@asynccontextmanager
async def open_clients(found: ClientSettings) -> AsyncGenerator[Clients]:
    """Clients of a running system, closed at the end."""
    targets = {name: cast("str", getattr(found, f"{name}_target")) for name in SERVICES}
    clients = Clients(targets, found.call_timeout_s, identity_of(found))
    try:
        yield clients
    finally:
        await clients.close()


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run a command's coroutine; expected failures become one line on stderr and exit code 1."""
    try:
        return asyncio.run(_whole(work))
    except (Failed, ConfigError, SystemUnclear) as error:
        errors.print(str(error), style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None


async def _whole(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
