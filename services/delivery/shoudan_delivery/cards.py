"""The rules of cards: sealed before they are written, and issued once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_delivery.store import cards as store
from shoudan_delivery.store.rows import Card, Outcome, Verdict
from shoudan_delivery.tables import CARD_INFO
from shoudan_kit.ids import IdMaker
from shoudan_kit.secrets.sealing import KeyRing

TABLE: Final = CARD_INFO.name


def digest_of(ring: KeyRing, card: Card) -> bytes:
    """What a card is found by, of all suppliers: keyed, so that nothing is guessed from it."""
    return ring.content("card", sorted(card.secrets.items()))


async def judge(db: AsyncConnection, ring: KeyRing, outcomes: Sequence[Outcome]) -> None:
    """Make successes unknown whose cards were issued for another delivery, or have expired."""
    given = [
        (one.order_no, digest_of(ring, card), card.expire_time)
        for one in outcomes
        for card in one.cards
    ]
    unfit = await store.unfit(db, given)
    first: dict[bytes, int] = {}  # of two in one batch, the one that came first
    for order_no, digest, _ in given:
        if first.setdefault(digest, order_no) != order_no:
            unfit.setdefault(order_no, False)
    for one in outcomes:
        if one.order_no in unfit:
            expired = unfit[one.order_no]
            why = "a card has expired" if expired else "a card was issued for another delivery"
            one.incident = one.desc = f"cards: {why}"
            one.verdict, one.claims = Verdict.UNKNOWN, True
            one.cards, one.succ_face_micros = (), 0


async def issue(
    db: AsyncConnection,
    ring: KeyRing,
    ids: IdMaker,
    outcomes: Sequence[Outcome],
    ended: Collection[int],
) -> None:
    """Store the cards of the deliveries that these outcomes have just ended."""
    given = [
        (one.order_no, seq, card)
        for one in outcomes
        if one.order_no in ended
        for seq, card in enumerate(one.cards, 1)
    ]
    new = [
        store.NewCard(
            card_id,
            order_no,
            seq,
            sealed(ring, card_id, card),
            digest_of(ring, card),
            card.expire_time,
        )
        for card_id, (order_no, seq, card) in zip(ids.take(len(given)), given, strict=True)
    ]
    if new:
        await store.insert(db, new)


def sealed(ring: KeyRing, card_id: int, card: Card) -> bytes:
    """What is stored of a card, bound to its row."""
    made = ring.seal_fields(TABLE, card_id, card.secrets)
    assert made is not None, "a card without a secret is refused where it is read"
    return made
