"""gRPC: refusals arrive whole, bugs arrive as a trace number, deadlines shrink, servers drain."""

import asyncio
import io
from contextlib import suppress
from dataclasses import dataclass

import grpc
import orjson
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry, Gauge, Histogram

from shoudan_kit import log, metrics
from shoudan_kit.config import ProcessSettings
from shoudan_kit.rpc import client, deadlines, messages
from shoudan_kit.rpc import server as rpc_server
from shoudan_kit.rpc.refusal import DeadlineTooShort, Refusal, Refused, refused_from_rpc
from shoudan_kit.rpc.shielded import finish_shielded, shielded
from shoudan_kit.tracing.trace import REQUEST_ID
from tests.poll import eventually

NAME = "test.Echo"
SECRET = "secret /etc/path"


@dataclass
class TooHigh(Refusal):
    code = grpc.StatusCode.FAILED_PRECONDITION
    domain = "test.shoudan"
    reason = "ERROR_REASON_UNSPECIFIED"
    left_micros: int
    note: str = "余额不足"


TOO_HIGH = Refused(
    grpc.StatusCode.FAILED_PRECONDITION,
    "test.shoudan",
    "ERROR_REASON_UNSPECIFIED",
    {"left_micros": "5", "note": "余额不足"},
)
FAILURES = {b"refuse": lambda: TooHigh(5), b"bug": lambda: ValueError(SECRET)}


class Echo:
    """One method of each shape; `act` decides what a request does."""

    def __init__(self, act=None):
        self._act = act or self.fail_or_echo

    async def fail_or_echo(self, request, context):
        if request in FAILURES:
            failure = FAILURES[request]()
            raise failure
        return request

    async def unary(self, request, context):
        return await self._act(request, context)

    async def unary_stream(self, request, context):
        yield b"first"
        yield await self._act(request, context)

    async def written_stream(self, request, context):
        await context.write(await self._act(request, context))

    async def stream_unary(self, requests, context):
        return b"".join([await self._act(one, context) async for one in requests])

    async def stream_stream(self, requests, context):
        async for one in requests:
            yield await self._act(one, context)

    def register(self, server):
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "UnaryStream": grpc.unary_stream_rpc_method_handler(self.unary_stream),
            "WrittenStream": grpc.unary_stream_rpc_method_handler(self.written_stream),
            "StreamUnary": grpc.stream_unary_rpc_method_handler(self.stream_unary),
            "StreamStream": grpc.stream_stream_rpc_method_handler(self.stream_stream),
        }
        server.add_registered_method_handlers(NAME, handlers)


class Client:
    """The five methods as `await ask(method, request)`, giving the list of answers."""

    def __init__(self, channel):
        self._channel = channel

    async def __call__(self, method, request, **options):
        path = f"/{NAME}/{method}"
        if method == "Unary":
            return [await self._channel.unary_unary(path)(request, **options)]
        if method == "StreamUnary":
            return [await self._channel.stream_unary(path)(iter([request]), **options)]
        if method == "StreamStream":
            call = self._channel.stream_stream(path)(iter([request]), **options)
        else:
            call = self._channel.unary_stream(path)(request, **options)
        return [answer async for answer in call]


METHODS = ["Unary", "UnaryStream", "WrittenStream", "StreamUnary", "StreamStream"]


@pytest.fixture
async def serve():
    """Start a server around `act`; gives server and client."""
    opened = []

    async def start(act=None, **settings):
        server = rpc_server.RpcServer(
            ProcessSettings(**{"drain_s": 5, **settings}), [Echo(act).register], [NAME]
        )
        port = await server.start()
        channel = client.connect(f"127.0.0.1:{port}")
        opened.append((server, channel))
        return server, Client(channel)

    yield start
    for server, channel in opened:
        await channel.close()
        await server.stop()


@pytest.fixture
def lines():
    stream = io.BytesIO()
    log.setup("test", "info", stream)
    yield lambda: [orjson.loads(line) for line in stream.getvalue().splitlines()]
    log.setup("test", "info")


@pytest.mark.parametrize("method", METHODS)
async def test_every_shape_of_call_answers(serve, method):
    _, ask = await serve()
    assert (await ask(method, b"hello"))[-1] == b"hello"


@pytest.mark.parametrize("method", METHODS)
async def test_a_refusal_arrives_whole_from_every_shape_of_call(serve, method):
    _, ask = await serve()
    with pytest.raises(aio.AioRpcError) as raised:
        await ask(method, b"refuse")
    assert refused_from_rpc(raised.value) == TOO_HIGH


