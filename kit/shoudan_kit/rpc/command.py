"""How a command calls a service: with the certificate of the person's `cli` section, else in plaintext."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

import typer
from grpc import aio

from shoudan_kit.config import TlsSettings
from shoudan_kit.rpc.client import connect
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_kit.tls.identity import Identity

SECTION = "cli"

T = TypeVar("T")


class CommandTls(TlsSettings):
    """The three files of SHOUDAN_CLI_TLS_… or SHOUDAN_TLS_…; the rest of the section is others'."""

    partial = True


def command_channel(target: str, service: str) -> aio.Channel:
    """A channel of one command. Raises ConfigError for files that cannot be used."""
    return connect(target, service, identity_of(CommandTls.load(SECTION)))


def identity_of(settings: TlsSettings) -> Identity | None:
    """What these settings say of the caller; None without TLS."""
    files = settings.tls_files
    return None if files is None else Identity(files)


def run_command(target: str, service: str, work: Callable[[aio.Channel], Awaitable[T]]) -> T:
    """What `work` gives on a channel to the service; a refusal, or a service that is away, is one line
    on stderr and exit code 1."""

    async def connected() -> T:
        channel = command_channel(target, service)
        try:
            return await work(channel)
        finally:
            await channel.close()

    try:
        return asyncio.run(connected())
    except aio.AioRpcError as error:
        away = f"{error.code().name} from {target}: {error.details()}"
        stop_command(str(refused_from_rpc(error) or away))


def stop_command(text: str) -> NoReturn:
    """One line on stderr and exit code 1."""
    typer.echo(text, err=True)
    raise typer.Exit(1) from None
