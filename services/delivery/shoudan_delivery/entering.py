"""Codes entered by hand for a delivery whose supplier says success without them.

While it is unknown how the delivery ends they are reserved for it, and issued by the decision of two persons
that it has succeeded; of one that has succeeded without they are issued at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from shoudan_delivery import card_answers, cards, stock
from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.refusals import AlreadyFinal, DeliveryNotFound, FieldInvalid
from shoudan_delivery.states import CardStatus, ServiceClass, Source, Status
from shoudan_delivery.store import cards as card_store
from shoudan_delivery.store import deliveries as store
from shoudan_delivery.store import missing as missing_store
from shoudan_delivery.store.rows import Card, Delivery, Key, Outcome, Verdict
from shoudan_kit.audit_log.entries import describe
from shoudan_kit.faults import hit
from shoudan_kit.secrets.sealing import KeyRing
from shoudan_kit.service import App
from shoudan_kit.tasks.unit_of_work import UnitOfWork


async def missing(
    app: App[DeliverySettings], after: int, most: int
) -> tuple[list[missing_store.Missing], str]:
    """Deliveries that lack their cards, oldest first, and the token of the next page."""
    async with app.db.connect() as db:
        found = await missing_store.page(db, after, most)
    return found, str(found[-1].order_no) if len(found) == most else ""


async def enter(app: App[DeliverySettings], ring: KeyRing, key: Key, file: bytes) -> int:
    """Take the cards of a file encrypted to our key; how many there are. A repeat changes nothing.

    Those entered before for a delivery that has not ended are replaced. Refuses FieldInvalid,
    DeliveryNotFound, AlreadyFinal of a delivery that failed.
    """
    given = _whole(stock.lines_of(ring, file))
    async with app.work("card.enter") as work:
        found = (await store.by_key(work.db, [key])).get(key)
        if found is None:
            raise DeliveryNotFound(key.coop_order_id)
        if found.service_class != ServiceClass.COUPON:
            raise FieldInvalid("key", "only deliveries of service class 20 have cards")
        status, there = (await card_store.locked(work.db, [found.order_no]))[found.order_no]
        _check(found, status, given)
        digests = {cards.digest_of(ring, card) for card in given}
        if there != digests:
            await _take(app, work, ring, found, given, there=bool(there), status=status)
        describe("delivery", str(found.order_no), after={"cards entered": len(given)})
    hit("card.entered")
    return len(given)


async def _take(
    app: App[DeliverySettings],
    work: UnitOfWork,
    ring: KeyRing,
    found: Delivery,
    given: Sequence[Card],
    *,
    there: bool,
    status: Status,
) -> None:
    succeeded = status is Status.SUCCEEDED
    if there and succeeded:
        raise FieldInvalid("key", "the delivery has cards already")
    outcome = Outcome(found.order_no, Verdict.SUCCEEDED, Source.MANUAL, cards=given)
    await cards.judge(work.db, ring, [outcome])
    if not outcome.cards:
        raise FieldInvalid("file", outcome.desc)
    kept = [cards.digest_of(ring, card) for card in given]
    await card_store.discard(work.db, found.order_no, kept)
    now = CardStatus.ISSUED if succeeded else CardStatus.RESERVED
    try:
        await cards.issue(work.db, ring, app.ids, [outcome], {found.order_no}, now)
    except cards.CardTaken:
        raise FieldInvalid("file", "cards: a card was issued for another delivery") from None
    if succeeded:
        await missing_store.end(work.db, [found.order_no])


def _whole(lines: Sequence[tuple[int, Card | str]]) -> list[Card]:
    """All of them, or none: a delivery is not issued by halves."""
    for at, line in lines:
        if isinstance(line, str):
            raise FieldInvalid("file", f"line {at}: {line}")
    return [card for _, card in lines if isinstance(card, Card)]


def _check(found: Delivery, status: Status, given: Sequence[Card]) -> None:
    if status is Status.FAILED:
        raise AlreadyFinal(found.coop_order_id, status)
    if status is Status.CREATED:
        raise FieldInvalid("key", "the delivery has not been sent")
    if wrong := card_answers.problem(given, found):
        raise FieldInvalid("file", wrong)
