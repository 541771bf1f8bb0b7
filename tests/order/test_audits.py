"""Promises of audits and retries: a person's word ends what nobody knows, once, and is recorded."""

from __future__ import annotations

import asyncio
import csv
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from sqlalchemy import text
from typer.testing import CliRunner

from shoudan.order.v1 import audit_service_pb2 as pb
from shoudan.order.v1 import audit_service_pb2_grpc as stubs
from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_order import commands, kinds, order_words, report_commands
from tests.order.harness import YUAN, OrderHarness
from tests.order.test_refunds import MANDATORY, ask, delivered, ends, returns_end
from tests.order.test_trouble import time_out
from tests.order.test_upstream_bugs import split_in_two
from tests.poll import eventually


@pytest.fixture
async def audits(harness: OrderHarness) -> Any:
    """The audit calls of the harness's service."""
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        yield stubs.AuditServiceStub(channel)


async def waiting(audits: Any) -> list[pb.Audit]:
    """What waits."""
    return list((await audits.ListAudits(pb.ListAuditsRequest())).audits)


async def unknown(harness: OrderHarness, audits: Any) -> pb.Audit:
    """An audit of a delivery nobody knows about."""
    harness.delivery.script = lambda item: None
    order_id = await harness.order()

    async def sent() -> bool:
        return bool(harness.delivery.sent)

    await eventually(sent)
    await time_out(harness, order_id)

    async def asked() -> bool:
        return bool(await waiting(audits))

    await eventually(asked)
    return (await waiting(audits))[0]


@pytest.mark.parametrize(("decision", "status"), [(0, 0), (90, 90)])
async def test_a_person_ends_an_unknown_delivery(
    harness: OrderHarness, audits: Any, decision: int, status: int
) -> None:
    audit = await unknown(harness, audits)
    unsaid = pb.DecideAuditRequest(audit_id=audit.audit_id, by="finance", reason="forgot to say it")
    with pytest.raises(grpc.RpcError) as forgotten:
        await audits.DecideAudit(unsaid)
    assert (said := refused_from_rpc(forgotten.value)) is not None
    assert said.reason == "ERROR_REASON_FIELD_INVALID"
    request = pb.DecideAuditRequest(
        audit_id=audit.audit_id, status=decision, by="finance", reason="asked the supplier"
    )
    await audits.DecideAudit(request)
    order = await harness.get(audit.order_id)
    assert (order.state.status, order.parked_reason) == (status, "")
    shown = list(order_words.lines(order))
    assert any(line.startswith("  delivery_status: ") for line in shown)
    assert [line for line in shown if order_words.NOT_SET in line] == [], "each status is set"
    assert await waiting(audits) == []
    with pytest.raises(grpc.RpcError) as again:
        await audits.DecideAudit(request)
    refused = refused_from_rpc(again.value)
    assert refused is not None
    assert refused.reason == "ERROR_REASON_AUDIT_REFUSED"
    async with harness.process.app.db.connect() as db:
        rows = await db.execute(
            text("SELECT operator, detail FROM oms_operation WHERE operation = 'audit.decide'")
        )
        assert [tuple(row) for row in rows] == [("finance", {"reason": "asked the supplier"})]


async def test_bug_06_a_false_success_takes_the_suppliers_money_back(
    harness: OrderHarness, audits: Any
) -> None:
    order = await delivered(harness)
    asked = await audits.RequestAudit(
        pb.RequestAuditRequest(
            type=pb.AUDIT_TYPE_FALSE_SUCCESS,
            id=order.deliveries[0].delivery_id,
            by="ops",
            reason="the card is empty",
        )
    )
    await audits.DecideAudit(
        pb.DecideAuditRequest(audit_id=asked.audit.audit_id, status=0, by="ops", reason="yes")
    )

    async def back() -> bool:
        return harness.ledger.of("up_channel", "ycup") == 0

    await eventually(back)
    after = await harness.get(order.state.order_id)
    assert (after.state.status, after.profit_micros) == (0, 177_100_000)


async def test_dead_notifies_are_listed_and_sent_again_once(
    harness: OrderHarness, audits: Any
) -> None:
    harness.inbox.answer = lambda told: (500, "no")
    harness.delivery.script = lambda item: None  # its notify is not tried before the next lines
    order_id = await harness.order(notify_url=harness.inbox.url)
    await eventually(lambda: bool(harness.delivery.sent))
    await harness.sql("UPDATE oms_notify_info SET max_count = 1")
    number = int(harness.delivery.sent[0].key.coop_order_id)
    await harness.report(order_pb.DeliveryResult(id=number, succeeded=True))

    async def dead() -> list[Any]:
        answer = await audits.ListDeadNotifies(pb.ListDeadNotifiesRequest(channel_no="test"))
        return list(answer.notifies)

    await eventually(dead)
    assert [n.order_id for n in await dead()] == [order_id]
    harness.inbox.answer = lambda told: (200, '{"data":"Success"}')
    request = pb.ResendNotifiesRequest(channel_no="test", by="ops")
    assert (await audits.ResendNotifies(request)).count == 1
    assert (await audits.ResendNotifies(request)).count == 0

    async def told() -> bool:
        return (await harness.get(order_id)).notify_status == 0

    await eventually(told)


