"""Promise: every real server, over mutual TLS, answers each caller as the printed matrix says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from grpc import aio

from shoudan_kit.rpc.client import connect
from shoudan_kit.rpc.rights import ROLES, SERVICES
from shoudan_kit.tls.authority import Authority
from tests.credentials import identity_of, metadata_as, metadata_of, tls_of, trusted_keys
from tests.kit.rpc.test_callers import MATRIX, REFUSED
from tests.test_every_field import started

SYSTEM: Final = "test-system"  # as tests.test_every_field names it to identity
SERVED: Final = ("order", "pay", "delivery", "erp_ingest", "identity", "finance")
# No message of any method: whoever is admitted is told so, and nothing is done.
UNREADABLE: Final = b"\xff\xff"
COMMAND: Final = "cli"
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Server:
    """One started service, and how each certificate reaches it."""

    target: str
    service: str
    authority: Authority

    async def codes(
        self, certificate: str, metadata: Metadata, paths: Mapping[str, Any] | list[str]
    ) -> dict[str, grpc.StatusCode]:
        """The code of each method for one caller."""
        identity = identity_of(self.authority, certificate)
        async with connect(self.target, self.service, identity, retry=False) as channel:
            return {path: await code_of(channel, path, metadata) for path in paths}


async def code_of(channel: aio.Channel, path: str, metadata: Metadata) -> grpc.StatusCode:
    try:
        await channel.unary_unary(path)(UNREADABLE, metadata=metadata, timeout=20)
    except aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority.init(tmp_path_factory.mktemp("callers") / "pki")
    for name in (*SERVICES, COMMAND):
        made.issue(name)
    return made


@pytest.fixture(params=SERVED)
async def server(
    request: pytest.FixtureRequest, new_database: Any, authority: Authority, tmp_path: Path
) -> AsyncIterator[Server]:
    url = (await new_database(request.param)).service
    known: dict[str, Any] = {"token_keys": [str(trusted_keys(tmp_path))]}
    if request.param != "identity":
        known["system_id"] = SYSTEM
    given = known | tls_of(authority, request.param)
    process = await started(request.param, url, callers="enforce", **given)
    yield Server(f"127.0.0.1:{process.port}", request.param, authority)
    await process.stop()


def as_callers() -> Iterator[tuple[str, str, Metadata]]:
    """Every column of the matrix, a role with the certificate of the command, and that alone."""
    for service in SERVICES:
        yield service, service, ()
    for role in ROLES:
        yield role, COMMAND, metadata_of(SYSTEM, role)
    yield "no role", COMMAND, metadata_as(SYSTEM, "1")
    yield "nobody", COMMAND, ()


async def test_every_method_of_a_real_server_answers_as_the_matrix_says(server: Server) -> None:
    found = await server.codes("order", (), MATRIX)
    served = [path for path, code in found.items() if code is not grpc.StatusCode.UNIMPLEMENTED]
    assert f"/shoudan.{server.service.removesuffix('_ingest')}.v1." in " ".join(served)
    assert len(served) > {"finance": 17}.get(server.service, 20)
    wrong: list[str] = []
    for caller, certificate, metadata in as_callers():
        for path, code in (await server.codes(certificate, metadata, served)).items():
            may = MATRIX[path]
            if (code not in REFUSED) != (may["anyone"] or may.get(caller, False)):
                wrong.append(f"{path} as {caller}: {code.name}")
            elif code not in REFUSED and code is not grpc.StatusCode.INVALID_ARGUMENT:
                wrong.append(f"{path} as {caller}: {code.name}, and nothing was to be done")
    assert wrong == []
