"""Promise: orders of every shard leave to one place, and are answered, counted and shown as before."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_order.store.retention import ORDERS
from tests.archived import archived_everywhere, may_go_everywhere
from tests.order.harness import Inbox
from tests.order.test_reports import Kind, report
from tests.order.test_shards import CHANNELS, SHARDS, ended, opened
from tests.poll import eventually
from tests.shard_maps import Maps, of_shards


async def test_orders_of_every_shard_leave_to_one_place_and_are_answered_as_before(
    new_map: Maps, inbox: Inbox, tmp_path: Path
) -> None:
    urls, file = await new_map("order", SHARDS)
    async with opened(urls, inbox, shards=file, archive=str(tmp_path)) as harness:
        news = [harness.new(channel_no=one) for one in CHANNELS]
        first = [one.order.order_id for one in await harness.create(*news)]
        before = await ended(harness, first)
        year = datetime.now(UTC).year
        whole = (
            datetime(year - 1, 12, 31, 16, tzinfo=UTC),
            datetime(year + 1, 12, 31, 16, tzinfo=UTC),
        )

        async def all_settled() -> bool:
            return await may_go_everywhere(urls, file, ORDERS) == len(CHANNELS)

        await eventually(all_settled, 20)
        lines = await report(harness, Kind.KIND_PROFIT, *whole)
        gone = await archived_everywhere(urls, file, "order", ORDERS, tmp_path)
        assert sum(gone) == len(CHANNELS)
        assert await of_shards(harness.process, "SELECT 1 FROM oms_order_info") == [[]] * SHARDS

        again = await harness.create(*news)
        assert [(one.existed, one.order.order_id) for one in again] == [(True, n) for n in first]
        assert await report(harness, Kind.KIND_PROFIT, *whole) == lines
        keys = [pb.OrderKey(channel_no=new.channel_no, request_no=new.request_no) for new in news]
        found = (await harness.orders.QueryOrders(pb.QueryOrdersRequest(keys=keys))).results
        assert [one.order.order_id for one in found] == first
        for one in before:
            shown = await harness.get(one.state.order_id)
            assert shown.archived.startswith("lot_")
            assert [part.delivery_id for part in shown.deliveries] == [
                part.delivery_id for part in one.deliveries
            ]
