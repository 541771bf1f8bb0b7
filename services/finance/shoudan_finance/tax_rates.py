"""At what rates lines and products are invoiced, as operators configure it in a TOML file.

No tax is reckoned here: what is invoiced is shown with its rate, and amounts are summed by it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Final

import msgspec

from shoudan_kit.money import PPM, rate_to_ppm

FILE_MAX: Final = 2**20
RATES_MAX: Final = 10_000
ALWAYS: Final = date(2000, 1, 1)


class RateWrong(ValueError):
    """What is wrong with the file."""


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rates of a line, or of one product of it, from a day on; as texts such as 0.13."""

    line: int
    goods: str
    service: str
    product: str = ""  # the channel's number of it; all others of the line when empty
    first_day: date = ALWAYS


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rate: tuple[Rate, ...] = ()


class Terms(msgspec.Struct, frozen=True):
    """Rates in parts per million: of the amount, and of the service fee."""

    goods_ppm: int
    service_ppm: int


class Rates:
    """Every rate, by line and product, the newest first."""

    def __init__(self, rates: Sequence[Rate] = ()) -> None:
        self._known: dict[tuple[int, str], list[tuple[date, Terms]]] = {}
        for one in sorted(rates, key=lambda rate: rate.first_day, reverse=True):
            terms = Terms(rate_to_ppm(one.goods), rate_to_ppm(one.service))
            self._known.setdefault((one.line, one.product), []).append((one.first_day, terms))

    def of(self, line: int, product: str, day: date) -> Terms | None:
        """What held on a day for a product, else for its line; None when the file says nothing."""
        for key in ((line, product), (line, "")):
            for first, terms in self._known.get(key, ()):
                if first <= day:
                    return terms
        return None


def load(configured: str) -> Rates:
    """The rates of the file; none without one. Raises RateWrong."""
    if not configured:
        return Rates()
    path = Path(configured)
    found = _parsed(path)
    if len(found) > RATES_MAX:
        raise RateWrong(f"{path.name}: more than {RATES_MAX} rates")
    seen: set[tuple[int, str, date]] = set()
    for one in found:
        key = one.line, one.product, one.first_day
        if key in seen:
            raise RateWrong(f"{path.name}: line {one.line} {one.product} stands there twice")
        seen.add(key)
        for name, text in _texts(one).items():
            _check(f"{path.name}: line {one.line}: {name}", text)
    return Rates(found)


def _texts(one: Rate) -> Mapping[str, str]:
    return {"goods": one.goods, "service": one.service}


def _check(where: str, text: str) -> None:
    try:
        known = rate_to_ppm(text) < PPM
    except ValueError:
        known = False
    if not known:
        raise RateWrong(f"{where}: {text[:20]!r} is no rate below 1, such as 0.13")


def _parsed(path: Path) -> tuple[Rate, ...]:
    try:
        if path.stat().st_size > FILE_MAX:
            raise RateWrong(f"{path.name} has more than {FILE_MAX} bytes")
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File).rate
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise RateWrong(f"{path.name}: {error}") from None
