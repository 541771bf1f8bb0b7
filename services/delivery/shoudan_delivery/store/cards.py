"""Statements on cards: each takes a batch, whatever its size."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_delivery.states import CARD, CardEvent, CardStatus, ServiceClass, Status
from shoudan_delivery.store.rows import Key
from shoudan_delivery.tables import CARD_FETCH, CARD_INFO, ORDER_INFO
from shoudan_kit.db import pages
from shoudan_kit.db.columns import Rows, returned, types
from shoudan_kit.db.text_statements import columns, statement, unnest


class NewCard(msgspec.Struct, frozen=True, gc=False):
    """A card as it is stored for a delivery."""

    card_id: int
    order_no: int
    seq: int
    sealed: bytes
    digest: bytes
    expire_time: datetime | None


class StoredCard(msgspec.Struct, frozen=True, gc=False):
    """A row of vds_card, its code still sealed."""

    card_id: int
    channel_no: str
    carrier_no: str
    face_micros: int
    order_no: int | None
    seq: int
    status: CardStatus
    sealed: bytes
    import_no: str
    expire_time: datetime | None
    reveal_time: datetime | None
    return_no: int | None
    create_time: datetime


class Fetch(msgspec.Struct, frozen=True, gc=False):
    """A row of vds_card_fetch."""

    fetch_id: int
    coop_id: str
    order_id: str
    reader: str
    remote_ip: str
    cards: int
    reason: str


_STORED = Rows(StoredCard)
_FETCH = types(CARD_FETCH, *Fetch.__struct_fields__)
_KEY = types(ORDER_INFO, "coop_id", "coop_order_id", "service_class")
_IDS = "card_id = ANY(CAST(:card_ids AS bigint[]))"
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
    order_info.product_face_micros, CAST(:status AS smallint), '', shoudan_now(), shoudan_now()
FROM {unnest(**_NEW)} JOIN vds_order_info order_info USING (order_no)
ON CONFLICT (digest) DO UPDATE SET status = EXCLUDED.status, seq = EXCLUDED.seq,
    last_update_time = shoudan_now()
WHERE vds_card.order_no = EXCLUDED.order_no AND {CARD.between(CardEvent.DISCARDED, "vds_card.status")}
RETURNING card_id
""")
# What was entered by hand for a delivery and is not to be issued for it; our own stock is released.
_DISCARD = statement(f"""
UPDATE vds_card SET status = {CARD.target(CardEvent.DISCARDED)}, order_no = NULL, seq = 0,
    last_update_time = shoudan_now()
WHERE order_no = :order_no AND import_no = '' AND {CARD.between(CardEvent.DISCARDED)}
    AND NOT digest = ANY(CAST(:kept AS bytea[]))
""")
# First locked, then looked at: of two that bring cards for one delivery the second sees the first's.
_LOCK = statement(f"""
SELECT order_no, status FROM vds_order_info WHERE order_no = ANY(CAST(:order_nos AS bigint[]))
    AND service_class = {ServiceClass.COUPON}
ORDER BY order_no FOR NO KEY UPDATE
""")
_ENTERED = statement(f"""
SELECT EXISTS (SELECT FROM vds_card WHERE order_no = :order_no AND {CARD.between(CardEvent.ISSUED)})
""")
_DIGESTS = statement("""
SELECT order_no, digest FROM vds_card WHERE order_no = ANY(CAST(:order_nos AS bigint[]))
""")

