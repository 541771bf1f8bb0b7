"""Money: exact both ways, refusing what does not fit, rounding half away from zero."""

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoudan_kit.money import (
    FEN,
    MICROS_MAX,
    PPM,
    RATE_PPM_MAX,
    STEP,
    apply_rate,
    checked,
    fen_to_micros,
    micros_to_fen,
    micros_to_yuan,
    ppm_to_rate,
    rate_to_ppm,
    yuan_to_micros,
)

STEPS = st.integers(-(MICROS_MAX // STEP), MICROS_MAX // STEP).map(lambda n: n * STEP)


@given(STEPS)
def test_yuan_text_and_back_is_the_same_amount(micros):
    assert yuan_to_micros(micros_to_yuan(micros), signed=True) == micros


@given(STEPS)
def test_yuan_text_is_the_exact_decimal_in_its_shortest_form(micros):
    text = micros_to_yuan(micros)
    assert Decimal(text) == Decimal(micros) / 1_000_000
    assert not ("." in text and text.endswith(("0", ".")))


@given(st.integers(-(MICROS_MAX // FEN), MICROS_MAX // FEN))
def test_fen_and_back_is_the_same_amount(fen):
    assert micros_to_fen(fen_to_micros(fen)) == fen


@given(st.integers(-(10**12), 10**12), st.integers(-2_000_000, 2_000_000))
def test_a_rate_rounds_half_away_from_zero_to_five_decimals(micros, ppm):
    exact = Decimal(micros) * ppm / 1_000_000
    expected = (exact / 10).quantize(Decimal(1), ROUND_HALF_UP) * 10
    assert apply_rate(micros, ppm) == expected


@given(STEPS)
def test_the_rate_one_changes_no_wire_amount(micros):
    assert apply_rate(micros, 1_000_000) == micros


@given(st.integers(-(10**12), 10**12), st.integers(0, 1_000_000))
def test_a_rate_treats_charge_and_refund_alike(micros, ppm):
    assert apply_rate(-micros, ppm) == -apply_rate(micros, ppm)


@given(st.integers(0, RATE_PPM_MAX))
def test_rate_text_and_back_is_the_same_rate(ppm):
    assert rate_to_ppm(ppm_to_rate(ppm)) == ppm


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0", 0),
        ("0.00001", 10),
        ("12", 12_000_000),
        ("12.50", 12_500_000),
        ("9007199254.74099", MICROS_MAX - 2),
    ],
)
def test_amounts_as_the_documents_write_them(text, micros):
    assert yuan_to_micros(text) == micros


BAD = [
    "", " 1", "1 ", "1.", ".5", "+1", "--1", "01", "1.000000", "1.123456", "1e3", "1E-2", "NaN",
    "inf", "1,000", "１", "1．5", "٣", "1_000", "0x1", "1\n", "9007199254.74100", "99999999999", "1" * 50,
]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_anything_but_a_plain_amount_is_refused(text):
    with pytest.raises(ValueError, match="amount"):
        yuan_to_micros(text, signed=True)


def test_a_sign_is_taken_only_where_it_is_allowed():
    assert yuan_to_micros("-1.5", signed=True) == -1_500_000
    with pytest.raises(ValueError, match="negative"):
        yuan_to_micros("-1.5")


BAD_RATES = [text for text in BAD if text not in {"1.000000", "1.123456"}]  # six decimals are fine


@pytest.mark.parametrize("text", [*BAD_RATES, "-0.1", "1000.000001", "0.1234567"])
def test_anything_but_a_plain_rate_is_refused(text):
    with pytest.raises(ValueError, match="rate"):
        rate_to_ppm(text)


@pytest.mark.parametrize(
    "call",
    [
        lambda: micros_to_yuan(1),
        lambda: micros_to_fen(9_999),
        lambda: checked(MICROS_MAX + 1),
        lambda: checked(-MICROS_MAX - 1),
        lambda: checked(True),
        lambda: checked(1.0),
        lambda: fen_to_micros(1.0),
        lambda: fen_to_micros(True),
        lambda: fen_to_micros(MICROS_MAX),
        lambda: apply_rate(10, True),
        lambda: apply_rate(10, 0.9),
        lambda: apply_rate(10, RATE_PPM_MAX + 1),
        lambda: apply_rate(MICROS_MAX, 2_000_000),
        lambda: ppm_to_rate(-1),
        lambda: ppm_to_rate(0.5),
    ],
)
def test_what_does_not_fit_is_refused_and_never_rounded(call):
    with pytest.raises(ValueError, match=r"amount|fen|rate"):
        call()


def test_fen_and_wholes_are_what_they_are_called():
    assert (fen_to_micros(1), micros_to_fen(10_000), PPM) == (10_000, 1, 1_000_000)


def test_the_greatest_amounts_and_rates_are_taken():
    assert (checked(MICROS_MAX), checked(-MICROS_MAX)) == (MICROS_MAX, -MICROS_MAX)
    assert (apply_rate(10, RATE_PPM_MAX), apply_rate(10, -RATE_PPM_MAX)) == (10_000, -10_000)
    assert rate_to_ppm("1000") == RATE_PPM_MAX
    assert ppm_to_rate(RATE_PPM_MAX) == "1000"


def test_nothing_has_no_sign():
    assert (micros_to_yuan(0), yuan_to_micros("-0", signed=True)) == ("0", 0)
