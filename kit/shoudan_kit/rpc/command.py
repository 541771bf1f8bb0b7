"""How a command reaches a service: the certificate of the person's `cli` section, else plaintext."""

from __future__ import annotations

from grpc import aio

from shoudan_kit.config import TlsSettings
from shoudan_kit.rpc.client import connect
from shoudan_kit.tls.identity import Identity

SECTION = "cli"


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
