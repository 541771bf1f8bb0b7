"""Promises of messages filled from values: every field by its name, none forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from shoudan.pay.v1 import payment_service_pb2 as pb
from shoudan_kit.rpc.messages import filled, stamp

NOW = datetime(2026, 11, 29, 12, 30, 15, 123456, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Trade:
    id: int
    uuid: str
    traction_no: str
    trade_type: str
    amount_micros: int
    status: str
    result_code: str | None
    pay_uuid: str
    create_time: datetime


TRADE = Trade(7, "u", "1", "pay", 10_000, "payed", None, "p", NOW)


def test_fields_are_filled_by_name_and_the_others_given() -> None:
    made = filled(pb.TradeRecord, TRADE, refund_uuid="r")
    wanted = pb.TradeRecord(
        id=7,
        uuid="u",
        traction_no="1",
        trade_type="pay",
        amount_micros=10_000,
        status="payed",
        pay_uuid="p",
        refund_uuid="r",
        create_time=stamp(NOW),
    )
    assert made == wanted
    assert made.create_time.ToDatetime(UTC) == NOW


def test_a_field_that_nothing_names_is_an_error() -> None:
    with pytest.raises(AttributeError, match="refund_uuid"):
        filled(pb.TradeRecord, TRADE)


@dataclass(frozen=True, slots=True)
class Told:
    ret: str
    traction_no: str
    third_order_no: str
    third_error_reason: str
    trade_finished_at: str
    pay_fen: int | None
    refund_fen: int | None


def test_none_is_left_out() -> None:
    made = filled(pb.Told, Told("success", "1", "", "", "", None, 0))
    assert (made.HasField("pay_fen"), made.HasField("refund_fen")) == (False, True)