@pytest.mark.parametrize("method", METHODS)
async def test_a_bug_arrives_as_a_trace_number_and_nothing_else(serve, lines, method):
    _, ask = await serve()
    with pytest.raises(aio.AioRpcError) as raised:
        await ask(method, b"bug")
    error = raised.value
    (line,) = (line for line in lines() if line["event"] == "internal_error")
    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details() == f"internal error, trace {line['trace']}"
    assert SECRET not in f"{error!r} {error.trailing_metadata()} {error.initial_metadata()}"
    assert SECRET in line["exception"]
    assert refused_from_rpc(error) is None


async def test_a_refusal_of_a_deeper_service_passes_through_unchanged(serve):
    _, inner = await serve()

    async def call_inner(request, context):
        return (await inner("Unary", request))[0]

    _, outer = await serve(call_inner)
    with pytest.raises(aio.AioRpcError) as raised:
        await outer("Unary", b"refuse")
    assert refused_from_rpc(raised.value) == TOO_HIGH
    with pytest.raises(aio.AioRpcError) as raised:
        await outer("Unary", b"bug")
    assert raised.value.code() is grpc.StatusCode.INTERNAL


async def test_a_dependency_that_is_away_is_unavailable_without_its_address(serve):
    async with client.connect("127.0.0.1:1", retry=False) as away:

        async def call_away(request, context):
            return (await Client(away)("Unary", request))[0]

        _, ask = await serve(call_away)
        with pytest.raises(aio.AioRpcError) as raised:
            await ask("Unary", b"x", timeout=5)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "127.0.0.1" not in raised.value.details()


async def test_a_call_with_less_than_50_ms_left_is_refused_before_it_begins(serve):
    begun = []

    async def act(request, context):
        begun.append(request)
        return request

    _, ask = await serve(act)
    await ask("Unary", b"warm")
    with pytest.raises(aio.AioRpcError) as raised:
        await ask("Unary", b"late", timeout=0.045)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert begun == [b"warm"]


async def test_a_deadline_shrinks_inward_and_is_refused_when_nothing_is_left(serve):
    seen = []

    async def act(request, context):
        seen.append(deadlines.deadline(context, 3))
        return request

    _, ask = await serve(act)
    await ask("Unary", b"x")
    await ask("Unary", b"x", timeout=60)
    await ask("Unary", b"x", timeout=2)
    assert seen[:2] == [3, 3]
    assert 1 < seen[2] <= 1.95  # gRPC rounds a time limit up by some per cent
    with pytest.raises(aio.AioRpcError) as raised:
        await ask("Unary", b"x", timeout=0.12)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(seen) == 3


async def test_the_request_id_is_logged_and_handed_on(serve, lines):
    inner_ids = []

    async def note(request, context):
        inner_ids.append(log.context("request_id"))
        log.get_logger("echo").info("seen")
        return request

    _, inner = await serve(note)

    async def call_inner(request, context):
        return (await inner("Unary", request, **client.call_options(3)))[0]

    _, outer = await serve(call_inner)
    for given in ("r-1.a_B", 'bad"id', "x" * 65):
        await outer("Unary", b"x", metadata=((REQUEST_ID, given),))
    assert inner_ids == ["r-1.a_B", None, None]
    assert [line.get("request_id") for line in lines()] == ["r-1.a_B", None, None]


async def test_the_trace_of_a_bug_is_the_request_id_where_there_is_one(serve):
    _, ask = await serve()
    with pytest.raises(aio.AioRpcError) as raised:
        await ask("Unary", b"bug", metadata=((REQUEST_ID, "r1"),))
    assert raised.value.details() == "internal error, trace r1"


async def test_more_calls_than_allowed_are_refused_at_once(serve):
    gate, begun = asyncio.Event(), asyncio.Event()

    async def act(request, context):
        begun.set()
        await gate.wait()
        return request

    _, ask = await serve(act, rpc_concurrency_max=1)
    first = asyncio.ensure_future(ask("Unary", b"1"))
    await begun.wait()
    with pytest.raises(aio.AioRpcError) as raised:
        await ask("Unary", b"2")
    gate.set()
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await first == [b"1"]


async def refusing(ask):
    """The code with which new calls fail, once the listener has closed."""
    for _ in range(100):
        try:
            await ask("Unary", b"2", timeout=0.3)
        except aio.AioRpcError as error:
            return error.code()
    return None


