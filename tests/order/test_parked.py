"""Promises of parked orders: an operator is paged by a number, lists them oldest first, and ends them."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_kit import metrics
from shoudan_order import commands, parked_gauge
from shoudan_order.commands import Paging
from shoudan_order.store import pauses as pause_store
from shoudan_order.store import views
from tests.order.harness import OrderHarness
from tests.order.test_audits import waiting
from tests.order.test_trouble import reaches, time_out
from tests.poll import eventually

Shoudan = Callable[..., Any]


@pytest.fixture
def shoudan(harness: OrderHarness) -> Shoudan:
    """A command of an operator of the harness's service."""

    async def run(app: Any, *argv: str, paging: Paging | None = None) -> Result:
        words = [*argv, "--target", f"127.0.0.1:{harness.process.port}"]
        return await asyncio.to_thread(CliRunner().invoke, app, words, obj=paging)

    return run


async def unknown(harness: OrderHarness, count: int = 1) -> list[pb.Order]:
    """Orders whose deliveries nobody knows about, so that they are parked; oldest first."""
    harness.delivery.script = lambda item: None
    sent = len(harness.delivery.sent)
    order_ids = [await harness.order() for _ in range(count)]
    await eventually(lambda: len(harness.delivery.sent) == sent + count)
    for order_id in order_ids:
        await time_out(harness, order_id)

    async def all_parked() -> bool:
        return all([(await harness.get(number)).parked_reason for number in order_ids])

    await eventually(all_parked)
    return [await harness.get(number) for number in order_ids]


async def contradicted(harness: OrderHarness) -> pb.Order:
    """An order delivered, of which the supplier now says that it was not."""
    order = await reaches(harness, await harness.order(), 0)
    told = pb.DeliveryResult(id=order.deliveries[0].delivery_id, succeeded=False)
    await harness.report(told)
    return await harness.get(order.state.order_id)


def figure(name: str) -> float:
    """A metric as Prometheus reads it."""
    (found,) = re.findall(rf"^{name} (\S+)$", metrics.exposition().decode(), re.MULTILINE)
    return float(found)


def figures() -> tuple[float, float]:
    return figure("shoudan_orders_parked"), figure("shoudan_orders_parked_age_seconds")


def listed(result: Result) -> list[dict[str, Any]]:
    """What `--json` printed."""
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


async def test_a_parked_order_is_listed_with_what_an_operator_must_know(
    harness: OrderHarness, shoudan: Shoudan
) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    (order,) = await unknown(harness)
    (audit,) = await waiting(harness.audits)
    (row,) = listed(await shoudan(commands.order, "parked", "--json"))
    since, age_s = datetime.fromisoformat(row.pop("since")), row.pop("age_s")
    assert before <= since <= datetime.now(UTC) + timedelta(seconds=2)
    assert 0 <= age_s < 60
    assert row == {
        "order_id": str(order.state.order_id),
        "channel_no": "test",
        "request_no": order.state.request_no,
        "state": "delivering",
        "parked_reason": order.parked_reason,
        "audit_ids": [str(audit.audit_id)],
    }
    first, second = (await shoudan(commands.order, "parked")).output.splitlines()
    assert first.startswith(f"{row['order_id']}  test {row['request_no']}  delivering  since 20")
    assert second == f"    {order.parked_reason}; audit {audit.audit_id}"


async def test_the_audit_listed_ends_the_parking_and_none_is_told_in_words(
    harness: OrderHarness, shoudan: Shoudan
) -> None:
    order = await contradicted(harness)
    (row,) = listed(await shoudan(commands.order, "parked", "--json"))
    assert (row["state"], row["parked_reason"]) == ("succeeded", order.parked_reason)
    (audit_id,) = row["audit_ids"]
    decided = await shoudan(commands.audit, "decide", audit_id, "failed", "--reason", "it came")
    assert decided.exit_code == 0, decided.output
    none = await shoudan(commands.order, "parked")
    assert (none.exit_code, none.output) == (0, "no order is parked\n")
    assert listed(await shoudan(commands.order, "parked", "--json")) == []


async def test_an_order_left_parked_without_an_audit_is_listed_and_can_be_freed(
    harness: OrderHarness, shoudan: Shoudan
) -> None:
    number = await harness.order()
    await reaches(harness, number, 0)
    await harness.sql("UPDATE oms_order_info SET parked_reason = 'left over'")
    (row,) = listed(await shoudan(commands.order, "parked", "--json"))
    assert (row["order_id"], row["since"], row["audit_ids"]) == (str(number), None, [])
    assert "left over; audit none waits" in (await shoudan(commands.order, "parked")).output
    await shoudan(commands.audit, "request", "order", str(number), "--reason", "a bug")
    (row,) = listed(await shoudan(commands.order, "parked", "--json"))
    (audit_id,) = row["audit_ids"]
    await shoudan(commands.audit, "decide", audit_id, "success", "--reason", "it had ended")
    assert listed(await shoudan(commands.order, "parked", "--json")) == []


