"""Conformance cases: the `$…` placeholders of the customer's cases, and whether an answer fits them."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

CASES: dict[str, Any] = {
    case["id"]: case
    for case in json.loads((Path(__file__).parent / "cases.json").read_text("utf-8"))
}

_DT = r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}"
_FORMS = {
    "$digits": r"\d+",
    "$str": r"(?s).+",
    "$dt": _DT,
    "$dt(+24h)": _DT,
    "$uuid22": r"[A-Za-z0-9]{22}",
    "$guid": r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}",
    "$href": r"https?://\S+",
    "$traction:1": r"1\d{15}",
    "$traction:2": r"2\d{15}",
}


def unfit(wanted: Any, got: Any, base: str, at: str = "$") -> list[str]:
    """Where `got` differs from `wanted`; nothing when it fits. Keys must come in the order shown."""
    if isinstance(wanted, dict):
        return _unfit_object(wanted, got, base, at)
    if isinstance(wanted, list):
        return _unfit_list(wanted, got, base, at)
    if isinstance(wanted, str) and "$" in wanted:
        return _unfit_text(wanted, got, base, at)
    same = type(wanted) is type(got) and wanted == got
    return [] if same else [f"{at}: {got!r} instead of {wanted!r}"]


def _unfit_object(wanted: dict[str, Any], got: Any, base: str, at: str) -> list[str]:
    if not isinstance(got, dict):
        return [f"{at}: no object"]
    keys = [name for name in got if name in wanted]
    found = [] if keys == list(wanted) else [f"{at}: keys {list(got)} instead of {list(wanted)}"]
    # The only extra keys the cases allow.
    extra = set(got) - set(wanted) - {"payModeTemplate", "iconHref"}
    found += [f"{at}: unexpected {name}" for name in extra]
    for name in keys:
        if name == "limit" and wanted[name] == "$len(items)":
            found += [] if got["limit"] == len(got["items"]) else [f"{at}.limit"]
        elif name == "size" and wanted[name] == "$len(items)":
            found += [] if got["size"] == len(got["items"]) else [f"{at}.size"]
        else:
            found += unfit(wanted[name], got[name], base, f"{at}.{name}")
    if wanted.get("orderExpiredAt") == "$dt(+24h)":
        form = "%Y-%m-%d %H:%M:%S"
        start, end = (
            datetime.strptime(got[k], form)  # noqa: DTZ007
            for k in ("orderStartAt", "orderExpiredAt")
        )
        found += [] if end - start == timedelta(hours=24) else [f"{at}.orderExpiredAt"]
    return found


def _unfit_list(wanted: list[Any], got: Any, base: str, at: str) -> list[str]:
    if not isinstance(got, list):
        return [f"{at}: no list"]
    if wanted and wanted[0] == "$each":
        return [f for i, one in enumerate(got) for f in unfit(wanted[1], one, base, f"{at}[{i}]")]
    if wanted and wanted[0] == "$oneof":
        return [
            f"{at}: nothing like {one}"
            for one in wanted[1:]
            if all(unfit(one, item, base) for item in got)
        ]
    if len(wanted) != len(got):
        return [f"{at}: {len(got)} elements instead of {len(wanted)}"]
    pairs = enumerate(zip(wanted, got, strict=True))
    return [f for i, (one, item) in pairs for f in unfit(one, item, base, f"{at}[{i}]")]


def _unfit_text(wanted: str, got: Any, base: str, at: str) -> list[str]:
    if wanted == "$any":
        return []
    if wanted == "$int":
        return [] if type(got) is int else [f"{at}: {got!r} is no int"]
    if wanted == "$flag":
        return [] if type(got) is int and got in (0, 1) else [f"{at}: {got!r} is no flag"]
    if wanted in _FORMS:
        pattern = _FORMS[wanted]
    else:
        pattern = re.escape(wanted).replace(r"\$base", re.escape(base))
        pattern = pattern.replace(r"\$uuid22", _FORMS["$uuid22"])
    fits = isinstance(got, str) and re.fullmatch(pattern, got)
    return [] if fits else [f"{at}: {got!r} is not {wanted}"]
