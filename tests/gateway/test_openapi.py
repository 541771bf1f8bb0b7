"""The OpenAPI document: whole, consistent in itself, and as true of JSON bodies as of parameters."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from shoudan_gateway import answers, partners
from shoudan_gateway.openapi import document
from shoudan_gateway.partners import load
from shoudan_gateway.protocol import Caller, Ending, Endpoint, Inbound, Malformed
from shoudan_order import notify_words
from shoudan_order.states import NotifyStatus, OrderStatus
from shoudan_order.store.rows import NotifyRow

PARTNERS = load()
DOCUMENT = document(PARTNERS.values())
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}
EXAMPLES = Path(__file__).parent / "examples"
WITH_BODY = [
    endpoint
    for endpoint in PARTNERS["payserver"].endpoints
    if isinstance(endpoint, Endpoint) and endpoint.body is not None
]
BY_PATH = pytest.mark.parametrize("endpoint", WITH_BODY, ids=lambda one: one.path.strip("/"))


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def schemas(holder: Any) -> Iterator[dict[str, Any]]:
    """Every schema in a part of the document."""
    if isinstance(holder, dict):
        for name, value in holder.items():
            if name == "schema":
                yield value
            yield from schemas(value)
    elif isinstance(holder, list):
        for value in holder:
            yield from schemas(value)


def parts(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A schema and those it is made of."""
    yield schema
    for part in [*schema.get("properties", {}).values(), *schema.get("oneOf", [])]:
        yield from parts(part)
    if "items" in schema:
        yield from parts(schema["items"])


def test_it_has_what_every_document_must_have() -> None:
    assert re.fullmatch(r"3\.1\.\d+", DOCUMENT["openapi"])
    assert {"title", "version"} <= set(DOCUMENT["info"])
    assert all(path.startswith("/") for path in DOCUMENT["paths"])
    json.dumps(DOCUMENT)


def test_every_operation_is_whole_and_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", name) for name in names)
    for _, method, operation in operations():
        assert method in METHODS
        assert operation["responses"]
        assert all("description" in one for one in operation["responses"].values())
        if "requestBody" in operation:
            assert method != "get"
            assert operation["requestBody"]["content"]


def test_parameters_are_told_once_and_those_of_the_path_are_required() -> None:
    for path, _, operation in operations():
        told = [(one["in"], one["name"]) for one in operation.get("parameters", [])]
        assert len(told) == len(set(told)), path
        in_path = {name for place, name in told if place == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path)), path
        assert all(
            one["required"] for one in operation.get("parameters", []) if one["in"] == "path"
        )


def test_schemas_are_schemas_and_references_lead_somewhere() -> None:
    for schema in schemas(DOCUMENT["paths"]):
        if "$ref" in schema:
            assert schema["$ref"].rpartition("/")[2] in DOCUMENT["components"]["schemas"]
            continue
        for part in parts(schema):
            kinds = part.get("type", [])
            assert set([kinds] if isinstance(kinds, str) else kinds) <= TYPES
            assert set(part.get("required", ())) <= set(part.get("properties", {}))


def test_every_post_of_payserver_has_a_body_and_its_own_error() -> None:
    told = [one for _, method, one in operations() if one["tags"] == ["payserver"]]
    for one in told:
        error = one["responses"]["default"]["content"]["application/json"]["schema"]
        assert error == {"$ref": "#/components/schemas/Error_payserver"}
        assert ("requestBody" in one) == (not one["operationId"].endswith("_get"))


@BY_PATH
def test_the_documented_body_has_only_members_that_are_told(endpoint) -> None:
    examples = [tomllib.loads(p.read_text("utf-8")) for p in (EXAMPLES / "payserver").iterdir()]
    bodies = [
        json.loads(one["body"])
        for one in examples
        if one["path"] == endpoint.path and "body" in one
    ]
    assert bodies
    for body in bodies:
        assert set(body) <= set(endpoint.body["properties"])
        assert set(endpoint.body["required"]) <= set(body)


@BY_PATH
def test_every_member_that_is_told_is_read(endpoint) -> None:
    for name, schema in endpoint.body["properties"].items():
        if "object" in schema["type"]:
            continue  # taken as it is; the service judges it
        body = json.dumps({name: {"no": "such"}}).encode()
        inbound = Inbound(
            "POST",
            endpoint.path,
            body=body,
            path_params={"uuid": "u"},
            caller=Caller("m", everyone=True),
        )
        with pytest.raises(Malformed) as raised:
            endpoint.read(inbound)
        assert raised.value.name == name


def test_every_operation_says_how_its_caller_proves_itself() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    used: set[str] = set()
    for path, _, operation in operations():
        ways = operation["security"]
        assert ways, path
        used |= {name for way in ways for name in way}
    assert used == set(schemes)
    paths = DOCUMENT["paths"]
    assert paths["/order/request"]["post"]["security"] == [{"channel_signature": []}, {}]
    assert paths["/goofish/order/detail"]["post"]["security"] == [{"platform_signature": []}]
    assert paths["/api/v1.0.0/pay"]["post"]["security"] == [{"bearer_token": []}]
    assert paths["/account/query"]["get"]["security"] == [{"bearer_token": []}]


