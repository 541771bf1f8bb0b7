"""Laws of deciding: batches mean what the groups mean one after the other; chains hold; nothing is lost.

The model below is written without looking at how `decide` works: a list of records, searched from its
start for everything, copied before each group and put back when the group is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shoudan_pay.ledger.chain_hash import Ring, Stamp, origin_of
from shoudan_pay.ledger.entries import Account, Decision, Key, Posting, Record, micros_since_1970
from shoudan_pay.ledger.postings import Book, check, decide, quoted

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
RING = Ring("key of these tests")
STAMP = Stamp(RING)
ADD, DRAWING, DEDUCT, REFUND, FLAT = 1, 2, 3, 4, 6
TRADE, SERVICE, REVERSE = 1, 2, 4


def account(number: int, **fields: object) -> Account:
    values: dict[str, object] = {
        "account_id": number,
        "contra_account_id": 1,
        "ident": "oms",
        "groups": "g",
        "eid": f"a{number}",
        "name": "",
        "balance_micros": 0,
        "credit_micros": 0,
        "locked": False,
        "limited": True,
        "watched": False,
        "seq": 0,
        "head_hash": b"",
        "ahead_time": None,
        "open_day": None,
    }
    return Account(**{**values, **fields})


ACCOUNTS = [
    account(2),
    account(3, credit_micros=50),
    account(4, limited=False),
    account(5, locked=True),
]
# The unlimited one most often: there the most different things can happen.
KEYS = (
    [ACCOUNTS[2].key] * 6 + [ACCOUNTS[1].key] * 3 + [a.key for a in ACCOUNTS] + [("oms", "g", "?")]
)


@dataclass
class Row:
    key: Key
    trade_no: str
    ext_no: str
    trade_type: int
    change_type: int
    amount: int
    balance: int


@dataclass
class Model:
    """The ledger told slowly."""

    accounts: dict[Key, Account] = field(default_factory=lambda: {a.key: a for a in ACCOUNTS})
    rows: list[Row] = field(default_factory=list)

    def group(self, postings: Sequence[Posting]) -> list[Row] | str:
        before = list(self.rows)
        made: list[Row] = []
        for posting in postings:
            row = self.one(posting)
            if isinstance(row, str):
                self.rows = before
                return row
            made.append(row)
        return made

    def find(self, key: Key, trade_no: str, trade: int, change: int) -> Row | None:
        wanted = (key, trade_no, trade, change)
        return next(
            (r for r in self.rows if (r.key, r.trade_no, r.trade_type, r.change_type) == wanted),
            None,
        )

    def one(self, p: Posting) -> Row | str:
        owner = self.accounts.get(p.account)
        if owner is None:
            return "AccountNotFound"
        there = self.find(p.account, p.trade_no, p.trade_type, p.change_type)
        if there is not None:
            whole = p.trade_type == REVERSE and p.amount_micros == 0 and there.amount != 0
            equal = there.amount == p.amount_micros or whole
            if p.void or (equal and there.ext_no == p.ext_no):
                return there
            return "PostingDiffers"
        amount = p.amount_micros
        balance = sum(r.amount for r in self.rows if r.key == p.account)
        if not p.void:
            if owner.locked:
                return "AccountLocked"
            if p.trade_type == REVERSE or p.change_type == REFUND:
                given_back = self.given_back(p)
                if isinstance(given_back, str):
                    return given_back
                amount = given_back
            lowest = -owner.credit_micros
            if amount < 0 and owner.limited and balance + amount < lowest:
                return "BalanceTooLow"
        row = Row(
            p.account, p.trade_no, p.ext_no, p.trade_type, p.change_type, amount, balance + amount
        )
        self.rows.append(row)
        return row

    def given_back(self, p: Posting) -> int | str:
        reverse = p.trade_type == REVERSE
        change = p.change_type if reverse else DEDUCT
        first = self.find(p.account, p.ext_no, TRADE if reverse else p.trade_type, change)
        if first is None or (reverse and first.amount == 0):
            return "RecordNotFound"
        had = sum(
            abs(r.amount)
            for r in self.rows
            if (r.key, r.ext_no, r.trade_type, r.change_type)
            == (p.account, p.ext_no, p.trade_type, p.change_type)
        )
        if reverse:
            if had:
                return "AlreadyReversed"
            return -first.amount if p.amount_micros in {0, -first.amount} else "AmountInvalid"
        if p.amount_micros * first.amount > 0:
            return "AmountInvalid"
        too_much = had + abs(p.amount_micros) > abs(first.amount)
        return "RefundTooHigh" if too_much else p.amount_micros


keys = st.sampled_from(KEYS)
numbers = st.sampled_from(["1", "2", "3"])


def asked(change: int, trade: int, amounts: list[int], **fields: Any) -> st.SearchStrategy[Posting]:
    """Postings of one kind; amounts are few and small, so that refunds meet their deducts to the last
    step, and spendings their limits."""
    return st.builds(
        Posting,
        **{
            "account": keys,
            "trade_no": numbers,
            "change_type": st.just(change),
            "trade_type": st.just(trade),
            "amount_micros": st.sampled_from(amounts),
            **fields,
        },
    )


kinds = st.one_of(
    asked(ADD, TRADE, [10, 20, 30]),
    asked(DRAWING, TRADE, [-10, -20]),
    asked(DEDUCT, TRADE, [-10, -20, -30]),
    asked(DEDUCT, SERVICE, [-10, -20, 20]),
    asked(REFUND, TRADE, [10, 20, 30], ext_no=numbers),
    asked(REFUND, TRADE, [10, 10, 20], ext_no=numbers),
    asked(REFUND, SERVICE, [10, 20, -10], ext_no=numbers),
    asked(ADD, REVERSE, [0, 0, -10, -20], ext_no=numbers),
    asked(DRAWING, REVERSE, [0, 10], ext_no=numbers),
    asked(FLAT, TRADE, [-10, 20]),
    asked(ADD, TRADE, [0], void=st.just(True)),
    asked(DEDUCT, TRADE, [0], void=st.just(True)),
)
# Mostly single postings: a long group is mostly a refused one.
groups_ = st.lists(
    st.one_of(*[st.lists(kinds, min_size=1, max_size=most) for most in (1, 1, 3)]),
    min_size=8,
    max_size=40,
)


one_account: dict[str, Any] = {"account": st.just(ACCOUNTS[2].key)}
# One account and little else than giving back: sums, repeats and groups taken back meet each other.
giving_ = st.lists(
    st.lists(
        st.one_of(
            asked(ADD, TRADE, [10], **one_account),
            asked(DEDUCT, TRADE, [-20], **one_account),
            asked(REFUND, TRADE, [10], ext_no=numbers, **one_account),
            asked(ADD, REVERSE, [0], ext_no=numbers, **one_account),
        ),
        min_size=1,
        max_size=2,
    ),
    min_size=8,
    max_size=30,
)


def test_everything_asked_of_the_model_passes_the_first_check() -> None:
    for change, trade, amount, ext_no in (
        (ADD, TRADE, 10, ""),
        (DEDUCT, SERVICE, -10, ""),
        (REFUND, TRADE, 10, "1"),
        (ADD, REVERSE, 0, "1"),
        (FLAT, TRADE, -10, ""),
    ):
        check(Posting(KEYS[0], "1", change, trade, amount, ext_no))


@dataclass
class Slow:
    """What the database is to `decide`: it remembers between batches."""

    accounts: dict[Key, Account] = field(default_factory=lambda: {a.key: a for a in ACCOUNTS})
    records: list[Record] = field(default_factory=list)
    ids: itertools.count[int] = field(default_factory=itertools.count)
    now: datetime = NOW

    def batch(self, groups: Sequence[Sequence[Posting]]) -> list[Decision]:
        decisions = decide(self.book(groups), groups, self.ids, self.now, STAMP)
        for record in (r for d in decisions for r in d.new):
            self.records.append(record)
            key = next(k for k, a in self.accounts.items() if a.account_id == record.account_id)
            owner = self.accounts[key]
            self.accounts[key] = account(
                owner.account_id,
                credit_micros=owner.credit_micros,
                limited=owner.limited,
                locked=owner.locked,
                balance_micros=record.balance_micros,
                seq=record.seq,
                head_hash=record.hash,
                ahead_time=record.create_time,
            )
        return decisions

    def book(self, groups: Sequence[Sequence[Posting]]) -> Book:
        """Only what the postings touch, as the store would read it."""
        keys: set[object] = set()
        for posting in (p for g in groups for p in g):
            owner = self.accounts.get(posting.account)
            if owner is not None:
                at = owner.account_id
                keys.add((at, posting.trade_no, posting.trade_type, posting.change_type))
                keys.add(quoted(posting, at))
        returned: dict[tuple[int, str, int, int], int] = {}
        for r in self.records:
            if r.ext_no:
                counted = r.account_id, r.ext_no, r.trade_type, r.change_type
                returned[counted] = returned.get(counted, 0) + abs(r.amount_micros)
        return Book(self.accounts, {r.key: r for r in self.records if r.key in keys}, returned)


@settings(max_examples=400, deadline=None)
@given(
    groups=st.one_of(groups_, giving_),
    cuts=st.lists(st.integers(1, 9), min_size=40, max_size=40),
)
def test_any_cutting_into_batches_gives_what_the_model_gives(
    groups: list[list[Posting]], cuts: list[int]
) -> None:
    model, ledger = Model(), Slow()
    wanted = [model.group(group) for group in groups]
    got: list[Decision] = []
    rest = groups
    for cut in cuts:
        if rest:
            got += ledger.batch(rest[:cut])
            rest = rest[cut:]
    for want, decision in zip(wanted, got, strict=True):
        if isinstance(want, str):
            assert type(decision.refusal).__name__ == want
            assert not decision.records
        else:
            assert decision.refusal is None
            facts = [(r.trade_no, r.amount_micros, r.balance_micros) for r in decision.records]
            assert facts == [(r.trade_no, r.amount, r.balance) for r in want]
    made = [(r.trade_no, r.ext_no, r.amount_micros, r.balance_micros) for r in ledger.records]
    assert made == [(r.trade_no, r.ext_no, r.amount, r.balance) for r in model.rows]


@settings(max_examples=200, deadline=None)
@given(groups=groups_)
def test_every_account_is_a_whole_chain_afterwards(groups: list[list[Posting]]) -> None:
    ledger = Slow()
    ledger.batch(groups)
    for owner in ledger.accounts.values():
        seq, balance, head = 0, 0, b""
        for r in (r for r in ledger.records if r.account_id == owner.account_id):
            seq, balance = seq + 1, balance + r.amount_micros
            facts = (r.trade_no, r.ext_no, r.trade_type, r.change_type, r.amount_micros)
            rest = (r.balance_micros, r.floor_micros, r.seq, r.memo)
            ids = (r.record_id, r.account_id, r.contra_account_id)
            origin = origin_of(r.day, r.about, r.source, r.operator)
            head = RING.seal(head, *ids, *facts, *rest, micros_since_1970(r.create_time), origin)
            assert (r.seq, r.balance_micros, r.hash) == (seq, balance, head)
        assert (owner.seq, owner.balance_micros, owner.head_hash) == (seq, balance, head)


@settings(max_examples=200, deadline=None)
@given(groups=groups_)
def test_replays_change_nothing(groups: list[list[Posting]]) -> None:
    ledger = Slow()
    first = ledger.batch(groups)
    standing = dict(ledger.accounts)
    done = [(g, d) for g, d in zip(groups, first, strict=True) if d.refusal is None]
    again = ledger.batch([group for group, _ in done])
    assert ledger.accounts == standing
    for (_, before), after in zip(done, again, strict=True):
        assert after.existed
        assert list(after.records) == list(before.records)


@settings(max_examples=200, deadline=None)
@given(groups=groups_)
def test_no_spending_ever_leaves_less_than_minus_credit(groups: list[list[Posting]]) -> None:
    ledger = Slow()
    for record in (r for d in ledger.batch(groups) for r in d.new):
        limited = record.floor_micros is not None
        assert (
            not limited
            or record.amount_micros >= 0
            or (record.balance_micros >= (record.floor_micros or 0))
        )


def test_records_of_an_account_never_go_back_in_time() -> None:
    later = NOW + timedelta(seconds=3)
    owner = account(2, ahead_time=later)
    book = Book({owner.key: owner}, {}, {})
    group = [Posting(owner.key, "1", ADD, TRADE, 10)]
    (decision,) = decide(book, [group], iter([1]), NOW, STAMP)
    assert decision.new[0].create_time == later


def day_of_one(cut: timedelta = timedelta(), **fields: object) -> date:
    """The day that a posting at 20:00 of 2026-11-20 in Beijing gets."""
    owner = account(2, **fields)
    group = [Posting(owner.key, "1", ADD, TRADE, 10)]
    book = Book({owner.key: owner}, {}, {})
    (decision,) = decide(book, [group], iter([1]), NOW, Stamp(RING, cut))
    day = decision.new[0].day
    assert day is not None
    return day


def test_a_record_has_the_day_of_its_time_and_none_before_an_open_one() -> None:
    today = date(2026, 11, 20)
    assert day_of_one() == today
    assert day_of_one(timedelta(hours=20)) == today
    assert day_of_one(timedelta(hours=20, minutes=1)) == today - timedelta(days=1)
    # Closed already, however early the clock is; and a cut that was changed takes no record back.
    assert day_of_one(open_day=today + timedelta(days=1)) == today + timedelta(days=1)
    assert day_of_one(timedelta(hours=21), open_day=today) == today
    assert day_of_one(open_day=today - timedelta(days=3)) == today


def test_the_seal_covers_day_and_origin() -> None:
    facts = (1, 2, 3, "t", "", 1, 1, 10, 10, None, 1, "", 0)
    day = date(2026, 11, 20)
    origins = [
        origin_of(None, 0, "", ""),
        origin_of(day, 0, "", ""),
        origin_of(day + timedelta(days=1), 0, "", ""),
        origin_of(day, 1, "", ""),
        origin_of(day, 0, "order", ""),
        origin_of(day, 0, "", "order"),
    ]
    assert len({RING.seal(b"", *facts, origin) for origin in origins}) == len(origins)
    assert RING.seal(b"", *facts, origins[0]) == RING.seal(b"", *facts)


def test_a_changed_letter_changes_the_seal() -> None:
    facts = (1, 2, 3, "t", "", 1, 1, 10, 10, None, 1, "", 0)
    seal = RING.seal
    assert seal(b"", *facts) != seal(b"", 1, 2, 3, "", "t", 1, 1, 10, 10, None, 1, "", 0)
    assert seal(b"", *facts) != seal(b"x", *facts)
    assert seal(b"", *facts) != Ring("other").seal(b"", *facts)
