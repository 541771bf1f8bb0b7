"""Promises of what waits for a person at pay: found, told by metric, ended by decision or late answer."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import grpc
import pytest
from grpc import aio
from typer.testing import CliRunner, Result

from shoudan.core.v1 import work_service_pb2 as pb
from shoudan.core.v1 import work_service_pb2_grpc as stubs
from shoudan_cli.main import collected
from shoudan_kit import metrics
from shoudan_kit.proposals.proposals import Asked
from shoudan_kit.proposals.states import ProposalState
from shoudan_kit.proposals.store import Row
from shoudan_kit.proposals.work import METHOD
from shoudan_kit.rpc.caller import Caller
from shoudan_kit.rpc.rights import FINANCE_CHECKER
from shoudan_kit.tasks.open_work import gauge
from shoudan_pay.open_work import sources
from shoudan_pay.payserver.history import History
from tests.pay.payserver.harness import PayserverHarness, by_code, number
from tests.poll import eventually

WHY = "the bank's statement has it"


async def due(harness: PayserverHarness) -> None:
    """Whatever waits for its time is asked now."""
    await harness.sql(
        "UPDATE task SET next_execute_time = now() - interval '1 s' WHERE status = 20"
    )


async def row_of(harness: PayserverHarness, table: str, traction: str) -> Any:
    rows = await harness.sql(
        f"SELECT status, parked, parked_reason FROM {table} WHERE traction_no = :n",
        n=traction,
    )
    return tuple(rows[0])


async def becomes_parked(harness: PayserverHarness, table: str, traction: str) -> None:
    async def parked() -> bool:
        await due(harness)
        return bool((await row_of(harness, table, traction))[1])

    await eventually(parked)


async def taken(harness: PayserverHarness, path: str, wish: Any) -> str:
    """The traction number, once the component that lost so many calls does not rest."""
    told: list[Any] = []

    async def answered() -> bool:
        told[:] = [(await harness.post(path, wish))[1]]
        return "data" in told[0]

    await eventually(answered, 20, every_s=0.1)
    return str(told[0]["data"]["tractionNo"])


async def lost(harness: PayserverHarness, **given: Any) -> str:
    """A sync pay whose component took the money and did not answer, and cannot be asked."""
    mode = await harness.component_mode(query_url=None)
    traction = await taken(harness, "pay", by_code(mode, "1004", **given))
    await becomes_parked(harness, "pay_order", traction)
    return traction


async def lost_refund(harness: PayserverHarness) -> tuple[str, str]:
    """A refund that was made and not answered, and cannot be asked about; with its pay."""
    pay = await taken(harness, "pay", by_code(await harness.component_mode(query_url=None), "2003"))
    wish = {"payTractionNo": pay, "clientRefundNo": number("r"), "refundAmount": 20}
    traction = await taken(harness, "refund", wish)
    await becomes_parked(harness, "refund_order", traction)
    return pay, traction


async def call(harness: PayserverHarness, rpc: str, request: Any) -> Any:
    async with aio.insecure_channel(f"127.0.0.1:{harness.pay.port}") as channel:
        stub = stubs.WorkServiceStub(channel)
        return await getattr(stub, rpc)(request)


async def waiting(harness: PayserverHarness, kind: str, key: str) -> pb.OpenWork | None:
    found = await call(harness, "ListOpenWork", pb.ListOpenWorkRequest(kinds=[kind], key=key))
    return found.items[0] if found.items else None


async def decide(
    harness: PayserverHarness, kind: str, key: str, decision: str, reason: str = WHY
) -> Any:
    request = pb.DecideWorkRequest(kind=kind, key=key, decision=decision, by="li", reason=reason)
    return await call(harness, "DecideWork", request)


async def refused(
    harness: PayserverHarness, kind: str, key: str, decision: str, reason: str = WHY
) -> Any:
    with pytest.raises(aio.AioRpcError) as no:
        await decide(harness, kind, key, decision, reason)
    return no.value.code()


async def notify(harness: PayserverHarness, traction: str, ret: str) -> None:
    """Its component uses the address it was given."""
    (url,) = {b["notifyUrl"] for b in harness.component.bodies if b["tractionNo"] == traction}
    async with harness.http.post(url, json={"tractionNo": traction, "ret": ret}) as answer:
        assert (answer.status, await answer.text()) == (200, "true")


@pytest.mark.parametrize(("decision", "status"), [("success", "payed"), ("failed", "payFailed")])
async def test_a_pay_nobody_can_be_asked_about_waits_at_once_and_a_decision_ends_it(
    harness: PayserverHarness, decision: str, status: str
) -> None:
    traction = await lost(harness)
    item = await waiting(harness, "pay", traction)
    assert item is not None
    assert (item.state, item.amount_micros, list(item.decisions)) == (
        "paying",
        500_000,
        ["success", "failed"],
    )
    assert item.reason == "its component did not answer, and cannot be asked"
    assert "sent maybe" in item.evidence
    assert "paying" in item.evidence

    async def no_task() -> bool:
        return await harness.sql("SELECT 1 FROM task WHERE order_no = :n", n=traction) == []

    await eventually(no_task)
    await decide(harness, "pay", traction, decision)
    assert await row_of(harness, "pay_order", traction) == (status, False, "")
    assert await waiting(harness, "pay", traction) is None
    _, listed = await harness.get("payOrders", tractionNo=traction)
    assert listed["items"][0]["resultCode"] == f"decided by li: {WHY}"
    events = await harness.sql(
        "SELECT text FROM event WHERE key = :n AND subject = 'shoudan.events.pay.work.decided'",
        n=traction,
    )
    assert [row[0] for row in events] == [f"pay {traction}: {decision}, li: {WHY}"]
    # The same again is answered by what was decided; another one is refused.
    again = await decide(harness, "pay", traction, decision, "again")
    assert (again.repeated, again.decision, again.by, again.reason) == (True, decision, "li", WHY)
    other = {"success": "failed", "failed": "success"}[decision]
    assert await refused(harness, "pay", traction, other) == grpc.StatusCode.FAILED_PRECONDITION


async def test_what_no_question_ends_waits_for_a_person_and_is_asked_on(
    harness: PayserverHarness,
) -> None:
    mode = await harness.component_mode(query_url=f"{harness.component.url}/nothing")
    _, paid = await harness.post("pay", by_code(mode, "1004"))
    traction = paid["data"]["tractionNo"]
    assert await waiting(harness, "pay", traction) is None
    await harness.sql(
        "UPDATE pay_order SET expire_time = now() - interval '1 s' WHERE traction_no = :n",
        n=traction,
    )
    await becomes_parked(harness, "pay_order", traction)
    item = await waiting(harness, "pay", traction)
    assert item is not None
    assert item.reason == "its component did not answer, and tells no end when it is asked"
    assert len(await harness.sql("SELECT 1 FROM task WHERE order_no = :n", n=traction)) == 1
    await harness.sql(
        "UPDATE pay_mode SET query_url = :url WHERE uuid = :uuid",
        url=f"{harness.component.url}/query",
        uuid=mode.uuid,
    )

    async def ended() -> bool:
        await due(harness)
        return tuple(await row_of(harness, "pay_order", traction)) == ("payed", False, "")

    await eventually(ended)
    assert await waiting(harness, "pay", traction) is None


async def test_a_refund_no_question_ends_waits_after_a_day(harness: PayserverHarness) -> None:
    mode = await harness.component_mode(query_url=f"{harness.component.url}/nothing")
    _, paid = await harness.post("pay", by_code(mode, "2003"))
    wish = {"payTractionNo": paid["data"]["tractionNo"], "clientRefundNo": number("r")}
    _, back = await harness.post("refund", wish)
    traction = back["data"]["tractionNo"]
    await due(harness)
    assert await waiting(harness, "refund", traction) is None
    await harness.sql(
        "UPDATE refund_order SET start_time = now() - interval '25 hours' WHERE traction_no = :n",
        n=traction,
    )
    await becomes_parked(harness, "refund_order", traction)
    await decide(harness, "refund", traction, "success")
    assert await row_of(harness, "refund_order", traction) == ("refunded", False, "")
    assert await harness.sql("SELECT 1 FROM task WHERE order_no = :n", n=traction) == []


@pytest.mark.parametrize(("ret", "status"), [("success", "payed"), ("failed", "payFailed")])
async def test_a_component_may_answer_late_by_the_address_it_was_given(
    harness: PayserverHarness, ret: str, status: str
) -> None:
    traction = await lost(harness)
    await notify(harness, traction, ret)
    assert await row_of(harness, "pay_order", traction) == (status, False, "")
    assert await waiting(harness, "pay", traction) is None
    _, refund = await lost_refund(harness)
    await notify(harness, refund, ret)
    ended = {"success": "refunded", "failed": "refundFailed"}[ret]
    assert await row_of(harness, "refund_order", refund) == (ended, False, "")


@pytest.mark.parametrize(
    ("decision", "status", "pay_status"),
    [("success", "refunded", "partRefunded"), ("failed", "refundFailed", "payed")],
)
async def test_a_refund_nobody_can_be_asked_about_waits_and_a_decision_ends_it(
    harness: PayserverHarness, decision: str, status: str, pay_status: str
) -> None:
    pay, traction = await lost_refund(harness)
    item = await waiting(harness, "refund", traction)
    assert item is not None
    assert (item.state, item.amount_micros) == ("refunding", 200_000)
    await decide(harness, "refund", traction, decision)
    assert await row_of(harness, "refund_order", traction) == (status, False, "")
    assert (await row_of(harness, "pay_order", pay))[0] == pay_status
    assert await waiting(harness, "refund", traction) is None


async def test_a_contradicted_end_waits_with_its_evidence_and_may_stay(
    harness: PayserverHarness,
) -> None:
    _, paid = await harness.post("pay", by_code(await harness.component_mode(), "0000"))
    traction = paid["data"]["tractionNo"]
    await notify(harness, traction, "failed")
    item = await waiting(harness, "pay", traction)
    assert item is not None
    assert (item.state, item.reason) == ("payed", "is payed, now reported as failed")
    assert "conflict:failed" in item.evidence
    assert list(item.decisions) == ["keep", "failed"]
    assert await refused(harness, "pay", traction, "success") == grpc.StatusCode.INVALID_ARGUMENT
    await decide(harness, "pay", traction, "keep")
    assert await row_of(harness, "pay_order", traction) == ("payed", False, "")
    assert await waiting(harness, "pay", traction) is None


@pytest.mark.parametrize(
    ("code", "told", "decision", "status"),
    [("0000", "failed", "failed", "payFailed"), ("1001", "success", "success", "payed")],
)
async def test_a_contradicted_pay_takes_its_other_end_once_by_a_decision(
    harness: PayserverHarness, code: str, told: str, decision: str, status: str
) -> None:
    mode = await harness.component_mode()
    await harness.post("pay", by_code(mode, code, clientPayNo=(client := number())))
    rows = await harness.sql("SELECT traction_no FROM pay_order WHERE client_pay_no = :n", n=client)
    traction = rows[0][0]
    await notify(harness, traction, told)
    answers = await asyncio.gather(*[decide(harness, "pay", traction, decision) for _ in range(4)])
    assert [one.repeated for one in answers].count(False) >= 1
    assert await row_of(harness, "pay_order", traction) == (status, False, "")
    trades = await harness.sql(
        "SELECT status, result_code FROM trade_record WHERE traction_no = :n ORDER BY id",
        n=traction,
    )
    assert [row[0] for row in trades].count(status) == 1
    assert tuple(trades[-1]) == (status, f"decided by li: {WHY}")
    events = await harness.sql(
        "SELECT 1 FROM event WHERE key = :n AND subject = :s",
        n=traction,
        s=f"shoudan.events.pay.pay.{status}",
    )
    assert len(events) == 1
    if status == "payed":  # and may be given back like any other
        wish = {"payTractionNo": traction, "clientRefundNo": number("r")}
        assert (await harness.post("refund", wish))[0] == 200
        assert (await row_of(harness, "pay_order", traction))[0] == "refunded"


async def test_a_refund_that_was_made_after_all_is_booked_with_its_pay_and_taken_back_again(
    harness: PayserverHarness,
) -> None:
    _, paid = await harness.post("pay", by_code(await harness.component_mode(), "2001"))
    pay = paid["data"]["tractionNo"]
    wish = {"payTractionNo": pay, "clientRefundNo": number("r"), "refundAmount": 20}
    await harness.post("refund", wish)
    rows = await harness.sql(
        "SELECT traction_no FROM refund_order WHERE pay_traction_no = :n", n=pay
    )
    traction = rows[0][0]

    async def given_back() -> tuple[str, int]:
        rows = await harness.sql(
            "SELECT status, refunded_micros FROM pay_order WHERE traction_no = :n", n=pay
        )
        return rows[0][0], rows[0][1]

    await notify(harness, traction, "success")
    item = await waiting(harness, "refund", traction)
    assert item is not None
    assert list(item.decisions) == ["keep", "success"]
    await decide(harness, "refund", traction, "success")
    assert (await decide(harness, "refund", traction, "success")).repeated
    assert await row_of(harness, "refund_order", traction) == ("refunded", False, "")
    assert await given_back() == ("partRefunded", 200_000)
    await notify(harness, traction, "failed")
    await decide(harness, "refund", traction, "failed")
    assert await row_of(harness, "refund_order", traction) == ("refundFailed", False, "")
    assert await given_back() == ("payed", 0)


async def test_a_failed_refund_that_is_now_told_to_have_succeeded_counts_until_it_is_decided(
    harness: PayserverHarness,
) -> None:
    _, paid = await harness.post("pay", by_code(await harness.component_mode(), "2001"))
    pay = paid["data"]["tractionNo"]
    wish = {"payTractionNo": pay, "clientRefundNo": number("r")}
    assert (await harness.post("refund", wish))[0] == 500
    rows = await harness.sql(
        "SELECT traction_no FROM refund_order WHERE pay_traction_no = :n", n=pay
    )
    traction = rows[0][0]
    await notify(harness, traction, "success")
    item = await waiting(harness, "refund", traction)
    assert item is not None
    assert item.reason == "is refundFailed, now reported as success"
    status, no = await harness.post("refund", wish | {"clientRefundNo": number("r")})
    assert (status, "refundAmount exceed payAmount" in no["message"]) == (500, True)
    await decide(harness, "refund", traction, "keep")
    status, no = await harness.post("refund", wish | {"clientRefundNo": number("r")})
    assert "refund Error" in no["message"]  # asked again, and failed again as this component does


async def test_two_decisions_of_one_item_are_one(harness: PayserverHarness) -> None:
    traction = await lost(harness)

    async def one(decision: str) -> Any:
        try:
            await decide(harness, "pay", traction, decision)
        except aio.AioRpcError as no:
            return no.code()
        return None

    answers = await asyncio.gather(*[one("success") for _ in range(8)])
    assert set(answers) == {None}
    trades = await harness.sql(
        "SELECT status FROM trade_record WHERE traction_no = :n ORDER BY id", n=traction
    )
    assert [row[0] for row in trades] == ["paying", "payed"]


async def test_a_decision_without_a_reason_or_of_nothing_is_refused(
    harness: PayserverHarness,
) -> None:
    traction = await lost(harness)
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert await refused(harness, "pay", traction, "success", "") == invalid
    assert await refused(harness, "pay", traction, "keep") == invalid
    assert await refused(harness, "nothing", traction, "success") == invalid
    for key in ("", "1", "x" * 65, "号", "9" * 30):
        for kind in ("pay", "refund", "ums_refund", "notice"):
            assert await refused(harness, kind, key, "success") == grpc.StatusCode.NOT_FOUND
    assert (await row_of(harness, "pay_order", traction))[:2] == ("paying", True)
    await decide(harness, "pay", traction, "failed")


async def test_everything_open_is_paged_oldest_first(harness: PayserverHarness) -> None:
    numbers = [await lost(harness) for _ in range(3)]
    _, refund = await lost_refund(harness)
    found: list[tuple[str, str]] = []
    token = ""
    for _ in range(100):
        request = pb.ListOpenWorkRequest(page_size=1, page_token=token)
        page = await call(harness, "ListOpenWork", request)
        found += [(item.kind, item.key) for item in page.items]
        token = page.next_page_token
        if not token:
            break
    mine = [key for kind, key in found if kind == "pay" and key in numbers]
    assert mine == sorted(numbers)
    assert ("refund", refund) in found
    assert len(set(found)) == len(found)


async def test_what_waits_is_told_by_metric(harness: PayserverHarness) -> None:
    def figure(name: str) -> float:
        (found,) = re.findall(
            rf'^{name}{{kind="pay"}} (\S+)$', metrics.exposition().decode(), re.MULTILINE
        )
        return float(found)

    app = harness.pay.app
    kinds = sources(app, History())
    await gauge(kinds, app.clock)
    before = figure("shoudan_open_work")
    traction = await lost(harness)
    await harness.sql(
        "UPDATE pay_order SET parked_time = now() - interval '1 hour' WHERE traction_no = :n",
        n=traction,
    )
    await gauge(kinds, app.clock)
    assert figure("shoudan_open_work") == before + 1
    assert figure("shoudan_open_work_age_seconds") >= 3600
    await decide(harness, "pay", traction, "failed")
    await gauge(kinds, app.clock)
    assert figure("shoudan_open_work") == before


async def test_an_operator_lists_shows_and_decides(
    harness: PayserverHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOUDAN_CLI_PAY_TARGET", f"127.0.0.1:{harness.pay.port}")
    for other in ("ORDER", "DELIVERY", "ERP_INGEST"):
        monkeypatch.setenv(f"SHOUDAN_CLI_{other}_TARGET", "127.0.0.1:1")

    async def shoudan(*argv: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, collected(), ["work", *argv])

    traction = await lost(harness)
    listed = await shoudan("ls", "--kind", "pay", "--json")
    # The order service is away, so the list is not whole, and says so.
    assert (listed.exit_code, "not whole" in listed.stderr) == (1, True)
    rows = [json.loads(line) for line in listed.stdout.splitlines() if line[0] == "{"]
    (row,) = [one for one in rows if one.get("key") == traction]
    assert (row["kind"], row["state"], row["amount"]) == ("pay", "paying", "0.5")
    shown = await shoudan("show", "pay", traction)
    assert shown.exit_code == 0
    assert f"pay {traction}  paying  0.5 元" in shown.stdout
    assert "decide: success, failed" in shown.stdout
    done = await shoudan("decide", "pay", traction, "success", "--reason", WHY)
    assert done.exit_code == 0
    assert f"pay {traction}: success\n" in done.stdout
    assert (await row_of(harness, "pay_order", traction))[0] == "payed"
    again = await shoudan("decide", "pay", traction, "success", "--reason", WHY)
    assert (again.exit_code, "success before, by " in again.stdout) == (0, True)
    shown = await shoudan("show", "pay", traction)
    assert (shown.exit_code, f"no pay waits under {traction}" in shown.stderr) == (1, True)


async def test_a_decision_over_money_is_proposed_by_one_and_approved_by_another(
    harness: PayserverHarness,
) -> None:
    proposals = harness.pay.proposals
    assert proposals is not None
    maker, checker = (
        Caller("operator", one, frozenset({FINANCE_CHECKER}), one) for one in ("mo", "cy")
    )

    async def proposed(traction: str) -> Row:
        request = pb.DecideWorkRequest(kind="pay", key=traction, decision="success", reason=WHY)
        asked = Asked(METHOD, request.SerializeToString(), WHY, "", traction)
        return (await proposals.propose(maker, asked))[0]

    traction = await lost(harness)
    row = await proposed(traction)
    assert await waiting(harness, "pay", traction) is not None
    assert row.amount_micros
    done, _ = await proposals.approve(checker, row.proposal_id, "")
    assert (done.status, done.result) == (ProposalState.APPLIED, row.dry_run)
    assert await waiting(harness, "pay", traction) is None
    # Decided meanwhile, the proposal has failed.
    traction = await lost(harness)
    row = await proposed(traction)
    await decide(harness, "pay", traction, "failed")
    done, _ = await proposals.approve(checker, row.proposal_id, "")
    assert (done.status, "nothing waits" in done.refusal) == (ProposalState.FAILED, True)
