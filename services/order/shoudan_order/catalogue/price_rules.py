"""What is done with a price or stock that a supplier states: the rules, and what follows of one statement.

Pure. Prices are judged against the cost that a person last set, not against the last one that was taken
over: many small steps never add up to more than one step may be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from shoudan_kit.money import MICROS_MAX, PPM
from shoudan_order.catalogue.index import Catalogue
from shoudan_order.catalogue.model import UpChannel, UpProduct
from shoudan_order.store.supplier_prices import Supplied

DAYS_AHEAD_MAX: Final = 366
FACES_MAX: Final = 10  # a price above so many times the face is a mistake


class PriceRule(StrEnum):
    """What is done with what a supplier states. Empty, of a product: as its supplier."""

    IGNORE = "ignore"
    ACCEPT = "accept"
    ASK = "ask"


class Outcome(StrEnum):
    """What came of one statement about one product."""

    UNKNOWN = "unknown"  # no product of the supplier has this number
    INVALID = "invalid"
    IGNORED = "ignored"
    LATE = "late"
    SAME = "same"
    TAKEN = "taken"
    ASKED = "asked"
    WAITING = "waiting"


class Stated(msgspec.Struct, frozen=True):
    """What a supplier states of one product. `version` is its own; 0 where it was asked, at `as_of`."""

    channel_no: str
    product: str
    as_of: datetime
    version: int = 0
    price_micros: int | None = None
    available: bool | None = None
    from_time: datetime | None = None
    # Of our own stock: every product of this carrier and face, whatever its rule.
    carrier_no: str = ""
    face_micros: int = 0


class Judged(msgspec.Struct, frozen=True):
    """A product and what is kept of it, after a statement."""

    product: UpProduct
    supplied: Supplied
    outcomes: tuple[Outcome, ...] = ()


def problems(row: Any) -> Iterator[str]:
    """What is wrong with the rule of a supplier or product."""
    if not isinstance(row, UpChannel | UpProduct):
        return
    if row.price_rule not in {*PriceRule, *(() if isinstance(row, UpChannel) else ("",))}:
        yield "price_rule is not ignore, accept or ask"
    if not 0 <= row.price_move_max_ppm <= PPM:
        yield "price_move_max is not 0 to 1"


def rule_of(catalogue: Catalogue, product: UpProduct) -> tuple[PriceRule, int]:
    """The rule of a product and how far a price may move by itself, in ppm of the reference."""
    channel = catalogue.up_channels[catalogue.up_shelves[product.shelf_id].channel_no]
    rule = PriceRule(product.price_rule or channel.price_rule)
    return rule, product.price_move_max_ppm or channel.price_move_max_ppm


def is_absurd(one: Stated, product: UpProduct) -> bool:
    """A price so far above the face that it was meant for something else."""
    price = one.price_micros
    return price is not None and price > product.face_micros * FACES_MAX


def is_valid(one: Stated, now: datetime) -> bool:
    """Whether it can be judged at all: a positive price, something stated, a time within a year."""
    price, start = one.price_micros, one.from_time
    return (
        (price is not None or one.available is not None)
        and (price is None or 0 < price <= MICROS_MAX)
        and one.version >= 0
        and (start is None or (start - now).days < DAYS_AHEAD_MAX)
    )


def cost_ppm(price_micros: int, face_micros: int) -> int:
    """The price of a unit in ppm of its face, rounded up: never less than is paid."""
    return -(-price_micros * PPM // face_micros)


def state(
    product: UpProduct,
    rule: tuple[PriceRule, int],
    kept: Supplied,
    one: Stated,
    now: datetime,
    asked_id: int,
) -> Judged:
    """What follows of a statement. Late, repeated and reordered ones change nothing.

    The newest version stands for the product, also before a price is in force or while a person is asked.
    """
    new_price = one.price_micros is not None and _is_newer(one, kept.price_version, kept)
    new_supply = one.available is not None and _is_newer(one, kept.supply_version, kept)
    if not (new_price or new_supply):
        return Judged(product, kept, (Outcome.LATE,))
    as_of = one.as_of if kept.as_of is None else max(one.as_of, kept.as_of)
    made = Judged(product, msgspec.structs.replace(kept, as_of=as_of))
    if new_supply and one.available is not None:
        made = _supply(made, one.version, available=one.available)
    if new_price and one.price_micros is not None:
        ppm = cost_ppm(one.price_micros, product.face_micros)
        supplied = msgspec.structs.replace(
            made.supplied,
            price_version=max(one.version, kept.price_version),
            stated_ppm=ppm,
            due_time=None,
            asked_id=kept.asked_id if ppm == kept.stated_ppm else None,
            refused_ppm=kept.refused_ppm if ppm == kept.stated_ppm else 0,
        )
        made = Judged(made.product, supplied, made.outcomes)
        if one.from_time is not None and one.from_time > now:
            made = _keep(made, Outcome.WAITING, due_time=one.from_time, asked_id=None)
        else:
            made = judge(made, rule, now, asked_id)
    return made


def judge(made: Judged, rule: tuple[PriceRule, int], now: datetime, asked_id: int) -> Judged:
    """Take the stated price over, or ask a person; `asked_id` is what is asked about."""
    product, kept = made.product, made.supplied
    kind, move_max_ppm = rule
    reference = reference_of(product, kept)
    ppm = kept.stated_ppm
    if ppm == product.cost_discount_ppm:
        return _keep(made, Outcome.SAME, due_time=None, asked_id=None)
    if kind is PriceRule.ACCEPT and abs(ppm - reference) * PPM <= move_max_ppm * reference:
        return take(made, reference)
    if (
        kept.asked_id is not None or kept.refused_ppm == ppm
    ):  # this very price was asked about before
        return _keep(made, Outcome.SAME, due_time=None)
    return _keep(made, Outcome.ASKED, due_time=None, asked_id=asked_id, asked_time=now)


def take(made: Judged, reference_ppm: int) -> Judged:
    """Take the stated price over; the reference is what later ones are judged against."""
    ppm = made.supplied.stated_ppm
    product = replace(made.product, cost_discount_ppm=ppm)
    return _keep(
        Judged(product, made.supplied, made.outcomes),
        Outcome.TAKEN,
        taken_ppm=ppm,
        reference_ppm=reference_ppm,
        due_time=None,
        asked_id=None,
    )


def refuse(made: Judged) -> Judged:
    """The cost stays as it is; the same price is not asked about again."""
    return _keep(made, Outcome.SAME, asked_id=None, refused_ppm=made.supplied.stated_ppm)


def reference_of(product: UpProduct, kept: Supplied) -> int:
    """The cost that a person set last: the product's own, unless it is what was taken over."""
    if kept.reference_ppm and kept.taken_ppm == product.cost_discount_ppm:
        return kept.reference_ppm
    return product.cost_discount_ppm


def _is_newer(one: Stated, version: int, kept: Supplied) -> bool:
    """By the supplier's own version; an answer to our asking by when it was asked."""
    if one.version:
        return one.version > version
    return kept.as_of is None or one.as_of > kept.as_of


def _supply(made: Judged, version: int, *, available: bool) -> Judged:
    """Suspend or resume; only what was suspended by this is resumed by it."""
    product, kept = made.product, made.supplied
    kept = msgspec.structs.replace(kept, supply_version=max(version, kept.supply_version))
    turned = (product.enabled and not available) or (kept.suspended and available)
    if not turned:
        return Judged(product, kept, (Outcome.SAME,))
    kept = msgspec.structs.replace(kept, suspended=not available)
    return Judged(replace(product, enabled=available), kept, (Outcome.TAKEN,))


def _keep(made: Judged, outcome: Outcome, **changed: Any) -> Judged:
    kept = msgspec.structs.replace(made.supplied, **changed)
    return Judged(made.product, kept, (*made.outcomes, outcome))
