"""What waits for a person about other platforms: refunds at ChinaUMS, notices to partners of Dingdang."""

from __future__ import annotations

from typing import Any, cast

import pytest
from grpc import aio

from shoudan.core.v1 import work_service_pb2 as work
from shoudan.core.v1 import work_service_pb2_grpc as stubs
from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan_fakes.chinaums import Script
from tests.pay.payserver.shop import number
from tests.pay.platforms.desk import Desk
from tests.poll import eventually

DESK = {"notice_count_max": 1}


async def call(desk: Desk, rpc: str, request: Any) -> Any:
    async with aio.insecure_channel(f"127.0.0.1:{desk.shop.pay.port}") as channel:
        return await getattr(stubs.WorkServiceStub(cast("Any", channel)), rpc)(request)


async def waiting(desk: Desk, kind: str, key: str) -> work.OpenWork | None:
    found = await call(desk, "ListOpenWork", work.ListOpenWorkRequest(kinds=[kind], key=key))
    return found.items[0] if found.items else None


async def decide(desk: Desk, item: work.OpenWork, decision: str) -> None:
    request = work.DecideWorkRequest(
        kind=item.kind, key=item.key, decision=decision, by="li", reason="by phone"
    )
    await call(desk, "DecideWork", request)


async def fail_tasks(desk: Desk, traction: str) -> None:
    """A day has passed: nothing asks any more."""
    await desk.shop.sql(
        "UPDATE task SET status = 90, delete_time = now() + interval '30 days'"
        " WHERE order_no = :n AND name = 'chinaums.ask'",
        n=traction,
    )


async def forgotten(desk: Desk, traction: str) -> work.OpenWork:
    """The item of a refund that is not asked about any more."""
    found: list[work.OpenWork] = []

    async def listed() -> bool:
        await fail_tasks(desk, traction)
        item = await waiting(desk, "ums_refund", traction)
        found.extend([item] if item is not None else [])
        return item is not None

    await eventually(listed)
    return found[-1]


@pytest.mark.parametrize(
    ("decision", "status", "theirs"),
    [("success", "refunded", "success"), ("failed", "refundFailed", "fail")],
)
async def test_a_refund_chinaums_is_not_asked_about_any_more_waits_and_ends_by_decision(
    desk: Desk, decision: str, status: str, theirs: str
) -> None:
    mode = await desk.union_pay()
    await desk.app(mode.merchant_uuid)
    desk.ums.script = Script(questions=1_000_000)
    refund = await desk.refund(await desk.paid(mode, payAmount=100))
    desk.ums.script = Script()
    traction = refund["tractionNo"]
    assert await waiting(desk, "ums_refund", traction) is None
    item = await forgotten(desk, traction)
    assert (item.amount_micros, item.state) == (1_000_000, "processing")
    assert list(item.decisions) == ["retry", "success", "failed"]
    await decide(desk, item, "retry")
    rows = await desk.shop.sql(
        "SELECT 1 FROM task WHERE order_no = :n AND name = 'chinaums.ask' AND status IN (20, 30)",
        n=traction,
    )
    assert len(rows) == 1
    assert await waiting(desk, "ums_refund", traction) is None
    item = await forgotten(desk, traction)
    await decide(desk, item, decision)
    assert await desk.status("refund_order", "traction_no", traction) == status
    assert await desk.status("ums_refund", "traction_no", traction) == theirs
    assert await waiting(desk, "ums_refund", traction) is None


async def test_a_given_up_notice_waits_and_is_sent_again_or_dropped(desk: Desk) -> None:
    mode = await desk.shop.component_mode()
    domain = number("d")
    nowhere = {"paid_url": "http://127.0.0.1:1/notify", "refunded_url": ""}
    await desk.domain(pb.ROLE_PLATFORM, mode.merchant_uuid, domain_id=domain, **nowhere)
    pay = await desk.paid(mode, payAmount=100)

    async def notice() -> tuple[str, str]:
        rows = await desk.shop.sql(
            "SELECT notice_id, status FROM dingdang_notice WHERE traction_no = :n",
            n=pay["tractionNo"],
        )
        return str(rows[0][0]), rows[0][1]

    async def given_up() -> bool:
        return (await notice())[1] == "given_up"

    for decision in ("retry", "drop"):
        await eventually(given_up)
        item = await waiting(desk, "notice", (await notice())[0])
        assert item is not None
        assert item.reason == "given up after 1 attempts"
        assert pay["tractionNo"] in item.evidence
        assert list(item.decisions) == ["retry", "drop"]
        await decide(desk, item, decision)
    assert (await notice())[1] == "dropped"
    assert await waiting(desk, "notice", item.key) is None
