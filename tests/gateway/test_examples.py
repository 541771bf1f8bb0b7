"""Every partner endpoint reads and answers the way its document shows."""

from __future__ import annotations

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
from shoudan_gateway.wire import Batch, Endpoint, Inbound, Outbound, Sink

PARTNERS = load()
EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*/*.toml"))
CALLED = [
    path
    for path in EXAMPLES
    if isinstance(
        next(
            e
            for e in PARTNERS[path.parent.name].endpoints
            if e.path == tomllib.loads(path.read_text("utf-8"))["path"]
        ),
        Endpoint,
    )
]


def example_of(path: Path) -> tuple[dict[str, Any], Any, Inbound]:
    example = tomllib.loads(path.read_text("utf-8"))
    endpoints = PARTNERS[path.parent.name].endpoints
    endpoint = next(e for e in endpoints if e.path == example["path"])
    request = Inbound(
        "GET",
        example["path"],
        params=dict(parse_qsl(example["query"])),
        query=example["query"],
        path_params=example.get("path_params", {}),
    )
    return example, endpoint, request


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
    assert answer.status == 200
    assert shown(answer) == example["reply"]


def test_every_endpoint_has_an_example() -> None:
    there = {(p.parent.name, tomllib.loads(p.read_text("utf-8"))["path"]) for p in EXAMPLES}
    assert there == {(p.name, e.path) for p in PARTNERS.values() for e in p.endpoints}


def test_every_call_names_an_rpc_of_the_contract() -> None:
    calls = [e.call for p in PARTNERS.values() for e in p.endpoints if isinstance(e, Endpoint)]
    assert all(GetMessageClass(types_of(call.method).request.DESCRIPTOR) for call in calls)  # type: ignore[arg-type]
