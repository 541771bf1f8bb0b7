"""The word for what a dry run said: the same for the same changes from the same values alone."""

from __future__ import annotations

import pytest

from shoudan_kit.audit_log.bases import BaseMoved, base_of, check_base
from shoudan_kit.audit_log.changes import Change

ONE = Change("lines 1", {"status": 0}, {"status": 1})


def test_the_same_changes_have_the_same_word() -> None:
    again = Change("lines 1", {"status": 0}, {"status": 1})
    assert base_of([ONE]) == base_of([again])


@pytest.mark.parametrize(
    "other",
    [
        [],
        [ONE, ONE],
        [Change("lines 2", {"status": 0}, {"status": 1})],
        [Change("lines 1", {"status": 2}, {"status": 1})],
        [Change("lines 1", {"status": 0}, {"status": 2})],
        [Change("lines 1", None, {"status": 1})],
    ],
)
def test_other_changes_are_refused_and_without_a_word_none_is(other: list[Change]) -> None:
    check_base("catalogue", "", other)
    check_base("catalogue", base_of([ONE]), [ONE])
    with pytest.raises(BaseMoved) as refused:
        check_base("catalogue", base_of([ONE]), other)
    assert refused.value.reason == "ERROR_REASON_BASE_MOVED"
