"""Statements on cards: each takes a batch, whatever its size."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_delivery.states import CardStatus
from shoudan_delivery.tables import CARD_INFO
from shoudan_kit.db.columns import types
from shoudan_kit.db.text_statements import columns, statement, unnest


class NewCard(msgspec.Struct, frozen=True, gc=False):
    """A card as it is stored for a delivery."""

    card_id: int
    order_no: int
    seq: int
    sealed: bytes
    digest: bytes
    expire_time: datetime | None


_NEW = types(CARD_INFO, *NewCard.__struct_fields__)
_JUDGED = types(CARD_INFO, "order_no", "digest", "expire_time")

# What was issued for another delivery is not issued again; nor is what has expired.
_UNFIT = statement(f"""
SELECT given.order_no, given.expire_time <= shoudan_now() AS expired FROM {unnest(**_JUDGED)}
WHERE given.expire_time <= shoudan_now()
    OR EXISTS (SELECT 1 FROM vds_card WHERE vds_card.digest = given.digest
        AND vds_card.order_no IS DISTINCT FROM given.order_no)
""")
_INSERT = statement(f"""
INSERT INTO vds_card ({", ".join(_NEW)}, channel_no, carrier_no, face_micros, status, import_no,
    create_time, last_update_time)
SELECT {", ".join(f"given.{name}" for name in _NEW)}, order_info.channel_no, order_info.carrier_no,
    order_info.product_face_micros, {CardStatus.ISSUED}, '', shoudan_now(), shoudan_now()
FROM {unnest(**_NEW)} JOIN vds_order_info order_info USING (order_no)
""")


async def unfit(
    db: AsyncConnection, given: Sequence[tuple[int, bytes, datetime | None]]
) -> dict[int, bool]:
    """The deliveries of those that cannot be issued, by number; True: a card of theirs has expired."""
    rows = await db.execute(
        _UNFIT,
        {
            "order_no": [order_no for order_no, _, _ in given],
            "digest": [digest for _, digest, _ in given],
            "expire_time": [expire_time for _, _, expire_time in given],
        },
    )
    return {row.order_no: bool(row.expired) for row in rows}


async def insert(db: AsyncConnection, given: Sequence[NewCard]) -> None:
    """Write the cards of deliveries that have just succeeded. Unique: a card that is there raises."""
    await db.execute(_INSERT, columns(given, *_NEW))
