"""The OpenAPI 3.1 document, made of the same tables that serve the endpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any, Final

from shoudan_gateway import openapi_parts
from shoudan_gateway.protocol import Endpoint, Field, Partner, Sink

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"


def document(partners: Iterable[Partner], base_url: str = "") -> dict[str, Any]:
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
            "version": version("shoudan"),
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
        },
    }


def _operation(
    partner: Partner, endpoint: Endpoint[Any, Any] | Sink, method: str
) -> dict[str, Any]:
    name = re.sub(r"[^A-Za-z0-9]+", "_", endpoint.path).strip("_")
    operation: dict[str, Any] = {
        "operationId": f"{name}_{method.lower()}",
        "summary": endpoint.title,
        "description": f"Source: {endpoint.source}",
        "tags": [partner.name],
        "security": openapi_parts.security(partner),
        "responses": {
            "200": {
                "description": "the documented answer",
                "headers": openapi_parts.of_success(endpoint),
            },
            "default": {
                "description": "the documented refusal",
                "headers": openapi_parts.headers(*openapi_parts.OF_ERRORS),
                "content": {
                    JSON: {"schema": {"$ref": f"#/components/schemas/{_error_name(partner)}"}}
                },
            },
        },
    }
    if isinstance(endpoint, Endpoint):
        operation |= _parameters(endpoint, method)
    return operation


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
