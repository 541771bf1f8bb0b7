"""Codes entered by hand, of a delivery that has succeeded without: money is decided elsewhere, by two."""

from __future__ import annotations

from collections.abc import Sequence

from shoudan_delivery import card_answers, cards, stock
from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.refusals import AlreadyFinal, DeliveryNotFound, FieldInvalid
from shoudan_delivery.states import FINAL, ServiceClass, Source, Status
from shoudan_delivery.store import cards as card_store
from shoudan_delivery.store import deliveries as store
from shoudan_delivery.store.rows import Card, Delivery, Key, Outcome, Verdict
from shoudan_kit.audit_log.entries import describe
from shoudan_kit.secrets.sealing import KeyRing
from shoudan_kit.service import App


async def enter(app: App[DeliverySettings], ring: KeyRing, key: Key, file: bytes) -> int:
    """Issue the cards of a file encrypted to our key; how many there are. A repeat changes nothing.

    Refuses FieldInvalid, DeliveryNotFound, AlreadyFinal of a delivery that failed.
    """
    given = _whole(stock.lines_of(ring, file))
    async with app.work("card.enter") as work:
        found = (await store.by_key(work.db, [key])).get(key)
        if found is None:
            raise DeliveryNotFound(key.coop_order_id)
        _check(found, given)
        there = (await card_store.locked(work.db, [found.order_no])).get(found.order_no, set())
        digests = {cards.digest_of(ring, card) for card in given}
        if there and there != digests:
            raise FieldInvalid("key", "the delivery has cards already")
        if not there:
            outcome = Outcome(found.order_no, Verdict.SUCCEEDED, Source.MANUAL, cards=given)
            await cards.judge(work.db, ring, [outcome])
            if not outcome.cards:
                raise FieldInvalid("file", outcome.desc)
            await cards.issue(work.db, ring, app.ids, [outcome], {found.order_no})
        describe("delivery", str(found.order_no), after={"cards entered": len(given)})
    return len(given)


def _whole(lines: Sequence[tuple[int, Card | str]]) -> list[Card]:
    """All of them, or none: a delivery is not issued by halves."""
    for at, line in lines:
        if isinstance(line, str):
            raise FieldInvalid("file", f"line {at}: {line}")
    return [card for _, card in lines if isinstance(card, Card)]


def _check(found: Delivery, given: Sequence[Card]) -> None:
    if found.service_class != ServiceClass.COUPON:
        raise FieldInvalid("key", "only deliveries of service class 20 have cards")
    if found.status not in FINAL:
        raise FieldInvalid(
            "key", "the delivery has not ended: decide it first, then enter its cards"
        )
    if found.status is not Status.SUCCEEDED:
        raise AlreadyFinal(found.coop_order_id, found.status)
    if wrong := card_answers.problem(given, found):
        raise FieldInvalid("file", wrong)
