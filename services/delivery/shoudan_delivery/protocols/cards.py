"""Reads the cards of an answer in the shapes suppliers send; what has no single meaning is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, cast

from shoudan_delivery.protocols.answers import Ambiguous, text_of
from shoudan_delivery.store.rows import Card

CARDS_MAX: Final = 1_000  # an order has no more units
CHARS_MAX: Final[Mapping[str, int]] = {"number": 128, "password": 128, "link": 1_024, "qr": 4_096}
BEIJING: Final = timezone(timedelta(hours=8))
# Our field: how suppliers spell it, compared in lower case without `_` and `-`.
_SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "number": ("number", "no", "cardno", "cardnumber", "couponno", "couponcode", "code", "卡号", "券码"),
    "password": ("password", "pwd", "pin", "cardpwd", "cardpassword", "cardpass", "卡密", "密码"),
    "link": ("link", "url", "shorturl"),
    "qr": ("qr", "qrcode", "二维码"),
    "expire_time": ("expiry", "expire", "expiretime", "expiredate", "validuntil", "有效期"),
    "face": ("face", "facevalue", "面值"),
    "product": ("product", "productno", "extproductno"),
    "order_no": ("orderno",),
}  # fmt: skip
_FIELDS: Final = {spelt: name for name, spellings in _SPELLINGS.items() for spelt in spellings}
_FORMS: Final = ("%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%Y%m%d%H%M%S")
_DAYS: Final = ("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d")
_LINK: Final = re.compile(r"https?://[^\s\x00-\x1f]+")


def is_field(name: str) -> bool:
    """Whether this names a field of a card."""
    return _folded(name) in _FIELDS


def of_value(value: object) -> list[Card]:
    """The cards of a text, an object, or a list of either; none of null and of what is empty.

    Raises Ambiguous, without a word of the answer, for what could not be issued as it came.
    """
    if value in (None, "", [], {}):
        return []
    many = cast("list[object]", value) if isinstance(value, list) else [value]
    if len(many) > CARDS_MAX:
        raise Ambiguous(f"more than {CARDS_MAX} cards")
    return [_card(one) for one in many]


def texts_in(value: object) -> Iterator[str]:
    """Every text within a value, however deep: what must be shown nowhere else."""
    rest = [value]
    while rest:  # ends: JSON is a finite tree
        one = rest.pop()
        if isinstance(one, Mapping):
            rest.extend(cast("Mapping[str, object]", one).values())
        elif isinstance(one, str):
            yield one
        elif isinstance(one, Sequence):
            rest.extend(cast("Sequence[object]", one))


def _folded(spelt: str) -> str:
    return spelt.lower().replace("_", "").replace("-", "")


def _card(value: object) -> Card:
    if not isinstance(value, Mapping):
        return _checked({"number": _text(value)})
    found: dict[str, str] = {}
    for spelt, one in cast("Mapping[str, object]", value).items():
        name = _FIELDS.get(_folded(spelt))
        text = _text(one)
        if not text:
            continue
        if name is None:
            raise Ambiguous("a card has a field that is not known")
        if found.setdefault(name, text) != text:
            raise Ambiguous(f"a card has two values of its {name}")
    return _checked(found)


def _text(value: object) -> str:
    text = (text_of(value) or "").strip()
    if any(ord(one) < 32 for one in text):
        raise Ambiguous("a card has control characters")
    return text


def _checked(found: Mapping[str, str]) -> Card:
    if not any(name in found for name in CHARS_MAX):
        raise Ambiguous("a card has no number, password, link or QR text")
    for name, most in CHARS_MAX.items():
        if len(found.get(name, "")) > most:
            raise Ambiguous(f"the {name} of a card has more than {most} characters")
    if "link" in found and not _LINK.fullmatch(found["link"]):
        raise Ambiguous("the link of a card is no http or https URL")
    given = {name: text for name, text in found.items() if name != "expire_time"}
    return Card(**given, expire_time=_moment(found.get("expire_time", "")))


def _moment(text: str) -> datetime | None:
    """When a card expires: ISO 8601, or Beijing time; a day is good to its end."""
    if not text:
        return None
    for form in _DAYS:
        try:
            day = datetime.strptime(text, form).replace(tzinfo=BEIJING)
        except ValueError:
            continue
        return (day + timedelta(days=1)).astimezone(UTC)
    for form in _FORMS:
        try:
            return datetime.strptime(text, form).replace(tzinfo=BEIJING).astimezone(UTC)
        except ValueError:
            continue
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Ambiguous("the expiry of a card is no date") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=BEIJING)).astimezone(UTC)
