"""Choosing among the suppliers that can deliver: cheapest, by shares, or by how they do (decision 0036).

Pure: the same order, offers and facts rank the same way in every process and after every restart.
Whole numbers only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import msgspec

from shoudan_kit.money import PPM
from shoudan_order.catalogue.index import Offer
from shoudan_order.catalogue.model import Line, RoutePolicy, UpProduct
from shoudan_order.store.routes import Facts

MILLE: Final = 1_000
WEIGHT_MAX: Final = 10_000
# Candidates a stored reason names; the rest is ranked all the same.
NAMED_MAX: Final = 8
# A supplier begins with this many successes, so that the first failure does not condemn it.
TRUSTED: Final = 4

# Terms of `outcome`, with the bounds of each: least, most, and what holds where a line says nothing.
TERMS: Final[Mapping[str, tuple[int, int, int]]] = {
    "explore_per_mille": (0, 500, 50),
    "failure_ppm": (0, PPM, 50_000),
    "second_ppm": (0, PPM, 10),
    "success_min_per_mille": (0, MILLE, 500),
    "ended_min": (5, 10_000, 20),
}


# By line and supplier.
FactTable = Mapping[tuple[int, str], Facts]
NO_FACTS: Final = Facts()


class Candidate(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A supplier as it was weighed: its cost in parts per million, its weight or its score.

    The lower score wins. `out`: excluded, asked only where no other can deliver.
    """

    channel_no: str
    weighed: int
    success_per_mille: int = -1
    p90_ms: int = -1
    net_ppm: int = -1
    ended: int = -1
    out: bool = False


