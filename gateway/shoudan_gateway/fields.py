"""Readers of single parameters: text, whole numbers, amounts, URLs; each knows its JSON schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from shoudan_kit import money
from shoudan_kit.clock import from_beijing

FEN_STEPS = 1_000  # the ledger keeps three decimals of a fen
_FEN_TEXT = re.compile(r"(0|[1-9][0-9]{0,12})(?:\.([0-9]{1,3}))?")


@dataclass(frozen=True, slots=True)
class Text:
    """Any text without control characters, at most `chars_max` characters."""

    chars_max: int = 64

    @property
    def schema(self) -> Mapping[str, Any]:
        """Its JSON schema."""
        return {"type": "string", "maxLength": self.chars_max}

    def __call__(self, value: str) -> str:
        """The text itself."""
        if len(value) > self.chars_max:
            raise ValueError(f"长度不能超过{self.chars_max}")
        if not value.isprintable():
            raise ValueError("包含不可见字符")
        if value.isspace():
            raise ValueError("不能为空白")
        return value


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number in ASCII digits between two bounds, without leading zeros, as amounts are."""

    low: int = 0
    high: int = 2**63 - 1

    @property
    def schema(self) -> Mapping[str, Any]:
        """Its JSON schema."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high}

    def __call__(self, value: str) -> int:
        """The number."""
        if not value.isascii() or not value.isdigit() or len(value) > 19:
            raise ValueError("不是整数")
        if value[0] == "0" and value != "0":
            raise ValueError("不能以0开头")
        number = int(value)
        if not self.low <= number <= self.high:
            raise ValueError(f"取值范围{self.low}-{self.high}")
        return number


@dataclass(frozen=True, slots=True)
class Yuan:
    """An amount of 元 with at most five decimals, as micro-yuan."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """Its JSON schema."""
        return {"type": "string", "pattern": r"^(0|[1-9][0-9]*)(\.[0-9]{1,5})?$"}

    def __call__(self, value: str) -> int:
        """The amount in micro-yuan."""
        try:
            return money.yuan_to_micros(value)
        except ValueError:
            raise ValueError("不是金额(元，最多五位小数)") from None


@dataclass(frozen=True, slots=True)
class Fen:
    """An amount of 分 with at most three decimals, as micro-yuan; zero only where allowed."""

    zero: bool = False

    @property
    def schema(self) -> Mapping[str, Any]:
        """Its JSON schema."""
        return {"type": "string", "pattern": r"^(0|[1-9][0-9]*)(\.[0-9]{1,3})?$"}

    def __call__(self, value: str) -> int:
        """The amount in micro-yuan."""
        found = _FEN_TEXT.fullmatch(value)
        if found is None:
            raise ValueError("不是金额(分)")
        thousandths = int(found[1]) * FEN_STEPS + int((found[2] or "").ljust(3, "0"))
        micros = money.checked(thousandths * (money.FEN // FEN_STEPS))
        if micros == 0 and not self.zero:
            raise ValueError("金额必须大于0")
        return micros


def fen_text(micros: int) -> str:
    """The shortest text of an amount in 分, such as `19800` or `-0.5`."""
    thousandths, rest = divmod(abs(micros), money.FEN // FEN_STEPS)
    assert not rest, "the ledger holds no amount finer than five decimals of a yuan"
    whole, decimals = divmod(thousandths, FEN_STEPS)
    shown = f"{whole}.{decimals:03d}".rstrip("0") if decimals else str(whole)
    return f"-{shown}" if micros < 0 else shown


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute http(s) URL without user information; where it leads is judged when it is called."""

    chars_max: int = 512

    @property
    def schema(self) -> Mapping[str, Any]:
        """Its JSON schema."""
        return {"type": "string", "format": "uri", "maxLength": self.chars_max}

    def __call__(self, value: str) -> str:
        """The URL as it came."""
        if len(value) > self.chars_max:
            raise ValueError(f"长度不能超过{self.chars_max}")
        if not value.isprintable() or " " in value or "\\" in value:
            raise ValueError("不是有效的地址")
        try:
            parts = urlsplit(value)
            _ = parts.port  # raises when it is no port
        except ValueError:
            raise ValueError("不是有效的地址") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            raise ValueError("不是有效的http(s)地址")
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few whole numbers."""

    numbers: tuple[int, ...]

    @property
    def schema(self) -> Mapping[str, Any]:
        """Its JSON schema."""
        return {"type": "integer", "enum": list(self.numbers)}

    def __call__(self, value: str) -> int:
        """The number."""
        for number in self.numbers:
            if value == str(number):
                return number
        raise ValueError(f"只能是{'、'.join(map(str, self.numbers))}")


@dataclass(frozen=True, slots=True)
class Day:
    """A day as yyyymmdd."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """Its JSON schema."""
        return {"type": "string", "pattern": "^[0-9]{8}$"}

    def __call__(self, value: str) -> str:
        """The same text, proven to be a day."""
        if len(value) != 8 or not value.isascii() or not value.isdigit():
            raise ValueError("不是日期(yyyymmdd)")
        try:
            date(int(value[:4]), int(value[4:6]), int(value[6:]))
        except ValueError:
            raise ValueError("不是日期(yyyymmdd)") from None
        return value


@dataclass(frozen=True, slots=True)
class Moment:
    """A second of Beijing's clock as yyyy-MM-dd HH:mm:ss, as seconds since 1970."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """Its JSON schema."""
        return {
            "type": "string",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$",
        }

    def __call__(self, value: str) -> int:
        """The second; not before 1970, where there were none."""
        try:
            second = int(from_beijing(value).timestamp())
        except (ValueError, OverflowError):
            raise ValueError("不是时间(yyyy-MM-dd HH:mm:ss)") from None
        if second < 0:
            raise ValueError("不是时间(yyyy-MM-dd HH:mm:ss)")
        return second
