"""The conformance examples of ChinaUMS (003) and Dingdang (004), as files and as the bytes they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_WHOLE = json.loads((Path(__file__).parent / "cases.json").read_text("utf-8"))
CASES: dict[str, dict[str, Any]] = {one["id"]: one for one in _WHOLE["cases"]}
MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
TEXT_MAX = 32


def body_of(name: str) -> bytes:
    return CASES[name]["body_raw"].encode()


def header_of(name: str) -> str:
    return CASES[name]["headers"]["Authorization"]


def check(expected: dict[str, Any], got: dict[str, Any], *, more: bool = False) -> None:
    """`got` is what is expected, `$...` standing for what matches it; `more` allows further keys."""
    assert expected.keys() <= got.keys()
    assert more or expected.keys() == got.keys()
    for name, value in expected.items():
        if value == "$dt":
            assert MOMENT.fullmatch(got[name]), name
        elif value == "$str":
            assert isinstance(got[name], str), name
            assert got[name], name
        elif value == "$str<=32":
            assert isinstance(got[name], str), name
            assert 0 < len(got[name]) <= TEXT_MAX, name
        else:
            assert got[name] == value, name