class Reason(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """Why a part went where it went: candidates in the order they were preferred."""

    policy: str
    why: str
    draw: int
    of: int
    candidates: list[Candidate]
    # Suppliers that could deliver it, but are of a class that the line forbids.
    forbidden: list[str] = []


_ENCODER: Final = msgspec.json.Encoder()


def encoded(reason: Reason) -> str:
    """As it is stored with a part."""
    return _ENCODER.encode(reason).decode()


def decoded(text: str) -> Reason | None:
    """A stored reason; None of a part that was bound before reasons were stored."""
    return msgspec.json.decode(text, type=Reason) if text else None


@dataclass(frozen=True, slots=True)
class Ranked:
    """Offers in the order they are tried, and why, by face."""

    offers: Sequence[Offer]
    reasons: Mapping[int, Reason]
    forbidden: Sequence[Offer] = ()

    def reason(self, offer: Offer) -> str:
        """Why this offer, as it is stored."""
        found = self.reasons.get(offer.product.face_micros) or _cheapest(self.offers, offer)
        face = offer.product.face_micros
        without = named([one for one in self.forbidden if one.product.face_micros == face])
        return encoded(msgspec.structs.replace(found, forbidden=without) if without else found)


def rank(line: Line | None, offers: Sequence[Offer], facts: FactTable, key: int) -> Ranked:
    """Offers of an order, whose number is the `key` of its draws, as its line's policy prefers them.

    Larger faces stay before smaller ones; excluded suppliers come last of all, forbidden ones nowhere.
    """
    offers, forbidden = split(line, offers)
    if line is None or line.route_policy == RoutePolicy.CHEAPEST:
        return Ranked(offers, {}, forbidden)
    faces: dict[int, list[Offer]] = {}
    for offer in offers:
        faces.setdefault(offer.product.face_micros, []).append(offer)
    first: list[Offer] = []
    last: list[Offer] = []
    reasons: dict[int, Reason] = {}
    for face, group in faces.items():
        if line.route_policy == RoutePolicy.WEIGHTED:
            ranked, reasons[face] = _weighted(line, group, key)
            first += ranked
        else:
            ranked, out, reasons[face] = _by_outcome(line, group, facts, key)
            first += ranked
            last += out
    return Ranked([*first, *last], reasons, forbidden)


def split(line: Line | None, offers: Sequence[Offer]) -> tuple[Sequence[Offer], Sequence[Offer]]:
    """What a line may buy of these, the same object where it forbids nothing; and what it forbids."""
    if line is None or not line.forbid_supplier_classes:
        return offers, ()
    forbidden = [one for one in offers if _is_forbidden(line, one)]
    return [one for one in offers if not _is_forbidden(line, one)], forbidden


def named(offers: Sequence[Offer]) -> list[str]:
    """The suppliers of these with their classes, each once, at most NAMED_MAX."""
    return [*dict.fromkeys(f"{one.channel_no} ({one.risk_class})" for one in offers)][:NAMED_MAX]


def _is_forbidden(line: Line, offer: Offer) -> bool:
    return bool(offer.risk_class) and offer.risk_class in line.forbid_supplier_classes


def is_allowed(line: Line, offer: Offer) -> bool:
    """Whether the line ever chooses this supplier, by its policy and by the classes that it forbids."""
    return not _is_forbidden(line, offer) and _has_share(line, offer.channel_no)


def _has_share(line: Line, channel_no: str) -> bool:
    return line.route_policy != RoutePolicy.WEIGHTED or line.route_weights.get(channel_no, 0) > 0


def success_per_mille(facts: Facts) -> int:
    """Share of a supplier's deliveries that succeeded, with a few successes of credit."""
    return (facts.succeeded + TRUSTED) * MILLE // (facts.ended + TRUSTED)


def net_ppm(product: UpProduct) -> int:
    """What a supplier's product costs of the face, less what the supplier gives back."""
    return (
        product.cost_discount_ppm - product.commission_discount_ppm - product.service_discount_ppm
    )


def terms(line: Line) -> dict[str, int]:
    """The terms of a line, what it does not say as by default."""
    return {name: line.route_terms.get(name, usual) for name, (_, _, usual) in TERMS.items()}


def _drawn(key: int, stage: int, of: int) -> int:
    """0 to `of` - 1, evenly over orders; the same for one order at one stage whenever it is asked."""
    digest = blake2b(b"%d:%d" % (key, stage), digest_size=8).digest()
    return int.from_bytes(digest, "big") % of


def _cheapest(offers: Sequence[Offer], chosen: Offer) -> Reason:
    face = chosen.product.face_micros
    same = [one for one in offers if one.product.face_micros == face][:NAMED_MAX]
    named = [Candidate(one.channel_no, one.product.cost_discount_ppm) for one in same]
    return Reason(RoutePolicy.CHEAPEST, "cost", 0, 0, named)


def _weighted(line: Line, group: Sequence[Offer], key: int) -> tuple[list[Offer], Reason]:
    """One draw after the other among those that are left, each as likely as its weight says.

    A supplier without a weight is not allowed. The offers of one that has several follow each other.
    """
    by_channel: dict[str, list[Offer]] = {}
    for one in group:
        if _has_share(line, one.channel_no):
            by_channel.setdefault(one.channel_no, []).append(one)
    left = {no: line.route_weights[no] for no in sorted(by_channel)}
    ranked: list[Offer] = []
    named: list[Candidate] = []
    drawn = of = 0
    while left:
        total = sum(left.values())
        draw = _drawn(key, len(left), total)
        if not ranked:
            drawn, of = draw, total
        channel_no = _fallen_to(left, draw)
        named.append(Candidate(channel_no, left.pop(channel_no)))
        ranked += by_channel[channel_no]
    return ranked, Reason(RoutePolicy.WEIGHTED, "share", drawn, of, named[:NAMED_MAX])


def _fallen_to(shares: Mapping[str, int], draw: int) -> str:
    """Whose share a draw below the sum of all falls into."""
    for channel_no, share in shares.items():
        if draw < share:
            return channel_no
        draw -= share
    raise AssertionError("a draw is below the sum of the shares")


def _by_outcome(
    line: Line, group: Sequence[Offer], facts: FactTable, key: int
) -> tuple[list[Offer], list[Offer], Reason]:
    """The best first, but for a share of orders in which one of the others is; and who is excluded."""
    said = terms(line)
    weighed = [(one, _candidate(line, one, facts, said)) for one in group]
    weighed.sort(key=lambda pair: pair[1].weighed)  # stable: the cheaper of equals first
    able = [pair for pair in weighed if not pair[1].out]
    out = [pair for pair in weighed if pair[1].out]
    why, draw = "best", _drawn(key, 0, MILLE)
    if len(able) > 1 and draw < said["explore_per_mille"]:
        why = "explored"
        able.insert(0, able.pop(1 + _drawn(key, 1, len(able) - 1)))
    named = [candidate for _, candidate in (*able, *out)][:NAMED_MAX]
    reason = Reason(RoutePolicy.OUTCOME, why, draw, said["explore_per_mille"], named)
    return [one for one, _ in able], [one for one, _ in out], reason


def _candidate(line: Line, offer: Offer, facts: FactTable, said: Mapping[str, int]) -> Candidate:
    found = facts.get((line.line_id, offer.channel_no), NO_FACTS)
    net, success = net_ppm(offer.product), success_per_mille(found)
    fails = said["failure_ppm"] * (MILLE - success) // MILLE
    waits = said["second_ppm"] * found.p90_ms // MILLE
    enough = found.recent_ended >= said["ended_min"]
    floor = said["success_min_per_mille"] * found.recent_ended
    out = enough and found.recent_succeeded * MILLE < floor
    return Candidate(
        offer.channel_no, net + fails + waits, success, found.p90_ms, net, found.ended, out
    )