async def test_a_report_equals_the_orders(harness: OrderHarness, audits: Any) -> None:
    for _ in range(2):
        await delivered(harness)
    start, end = Timestamp(), Timestamp()
    start.FromSeconds(0)
    end.FromSeconds(4_000_000_000)
    request = pb.ReportRequest(
        kind=pb.ReportRequest.KIND_DOWN_CHANNEL, start_time=start, end_time=end
    )
    lines = [line async for line in audits.Report(request)]
    assert [dict(line.labels) for line in lines] == [{"down_channel_no": "test"}]
    assert lines[0].sums_micros["profit_micros"] == 2 * 20_100_000
    request.kind = pb.ReportRequest.KIND_UP_CHANNEL
    lines = [line async for line in audits.Report(request)]
    assert lines[0].sums_micros["cost_amount_micros"] == 2 * 160 * YUAN
    request.kind = pb.ReportRequest.KIND_PROFIT
    assert [line.count async for line in audits.Report(request)] == [2]


async def test_a_step_is_retried_only_when_it_is_due(harness: OrderHarness, audits: Any) -> None:
    order = await delivered(harness)
    request = pb.RetryStepRequest(
        step=pb.RetryStepRequest.STEP_UP_PAY,
        id=order.deliveries[0].delivery_id,
        by="ops",
        reason="to be sure",
    )
    assert (await audits.RetryStep(request)).task_id == 0


async def test_reports_are_written_as_csv(harness: OrderHarness, tmp_path: Path) -> None:
    await delivered(harness)
    today = datetime.now(UTC).astimezone(timezone(timedelta(hours=8))).date().isoformat()
    target = f"127.0.0.1:{harness.process.port}"
    found: dict[str, list[dict[str, str]]] = {}
    for kind in ("profit", "up", "down"):
        out = tmp_path / f"{kind}.csv"
        argv = [kind, "--from", today, "--to", today, "--csv", str(out), "--target", target]
        result = await asyncio.to_thread(CliRunner().invoke, report_commands.app, argv)
        assert result.exit_code == 0, result.output
        found[kind] = list(csv.DictReader(out.read_text("utf-8").splitlines()))
    argv = [*argv[:-4], "--csv", str(tmp_path / "marked.csv"), "--bom", *argv[-2:]]
    assert (await asyncio.to_thread(CliRunner().invoke, report_commands.app, argv)).exit_code == 0
    assert (tmp_path / "marked.csv").read_bytes() == b"\xef\xbb\xbf" + out.read_bytes()
    (profit,), (up,), (down,) = found.values()
    assert (profit["day"], profit["line_id"], profit["count"]) == (today, "1", "1")
    assert profit["profit"] == down["profit"] == "20.1"
    assert (up["up_channel_no"], up["cost_amount"]) == ("ycup", "160")


async def test_a_report_of_days_without_orders_is_empty(
    harness: OrderHarness, tmp_path: Path
) -> None:
    out = tmp_path / "none.csv"
    argv = ["profit", "--from", "2020-01-01", "--to", "2020-12-31", "--csv", str(out)]
    argv += ["--target", f"127.0.0.1:{harness.process.port}"]
    result = await asyncio.to_thread(CliRunner().invoke, report_commands.app, argv)
    assert result.exit_code == 0, result.output
    assert out.read_text("utf-8") == ""


async def test_operators_pause_orders_and_send_notifies_again_from_the_command_line(
    harness: OrderHarness,
) -> None:
    order = await delivered(harness, notify_url=harness.inbox.url)
    await harness.forge(
        "oms_notify_info",
        "given_up = true, notify_status = 20, notify_count = 10, end_time = NULL",
    )
    target = ["--target", f"127.0.0.1:{harness.process.port}"]

    async def told(app: Any, *argv: str) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, app, [*argv, *target])
        assert result.exit_code == 0, result.output
        return result.output

    number = str(order.state.order_id)
    assert "nothing changed" in await told(commands.order, "pause", number, "--reason", "fraud?")
    assert "10" in await told(commands.notify, "dead")
    assert "1 sent again" in await told(commands.notify, "resend", "--channel-no", "test")
    assert "0 sent again" in await told(commands.notify, "resend", "--channel-no", "test")


