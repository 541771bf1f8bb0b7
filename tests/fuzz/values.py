"""Values that have broken programs before, and any others: what fuzzing draws from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

T = TypeVar("T")

# How many inputs each part draws: a slice in every run of the tests, all of them in `just fuzz`.
INPUTS = int(os.environ.get("SHOUDAN_FUZZ_INPUTS", "0"))
COUNTS = "SHOUDAN_FUZZ_COUNTS"  # names a file, in which each part says how many it drew

TEXTS = (
    "", " ", "0", "-0", "00", " 1", "1 ", "+1", "1e2", "1E400", "198.0", "0x10", "１２３",
    "①②⑦", "NaN", "Infinity", "9" * 19, "9" * 5_000, "-" + "9" * 40, "0.00001", ".5", "5.",
    "1.2.3", "1,000", "\0", "a\0b", "\ufeff", "\u202e12", "'; DROP TABLE task; --", "%00", "%",
    "%zz", "%c0%af", "+", "&", "=", "a=b&a=c", "../../etc/passwd", "http://169.254.169.254/",
    "http://127.0.0.1:1/", "http://①②⑦.0.0.1/", "http://[::ffff:7f00:1]/", "http://user@host/",
    "http://a" * 300, "ftp://x/", "file:///etc/passwd", "2026-02-30", "0000-00-00",
    "9999-12-31", "2026-11-30 25:61:61", "{", "[" * 200, '{"a":' * 100, "null", "true",
    '{"a":1,"a":2}', "<html>", "\n", "\r\nX: y", "x" * 300, "漢" * 70, "😀" * 40,
    "\x7f\x80\x9f", "${x}", "{0}", "%s%n", "test", "ycup", "1", "10", "success",
)  # fmt: skip
BODIES = (
    b"", b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a":' * 5_000, b"9" * 5_000, b"NaN",
    b'{"a":1e999}', b'{"a":1,"a":2}', b'"\\ud800"', b'"\\u0000"', b"\x00", b"%00", b"\xc0\xaf",
    "金额".encode("gbk"), b"a=1&a=2", b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", b"<x/>",
    b"{}", b"[]", b"null", b"1",
)  # fmt: skip
NUMBERS = (
    0,
    1,
    -1,
    2,
    10,
    21,
    100,
    10**6,
    2**31 - 1,
    -(2**31),
    2**53,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
)


def no_surrogates() -> st.SearchStrategy[str]:
    """Any text that UTF-8 can say."""
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


texts = st.one_of(st.sampled_from(TEXTS), no_surrogates())
bodies = st.one_of(st.sampled_from(BODIES), st.binary(max_size=300), texts.map(str.encode))
numbers = st.one_of(st.sampled_from(NUMBERS), st.integers(-(2**63), 2**63 - 1))


def drawn(strategy: st.SearchStrategy[T], count: int) -> list[T]:
    """So many values of a strategy, others in every run."""
    found: list[T] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def take(value: T) -> None:
        found.append(value)

    while len(found) < count:  # it ends sooner where it has seen all there is
        take()
    return found[:count]


def counted(what: str, count: int) -> None:
    """Say how many inputs were given to what."""
    if file := os.environ.get(COUNTS):
        with Path(file).open("a", encoding="utf-8") as counts:
            counts.write(f"{what} {count}\n")