# Locked, so that what a return makes void a moment later was not shown after it.
_PAGE = statement(f"""
SELECT {_STORED.of()} FROM vds_card WHERE order_no IN (SELECT order_info.order_no
    FROM {unnest(**_KEY)} CROSS JOIN LATERAL (SELECT order_no FROM vds_order_info o
        WHERE o.coop_id = given.coop_id AND o.coop_order_id = given.coop_order_id
            AND o.service_class = given.service_class LIMIT 1) order_info)
    AND (order_no, seq) > (:after_no, :after_seq) AND status <> {CardStatus.RESERVED}
ORDER BY order_no, seq LIMIT :most FOR NO KEY UPDATE
""")
# The first of each delivery of several orders, `at` the place of the order; locked by delivery.
_FIRST = statement(f"""
SELECT found.at, {", ".join(f"card.{name}" for name in StoredCard.__struct_fields__)}
FROM (SELECT given.at, order_info.order_no FROM {unnest(**_KEY, at="integer")}
    CROSS JOIN LATERAL (SELECT order_no FROM vds_order_info o
        WHERE o.coop_id = given.coop_id AND o.coop_order_id = given.coop_order_id
            AND o.service_class = given.service_class LIMIT 1) order_info
    ORDER BY order_info.order_no) found
CROSS JOIN LATERAL (SELECT {_STORED.of()} FROM vds_card WHERE vds_card.order_no = found.order_no
    AND vds_card.status <> {CardStatus.RESERVED} ORDER BY vds_card.seq LIMIT :most
    FOR NO KEY UPDATE) card
ORDER BY found.at, card.order_no, card.seq
""")
_BY_IDS = statement(f"""
SELECT {_STORED.of()} FROM vds_card WHERE {_IDS} ORDER BY card_id FOR NO KEY UPDATE
""")
_OF_DELIVERIES = statement(f"""
SELECT order_info.coop_id, order_info.coop_order_id, card.card_id, card.status, card.return_no
FROM vds_order_info order_info JOIN vds_card card ON card.order_no = order_info.order_no
WHERE (order_info.coop_id, order_info.coop_order_id, order_info.service_class) IN (
    SELECT coop_id, coop_order_id, service_class FROM {unnest(**_KEY)})
ORDER BY card.order_no, card.seq DESC FOR NO KEY UPDATE OF card
""")
_REVEAL = statement(f"""
UPDATE vds_card SET status = {CARD.target(CardEvent.REVEALED)}, last_update_time = shoudan_now(),
    reveal_time = coalesce(reveal_time, shoudan_now())
WHERE {_IDS} AND {CARD.where(CardEvent.REVEALED)}
""")
_MOVE = statement(f"""
UPDATE vds_card SET status = CAST(:status AS smallint), last_update_time = shoudan_now()
WHERE {_IDS} AND status = ANY(CAST(:sources AS smallint[])) RETURNING card_id
""")
_VOID = statement(f"""
UPDATE vds_card SET status = {CARD.target(CardEvent.VOIDED)}, return_no = given.return_no,
    last_update_time = shoudan_now()
FROM {unnest(card_id="bigint", return_no="bigint")}
WHERE vds_card.card_id = given.card_id AND {CARD.where(CardEvent.VOIDED)}
""")
# What a return made void belongs to its partner again when the return has failed.
_RESTORE = statement(f"""
UPDATE vds_card SET return_no = NULL, last_update_time = shoudan_now(),
    status = CASE WHEN reveal_time IS NULL THEN {CARD.target(CardEvent.RESTORED_UNSEEN)}
        ELSE {CARD.target(CardEvent.RESTORED_SEEN)} END
WHERE return_no = ANY(CAST(:return_nos AS bigint[])) AND {CARD.where(CardEvent.RESTORED_SEEN)}
""")
_NOTE = statement(f"""
INSERT INTO vds_card_fetch ({", ".join(_FETCH)}, create_time)
SELECT {", ".join(_FETCH)}, shoudan_now() FROM {unnest(**_FETCH)}
""")
_WANTED = """(:channel_no = '' OR channel_no = :channel_no)
    AND (:all_statuses OR status = ANY(CAST(:statuses AS smallint[])))"""
