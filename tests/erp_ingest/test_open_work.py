"""Promises of what waits for a person at erp_ingest: pushes that could not be read."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc import aio
from sqlalchemy import text

from shoudan.core.v1 import work_service_pb2 as pb
from shoudan.core.v1 import work_service_pb2_grpc as stubs
from tests.erp_ingest.harness import CUSTOMER, ErpHarness, example


async def test_a_quarantined_push_waits_until_it_can_be_read(harness: ErpHarness) -> None:
    (refused,) = await harness.push(b"{")
    (stored,) = await harness.push(example("push_data.json"))
    # As a release left it that could not read it.
    async with harness.process.app.db.begin() as db:
        statement = (
            "UPDATE push SET status = 90, place = 'body', why = 'not_json' WHERE push_id = :n"
        )
        await db.execute(text(statement), {"n": stored.push_id})
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        work: Any = stubs.WorkServiceStub(channel)

        async def listed() -> list[pb.OpenWork]:
            return list((await work.ListOpenWork(pb.ListOpenWorkRequest())).items)

        def retry(push_id: int) -> Any:
            words = {"decision": "retry", "by": "li", "reason": "they mended it"}
            return work.DecideWork(pb.DecideWorkRequest(kind="push", key=str(push_id), **words))

        first, second = await listed()
        assert (first.kind, first.key) == ("push", str(refused.push_id))
        assert (first.state, list(first.decisions)) == ("quarantined", ["retry"])
        assert first.reason.endswith(": not_json")
        assert CUSTOMER in first.evidence
        assert second.key == str(stored.push_id)
        (source,) = harness.process.running.open_work
        assert (await source.count(10)).count == 2
        with pytest.raises(aio.AioRpcError) as no:
            await retry(refused.push_id)
        assert no.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert not (await retry(stored.push_id)).repeated
        assert (await retry(stored.push_id)).repeated
        assert [one.key for one in await listed()] == [first.key]
