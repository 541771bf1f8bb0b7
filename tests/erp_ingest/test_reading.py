"""Promises: what cannot be read is told with its place; nothing makes reading raise."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoudan_erp_ingest import bodies, normalising
from shoudan_erp_ingest.bodies import Unreadable
from shoudan_erp_ingest.ingest import Push, read
from shoudan_erp_ingest.refusals import Why
from shoudan_erp_ingest.tables.fields import Kind, Spec, personal_specs, specs
from shoudan_erp_ingest.tables.models import Payment, Refund, RefundLine, SwapLine, Trade, TradeLine
from shoudan_erp_ingest.values import quantity_text
from shoudan_gateway.partners import wangdian
from shoudan_kit.secrets.sealing import KeyRing
from tests.erp_ingest.harness import body, example, refund, trade

DEEP = b'{"data":' * 32 + b"1" + b"}" * 32
NASTIES = {
    "nothing": (b"", "char 0", Why.NOT_JSON),
    "words": (b"hello", "char 0", Why.NOT_JSON),
    "half": (b'{"data": {', "char 10", Why.NOT_JSON),
    "gbk": ('{"data": "大海"}'.encode("gbk"), "byte 10", Why.NOT_UTF8),
    "overlong": (b'{"data": "\xc0\x80"}', "byte 10", Why.NOT_UTF8),
    "deep lists": (b"[" * 100_000, "char 32", Why.TOO_DEEP),
    "depth 33": (b'{"data":' + DEEP + b"}", "char 256", Why.TOO_DEEP),
    "too large": (b" " * (bodies.BYTES_MAX + 1), "body", Why.TOO_LARGE),
    "not a number": (b'{"data": NaN}', "NaN", Why.NOT_JSON),
    "infinity": (b'{"data": -Infinity}', "Infinity", Why.NOT_JSON),
    "two keys": (b'{"data": {"tid": "1", "tid": "2"}}', "tid", Why.DUPLICATE_KEY),
    "lone surrogate": (rb'{"data": {"tid": "\ud800"}}', "data.tid", Why.LONE_SURROGATE),
    "lone surrogate key": (rb'{"data": {"\ud800": "1"}}', "data.?", Why.LONE_SURROGATE),
    "nul": (rb'{"data": {"tid": "\u0000"}}', "data.tid", Why.NUL),
    "raw control": (b'{"data": {"tid": "\x00"}}', "char 18", Why.NOT_JSON),
    "a number": (b"5", "body", Why.WRONG_SHAPE),
    "no data": (b"{}", "data", Why.MISSING),
    "null data": (b'{"data": null}', "data", Why.EMPTY),
    "text data": (b'{"data": "x"}', "data", Why.WRONG_SHAPE),
    "list of texts": (b'{"data": ["x"]}', "data[0]", Why.WRONG_SHAPE),
    "no tid": (b'{"data": {}}', "data.tid", Why.MISSING),
    "many": (body({"data": [{"tid": str(n)} for n in range(1001)]}), "data", Why.TOO_MANY),
}


@pytest.mark.parametrize("name", NASTIES)
def test_what_cannot_be_read_is_told_with_its_place(name: str) -> None:
    raw, where, why = NASTIES[name]
    with pytest.raises(Unreadable) as told:
        normalising.trades(raw)
    assert (told.value.where, told.value.why) == (where, why)


FIELDS = {
    "tid": [("", Why.MISSING), (True, Why.NOT_TEXT), ({}, Why.NOT_TEXT), ("9" * 129, Why.TOO_LONG)],
    "total_trade_fee": [
        ("1e2", Why.NOT_DECIMAL),
        ("１８", Why.NOT_DECIMAL),
        ("0x10", Why.NOT_DECIMAL),
        ("1.2345678", Why.NOT_DECIMAL),
        ("--1", Why.NOT_DECIMAL),
        ("9" * 25, Why.OUT_OF_RANGE),
        (True, Why.NOT_DECIMAL),
        ([], Why.NOT_DECIMAL),
    ],
    "total_weight": [("1.00001", Why.NOT_DECIMAL)],
    "created": [
        ("yesterday", Why.NOT_TIME),
        ("2017-02-30 00:00:00", Why.NOT_TIME),
        ("２０１７-04-21 13:52:40", Why.NOT_TIME),
        (5.5, Why.NOT_TIME),
    ],
    "orders": [("x", Why.WRONG_SHAPE), ([[]], Why.WRONG_SHAPE)],
    "payment_lists": [(5, Why.WRONG_SHAPE)],
}


@pytest.mark.parametrize(
    ("name", "value", "why"), [(n, v, w) for n, rows in FIELDS.items() for v, w in rows]
)
def test_a_wrong_field_is_named(name: str, value: object, why: Why) -> None:
    with pytest.raises(Unreadable) as told:
        normalising.trades(body(trade(**{name: value})))
    assert told.value.why == why
    assert told.value.where.startswith(f"data.{name}")


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        (18, 18_000_000),
        ("18.0000", 18_000_000),
        (18.10, 18_100_000),
        (" 1 ", 1_000_000),
        ("-0", 0),
        ("-0.5", -500_000),
        ("198.0", 198_000_000),
        ("0.000001", 1),
        ("", None),
        (None, None),
    ],
)
def test_amounts_come_as_number_or_text_and_stay_exact(value: object, micros: int | None) -> None:
    whole = trade()
    whole["data"]["total_trade_fee"] = value
    (one,) = normalising.trades(body(whole))
    assert one.head.total_trade_fee_micros == micros


AMOUNTS = [
    (model, spec)
    for model in (Trade, Payment, TradeLine, Refund, RefundLine, SwapLine)
    for spec in specs(model)
    if spec.wire.kind in {Kind.MONEY, Kind.QUANTITY, Kind.AMOUNT_TEXT}
]


def test_every_column_the_document_has_for_money_is_an_amount() -> None:
    names = ("amount", "_fee", "price", "paid", "discount", "weight")
    for model in (Trade, Payment, TradeLine, Refund, RefundLine, SwapLine):
        for spec in specs(model):
            if any(part in spec.name for part in names):
                assert (model, spec) in AMOUNTS, spec.name


@pytest.mark.parametrize(
    ("model", "spec"), AMOUNTS, ids=[f"{m.__name__}.{s.name}" for m, s in AMOUNTS]
)
def test_in_every_amount_column_zero_stays_zero_and_artefacts_of_doubles_are_rounded(
    model: type, spec: Spec
) -> None:
    """As text and as JSON number, in the place where the document has the column."""
    amounts = {"0": 0, "0.0000": 0, "19.990000000000002": 19_990_000, "2.7755575615628914e-17": 0}
    for literal, micros in amounts.items():
        got = getattr(_read_one(model, spec, literal), spec.attribute)
        told = got if spec.wire.kind is Kind.MONEY else int(Decimal(got) * 1_000_000)
        assert told == micros, literal
    for text in ("0", "0.0000"):
        got = getattr(_read_one(model, spec, f'"{text}"'), spec.attribute)
        assert got is not None
        assert Decimal(got) == 0


def _read_one(model: type, spec: Spec, literal: str) -> object:
    """The row of the documented example, with one field as given."""
    mark = "a_value_of_mine"
    if model in {Trade, TradeLine}:
        whole = trade(**({spec.name: mark} if model is Trade else {}))
        if model is TradeLine:
            whole["data"]["orders"]["orders_items"][spec.name] = mark
        (one,) = normalising.trades(body(whole).replace(f'"{mark}"'.encode(), literal.encode()))
        return one.head if model is Trade else one.lines[0]
    whole = refund(**({spec.name: mark} if model is Refund else {}))
    lists = {RefundLine: "refund_order_list", SwapLine: "refund_out_goods_list"}
    if model in lists:
        whole["data"]["refunds"][0][lists[model]][0][spec.name] = mark
    (two,) = normalising.refunds(body(whole).replace(f'"{mark}"'.encode(), literal.encode()))
    return {Refund: two.head, RefundLine: two.lines[0], SwapLine: two.swaps[0]}[model]


@pytest.mark.parametrize(
    ("literal", "micros"),
    [
        ("19.990000000000002", 19_990_000),
        ("0.30000000000000004", 300_000),
        ("1.0999999999999999", 1_100_000),
        ("-1.0999999999999999", -1_100_000),
        ("0.09999999999999432", 100_000),  # 100.1 - 100
        ("99.99999999999999", 100_000_000),
        ('"19.990000000000002"', 19_990_000),
        ("123456.78899999999", 123_456_789_000),
        ("19.995", 19_995_000),
        ("19.12345", 19_123_450),
        ("19.123456", 19_123_456),
        ("9223372036854.775807", 9_223_372_036_854_775_807),
    ],
)
def test_what_a_double_leaves_is_rounded_and_digits_that_were_meant_stay(
    literal: str, micros: int
) -> None:
    (one,) = normalising.trades(f'{{"data": {{"tid": "1", "shipping_fee": {literal}}}}}'.encode())
    assert one.head.shipping_fee_micros == micros


@pytest.mark.parametrize(
    "literal", ["19.9900001", "1.2345678", "0.0000001", "19.99000000001", "1e-7"]
)
def test_more_digits_than_a_double_leaves_are_refused(literal: str) -> None:
    with pytest.raises(Unreadable) as told:
        normalising.trades(f'{{"data": {{"tid": "1", "shipping_fee": {literal}}}}}'.encode())
    assert told.value.why is Why.NOT_DECIMAL


def test_a_line_has_the_status_and_msgid_of_where_the_example_has_them() -> None:
    (one,) = normalising.trades(example("push_data.json"))
    (line,) = one.lines
    assert (line.tid, line.status, line.msgid) == ("AT201704210011", "TRADE_FINISHED", "149245")
    whole = trade()
    whole["data"]["orders"]["orders_items"] |= {"status": "TRADE_CLOSED", "msgid": "7"}
    (own,) = normalising.trades(body(whole))
    assert (own.lines[0].status, own.lines[0].msgid) == ("TRADE_CLOSED", "7")


def test_a_number_with_an_exponent_is_one_but_a_text_is_not() -> None:
    (one,) = normalising.trades(b'{"data": {"tid": "1", "shipping_fee": 1.5E2}}')
    assert one.head.shipping_fee_micros == 150_000_000
    with pytest.raises(Unreadable, match="out_of_range"):
        normalising.trades(b'{"data": {"tid": "1", "shipping_fee": 1e999}}')


def test_long_numbers_keep_every_digit() -> None:
    (one,) = normalising.trades(b'{"data": {"tid": 1712051519002014999}}')
    assert one.head.tid == "1712051519002014999"


def test_a_mark_at_the_beginning_is_no_mistake() -> None:
    assert normalising.trades(b"\xef\xbb\xbf" + example("push_data.json"))


def test_depth_32_and_1000_items_are_still_read() -> None:
    assert bodies.read(DEEP)
    many = body({"data": [{"tid": str(n)} for n in range(1000)]})
    assert len(normalising.trades(many)) == 1000


def test_reading_hostile_quotes_takes_linear_time() -> None:
    with pytest.raises(Unreadable):
        bodies.read(b"[" * 30 + b'{"' * 3 + rb"\"" * 1_000_000)


def test_either_spelling_and_either_level_is_understood() -> None:
    flat = {
        "data": {
            "tid": "1",
            "orderstatus": "TRADE_FINISHED",
            "buy_name": "b",
            "orders": [{"oid": "A", "bn": "x", "num": 2, "msgid": 7}],
        }
    }
    (one,) = normalising.trades(body(flat))
    assert (one.head.status, one.payments[0].buy_name) == ("TRADE_FINISHED", "b")
    assert (one.lines[0].oid, one.lines[0].num, one.lines[0].msgid) == ("A", "2", "7")
    assert one.head.extra == ""
    wanted = {
        "process_status": None,
        "process_statusYes": "90",
        "guarante_refund_amount": None,
        "guarantee_refund_amount": "1.5",
        "swap_logistics_name": None,
        "swap_logistics_typeswap_logistics_name": "圆通速递",
    }
    (two,) = normalising.refunds(body(refund(**wanted)))
    head = two.head
    assert (head.process_status, head.guarante_refund_amount_micros) == (90, 1_500_000)
    assert (head.swap_logistics_name, head.extra) == ("圆通速递", "")


def test_fillers_and_zero_dates_are_nothing_but_numbers_keep_their_zero() -> None:
    (one,) = normalising.refunds(body(refund(refund_time="0000-00-00 00:00:00", tid="0")))
    head = one.head
    assert (head.remark, head.src_no, head.refund_time, head.swap_trade_id) == (None,) * 4
    assert (head.tid, head.cs_status) == ("0", 0)


@pytest.mark.parametrize("empty", [None, [], ""])
def test_a_missing_list_null_and_an_empty_one_are_equal(empty: object) -> None:
    whole = refund()
    whole["data"]["refunds"][0]["refund_out_goods_list"] = empty
    (one,) = normalising.refunds(body(whole))
    (without,) = normalising.refunds(body(refund(refund_out_goods_list=None)))
    assert one == without


def test_times_are_beijing_times() -> None:
    (one,) = normalising.trades(example("push_data.json"))
    assert one.head.created == datetime(2017, 4, 21, 5, 52, 40, tzinfo=UTC)


def test_every_reason_has_words_for_partners() -> None:
    assert set(wangdian.WORDS) == {why.value for why in Why}


def test_every_field_that_tells_about_a_person_is_sealed() -> None:
    kept = ("swap_trade_id", "swap_warehouse_no", "swap_logistics_type", "swap_logistics_name")
    clear = (*kept, "return_logistics_name")
    for model in (Trade, Payment, TradeLine, Refund, RefundLine, SwapLine):
        hidden = {s.name for s in personal_specs(model)}
        for spec in specs(model):
            about = spec.name.startswith(("receiver_", "return_", "swap_", "buyer_", "buy_"))
            about = about or spec.name in {"pay_account", "customer_name", "remark", "trade_memo"}
            assert (spec.name in hidden) >= (about and spec.name not in clear), spec.name


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NAMES = [s.name for s in (*specs(Trade), *specs(TradeLine), *specs(Refund))]
PARTS = ["orders", "orders_items", "payment_lists", "refunds", "data", "refund_order_list"]
SHAPED = st.recursive(
    JSON,
    lambda inner: st.dictionaries(st.sampled_from(NAMES + PARTS), inner, max_size=8),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(st.fixed_dictionaries({"data": SHAPED}), st.sampled_from([1, 2]))
def test_no_json_makes_reading_raise(value: object, kind: int) -> None:
    raw = json.dumps(value).encode()
    reading = read(Push(kind, "s", raw))
    assert bool(reading.documents) != (reading.wrong is not None)
    assert reading.wrong is None or reading.wrong.why is not Why.INTERNAL


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([1, 2]))
def test_no_bytes_make_reading_raise(raw: bytes, kind: int) -> None:
    reading = read(Push(kind, "s", raw))
    assert reading.wrong is not None
    assert reading.wrong.why is not Why.INTERNAL


@given(st.integers(-(10**18), 10**18))
def test_quantities_are_told_as_they_came(scaled: int) -> None:
    text = quantity_text(scaled)
    whole = trade(total_weight=text)
    (one,) = normalising.trades(body(whole))
    assert one.head.total_weight == text


RING = KeyRing({"k1": b"1" * 32}, b"i" * 32)


@given(st.binary(max_size=300), st.text(max_size=5), st.integers(1, 2**62))
def test_what_is_sealed_opens_in_its_own_place_only(plain: bytes, table: str, key: int) -> None:
    sealed = RING.seal(table, key, plain)
    assert RING.open(table, key, sealed) == plain
    older = KeyRing({"k2": b"2" * 32, "k1": b"1" * 32}, b"i" * 32)
    assert older.open(table, key, sealed) == plain
    other = KeyRing({"k1": b"3" * 32}, b"")
    strangers = ((RING, table, key + 1), (RING, table + "x", key), (other, table, key))
    for ring, other_table, other_key in strangers:
        with pytest.raises(ValueError, match="not sealed"):
            ring.open(other_table, other_key, sealed)


def test_a_phone_is_one_however_it_is_written() -> None:
    macs = {RING.phone_mac(p) for p in ("15001253861", "+86 150-0125-3861", "86 15001253861")}
    assert len(macs) == 1
    assert RING.phone_mac("1") is None
