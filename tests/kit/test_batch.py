"""Coalescer: an ordinary call for each caller, ordered bounded batches for the one who answers."""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoudan_kit import log
from shoudan_kit.batch import Coalescer
from shoudan_kit.rpc.refusal import Overloaded, ShuttingDown
from tests.poll import eventually


class Gate:
    """A `run` that records its batches and answers when the test opens it."""

    def __init__(self, *, is_open=True):
        self.batches = []
        self.open = asyncio.Event()
        if is_open:
            self.open.set()

    async def __call__(self, questions):
        self.batches.append(list(questions))
        await self.open.wait()
        return [answer(question) for question in questions]


def answer(question):
    return ValueError(question) if question % 5 == 0 else question * 2


async def turn():
    """Let everything that is ready run: each round of the loop ends with what we ask of it last."""
    for _ in range(6):
        reached = asyncio.Event()
        asyncio.get_running_loop().call_soon(reached.set)
        await reached.wait()


def started(coalescer, questions):
    return [asyncio.ensure_future(coalescer(question)) for question in questions]


@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=60),
    st.integers(1, 9),
    st.integers(1, 3),
)
@settings(deadline=None, max_examples=60)
def test_each_caller_gets_its_own_answer_in_ordered_bounded_batches(
    questions, size_max, in_flight_max
):
    async def scenario():
        gate = Gate()
        coalescer = Coalescer(
            gate, name="law", size_max=size_max, in_flight_max=in_flight_max, linger_s=0
        )
        answers = await asyncio.gather(*map(coalescer, questions), return_exceptions=True)
        await coalescer.aclose()
        return answers, gate.batches

    answers, batches = asyncio.run(scenario())
    for question, got in zip(questions, answers, strict=True):
        assert repr(got) == repr(answer(question))
    assert [question for batch in batches for question in batch] == questions
    assert max(map(len, batches)) <= size_max


async def test_an_idle_call_does_not_linger():
    coalescer = Coalescer(Gate(), name="idle", linger_s=60)
    async with asyncio.timeout(5):
        assert await coalescer(1) == 2
        assert await coalescer(2) == 4


async def test_calls_of_the_same_turn_are_one_batch_even_when_idle():
    gate = Gate()
    coalescer = Coalescer(gate, name="turn", linger_s=60)
    await asyncio.gather(*map(coalescer, range(1, 5)))
    assert gate.batches == [[1, 2, 3, 4]]


async def test_while_one_is_in_flight_newcomers_gather_until_the_batch_is_full():
    gate = Gate(is_open=False)
    coalescer = Coalescer(gate, name="full", size_max=3, linger_s=60)
    calls = started(coalescer, [1])
    await turn()
    calls += started(coalescer, [2, 3])
    await turn()
    assert gate.batches == [[1]]
    calls += started(coalescer, [4])
    await turn()
    assert gate.batches == [[1], [2, 3, 4]]
    gate.open.set()
    assert await asyncio.gather(*calls) == [2, 4, 6, 8]


async def test_newcomers_wait_no_longer_than_the_linger():
    gate = Gate(is_open=False)
    coalescer = Coalescer(gate, name="linger", linger_s=0.01)
    calls = started(coalescer, [1])
    await turn()
    began = time.monotonic()
    calls += started(coalescer, [2])
    await eventually(lambda: len(gate.batches) == 2)
    assert time.monotonic() - began >= 0.009
    gate.open.set()
    assert await asyncio.gather(*calls) == [2, 4]


async def test_no_more_batches_run_than_allowed_and_the_end_of_one_begins_the_next():
    gate = Gate(is_open=False)
    coalescer = Coalescer(gate, name="two", size_max=2, in_flight_max=2, linger_s=0)
    calls = started(coalescer, [1, 2, 3, 4, 6, 7])
    await turn()
    assert (len(gate.batches), coalescer.in_flight, coalescer.waiting) == (2, 2, 2)
    gate.open.set()
    assert await asyncio.gather(*calls) == [2, 4, 6, 8, 12, 14]
    assert gate.batches[2] == [6, 7]


async def test_one_failing_item_fails_its_caller_alone():
    coalescer = Coalescer(Gate(), name="item")
    good, bad = await asyncio.gather(coalescer(1), coalescer(5), return_exceptions=True)
    assert good == 2
    assert isinstance(bad, ValueError)


async def test_a_raising_run_fails_its_own_batch_and_not_the_next():
    async def run(questions):
        if 13 in questions:
            raise ConnectionError("the other side is gone")
        return questions

    coalescer = Coalescer(run, name="raise", size_max=2, in_flight_max=1)
    answers = await asyncio.gather(*map(coalescer, [1, 2, 13, 4, 5]), return_exceptions=True)
    assert answers[:2] == [1, 2]
    assert [type(one) for one in answers[2:4]] == [ConnectionError] * 2
    assert answers[4] == 5


