"""The ledger of a system with copied orders: each account one chain again, its days closed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import entry_points
from typing import Any, Final

from shoudan_cli.stored_rows import (
    COUNT,
    LENGTH,
    LONG,
    MICROS,
    Field,
    Sample,
    Text,
    Window,
    read,
    write,
)
from shoudan_cli.stored_rows import field as framed
from shoudan_kit.clock import BEIJING
from shoudan_kit.ids import TIME_SHIFT

TABLE: Final = "account_record"
# What was made of the sample's days goes; TRUNCATE, because rows of these are never deleted.
_EMPTY: Final = "TRUNCATE account_record, account_day, ledger_day, ledger_statement"
_HEADS: Final = """
    UPDATE account_info a SET seq = given.seq, balance_micros = given.balance, head_hash = given.hash
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[]) AS given(id, seq, balance, hash)
    WHERE a.account_id = given.id
"""
_DAYS: Final = """
    INSERT INTO account_day (account_id, day, seq_from, seq_to, opening_micros, debits_micros,
        credits_micros, closing_micros, head_hash)
    SELECT account_id, day, seq_from, seq_to, opening, debits, credits, closing, hash
    FROM unnest($1::bigint[], $2::date[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
        $7::bigint[], $8::bigint[], $9::bytea[])
        AS given(account_id, day, seq_from, seq_to, opening, debits, credits, closing, hash)
"""
_CLOSED: Final = """
    INSERT INTO ledger_day (day, accounts, records, debits_micros, credits_micros, create_time)
    SELECT g.day, count(d.account_id), coalesce(sum(d.seq_to - d.seq_from + 1), 0),
        coalesce(sum(d.debits_micros), 0), coalesce(sum(d.credits_micros), 0), now()
    FROM (SELECT generate_series($1::date, $2::date, interval '1 day')::date AS day) g
    LEFT JOIN account_day d ON d.day = g.day GROUP BY g.day
"""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_Y2K: Final = datetime(2000, 1, 1, tzinfo=UTC)
_TO_1970: Final = (_Y2K - _EPOCH) // timedelta(microseconds=1)
_DAY_0: Final = date(2000, 1, 1)
_DAY_MICROS: Final = 86_400 * 10**6
_BEIJING_MICROS: Final = 8 * 3600 * 10**6  # without summer time since 1991

Seal = Callable[..., bytes]


@dataclass(slots=True)
class Day:
    """What an account's day came to."""

    seq_from: int
    opening: int
    seq_to: int = 0
    closing: int = 0
    debits: int = 0
    credits: int = 0
    hash: bytes = b""


@dataclass(slots=True)
class Chain:
    """One account while its records are written."""

    seq: int = 0
    balance: int = 0
    hash: bytes = b""
    days: dict[date, Day] = field(default_factory=dict[date, Day])


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the sample: the fields that stay, and what the others are made of."""

    fields: Sequence[bytes]
    record_id: int
    account_id: int
    contra_id: int
    trade_no: Text
    ext_no: Text
    memo: Text
    trade_type: int
    change_type: int
    amount: int
    floor: int | None
    micros: int
    about: int
    source: str
    operator: str


class Books:
    """All records of a ledger, written anew with copies of a sample before it."""

    def __init__(self, sample: Sample, window: Window, keys: str) -> None:
        self._names = {name: at for at, name in enumerate(sample.names)}
        self._window, self._keys, self._seal = window, keys, _sealing()
        self.chains: defaultdict[int, Chain] = defaultdict(Chain)
        records = sorted(map(self._record, sample.rows), key=lambda one: one.record_id)
        self._own = [one for one in records if one.record_id in window]
        moved = {one.account_id for one in self._own}
        before = [one for one in records if one.record_id < window.first]
        self._openings = [one for one in before if one.account_id in moved]
        self._others = [one for one in before if one.account_id not in moved]

    def parts(self, shifts_ms: Sequence[int]) -> Iterator[bytes]:
        """The records of all copies, oldest first, then the sample's own.

        What the accounts began with is moved before the oldest copy: a record is never before another.
        """
        yield b"".join(self._at(one, shifts_ms[0]) for one in self._openings)
        for shift_ms in (*shifts_ms, 0):
            yield b"".join([self._at(one, shift_ms) for one in self._own])
        yield b"".join(self._at(one, 0) for one in self._others)

    def _record(self, row: Sequence[Field]) -> Record:
        at = self._names

        def whole(name: str) -> int:
            return int.from_bytes(row[at[name]] or b"", signed=True)

        def text(name: str) -> Text:
            return Text(row[at[name]] or b"", self._window)

        return Record(
            fields=[framed(value) for value in row],
            record_id=whole("record_id"),
            account_id=whole("account_id"),
            contra_id=whole("contra_account_id"),
            trade_no=text("trade_no"),
            ext_no=text("ext_no"),
            memo=text("memo"),
            trade_type=whole("trade_type"),
            change_type=whole("change_type"),
            amount=whole("amount_micros"),
            floor=None if row[at["floor_micros"]] is None else whole("floor_micros"),
            micros=whole("create_time"),
            about=whole("about"),
            source=(row[at["source"]] or b"").decode(),
            operator=(row[at["operator"]] or b"").decode(),
        )

    def _at(self, one: Record, shift_ms: int) -> bytes:
        """The row of a record so much later, next in the chain of its account."""
        chain, at = self.chains[one.account_id], self._names
        ids = shift_ms << TIME_SHIFT
        record_id, micros = one.record_id + ids, one.micros + shift_ms * MICROS
        days = (micros + _BEIJING_MICROS) // _DAY_MICROS
        trade_no, ext_no, memo = one.trade_no.at(ids), one.ext_no.at(ids), one.memo.at(ids)
        seq, balance = chain.seq + 1, chain.balance + one.amount
        day = _DAY_0 + timedelta(days)
        sealed = self._seal(
            self._keys,
            chain.hash,
            (
                record_id,
                one.account_id,
                one.contra_id,
                trade_no.decode(),
                ext_no.decode(),
                one.trade_type,
                one.change_type,
                one.amount,
                balance,
                one.floor,
                seq,
                memo.decode(),
                micros + _TO_1970,
            ),
            (day, one.about, one.source, one.operator),
        )
        self._add_to_day(chain, day, one.amount, seq, balance, sealed)
        chain.seq, chain.balance, chain.hash = seq, balance, sealed
        row = list(one.fields)
        row[at["record_id"]] = framed(LONG.pack(record_id))
        row[at["trade_no"]], row[at["ext_no"]] = framed(trade_no), framed(ext_no)
        row[at["memo"]] = framed(memo)
        row[at["balance_micros"]], row[at["seq"]] = (
            framed(LONG.pack(balance)),
            framed(LONG.pack(seq)),
        )
        row[at["create_time"]] = framed(LONG.pack(micros))
        row[at["hash"]], row[at["day"]] = framed(sealed), framed(LENGTH.pack(days))
        return COUNT.pack(len(row)) + b"".join(row)

    @staticmethod
    def _add_to_day(
        chain: Chain, day: date, amount: int, seq: int, balance: int, sealed: bytes
    ) -> None:
        there = chain.days.get(day)
        if there is None:
            there = chain.days[day] = Day(seq, chain.balance)
        there.seq_to, there.closing, there.hash = seq, balance, sealed
        if amount < 0:
            there.debits -= amount
        else:
            there.credits += amount


async def copy(db: Any, window: Window, keys: str, shifts_ms: Sequence[int], now: datetime) -> int:
    """Write the ledger anew with a copy of the window for each shift, oldest first, and all days before
    today closed; gives the number of records. `keys` seal it."""
    sample = await read(db, TABLE, None)
    books = Books(sample, window, keys)
    async with db.transaction():
        await db.execute(_EMPTY)
        await write(db, sample, books.parts(shifts_ms))
        await db.execute(_HEADS, *_heads(books))
        today = now.astimezone(BEIJING).date()
        closed = [
            (
                account,
                day,
                one.seq_from,
                one.seq_to,
                one.opening,
                one.debits,
                one.credits,
                one.closing,
                one.hash,
            )
            for account, chain in books.chains.items()
            for day, one in chain.days.items()
            if day < today
        ]
        first = min((one[1] for one in closed), default=today - timedelta(days=1))
        await db.execute(_DAYS, *([list(one) for one in zip(*closed, strict=True)] or [[]] * 9))
        await db.execute(_CLOSED, first, today - timedelta(days=1))
    return sum(chain.seq for chain in books.chains.values())


def _heads(books: Books) -> list[list[Any]]:
    rows = [(id_, one.seq, one.balance, one.hash) for id_, one in books.chains.items()]
    return [list(one) for one in zip(*rows, strict=True)]


def _sealing() -> Seal:
    """How the ledger seals a record: found by entry point, because this command knows no service."""
    (found,) = entry_points(group="shoudan.seals", name="ledger")
    return found.load()
