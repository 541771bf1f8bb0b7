"""The rules of posting: which movements are made, decided over locked balances in order of arrival.

`decide` is pure. Its outcome equals the groups applied one after the other; a property test holds it to
a model that does exactly that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shoudan_kit.money import MICROS_MAX, STEP
from shoudan_kit.rpc.refusal import Refusal
from shoudan_pay.ledger.chain_hash import Stamp, origin_of
from shoudan_pay.ledger.days import day_of
from shoudan_pay.ledger.entries import (
    PLATFORM,
    Account,
    Decision,
    Key,
    Posting,
    QuoteKey,
    Record,
    RecordKey,
    micros_since_1970,
)
from shoudan_pay.ledger.refusals import (
    AccountLocked,
    AccountNotFound,
    AlreadyReversed,
    BalanceTooLow,
    PostingDiffers,
    RecordNotFound,
    RefundTooHigh,
)
from shoudan_pay.ledger.states import TRADE_TYPES, ChangeType, TradeType
from shoudan_pay.refusals import AmountInvalid, FieldInvalid

_ADD: Final = int(ChangeType.ADD)
_DRAWING: Final = int(ChangeType.DRAWING)
_DEDUCT: Final = int(ChangeType.DEDUCT)
_REFUND: Final = int(ChangeType.REFUND)
_TRADE: Final = int(TradeType.TRADE)
_REVERSE: Final = int(TradeType.REVERSE)
# A plain set of pairs of int: looked up once per posting.
# Whether money goes up or down; what is not here goes either way.
_UP: Final = {
    (_ADD, _TRADE): True,
    (_DRAWING, _TRADE): False,
    (_DEDUCT, _TRADE): False,
    (_REFUND, _TRADE): True,
}
_PAIRS: Final = frozenset((int(c), int(t)) for c, ts in TRADE_TYPES.items() for t in ts)


@dataclass(frozen=True, slots=True)
class Book:
    """What the decisions need, as locked and read in this transaction.

    `records`: those that have the key of a posting, or that a posting quotes. `returned`: the sum of the
    refunds (or reversals) that quote a record already, without signs.
    """

    accounts: Mapping[Key, Account]
    records: Mapping[RecordKey, Record]
    returned: Mapping[QuoteKey, int]


def check(posting: Posting) -> None:
    """Refuse what no state of the ledger could make right: FieldInvalid, AmountInvalid."""
    change, trade, amount = posting.change_type, posting.trade_type, posting.amount_micros
    if (change, trade) not in _PAIRS:
        if change not in TRADE_TYPES:
            raise FieldInvalid("change_type", f"{change} is none of 1..6")
        raise FieldInvalid("trade_type", f"{trade} does not go with change_type {change}")
    if posting.account[1] == PLATFORM:
        raise FieldInvalid("groups", "a platform account moves only as the contra of others")
    quoting = change == _REFUND or trade == _REVERSE
    if quoting != bool(posting.ext_no):
        why = "is needed by a refund or a reversal" if quoting else "is only for those"
        raise FieldInvalid("ext_no", why)
    if posting.void:
        if amount:
            raise FieldInvalid("amount_micros", "a void moves nothing")
        return
    if amount % STEP or not -MICROS_MAX <= amount <= MICROS_MAX:
        raise AmountInvalid(amount)
    # A reversal may leave its amount to the ledger; its sign is compared with what it quotes.
    if trade == _REVERSE:
        return
    # A service fee or a commission may be paid or earned; the trade itself is only paid.
    if not amount or (_UP.get((change, trade), amount > 0) != (amount > 0)):
        raise AmountInvalid(amount)


def quoted(posting: Posting, account_id: int) -> RecordKey | None:
    """The key of the record that a refund or a reversal gives back."""
    if posting.change_type == _REFUND:
        return account_id, posting.ext_no, posting.trade_type, _DEDUCT
    if posting.trade_type == _REVERSE:
        return account_id, posting.ext_no, _TRADE, posting.change_type
    return None


def decide(
    book: Book, groups: Iterable[Sequence[Posting]], ids: Iterator[int], now: datetime, stamp: Stamp
) -> list[Decision]:
    """One decision per group, in order: whole or not at all, each on what those before it left.

    `ids` gives a number to each record made. Records of one account never go back in time, so one that
    moved after `now` (another transaction began later but locked first) keeps its own last time. Likewise
    with days: none is before that of the account's last record, or before one that is still open.
    """
    sheet = _Sheet(book, ids, now, stamp)
    return [sheet.group(group) for group in groups]


class _Moment:
    """The time of a record: as it is kept, as a seal covers it, and the accounting day it lies in."""

    __slots__ = ("cut", "day", "micros", "time")

    def __init__(self, time: datetime, cut: timedelta) -> None:
        self.time, self.cut = time, cut
        self.micros, self.day = micros_since_1970(time), day_of(time, cut)


class _Standing:
    """Where one account stands in the middle of a batch."""

    __slots__ = ("account", "balance", "day", "floor", "head", "seq", "time", "time_micros")

    def __init__(self, account: Account, at: _Moment) -> None:
        self.account = account
        self.balance = account.balance_micros
        self.floor = -account.credit_micros if account.limited else None
        self.seq = account.seq
        self.head = account.head_hash
        ahead, opened = account.ahead_time, account.open_day
        if ahead is not None and ahead > at.time:
            at = _Moment(ahead, at.cut)
        self.time, self.time_micros, self.day = at.time, at.micros, at.day
        if opened is not None and opened > at.day:
            self.day = opened


class _Sheet:
    """A batch being worked through: the book, and what has been decided on top of it."""

    def __init__(self, book: Book, ids: Iterator[int], now: datetime, stamp: Stamp) -> None:
        self._accounts = book.accounts
        self._records = dict(book.records)
        self._returned = dict(book.returned)
        self._standings: dict[Key, _Standing] = {}
        self._ids = ids
        self._seal = stamp.ring.seal
        self._at = _Moment(now, stamp.cut)

    def group(self, postings: Sequence[Posting]) -> Decision:
        """Apply one group, or take back what was applied of it."""
        new: list[Record] = []
        heads: list[bytes] = []
        try:
            records = [self._post(posting, new, heads) for posting in postings]
        except Refusal as refusal:
            self._take_back(postings, new, heads)
            return Decision((), (), refusal)
        return Decision(records, new)

    def _post(self, posting: Posting, new: list[Record], heads: list[bytes]) -> Record:
        standing = self._standings.get(posting.account) or self._stand(posting.account)
        account = standing.account
        key = account.account_id, posting.trade_no, posting.trade_type, posting.change_type
        known = self._records.get(key)
        # A repeat is answered before anything else: what was right once is never refused later.
        if known is not None:
            return _same(known, posting)
        quote = quoted(posting, account.account_id) if posting.ext_no else None
        amount = posting.amount_micros
        if not posting.void:
            if account.locked:
                raise AccountLocked(*posting.account)
            if quote is not None:
                amount = self._given_back(posting, quote)
            _within_limit(posting, standing, amount)
        record = self._write(posting, standing, amount, heads)
        new.append(record)
        self._records[key] = record
        if quote is not None:
            counted = _counted_by(posting, account.account_id)
            self._returned[counted] = self._returned.get(counted, 0) + abs(amount)
        return record

    def _stand(self, key: Key) -> _Standing:
        account = self._accounts.get(key)
        if account is None:
            raise AccountNotFound(*key)
        standing = self._standings[key] = _Standing(account, self._at)
        return standing

    def _given_back(self, posting: Posting, quote: RecordKey) -> int:
        """The amount of a refund or a reversal, if what it quotes still has that much to give back."""
        original = self._records.get(quote)
        if original is None:
            raise RecordNotFound(posting.ext_no)
        amount, had = posting.amount_micros, original.amount_micros
        returned = self._returned.get(_counted_by(posting, quote[0]), 0)
        if posting.trade_type == _REVERSE:
            if not had:
                raise RecordNotFound(posting.ext_no)
            if returned:
                raise AlreadyReversed(posting.ext_no)
            if amount not in {0, -had}:
                raise AmountInvalid(amount)
            return -had
        if amount * had > 0:
            raise AmountInvalid(amount)
        if returned + abs(amount) > abs(had):
            raise RefundTooHigh(posting.ext_no, abs(had), returned, abs(amount))
        return amount

    def _write(
        self, posting: Posting, standing: _Standing, amount: int, heads: list[bytes]
    ) -> Record:
        account = standing.account
        assert account.contra_account_id is not None, "check() refuses platform accounts"
        facts = (
            next(self._ids),
            account.account_id,
            account.contra_account_id,
            posting.trade_no,
            posting.ext_no,
            posting.trade_type,
            posting.change_type,
            amount,
            standing.balance + amount,
            standing.floor,
            standing.seq + 1,
            posting.memo,
        )
        heads.append(standing.head)
        origin = standing.day, posting.about, posting.source, posting.operator
        standing.head = self._seal(standing.head, *facts, standing.time_micros, origin_of(*origin))
        standing.balance += amount
        standing.seq += 1
        return Record(*facts, standing.time, standing.head, *origin)

    def _take_back(
        self, postings: Sequence[Posting], new: list[Record], heads: list[bytes]
    ) -> None:
        """Undo the records of a refused group, last first."""
        by_id = {s.account.account_id: s for p in postings if (s := self._standings.get(p.account))}
        for record, head in zip(reversed(new), reversed(heads), strict=True):
            standing = by_id[record.account_id]
            standing.balance -= record.amount_micros
            standing.seq -= 1
            standing.head = head
            del self._records[record.key]
            if record.ext_no:
                counted = (record.account_id, record.ext_no, record.trade_type, record.change_type)
                self._returned[counted] -= abs(record.amount_micros)


def _counted_by(posting: Posting, account_id: int) -> QuoteKey:
    return account_id, posting.ext_no, posting.trade_type, posting.change_type


def _same(known: Record, posting: Posting) -> Record:
    """The first record, when the repeat has the same content: PostingDiffers otherwise."""
    whole = posting.trade_type == _REVERSE and not posting.amount_micros and known.amount_micros
    same = known.amount_micros == posting.amount_micros or whole
    if posting.void or (same and known.ext_no == posting.ext_no):
        return known
    raise PostingDiffers(posting.trade_no, posting.trade_type, posting.change_type)


def _within_limit(posting: Posting, standing: _Standing, amount: int) -> None:
    """Only spending is limited: money may always come in, however deep the debt."""
    left = standing.balance + amount
    if amount < 0 and standing.floor is not None and left < standing.floor:
        available = standing.balance - standing.floor
        raise BalanceTooLow(*posting.account, available, amount)
    if not -MICROS_MAX <= left <= MICROS_MAX:
        raise AmountInvalid(amount)
