"""Promises of a request's id and trace: what callers write is read, cut or ignored, never trusted."""

from __future__ import annotations

import pytest

from shoudan_kit.tracing.trace import Trace, begun, cleaned, of_text, parsed

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0cc902b7"
HEADER = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "garbage",
        HEADER[:-1],
        HEADER + "0",
        HEADER + "-more",
        HEADER.upper(),
        HEADER.replace("-", "_"),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-zz",
        f"{HEADER}\n",
        "00-" + "a" * 10_240,
        f"01-{TRACE}-{SPAN}-01-" + "a" * 10_240,
        f"００-{TRACE}-{SPAN}-01",
    ],
)
def test_a_malformed_traceparent_is_ignored_and_a_trace_is_made(header):
    assert parsed(header) is None
    caller, trace = begun((header,), (), sampled=False)
    assert caller is None
    assert parsed(trace.traceparent)
    assert trace.trace_id != TRACE
    assert trace.request_id == trace.trace_id


def test_a_later_version_may_say_more():
    assert parsed(f"01-{TRACE}-{SPAN}-01-more") == (TRACE, SPAN, True)


def test_two_traceparents_are_none():
    assert begun((HEADER, HEADER), (), sampled=True)[1].trace_id != TRACE


def test_the_callers_trace_goes_on_and_its_flag_decides_nothing():
    caller, trace = begun((HEADER,), (), sampled=False)
    assert (trace.trace_id, trace.span_id, trace.sampled) == (TRACE, SPAN, False)
    caller, trace = begun((HEADER.removesuffix("01") + "00",), (), sampled=True)
    assert caller is not None
    assert (caller.span_id, trace.trace_id, trace.sampled) == (SPAN, TRACE, True)
    assert trace.span_id != SPAN


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("r-1.a_B", "r-1.a_B"),
        ('bad" id\r\nX: y', "badidXy"),
        ("x" * 10_240, "x" * 64),
        ("订单1", "1"),
        ("'; DROP TABLE--", "DROPTABLE--"),
    ],
)
def test_a_callers_request_id_is_cut_and_cleaned(given, kept):
    assert cleaned(given) == kept
    assert begun((), (given,), sampled=False)[1].request_id == kept


@pytest.mark.parametrize("given", ["", "。。", '"""'])
def test_a_request_id_of_which_nothing_is_left_is_made(given):
    trace = begun((), (given,), sampled=False)[1]
    assert trace.request_id == trace.trace_id


@pytest.mark.parametrize("request_id", [TRACE, "r-1"])
@pytest.mark.parametrize("sampled", [True, False])
def test_what_is_stored_is_read_back(request_id, sampled):
    trace = Trace(request_id, TRACE, SPAN, sampled)
    assert of_text(trace.text) == trace


@pytest.mark.parametrize("text", ["", "r-1", f"{HEADER};bad id", ";r-1"])
def test_what_was_not_stored_so_is_none(text):
    assert of_text(text) is None


def test_only_what_is_recorded_gets_a_hop_of_its_own():
    unsampled, one = Trace("r", TRACE, SPAN), Trace("r", TRACE, SPAN, True)
    assert unsampled.child() is unsampled
    assert one.child().trace_id == TRACE
    assert one.child().span_id != SPAN
