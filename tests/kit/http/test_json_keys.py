"""Promises of JSON from outside: an object without a repeated key, or nothing."""

from __future__ import annotations

import pytest

from shoudan_kit.http.json_keys import json_object, repeated_key


def test_the_members_of_an_object_are_read() -> None:
    assert json_object(b'{"a": [1, {"b": null}], "c": "d"}') == {"a": [1, {"b": None}], "c": "d"}
    assert json_object(b"{}") == {}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'"a"', b"{", b'{"a": 1, "a": 1}', b'{"a": {"b": 1, "b": 2}}']
)
def test_anything_else_is_no_object(body: bytes) -> None:
    assert json_object(body) is None


def test_the_first_repeated_key_is_named() -> None:
    assert repeated_key(b'{"a": 1, "b": 2, "b": 3, "a": 4}') == "b"
    assert repeated_key(b'{"a": 1, "b": {"a": 2}}') is None
