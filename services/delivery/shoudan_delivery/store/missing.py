"""Statements on vds_card_missing: deliveries whose supplier says success without cards."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_delivery.states import CARD, DELIVERY, CardEvent, Event, Status
from shoudan_delivery.tables import CARD_MISSING
from shoudan_kit.db.columns import Rows, types
from shoudan_kit.db.text_statements import columns, statement, unnest


class Claim(msgspec.Struct, frozen=True):
    """One success without cards that can be issued."""

    order_no: int
    why: str
    answer: str


class Missing(msgspec.Struct, frozen=True):
    """A delivery that lacks its cards, with the last of what its supplier said."""

    order_no: int
    coop_id: str
    coop_order_id: str
    order_id: str
    channel_no: str
    carrier_no: str
    product_face_micros: int
    product_num: int
    status: Status
    why: str
    answer: str
    answers: int
    create_time: datetime
    last_update_time: datetime
    entered: int


_MISSING: Final = Rows(Missing)
_CLAIM: Final = types(CARD_MISSING, *Claim.__struct_fields__)
_OF_ORDER: Final = (
    "coop_id",
    "coop_order_id",
    "order_id",
    "channel_no",
    "carrier_no",
    "product_face_micros",
    "product_num",
    "status",
)
_OF_MISSING: Final = ("why", "answer", "answers", "create_time", "last_update_time")

# What comes late about a delivery that has ended begins nothing; its row is locked by now.
_NOTE = statement(f"""
INSERT INTO vds_card_missing ({", ".join(_CLAIM)}, answers, create_time, last_update_time)
SELECT {", ".join(f"given.{name}" for name in _CLAIM)}, 1, shoudan_now(), shoudan_now()
FROM {unnest(**_CLAIM)} JOIN vds_order_info order_info USING (order_no)
WHERE {DELIVERY.where(Event.UNKNOWN, "order_info.status")}
ON CONFLICT (order_no) DO UPDATE SET why = EXCLUDED.why, answer = EXCLUDED.answer,
    answers = vds_card_missing.answers + 1, last_update_time = shoudan_now()
WHERE vds_card_missing.end_time IS NULL
""")
_END = statement("""
UPDATE vds_card_missing SET end_time = shoudan_now(), last_update_time = shoudan_now()
WHERE order_no = ANY(CAST(:order_nos AS bigint[])) AND end_time IS NULL
""")
# By vds_card_missing_open; few rows are open at a time.
_PAGE = statement(f"""
SELECT missing.order_no, {", ".join(f"order_info.{name}" for name in _OF_ORDER)},
    {", ".join(f"missing.{name}" for name in _OF_MISSING)},
    (SELECT count(*) FROM vds_card card WHERE card.order_no = missing.order_no
        AND {CARD.between(CardEvent.ISSUED, "card.status")}) AS entered
FROM vds_card_missing missing JOIN vds_order_info order_info ON order_info.order_no = missing.order_no
WHERE missing.end_time IS NULL AND missing.order_no > :after
ORDER BY missing.order_no LIMIT :most
""")


async def note(db: AsyncConnection, claims: Sequence[Claim]) -> None:
    """Keep the last of each delivery."""
    last = {one.order_no: one for one in claims}
    rows = [last[order_no] for order_no in sorted(last)]
    await db.execute(_NOTE, columns(rows, *_CLAIM))


async def end(db: AsyncConnection, order_nos: Sequence[int]) -> None:
    """These have their cards, or need none any more."""
    await db.execute(_END, {"order_nos": sorted(order_nos)})


async def page(db: AsyncConnection, after: int, most: int) -> list[Missing]:
    """Those that lack their cards, oldest first."""
    return _MISSING.all(await db.execute(_PAGE, {"after": after, "most": most}))
