"""The rules of cards: sealed before they are written, issued once, shown to their partner alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.refusals import CardNotFound, CardState, CardsUnreadable
from shoudan_delivery.states import CARD, CardEvent, CardStatus, ServiceClass, Status
from shoudan_delivery.store import cards as store
from shoudan_delivery.store.cards import CardFilter, Fetch, StoredCard
from shoudan_delivery.store.rows import Card, Key, NewDelivery, Outcome, Verdict
from shoudan_delivery.tables import CARD_INFO
from shoudan_kit.audit_log.entries import describe
from shoudan_kit.ids import IdMaker
from shoudan_kit.secrets.sealing import KeyRing, Unsealable
from shoudan_kit.service import App

TABLE: Final = CARD_INFO.name
NAMED_MAX: Final = 10  # numbers of cards in a refusal
MASKED_CHARS: Final = 4  # of the end of a number, shown to operators
MASKED_CHARS_MIN: Final = 8  # of a shorter number too much would be shown
PARTNER: Final = "partner"
NOTIFY: Final = "notify"
RETURNED: Final = "delivery_id"  # of the params of a return: the delivery it takes back
# A state that an operator may set, and the events that lead there.
SETTABLE: Final[Mapping[CardStatus, tuple[CardEvent, ...]]] = {
    CardStatus.VOID: (CardEvent.VOIDED, CardEvent.WITHDRAWN),
    CardStatus.REDEEMED: (CardEvent.REDEEMED,),
}


def digest_of(ring: KeyRing, card: Card) -> bytes:
    """What a card is found by, of all suppliers: keyed, so that nothing is guessed from it."""
    return ring.content("card", sorted(card.secrets.items()))


class CardTaken(Exception):
    """Another process has stored one of these cards a moment ago, for another delivery."""


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
            one.verdict, one.claims, one.lacks_cards = Verdict.UNKNOWN, True, True
            one.cards, one.succ_face_micros = (), 0


async def issue(
    db: AsyncConnection,
    ring: KeyRing,
    ids: IdMaker,
    outcomes: Sequence[Outcome],
    ended: Collection[int],
    status: CardStatus = CardStatus.ISSUED,
) -> None:
    """Store the cards of the deliveries that these outcomes have just ended. Raises CardTaken.

    Cards that were entered by hand for the same delivery are taken for what they are.
    """
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
    if new and await store.insert(db, new, status) < len(new):
        raise CardTaken


async def issue_late(
    db: AsyncConnection, ring: KeyRing, ids: IdMaker, outcomes: Sequence[Outcome]
) -> None:
    """Store cards that come for deliveries which have succeeded without: a person had decided so."""
    first: dict[int, Outcome] = {}
    for one in outcomes:
        if one.cards:
            first.setdefault(one.order_no, one)
    if first:
        there = await store.locked(db, list(first))
        lacking = {
            order_no
            for order_no, (status, digests) in there.items()
            if status is Status.SUCCEEDED and not digests
        }
        await issue(db, ring, ids, list(first.values()), lacking)


def sealed(ring: KeyRing, card_id: int, card: Card) -> bytes:
    """What is stored of a card, bound to its row."""
    made = ring.seal_fields(TABLE, card_id, card.secrets)
    assert made is not None, "a card without a secret is refused where it is read"
    return made


# ---------------------------------------------------------------- shown
async def fetch(
    app: App[DeliverySettings],
    ring: KeyRing,
    keys: Sequence[Key],
    after: tuple[int, int],
    most: int,
    fetched: Fetch,
) -> list[tuple[StoredCard, Card]]:
    """A page of the cards of deliveries in clear, now revealed; recorded as `fetched` when there are any.

    What is void is there without its code. Refuses CardsUnreadable, and reveals nothing then.
    """
    async with app.work("card.fetch") as work:
        rows = await store.page(work.db, keys, after, most)
        opened = _opened(ring, [row for row in rows if row.status is not CardStatus.VOID])
        if fresh := [row.card_id for row in rows if row.status is CardStatus.ISSUED]:
            await store.reveal(work.db, fresh)
        if opened:
            await store.note(work.db, [_numbered(fetched, app.ids, len(opened))])
    return [(row, opened.get(row.card_id, Card())) for row in rows]


async def fetch_first(
    app: App[DeliverySettings],
    ring: KeyRing,
    orders: Sequence[tuple[Sequence[Key], Fetch]],
    most: int,
) -> list[list[tuple[StoredCard, Card]] | CardsUnreadable]:
    """The first page of each of several orders in one transaction, as `fetch`; each order by itself."""
    shown: list[list[tuple[StoredCard, Card]] | CardsUnreadable] = []
    fresh: list[int] = []
    fetches: list[Fetch] = []
    if not orders:
        return []
    async with app.work("card.fetch_first") as work:
        pages = await store.first(work.db, [keys for keys, _ in orders], most)
        for rows, (_, fetched) in zip(pages, orders, strict=True):
            try:
                opened = _opened(ring, [row for row in rows if row.status is not CardStatus.VOID])
            except CardsUnreadable as error:
                shown.append(error)
                continue
            fresh += [row.card_id for row in rows if row.status is CardStatus.ISSUED]
            if opened:
                fetches.append(_numbered(fetched, app.ids, len(opened)))
            shown.append([(row, opened.get(row.card_id, Card())) for row in rows])
        if fresh:
            await store.reveal(work.db, sorted(fresh))
        if fetches:
            await store.note(work.db, fetches)
    return shown


async def reveal(
    app: App[DeliverySettings], ring: KeyRing, card_ids: Sequence[int], fetched: Fetch
) -> list[tuple[StoredCard, Card]]:
    """A few cards in clear for an operator. Refuses CardNotFound, CardsUnreadable.

    What was shown stands in the audit log, and that it could not be opened.
    """
    unreadable: CardsUnreadable | None = None
    opened: dict[int, Card] = {}
    async with app.work("card.reveal") as work:
        found = await store.by_ids(work.db, card_ids)
        rows = [_found(found, card_id) for card_id in card_ids]
        after: dict[str, object] = {"revealed": len(rows)}
        try:
            opened = _opened(ring, rows)
        except CardsUnreadable as error:
            unreadable, after = error, {"revealed": 0, "unreadable": error.card_ids}
        else:
            await store.note(work.db, [_numbered(fetched, app.ids, len(opened))])
        describe("card", ", ".join(map(str, card_ids)), after=after)
    if unreadable is not None:
        raise unreadable
    return [(row, opened[row.card_id]) for row in rows]


async def page(
    app: App[DeliverySettings], wanted: CardFilter, before: int, most: int
) -> tuple[list[StoredCard], str]:
    """Cards as they are stored, newest first, and the token of the next page."""
    async with app.db.connect() as db:
        return await store.list_cards(db, wanted, before=before, most=most)


async def set_state(
    app: App[DeliverySettings], card_ids: Sequence[int], status: CardStatus
) -> None:
    """Move cards by an operator's decision, all or none; a repeat changes nothing.

    Refuses CardNotFound, CardState.
    """
    sources = {source for event in SETTABLE[status] for source in CARD.sources(event)}
    async with app.work("card.set_state") as work:
        found = await store.by_ids(work.db, card_ids)
        rows = [_found(found, card_id) for card_id in card_ids]
        for row in rows:
            if row.status not in sources and row.status is not status:
                raise CardState(row.card_id, row.status)
        before = {str(row.card_id): row.status.name for row in rows}
        await store.move(work.db, card_ids, sorted(sources), status)
        describe("cards", len(rows), before, dict.fromkeys(before, status.name))


def masked(ring: KeyRing, row: StoredCard) -> str | None:
    """The end of a card's number; empty when it is too short to be masked, None when it cannot be opened."""
    try:
        number = opened(ring, row).number
    except Unsealable:
        return None
    return number[-MASKED_CHARS:] if len(number) >= MASKED_CHARS_MIN else ""


