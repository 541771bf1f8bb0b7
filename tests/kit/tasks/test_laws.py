"""What breaks a law is found, said once, looked at until it is mended; what cannot be seen is counted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from shoudan_kit import metrics
from shoudan_kit.clock import TurnedClock
from shoudan_kit.db.text_statements import statement
from shoudan_kit.ids import first_of
from shoudan_kit.service import services
from shoudan_kit.tasks import laws
from shoudan_kit.tasks.laws import Law, LawWatch, Subject

NOW = datetime(2026, 11, 30, 3, tzinfo=UTC)
EVERYTHING = 3 * laws.MOST + 7

# Things are numbers up to EVERYTHING; what is in `broken` breaks the law.
CHANGED = statement(
    "SELECT CAST(5 AS bigint) AS id WHERE CAST(:after AS bigint) > 0 AND CAST(:most AS int) > 0"
)
WALKED = statement(f"""
    SELECT id FROM generate_series(1, {EVERYTHING}) AS id WHERE id > :after ORDER BY id LIMIT :most""")
HOLDS = statement("""
    SELECT g.id, 'is in the way' AS what FROM unnest(CAST(:ids AS bigint[])) AS g(id)
    JOIN broken ON broken.id = g.id ORDER BY g.id""")
SLOW = statement("""
    SELECT g.id, '' AS what FROM unnest(CAST(:ids AS bigint[])) AS g(id)
    WHERE pg_sleep(30) IS NULL""")


@pytest.fixture
async def broken(database):
    """A set of numbers in the database."""
    async with database.begin() as db:
        await db.execute(statement("CREATE TABLE IF NOT EXISTS broken (id bigint PRIMARY KEY)"))
        await db.execute(statement("TRUNCATE broken"))

    async def change(query: str) -> None:
        async with database.begin() as db:
            await db.execute(statement(query))

    return change


def watch(database, *of: Law) -> LawWatch:
    made = LawWatch(database, TurnedClock(NOW), [Subject(CHANGED, WALKED, of)])
    for _, walk in made._walks:
        walk.after = 0
    return made


def shown(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"shoudan_{name}", labels) or 0


def said(logs: list[Any]) -> list[int]:
    return [line["id"] for line in logs if line["event"] == "law_broken"]


async def test_what_changed_is_seen_at_once_and_everything_else_in_its_turn(database, broken):
    await broken(f"INSERT INTO broken VALUES (5), ({EVERYTHING})")
    watched = watch(database, Law("t_turn", "a test", HOLDS))
    with capture_logs() as logs:
        await watched.look()
        assert said(logs) == [5]
        assert shown("law_broken", law="t_turn") == 1
        for _ in range(EVERYTHING // laws.MOST):
            await watched.look()
    assert said(logs) == [5, EVERYTHING]  # each said once, however often it is seen
    assert shown("law_broken", law="t_turn") == 2


async def test_what_was_mended_is_forgotten(database, broken):
    await broken("INSERT INTO broken VALUES (5), (9)")
    watched = watch(database, Law("t_mended", "a test", HOLDS))
    await watched.look()
    assert shown("law_broken", law="t_mended") == 2
    await broken("DELETE FROM broken WHERE id = 9")
    await watched.look()
    assert shown("law_broken", law="t_mended") == 1
    await broken("DELETE FROM broken")
    await watched.look()
    assert shown("law_broken", law="t_mended") == 0


async def test_so_many_are_kept_and_no_more(database, broken):
    await broken(f"INSERT INTO broken SELECT generate_series(1, {laws.MOST})")
    watched = watch(database, Law("t_many", "a test", HOLDS))
    with capture_logs() as logs:
        await watched.look()
    assert len(said(logs)) == laws.KNOWN_MAX
    assert shown("law_broken", law="t_many") == laws.KNOWN_MAX


async def test_a_law_that_takes_too_long_is_counted_and_the_others_are_seen(
    database, broken, monkeypatch
):
    monkeypatch.setattr(laws, "_SHORT", statement("SET LOCAL statement_timeout = 50"))
    await broken("INSERT INTO broken VALUES (5)")
    watched = watch(database, Law("t_slow", "a test", SLOW), Law("t_beside", "a test", HOLDS))
    await watched.look()
    assert shown("law_looks_failed_total", law="t_slow") == 1
    assert shown("law_broken", law="t_beside") == 1


async def test_a_look_writes_nothing(database, broken):
    writes = statement("""
        WITH made AS (INSERT INTO broken VALUES (1) RETURNING id)
        SELECT id, '' AS what FROM made WHERE id = ANY(CAST(:ids AS bigint[]))""")
    await watch(database, Law("t_writes", "a test", writes)).look()
    assert shown("law_looks_failed_total", law="t_writes") == 1
    async with database.connect() as db:
        assert (await db.execute(statement("SELECT count(*) AS n FROM broken"))).one().n == 0


async def test_a_look_begins_where_the_last_one_ended(database, broken):
    seen: list[int] = []

    class Seen(LawWatch):
        async def _rows(self, look, **given):
            if look is CHANGED:
                seen.append(given["after"])
            return await super()._rows(look, **given)

    clock = TurnedClock(NOW)
    watched = Seen(database, clock, [Subject(CHANGED, WALKED, [])])
    await watched.look()
    clock.advance(60)
    await watched.look()
    assert seen[1] == first_of(NOW - laws.LATE)
    assert seen[0] < seen[1]


def test_every_law_is_in_the_runbook():
    table = (Path(__file__).parents[3] / "docs" / "operations.md").read_text("utf-8")
    every = [
        (service.name, law)
        for service in services().values()
        for subject in service.laws
        for law in subject.laws
    ]
    assert len({law.name for _, law in every}) == len(every) > 10
    for name, law in every:
        number = law.says.partition(":")[0]
        (line,) = [one for one in table.splitlines() if one.startswith(f"| `{law.name}` |")]
        assert f"| {name} |" in line
        assert f"({number})" in line
