"""PostgreSQL over TLS, our side of it: what is trusted and refused, and that a renewed certificate is shown.

The packaged server has no OpenSSL, so a relay in front of it ends the TLS as a server with OpenSSL would:
PostgreSQL's SSLRequest, one byte as the answer, the handshake, and then the same protocol.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import text

from shoudan_kit.db.pool import Database, NotConnected
from shoudan_kit.embedded import Postgres
from shoudan_kit.embedded.postgres import SUPERUSER
from shoudan_kit.tls.authority import CA, CERT, CURRENT, KEY, Authority

SSL_REQUEST: Final = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
CHUNK: Final = 65_536


@dataclass
class Relay:
    """One listener in front of a PostgreSQL socket, and what its clients showed it."""

    behind: str  # the server's own URL
    port: int = 0
    versions: list[str] = field(default_factory=list[str])
    serials: list[str] = field(default_factory=list[str])
    plaintext: bytes = b""

    def url(self, host: str, **query: object) -> str:
        """The server by way of the relay."""
        login, _, where = self.behind.partition("@")
        given = "&".join(f"{name}={value}" for name, value in query.items())
        return f"{login}@{host}:{self.port}/{where.partition('/')[2]}?{given}"


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def relay(server: Postgres, tls: ssl.SSLContext | None) -> AsyncIterator[Relay]:
    """A server that speaks TLS with this context; without one it says that it has none."""
    made = Relay(server.tcp_url("postgres", SUPERUSER))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.readexactly(len(SSL_REQUEST))
            if first != SSL_REQUEST:
                made.plaintext += first
                return
            writer.write(b"N" if tls is None else b"S")
            if tls is None:
                made.plaintext += await reader.read(CHUNK)
                return
            await writer.start_tls(tls)
            shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
            made.versions.append(shown.version() or "")
            peer: Any = shown.getpeercert() or {}
            made.serials.append(str(peer.get("serialNumber", "")).lower())
            socket = str(server.socket_dir / f".s.PGSQL.{server.port}")
            behind = await asyncio.open_unix_connection(socket)
            await asyncio.gather(_pipe(reader, behind[1]), _pipe(behind[0], writer))
        except (OSError, EOFError):
            pass  # the client went away, as one does that trusts nothing here
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield made


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority.init(tmp_path / "pki")
    made.issue("postgres", ["localhost"])
    made.issue("order")
    return made


def file(authority: Authority, name: str, which: str) -> Path:
    return authority.folder / name / CURRENT / which


@pytest.fixture
async def front(authority: Authority, postgres: Postgres) -> AsyncIterator[Relay]:
    """The server as operations.md has it configured; a client's certificate is asked for, not demanded."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(file(authority, "postgres", CERT), file(authority, "postgres", KEY))
    context.load_verify_locations(file(authority, "postgres", CA))
    context.verify_mode = ssl.CERT_OPTIONAL
    async with relay(postgres, context) as made:
        yield made


async def asked(url: str) -> int:
    """What a statement answers, sent over a new connection."""
    database = Database(url)
    try:
        async with database.connect() as db:
            return (await db.execute(text("SELECT 40 + 2"))).scalar_one()
    finally:
        await database.dispose()


@pytest.mark.parametrize(
    ("host", "mode"), [("localhost", "verify-full"), ("127.0.0.1", "verify-ca")]
)
async def test_statements_travel_by_tls_to_a_server_that_shows_our_authority(
    front: Relay, authority: Authority, host: str, mode: str
) -> None:
    ours = file(authority, "postgres", CA)
    assert await asked(front.url(host, sslmode=mode, sslrootcert=ours)) == 42
    assert (front.versions, front.plaintext) == (["TLSv1.3"], b"")


@pytest.mark.parametrize(
    ("host", "mode", "by"),
    [
        ("127.0.0.1", "verify-full", "ours"),  # its certificate says localhost
        ("localhost", "verify-full", "another"),
        ("localhost", "verify-ca", "another"),
    ],
)
async def test_another_host_and_another_authority_are_refused(
    front: Relay, authority: Authority, tmp_path: Path, host: str, mode: str, by: str
) -> None:
    other = Authority.init(tmp_path / "other")
    other.issue("postgres", ["localhost"])
    trusted = file(authority if by == "ours" else other, "postgres", CA)
    with pytest.raises(NotConnected):
        await asked(front.url(host, sslmode=mode, sslrootcert=trusted))
    assert front.plaintext == b""


async def test_a_server_without_tls_learns_nothing(
    authority: Authority, postgres: Postgres
) -> None:
    ours = file(authority, "postgres", CA)
    async with relay(postgres, None) as bare:
        url = bare.url("localhost", sslmode="verify-full", sslrootcert=ours)
        with pytest.raises(NotConnected):
            await asked(url)
        assert bare.plaintext == b""


async def test_a_renewed_certificate_is_shown_by_the_next_connection(
    front: Relay, authority: Authority
) -> None:
    url = front.url(
        "localhost",
        sslmode="verify-full",
        sslrootcert=file(authority, "order", CA),
        sslcert=file(authority, "order", CERT),
        sslkey=file(authority, "order", KEY),
    )
    database = Database(url, pool_size=2)
    try:
        async with database.connect() as first:
            await first.execute(text("SELECT 1"))
            renewed = authority.issue("order")
            async with database.connect() as second:  # the first one is in use: a new connection
                await second.execute(text("SELECT 1"))
    finally:
        await database.dispose()
    before, after = front.serials
    assert after.lstrip("0") == renewed.serial
    assert before != after
