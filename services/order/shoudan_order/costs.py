"""What a delivery cost: the agreed cost, or what its supplier states while that is believable."""

from __future__ import annotations

from dataclasses import dataclass

from shoudan_kit.money import MICROS_MAX, STEP, micros_to_yuan
from shoudan_order.delivery_client import Outcome


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost to book; `stated` is set when the supplier's number replaced the agreed one."""

    micros: int
    stated: bool = False
    refused: str = ""  # why the supplier's number is not booked, for the audit


def booked(agreed_micros: int, outcome: Outcome, max_ppm: int) -> Cost:
    """The stated cost up to `max_ppm` of the agreed one; anything else leaves the agreed cost."""
    stated_micros = outcome.cost_amount_micros
    if stated_micros is None:
        return Cost(agreed_micros, refused=_refused("unreadable") if outcome.cost_text else "")
    if stated_micros < 0:
        return Cost(agreed_micros, refused=_refused("negative"))
    if stated_micros % STEP or stated_micros > MICROS_MAX:
        return Cost(agreed_micros, refused=_refused("unreadable"))
    if stated_micros * 1_000_000 > agreed_micros * max_ppm:
        text = f"{micros_to_yuan(stated_micros)} for the agreed {micros_to_yuan(agreed_micros)}"
        return Cost(agreed_micros, refused=_refused(text))
    return Cost(stated_micros, stated=True)


def _refused(what: str) -> str:
    return f"supplier's cost not booked: {what}; the agreed cost is"
