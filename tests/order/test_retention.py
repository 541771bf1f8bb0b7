"""Promises: what may still happen to an order, and what a person holds, keeps it in the database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from grpc import aio
from typer.testing import CliRunner

from shoudan.order.v1 import retention_service_pb2 as pb
from shoudan.order.v1 import retention_service_pb2_grpc as grpc_pb
from shoudan_cli.main import collected
from shoudan_kit.db.ended import GOES, before_of, counted, holds_of
from shoudan_kit.db.owner import as_owner
from shoudan_kit.embedded import Postgres
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_order import hold_commands
from shoudan_order.store.retention import ORDERS
from tests.audit_rows import last_change
from tests.order.harness import OrderHarness
from tests.order.test_refunds import ask, delivered, ends, returns_end
from tests.poll import eventually

LATER_S = 200 * 86_400


@pytest.fixture
async def retention(harness: OrderHarness) -> AsyncIterator[Any]:
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        yield grpc_pb.RetentionServiceStub(channel)


async def hold(retention: Any, hold_no: str = "CASE-1", **what: Any) -> None:
    facts = {"hold_no": hold_no, "reason": "a court asks", **what}
    await retention.SetHold(pb.SetHoldRequest(hold=pb.OrderHold(**facts), by="ops"))


async def stay(harness: OrderHarness, *, later_s: int = LATER_S) -> dict[str, int]:
    """How many orders stay, by reason, when so much time has passed since the last change."""
    async with as_owner(harness.owner_url) as db, db.begin():
        before = await before_of(db, timedelta(seconds=-later_s))
        return dict(await counted(db, ORDERS, before, await holds_of(db, ORDERS)))


# What makes each reason true of an order with a refund whose goods and money went back.
REASONS = {
    "parked": "UPDATE oms_order_info SET parked_reason = 'x'",
    "money": "UPDATE oms_order_info SET refund_status = 20",
    "delivery": "UPDATE oms_order_delivery SET up_payment_status = 30",
    "refund": "UPDATE oms_refund_info SET down_refund_status = 20",
    "return": "UPDATE oms_refund_up_return SET up_refund_status = 20",
    "notify": "UPDATE oms_notify_info SET notify_status = 20, given_up = true, end_time = NULL",
    "audit": """INSERT INTO oms_audit_info (audit_id, order_id, refund_id, delivery_id, change_type)
        SELECT 1, order_id, 0, 0, 3 FROM oms_order_info""",
    "task": """INSERT INTO task (task_id, name, queue_name, order_no, exclusive, msg_content, status,
        count, max_count, next_interval, delete_interval, create_time, next_execute_time, max_execute_time)
        SELECT 1, 'order.pay', 'q', CAST(order_id AS text), true, '{}', 90, 1, 1, 1, 1, now(), now(), now()
        FROM oms_order_info""",
    "cards": "UPDATE oms_product_line SET service_class = 20",
}
LIVES = ("oms_order_info", "oms_order_delivery", "oms_refund_info", "oms_refund_up_return",
         "oms_notify_info")  # fmt: skip


async def test_whatever_may_still_happen_to_an_order_keeps_it_and_is_named(
    harness: OrderHarness,
) -> None:
    harness.delivery.script = returns_end(True)
    order = await delivered(harness)
    await ask(harness, order, "f1")
    await ends(harness, order, "f1", 0)

    async def may_go() -> bool:
        return await stay(harness) == {GOES: 1}

    await eventually(may_go)
    assert {one.word for one in ORDERS.stays} == {*REASONS, "open", "changed"}
    async with as_owner(harness.owner_url) as db:
        for reason, change in REASONS.items():
            async with db.begin() as transaction:
                for table in LIVES:
                    disabled = f"ALTER TABLE {table} DISABLE TRIGGER {table}_lifecycle"
                    await db.exec_driver_sql(disabled)
                await db.exec_driver_sql(change)
                before = await before_of(db, timedelta(seconds=-LATER_S))
                assert await counted(db, ORDERS, before, ()) == {reason: 1}
                await transaction.rollback()


async def test_an_order_under_way_or_changed_since_stays(harness: OrderHarness) -> None:
    harness.delivery.script = lambda item: None
    await harness.order()
    assert await stay(harness) == {"open": 1}
    harness.delivery.script = lambda item: True
    await delivered(harness)
    async with as_owner(harness.owner_url) as db, db.begin():
        # A number of the past, as if it had been made long ago and refunded just now.
        before = await before_of(db, timedelta())
        await db.exec_driver_sql(
            "ALTER TABLE oms_order_info DISABLE TRIGGER oms_order_info_lifecycle"
        )
        await db.exec_driver_sql(
            "UPDATE oms_order_info SET order_id = order_id - 1000000000000, modify_time = now()"
            " + interval '1 d' WHERE order_status = 0"
        )
        assert await counted(db, ORDERS, before, ()) == {"changed": 1, "open": 1}


async def test_an_order_is_held_by_number_by_channel_and_by_period_until_the_hold_is_lifted(
    harness: OrderHarness, retention: Any
) -> None:
    order = await delivered(harness)
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    held = {"hold": 1}
    for what, found in (
        ({"order_id": order.state.order_id}, held),
        ({"order_id": order.state.order_id + 1}, {GOES: 1}),
        ({"channel_no": "test"}, held),
        ({"channel_no": "other"}, {GOES: 1}),
        ({"start_time": now - hour}, held),
        ({"start_time": now + hour}, {GOES: 1}),
        ({"start_time": now - hour, "end_time": now + hour}, held),
        ({"end_time": now - hour}, {GOES: 1}),
        ({"channel_no": "test", "end_time": now - hour}, {GOES: 1}),
    ):
        await hold(retention, **what)
        assert await stay(harness) == found, what
    await hold(retention, "CASE-2", order_id=order.state.order_id)
    listed = await retention.ListHolds(pb.ListHoldsRequest(page_size=1))
    assert ([one.hold_no for one in listed.holds], listed.next_page_token) == (["CASE-1"], "CASE-1")
    rest = await retention.ListHolds(pb.ListHoldsRequest(page_token=listed.next_page_token))
    assert [(one.hold_no, one.reason, one.made_by) for one in rest.holds] == [
        ("CASE-2", "a court asks", "ops")
    ]
    await retention.LiftHold(pb.LiftHoldRequest(hold_no="CASE-2", by="ops", reason="over"))
    assert await stay(harness) == {GOES: 1}
    recorded = await harness.sql(
        "SELECT operation, subject, detail ->> 'reason' FROM oms_operation ORDER BY operation_id DESC LIMIT 1"
    )
    assert [tuple(row) for row in recorded] == [("order.lift_hold", "CASE-2", "over")]
    before, after = await last_change(harness.process.app.db, "order_hold")
    assert (before["hold_no"], after["by"], after["reason"]) == ("CASE-2", "ops", "over")


async def test_a_hold_of_nothing_or_of_no_name_is_refused(retention: Any) -> None:
    now = datetime.now(UTC)
    for wrong in (
        {},
        {"order_id": -1},
        {"channel_no": "test", "hold_no": ""},
        {"channel_no": "test", "reason": ""},
        {"start_time": now, "end_time": now},
    ):
        with pytest.raises(aio.AioRpcError) as error:
            await hold(retention, **wrong)
        assert refused_from_rpc(error.value).reason == "ERROR_REASON_FIELD_INVALID", wrong
    with pytest.raises(aio.AioRpcError) as error:
        await retention.LiftHold(pb.LiftHoldRequest(hold_no="none", by="ops", reason="x"))
    assert refused_from_rpc(error.value).reason == "ERROR_REASON_FIELD_INVALID"


async def test_commands_set_and_lift_holds_and_count_what_may_go(
    harness: OrderHarness, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await delivered(harness)
    at = ["--target", f"127.0.0.1:{harness.process.port}"]
    monkeypatch.setenv("SHOUDAN_ORDER_OWNER_DATABASE_URL", harness.owner_url)
    monkeypatch.setenv(
        "SHOUDAN_ORDER_DATABASE_URL", harness.process.app.settings.database_url.reveal()
    )

    async def run(app: Any, *words: str) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, app, list(words))
        assert done.exit_code == 0, done.output
        return done.output

    number = str(order.state.order_id)
    await run(hold_commands.app, "set", "C-1", "--order", number, "--reason", "court", *at)
    assert number in await run(hold_commands.app, "list", *at)
    await harness.turn_clock(postgres, LATER_S)
    counted_by = await run(collected(), "db", "ended", "order", "--keep-days", "100")
    assert re.search(r"hold +│ +1 ", counted_by), counted_by
    await run(hold_commands.app, "lift", "C-1", "--reason", "over", *at)
    counted_by = await run(collected(), "db", "ended", "order", "--keep-days", "100")
    assert re.search(r"may go +│ +1 ", counted_by), counted_by
    refused = await asyncio.to_thread(
        CliRunner().invoke, collected(), ["db", "ended", "identity", "--keep-days", "100"]
    )
    assert (refused.exit_code, "no rows of this service" in refused.output) == (2, True)
