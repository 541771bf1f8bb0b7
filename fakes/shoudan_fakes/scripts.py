"""The scripted outcomes of the sandbox supplier: the last four digits of the account choose one."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

TAIL_DIGITS = 4
RETURN_CLASS = 21  # 电子券退货: some scripts take goods out but not back

# The codes of the seed's own example.
CODE_OK = "R_0000"
CODE_FAILED = "R_5124"
CODE_UNKNOWN = "R_9999"
CODE_UNLISTED = "R_7777"
CODE_NO_SUCH_ORDER = "R_4040"


class Fate(StrEnum):
    """What the supplier really does with the goods."""

    FULFILLED = "fulfilled"
    FAILED = "failed"
    NEVER = "never"
    # The first request gets lost before the supplier notes it; a second one is fulfilled.
    LOST_ONCE = "lost_once"
    # The first delivery of an order is fulfilled, the others fail.
    FIRST_ONLY = "first_only"


class Answer(StrEnum):
    """What it answers to the request."""

    TRUTH = "truth"
    UNKNOWN = "unknown"
    FAILED = "failed"
    HTML = "html"
    RESET = "reset"
    CUT = "cut"
    WRONG_AMOUNT = "wrong_amount"
    WRONG_NUMBER = "wrong_number"
    UNLISTED = "unlisted"
    HTTP_500 = "http_500"


class Cards(StrEnum):
    """What it says of the cards of vouchers it delivered."""

    TRUE = "true"
    NONE = "none"
    NONE_AT_FIRST = "none at first"
    HALF = "half"
    ONE_MORE = "one more"
    TWICE = "twice"
    OTHER_FACE = "other face"
    OTHER_ORDER = "other order"
    OTHER_PRODUCT = "other product"
    ISSUED_BEFORE = "issued before"
    EXPIRED = "expired"
    EMPTY = "empty"
    UNKNOWN_FIELD = "unknown field"
    NO_DATE = "no date"
    TEXTS = "texts"
    OBJECT = "object"
    IN_DATA = "in data"
    AS_DATA = "as data"
    LINKS = "links"
    IN_WORDS = "in words"


@dataclass(frozen=True, slots=True)
class Script:
    """One row of the documented table. `slow` and `late` are knobs in seconds, not constants."""

    tail: str
    about: str
    fate: Fate = Fate.FULFILLED
    answer: Answer = Answer.TRUTH
    slow: bool = False
    late: bool = False
    notifies_before: int = 0
    notifies_after: int = 0
    returns_as: str = ""
    cards: Cards = Cards.TRUE


_TABLE = (
    Script("0000", "success"),
    Script("0001", "failure", fate=Fate.FAILED),
    Script("0002", "unknown, then success on query", answer=Answer.UNKNOWN),
    Script("0003", "unknown for ever", fate=Fate.NEVER, answer=Answer.UNKNOWN),
    Script("0004", "the first delivery of an order succeeds, the others fail", Fate.FIRST_ONLY),
    Script("0005", "success, notified twice more", notifies_after=2),
    Script("0006", "success, the notify comes before the answer", notifies_before=1),
    Script("0007", "success, answered after 30 s (knob slow_s)", slow=True),
    Script(
        "0008",
        "fulfilled and notified only after the time-out (knob late_s)",
        late=True,
        notifies_after=1,
    ),
    Script("0009", "fulfilled, answers an HTML page with status 200", answer=Answer.HTML),
    Script("0010", "fulfilled, resets the connection without an answer", answer=Answer.RESET),
    Script("0011", "fulfilled, answers another amount", answer=Answer.WRONG_AMOUNT),
    Script("0012", "fulfilled, answers another order number", answer=Answer.WRONG_NUMBER),
    Script("0013", "fulfilled, answers JSON cut in the middle", answer=Answer.CUT),
    Script("0014", "fulfilled, answers an unlisted code", answer=Answer.UNLISTED),
    Script(
        "0015",
        "answers failure, later notifies success: a contradiction",
        answer=Answer.FAILED,
        notifies_after=1,
    ),
    Script("0016", "fulfilled, answers HTTP 500", answer=Answer.HTTP_500),
    Script("0017", "the first request is lost on the way, a second one succeeds", Fate.LOST_ONCE),
    Script("0018", "accepted, success by notify", answer=Answer.UNKNOWN, notifies_after=1),
    Script("0019", "accepted, failure by notify", Fate.FAILED, Answer.UNKNOWN, notifies_after=1),
    Script("0020", "delivered; the return fails", returns_as="0001"),
    Script("0021", "delivered; the return is unknown, then succeeds on query", returns_as="0002"),
    Script("0022", "delivered; the return is unknown for ever", returns_as="0003"),
    Script("0100", "success, its card as one object", cards=Cards.OBJECT),
    Script("0101", "success, its cards as texts", cards=Cards.TEXTS),
    Script("0102", "success, its cards within `data`", cards=Cards.IN_DATA),
    Script("0103", "success, its cards are the `data`", cards=Cards.AS_DATA),
    Script("0104", "success, cards that are links and QR texts", cards=Cards.LINKS),
    Script("0110", "success without cards, for ever", cards=Cards.NONE),
    Script("0111", "success without cards, with them on query", cards=Cards.NONE_AT_FIRST),
    Script("0112", "success with half of the cards", cards=Cards.HALF),
    Script("0113", "success with a card too many", cards=Cards.ONE_MORE),
    Script("0114", "success with the same card twice", cards=Cards.TWICE),
    Script("0115", "success with cards of another face", cards=Cards.OTHER_FACE),
    Script("0116", "success with cards of another order", cards=Cards.OTHER_ORDER),
    Script("0117", "success with cards of another product", cards=Cards.OTHER_PRODUCT),
    Script("0118", "success with cards that all orders get", cards=Cards.ISSUED_BEFORE),
    Script("0119", "success with expired cards", cards=Cards.EXPIRED),
    Script("0120", "success with cards without a number", cards=Cards.EMPTY),
    Script("0121", "success with cards that have an unknown field", cards=Cards.UNKNOWN_FIELD),
    Script("0122", "success with cards whose expiry is no date", cards=Cards.NO_DATE),
    Script("0123", "success, the cards in the message, too", cards=Cards.IN_WORDS),
    Script("0124", "cards in JSON cut in the middle", answer=Answer.CUT, cards=Cards.IN_WORDS),
)

SCRIPTS = {script.tail: script for script in _TABLE}
SUCCESS = SCRIPTS["0000"]


def chinese() -> dict[str, str]:
    """What the accounts do that partners need, in Chinese, by their last digits."""
    return tomllib.loads((Path(__file__).parent / "accounts.toml").read_text("utf-8"))


def script_of(account: str, service_class: int) -> Script:
    """The script of this account; everything unlisted succeeds."""
    script = SCRIPTS.get(account[-TAIL_DIGITS:], SUCCESS)
    if service_class == RETURN_CLASS and script.returns_as:
        return SCRIPTS[script.returns_as]
    return script
