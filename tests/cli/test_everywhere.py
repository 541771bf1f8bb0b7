"""A system is ready when all its replicas know what it was given."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from grpc import aio

from shoudan.order.v1.catalogue_service_pb2 import GetCatalogueResponse
from shoudan.order.v1.catalogue_service_pb2_grpc import (
    CatalogueServiceServicer,
    add_CatalogueServiceServicer_to_server,
)
from shoudan_cli.clients import Failed
from shoudan_cli.everywhere import catalogue_everywhere


class Sells(CatalogueServiceServicer):
    """A replica that knows one version more at each look, until the newest."""

    def __init__(self, version: int, newest: int) -> None:
        self.version, self.newest = version, newest
        self.known: list[int] = []

    async def GetCatalogue(self, request, context):
        self.known.append(request.known_version)
        now = self.version
        self.version = min(self.newest, now + 1)
        return GetCatalogueResponse(version=now)


async def served(stack: AsyncExitStack, servicer: Sells) -> str:
    server = aio.server()
    add_CatalogueServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stack.push_async_callback(server.stop, None)
    return f"127.0.0.1:{port}"


async def test_all_replicas_sell_what_one_was_given():
    async with AsyncExitStack() as stack:
        first, slow = Sells(7, 7), Sells(5, 7)
        targets = [await served(stack, one) for one in (first, slow)]
        async with asyncio.timeout(30):
            await catalogue_everywhere(targets, None)
    assert slow.known == first.known == [0, 7, 7]  # and asks only for what is newer


async def test_a_replica_that_is_away_is_said():
    async with AsyncExitStack() as stack:
        there = await served(stack, Sells(1, 1))
        with pytest.raises(Failed, match="GetCatalogue"):
            await catalogue_everywhere([there, "127.0.0.1:1"], None)
