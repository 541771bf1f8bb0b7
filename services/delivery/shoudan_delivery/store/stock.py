"""Statements on our own stock of cards: imported, reserved for deliveries, issued or released."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_delivery.states import CARD, DELIVERY, CardEvent, CardStatus, Event
from shoudan_delivery.tables import CARD_INFO
from shoudan_kit.db.columns import Rows, returned, types
from shoudan_kit.db.text_statements import columns, statement, unnest


class Goods(msgspec.Struct, frozen=True):
    """What cards of the stock are alike in."""

    channel_no: str
    carrier_no: str
    face_micros: int


class StockedCard(msgspec.Struct, frozen=True, gc=False):
    """A card as it comes into the stock."""

    card_id: int
    sealed: bytes
    digest: bytes
    expire_time: datetime | None


class Level(msgspec.Struct, frozen=True):
    """How much of one kind of goods is there."""

    channel_no: str
    carrier_no: str
    face_micros: int
    stocked: int
    reserved: int
    expired: int
    first_expiry: datetime | None


class HeldCard(msgspec.Struct, frozen=True, gc=False):
    """A card that is reserved for a delivery."""

    card_id: int
    channel_no: str
    carrier_no: str
    face_micros: int
    order_no: int
    seq: int
    sealed: bytes
    digest: bytes
    import_no: str
    expire_time: datetime | None


class Ended(msgspec.Struct, frozen=True):
    """A delivery for which another shard holds cards: whether it has ended, and whether it has cards here."""

    order_no: int
    ended: bool
    has_cards: bool


# A count stops here, and so does a list of kinds.
COUNT_MAX: Final = 100_000
KINDS_MAX: Final = 1_000
_LEVEL = Rows(Level)
_GOODS = types(CARD_INFO, *Goods.__struct_fields__)
_NEW = types(CARD_INFO, *StockedCard.__struct_fields__)
_HELD = Rows(HeldCard)
_ENDED = Rows(Ended)
_TAKEN = types(CARD_INFO, *HeldCard.__struct_fields__)

# What is there already, in whatever state, is left out of RETURNING.
_INSERT = statement(f"""
INSERT INTO vds_card ({", ".join(_NEW)}, channel_no, carrier_no, face_micros, seq, status, import_no,
    create_time, last_update_time)
SELECT {", ".join(_NEW)}, :channel_no, :carrier_no, :face_micros, 0, {CARD.initial}, :import_no,
    shoudan_now(), shoudan_now()
FROM {unnest(**_NEW)}
ON CONFLICT (digest) DO NOTHING RETURNING card_id
""")
# Deliveries that still run, locked against their end, with what is reserved for each already.
_OPEN = statement(f"""
SELECT order_no, (SELECT count(*) FROM vds_card WHERE vds_card.order_no = order_info.order_no
    AND {CARD.between(CardEvent.ISSUED, "vds_card.status")}) AS reserved
FROM vds_order_info order_info WHERE order_no = ANY(CAST(:order_nos AS bigint[]))
    AND {DELIVERY.where(Event.UNKNOWN)}
ORDER BY order_no FOR NO KEY UPDATE
""")
_CLAIM = """
SELECT given.channel_no, given.carrier_no, given.face_micros, card.card_id FROM {given}
CROSS JOIN LATERAL (SELECT card_id FROM vds_card WHERE vds_card.channel_no = given.channel_no
    AND vds_card.carrier_no = given.carrier_no AND vds_card.face_micros = given.face_micros
    AND {stocked} AND (expire_time IS NULL OR expire_time > shoudan_now())
    ORDER BY expire_time, card_id LIMIT given.wanted FOR UPDATE {waits}) card
"""
_PARTS = {
    "given": unnest(**_GOODS, wanted="bigint"),
    "stocked": CARD.where(CardEvent.RESERVED, "vds_card.status"),
}
# What expires first goes first. Cards that others are about to reserve are passed by …
_CLAIM_FREE = statement(_CLAIM.format(**_PARTS, waits="SKIP LOCKED"))
# … and only waited for by a delivery that found too few: the others may give theirs back.
_CLAIM_WAITING = statement(_CLAIM.format(**_PARTS, waits=""))
_RESERVE = statement(f"""
UPDATE vds_card SET status = {CARD.target(CardEvent.RESERVED)}, order_no = given.order_no,
    seq = given.seq, last_update_time = shoudan_now()
FROM {unnest(**types(CARD_INFO, "card_id", "order_no", "seq"))}
WHERE vds_card.card_id = given.card_id AND {CARD.between(CardEvent.RESERVED, "vds_card.status")}
""")
_ISSUE = statement(f"""
UPDATE vds_card SET status = {CARD.target(CardEvent.ISSUED)}, last_update_time = shoudan_now()
WHERE order_no = ANY(CAST(:order_nos AS bigint[])) AND {CARD.between(CardEvent.ISSUED)}
""")
_RELEASE = statement(f"""
UPDATE vds_card SET order_no = NULL, seq = 0, last_update_time = shoudan_now(),
    status = CASE WHEN import_no = '' THEN {CARD.target(CardEvent.DISCARDED)}
        ELSE {CARD.target(CardEvent.RELEASED)} END
