"""Money as whole micro-yuan: the only place where amounts become text and rates are applied."""

from __future__ import annotations

import re

YUAN = 1_000_000
FEN = 10_000
PPM = 1_000_000  # a whole, in the millionths that rates are given in
# The documents keep five decimals of a yuan, so every amount on a wire is a multiple of this.
STEP = 10
# JSON readers that know only doubles still read every amount exactly.
MICROS_MAX = 2**53
# A thousandfold: far above any commission or discount, low enough to catch a misplaced unit.
RATE_PPM_MAX = 1_000_000_000

_YUAN_TEXT = re.compile(r"(-?)(0|[1-9][0-9]{0,10})(?:\.([0-9]{1,5}))?")
_RATE_TEXT = re.compile(r"(0|[1-9][0-9]{0,3})(?:\.([0-9]{1,6}))?")


def checked(micros: int) -> int:
    """`micros` again. ValueError when it is no int or beyond 2**53."""
    if type(micros) is not int:
        raise ValueError("an amount is an int of micro-yuan")
    if not -MICROS_MAX <= micros <= MICROS_MAX:
        raise ValueError("amount beyond 2**53 micro-yuan")
    return micros


def yuan_to_micros(text: str, *, signed: bool = False) -> int:
    """Micro-yuan of `12`, `12.5` or `12.34567`; with `signed` also `-12.5`.

    ValueError on everything else: more than five decimals, exponents, spaces, plus signs, leading zeros,
    full-width digits, NaN, more than 2**53 micros.
    """
    found = _YUAN_TEXT.fullmatch(text)
    if found is None:
        raise ValueError("not an amount in yuan with at most five decimals")
    sign, whole, decimals = found.groups()
    if sign and not signed:
        raise ValueError("a negative amount is not allowed here")
    micros = int(whole) * YUAN + int((decimals or "").ljust(6, "0"))
    return checked(-micros if sign else micros)


def micros_to_yuan(micros: int) -> str:
    """The shortest text: `12`, `12.5`, `-0.00001`. ValueError when five decimals cannot hold it."""
    if checked(micros) % STEP:
        raise ValueError("amount finer than five decimals of a yuan")
    whole, rest = divmod(abs(micros), YUAN)
    sign = "-" if micros < 0 else ""
    return f"{sign}{whole}" + (f".{rest:06d}".rstrip("0") if rest else "")


def fen_to_micros(fen: int) -> int:
    """Micro-yuan of whole fen."""
    if type(fen) is not int:
        raise ValueError("fen are an int")
    return checked(fen * FEN)


def micros_to_fen(micros: int) -> int:
    """Whole fen. ValueError when a part of a fen would be lost."""
    fen, rest = divmod(checked(micros), FEN)
    if rest:
        raise ValueError("amount is not in whole fen")
    return fen


def apply_rate(micros: int, ppm: int) -> int:
    """amount times rate, rounded half away from zero to ten micros (five decimals of a yuan)."""
    if type(ppm) is not int or not -RATE_PPM_MAX <= ppm <= RATE_PPM_MAX:
        raise ValueError("rate beyond a thousandfold, or no int of parts per million")
    product = checked(micros) * ppm
    steps = (abs(product) + STEP * YUAN // 2) // (STEP * YUAN)
    return checked(STEP * (-steps if product < 0 else steps))


def rate_to_ppm(text: str) -> int:
    """Parts per million of `0.9` or `1`, at most six decimals, never negative. ValueError otherwise."""
    found = _RATE_TEXT.fullmatch(text)
    if found is None:
        raise ValueError("not a rate with at most six decimals")
    ppm = int(found[1]) * YUAN + int((found[2] or "").ljust(6, "0"))
    if ppm > RATE_PPM_MAX:
        raise ValueError("rate beyond a thousandfold")
    return ppm


def ppm_to_rate(ppm: int) -> str:
    """The shortest text of a rate: `0.9`, `1`, `0.000001`."""
    if type(ppm) is not int or not 0 <= ppm <= RATE_PPM_MAX:
        raise ValueError("rate below zero, beyond a thousandfold, or no int of parts per million")
    whole, rest = divmod(ppm, YUAN)
    return f"{whole}" + (f".{rest:06d}".rstrip("0") if rest else "")
