"""A supplier's or payment component's statements (对账单), which err in every documented way at known rates,
and the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Final

from shoudan_kit.clock import BEIJING, beijing
from shoudan_kit.money import micros_to_yuan

HEAD: Final = "商户单号,平台单号,结算单号,充值账号,面值,金额,时间,类型,状态"
SKEW: Final = timedelta(minutes=4)
ONE_DAY: Final = timedelta(days=1)
CENT: Final = 10_000


class Error(StrEnum):
    """One way to err."""

    MISSING = "missing"  # 长款 of a delivery: it is in no statement
    EXTRA = "extra"  # 短款: a line of nothing we did
    TWICE = "twice"  # 短款: the same line again
    AMOUNT = "amount"  # 金额不符
    STATUS = "status"  # 状态不符: a success is listed as failed, or the other way
    LATE = "late"  # listed on the next day
    SKEWED = "skewed"  # their clock is minutes ahead
    NAMELESS = "nameless"  # without our number
    NUMBERLESS = (
        "numberless"  # without any number: the account, its face and the time are all there is
    )
    SETTLEMENT = "settlement"  # 结算不符: the sum of a day is wrong


# Of a thousand lines; SETTLEMENT of a thousand days.
RATES: Final[Mapping[Error, int]] = {
    Error.MISSING: 10,
    Error.EXTRA: 10,
    Error.TWICE: 10,
    Error.AMOUNT: 10,
    Error.STATUS: 10,
    Error.LATE: 20,
    Error.SKEWED: 100,
    Error.NAMELESS: 100,
    Error.NUMBERLESS: 50,
    Error.SETTLEMENT: 200,
}


@dataclass(frozen=True, slots=True)
class Traded:
    """What we did with the supplier."""

    number: int
    their_no: str
    micros: int
    gives_back: bool  # a return
    failed: bool
    end_time: datetime
    sent_no: int = 0  # the number that the supplier was sent; our own when 0
    account: str = ""


@dataclass(frozen=True, slots=True)
class Injected:
    """A difference that a reconciliation must find."""

    error: Error
    number: int  # ours; 0 without
    their_no: str
    diff_micros: int  # what moves beyond our books, signed


@dataclass(frozen=True, slots=True)
class _Line:
    our_no: str
    their_no: str
    micros: int
    gives_back: bool
    failed: bool
    time: datetime
    day: date
    account: str
    face_micros: int


@dataclass(slots=True)
class Month:
    """Statements by day, and what is wrong in them."""

    files: dict[date, bytes] = field(default_factory=dict[date, bytes])
    injected: list[Injected] = field(default_factory=list[Injected])
    late: int = 0
    numberless: int = 0


class Supplier:
    """Makes statements of what was traded; the same ones for the same seed."""

    names = ("发货", "退货")
    gives = -1  # what it does to us when nothing is given back

    def __init__(self, seed: int, rates: Mapping[Error, int] = RATES) -> None:
        self._random, self._rates = Random(seed), rates
        self._month = Month()

    def _signed(self, one: _Line | Traded) -> int:
        return -self.gives * one.micros if one.gives_back else self.gives * one.micros

    def month(self, traded: Sequence[Traded], days: Sequence[date]) -> Month:
        """A statement for each day, also one without lines; what errs late into no day does not."""
        lines = [line for one in traded for line in self._lines(one, days[-1])]
        for day in days:
            own = [one for one in lines if one.day == day]
            self._month.files[day] = self._file(day, own)
        return self._month

    def _errs(self, error: Error) -> bool:
        return self._random.randrange(1000) < self._rates.get(error, 0)

    def _lines(self, one: Traded, last: date) -> Iterator[_Line]:
        time = one.end_time + (SKEW if self._errs(Error.SKEWED) else timedelta())
        our_no = "" if self._errs(Error.NAMELESS) else str(one.sent_no or one.number)
        day = min(time.astimezone(BEIJING).date(), last)
        face = one.micros if one.account else 0
        line = _Line(
            our_no,
            one.their_no,
            one.micros,
            one.gives_back,
            one.failed,
            time,
            day,
            one.account,
            face,
        )
        for error in (
            Error.MISSING,
            Error.EXTRA,
            Error.TWICE,
            Error.AMOUNT,
            Error.STATUS,
            Error.LATE,
        ):
            if self._errs(error):
                yield from self._wrong(error, line, one, last)
                return
        if one.account and self._errs(Error.NUMBERLESS):
            self._month.numberless += 1
            line = replace(line, our_no="", their_no="")
        yield line

    def _wrong(self, error: Error, line: _Line, one: Traded, last: date) -> Iterator[_Line]:
        """The line as it errs; what moves nothing errs in no way that counts."""
        cost = self._signed(one)
        moved = 0 if one.failed else cost
        strange = f"X{self._random.randrange(10**12):012}"
        if error is Error.LATE:
            self._month.late += line.day < last and not one.failed
            yield replace(line, day=min(line.day + ONE_DAY, last))
        elif error is Error.STATUS:
            self._note(error, one.number, one.their_no, (cost if one.failed else 0) - moved)
            yield replace(line, failed=not one.failed)
        elif one.failed:
            yield line
        elif error is Error.MISSING:
            self._note(error, one.number, one.their_no, -moved)
        elif error is Error.AMOUNT:
            more = CENT * self._random.randrange(1, 100)
            self._note(
                error,
                one.number,
                one.their_no,
                -self.gives * more if one.gives_back else self.gives * more,
            )
            yield replace(line, micros=line.micros + more)
        else:
            again = error is Error.TWICE
            self._note(error, 0, one.their_no if again else strange, moved)
            yield line
            yield line if again else replace(line, our_no="", their_no=strange)

    def _note(self, error: Error, number: int, their_no: str, diff_micros: int) -> None:
        self._month.injected.append(Injected(error, number, their_no, diff_micros))

    def _file(self, day: date, lines: Sequence[_Line]) -> bytes:
        settle_no = f"J{day:%Y%m%d}"
        rows = [self._row(one, settle_no) for one in lines]
        net = sum(map(self._signed, lines))
        moved = sum(self._signed(one) for one in lines if not one.failed)
        if rows:
            wrong = CENT if self._errs(Error.SETTLEMENT) else 0
            total = self.gives * (abs(moved) + wrong)
            if wrong:
                self._note(Error.SETTLEMENT, 0, settle_no, self.gives * wrong)
            at = f"{day} 23:59:59"
            rows.append(f",{settle_no},{settle_no},,,{micros_to_yuan(total)},{at},结算,成功")
            net += total
        foot = f"合计,{len(rows)},{micros_to_yuan(abs(net))}"
        return "\r\n".join([HEAD, *rows, foot, ""]).encode("utf-8-sig")

    def _row(self, one: _Line, settle_no: str) -> str:
        kind, state = self.names[one.gives_back], "失败" if one.failed else "成功"
        amount, at = micros_to_yuan(one.micros), beijing(one.time)
        face = micros_to_yuan(one.face_micros) if one.face_micros else ""
        known = f"{one.our_no},{one.their_no},{settle_no},{one.account},{face}"
        return f"{known},{amount},{at},{kind},{state}"


class PayComponent(Supplier):
    """The same of a payment component: what it took for us, and what it gave back."""

    names = ("支付", "退款")
    gives = 1
