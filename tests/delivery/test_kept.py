"""Promises of the delivery database: it takes no state that no delivery can have, whoever writes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from shoudan_kit.embedded import DatabaseUrls, Postgres
from tests.delivery.conftest import house
from tests.kept import CHECK, NO_RIGHT, not_refused

DELIVERY, CHANNEL = "UPDATE vds_order_info SET", "UPDATE vds_channel_info SET"
BROKEN = (
    (f"{DELIVERY} status = 20, request_finish_time = NULL, request_start_time = NULL", CHECK),
    (f"{DELIVERY} status = 30, request_finish_time = NULL, succ_face_micros = 0", CHECK),
    (f"{DELIVERY} status = 90, succ_face_micros = 0 WHERE status = 0", CHECK),
    (f"{DELIVERY} status = 7", CHECK),
    (f"{DELIVERY} request_finish_time = NULL", CHECK),
    (f"{DELIVERY} result_source = 0", CHECK),
    (f"{DELIVERY} succ_face_micros = succ_face_micros + 10", CHECK),
    (f"{DELIVERY} request_count = -1", CHECK),
    (f"{DELIVERY} product_face_micros = 1", NO_RIGHT),
    (f"{DELIVERY} coop_order_id = 'x'", NO_RIGHT),
    (f"{DELIVERY} channel_no = 'x'", NO_RIGHT),
    (f"{DELIVERY} create_time = now()", NO_RIGHT),
    (f"{DELIVERY} flow_timeout = now()", NO_RIGHT),
    ("UPDATE vds_order_notify SET status = 20", CHECK),
    ("UPDATE vds_order_notify SET status = 7", CHECK),
    ("UPDATE vds_order_notify SET notify_count = 0", CHECK),
    ("UPDATE vds_order_notify SET coop_order_id = ''", NO_RIGHT),
    ("UPDATE vds_order_query SET channel_no = 'x'", NO_RIGHT),
    (f"{CHANNEL} status = 5", CHECK),
    (f"{CHANNEL} can_query = 5", CHECK),
    (f"{CHANNEL} tripped_until = now()", CHECK),
    (f"{CHANNEL} channel_no = 'x'", NO_RIGHT),
    ("UPDATE vds_channel_error_code SET deal_code = 0", NO_RIGHT),
    ("INSERT INTO vds_channel_error_code VALUES (1, 'none', 10, 0, '1', '', now())", "23503"),
    ("UPDATE vds_order_exp SET error_msg = ''", NO_RIGHT),
    ("UPDATE event SET text = ''", NO_RIGHT),
    ("DELETE FROM vds_order_info", NO_RIGHT),
    ("DELETE FROM vds_order_query", NO_RIGHT),
    ("DELETE FROM vds_order_notify", NO_RIGHT),
    ("DELETE FROM vds_order_exp", NO_RIGHT),
    ("DELETE FROM vds_channel_info", NO_RIGHT),
    ("DELETE FROM event", NO_RIGHT),
)


async def test_no_broken_state_of_a_delivery_is_stored(
    postgres: Postgres,
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
    tmp_path: Path,
) -> None:
    urls = await new_database("delivery")
    async with house(urls.service, tmp_path / "journal.jsonl") as started:
        for number in await started.send("a", "b"):
            await started.ends(number)
    assert await not_refused(postgres, urls, BROKEN) == []
