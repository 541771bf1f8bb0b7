"""The life of an order in pages: each moment on one of them, from the newest back, however many there are."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc import aio

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_order.timeline import PAGE_MAX
from tests.order.harness import OrderHarness
from tests.order.test_refunds import delivered

MANY = 3_000
AT_ONCE = 250  # that share a moment, as those of a transaction do
# A million milliseconds later than any, so that no number is there twice.
MORE = """
    INSERT INTO event (event_id, subject, key, tag, text, body, create_time)
    SELECT (SELECT max(event_id) FROM event) + (1000000::bigint << 22) + g, 'shoudan.events.order.order.x',
        CAST(:key AS text), 'x', g::text, '', shoudan_now() + (g / :at_once) * interval '1 second'
    FROM generate_series(1, :many) g
"""


async def lived(harness: OrderHarness, **asked: Any) -> Any:
    return await harness.orders.GetLifecycle(pb.GetLifecycleRequest(**asked))


async def with_events(harness: OrderHarness, many: int) -> int:
    order_id = (await delivered(harness)).state.order_id  # nothing is added to it any more
    await harness.sql(MORE, key=str(order_id), at_once=AT_ONCE, many=many)
    return order_id


@pytest.mark.parametrize("size", [70, 1_000])
async def test_every_moment_is_on_one_page_though_many_are_of_one_moment(
    harness: OrderHarness, size: int
) -> None:
    order_id = await with_events(harness, MANY)
    whole = [one.text for one in (await lived(harness, order_id=order_id)).moments]
    assert len(whole) > MANY
    pages: list[list[str]] = []
    token = ""
    while token or not pages:
        page = await lived(harness, order_id=order_id, page_size=size, page_token=token)
        pages.append([one.text for one in page.moments])
        token = page.next_page_token
        assert len(pages) <= len(whole) // size + 1
    assert {len(page) for page in pages[:-1]} == {size}
    assert [one for page in reversed(pages) for one in page] == whole


async def test_a_page_is_never_longer_than_a_thousand(harness: OrderHarness) -> None:
    order_id = await with_events(harness, MANY)
    assert len((await lived(harness, order_id=order_id, page_size=2**31 - 1)).moments) == PAGE_MAX


@pytest.mark.parametrize("token", ["x", "1.", "1.x", "-1.1", "1.1.1", f"{'9' * 30}.1", "１.１"])
async def test_a_token_of_no_page_is_refused(harness: OrderHarness, token: str) -> None:
    order_id = await harness.order()
    with pytest.raises(aio.AioRpcError) as refused:
        await lived(harness, order_id=order_id, page_size=5, page_token=token)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
