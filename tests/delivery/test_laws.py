"""Each law of deliveries: a whole life breaks none, and damage that breaks one is found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from sqlalchemy import text

from shoudan_delivery.store.laws import SUBJECT
from shoudan_kit.db.pool import Database
from shoudan_kit.embedded import DatabaseUrls
from tests.delivery.conftest import House, house

ASKED = """INSERT INTO vds_order_query (order_no, coop_id, channel_no, query_count, status,
    last_query_time, query_result, create_time)
    SELECT order_no, coop_id, channel_no, 1, 20, request_finish_time + interval '1 s', '', create_time
    FROM vds_order_info
    ON CONFLICT (order_no) DO UPDATE SET status = 20, query_count = 1,
        last_query_time = excluded.last_query_time"""
TWICE = """INSERT INTO vds_order_info SELECT (jsonb_populate_record(o,
    jsonb_build_object('order_no', order_no + 1))).* FROM vds_order_info o"""


async def broken(running: House) -> dict[str, int]:
    """How many deliveries break each law, of all there are."""
    every = [row.order_no for row in await running.rows("SELECT order_no FROM vds_order_info")]
    counts: dict[str, int] = {}
    async with running.process.app.db.connect() as db:
        for law in SUBJECT.laws:
            rows = (await db.execute(law.statement, {"ids": every})).all()
            counts |= {law.name: len(rows)} if rows else {}
    return counts


async def test_damage_is_found(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], tmp_path: Path
) -> None:
    urls = await new_database("delivery")
    owner = Database(urls.owner)
    async with house(urls.service, tmp_path / "journal.jsonl") as running:
        for number in await running.send("0000"):
            await running.ends(number)
        assert await broken(running) == {}
        async with owner.begin() as db:
            await db.execute(text(ASKED))
        assert await broken(running) == {"ended_delivery_rests": 1}
        async with owner.begin() as db:
            await db.execute(text("DELETE FROM vds_order_query"))
            names = await db.execute(
                text("""SELECT conname FROM pg_constraint
                    WHERE conrelid = 'vds_order_info'::regclass AND contype = 'u'""")
            )
            for name in names.scalars().all():
                await db.execute(text(f"ALTER TABLE vds_order_info DROP CONSTRAINT {name}"))
            await db.execute(text(TWICE))
        assert await broken(running) == {"delivery_made_once": 2}
    await owner.dispose()


async def test_the_newest_are_looked_at_first(running: House) -> None:
    for number in await running.send("0000", "0000"):
        await running.ends(number)
    first, last = sorted(
        row.order_no for row in await running.rows("SELECT order_no FROM vds_order_info")
    )
    async with running.process.app.db.connect() as db:
        given = {"after": first, "most": 10}
        assert [row.id for row in await db.execute(SUBJECT.changed, given)] == [last]
        assert [row.id for row in await db.execute(SUBJECT.walked, given)] == [last]
