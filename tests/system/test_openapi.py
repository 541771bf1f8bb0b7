"""Every operation of the OpenAPI document, called at a running system: each answer is one that it names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from shoudan_cli.system import System

pytestmark = pytest.mark.system
CHECKS: list[CheckFunction] = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
MADE_UP = 1  # calls of each operation, beside the recorded ones
BROKEN = 500
FEW = settings(
    max_examples=MADE_UP,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def recorded(operation: Any) -> Iterator[Any]:
    """The calls that the document shows."""
    raw = operation.definition.raw
    given_: dict[str, dict[str, Any]] = {"query": {}, "path": {}}
    for row in raw.get("parameters", ()):
        if "example" in row and row["in"] in given_:
            given_[row["in"]][row["name"]] = row["example"]
    rest = {"query": given_["query"], "path_parameters": given_["path"]}
    for kind, content in raw.get("requestBody", {}).get("content", {}).items():
        for one in content.get("examples", {}).values():
            yield operation.Case(**rest, body=one["value"], media_type=kind)
    if "requestBody" not in raw and len(given_["path"]) == operation.path.count("{"):
        yield operation.Case(**rest)


def called(url: str, document: dict[str, Any]) -> tuple[dict[str, int], list[str]]:
    """How often each operation was called, and what was not as documented."""
    schema = schemathesis.openapi.from_dict(document)
    session = requests.Session()
    counts: dict[str, int] = {}
    wrong: list[str] = []
    for found in schema.get_all_operations():
        operation = found.ok()

        def check(case: Any) -> None:
            answer = case.call(base_url=url, session=session)
            counts[case.operation.label] = counts.get(case.operation.label, 0) + 1
            if answer.status_code == BROKEN:
                wrong.append(f"{case.operation.label}: {answer.text}")
            try:
                case.validate_response(answer, checks=CHECKS)
            except BaseExceptionGroup as failed:
                wrong.append(f"{case.operation.label}: {failed.exceptions[0]}")
            except AssertionError as failed:
                wrong.append(f"{case.operation.label}: {failed}")

        for case in recorded(operation):
            check(case)
        FEW(seed(0)(given(operation.as_strategy())(check)))()
    return counts, wrong


@pytest.mark.parametrize("inner", [False, True])
async def test_every_operation_answers_as_its_document_says(
    spare_system: System, inner: bool
) -> None:
    url = spare_system.internal_url if inner else spare_system.gateway_url
    document = await asyncio.to_thread(fetched, url)
    counts, wrong = await asyncio.to_thread(called, url, document)
    assert wrong == []
    operations = {(path, verb) for path, item in document["paths"].items() for verb in item}
    assert len(counts) == len(operations)


def fetched(url: str) -> dict[str, Any]:
    return requests.get(f"{url}/openapi.json", timeout=10).json()
