"""Promises of what waits for a person at order: one list of every kind, and a decision that ends it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc import aio

from shoudan.core.v1 import work_service_pb2 as pb
from shoudan.core.v1 import work_service_pb2_grpc as stubs
from shoudan.order.v1 import audit_service_pb2 as audit_pb
from shoudan_kit import metrics
from shoudan_kit.tasks.open_work import gauge
from shoudan_order.open_work import sources
from tests.order.harness import YUAN, OrderHarness
from tests.order.test_audits import unknown, waiting
from tests.order.test_refunds import delivered
from tests.order.test_trouble import reaches, time_out
from tests.poll import eventually


@pytest.fixture
async def work(harness: OrderHarness) -> Any:
    """The open work of the harness's service."""
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        yield stubs.WorkServiceStub(channel)


async def listed(work: Any, *kinds: str) -> list[pb.OpenWork]:
    return list((await work.ListOpenWork(pb.ListOpenWorkRequest(kinds=kinds))).items)


async def decide(work: Any, item: pb.OpenWork, decision: str) -> Any:
    return await work.DecideWork(
        pb.DecideWorkRequest(
            kind=item.kind, key=item.key, decision=decision, by="li", reason="they say so"
        )
    )


async def test_an_unknown_delivery_waits_and_a_decision_ends_it(
    harness: OrderHarness, work: Any
) -> None:
    audit = await unknown(harness, harness.audits)
    (item,) = await listed(work)
    assert (item.kind, item.key) == ("delivery", str(audit.audit_id))
    assert (item.state, item.reason) == ("order delivering", audit.message)
    assert item.evidence == f"order {audit.order_id}; delivery {audit.delivery_id}"
    assert list(item.decisions) == ["success", "failed"]
    assert item.amount_micros > YUAN
    await gauge(sources(harness.context), harness.context.app.clock)
    assert 'shoudan_open_work{kind="delivery"} 1.0' in metrics.exposition().decode()
    await decide(work, item, "success")
    await reaches(harness, audit.order_id, 0)
    assert await listed(work) == []
    assert await waiting(harness.audits) == []
    again = await decide(work, item, "success")
    assert (again.repeated, again.by, again.reason) == (True, "li", "they say so")
    with pytest.raises(aio.AioRpcError) as no:
        await decide(work, item, "failed")
    assert no.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    await gauge(sources(harness.context), harness.context.app.clock)
    assert 'shoudan_open_work{kind="delivery"} 0.0' in metrics.exposition().decode()


async def test_an_order_parked_without_an_audit_waits_and_gets_one(
    harness: OrderHarness, work: Any
) -> None:
    number = await harness.order()
    await reaches(harness, number, 0)
    await harness.sql("UPDATE oms_order_info SET parked_reason = 'left over'")
    (item,) = await listed(work)
    assert (item.kind, item.key, item.reason) == ("parked_order", str(number), "left over")
    await decide(work, item, "audit")
    (item,) = await listed(work)
    assert (item.kind, item.evidence) == ("order", f"order {number}")
    await decide(work, item, "success")
    assert await listed(work) == []
    assert (await harness.get(number)).parked_reason == ""


async def test_a_given_up_notify_waits_and_is_sent_again(harness: OrderHarness, work: Any) -> None:
    await delivered(harness, notify_url=harness.inbox.url)
    await harness.forge("oms_notify_info", "given_up = true, notify_status = 20, end_time = NULL")
    (item,) = await listed(work, "notify", "delivery")
    assert item.kind == "notify"
    assert harness.inbox.url in item.reason
    await decide(work, item, "retry")

    async def gone() -> bool:
        return await listed(work) == []

    await eventually(gone)
    assert (await decide(work, item, "retry")).repeated


@pytest.mark.parametrize("decision", ["success", "failed"])
async def test_no_order_lets_go_of_an_unknown_delivery_before_its_end_is_decided(
    harness: OrderHarness, work: Any, decision: str
) -> None:
    """Why delivery needs no kind of its own: an order lists what it does not know until its end."""
    audit = await unknown(harness, harness.audits)
    who = {"by": "li", "reason": "enough of it"}
    asked = await harness.audits.RequestAudit(
        audit_pb.RequestAuditRequest(type=audit_pb.AUDIT_TYPE_ORDER, id=audit.order_id, **who)
    )
    for status in (90, 91):
        request = audit_pb.DecideAuditRequest(audit_id=asked.audit.audit_id, status=status, **who)
        with pytest.raises(aio.AioRpcError, match="AUDIT_REFUSED"):
            await harness.audits.DecideAudit(request)
    step = audit_pb.RetryStepRequest.STEP_BIND
    await harness.audits.RetryStep(audit_pb.RetryStepRequest(step=step, id=audit.order_id, **who))
    await time_out(harness, audit.order_id)
    (item,) = await listed(work, "delivery")
    assert (item.key, harness.delivery.resolved) == (str(audit.audit_id), [])
    await decide(work, item, decision)
    # The delivery is ended before the order is free: its suppliers are asked no more.
    assert [one[0] for one in harness.delivery.resolved] == [audit.delivery_id]
    assert await listed(work, "delivery") == []
