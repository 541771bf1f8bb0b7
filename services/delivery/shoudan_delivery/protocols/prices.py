"""Reads what suppliers state of one product: its price, whether it can be bought, and from when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

from shoudan_delivery.kinds import StatedPrice
from shoudan_delivery.protocols.answers import Ambiguous, text_of
from shoudan_kit.clock import BEIJING
from shoudan_kit.money import yuan_to_micros

PRODUCT_CHARS_MAX: Final = 64
STOCK_MAX: Final = 10**12
VERSION_MAX: Final = 2**63 - 1
PRODUCTS_MAX: Final = 500  # of one notify
TIME: Final = "%Y-%m-%d %H:%M:%S"
YEAR_MIN: Final = 2000
YEAR_MAX: Final = 2999


def stated_price(
    channel_no: str,
    product: str,
    as_of: datetime,
    *,
    version: int = 0,
    price: str = "",
    stock: str = "",
    status: str = "",
    start: str = "",
) -> StatedPrice:
    """A statement; empty texts state nothing. ValueError for what is absurd or states nothing at all."""
    if not 0 < len(product) <= PRODUCT_CHARS_MAX or not product.isprintable():
        raise ValueError("a product without number")
    if not (price or stock or status):
        raise ValueError("a product of which nothing is stated")
    price_micros = yuan_to_micros(price) if price else None
    if price_micros is not None and price_micros <= 0:
        raise ValueError("a price that is not above zero")
    available = _available(stock, status)
    return StatedPrice(
        channel_no,
        product,
        as_of,
        version=version,
        price_micros=price_micros,
        available=available,
        from_time=_from(start) if start else None,
    )


def _from(text: str) -> datetime:
    """From when a price is in force. ValueError for what is no time, or one that no clock of ours shows."""
    moment = datetime.strptime(text, TIME).replace(tzinfo=BEIJING)
    if not YEAR_MIN <= moment.year <= YEAR_MAX:
        raise ValueError("a time of another age")
    return moment


def _available(stock: str, status: str) -> bool | None:
    """What is off the shelf, or of which there is none, cannot be bought."""
    if status not in {"", "0", "1"}:
        raise ValueError("a status that is not 0 or 1")
    left = whole(stock, STOCK_MAX) if stock else None
    if not status and left is None:
        return None
    return status != "0" and left != 0


def whole(text: str, most: int) -> int:
    """A number in digits. ValueError for any other text, and for one that is too large."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 19 or int(text) > most:
        raise ValueError("no whole number, or one beyond its bounds")
    return int(text)


def notified(channel_no: str, fields: Mapping[str, Any], as_of: datetime) -> list[StatedPrice]:
    """The products of a notify of the default protocol. ValueError unless all can be read."""
    products: object = fields.get("products")
    if not isinstance(products, list):
        raise Ambiguous("no products")
    listed = cast("list[object]", products)
    if not 1 <= len(listed) <= PRODUCTS_MAX:
        raise Ambiguous(f"not 1 to {PRODUCTS_MAX} products")
    made: list[StatedPrice] = []
    for one in listed:
        if not isinstance(one, dict):
            raise Ambiguous("a product that is no object")
        said = cast("dict[str, object]", one)
        version = whole(_text(said, "version"), VERSION_MAX)
        if not version:
            raise ValueError("a version that is not above zero")
        made.append(
            stated_price(
                channel_no,
                _text(said, "product"),
                as_of,
                version=version,
                price=_text(said, "price"),
                stock=_text(said, "stock"),
                status=_text(said, "status"),
                start=_text(said, "effective_time"),
            )
        )
    return made


def _text(fields: Mapping[str, object], name: str) -> str:
    """A field as text; empty for none. Raises Ambiguous for what is no text."""
    return (text_of(fields.get(name)) or "").strip()
