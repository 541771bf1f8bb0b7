"""Promises of a survey of orders: counted by time along an index, judged by the newest of each part."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_order.store.surveys import parts_of
from tests.order.harness import OrderHarness
from tests.order.test_refunds import delivered


async def survey(harness: OrderHarness, start: datetime, end: datetime, **given: Any) -> list[Any]:
    request = pb.GetSurveyRequest(**given)
    request.start_time.FromDatetime(start)
    request.end_time.FromDatetime(end)
    return [line async for line in harness.orders.GetSurvey(request)]


async def test_a_survey_counts_each_order_once_in_its_part_and_says_how_they_stand(
    harness: OrderHarness,
) -> None:
    orders = [await delivered(harness) for _ in range(3)]
    made = orders[0].create_time.ToDatetime(UTC)
    start, end = made - timedelta(hours=1), made + timedelta(hours=1)
    lines = await survey(harness, start, end, parts=2)
    assert sum(one.count for one in lines) == 3
    assert [one.labels["start"] for one in lines] == sorted(one.labels["start"] for one in lines)
    assert (
        sum(one.looked_at for one in lines) == sum(sum(one.statuses.values()) for one in lines) == 3
    )
    assert sum(one.statuses[0] for one in lines) == 3
    took = [(ms, count) for one in lines for ms, count in one.took_ms.items()]
    assert sum(count for _, count in took) == 3
    assert all(0 < ms < 600_000 for ms, _ in took)
    channel = orders[0].state.channel_no
    own = await survey(harness, start, end, parts=2, channel_no=channel)
    assert sum(one.count for one in own) == 3
    assert await survey(harness, start, end, channel_no="another") == []
    assert await survey(harness, start - timedelta(days=9), start) == []


@pytest.mark.parametrize(("parts", "hours"), [(97, 1), (-1, 1), (4, 0), (4, -1)])
async def test_a_survey_of_no_period_or_of_too_many_parts_is_refused(
    harness: OrderHarness, parts: int, hours: int
) -> None:
    start = datetime(2026, 11, 30, tzinfo=UTC)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await survey(harness, start, start + timedelta(hours=hours), parts=parts)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_parts_leave_no_number_out_and_count_none_twice() -> None:
    start = datetime(2026, 11, 30, tzinfo=UTC)
    found = parts_of(start, start + timedelta(days=1), 48)
    assert [low for _, low, _ in found[1:]] == [high for _, _, high in found[:-1]]
    assert all(low < high for _, low, high in found)
