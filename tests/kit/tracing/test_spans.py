"""Promises of spans: nothing is imported without an endpoint, and a collector that is away costs nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from shoudan_kit import metrics
from shoudan_kit.config import ConfigError, ProcessSettings
from shoudan_kit.process.ports import free_port
from shoudan_kit.tracing import carried, spans
from shoudan_kit.tracing.trace import Trace, begun
from tests.poll import eventually
from tests.receiver import receiving


@pytest.fixture
async def setup():
    """Record everything, to an endpoint, for one test."""

    def begin(endpoint: str, **more: object) -> None:
        settings = ProcessSettings(trace_endpoint=endpoint, trace_ratio=1, **more)
        spans.setup(settings, "test", "here:1")

    yield begin
    await asyncio.to_thread(spans.close)


def outcome(word: str) -> float:
    return metrics.SPANS_TOTAL(word)._value.get()


def hops(count: int) -> list[tuple[Trace | None, Trace]]:
    return [begun((), (), sampled=True) for _ in range(count)]


def test_without_an_endpoint_the_libraries_are_not_imported():
    code = (
        "import sys; from shoudan_kit.tracing.process import observe;"
        "from shoudan_kit.config import ProcessSettings; import shoudan_kit.service;"
        "observe('order', ProcessSettings()); print([m for m in sys.modules if 'opentel' in m])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
    assert not spans.sampled()


async def test_a_batch_is_a_span_in_each_of_its_traces_linked_to_the_others(setup):
    async with receiving() as receiver:
        setup(receiver.endpoint)
        batch = hops(3)
        spans.record("task x", "consumer", batch, spans.now_ns(), failed="raised", tasks=3)
        traces = [one.trace_id for _, one in batch]
        await eventually(lambda: set(receiver.traces) == set(traces), 20)
        for trace_id in traces:
            (span,) = receiver.traces[trace_id]
            assert (span.service, span.replica, span.name) == ("shoudan-test", "here:1", "task x")
            assert set(span.links) == set(traces) - {trace_id}
            assert span.attributes["tasks"] == 3


async def test_links_are_bounded(setup):
    async with receiving() as receiver:
        setup(receiver.endpoint)
        batch = hops(60)
        spans.record("many", "server", batch, spans.now_ns())
        await eventually(lambda: len(receiver.traces) == len(batch), 20)
        assert {len(one.links) for (one,) in receiver.traces.values()} == {spans.LINKS_MAX}


async def test_a_collector_that_is_away_holds_nothing_up_and_its_queue_is_bounded(setup):
    setup(f"http://127.0.0.1:{free_port()}", trace_queue_max=64)
    lost, began = outcome("lost"), time.process_time()
    for _ in range(200):
        spans.record("lost", "server", hops(10), spans.now_ns())
    assert (time.process_time() - began) / 2_000 < 0.001, "CPU of one span"
    queue = spans._recorder.processor._batch_processor._queue
    assert len(queue) <= 64
    await eventually(lambda: outcome("lost") > lost, 30)


async def test_what_is_queued_is_exported_at_the_end(setup):
    async with receiving() as receiver:
        setup(receiver.endpoint)
        ((_, trace),) = batch = hops(1)
        spans.record("last", "server", batch, spans.now_ns())
        await asyncio.to_thread(spans.close)
        assert trace.trace_id in receiver.traces
    spans.record("late", "server", hops(1), spans.now_ns())  # nothing listens any more


def test_unsampled_work_records_nothing():
    quiet = begun((), (), sampled=False)[1]
    assert carried.entered({"1": quiet}, quiet).recorded == []


@pytest.mark.parametrize(
    "wrong",
    ["collector:4317", "http://collector", "ftp://collector:1", "http://u:p@c:4317", "x" * 99],
)
def test_an_endpoint_that_is_none_is_refused_at_start(wrong):
    with pytest.raises(ConfigError, match="TRACE_ENDPOINT"):
        ProcessSettings.load("order", environ={"SHOUDAN_TRACE_ENDPOINT": wrong})


def test_in_prod_spans_leave_this_machine_by_tls_alone():
    given = {"SHOUDAN_PROFILE": "prod", "SHOUDAN_TRACE_ENDPOINT": "http://collector:4317"}
    with pytest.raises(ConfigError, match="trace_endpoint: collector is not on this machine"):
        ProcessSettings.load("order", environ=given)
    for endpoint in ("https://collector:4317", "http://127.0.0.1:4317"):
        ProcessSettings.load("order", environ={**given, "SHOUDAN_TRACE_ENDPOINT": endpoint})
