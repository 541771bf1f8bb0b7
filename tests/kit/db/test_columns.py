"""Promises of columns declared once: types for arrays, checks from states, rows read by name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

import msgspec
import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Date,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.exc import MultipleResultsFound

from shoudan_kit.db.columns import Rows, column, literals, maybe, moment, one_of, types
from shoudan_kit.db.text_statements import unnest


class Word(StrEnum):
    OPEN = "open"
    SHUT = "shut"


class Number(IntEnum):
    YES = 0
    NO = 1


PARCEL = Table(
    "parcel",
    MetaData(),
    column("parcel_id", BigInteger, "its number", key=True),
    column("status", SmallInteger, "0 yes 1 no"),
    column("word", String(8), "open shut"),
    column("count", Integer, "attempts"),
    column("text", Text, "what is in it"),
    column("sent", Boolean, "whether it has left"),
    column("hash", LargeBinary, "of its content"),
    maybe("day", Date, "day of delivery"),
    moment("create_time", "when"),
    moment("end_time", "when it ended", null=True),
    one_of("status", Number),
    one_of("word", Word),
)


@dataclass(frozen=True, slots=True)
class Plain:
    name: str
    amount: int


class Struct(msgspec.Struct, frozen=True):
    name: str
    amount: int


class Result:
    def __init__(self, *rows: dict[str, object]) -> None:
        self.rows = rows

    def one_or_none(self) -> dict[str, object] | None:
        if len(self.rows) > 1:
            raise MultipleResultsFound
        return self.rows[0] if self.rows else None


def test_an_array_has_the_type_of_its_column_and_no_length() -> None:
    names = [one.name for one in PARCEL.columns]
    assert types(PARCEL, *names) == {
        "parcel_id": "bigint",
        "status": "smallint",
        "word": "text",
        "count": "integer",
        "text": "text",
        "sent": "boolean",
        "hash": "bytea",
        "day": "date",
        "create_time": "timestamptz",
        "end_time": "timestamptz",
    }
    wanted = "unnest(CAST(:word AS text[]), CAST(:day AS date[])) AS given(word, day)"
    assert unnest(**types(PARCEL, "word", "day")) == wanted


def test_only_maybe_columns_and_moments_that_say_so_may_be_null() -> None:
    assert {one.name for one in PARCEL.columns if one.nullable} == {"day", "end_time"}
    assert [one.name for one in PARCEL.primary_key] == ["parcel_id"]


def test_a_check_allows_the_states_and_has_the_name_of_its_column() -> None:
    checks = {one.name: str(one.sqltext) for one in PARCEL.constraints if hasattr(one, "sqltext")}
    assert checks == {"status": "status IN (0, 1)", "word": "word IN ('open', 'shut')"}


def test_a_word_is_quoted_as_sql_wants_it() -> None:
    assert literals([Word.OPEN, "it's", Number.NO, 5]) == "'open', 'it''s', 1, 5"


@pytest.mark.parametrize("kind", [Plain, Struct])
def test_a_row_is_read_by_name_whatever_the_order_of_its_columns(kind: type) -> None:
    rows = Rows(kind)
    assert (rows.of(), rows.of("p")) == ("name, amount", "p.name, p.amount")
    turned = {"amount": 5, "more": True, "name": "a"}
    assert rows.read(turned) == kind("a", 5)
    assert rows.all([turned, turned]) == [kind("a", 5)] * 2
    assert rows.one(Result(turned)) == kind("a", 5)
    assert rows.one(Result()) is None
    with pytest.raises(MultipleResultsFound):
        rows.one(Result(turned, turned))