def test_answers_name_the_headers_that_the_gateway_sends() -> None:
    known = DOCUMENT["components"]["headers"]
    for _, _, operation in operations():
        for answer in operation["responses"].values():
            for name, one in answer["headers"].items():
                assert one == {"$ref": f"#/components/headers/{name}"}
                assert name in known
    paths = DOCUMENT["paths"]
    writes = paths["/order/request"]["post"]["responses"]
    assert "Idempotent-Replayed" in writes["200"]["headers"]
    assert {"X-Error-Code", "X-Error-Advice"} <= set(writes["default"]["headers"])
    asks = paths["/order/query"]["get"]["responses"]
    assert "Idempotent-Replayed" not in asks["200"]["headers"]


async def test_the_headers_of_an_answer_are_those_of_the_document(open_gateway: Any) -> None:
    front = await open_gateway(public_base_url="https://pay.example.com")
    status, told = await front.ask("/openapi.json")
    assert (status, told["servers"]) == (200, [{"url": "https://pay.example.com"}])
    documented = told["paths"]["/order/query"]["get"]["responses"]["default"]["headers"]
    url = f"{front.url}/order/query?channel_no=test&request_no=nope"
    async with front.http.get(url) as answer:
        sent = {name for name in documented if name in answer.headers}
    assert sent == {"X-Request-Id", "X-Error-Code", "X-Error-Advice", "Shoudan-Version"}
    async with front.http.get(front.internal_url + "/openapi.json") as answer:
        inner = await answer.json()
    assert not {"servers", "webhooks"} & set(inner)


@pytest.mark.parametrize("words", [False, True])
def test_a_notify_is_what_its_webhook_says(words: bool) -> None:
    """The body as the order service makes it, against the schema that partners are given."""
    hooks = DOCUMENT["webhooks"]
    for name, refund_id in (("orderEnded", 0), ("refundEnded", 9)):
        content = hooks[name]["post"]["requestBody"]["content"]["application/json"]
        body = json.loads(notify_words.body_of(notify_row(refund_id), words=words))
        for one in (body, content["example"]):
            jsonschema.validate(one, content["schema"])
        assert set(body) <= set(content["schema"]["properties"])


def notify_row(refund_id: int) -> NotifyRow:
    now = datetime.now(UTC)
    return NotifyRow(
        1, 7, refund_id, "test", "r1", "http://a.example/", 0, 10, NotifyStatus.NOT_STARTED,
        OrderStatus.FAILED, "f1", 1, 0, "900", "订单失败", now, None, "", "", 1, now,
    )  # fmt: skip


def test_every_answer_has_a_schema_that_its_examples_fit() -> None:
    components = DOCUMENT["components"]
    for path, method, operation in operations():
        content = [
            one for answer in operation["responses"].values() for one in answer["content"].values()
        ]
        sent = operation.get("requestBody", {}).get("content", {}).values()
        assert content, path
        assert operation["responses"].keys() - {"default"}, path
        for one in [*content, *sent]:
            shown = [row["value"] for row in one.get("examples", {}).values()]
            shown += [one["example"]] if "example" in one else []
            for value in shown:
                jsonschema.validate(value, one["schema"] | {"components": components})
        assert any("examples" in one or "example" in one for one in content), (path, method)


@pytest.mark.parametrize(
    ("values", "schema"),
    [
        ([None, None], {}),
        ([1, None], {"type": ["integer", "null"]}),
        ([1, "a"], {"type": ["integer", "string"]}),
        ([True], {"type": "boolean"}),
        ([[], [1.5]], {"type": "array", "items": {"type": "number"}}),
        (
            [{"a": 1}, {"a": 2, "b": None}, None],
            {
                "type": ["object", "null"],
                "required": ["a"],
                "properties": {"a": {"type": "integer"}, "b": {}},
            },
        ),
    ],
)
def test_a_schema_is_what_all_recordings_are(values: list[Any], schema: dict[str, Any]) -> None:
    assert answers.schema_of(values, {}) == schema


async def test_a_call_that_is_to_end_says_so_in_every_answer(
    open_gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = Ending(since=date(2027, 1, 1), sunset=date(2028, 1, 1))
    channel = PARTNERS["channel"]
    ends = tuple(
        replace(one, ending=ending) if one.path == "/order/query" else one
        for one in channel.endpoints
    )
    partner = msgspec.structs.replace(channel, endpoints=ends)
    monkeypatch.setattr(partners, "load", lambda: {**PARTNERS, "channel": partner})
    front = await open_gateway()
    for path, marked in (("/order/query", True), ("/refund/query", False)):
        async with front.http.get(f"{front.url}{path}?channel_no=test") as answer:
            assert answer.headers.get("Deprecation") == ("@1798732800" if marked else None)
            assert ("Sunset" in answer.headers) is marked
            if marked:
                assert answer.headers["Sunset"] == "Fri, 31 Dec 2027 16:00:00 GMT"
    operation = document([partner])["paths"]["/order/query"]["get"]
    assert operation["deprecated"] is True
