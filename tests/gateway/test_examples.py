"""Every partner endpoint reads and answers the way its document shows."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass

from shoudan_gateway.backend import item_types, types_of
from shoudan_gateway.partners import load
from shoudan_gateway.protocol import Batch, Caller, Endpoint, Inbound, Outbound, Sink

PARTNERS = load()
EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*/*.toml"))
BASE = "https://pay.example.com"


def endpoint_of(path: Path) -> Endpoint[Any, Any] | Sink:
    """The endpoint an example is of; one path may have several, told apart by method."""
    example = tomllib.loads(path.read_text("utf-8"))
    there = [e for e in PARTNERS[path.parent.name].endpoints if e.path == example["path"]]
    method = example.get("method", "GET")
    return next((e for e in there if method in e.methods), there[0])


CALLED = [path for path in EXAMPLES if isinstance(endpoint_of(path), Endpoint)]


def example_of(path: Path) -> tuple[dict[str, Any], Any, Inbound]:
    example = tomllib.loads(path.read_text("utf-8"))
    # What TOML cannot say - null, objects in lists - is given as JSON text.
    for name in ("message", "answer", "reply"):
        if f"{name}_json" in example:
            example[name] = json.loads(example[f"{name}_json"])
    query = example.get("query", "")
    request = Inbound(
        example.get("method", "GET"),
        example["path"],
        params=dict(parse_qsl(query)),
        query=query,
        body=example.get("body", "").encode(),
        path_params=example.get("path_params", {}),
        caller=Caller(everyone=True),
        base_url=BASE,
    )
    return example, endpoint_of(path), request


def messages(endpoint: Endpoint[Any, Any]) -> tuple[Any, Any]:
    if isinstance(endpoint.call, Batch):
        return item_types(endpoint.call)
    types = types_of(endpoint.call.method)
    return types.request, types.answer


def shown(answer: Outbound) -> Any:
    if isinstance(answer.body, bytes):
        return {"text": answer.body.decode()}
    return msgspec.json.decode(msgspec.json.encode(answer.body))


def name_of(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


@pytest.mark.parametrize("path", CALLED, ids=name_of)
def test_the_documented_request_becomes_the_call(path: Path) -> None:
    example, endpoint, request = example_of(path)
    asked, _ = messages(endpoint)
    assert endpoint.read(request) == ParseDict(example["message"], asked())


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_the_answer_is_told_as_documented(path: Path) -> None:
    example, endpoint, request = example_of(path)
    if isinstance(endpoint, Sink):
        answer = endpoint.reply
    else:
        _, answered = messages(endpoint)
        answer = endpoint.write(ParseDict(example["answer"], answered()), request)
    assert answer.status == example.get("status", 200)
    assert shown(answer) == example["reply"]


def test_every_endpoint_has_an_example() -> None:
    shown_ones = {id(endpoint_of(path)) for path in EXAMPLES}
    bare = [e.path for p in PARTNERS.values() for e in p.endpoints if id(e) not in shown_ones]
    assert bare == []


def test_every_call_names_an_rpc_of_the_contract() -> None:
    calls = [e.call for p in PARTNERS.values() for e in p.endpoints if isinstance(e, Endpoint)]
    assert all(GetMessageClass(types_of(call.method).request.DESCRIPTOR) for call in calls)
