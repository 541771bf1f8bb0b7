"""The calls of partners as OpenAPI shows them, one for each request of a collection."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Call(NamedTuple):
    """One request, with the values of its recorded example."""

    protocol: str
    name: str
    about: str
    method: str
    path: str
    query: dict[str, str]
    places: dict[str, str]  # what stands in the path
    bearer: bool
    signed: bool  # by its channel
    body: str | None


def calls(document: Mapping[str, Any]) -> Iterator[Call]:
    """Every operation once: what may be sent as GET or POST is shown as GET."""
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            if verb == "post" and "get" in item:
                continue
            yield _call(path, verb, operation)


def folders(document: Mapping[str, Any]) -> dict[str, list[Call]]:
    """The calls of each protocol."""
    found: dict[str, list[Call]] = {}
    for one in calls(document):
        found.setdefault(one.protocol, []).append(one)
    return found


def _call(path: str, verb: str, operation: Mapping[str, Any]) -> Call:
    rows = operation.get("parameters", ())
    names = {name for way in operation["security"] for name in way}
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    shown = None
    if body is not None:
        examples: Mapping[str, Any] = body.get("examples", {})
        first: Any = next((one["value"] for one in examples.values()), None)
        shown = json.dumps(first, ensure_ascii=False, indent=1)
    return Call(
        operation["tags"][0],
        operation["summary"],
        operation["description"],
        verb.upper(),
        path,
        {
            one["name"]: str(one["example"])
            for one in rows
            if one["in"] == "query" and "example" in one
        },
        {one["name"]: str(one.get("example", "")) for one in rows if one["in"] == "path"},
        "bearer_token" in names,
        "channel_signature" in names,
        shown,
    )


def parts(path: str) -> list[str]:
    """A path in pieces, places as collections write them."""
    return [f":{one[1:-1]}" if one[:1] == "{" else one for one in path.strip("/").split("/")]
