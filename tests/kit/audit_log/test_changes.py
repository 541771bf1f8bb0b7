"""Promises: what many things were is in one row, whole things while they fit, without secrets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shoudan_kit.audit_log.changes import NOT_SHOWN, THING_BYTES_MAX, Change, describe_changes
from shoudan_kit.audit_log.entries import (
    FACTS_BYTES_MAX,
    NO_CALLER,
    UNNAMED,
    Draft,
    Entry,
    begin_draft,
    row_of,
)


def described(*changes: Change) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Before and after of the row."""
    draft = Draft(Entry("catalogue", 1, who=NO_CALLER, action="Apply", request_id=""))
    begin_draft(draft)
    describe_changes("catalogue", 2, changes)
    begin_draft(None)
    row = row_of(UNNAMED, draft.entry)
    assert (row.subject_kind, row.subject_key) == ("catalogue", "2")
    assert max(len(row.before.encode()), len(row.after.encode())) <= FACTS_BYTES_MAX
    return json.loads(row.before or "{}"), json.loads(row.after)


def test_each_thing_has_what_it_was_and_is() -> None:
    old = Change("product 1", {"price": 9, "app_secret": "s"}, {"price": 8, "app_secret": "t"})
    before, after = described(old, Change("product 2", None, {"price": 7, "mobile": "13800138000"}))
    assert before == {"product 1": {"price": 9, "app_secret": "***"}}
    assert after["product 1"] == {"price": 8, "app_secret": "***"}
    assert after["product 2"] == {"price": 7, "mobile": "***"}


def test_of_more_than_fit_the_first_ones_are_shown_and_the_others_counted() -> None:
    given = [Change(f"product {n}", {"name": "货" * 30}, {"name": "品" * 40}) for n in range(5_000)]
    before, after = described(*given)
    shown = {one.thing for one in given[: len(before)]}
    assert set(before) == shown == set(after) - {NOT_SHOWN}
    assert len(before) > 30
    assert after[NOT_SHOWN] == len(given) - len(before)


def test_of_a_thing_that_is_too_long_the_fields_are_named() -> None:
    long = {f"field {n}": "x" * 400 for n in range(THING_BYTES_MAX // 400 + 1)}
    before, after = described(Change("product 1", long, {"field 0": "y"}))
    assert (before, after) == ({"product 1": sorted(long)}, {"product 1": {"field 0": "y"}})
