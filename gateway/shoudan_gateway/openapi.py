"""The OpenAPI 3.1 document, made of the same tables that serve the endpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import msgspec

from shoudan_gateway import answers, openapi_parts
from shoudan_gateway.answers import Recording
from shoudan_gateway.protocol import Endpoint, Field, Partner, Sink

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"


def document(
    partners: Iterable[Partner], base_url: str = "", release: str | None = None
) -> dict[str, Any]:
    """The whole document of one listener; `base_url`: where partners reach it."""
    paths: dict[str, Any] = {}
    errors = {"Error": _error()}
    for partner in partners:
        if partner.error is not None:
            errors[_error_name(partner)] = dict(partner.error)
        for endpoint in partner.endpoints:
            paths.setdefault(endpoint.path, {}).update(
                {
                    method.lower(): _operation(partner, endpoint, method)
                    for method in sorted(endpoint.methods)
                }
            )
    servers = {"servers": [{"url": base_url}]} if base_url else {}
    # What is sent to channels stands where channels call.
    sent = {"webhooks": openapi_parts.notifies()} if "/order/request" in paths else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "shoudan",
            "version": release or version("shoudan"),
            "description": "Parameters may come as query string, form or JSON; a form wins over the query, "
            "the query over JSON. Errors: see Error.",
        },
        **servers,
        "paths": paths,
        **sent,
        "components": {
            "schemas": errors,
            "headers": openapi_parts.HEADERS,
            "securitySchemes": openapi_parts.SECURITY_SCHEMES,
        },
    }


def _error_name(partner: Partner) -> str:
    return "Error" if partner.error is None else f"Error_{partner.name}"


def _error() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["code", "message", "data"],
        "properties": {
            "code": {"type": "integer", "description": "documented code"},
            "message": {"type": "string", "description": "documented text"},
            "data": {"type": "string", "description": "error: and the text"},
            "error": {
                "type": "object",
                "description": "from version 2026-12-01 on: what the headers say",
                "required": ["code", "advice", "help", "request_id"],
                "properties": {
                    name: {"type": "string"} for name in ("code", "advice", "help", "request_id")
                },
            },
        },
    }


def _operation(
    partner: Partner, endpoint: Endpoint[Any, Any] | Sink, method: str
) -> dict[str, Any]:
    name = re.sub(r"[^A-Za-z0-9]+", "_", endpoint.path).strip("_")
    found = answers.recorded(partner, endpoint)
    operation: dict[str, Any] = {
        "operationId": f"{name}_{method.lower()}",
        "summary": endpoint.title,
        "description": f"Source: {endpoint.source}",
        "tags": [partner.name],
        "security": openapi_parts.security(partner),
        "responses": _responses(partner, endpoint, found),
    }
    if isinstance(endpoint, Endpoint):
        if endpoint.ending is not None:
            operation["deprecated"] = True
        operation |= _with_examples(_parameters(endpoint, method), found, method)
        operation["parameters"] += openapi_parts.asked_version(partner)
    return operation


def _responses(
    partner: Partner, endpoint: Endpoint[Any, Any] | Sink, found: list[Recording]
) -> dict[str, Any]:
    refused = answers.refusals(partner, endpoint)
    version = openapi_parts.of_version(partner)
    good = openapi_parts.of_success(endpoint) | version
    responses: dict[str, Any] = {
        str(status): {
            "description": "the documented answer",
            "headers": good,
            "content": _either(content, refused.quiet),
        }
        for status, content in sorted(answers.contents(partner, found).items())
    }
    bodies = {
        kind: {"schema": _refusal(partner, those), "example": those[0]}
        for kind, those in (refused.loud or refused.quiet).items()
    }
    responses["default"] = {
        "description": "the documented refusal",
        "headers": openapi_parts.headers(*openapi_parts.OF_ERRORS) | version,
        "content": bodies,
    }
    return responses


def _either(content: dict[str, Any], refused: Mapping[str, list[Any]]) -> dict[str, Any]:
    """A success, or the refusals that have its status."""
    both = dict(content)
    for kind, those in refused.items():
        schema = answers.schema_of(those, {})
        if kind not in both:
            both[kind] = {"schema": schema}
        elif both[kind]["schema"] != schema:
            both[kind] = both[kind] | {"schema": {"anyOf": [both[kind]["schema"], schema]}}
    return both


def _refusal(partner: Partner, those: list[Any]) -> dict[str, Any]:
    schema = answers.schema_of(those, {})
    if partner.error is not None or set(schema.get("properties", ())) == set(_error()["required"]):
        return {"$ref": f"#/components/schemas/{_error_name(partner)}"}
    return schema


def _with_examples(declared: dict[str, Any], found: list[Recording], method: str) -> dict[str, Any]:
    """The parameters with the values that a test has sent, the body with those of each recording."""
    values = found[0].params if found else {}
    for row in declared.get("parameters", ()):
        if row["name"] in values:
            row["example"] = _typed(values[row["name"]], row["schema"])
    content = declared.get("requestBody", {}).get("content", {})
    for kind, one in content.items():
        members = one["schema"].get("properties", {})
        bodies = {
            sent.name: {"value": _fitting(_body(sent), members)}
            for sent in found
            if method != "GET" and (sent.body or sent.query)
        }
        if bodies:
            content[kind] = one | {"examples": bodies}
    return declared


def _fitting(body: Any, members: Mapping[str, Any]) -> Any:
    """A body with numbers where a form writes texts, and without what a form leaves empty."""
    if not isinstance(body, dict):
        return body
    sent = cast("dict[str, Any]", body)
    return {
        name: _typed(value, members.get(name, {})) if isinstance(value, str) else value
        for name, value in sent.items()
        if value != "" or members.get(name, {}).get("type") != "integer"
    }


def _typed(text: str, schema: Mapping[str, Any]) -> Any:
    return int(text) if schema.get("type") == "integer" and text.isdecimal() else text


def _body(one: Recording) -> Any:
    """What a recording sent, as the members of a JSON body."""
    if not one.body:
        return one.params
    if one.body[:1] in "{[":
        return msgspec.json.decode(one.body)
    return dict(parse_qsl(one.body, keep_blank_values=True))


def _parameters(endpoint: Endpoint[Any, Any], method: str) -> dict[str, Any]:
    found: dict[str, Any]
    in_path = [row for row in endpoint.fields if "{" + row.wire + "}" in endpoint.path]
    rest = [row for row in endpoint.fields if row not in in_path]
    parameters = [_parameter(row, "path") for row in in_path]
    if method == "GET" or (endpoint.raw and not endpoint.in_body):
        found = {"parameters": parameters + [_parameter(row, "query") for row in rest]}
        if endpoint.body is None or method == "GET":
            return found
        return found | {
            "requestBody": {
                "required": True,
                "content": {JSON: {"schema": dict(endpoint.body)}},
            }
        }
    schema = {
        "type": "object",
        "required": [row.wire for row in rest if row.required],
        "properties": {row.wire: {**row.read.schema, "description": row.about} for row in rest},
    }
    content = {FORM: {"schema": schema}, JSON: {"schema": schema}}
    return {"parameters": parameters, "requestBody": {"content": content}}


def _parameter(row: Field, place: str) -> dict[str, Any]:
    return {
        "name": row.wire,
        "in": place,
        "required": row.required or place == "path",
        "description": row.about,
        "schema": dict(row.read.schema),
    }
