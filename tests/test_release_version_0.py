"""Version 0 is the customer's documents: what they fix of a call stays, whatever is added beside it.

tests/version_0.json was written once. A change here breaks partners that nobody can ask; what must differ
becomes another call.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shoudan_gateway import answers, partners
from shoudan_gateway.protocol import Endpoint

FILE = Path(__file__).parent / "version_0.json"
FROZEN: dict[str, dict[str, Any]] = json.loads(FILE.read_text("utf-8"))
PARTNERS = partners.load()


def contract(name: str, path: str, verbs: list[str]) -> dict[str, Any]:
    """What callers of one call rely on: its parameters, its answers and its refusals, as they are now."""
    partner = PARTNERS[name]
    endpoint = next(
        one for one in partner.endpoints if one.path == path and sorted(one.methods) == verbs
    )
    refused = answers.refusals(partner, endpoint)
    return {
        "parameters": {
            row.wire: {
                "required": row.required,
                "schema": dict(row.read.schema),
                "aliases": list(row.aliases),
            }
            for row in getattr(endpoint, "fields", ())
        },
        "aliases": list(endpoint.aliases) if isinstance(endpoint, Endpoint) else [],
        "answers": {
            one.name: one.text if one.text is not None else one.reply
            for one in answers.recorded(partner, endpoint)
        },
        "refusals": {"loud": refused.loud, "quiet": refused.quiet},
    }


def split(key: str) -> tuple[str, str, list[str]]:
    """A frozen call's partner, path and methods."""
    name, verbs, path = key.split(" ")
    return name, path, verbs.split(",")


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs of a frozen call. An optional parameter and a recording may be new, and what was required
    may be left out by now: who sends it is served as before.
    """
    found = [
        f"parameter {name}"
        for name, row in before["parameters"].items()
        if now["parameters"].get(name) not in (row, {**row, "required": False})
    ]
    fresh = set(now["parameters"]) - set(before["parameters"])
    found += [f"required parameter {one}" for one in fresh if now["parameters"][one]["required"]]
    found += [
        f"answer {name}"
        for name, reply in before["answers"].items()
        if not kept(reply, now["answers"].get(name))
    ]
    found += [f"alias {one}" for one in set(before["aliases"]) - set(now["aliases"])]
    return found + (["refusals"] if before["refusals"] != now["refusals"] else [])


def kept(before: Any, now: Any) -> bool:
    """Whether an answer has all that it had; members may be new."""
    if isinstance(before, dict):
        return isinstance(now, dict) and all(
            name in now and kept(value, now[name]) for name, value in before.items()
        )
    if isinstance(before, list):
        return (
            isinstance(now, list)
            and len(before) == len(now)
            and all(kept(*pair) for pair in zip(before, now, strict=True))
        )
    return type(before) is type(now) and before == now


@pytest.mark.parametrize("key", FROZEN)
def test_a_call_of_version_0_is_as_it_was(key: str) -> None:
    assert changes(FROZEN[key], contract(*split(key))) == []


def test_every_call_of_the_documents_is_frozen() -> None:
    """Those whose source is a document of the customer, by its number."""
    of_documents = {
        f"{name} {','.join(sorted(one.methods))} {one.path}"
        for name, partner in PARTNERS.items()
        for one in partner.endpoints
        if partner.role != "test" and one.source[:3].isdecimal()
    }
    assert of_documents <= set(FROZEN)
    assert len(FROZEN) >= 50


def test_a_change_is_seen_and_an_addition_is_none() -> None:
    key = "channel GET,POST /order/request"
    before = FROZEN[key]
    now = json.loads(json.dumps(before))
    now["parameters"]["new"] = {"required": False, "schema": {}, "aliases": []}
    now["answers"]["order_request"]["more"] = 1
    required = next(name for name, row in before["parameters"].items() if row["required"])
    now["parameters"][required]["required"] = False
    assert changes(before, now) == []
    now["parameters"]["new"]["required"] = True
    optional = next(name for name, row in before["parameters"].items() if not row["required"])
    now["parameters"][optional]["required"] = True
    now["answers"]["order_request"]["status"] = "30"
    now["parameters"]["face"]["schema"] = {"type": "integer"}
    now["refusals"]["loud"] = {}
    assert changes(before, now) == [
        *sorted(["parameter face", f"parameter {optional}"]),
        "required parameter new", "answer order_request", "refusals",
    ]  # fmt: skip
