"""The cards of the sandbox supplier: made of the order number, so that a test knows them beforehand."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from shoudan_fakes.scripts import Cards
from shoudan_fakes.wire import Reply, Request

CLASS: Final = 20  # 电子券发货
EXPIRY: Final = "2099-12-31"


def card(order_no: str, at: int) -> dict[str, str]:
    """Card number `at`, from 1, of a delivery."""
    made = hashlib.sha256(f"{order_no}/{at}".encode()).hexdigest()
    return {"number": f"CN{made[:14]}", "password": f"PW{made[14:30]}", "expiry": EXPIRY}


def cards_of(asked: Request) -> list[dict[str, str]]:
    """All of a delivery."""
    return [card(asked.order_no, at) for at in range(1, asked.num + 1)]


def add(reply: Reply, asked: Request, form: Cards, *, first: bool) -> None:
    """Put the cards of a delivery that succeeded into its answer, as the script says."""
    true = cards_of(asked)
    match form:
        case Cards.NONE:
            pass
        case Cards.NONE_AT_FIRST:
            reply.cards = None if first else true
        case Cards.TEXTS:
            reply.cards = [one["number"] for one in true]
        case Cards.OBJECT:
            reply.cards = true[0]
        case Cards.IN_DATA:
            reply.data = {"cards": true, "cost_amount": asked.amount}
        case Cards.AS_DATA:
            reply.data = true
        case Cards.IN_WORDS:
            reply.cards = true
            words = " ".join(text for one in true for text in one.values())
            reply.message = reply.up_order_no = words
        case _:
            reply.cards = _changed(true, asked, form)


def _changed(true: list[dict[str, str]], asked: Request, form: Cards) -> list[Any]:
    match form:
        case Cards.HALF:
            return true[: len(true) // 2]
        case Cards.ONE_MORE:
            return [*true, card(asked.order_no, len(true) + 1)]
        case Cards.TWICE:
            return [true[0]] * len(true)
        case Cards.ISSUED_BEFORE:
            return [card("the same for all", at) for at in range(1, len(true) + 1)]
        case Cards.LINKS:
            return [_link(one["number"]) for one in true]
        case _:
            return [one | _ADDED.get(form, {}) for one in true]


def _link(number: str) -> dict[str, str]:
    return {"link": f"https://cards.example.com/{number}", "qr": f"QR{number}"}


_ADDED: Final[dict[Cards, dict[str, str]]] = {
    Cards.OTHER_FACE: {"face": "1"},
    Cards.OTHER_ORDER: {"order_no": "1"},
    Cards.OTHER_PRODUCT: {"product": "another"},
    Cards.EXPIRED: {"expiry": "2020-01-01"},
    Cards.EMPTY: {"number": "", "password": ""},
    Cards.UNKNOWN_FIELD: {"colour": "blue"},
    Cards.NO_DATE: {"expiry": "soon"},
}
