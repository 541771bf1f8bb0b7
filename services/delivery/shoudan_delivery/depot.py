"""Our own stock where there are several shards: it lies in the first, and others are handed cards of it.

A card is reserved in the first shard for one delivery, stored in that delivery's shard under a number of
its own, and void in the first from then on. Each step is committed before the next, can be repeated, and
names the delivery: so a card is one delivery's whatever dies in between. What was left half done is finished
later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from shoudan_delivery import stock
from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.store import stock as store
from shoudan_delivery.store.rows import Outgoing
from shoudan_delivery.store.stock import HeldCard
from shoudan_delivery.tables import CARD_INFO
from shoudan_kit import log
from shoudan_kit.db.errors import survived
from shoudan_kit.db.pool import retry
from shoudan_kit.db.shard_keys import shard_of_number
from shoudan_kit.faults import hit
from shoudan_kit.secrets.sealing import KeyRing
from shoudan_kit.service import App

HELD_S: Final = 300.0  # by then the process that reserved it is done, or gone
HELD_MAX: Final = 200  # deliveries looked at in one round

_log = log.get_logger("depot")


class Depot:
    """The stock of the first shard, as another shard draws from it."""

    def __init__(self, app: App[DeliverySettings], ring: KeyRing) -> None:
        self._app, self._ring = app, ring

    async def draw(self, rows: Sequence[Outgoing]) -> list[Outgoing]:
        """Reserve for each all of its cards or none; those for which there are too few, or which have ended.

        Raises what a database that is away raises: then it is not known, and asked again.
        """
        async with self._app.work("stock.look") as work:
            there = await store.open_deliveries(work.db, [row.order_no for row in rows])
        wanted = [row for row in rows if there.get(row.order_no) == 0]
        held = await retry(lambda: self._set_aside(wanted, waiting=False)) if wanted else {}
        if lacking := [row for row in wanted if row.order_no not in held]:
            held |= await retry(lambda: self._set_aside(lacking, waiting=True))
        hit("stock.set_aside")
        taken = await retry(lambda: self._take_over(held)) if held else set[int]()
        hit("stock.taken_over")
        with survived(_log, "stock_not_handed_on"):  # found again later
            await retry(lambda: self._settle(taken, set(held) - taken))
        has = {no for no, reserved in there.items() if reserved} | taken
        return [row for row in rows if row.order_no not in has]

    async def _set_aside(
        self, rows: Sequence[Outgoing], *, waiting: bool
    ) -> dict[int, list[HeldCard]]:
        """Reserve in the first shard; what is reserved there for each, also from before."""
        numbers = [row.order_no for row in rows]
        async with self._app.first.work("stock.set_aside") as work:
            held = await store.held_for(work.db, numbers)
            needing = [row for row in rows if row.order_no not in held]
            given = await stock.assigned(work.db, needing, waiting=waiting) if needing else []
            if given:
                await store.reserve(work.db, given)
                held = await store.held_for(work.db, numbers)
        return held

    async def _take_over(self, held: Mapping[int, Sequence[HeldCard]]) -> set[int]:
        """Store them here, for deliveries that still run; the deliveries that have their cards now."""
        async with self._app.work("stock.take_over") as work:
            there = await store.open_deliveries(work.db, list(held))
            new = [one for no, cards in held.items() if there.get(no) == 0 for one in cards]
            if new:
                ids = self._app.ids.take(len(new))
                moved = [self._sealed(one, at) for one, at in zip(new, ids, strict=True)]
                await store.take_over(work.db, moved)
        return set(there)

    async def _settle(self, taken: set[int], ended: set[int]) -> None:
        """In the first shard: what was taken over is void, what was set aside for an ended one is free."""
        await settle(self._app.first, taken, ended)

    def _sealed(self, one: HeldCard, card_id: int) -> HeldCard:
        """The same card as a row of its own: a seal is bound to its row."""
        secrets = self._ring.open_fields(CARD_INFO.name, one.card_id, one.sealed)
        sealed = self._ring.seal_fields(CARD_INFO.name, card_id, secrets)
        assert sealed is not None, "a card without a secret is refused where it is read"
        return replace(one, card_id=card_id, sealed=sealed)


async def settle(first: App[DeliverySettings], taken: set[int], ended: set[int]) -> None:
    """Cards of the first shard: void where their delivery has them, free where it has ended without."""
    if not (taken or ended):
        return
    async with first.work("stock.settle") as work:
        if taken:
            await store.hand_on(work.db, sorted(taken))
        if ended:
            await store.release(work.db, sorted(ended))


async def finish(
    first: App[DeliverySettings], of_shard: Callable[[int], App[DeliverySettings]]
) -> None:
    """Settle what processes left half done; a shard that is away is looked at the next time."""
    shards = first.home.shards
    if shards == 1:
        return
    async with first.db.connect() as db:
        held = await store.held_long(db, HELD_S, HELD_MAX)
    by_shard: dict[int, list[int]] = {}
    for number in held:
        by_shard.setdefault(shard_of_number(number, shards), []).append(number)
    by_shard.pop(0, None)  # its own deliveries are beside their cards
    for numbers in by_shard.values():
        with survived(_log, "stock_not_settled"):
            async with of_shard(numbers[0]).db.connect() as db:
                found = await store.standing(db, numbers)
            taken = {one.order_no for one in found if one.has_cards}
            ended = {one.order_no for one in found if one.ended and not one.has_cards}
            await settle(first, taken, ended)