async def test_callers_of_a_failed_batch_do_not_share_a_growing_traceback():
    async def run(questions):
        raise ConnectionError

    coalescer = Coalescer(run, name="trace")
    answers = await asyncio.gather(*map(coalescer, range(100)), return_exceptions=True)
    frames, trace = 0, answers[0].__traceback__
    while trace:
        frames, trace = frames + 1, trace.tb_next
    assert frames < 10


async def test_answers_that_do_not_match_the_questions_are_an_error():
    async def run(questions):
        return questions[1:]

    with pytest.raises(RuntimeError, match="0 answers to 1 questions"):
        await Coalescer(run, name="count")(1)


async def test_more_than_may_wait_are_refused_and_nobody_else_is():
    gate = Gate(is_open=False)
    coalescer = Coalescer(gate, name="bound", size_max=1, in_flight_max=1, waiting_max=2)
    calls = started(coalescer, [1])
    await turn()
    calls += started(coalescer, [2, 3])
    await turn()
    with pytest.raises(Overloaded):
        await coalescer(4)
    calls.pop().cancel()  # who gives up makes room
    await turn()
    calls += started(coalescer, [6])
    gate.open.set()
    assert await asyncio.gather(*calls) == [2, 4, 12]


async def test_cancelled_callers_disturb_nobody():
    gate = Gate(is_open=False)
    coalescer = Coalescer(gate, name="cancel", size_max=3, in_flight_max=1)
    running = started(coalescer, [1, 2, 3])
    await turn()
    waiting = started(coalescer, [4, 6])
    await turn()
    running[1].cancel()
    waiting[0].cancel()
    await turn()
    gate.open.set()
    answers = await asyncio.gather(*running, *waiting, return_exceptions=True)
    assert [answers[0], answers[2], answers[4]] == [2, 6, 12]
    assert [type(answers[i]) for i in (1, 3)] == [asyncio.CancelledError] * 2
    assert gate.batches == [[1, 2, 3], [6]]


async def test_a_batch_of_nothing_but_cancelled_callers_is_not_run():
    gate = Gate()
    coalescer = Coalescer(gate, name="nobody")
    call = asyncio.ensure_future(coalescer(1))
    # after its question is in, before the batch begins
    asyncio.get_running_loop().call_soon(call.cancel)
    await turn()
    assert gate.batches == []
    assert await coalescer(2) == 4


async def test_closing_answers_what_was_taken_and_refuses_what_comes():
    gate = Gate(is_open=False)
    coalescer = Coalescer(gate, name="close", size_max=1, in_flight_max=1)
    calls = started(coalescer, [1, 2, 3])
    await turn()
    closing = asyncio.ensure_future(coalescer.aclose())
    await turn()
    with pytest.raises(ShuttingDown):
        await coalescer(4)
    assert not closing.done()
    gate.open.set()
    await closing
    assert await asyncio.gather(*calls) == [2, 4, 6]


async def test_no_task_is_left_behind():
    coalescer = Coalescer(Gate(), name="leak")
    await asyncio.gather(*map(coalescer, range(1, 500)), return_exceptions=True)
    await turn()
    # Services of other tests live in this loop, too: what they begin meanwhile is theirs.
    assert [one for one in asyncio.all_tasks() if one.get_name() == "batch leak"] == []
    assert (coalescer.waiting, coalescer.in_flight) == (0, 0)


async def test_a_batch_belongs_to_no_callers_request():
    seen = []

    async def run(questions):
        seen.append(log.context("request_id"))
        return questions

    coalescer = Coalescer(run, name="context")
    with log.bound(request_id="r1"):
        await coalescer(1)
    assert seen == [None]


@pytest.mark.parametrize(
    "bounds", [{"size_max": 0}, {"in_flight_max": 0}, {"waiting_max": 0}, {"linger_s": -1}]
)
def test_bounds_must_be_bounds(bounds):
    with pytest.raises(ValueError, match="bounds"):
        Coalescer(Gate.__call__, name="x", **bounds)


async def test_questions_that_weigh_more_fill_a_batch_sooner():
    gate = Gate(is_open=False)
    coalescer = Coalescer(gate, name="weight", size_max=10, in_flight_max=1, weight_of=lambda q: q)
    calls = [asyncio.ensure_future(coalescer(q)) for q in (1, 4, 6, 3, 12, 2)]
    await turn()
    gate.open.set()
    assert await asyncio.gather(*calls) == [2, 8, 12, 6, 24, 4]
    assert gate.batches == [[1, 4], [6, 3], [12], [2]]
