"""The conformance cases are one file, and what compares answers with them sees every difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conformance import Matching, cases

TESTS = Path(__file__).parent
DRIVERS = {
    "000": "system/test_conformance.py",
    "002": "pay/payserver/test_conformance.py",
    "003": "pay/platforms/test_conformance.py",
    "004": "pay/platforms/test_conformance.py",
}


def test_every_case_is_driven_by_the_tests_of_its_document() -> None:
    assert {name[:3] for name in cases("")} == set(DRIVERS)
    for document, driver in DRIVERS.items():
        text = (TESTS / driver).read_text("utf-8")
        assert [name for name in cases(document) if f'"{name}"' not in text] == []


@pytest.mark.parametrize(
    ("wanted", "fits", "differs"),
    [
        ("$digits", "12", "1x"),
        ("$int", 1, "1"),
        ("$flag", 1, 2),
        ("$str", "a", ""),
        ("$str<=32", "a" * 32, "a" * 33),
        ("$dt", "2018-09-10 12:00:00", "2018-9-10 12:00:00"),
        ("$base/x", "http://h/x", "http://i/x"),
        (1, 1, True),
        (["$each", "$int"], [1, 2], [1, "2"]),
        (["$oneof", 1], [2, 1], [2]),
        ([1, 2], [1, 2], [1]),
        ({"a": 1}, {"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": 1}),
        (
            {"items": [1], "limit": "$len(items)"},
            {"items": [1], "limit": 1},
            {"items": [1], "limit": 2},
        ),
    ],
)
def test_a_difference_is_seen(wanted: Any, fits: Any, differs: Any) -> None:
    matching = Matching("http://h")
    assert matching.unfit(wanted, fits) == []
    assert matching.unfit(wanted, differs) != []


def test_the_order_of_keys_counts_where_it_is_asked_for() -> None:
    wanted, got = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert Matching().unfit(wanted, got) == []
    assert Matching(in_order=True).unfit(wanted, got) != []
    assert (
        Matching(in_order=True, extra=frozenset({"c"})).unfit(wanted, {"a": 1, "c": 0, "b": 2})
        == []
    )
