"""Refusals: the facts survive every way of travelling."""

from dataclasses import dataclass

import grpc
import pytest

from shoudan_kit.rpc.refusal import (
    FACT_CHARS_MAX,
    MESSAGE_CHARS_MAX,
    Overloaded,
    Refusal,
    Refused,
    code_of,
    refused_from_proto,
)


@dataclass
class TooHigh(Refusal):
    code = grpc.StatusCode.FAILED_PRECONDITION
    domain = "test.shoudan"
    reason = "ERROR_REASON_UNSPECIFIED"
    left_micros: int
    note: str | None = None


def test_the_fields_are_the_facts_and_none_is_left_out():
    assert TooHigh(5).metadata == {"left_micros": "5"}
    assert TooHigh(5, "余额").metadata == {"left_micros": "5", "note": "余额"}
    assert str(TooHigh(5)) == "ERROR_REASON_UNSPECIFIED(left_micros=5)"


def test_a_refusal_in_a_batch_answer_arrives_whole():
    assert refused_from_proto(TooHigh(5).to_proto()) == Refused(
        grpc.StatusCode.FAILED_PRECONDITION,
        "test.shoudan",
        "ERROR_REASON_UNSPECIFIED",
        {"left_micros": "5"},
    )


def test_a_refusal_passed_on_is_the_same_refusal():
    seen = refused_from_proto(TooHigh(5).to_proto())
    assert seen.to_proto() == TooHigh(5).to_proto()
    assert seen.to_status() == TooHigh(5).to_status()


def test_long_facts_are_cut_and_never_burst_the_trailers():
    refusal = TooHigh(1, "x" * 100_000)
    assert len(refusal.metadata["note"]) == FACT_CHARS_MAX
    assert len(refusal.to_status().message) <= MESSAGE_CHARS_MAX
    assert refusal.to_status().ByteSize() < 4_096


def test_refusals_are_exceptions_equal_by_content():
    assert TooHigh(5) == TooHigh(5) != TooHigh(6)
    with pytest.raises(Refusal):
        raise Overloaded("pay", 10)


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_every_code_keeps_its_number(code):
    assert code_of(code.value[0]) is code


def test_an_undefined_code_is_unknown():
    assert code_of(99) is grpc.StatusCode.UNKNOWN