def opened(ring: KeyRing, row: StoredCard) -> Card:
    """The code of a card. Raises Unsealable."""
    return Card(**ring.open_fields(TABLE, row.card_id, row.sealed), expire_time=row.expire_time)


def _opened(ring: KeyRing, rows: Sequence[StoredCard]) -> dict[int, Card]:
    """The codes by number. Refuses CardsUnreadable, naming the first that cannot be opened."""
    found: dict[int, Card] = {}
    unreadable: list[str] = []
    for row in rows:
        try:
            found[row.card_id] = opened(ring, row)
        except Unsealable:
            unreadable.append(str(row.card_id))
    if unreadable:
        raise CardsUnreadable(", ".join(unreadable[:NAMED_MAX]))
    return found


def _found(found: Mapping[int, StoredCard], card_id: int) -> StoredCard:
    if card_id not in found:
        raise CardNotFound(card_id)
    return found[card_id]


def _numbered(fetched: Fetch, ids: IdMaker, count: int) -> Fetch:
    return msgspec.structs.replace(fetched, fetch_id=ids.next(), cards=count)


# ---------------------------------------------------------------- back from the partner
async def void_for_returns(
    db: AsyncConnection, returns: Sequence[tuple[int, NewDelivery]]
) -> list[int]:
    """Make void what is to be returned, before the supplier is asked; the returns that cannot be made.

    Of several cards those that were never shown go first. A delivery without cards is none of these.
    """
    of = {
        order_no: Key(new.key.coop_id, new.params.get(RETURNED, ""), ServiceClass.COUPON)
        for order_no, new in returns
    }
    cards = await store.of_deliveries(db, list(of.values()))
    impossible: list[int] = []
    void: list[tuple[int, int]] = []
    for order_no, new in returns:
        there = cards.get((of[order_no].coop_id, of[order_no].coop_order_id), [])
        taken = {card_id for card_id, _ in void}
        open_ = [one for one in there if _returnable(one) and one.card_id not in taken]
        gone = [one for one in there if one.status is CardStatus.VOID and one.return_no is None]
        if there and len(open_) + len(gone) < new.num:
            impossible.append(order_no)
            continue
        first = sorted(open_, key=lambda one: one.status)
        void += [(one.card_id, order_no) for one in first[: max(0, new.num - len(gone))]]
    if void:
        await store.void(db, void)
    return impossible


def _returnable(card: store.DeliveredCard) -> bool:
    return card.status in CARD.sources(CardEvent.VOIDED)


async def restore(db: AsyncConnection, return_nos: Sequence[int]) -> None:
    """What these returns made void is its partner's again: the supplier has not taken it back."""
    await store.restore(db, return_nos)