WHERE order_no = ANY(CAST(:order_nos AS bigint[])) AND {CARD.between(CardEvent.RELEASED)}
""")
# Of the first shard: what is reserved for deliveries of others.
_HELD_FOR = statement(f"""
SELECT {_HELD.of()} FROM vds_card WHERE order_no = ANY(CAST(:order_nos AS bigint[]))
    AND {CARD.between(CardEvent.HANDED_ON)} ORDER BY order_no, seq FOR NO KEY UPDATE
""")
_TAKE_OVER = statement(f"""
INSERT INTO vds_card ({", ".join(_TAKEN)}, status, create_time, last_update_time)
SELECT {", ".join(_TAKEN)}, {CARD.target(CardEvent.RESERVED)}, shoudan_now(), shoudan_now()
FROM {unnest(**_TAKEN)}
""")
_HAND_ON = statement(f"""
UPDATE vds_card SET status = {CARD.target(CardEvent.HANDED_ON)}, last_update_time = shoudan_now()
WHERE order_no = ANY(CAST(:order_nos AS bigint[])) AND {CARD.between(CardEvent.HANDED_ON)}
""")
# By the index of what is reserved, which is little: no channel is without a name.
_HELD_LONG = statement(f"""
SELECT DISTINCT order_no FROM vds_card WHERE {CARD.where(CardEvent.HANDED_ON)} AND channel_no > ''
    AND last_update_time < shoudan_now() - make_interval(secs => :age_s) ORDER BY order_no LIMIT :most
""")
_STANDING = statement(f"""
SELECT order_info.order_no, NOT ({DELIVERY.where(Event.EXPIRED, "order_info.status")}
        OR {DELIVERY.where(Event.UNKNOWN, "order_info.status")}) AS ended,
    EXISTS (SELECT FROM vds_card WHERE vds_card.order_no = order_info.order_no) AS has_cards
FROM vds_order_info order_info WHERE order_no = ANY(CAST(:order_nos AS bigint[]))
""")
_SAME: Final = """card.channel_no = kinds.channel_no AND card.carrier_no = kinds.carrier_no
        AND card.face_micros = kinds.face_micros"""
_GOOD: Final = "(expire_time IS NULL OR expire_time > shoudan_now())"
# One step of an index for each kind of goods ever imported, then so many rows of each as are counted.
_LEVELS = statement(f"""
WITH RECURSIVE kinds AS (
    (SELECT channel_no, carrier_no, face_micros FROM vds_card WHERE import_no <> ''
        ORDER BY channel_no, carrier_no, face_micros LIMIT 1)
    UNION ALL
    SELECT later.channel_no, later.carrier_no, later.face_micros FROM kinds CROSS JOIN LATERAL (
        SELECT card.channel_no, card.carrier_no, card.face_micros FROM vds_card card
        WHERE card.import_no <> '' AND (card.channel_no, card.carrier_no, card.face_micros)
            > (kinds.channel_no, kinds.carrier_no, kinds.face_micros)
        ORDER BY card.channel_no, card.carrier_no, card.face_micros LIMIT 1) later
)
SELECT channel_no, carrier_no, face_micros,
    (SELECT count(*) FROM (SELECT 1 FROM vds_card card WHERE {_SAME} AND status = {CardStatus.STOCKED}
        AND {_GOOD} LIMIT {COUNT_MAX}) few) AS stocked,
    (SELECT count(*) FROM (SELECT 1 FROM vds_card card WHERE {_SAME} AND status = {CardStatus.RESERVED}
        LIMIT {COUNT_MAX}) few) AS reserved,
    (SELECT count(*) FROM (SELECT 1 FROM vds_card card WHERE {_SAME} AND status = {CardStatus.STOCKED}
        AND expire_time <= shoudan_now() LIMIT {COUNT_MAX}) few) AS expired,
    (SELECT min(expire_time) FROM vds_card card WHERE {_SAME} AND status = {CardStatus.STOCKED}
        AND expire_time > shoudan_now()) AS first_expiry
