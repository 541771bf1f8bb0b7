"""Promises of what work carries: found by key, handed on in bounded metadata, stored once per request."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shoudan_kit import log
from shoudan_kit.rpc.messages import METADATA_BYTES_MAX
from shoudan_kit.tasks.kinds import Kind, Task
from shoudan_kit.tracing import carried
from shoudan_kit.tracing.carried import Carried, carrying
from shoudan_kit.tracing.trace import REQUEST_ID, REQUEST_ID_CHARS_MAX, TRACEPARENT, begun


@pytest.fixture(autouse=True)
def nothing_remembered():
    carried._known.clear()
    yield
    carried._known.clear()


def made(*, sampled: bool, request_id: str = ""):
    return begun((), (request_id,), sampled=sampled)[1]


def test_without_a_request_nothing_is_carried():
    assert carried.call_metadata() == ()
    assert carried.stored_of("1") is None
    assert carried.of_new_task("1") == ({}, None)


def test_a_lone_request_is_carried_whole_and_bound_to_log_lines():
    one = made(sampled=False, request_id="r-1")
    with carrying(Carried({}, one, stored=True)):
        assert log.context("request_id") == "r-1"
        assert dict(carried.call_metadata()) == {REQUEST_ID: "r-1", TRACEPARENT: one.traceparent}
        assert carried.stored_of("anything") == one.text
    assert log.context("request_id") is None


@pytest.mark.parametrize(
    ("order_no", "key", "its_own"), [("7", "7", True), (None, "", True), (None, "7", False)]
)
def test_a_task_about_many_keys_is_not_the_request_of_the_one_that_is_sampled(
    order_no, key, its_own
):
    """Else whatever it calls would count as that request's, with spans and rows for every other key."""
    trace = made(sampled=True)
    kind = Kind("test.x", dict, "test:x", interval_s=5)
    task = Task(1, kind, {}, "test:x", order_no, 1, datetime.now(UTC), traces={key: trace})
    assert task.trace == (trace if its_own else None)


def test_log_lines_of_a_batch_name_its_first_requests():
    many = {str(n): made(sampled=False, request_id=f"r-{n}") for n in range(20)}
    with carrying(Carried(many)):
        assert log.context("request_ids") == " ".join(f"r-{n}" for n in range(carried.LOGGED_MAX))
        with carrying(Carried({}, made(sampled=False, request_id="lone"))):
            assert log.context("request_id") == "lone"
    assert log.context("request_ids") is None
    same = made(sampled=False, request_id="one")
    with carrying(Carried({"1": same, "2": same})):
        assert log.context("request_ids") == "one"


def test_of_a_batch_only_sampled_requests_are_handed_on_and_stored_later():
    quiet, seen = made(sampled=False), made(sampled=True)
    work = carried.entered({"1": quiet, "2": seen})
    with carrying(work.carried):
        metadata = dict(carried.call_metadata())
        assert carried.stored_of("1") is None
        assert carried.stored_of("2") == work.carried.by_key["2"].text
    assert set(carried.unpacked(metadata[carried.TRACES])) == {"2"}
    assert [parent for parent, _ in work.recorded] == [seen]


def test_the_requests_own_transaction_names_it_sampled_or_not():
    quiet = made(sampled=False)
    metadata = dict(carried.metadata_of({"#0": quiet, "#1": made(sampled=True)}, None))
    work = carried.received("", "", metadata[carried.TRACES])
    assert work is not None
    with carrying(work.carried):
        assert carried.stored_of("77") is None
        carried.name_item(0, "77")
        assert carried.stored_of("77") == quiet.text


def test_a_sampled_trace_is_found_by_its_key_after_the_work_that_brought_it():
    with carrying(carried.entered({"77": made(sampled=True)}).carried):
        inside = carried.trace_of("77")
    assert inside is not None
    assert carried.trace_of("77") is inside
    assert carried.trace_of("78") is None


def test_what_is_remembered_is_bounded():
    for number in range(carried.KNOWN_MAX + 10):
        carried.remember(str(number), made(sampled=True))
    assert len(carried._known) == carried.KNOWN_MAX
    assert carried.trace_of("0") is None


def test_keys_of_one_trace_are_one_hop():
    one = made(sampled=True)
    work = carried.entered({"1": one, "2": one}, one)
    assert len(work.recorded) == 1
    assert work.carried.by_key["1"] is work.carried.by_key["2"] is work.carried.sole


def test_the_largest_batch_fits_into_the_metadata_of_a_call():
    longest = "x" * REQUEST_ID_CHARS_MAX
    traces = {
        f"#{i}": made(sampled=True, request_id=longest) for i in range(carried.CARRIED_MAX + 9)
    }
    (header,) = carried.metadata_of(traces, None)
    assert sum(map(len, header)) < METADATA_BYTES_MAX
    assert len(carried.unpacked(header[1])) == carried.CARRIED_MAX


def test_a_key_that_no_header_can_hold_is_left_out():
    traces = {key: made(sampled=True) for key in ("1", "a,b", "a=b", "订单", "a\nb", "x" * 65)}
    assert set(carried.unpacked(carried.packed(traces))) == {"1"}


@pytest.mark.parametrize("text", ["", "garbage", "1=garbage,2=", ",,,=", "=" * 10_000])
def test_unreadable_traces_of_a_peer_are_left_out(text):
    assert carried.unpacked(text) == {}
    assert carried.received("", "", text) is None
