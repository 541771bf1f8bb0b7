"""Promises about the key that opens the cards in a channel's notifies."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.proposals.refusals import ProposalRequired
from shoudan_kit.proposals.states import ProposalState
from shoudan_order.catalogue import admin
from tests.order.harness import LOOPBACK, Inbox, OrderHarness, running
from tests.order.test_two_persons import APPLY, MAKER, approve, proposals_of, propose


@pytest.fixture
async def strict(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], inbox: Inbox
) -> AsyncIterator[OrderHarness]:
    """An order service that needs two persons."""
    async with running(await new_database("order"), inbox, two_persons="on") as made:
        yield made


async def test_the_key_that_opens_cards_is_set_by_two(strict: OrderHarness) -> None:
    proposals, path = proposals_of(strict), f"/{APPLY}"
    await strict.apply()

    async def alone(channel_no: str, card_key: str) -> bool:
        channel = catalogue_pb.DownChannel(
            channel_no=channel_no,
            channel_name="测试",
            enabled=True,
            allowed_networks=LOOPBACK,
            card_key=card_key,
        )
        request = catalogue_pb.ApplyCatalogueRequest(
            catalogue=catalogue_pb.Catalogue(down_channels=[channel]), by="maker"
        )
        try:
            await proposals.check_alone(path, request, MAKER)
        except ProposalRequired:
            row = await propose(strict, APPLY, request)
            assert (await approve(strict, row)).status == ProposalState.APPLIED
            await admin.refresh(strict.context)
            return False
        return True

    keys = [base64.b64encode(bytes([at]) * 32).decode() for at in (1, 2)]
    assert not await alone("test", keys[0])
    assert await alone("test", keys[0]), "as it is"
    assert not await alone("test", keys[1])
    assert await alone("test", ""), "no cards go out any more"
    assert not await alone("another", keys[0])