FROM kinds LIMIT {KINDS_MAX}
""")


# One step of an index for each kind of goods ever imported, and one more for the card that is good longest.
_STATES = statement(f"""
WITH RECURSIVE kinds AS (
    (SELECT channel_no, carrier_no, face_micros FROM vds_card WHERE import_no <> ''
        ORDER BY channel_no, carrier_no, face_micros LIMIT 1)
    UNION ALL
    SELECT later.channel_no, later.carrier_no, later.face_micros FROM kinds CROSS JOIN LATERAL (
        SELECT card.channel_no, card.carrier_no, card.face_micros FROM vds_card card
        WHERE card.import_no <> '' AND (card.channel_no, card.carrier_no, card.face_micros)
            > (kinds.channel_no, kinds.carrier_no, kinds.face_micros)
        ORDER BY card.channel_no, card.carrier_no, card.face_micros LIMIT 1) later
)
SELECT channel_no, carrier_no, face_micros, shoudan_now() AS now,
    coalesce((SELECT {_GOOD} FROM vds_card card WHERE {_SAME} AND status = {CardStatus.STOCKED}
        ORDER BY card.expire_time DESC, card.card_id DESC LIMIT 1), false) AS there
FROM kinds LIMIT {KINDS_MAX}
""")


async def states(db: AsyncConnection) -> tuple[datetime, dict[Goods, bool]]:
    """The database's time, and whether there is a card of each kind of goods ever imported."""
    found: dict[Goods, bool] = {}
    now = datetime.now(UTC)
    for row in await db.execute(_STATES):
        found[Goods(row.channel_no, row.carrier_no, row.face_micros)] = row.there
        now = row.now
    return now, found


async def insert(
    db: AsyncConnection, goods: Goods, import_no: str, cards: Sequence[StockedCard]
) -> set[int]:
    """Write cards into the stock; the numbers of those that were not there before."""
    binds = {**msgspec.structs.asdict(goods), "import_no": import_no}
    return await returned(db, _INSERT, **columns(cards, *_NEW), **binds)


async def open_deliveries(db: AsyncConnection, order_nos: Sequence[int]) -> dict[int, int]:
    """Deliveries that have not ended, locked, and how many cards are reserved for each."""
    rows = await db.execute(_OPEN, {"order_nos": order_nos})
    return {row.order_no: row.reserved for row in rows}


async def claim(
    db: AsyncConnection, wanted: Mapping[Goods, int], *, waiting: bool
) -> dict[Goods, list[int]]:
    """Lock so many cards of each kind of goods, or as many as there are; `waiting` for other processes."""
    binds = {**columns(list(wanted), *_GOODS), "wanted": list(wanted.values())}
    found: dict[Goods, list[int]] = {goods: [] for goods in wanted}
    for row in await db.execute(_CLAIM_WAITING if waiting else _CLAIM_FREE, binds):
        found[Goods(row.channel_no, row.carrier_no, row.face_micros)].append(row.card_id)
    return found


async def reserve(db: AsyncConnection, given: Sequence[tuple[int, int, int]]) -> None:
    """Set claimed cards aside: (card_id, order_no, seq)."""
    names = ("card_id", "order_no", "seq")
    await db.execute(_RESERVE, dict(zip(names, map(list, zip(*given, strict=True)), strict=True)))


async def issue(db: AsyncConnection, order_nos: Sequence[int]) -> None:
    """What is reserved for deliveries that have succeeded is theirs."""
    await db.execute(_ISSUE, {"order_nos": order_nos})


async def release(db: AsyncConnection, order_nos: Sequence[int]) -> None:
    """What was reserved for deliveries that have failed is in the stock again; by hand: void."""
    await db.execute(_RELEASE, {"order_nos": order_nos})


async def levels(db: AsyncConnection) -> list[Level]:
    """How much of each kind of goods was imported and is still there."""
    return _LEVEL.all(await db.execute(_LEVELS))


async def held_for(db: AsyncConnection, order_nos: Sequence[int]) -> dict[int, list[HeldCard]]:
    """The cards of the stock that are reserved for deliveries, locked."""
    found: dict[int, list[HeldCard]] = {}
    for one in _HELD.all(await db.execute(_HELD_FOR, {"order_nos": order_nos})):
        found.setdefault(one.order_no, []).append(one)
    return found


async def take_over(db: AsyncConnection, cards: Sequence[HeldCard]) -> None:
    """Store cards of another shard as reserved here."""
    await db.execute(_TAKE_OVER, columns(cards, *_TAKEN))


async def hand_on(db: AsyncConnection, order_nos: Sequence[int]) -> None:
    """What is reserved for these deliveries is theirs, in their own shard."""
    await db.execute(_HAND_ON, {"order_nos": order_nos})


async def held_long(db: AsyncConnection, age_s: float, most: int) -> list[int]:
    """Deliveries for which cards have been reserved for so long."""
    return list((await db.execute(_HELD_LONG, {"age_s": age_s, "most": most})).scalars())


async def standing(db: AsyncConnection, order_nos: Sequence[int]) -> list[Ended]:
    """How deliveries of this shard stand for which another holds cards."""
    return _ENDED.all(await db.execute(_STANDING, {"order_nos": order_nos}))
