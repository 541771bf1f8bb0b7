"""Balance alerts: one when a balance falls below a threshold, and one when it has recovered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from shoudan_pay.ledger.entries import Alert, Crossing


def crossings(alert: Alert, balances: Iterable[tuple[int, int]]) -> list[Crossing]:
    """The crossings while an account goes through `balances`, each with the seq of its record.

    Edge-triggered with hysteresis: low when below the threshold, recovered only when that far above it
    again, so a balance that trembles around the threshold crosses it once.
    """
    crossed: list[Crossing] = []
    for balance, seq in balances:
        bound = alert.threshold_micros + (alert.hysteresis_micros if alert.low else 0)
        if (balance < bound) != alert.low:
            alert = replace(alert, low=not alert.low)
            crossed.append(Crossing(alert, balance, seq))
    return crossed


def changed(crossed: Sequence[Crossing]) -> list[Crossing]:
    """The last crossing of each alert."""
    last = {(c.alert.account_id, c.alert.threshold_micros): c for c in crossed}
    return list(last.values())
