"""Promises of an order whose months are archived: its life is shown, each line with where it was found."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

from typer.testing import CliRunner, Result

from shoudan_kit.archive.place import Place
from shoudan_kit.archive.write import archive
from shoudan_kit.db.partitions import parts_of
from shoudan_order import archived_moments, commands
from shoudan_order.archived_moments import Line
from tests.order.harness import OrderHarness
from tests.order.test_trouble import reaches


async def shown(harness: OrderHarness, order_id: int, at: Path) -> Result:
    words = [
        "show",
        str(order_id),
        "--at",
        str(at),
        "--target",
        f"127.0.0.1:{harness.process.port}",
    ]
    return await asyncio.to_thread(
        CliRunner().invoke, commands.order, words, env={"COLUMNS": "250"}
    )


def found_in(result: Result, part: str) -> int:
    """Lines of its life that were found there."""
    assert result.exit_code == 0, result.output
    return sum(line.rstrip(" │").endswith(part) for line in result.output.splitlines())


async def archived_events(harness: OrderHarness, at: Path) -> str:
    """Archive the part that holds this month's events; its name."""
    (newest,) = await harness.sql("SELECT max(event_id) FROM event")
    part = next(
        one
        for one in await parts_of(harness.owner_url)
        if one.table == "event" and (one.low or 0) <= newest[0] < (one.high or 0)
    )
    await archive(harness.owner_url, "order", [part], Place(str(at)), lambda *_: None)
    return part.name


async def test_a_life_whose_month_is_dropped_is_read_from_the_archive(
    harness: OrderHarness, tmp_path: Path
) -> None:
    order_id = await harness.order()
    await reaches(harness, order_id, 0)
    empty = await shown(harness, order_id, tmp_path)
    live = found_in(empty, "database")
    assert live > 0
    part = await archived_events(harness, tmp_path)
    both = await shown(harness, order_id, tmp_path)
    assert (found_in(both, part), found_in(both, "database") >= live) == (0, True)
    await harness.sql(f"TRUNCATE {part}")
    gone = await shown(harness, order_id, tmp_path)
    assert (found_in(gone, part) >= live, found_in(gone, "database")) == (True, 0)
    assert "下单" in gone.output


async def test_a_number_that_is_not_in_the_database_is_looked_for_in_the_archive(
    harness: OrderHarness, tmp_path: Path
) -> None:
    order_id = await harness.order()
    await reaches(harness, order_id, 0)
    nowhere = await shown(harness, order_id + 1, tmp_path)
    assert (nowhere.exit_code, "is not in the database" in nowhere.stderr) == (1, True)
    part = await archived_events(harness, tmp_path)
    await harness.sql("DELETE FROM oms_order_info WHERE order_id = :id", id=order_id)
    await harness.sql(f"TRUNCATE {part}")
    found = await shown(harness, order_id, tmp_path)
    assert "is not in the database; its archived life" in found.output
    assert found_in(found, part) > 0
    (tmp_path / "order" / "event" / f"{part}.parquet").write_bytes(b"")
    harmed = await shown(harness, order_id, tmp_path)
    assert (harmed.exit_code, f"{part}: cannot be searched" in harmed.stderr) == (1, True)


def test_an_event_in_both_places_is_one_line_of_the_database() -> None:
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    live = Line(moment, "pay", "下游支付", "posted", "", "")
    copy = Line(moment, "pay", "下游支付", "posted", "", "", "event_202611")
    older = Line(datetime(2026, 10, 1, tzinfo=UTC), "order", "下单", "created", "", "", "e")
    for lines in ([live, copy, older], [copy, older, live]):
        assert archived_moments.merged(lines) == [older, live]


def test_without_the_order_its_own_number_is_searched_for() -> None:
    keys = archived_moments.keys_of(7, None)
    assert json.dumps(keys) == json.dumps(
        {"order": ["7"], "pay": ["7", "r7"], "delivery": ["7", "r7"]}
    )