_EDGE = pages.edge("vds_card", "card_id")
_LIST = statement(f"""
SELECT {_STORED.of()} FROM vds_card WHERE card_id < :before AND card_id >= :since AND {_WANTED}
ORDER BY card_id DESC LIMIT :most
""")
# Few rows of the index on the order's deliveries, then sorted.
_LIST_OF_ORDER = statement(f"""
SELECT {_STORED.of()} FROM vds_card WHERE order_no = ANY(ARRAY(SELECT order_no FROM vds_order_info
    WHERE order_id = :order_id)) AND card_id + 0 < :before AND {_WANTED}
ORDER BY card_id + 0 DESC LIMIT :most
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


async def insert(db: AsyncConnection, given: Sequence[NewCard], status: CardStatus) -> int:
    """Write cards of deliveries; how many: fewer than given when one is stored for another delivery."""
    return len(await returned(db, _INSERT, **columns(given, *_NEW), status=int(status)))


async def discard(db: AsyncConnection, order_no: int, kept: Sequence[bytes]) -> None:
    """What was entered by hand for a delivery is not to be issued for it, but for `kept`."""
    await db.execute(_DISCARD, {"order_no": order_no, "kept": list(kept)})


async def locked(
    db: AsyncConnection, order_nos: Sequence[int]
) -> dict[int, tuple[Status, set[bytes]]]:
    """Where deliveries of vouchers stand, and the digests of the cards each has; now locked."""
    binds = {"order_nos": sorted(set(order_nos))}
    there: dict[int, tuple[Status, set[bytes]]] = {
        row.order_no: (Status(row.status), set()) for row in await db.execute(_LOCK, binds)
    }
    if there:
        for row in await db.execute(_DIGESTS, {"order_nos": list(there)}):
            there[row.order_no][1].add(row.digest)
    return there


async def entered(db: AsyncConnection, order_no: int) -> bool:
    """Whether cards are reserved for a delivery."""
    return bool((await db.execute(_ENTERED, {"order_no": order_no})).scalar_one())


async def page(
    db: AsyncConnection, keys: Sequence[Key], after: tuple[int, int], most: int
) -> list[StoredCard]:
    """Cards of deliveries behind (order_no, seq), locked."""
    binds = {"after_no": after[0], "after_seq": after[1], "most": most}
    return _STORED.all(await db.execute(_PAGE, {**columns(keys, *_KEY), **binds}))


async def first(
    db: AsyncConnection, orders: Sequence[Sequence[Key]], most: int
) -> list[list[StoredCard]]:
    """The first cards of each order, of its deliveries in turn, locked."""
    keys = [(at, key) for at, some in enumerate(orders) for key in some]
    binds = {**columns([key for _, key in keys], *_KEY), "at": [at for at, _ in keys], "most": most}
    found: list[list[StoredCard]] = [[] for _ in orders]
    for row in await db.execute(_FIRST, binds):
        cards = found[int(row.at)]
        if len(cards) < most:
            cards.append(_STORED.read(row))
    return found


class DeliveredCard(msgspec.Struct, frozen=True, gc=False):
    """A card of a delivery, and the return that made it void."""

    coop_id: str
    coop_order_id: str
    card_id: int
    status: CardStatus
    return_no: int | None


_DELIVERED = Rows(DeliveredCard)


async def of_deliveries(
    db: AsyncConnection, keys: Sequence[Key]
) -> dict[tuple[str, str], list[DeliveredCard]]:
    """The cards of deliveries by coop_id and coop_order_id, locked."""
    found: dict[tuple[str, str], list[DeliveredCard]] = {}
    for row in _DELIVERED.all(await db.execute(_OF_DELIVERIES, columns(keys, *_KEY))):
        found.setdefault((row.coop_id, row.coop_order_id), []).append(row)
    return found


async def by_ids(db: AsyncConnection, card_ids: Sequence[int]) -> dict[int, StoredCard]:
    """These cards, locked."""
    rows = _STORED.all(await db.execute(_BY_IDS, {"card_ids": card_ids}))
    return {row.card_id: row for row in rows}


async def reveal(db: AsyncConnection, card_ids: Sequence[int]) -> None:
    """30 to 40 for those not yet."""
    await db.execute(_REVEAL, {"card_ids": card_ids})


async def move(
    db: AsyncConnection, card_ids: Sequence[int], sources: Sequence[int], status: CardStatus
) -> set[int]:
    """To `status` from one of `sources`; those that moved."""
    return await returned(db, _MOVE, card_ids=card_ids, sources=list(sources), status=int(status))


async def void(db: AsyncConnection, given: Sequence[tuple[int, int]]) -> None:
    """Make cards void by their returns: (card_id, return_no)."""
    await db.execute(
        _VOID,
        {
            "card_id": [card_id for card_id, _ in given],
            "return_no": [return_no for _, return_no in given],
        },
    )


async def restore(db: AsyncConnection, return_nos: Sequence[int]) -> None:
    """What these returns made void is its partner's again."""
    await db.execute(_RESTORE, {"return_nos": return_nos})


async def note(db: AsyncConnection, fetches: Sequence[Fetch]) -> None:
    """Record answers that hold cards in clear."""
    await db.execute(_NOTE, columns(fetches, *_FETCH))


class CardFilter(msgspec.Struct, frozen=True):
    """Which cards to list; what is empty does not filter."""

    channel_no: str = ""
    order_id: str = ""
    statuses: Sequence[int] = ()


async def list_cards(
    db: AsyncConnection, wanted: CardFilter, *, before: int, most: int
) -> tuple[list[StoredCard], str]:
    """One page, newest first, of numbers below `before`, and the token of the next."""
    binds = {
        "channel_no": wanted.channel_no,
        "all_statuses": not wanted.statuses,
        "statuses": list(wanted.statuses),
        "before": before,
        "most": most,
    }
    reached = 0
    if wanted.order_id:
        rows = await db.execute(_LIST_OF_ORDER, {**binds, "order_id": wanted.order_id})
    else:
        reached = await pages.walk_end(db, _EDGE, before, 0)
        rows = await db.execute(_LIST, {**binds, "since": reached})
    found = _STORED.all(rows)
    return found, pages.next_token([one.card_id for one in found], most, reached, 0)
