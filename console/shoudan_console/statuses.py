"""The documented numbers of statuses, as words. Partners' documents have the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shoudan_console.values import Status
from shoudan_console.values import mark as _

Known = Mapping[int, tuple[str, str]]

ORDER: Final[Known] = {
    0: (_("Succeeded"), "good"),
    10: (_("Paying"), "busy"),
    20: (_("Delivering"), "busy"),
    90: (_("Failed"), "bad"),
    91: (_("Partly succeeded"), "warn"),
}
PAYMENT: Final[Known] = {
    0: (_("Paid"), "good"),
    10: (_("Not started"), "idle"),
    20: (_("Waiting"), "busy"),
    30: (_("Paying"), "busy"),
    90: (_("Overtime"), "bad"),
    99: (_("Not needed"), "idle"),
}
BIND: Final[Known] = {
    0: (_("Done"), "good"),
    10: (_("Not started"), "idle"),
    20: (_("Waiting"), "busy"),
    30: (_("Delivering"), "busy"),
    90: (_("Failed"), "bad"),
    91: (_("Partly succeeded"), "warn"),
}
DELIVERY: Final[Known] = {
    0: (_("Succeeded"), "good"),
    20: (_("Waiting"), "busy"),
    30: (_("Sent, outcome open"), "busy"),
    90: (_("Failed"), "bad"),
}
REFUND: Final[Known] = {
    0: (_("Succeeded"), "good"),
    10: (_("Returning"), "busy"),
    20: (_("Refunding"), "busy"),
    90: (_("Failed"), "bad"),
    91: (_("Partly succeeded"), "warn"),
}
NOTIFY: Final[Known] = {
    0: (_("Acknowledged"), "good"),
    10: (_("Not started"), "idle"),
    20: (_("Waiting"), "busy"),
    30: (_("Sending"), "busy"),
    100: (_("Answered by query"), "good"),
}
_TONES: Final = (
    (("fail", "dead", "conflict", "refused", "given"), "bad"),
    (("unknown", "park", "partial", "expired", "tripped", "suspend"), "warn"),
    (("done", "succeed", "applied", "open", "serving"), "good"),
)


def status(known: Known, number: int) -> Status:
    """A number as people see it; one that is not documented is shown as itself."""
    word, tone = known.get(number, (str(number), "idle"))
    return Status(word, tone, number)


def named(value: str) -> Status:
    """A state that services give as a word."""
    tone = next((one for words, one in _TONES if any(word in value for word in words)), "busy")
    return Status(value, tone)
