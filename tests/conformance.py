"""The customer's conformance cases, one file for all documents, and whether an answer fits one.

`conformance.json` has the customer's own shape: `cases` by id, and `matchers`, which explains the `$…`
placeholders. The number that an id begins with is that of its document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from shoudan_kit.clock import from_beijing

Case = dict[str, Any]

_CASES: dict[str, Case] = {
    case["id"]: case
    for case in json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))["cases"]
}
_DT = r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}"
_FORMS = {
    "$digits": r"[0-9]+",
    "$str": r"(?s).+",
    "$str<=32": r"(?s).{1,32}",
    "$dt": _DT,
    "$dt(+24h)": _DT,
    "$uuid22": r"[A-Za-z0-9]{22}",
    "$guid": r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}",
    "$href": r"https?://\S+",
    "$traction:1": r"1\d{15}",
    "$traction:2": r"2\d{15}",
}


def cases(*documents: str) -> dict[str, Case]:
    """The cases of these documents, such as "002", by id."""
    return {name: case for name, case in _CASES.items() if name.startswith(documents)}


def body_of(name: str) -> bytes:
    """The bytes that were signed."""
    return _CASES[name]["body_raw"].encode()


def header_of(name: str) -> str:
    """The Authorization header of a case."""
    return _CASES[name]["headers"]["Authorization"]


@dataclass(frozen=True)
class Matching:
    """How strictly answers are compared: with `base` as our public URL, keys in the order shown or in any,
    and beside the keys shown these `extra` ones."""

    base: str = ""
    in_order: bool = False
    extra: frozenset[str] = frozenset()

    def unfit(self, wanted: Any, got: Any, at: str = "$") -> list[str]:
        """Where `got` differs from `wanted`; nothing when it fits."""
        if isinstance(wanted, dict):
            return list(self._object(wanted, got, at))
        if isinstance(wanted, list):
            return list(self._list(wanted, got, at))
        if isinstance(wanted, str) and "$" in wanted:
            return [] if self._text(wanted, got) else [f"{at}: {got!r} is not {wanted}"]
        same = type(wanted) is type(got) and wanted == got
        return [] if same else [f"{at}: {got!r} instead of {wanted!r}"]

    def _object(self, wanted: dict[str, Any], got: Any, at: str) -> Iterator[str]:
        if not isinstance(got, dict):
            yield f"{at}: no object"
            return
        keys = [name for name in got if name in wanted]
        if keys != list(wanted) if self.in_order else set(keys) != set(wanted):
            yield f"{at}: keys {list(got)} instead of {list(wanted)}"
        yield from (f"{at}: unexpected {name}" for name in set(got) - set(wanted) - self.extra)
        for name in keys:
            if wanted[name] == "$len(items)":
                if got[name] != len(got["items"]):
                    yield f"{at}.{name}"
            else:
                yield from self.unfit(wanted[name], got[name], f"{at}.{name}")
        if wanted.get("orderExpiredAt") == "$dt(+24h)":
            start, end = map(_moment, (got["orderStartAt"], got["orderExpiredAt"]))
            if end - start != timedelta(hours=24):
                yield f"{at}.orderExpiredAt"

    def _list(self, wanted: list[Any], got: Any, at: str) -> Iterator[str]:
        if not isinstance(got, list):
            yield f"{at}: no list"
        elif wanted and wanted[0] == "$each":
            for i, one in enumerate(got):
                yield from self.unfit(wanted[1], one, f"{at}[{i}]")
        elif wanted and wanted[0] == "$oneof":
            for one in wanted[1:]:
                if all(self.unfit(one, item) for item in got):
                    yield f"{at}: nothing like {one}"
        elif len(wanted) != len(got):
            yield f"{at}: {len(got)} elements instead of {len(wanted)}"
        else:
            for i, (one, item) in enumerate(zip(wanted, got, strict=True)):
                yield from self.unfit(one, item, f"{at}[{i}]")

    def _text(self, wanted: str, got: Any) -> bool:
        if wanted == "$any":
            return True
        if wanted in {"$int", "$flag"}:
            return type(got) is int and (wanted == "$int" or got in (0, 1))
        pattern = _FORMS.get(wanted) or re.escape(wanted).replace(
            r"\$base", re.escape(self.base)
        ).replace(r"\$uuid22", _FORMS["$uuid22"])
        return isinstance(got, str) and re.fullmatch(pattern, got) is not None


def _moment(text: str) -> datetime:
    return from_beijing(text)
