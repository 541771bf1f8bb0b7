"""Promises of risk rules: exact whatever races, decided with the order, deny wins, shadow refuses nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from grpc import aio
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan.order.v1 import risk_service_pb2 as pb
from shoudan.order.v1 import risk_service_pb2_grpc as grpc_pb
from shoudan_kit import metrics
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_order import risk_commands
from shoudan_order.refusals import RiskLimit
from shoudan_order.risk import decisions, guard
from shoudan_order.risk.decisions import Candidate
from shoudan_order.store.risk import Count, Counted, Rule
from tests.order.harness import YUAN, OrderHarness
from tests.order.test_binding import down as sold
from tests.order.test_binding import draft, market, new
from tests.poll import eventually

PREFIX = "ERROR_REASON_RISK_"
SELL = 180 * YUAN


@pytest.fixture
async def risk(harness: OrderHarness) -> AsyncIterator[Any]:
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        yield grpc_pb.RiskServiceStub(channel)


async def rule(risk: Any, **changes: Any) -> None:
    facts: dict[str, Any] = {
        "rule_id": "r",
        "per": pb.RiskRule.PER_CHANNEL,
        "within": pb.RiskRule.WITHIN_DAY,
        "enabled": True,
    }
    await risk.SetRule(
        pb.SetRuleRequest(rule=pb.RiskRule(**(facts | changes)), by="ops", reason="test")
    )


async def reasons(harness: OrderHarness, *news: Any) -> list[str]:
    """What each was refused for; empty for one that was taken."""
    return [one.refusal.reason.removeprefix(PREFIX) for one in await harness.create(*news)]


def hits(rule_id: str, outcome: str) -> float:
    name = f'shoudan_orders_risk_hits_total{{outcome="{outcome}",rule="{rule_id}"}}'
    found = re.findall(rf"^{re.escape(name)} (\S+)$", metrics.exposition().decode(), re.MULTILINE)
    return float(found[0]) if found else 0.0


async def test_a_bound_is_exact_under_two_hundred_racing_orders(
    harness: OrderHarness, risk: Any
) -> None:
    await rule(risk, count_max=37)
    await rule(risk, rule_id="sum", amount_max_micros=30 * SELL)

    async def one() -> str:
        (result,) = await harness.create(harness.new())
        return result.refusal.reason.removeprefix(PREFIX)

    answers = await asyncio.gather(*(one() for _ in range(200)))
    assert sorted(set(answers)) == ["", "LIMIT"]
    assert answers.count("") == 30
    ((counted, amount),) = await harness.sql(
        "SELECT order_count, amount_micros FROM oms_risk_counter WHERE rule_id = 'r'"
    )
    assert (counted, amount) == (30, 30 * SELL)


async def test_one_batch_counts_its_own_orders_and_no_repeat(
    harness: OrderHarness, risk: Any
) -> None:
    before = await harness.order(request_no="before")
    await rule(risk, count_max=2)
    twice = harness.new()
    batch = [harness.new(request_no="before"), twice, twice, harness.new(), harness.new()]
    results = await harness.create(*batch)
    assert [one.refusal.reason.removeprefix(PREFIX) for one in results] == ["", "", "", "", "LIMIT"]
    assert results[0].order.order_id == before
    assert results[1].order.order_id == results[2].order.order_id
    assert await reasons(harness, twice, harness.new()) == ["", "LIMIT"]


async def test_a_refused_order_leaves_nothing_and_may_be_taken_later(
    harness: OrderHarness, risk: Any
) -> None:
    await rule(risk, count_max=1)
    await harness.order()
    late = harness.new(notify_url="http://127.0.0.1/x")
    assert await reasons(harness, late) == ["LIMIT"]
    count = "SELECT count(*) FROM oms_order_info WHERE request_no = :no"
    assert await harness.sql(count, no=late.request_no) == [(0,)]
    await rule(risk, count_max=2)
    assert await reasons(harness, late) == [""]


@pytest.mark.parametrize(
    ("per", "same", "other"),
    [
        (pb.RiskRule.PER_ACCOUNT, {}, {"recharge_account": "100011000000001"}),
        (
            pb.RiskRule.PER_ACCOUNT,
            {"recharge_account": " 100011000000000"},
            {"recharge_account": ""},
        ),
        (pb.RiskRule.PER_PRODUCT, {"recharge_account": "1"}, None),
        (pb.RiskRule.PER_CHANNEL, {"recharge_account": "1"}, None),
    ],
)
async def test_a_rule_counts_by_its_subject(
    harness: OrderHarness, risk: Any, per: Any, same: dict[str, Any], other: dict[str, Any] | None
) -> None:
    await rule(risk, per=per, count_max=1, within=pb.RiskRule.WITHIN_MONTH)
    assert await reasons(harness, harness.new()) == [""]
    assert await reasons(harness, harness.new(**same)) == ["LIMIT"]
    if other is not None:
        assert await reasons(harness, harness.new(**other)) == [""]


async def test_a_repeat_within_minutes_is_refused_or_asked_back(
    harness: OrderHarness, risk: Any
) -> None:
    repeat = {"per": pb.RiskRule.PER_ACCOUNT_FACE, "within": pb.RiskRule.WITHIN_SINCE_LAST}
    await rule(risk, minutes=10, confirmable=True, **repeat)
    (first,) = await harness.create(harness.new())
    assert first.HasField("order")
    (again,) = await harness.create(harness.new())
    assert (again.refusal.reason, dict(again.refusal.metadata)) == (
        f"{PREFIX}REPEATED",
        {"rule": "r", "minutes": "10"},
    )
    assert await reasons(harness, harness.new(confirm_repeat=True)) == [""]
    assert hits("r", "confirmed") >= 1
    await rule(risk, minutes=10, **repeat)
    assert await reasons(harness, harness.new(confirm_repeat=True)) == ["REPEATED"]
    await harness.sql("UPDATE oms_risk_counter SET last_time = last_time - interval '10 min'")
    assert await reasons(harness, harness.new()) == [""]


async def test_a_shadow_rule_refuses_nothing_and_counts_what_it_would(
    harness: OrderHarness, risk: Any
) -> None:
    before = hits("quiet", "shadow")
    await rule(risk, rule_id="quiet", count_max=1, shadow=True)
    assert await reasons(harness, harness.new(), harness.new(), harness.new()) == ["", "", ""]
    assert hits("quiet", "shadow") == before + 2


async def test_a_rule_of_another_channel_or_line_or_switched_off_refuses_nothing(
    harness: OrderHarness, risk: Any
) -> None:
    await rule(risk, count_max=1, channel_no="other")
    await rule(risk, rule_id="line", count_max=1, line_id=2)
    await rule(risk, rule_id="off", count_max=1, enabled=False)
    assert await reasons(harness, harness.new(), harness.new()) == ["", ""]


async def entry(risk: Any, account: str, **changes: Any) -> int:
    facts = {"recharge_account": account, "by": "ops", "reason": "stolen"} | changes
    return (await risk.SetEntry(pb.SetEntryRequest(**facts))).entry_id


async def test_a_blocked_account_is_refused_until_its_entry_ends(
    harness: OrderHarness, risk: Any
) -> None:
    number = await entry(risk, "100011000000000")
    assert await entry(risk, "100011000000000", reason="again") == number
    assert await reasons(harness, harness.new(), harness.new(recharge_account="1")) == [
        "BLOCKED",
        "",
    ]
    (listed,) = (await risk.ListEntries(pb.ListEntriesRequest())).entries
    assert (listed.entry_id, listed.account_tail, listed.reason) == (number, "0000", "again")
    ended = datetime.now(UTC) - timedelta(seconds=5)
    await entry(risk, "100011000000000", expire_time=ended)
    assert await reasons(harness, harness.new()) == [""]
    await entry(risk, "100011000000000", channel_no="other")
    assert await reasons(harness, harness.new()) == [""]
    await entry(risk, "100011000000000")
    await risk.RemoveEntry(pb.RemoveEntryRequest(entry_id=number, by="ops", reason="found"))
    assert await reasons(harness, harness.new()) == [""]
    with pytest.raises(grpc.RpcError) as gone:
        await risk.RemoveEntry(pb.RemoveEntryRequest(entry_id=number, by="ops", reason="found"))
    refused = refused_from_rpc(gone.value)
    assert refused is not None
    assert refused.reason == "ERROR_REASON_NOT_FOUND"


async def test_an_exempt_account_passes_the_rules_and_blocked_wins(
    harness: OrderHarness, risk: Any
) -> None:
    await rule(risk, per=pb.RiskRule.PER_ACCOUNT, count_max=1)
    await entry(risk, "100011000000000", exempt=True)
    assert await reasons(harness, harness.new(), harness.new()) == ["", ""]
    await entry(risk, "100011000000000")
    assert await reasons(harness, harness.new()) == ["BLOCKED"]


async def test_a_check_says_what_the_rules_say_and_counts_nothing(
    harness: OrderHarness, risk: Any
) -> None:
    await rule(risk, count_max=1)

    async def check() -> Any:
        asked = order_pb.CheckOrdersRequest(orders=[harness.new(request_no="")])
        return (await harness.orders.CheckOrders(asked)).results[0].check

    valid = order_pb.CheckOrdersResponse.VERDICT_VALID
    assert [(await check()).verdict for _ in range(3)] == [valid] * 3
    assert await reasons(harness, harness.new()) == [""]
    assert (await check()).cause.reason == f"{PREFIX}LIMIT"


async def test_a_removed_rule_is_gone_with_what_it_counted(
    harness: OrderHarness, risk: Any
) -> None:
    await rule(risk, count_max=1)
    await harness.order()
    await risk.RemoveRule(pb.RemoveRuleRequest(rule_id="r", by="ops", reason="too strict"))
    assert await reasons(harness, harness.new()) == [""]
    assert await harness.sql("SELECT count(*) FROM oms_risk_counter") == [(0,)]
    with pytest.raises(grpc.RpcError):
        await risk.RemoveRule(pb.RemoveRuleRequest(rule_id="r", by="ops", reason="again"))


async def test_without_a_rule_an_order_needs_no_statement_more(harness: OrderHarness) -> None:
    assert not guard.is_active(harness.context)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "neither count_max nor amount_max is given"),
        ({"per": 0, "count_max": 1}, "per is not"),
        ({"within": 0, "count_max": 1}, "within is not"),
        ({"within": pb.RiskRule.WITHIN_SINCE_LAST}, "minutes is not 1 to 10080"),
        ({"within": pb.RiskRule.WITHIN_SINCE_LAST, "minutes": 5, "count_max": 1}, "are for day"),
        ({"minutes": 5, "count_max": 1}, "minutes is for since_last"),
        ({"count_max": -1}, "0 to"),
        ({"rule_id": "", "count_max": 1}, "1 to 32 printable"),
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused(
    harness: OrderHarness, risk: Any, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        await rule(risk, **changes)
    given = refused_from_rpc(refused.value)
    assert given is not None
    assert given.reason == "ERROR_REASON_FIELD_INVALID"
    assert why in given.metadata["why"]


async def test_old_counters_are_forgotten_and_those_in_use_are_kept(
    harness: OrderHarness, risk: Any
) -> None:
    await rule(risk, count_max=9)
    await harness.order()
    await harness.sql(
        "INSERT INTO oms_risk_counter (rule_id, subject, period, last_time)"
        " VALUES ('r', 'x', '2020-01-01', shoudan_now() - interval '63 days')"
    )
    forgetting = asyncio.create_task(guard.forget_forever(harness.context))

    async def one_left() -> bool:
        return await harness.sql("SELECT count(*) FROM oms_risk_counter") == [(1,)]

    await eventually(one_left)
    forgetting.cancel()
    ((order_count,),) = await harness.sql("SELECT order_count FROM oms_risk_counter")
    assert order_count == 1


async def test_the_command_sets_lists_and_removes(harness: OrderHarness, risk: Any) -> None:
    at = ("--target", f"127.0.0.1:{harness.process.port}")

    async def run(*argv: str) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, risk_commands.app, [*argv, *at])
        assert done.exit_code == 0, done.output
        return done.output

    why = ("--reason", "test")
    await run("set", "daily", "--per", "account", "--within", "day", "--amount", "500", *why)
    await run(
        "set", "again", "--per", "account_face", "--within", "5", "--refuse", "--confirmable", *why
    )
    found = {one.rule_id: one for one in (await risk.ListRules(pb.ListRulesRequest())).rules}
    assert (found["daily"].amount_max_micros, found["daily"].shadow) == (500 * YUAN, True)
    assert (found["again"].minutes, found["again"].shadow) == (5, False)
    shown = await run("rules")
    assert "counts only" in shown
    number = (await run("block", "100011000000000", "--days", "3", *why)).split()[1]
    assert "…0000" in await run("list")
    await run("exempt", "2", *why)
    await run("lift", number, *why)
    await run("remove", "daily", *why)
    assert [one.rule_id for one in (await risk.ListRules(pb.ListRulesRequest())).rules] == ["again"]
    bad = await asyncio.to_thread(
        CliRunner().invoke,
        risk_commands.app,
        ["set", "x", "--per", "moon", "--within", "day", *why, *at],
    )
    assert bad.exit_code == 2


AMOUNTS = st.lists(st.integers(1, 10), max_size=30)


@given(AMOUNTS, st.integers(0, 12), st.integers(0, 40))
def test_what_is_let_through_is_what_one_by_one_lets_through(
    nums: list[int], count_max: int, units_max: int
) -> None:
    one = Rule("r", "channel", "day", 0, count_max, units_max * SELL, shadow=False)
    counted = Counted("r", b"s", "2026-11-30")
    catalogue = market([sold()], [])
    drafts = [
        draft(catalogue, new(num=num, amount_micros=num * 198 * YUAN), index)
        for index, num in enumerate(nums)
    ]
    candidates = [Candidate(new(), order, {"r": counted}) for order in drafts]
    verdict = decisions.decide({"r": one}, {counted: Count()}, candidates)
    taken, units = 0, 0
    for index, num in enumerate(nums):
        fits = (not count_max or taken < count_max) and (not units_max or units + num <= units_max)
        assert (index not in verdict.refused) == fits
        if fits:
            taken, units = taken + 1, units + num
        else:
            assert isinstance(verdict.refused[index], RiskLimit)


async def counter(harness: OrderHarness, rule_id: str) -> tuple[int, int, Any]:
    ((orders, amount, last),) = await harness.sql(
        "SELECT order_count, amount_micros, last_time FROM oms_risk_counter WHERE rule_id = :rule",
        rule=rule_id,
    )
    return orders, amount, last


async def test_a_batch_that_breaks_nothing_is_counted_with_its_orders(
    harness: OrderHarness, risk: Any
) -> None:
    await rule(risk, count_max=9)
    assert await reasons(harness, harness.new(), harness.new()) == ["", ""]
    assert not guard.decides_first(harness.context)
    assert (await counter(harness, "r"))[:2] == (2, 2 * SELL)


async def test_a_repeat_counts_nothing_and_is_no_last_order(
    harness: OrderHarness, risk: Any
) -> None:
    first = harness.new()
    await harness.create(first)
    repeat = {"per": pb.RiskRule.PER_ACCOUNT, "within": pb.RiskRule.WITHIN_SINCE_LAST}
    await rule(risk, minutes=10, **repeat)
    await rule(risk, rule_id="day", count_max=9)
    assert await reasons(harness, first, first) == ["", ""]
    assert await counter(harness, "r") == (0, 0, None)
    assert (await counter(harness, "day"))[:2] == (0, 0)
    assert await reasons(harness, first, harness.new()) == ["", ""]
    taken = await counter(harness, "r")
    assert taken[:2] == (1, SELL)
    assert await reasons(harness, first) == [""]
    assert await counter(harness, "r") == taken
    assert not guard.decides_first(harness.context)


async def test_a_batch_that_a_rule_refuses_in_part_is_undone_and_decided_first(
    harness: OrderHarness, risk: Any
) -> None:
    await rule(risk, count_max=2)
    batch = [harness.new() for _ in range(4)]
    assert await reasons(harness, *batch) == ["", "", "LIMIT", "LIMIT"]
    assert guard.decides_first(harness.context)
    assert (await counter(harness, "r"))[:2] == (2, 2 * SELL)
    assert await harness.sql("SELECT count(*) FROM oms_order_info") == [(2,)]
    assert await reasons(harness, *batch) == ["", "", "LIMIT", "LIMIT"]
    harness.context.decide_first_until_s = 0
    assert await reasons(harness, *batch) == ["", "", "LIMIT", "LIMIT"]
    assert (await counter(harness, "r"))[:2] == (2, 2 * SELL)


async def test_both_ways_of_deciding_race_for_one_bound(harness: OrderHarness, risk: Any) -> None:
    await rule(risk, count_max=20)

    async def one(index: int) -> str:
        harness.context.decide_first_until_s = 0 if index % 2 else float("inf")
        (result,) = await harness.create(harness.new())
        return result.refusal.reason.removeprefix(PREFIX)

    answers = await asyncio.gather(*(one(index) for index in range(80)))
    assert answers.count("") == 20
    assert (await counter(harness, "r"))[:2] == (20, 20 * SELL)


async def test_a_blocked_account_s_stored_order_is_answered_as_before(
    harness: OrderHarness, risk: Any
) -> None:
    stored = harness.new()
    await harness.create(stored)
    await entry(risk, "100011000000000")
    before = hits("blocked", "refused")
    assert await reasons(harness, stored, harness.new()) == ["", "BLOCKED"]
    assert hits("blocked", "refused") == before + 1


@given(
    st.lists(st.tuples(st.integers(1, 10), st.booleans()), min_size=1, max_size=20),
    st.integers(0, 12),
    st.integers(0, 40),
    st.integers(0, 5),
)
def test_what_may_break_nothing_refuses_nothing(
    orders: list[tuple[int, bool]], count_max: int, units_max: int, minutes: int
) -> None:
    """Counted whole and found within every bound, a batch is refused nothing when it is decided."""
    within = "since_last" if minutes else "day"
    bounds = (0, 0) if minutes else (count_max, units_max * SELL)
    one = Rule("r", "channel", within, minutes, *bounds, shadow=False)
    counted, rules = Counted("r", b"s", "2026-11-30"), {"r": one}
    catalogue = market([sold()], [])
    candidates = [
        Candidate(
            new(),
            draft(catalogue, new(num=num, amount_micros=num * 198 * YUAN), at),
            {"r": counted},
        )
        for at, (num, _) in enumerate(orders)
    ]
    made = [c for c, (_, fresh) in zip(candidates, orders, strict=True) if fresh]
    tally = decisions.tally((c.order, c.counted.values()) for c in candidates)
    age_s = 100 if minutes else None
    was = Count(3, 3 * SELL, age_s)
    count, amount = tally[counted]
    after = {counted: Count(3 + count, 3 * SELL + amount, age_s)}
    assert decisions.before(after, tally) == {counted: was}
    verdict = decisions.decide(rules, {counted: was}, made)
    if not decisions.may_break(rules, after, tally):
        assert not verdict.refused
    if len(made) == len(candidates) and verdict.refused:
        assert decisions.may_break(rules, after, tally)
