"""What each replica of a system must know before the system is said to be ready."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from shoudan.order.v1.catalogue_service_pb2 import GetCatalogueRequest
from shoudan.order.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from shoudan_cli.clients import Clients
from shoudan_kit.tls.identity import Identity

SERVICE: Final = "order"
LOOK_S: Final = 0.1


async def catalogue_everywhere(targets: Sequence[str], identity: Identity | None) -> None:
    """Wait until every replica of order sells what was applied at one: each looks for newer rows itself.

    `targets` are the replicas' own addresses. Raises Failed.
    """
    async with AsyncExitStack() as stack:
        replicas = [Clients({SERVICE: target}, identity=identity) for target in targets]
        for clients in replicas:
            stack.push_async_callback(clients.close)
        versions = [0]
        while True:
            request = GetCatalogueRequest(known_version=max(versions))
            asked = (
                clients.call(SERVICE, CatalogueServiceStub, "GetCatalogue", request)
                for clients in replicas
            )
            versions = [answer.version for answer in await asyncio.gather(*asked)]
            if len(set(versions)) == 1:
                return
            await asyncio.sleep(LOOK_S)
