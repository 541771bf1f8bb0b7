"""Promises of the join: entries of one movement find each other by the rules, and nothing else does."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shoudan_finance.matching import COLUMNS, Found, Join, Terms
from shoudan_finance.states import Book, EntryKind, EntryStatus, ExceptionKind, MatchRule, Outcome

DAY = date(2026, 11, 10)
NOON = int(datetime(2026, 11, 10, 4, tzinfo=UTC).timestamp())
TERMS = Terms(
    today=DAY + timedelta(days=20),
    due_days=1,
    tolerance_micros=0,
    window_s=600,
    covered=[(DAY, DAY)],
    ours_from=DAY,
    ours_until=DAY + timedelta(days=19),
)


@dataclass(frozen=True)
class Open:
    """An entry without a counterpart."""

    entry_id: int
    book: Book
    kind: EntryKind
    our_no: str
    their_no: str
    account: str
    face_micros: int
    amount_micros: int
    outcome: Outcome
    at_s: int
    day: date
    status: EntryStatus


def load(join: Join, entries: Sequence[Open]) -> None:
    """As the database writes them."""
    with join.page.open("w", encoding="utf-8", newline="") as file:
        for one in entries:
            values = (*astuple(one)[:-1], one.status is EntryStatus.BROKEN)
            assert len(values) == len(COLUMNS)
            csv.writer(file).writerow([int(v) if isinstance(v, int) else v for v in values])
    loaded = join.load()
    assert loaded.ours + loaded.theirs == len(entries)


def entry(entry_id: int, book: Book, **more: Any) -> Open:
    values: dict[str, Any] = {
        "kind": EntryKind.DELIVERY,
        "our_no": "",
        "their_no": "",
        "account": "",
        "face_micros": 0,
        "amount_micros": -100,
        "outcome": Outcome.SUCCESS,
        "at_s": NOON,
        "day": DAY,
        "status": EntryStatus.WAITING,
    }
    return Open(entry_id, book, **{**values, **more})


def ours(entry_id: int, **more: Any) -> Open:
    return entry(entry_id, Book.OURS, **more)


def theirs(entry_id: int, **more: Any) -> Open:
    return entry(1000 + entry_id, Book.THEIRS, **more)


def joined(*entries: Open, terms: Terms = TERMS) -> list[tuple[int, int, Any, Any, int]]:
    with Join(terms) as join:
        for at in range(0, len(entries), 3):  # in pages
            load(join, entries[at : at + 3])
        join.run()
        found = [one for page in join.found(2) for one in page]
    return sorted((f.ours_id, f.theirs_id, f.rule, f.kind, f.diff_micros) for f in found)


def test_our_number_goes_before_theirs_and_theirs_before_account_and_time() -> None:
    found = joined(
        ours(1, our_no="a", their_no="x"),
        ours(2, our_no="b", their_no="y"),
        ours(3, our_no="c", account="139", face_micros=5),
        theirs(1, our_no="b", their_no="x"),
        theirs(2, our_no="a", their_no="z"),
        theirs(3, account="139", face_micros=5, at_s=NOON + 600),
        theirs(4, account="139", face_micros=5, at_s=NOON + 601),
    )
    assert found == [
        (0, 1004, MatchRule.NONE, ExceptionKind.SHORT, -100),
        (1, 1002, MatchRule.OUR_NO, None, 0),
        (2, 1001, MatchRule.OUR_NO, None, 0),
        (3, 1003, MatchRule.ACCOUNT, None, 0),
    ]


def test_their_number_pairs_what_our_number_does_not() -> None:
    found = joined(ours(1, our_no="a", their_no="x"), theirs(1, their_no="x"))
    assert found == [(1, 1001, MatchRule.THEIR_NO, None, 0)]


def test_a_delivery_is_no_return_though_they_have_one_number() -> None:
    found = joined(
        ours(1, our_no="a"),
        ours(2, our_no="a", kind=EntryKind.RETURN, amount_micros=100),
        theirs(1, our_no="a", kind=EntryKind.RETURN, amount_micros=100),
        theirs(2, our_no="a"),
    )
    assert [one[:2] for one in found] == [(1, 1002), (2, 1001)]


def test_each_finds_the_nearest_in_time_and_the_rest_find_each_other() -> None:
    more: dict[str, Any] = {"account": "139", "face_micros": 5}
    found = joined(
        ours(1, at_s=NOON, **more),
        ours(2, at_s=NOON + 100, **more),
        theirs(1, at_s=NOON + 99, **more),
        theirs(2, at_s=NOON + 300, **more),
    )
    assert [one[:3] for one in found] == [
        (1, 1002, MatchRule.ACCOUNT),
        (2, 1001, MatchRule.ACCOUNT),
    ]


def test_what_differs_is_called_by_its_name_with_what_moved_beyond_our_books() -> None:
    found = joined(
        ours(1, our_no="a"),
        theirs(1, our_no="a", amount_micros=-130),
        ours(2, our_no="b"),
        theirs(2, our_no="b", outcome=Outcome.FAILED),
        ours(3, our_no="c", outcome=Outcome.FAILED),
        theirs(3, our_no="c"),
        ours(4, our_no="d"),
        theirs(5, our_no="e"),
        ours(6, our_no="f", outcome=Outcome.FAILED),
        theirs(6, our_no="f", outcome=Outcome.FAILED, amount_micros=-7),
    )
    assert found == [
        (0, 1005, MatchRule.NONE, ExceptionKind.SHORT, -100),
        (1, 1001, MatchRule.OUR_NO, ExceptionKind.AMOUNT, -30),
        (2, 1002, MatchRule.OUR_NO, ExceptionKind.STATUS, 100),
        (3, 1003, MatchRule.OUR_NO, ExceptionKind.STATUS, -100),
        (4, 0, MatchRule.NONE, ExceptionKind.LONG, 100),
        (6, 1006, MatchRule.OUR_NO, None, 0),
    ]


def test_a_line_that_stands_there_twice_is_one_too_many() -> None:
    found = joined(ours(1, our_no="a"), theirs(1, our_no="a"), theirs(2, our_no="a"))
    assert [one[:2] for one in found] == [(0, 1002), (1, 1001)]


def test_what_is_not_due_waits_and_is_no_exception() -> None:
    today = Terms(**{**_values(), "today": DAY + timedelta(days=1)})
    assert joined(ours(1), theirs(2), terms=today) == []
    uncovered = Terms(**{**_values(), "covered": []})
    assert joined(ours(1), terms=uncovered) == []
    unfetched = Terms(**{**_values(), "ours_until": DAY})
    assert joined(theirs(1), terms=unfetched) == []
    before = Terms(**{**_values(), "ours_from": DAY + timedelta(days=1)})
    assert joined(ours(1), theirs(1), terms=before) == []


def _values() -> dict[str, Any]:
    return {name: getattr(TERMS, name) for name in Terms.__slots__}


def test_what_they_do_not_know_yet_waits() -> None:
    unknown = theirs(1, our_no="a", outcome=Outcome.UNKNOWN)
    assert joined(ours(1, our_no="a"), unknown) == []
    assert joined(unknown) == []


def test_a_failure_that_only_one_side_lists_moved_nothing() -> None:
    found = joined(ours(1, outcome=Outcome.FAILED), theirs(1, outcome=Outcome.FAILED))
    assert [one[2:4] for one in found] == [(MatchRule.NOTHING_MOVED, None)] * 2


def test_what_was_found_alone_before_is_not_found_again_but_is_matched_when_its_counterpart_comes() -> (
    None
):
    alone = ours(1, our_no="a", status=EntryStatus.BROKEN)
    assert joined(alone) == []
    assert joined(alone, theirs(1, our_no="a")) == [(1, 1001, MatchRule.OUR_NO, None, 0)]


def test_amounts_within_the_tolerance_agree() -> None:
    near = Terms(**{**_values(), "tolerance_micros": 30})
    assert joined(ours(1, our_no="a"), theirs(1, our_no="a", amount_micros=-130), terms=near) == [
        (1, 1001, MatchRule.OUR_NO, None, -30)
    ]


def test_words_with_quotes_and_commas_are_words() -> None:
    odd = 'a,"b'
    found = joined(ours(1, our_no=odd), theirs(1, our_no=odd), ours(2, our_no="\\N"))
    assert [one[:2] for one in found] == [(1, 1001), (2, 0)]


SIDES = st.lists(
    st.tuples(
        st.sampled_from(["", "a", "b"]),
        st.sampled_from(["", "x", "y"]),
        st.sampled_from(["", "139"]),
        st.integers(0, 3),
        st.sampled_from(list(Outcome)),
    ),
    max_size=6,
)


@settings(max_examples=20, deadline=None)
@given(SIDES, SIDES)
def test_nothing_is_found_twice_and_money_adds_up(left: Any, right: Any) -> None:
    """What is found exhausts both sides but for what is unknown, and its differences are all there are."""
    mine, other = _made(ours, left), _made(theirs, right)
    with Join(TERMS) as join:
        load(join, [*mine, *other])
        join.run()
        found: Sequence[Found] = [one for page in join.found(100) for one in page]
    seen = [number for one in found for number in (one.ours_id, one.theirs_id) if number]
    assert len(seen) == len(set(seen))
    for one in [*mine, *other]:
        assert one.entry_id in seen or Outcome.UNKNOWN in {e.outcome for e in [*mine, *other]}
    if Outcome.UNKNOWN not in {e.outcome for e in [*mine, *other]}:
        moved = _moved(other) - _moved(mine)
        assert sum(one.diff_micros for one in found) == moved


def _made(make: Any, rows: Any) -> list[Open]:
    return [
        make(
            at, our_no=a, their_no=b, account=c, face_micros=5, amount_micros=-fen, outcome=outcome
        )
        for at, (a, b, c, fen, outcome) in enumerate(rows, 1)
    ]


def _moved(entries: Sequence[Open]) -> int:
    return sum(one.amount_micros for one in entries if one.outcome is Outcome.SUCCESS)
