"""Statements on oms_notify_info: notifies that are due, and those that were given up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows
from shoudan_kit.db.text_statements import statement
from shoudan_order.store.rows import NotifyRow


class DeadNotify(msgspec.Struct, frozen=True):
    """A notify that was given up."""

    notify_id: int
    order_id: int
    refund_id: int
    notify_url: str
    notify_msg: str
    notify_count: int


_NOTIFIES: Final = Rows(NotifyRow)
_DEAD_NOTIFIES: Final = Rows(DeadNotify)
# By the unique (order_id, refund_id); the order gives the words, the refund its own.
_DUE = statement("""
SELECT n.notify_id, n.order_id, n.refund_id, n.down_channel_no, o.request_no, n.notify_url,
    n.notify_count, n.max_count, n.notify_status, o.order_status,
    coalesce(r.down_refund_no, '') AS down_refund_no, coalesce(r.refund_num, 0) AS refund_num,
    coalesce(r.refund_status, 0) AS refund_status, o.fail_code, o.fail_msg, n.create_time,
    n.owed_status, n.owed_code, n.owed_msg, o.line_id, o.end_time
FROM unnest(CAST(:order_ids AS bigint[]), CAST(:refund_ids AS bigint[])) AS k(order_id, refund_id)
JOIN oms_notify_info n ON n.order_id = k.order_id AND n.refund_id = k.refund_id
JOIN oms_order_info o ON o.order_id = n.order_id
LEFT JOIN oms_refund_info r ON r.refund_id = n.refund_id
""")

_DEAD_ROW: Final = f"SELECT {_DEAD_NOTIFIES.of()}"
_DEAD = statement(f"""
{_DEAD_ROW} FROM oms_notify_info WHERE given_up AND notify_id > :after_id
ORDER BY notify_id LIMIT :most
""")
_DEAD_OF_CHANNEL = statement(f"""
{_DEAD_ROW} FROM oms_notify_info
WHERE given_up AND down_channel_no = :channel_no AND notify_id > :after_id
ORDER BY notify_id LIMIT :most
""")

# Three attempts more; a notify that is not given up is left alone.
_MORE: Final = "given_up = false, max_count = greatest(max_count, notify_count + 3)"
_RESEND = statement(f"""
UPDATE oms_notify_info SET {_MORE} WHERE given_up AND notify_id = ANY(CAST(:ids AS bigint[]))
RETURNING order_id, refund_id
""")
_RESEND_CHANNEL = statement(f"""
UPDATE oms_notify_info SET {_MORE} WHERE given_up AND notify_id IN (
    SELECT notify_id FROM oms_notify_info WHERE given_up AND down_channel_no = :channel_no
    ORDER BY notify_id LIMIT :most)
RETURNING order_id, refund_id
""")


async def notifies_due(
    db: AsyncConnection, keys: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], NotifyRow]:
    """Notifies by (order_id, refund_id)."""
    binds = {"order_ids": [k[0] for k in keys], "refund_ids": [k[1] for k in keys]}
    rows = _NOTIFIES.all(await db.execute(_DUE, binds))
    return {(row.order_id, row.refund_id): row for row in rows}


async def dead_notifies(
    db: AsyncConnection, channel_no: str, after_id: int, most: int
) -> list[DeadNotify]:
    """Given up notifies by id; all channels when empty."""
    binds: dict[str, Any] = {"after_id": after_id, "most": most}
    if channel_no:
        rows = await db.execute(_DEAD_OF_CHANNEL, {**binds, "channel_no": channel_no})
    else:
        rows = await db.execute(_DEAD, binds)
    return _DEAD_NOTIFIES.all(rows)


async def revive_notifies(
    db: AsyncConnection, ids: Sequence[int], channel_no: str, most: int
) -> list[tuple[int, int]]:
    """(order_id, refund_id) of notifies that get more attempts; of a channel, the `most` oldest."""
    rows: list[Any] = list(await db.execute(_RESEND, {"ids": ids})) if ids else []
    if channel_no:
        rows += await db.execute(_RESEND_CHANNEL, {"channel_no": channel_no, "most": most})
    return [(row[0], row[1]) for row in rows]