async def test_a_drain_finishes_running_calls_and_refuses_new_ones(serve):
    gate, begun = asyncio.Event(), asyncio.Event()

    async def act(request, context):
        begun.set()
        await gate.wait()
        return request

    server, ask = await serve(act)
    running = asyncio.ensure_future(ask("Unary", b"1"))
    await begun.wait()
    port = server.port
    stopping = asyncio.ensure_future(server.stop())
    async with client.connect(f"127.0.0.1:{port}", retry=False) as late:
        assert await refusing(Client(late)) in {
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        }
    gate.set()
    assert await running == [b"1"]
    await stopping


async def test_shielded_work_goes_on_when_the_client_hangs_up(serve):
    gate, begun, done = asyncio.Event(), asyncio.Event(), []

    async def commit():
        begun.set()
        await gate.wait()
        done.append("committed")

    async def act(request, context):
        await shielded(commit())
        return request

    server, ask = await serve(act)
    call = asyncio.ensure_future(ask("Unary", b"1"))
    await begun.wait()
    call.cancel()
    await asyncio.wait([call])
    asyncio.get_running_loop().call_later(0.05, gate.set)
    await server.stop()
    assert done == ["committed"]


async def test_shielded_work_gives_its_result_or_its_exception():
    async def good():
        return 5

    async def bad():
        raise KeyError("x")

    assert await shielded(good()) == 5
    with pytest.raises(KeyError):
        await shielded(bad())
    assert await finish_shielded(0.1) == 0


async def test_unavailable_is_tried_again_and_nothing_else_is(serve):
    tries = []

    async def act(request, context):
        tries.append(request)
        if len(tries) < 3:
            code = grpc.StatusCode.UNAVAILABLE if request == b"away" else grpc.StatusCode.ABORTED
            await context.abort(code, "not now")
        return request

    _, ask = await serve(act)
    assert await ask("Unary", b"away") == [b"away"]
    assert len(tries) == 3
    tries.clear()
    with pytest.raises(aio.AioRpcError):
        await ask("Unary", b"locked")
    assert len(tries) == 1


async def test_a_batch_larger_than_grpcs_default_fits_and_the_bound_holds(serve):
    _, ask = await serve()
    assert len((await ask("Unary", b"x" * 10 * 2**20))[0]) == 10 * 2**20
    with pytest.raises(aio.AioRpcError) as raised:
        await ask("Unary", b"x" * (messages.MESSAGE_BYTES_MAX + 1))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_health_and_reflection_answer(serve):
    server, _ = await serve()
    async with client.connect(f"127.0.0.1:{server.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", NAME):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        async for answer in stub.ServerReflectionInfo(iter([question])):
            names = {one.name for one in answer.list_services_response.service}
    assert {NAME, "grpc.health.v1.Health"} <= names


async def test_a_taken_port_is_told_and_not_shared(serve):
    server, _ = await serve()
    with pytest.raises(RuntimeError):
        await serve(listen_port=server.port)


async def test_an_unknown_method_is_unimplemented(serve):
    _, ask = await serve()
    with pytest.raises(aio.AioRpcError) as raised:
        await ask("Nothing", b"x")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_calls_are_counted_by_method_and_code(serve, monkeypatch):
    def counted(code):
        labels = {"method": f"/{NAME}/Unary", "code": code}
        return own.get_sample_value("test_seconds_count", labels) or 0

    # Servers of other tests in this process have their calls, too: these alone are counted here.
    own = CollectorRegistry()
    seconds = Histogram("test_seconds", "of calls", ["method", "code"], registry=own)
    monkeypatch.setattr(metrics, "RPC_SERVER_SECONDS", seconds.labels)
    gauge = Gauge("test_rpc_in_progress", "now", registry=None)
    monkeypatch.setattr(metrics, "RPC_IN_PROGRESS", lambda: gauge)
    seen = []

    async def act(request, context):
        seen.append(gauge._value.get())
        if request == b"abort":
            await context.abort(grpc.StatusCode.NOT_FOUND, "none")
        return await Echo().fail_or_echo(request, context)

    _, ask = await serve(act)
    expected = {
        b"x": "OK",
        b"refuse": "FAILED_PRECONDITION",
        b"bug": "INTERNAL",
        b"abort": "NOT_FOUND",
    }
    for request, code in expected.items():
        before = counted(code)
        with suppress(aio.AioRpcError):
            await ask("Unary", request)
        await eventually(lambda code=code, was=before: counted(code) == was + 1)
    assert seen == [1, 1, 1, 1]
    assert gauge._value.get() == 0


def test_too_short_says_how_short():
    error = deadlines.too_short(-0.5, 0.15)
    assert error == DeadlineTooShort(0, 150)