async def test_parked_orders_are_listed_oldest_first_and_one_pages_on(
    harness: OrderHarness, shoudan: Shoudan
) -> None:
    paging = Paging(rows=2)
    orders = await unknown(harness, 5)
    numbers = [str(order.state.order_id) for order in orders]
    assert numbers == sorted(numbers)

    async def page(*argv: str) -> list[str]:
        rows = listed(await shoudan(commands.order, "parked", "--json", *argv, paging=paging))
        assert all(len(row["audit_ids"]) == 1 for row in rows)
        return [row["order_id"] for row in rows]

    assert await page() == numbers
    assert await page("--count", "3") == numbers[:3]
    assert await page("--count", "3", "--after", numbers[2]) == numbers[3:]
    shown = (await shoudan(commands.order, "parked", "--count", "3", paging=paging)).output
    assert f"3 of 5; go on with --after {numbers[2]}" in shown
    over = await shoudan(commands.order, "parked", "--after", numbers[4])
    assert over.output == f"no order made after {numbers[4]} is parked\n"


async def test_a_list_that_is_not_whole_says_so(harness: OrderHarness, shoudan: Shoudan) -> None:
    paging = Paging(rows=1, pages_max=2)
    orders = await unknown(harness, 3)
    cut = await shoudan(commands.order, "parked", "--json", paging=paging)
    assert cut.stderr == "more than 2 are parked: older ones are not shown\n"
    rows = [json.loads(line)["order_id"] for line in cut.stdout.splitlines()]
    assert rows == [str(order.state.order_id) for order in orders[1:]]


def test_an_order_service_that_is_away_is_one_line_and_exit_code_1() -> None:
    away = CliRunner().invoke(commands.order, ["parked", "--target", "127.0.0.1:1"])
    assert (away.exit_code, away.stdout) == (1, "")
    assert away.stderr.startswith("refused: ")
    assert len(away.stderr.splitlines()) == 1


async def test_operators_are_told_how_many_are_parked_and_how_old_the_oldest_is(
    harness: OrderHarness,
) -> None:
    await parked_gauge.gauge(harness.context)
    assert figures() == (0, 0)
    made = datetime.now(UTC)
    orders = await unknown(harness, 2)
    await eventually(lambda: figure("shoudan_orders_parked") == 2)
    age_s = figure("shoudan_orders_parked_age_seconds")
    assert 0 < age_s <= (datetime.now(UTC) - made).total_seconds() + 0.01
    for order in orders:
        told = pb.DeliveryResult(id=order.deliveries[0].delivery_id, succeeded=True)
        await harness.report(told)
    # The service looks, too, and may have seen them parked a moment before and say so a moment after.
    await eventually(lambda: figures() == (0, 0))


async def test_the_oldest_is_found_and_the_count_is_bounded(harness: OrderHarness) -> None:
    orders = await unknown(harness, 3)
    async with harness.process.app.db.connect() as db:
        all_ = await pause_store.parked_orders(db, 10)
        two = await pause_store.parked_orders(db, 2)
    assert all_ == pause_store.Parked(3, orders[0].state.order_id)
    assert two == pause_store.Parked(2, orders[0].state.order_id)


async def test_neither_the_list_nor_the_figures_look_at_an_order_that_is_not_parked(
    harness: OrderHarness,
) -> None:
    wanted = views.OrderFilter("", (), None, None, parked=True, before_id=2**62, most=100)
    scans = text("SELECT pg_stat_get_xact_numscans(CAST(CAST(:name AS text) AS regclass))")
    async with harness.process.app.db.begin() as db:

        async def scanned() -> Counter[str]:
            # Of this connection, and of what used it a moment ago, too.
            names = ("oms_order_info_parked", "oms_order_info_pkey", "oms_order_info")
            return Counter({n: (await db.execute(scans, {"name": n})).scalar_one() for n in names})

        await db.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        before = await scanned()
        assert (await pause_store.parked_orders(db, 100)).count == 0
        assert await views.view_orders(db, wanted) == ([], "")
        used = await scanned() - before
    assert used == {"oms_order_info_parked": 3}  # the count, where the page ends, the page
