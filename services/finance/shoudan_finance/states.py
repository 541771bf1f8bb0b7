"""The lifecycles of an accounting day, of a day of trades and of a bill."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

from shoudan_kit.state_machine import Machine


class DayStatus(IntEnum):
    """finance_day.status."""

    FILLING = 10  # its movements are being fetched
    COMPLETE = 20  # they are proved to be the ledger's
    DIFFERS = 80  # they are not what the ledger closed the day with


class DayEvent(StrEnum):
    """What can happen to a day."""

    PROVED = "proved"
    DISPROVED = "found to differ"


DAY: Final = Machine(
    name="day of the books",
    initial=DayStatus.FILLING,
    moves={
        (DayStatus.FILLING, DayEvent.PROVED): DayStatus.COMPLETE,
        (DayStatus.FILLING, DayEvent.DISPROVED): DayStatus.DIFFERS,
        (DayStatus.DIFFERS, DayEvent.PROVED): DayStatus.COMPLETE,
        (DayStatus.DIFFERS, DayEvent.DISPROVED): DayStatus.DIFFERS,
    },
)


class TradeDayStatus(IntEnum):
    """trade_day.status."""

    FILLING = 10  # its trades are being fetched
    FETCHED = 15  # all are here; not all of their money is
    AGREES = 20  # the ledger moved what each trade says
    DIFFERS = 80  # it did not, though the day after is complete, too


class TradeDayEvent(StrEnum):
    """What can happen to a day of trades."""

    FETCHED = "all fetched"
    AGREED = "found to agree"
    DIFFERED = "found to differ"


TRADE_DAY: Final = Machine(
    name="day of trades",
    initial=TradeDayStatus.FILLING,
    moves={
        (TradeDayStatus.FILLING, TradeDayEvent.FETCHED): TradeDayStatus.FETCHED,
        (TradeDayStatus.FETCHED, TradeDayEvent.AGREED): TradeDayStatus.AGREES,
        (TradeDayStatus.FETCHED, TradeDayEvent.DIFFERED): TradeDayStatus.DIFFERS,
        (TradeDayStatus.DIFFERS, TradeDayEvent.AGREED): TradeDayStatus.AGREES,
        (TradeDayStatus.DIFFERS, TradeDayEvent.DIFFERED): TradeDayStatus.DIFFERS,
    },
)


class Book(IntEnum):
    """entry.book: who says that money moved."""

    OURS = 1
    THEIRS = 2  # 对方: a supplier or a payment component
    BANK = 3


class EntryKind(IntEnum):
    """entry.kind: what moved it."""

    DELIVERY = 1  # 发货
    RETURN = 2  # 退货
    PAY = 3  # 支付
    REFUND = 4  # 退款
    SETTLEMENT = 5  # 结算: the sum of other lines
    FEE = 6  # 手续费
    TRANSFER = 7  # 银行收付


class Outcome(IntEnum):
    """entry.outcome: how it ended, as its book says."""

    SUCCESS = 1
    FAILED = 2
    UNKNOWN = 3


class StatementStatus(IntEnum):
    """statement.status."""

    IMPORTED = 20  # its rows are matched
    SUPERSEDED = 90  # a corrected one took its place


class StatementEvent(StrEnum):
    """What can happen to a statement."""

    CORRECTED = "corrected"


STATEMENT: Final = Machine(
    name="statement",
    initial=StatementStatus.IMPORTED,
    moves={
        (StatementStatus.IMPORTED, StatementEvent.CORRECTED): StatementStatus.SUPERSEDED,
    },
)


class EntryStatus(IntEnum):
    """entry.status."""

    WAITING = 10  # its counterpart has not come yet
    BROKEN = 20  # it differs from its counterpart, or has none in time: an exception
    MATCHED = 30  # its counterpart says the same
    SETTLED = 40  # persons decided about its exception
    SUPERSEDED = 90  # its statement was corrected


class EntryEvent(StrEnum):
    """What can happen to an entry."""

    MATCHED = "matched"
    BROKE = "found to differ or to be alone"
    PARTED = "its counterpart was corrected"
    SETTLED = "settled by a decision"
    REOPENED = "its posting was refused"
    CORRECTED = "its statement was corrected"


ENTRY: Final = Machine(
    name="entry",
    initial=EntryStatus.WAITING,
    moves={
        (EntryStatus.WAITING, EntryEvent.MATCHED): EntryStatus.MATCHED,
        (EntryStatus.BROKEN, EntryEvent.MATCHED): EntryStatus.MATCHED,  # late, T+n
        (EntryStatus.WAITING, EntryEvent.BROKE): EntryStatus.BROKEN,
        (EntryStatus.BROKEN, EntryEvent.BROKE): EntryStatus.BROKEN,
        (EntryStatus.MATCHED, EntryEvent.PARTED): EntryStatus.WAITING,
        (EntryStatus.BROKEN, EntryEvent.PARTED): EntryStatus.WAITING,
        (EntryStatus.BROKEN, EntryEvent.SETTLED): EntryStatus.SETTLED,
        (EntryStatus.SETTLED, EntryEvent.REOPENED): EntryStatus.BROKEN,
        (EntryStatus.WAITING, EntryEvent.CORRECTED): EntryStatus.SUPERSEDED,
        (EntryStatus.BROKEN, EntryEvent.CORRECTED): EntryStatus.SUPERSEDED,
        (EntryStatus.MATCHED, EntryEvent.CORRECTED): EntryStatus.SUPERSEDED,
        (EntryStatus.SETTLED, EntryEvent.CORRECTED): EntryStatus.SUPERSEDED,
    },
)


class BillStatus(IntEnum):
    """bill.status."""

    MAKING = 10  # its rows are being written
    PUBLISHED = 20  # it never changes any more
    FAILED = 90  # it could not be made; it is made again when it is asked for


class BillEvent(StrEnum):
    """What can happen to a bill."""

    PUBLISHED = "published"
    FAILED = "failed"
    AGAIN = "asked for again"


BILL: Final = Machine(
    name="bill",
    initial=BillStatus.MAKING,
    moves={
        (BillStatus.MAKING, BillEvent.PUBLISHED): BillStatus.PUBLISHED,
        (BillStatus.MAKING, BillEvent.FAILED): BillStatus.FAILED,
        (BillStatus.FAILED, BillEvent.AGAIN): BillStatus.MAKING,
    },
)


class RunStatus(IntEnum):
    """reconcile_run.status."""

    WAITING = 10  # it has not ended, perhaps not begun
    DONE = 30
    FAILED = 80  # the next run does what it left


class RunEvent(StrEnum):
    """What can happen to a run."""

    ENDED = "ended"
    FAILED = "failed"


RUN: Final = Machine(
    name="run of the reconciliation",
    initial=RunStatus.WAITING,
    moves={
        (RunStatus.WAITING, RunEvent.ENDED): RunStatus.DONE,
        (RunStatus.WAITING, RunEvent.FAILED): RunStatus.FAILED,
    },
)


class MatchRule(IntEnum):
    """entry.rule: by what two entries were found to be one movement."""

    NONE = 0
    OUR_NO = 1
    THEIR_NO = 2
    ACCOUNT = 3  # account, face and a window of time
    SETTLEMENT = 4  # lines that a settlement adds up
    NOTHING_MOVED = 9  # a failure that only one side lists


class ExceptionKind(IntEnum):
    """exception.kind."""

    LONG = 1  # 长款: what moved leaves us more than our books say
    SHORT = 2  # 短款: less
    AMOUNT = 3  # 金额不符
    STATUS = 4  # 状态不符
    SETTLEMENT = 5  # 结算不符: a settlement is not the sum of its lines


class ExceptionStatus(IntEnum):
    """exception.status."""

    OPEN = 10
    ASKED = 20  # the supplier was asked
    DISPUTED = 30  # it is part of a dispute
    BOOKING = 40  # two persons decided, its posting is being made
    SETTLED = 50
    LATE = 60  # its counterpart came late: nothing is left to decide
    VOID = 70  # its statement was corrected


class ExceptionEvent(StrEnum):
    """What can happen to an exception."""

    ASKED = "supplier asked"
    DISPUTED = "put into a dispute"
    REOPENED = "answered, or its posting refused"
    DECIDED = "decided by two persons"
    BOOKED = "booked"
    CAME_LATE = "its counterpart came"
    VOIDED = "its statement was corrected"


EXCEPTION: Final = Machine(
    name="exception",
    initial=ExceptionStatus.OPEN,
    moves={
        (ExceptionStatus.OPEN, ExceptionEvent.ASKED): ExceptionStatus.ASKED,
        (ExceptionStatus.ASKED, ExceptionEvent.ASKED): ExceptionStatus.ASKED,
        (ExceptionStatus.OPEN, ExceptionEvent.DISPUTED): ExceptionStatus.DISPUTED,
        (ExceptionStatus.ASKED, ExceptionEvent.DISPUTED): ExceptionStatus.DISPUTED,
        (ExceptionStatus.ASKED, ExceptionEvent.REOPENED): ExceptionStatus.OPEN,
        (ExceptionStatus.DISPUTED, ExceptionEvent.REOPENED): ExceptionStatus.OPEN,
        (ExceptionStatus.BOOKING, ExceptionEvent.REOPENED): ExceptionStatus.OPEN,
        (ExceptionStatus.OPEN, ExceptionEvent.DECIDED): ExceptionStatus.BOOKING,
        (ExceptionStatus.ASKED, ExceptionEvent.DECIDED): ExceptionStatus.BOOKING,
        (ExceptionStatus.DISPUTED, ExceptionEvent.DECIDED): ExceptionStatus.BOOKING,
        (ExceptionStatus.BOOKING, ExceptionEvent.BOOKED): ExceptionStatus.SETTLED,
        (ExceptionStatus.OPEN, ExceptionEvent.CAME_LATE): ExceptionStatus.LATE,
        (ExceptionStatus.ASKED, ExceptionEvent.CAME_LATE): ExceptionStatus.LATE,
        (ExceptionStatus.DISPUTED, ExceptionEvent.CAME_LATE): ExceptionStatus.LATE,
        (ExceptionStatus.OPEN, ExceptionEvent.VOIDED): ExceptionStatus.VOID,
        (ExceptionStatus.ASKED, ExceptionEvent.VOIDED): ExceptionStatus.VOID,
        (ExceptionStatus.DISPUTED, ExceptionEvent.VOIDED): ExceptionStatus.VOID,
    },
)


class Decision(IntEnum):
    """exception.decision (处理方式)."""

    NONE = 0
    BOOK = 1  # 挂账: to the 长短款 account of the source
    WRITE_OFF = 2  # 核销
    ADJUST_COST = 3  # 调整成本: on the supplier's own account
    REFUND = 4  # 退款: of the order, and the supplier's own account


class NoteKind(IntEnum):
    """exception_note.kind."""

    COMMENT = 1
    ASKED = 2
    DECIDED = 3
    BOOKED = 4  # and refunded
    REFUSED = 5  # by the ledger
    DISPUTED = 6
    ANSWERED = 7  # by the supplier: in a dispute, or when it was asked


class DisputeStatus(IntEnum):
    """dispute.status."""

    OPEN = 10
    ANSWERED = 20


class DisputeEvent(StrEnum):
    """What can happen to a dispute."""

    ANSWERED = "answered"


DISPUTE: Final = Machine(
    name="dispute",
    initial=DisputeStatus.OPEN,
    moves={(DisputeStatus.OPEN, DisputeEvent.ANSWERED): DisputeStatus.ANSWERED},
)