async def test_a_decision_ends_the_delivery_at_the_delivery_service_too(
    harness: OrderHarness, audits: Any
) -> None:
    audit = await unknown(harness, audits)
    request = pb.DecideAuditRequest(audit_id=audit.audit_id, status=90, by="ops", reason="no card")
    await audits.DecideAudit(request)
    assert harness.delivery.resolved == [(audit.delivery_id, "ops", "no card")]
    assert harness.delivery.ended[audit.delivery_id] is False


async def test_a_decision_against_what_the_supplier_has_told_meanwhile_is_refused(
    harness: OrderHarness, audits: Any
) -> None:
    audit = await unknown(harness, audits)
    harness.delivery.ended[audit.delivery_id] = True
    request = pb.DecideAuditRequest(audit_id=audit.audit_id, status=90, by="ops", reason="no card")
    with pytest.raises(grpc.RpcError) as error:
        await audits.DecideAudit(request)
    refused = refused_from_rpc(error.value)
    assert refused is not None
    assert refused.reason == "ERROR_REASON_AUDIT_REFUSED"
    assert (await harness.get(audit.order_id)).state.status == 20
    request.status = 0
    await audits.DecideAudit(request)
    assert (await harness.get(audit.order_id)).state.status == 0


async def test_what_becomes_known_by_itself_waits_for_nobody(
    harness: OrderHarness, audits: Any
) -> None:
    audit = await unknown(harness, audits)
    await harness.report(order_pb.DeliveryResult(id=audit.delivery_id, succeeded=True))
    order = await harness.get(audit.order_id)
    assert (order.state.status, order.parked_reason) == (0, "")
    closed = await audits.ListAudits(pb.ListAuditsRequest(statuses=[0]))
    assert [(a.audit_id, a.by) for a in closed.audits] == [(audit.audit_id, "system")]


async def test_a_half_returned_refund_waits_for_a_person_where_it_is_to(
    by_hand: OrderHarness,
) -> None:
    await split_in_two(by_hand)
    by_hand.delivery.script = returns_end(True, False)
    order = await delivered(by_hand)
    await ask(by_hand, order, "f1")

    async def asked() -> bool:
        return bool(await waiting(by_hand.audits))

    await eventually(asked)
    (audit,) = await waiting(by_hand.audits)
    assert audit.type == pb.AUDIT_TYPE_REFUND
    assert "returned in part" in (await by_hand.get(order.state.order_id)).parked_reason
    decision = pb.DecideAuditRequest(
        audit_id=audit.audit_id, status=0, by="ops", reason="not whole"
    )
    with pytest.raises(grpc.RpcError):
        await by_hand.audits.DecideAudit(decision)
    decision.status = 91
    await by_hand.audits.DecideAudit(decision)
    refund = await ends(by_hand, order, "f1", 91)
    assert refund.refund_sell_amount_micros == 90 * YUAN
    assert (await by_hand.get(order.state.order_id)).parked_reason == ""


async def test_a_repeated_payment_of_a_refunded_order_gives_nothing_back_twice(
    harness: OrderHarness,
) -> None:
    order = await delivered(harness)
    await ask(harness, order, "m1", kind=MANDATORY)
    await ends(harness, order, "m1", 0)
    number = order.state.order_id
    async with harness.process.app.work() as work:
        work.tasks.add(kinds.PAY, kinds.OrderStep(number), order_no=str(number))

    async def gone() -> bool:
        return not await harness.sql(
            "SELECT 1 FROM task WHERE name IN ('order.pay', 'order.refund')"
        )

    await eventually(gone)
    assert harness.ledger.of("down_channel", "test") == 0
    assert (await harness.get(number)).refund_status == 10


async def test_an_unknown_delivery_may_be_decided_before_its_orders_overtime(
    harness: OrderHarness, audits: Any
) -> None:
    harness.delivery.script = lambda item: None
    order_id = await harness.order()
    await eventually(lambda: bool(harness.delivery.sent))
    (part,) = (await harness.get(order_id)).deliveries
    asked = pb.RequestAuditRequest(
        type=pb.AUDIT_TYPE_DELIVERY, id=part.delivery_id, by="ops", reason="no codes came"
    )
    made = await audits.RequestAudit(asked)
    assert (await harness.get(order_id)).parked_reason == "no codes came"
    with pytest.raises(grpc.RpcError):
        await audits.RequestAudit(asked)
    await audits.DecideAudit(
        pb.DecideAuditRequest(audit_id=made.audit.audit_id, status=90, by="ops", reason="none")
    )
    order = await harness.get(order_id)
    assert (order.deliveries[0].delivery_status, order.parked_reason) == (90, "")
    assert harness.delivery.resolved == [(part.delivery_id, "ops", "none")]
    with pytest.raises(grpc.RpcError) as late:
        await audits.RequestAudit(asked)
    refused = refused_from_rpc(late.value)
    assert refused is not None
    assert refused.reason == "ERROR_REASON_AUDIT_REFUSED"
