"""Laws of service packages: capacity never below nothing, days count for themselves, repeats are free."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shoudan_kit.rpc.refusal import Refusal
from shoudan_pay.ledger.entries import Package, PackageRecord
from shoudan_pay.ledger.packages import EXPIRES_NEVER, Move, Moved, decide

KEY = (("oms", "-", "1"), "p")
NOON = datetime(2026, 11, 20, 4, tzinfo=UTC)  # noon in Shanghai
ADD, DRAWING, DEDUCT, REFUND = 1, 2, 3, 4


def package(**fields: Any) -> Package:
    values: dict[str, Any] = {
        "pkg_id": 1,
        "ident": "oms",
        "groups": "-",
        "eid": "1",
        "locked": False,
        "spkg_id": "p",
        "name": "",
        "total_capacity": 100,
        "total_remain": 100,
        "capacity_daily": 0,
        "deduct_today": 0,
        "deduct_date": date(2026, 11, 20),
        "expires": EXPIRES_NEVER,
    }
    return Package(**{**values, **fields})


class Shelf:
    """A package with its records, moved one batch at a time."""

    def __init__(self, **fields: Any) -> None:
        self.package = package(**fields)
        self.records: dict[Any, PackageRecord] = {}
        self.ids = itertools.count()

    def move(self, *moves: tuple[int, int, str], now: datetime = NOON) -> list[Moved | Refusal]:
        asked = [Move(KEY, trade_no, change, num) for change, num, trade_no in moves]
        done = decide({KEY: self.package}, self.records, asked, self.ids, now)
        self.records |= {r.key: r for r in done.new}
        self.package = done.packages[-1] if done.packages else self.package
        return done.answers

    def one(self, change: int, num: int, trade_no: str, now: datetime = NOON) -> str | int:
        (answer,) = self.move((change, num, trade_no), now=now)
        return type(answer).__name__ if isinstance(answer, Refusal) else answer.record.remain


def test_the_daily_count_begins_anew_at_midnight_in_shanghai() -> None:
    shelf = Shelf(capacity_daily=60)
    before_midnight = datetime(2026, 11, 20, 15, 59, 59, tzinfo=UTC)
    assert shelf.one(DEDUCT, 60, "d1", before_midnight) == 40
    assert shelf.one(DEDUCT, 1, "d2", before_midnight) == "CapacityTooLow"
    assert shelf.one(DEDUCT, 1, "d2", before_midnight + timedelta(seconds=1)) == 39


def test_a_refund_of_today_gives_the_day_back_and_one_of_yesterday_does_not() -> None:
    shelf = Shelf(capacity_daily=50)
    shelf.one(DEDUCT, 50, "d1")
    assert shelf.one(REFUND, 50, "d1") == 100
    assert shelf.one(DEDUCT, 50, "d2") == 50
    tomorrow = NOON + timedelta(days=1)
    shelf.one(DEDUCT, 30, "d3", tomorrow)
    shelf.one(REFUND, 50, "d2", tomorrow)
    assert shelf.package.used_on(tomorrow.date()) == 30


def test_a_refund_needs_its_deduct_once_and_never_more() -> None:
    shelf = Shelf()
    assert shelf.one(REFUND, 1, "d1") == "RecordNotFound"
    shelf.one(DEDUCT, 10, "d1")
    assert shelf.one(REFUND, 11, "d1") == "NumberInvalid"
    assert shelf.one(REFUND, 4, "d1") == 94
    assert shelf.one(REFUND, 4, "d1") == 94
    assert shelf.one(REFUND, 6, "d1") == "PostingDiffers"


def test_the_last_day_is_still_a_day() -> None:
    shelf = Shelf(expires=date(2026, 11, 20))
    assert shelf.one(DEDUCT, 1, "d1") == 99
    tomorrow = NOON + timedelta(days=1)
    assert shelf.one(DEDUCT, 1, "d2", tomorrow) == "PackageExpired"
    assert shelf.one(ADD, 1, "a1", tomorrow) == "PackageExpired"
    assert shelf.one(REFUND, 1, "d1", tomorrow) == 100
    assert shelf.one(DRAWING, 100, "w1", tomorrow) == 0


def test_a_locked_owner_moves_no_capacity() -> None:
    assert Shelf(locked=True).one(ADD, 1, "a1") == "AccountLocked"


moves_ = st.lists(
    st.tuples(st.sampled_from([1, 2, 3, 4]), st.integers(1, 60), st.sampled_from("abcd")),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(moves=moves_, daily=st.sampled_from([0, 40]))
def test_a_batch_means_its_moves_one_after_the_other(
    moves: list[tuple[int, int, str]], daily: int
) -> None:
    together, alone = Shelf(capacity_daily=daily), Shelf(capacity_daily=daily)
    answers = together.move(*moves)
    singles = [alone.move(move)[0] for move in moves]
    assert [str(a) if isinstance(a, Refusal) else a.record.remain for a in answers] == [
        str(a) if isinstance(a, Refusal) else a.record.remain for a in singles
    ]
    assert together.package == alone.package
    assert together.package.total_remain >= 0
    assert not daily or together.package.used_on(date(2026, 11, 20)) <= daily
    assert together.package.total_remain == 100 + sum(r.num for r in together.records.values())
