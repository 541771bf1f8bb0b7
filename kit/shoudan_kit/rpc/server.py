"""What every gRPC server here does around its servicers: refusals, metrics, health, drain."""

from __future__ import annotations

import inspect
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from grpc_status import rpc_status

from shoudan_kit import log, metrics
from shoudan_kit.db.errors import away, data_refused, describe, taken
from shoudan_kit.rpc.caller import Caller
from shoudan_kit.rpc.callers import LOCAL, Access, Callers, NotAllowed, access_of, hand_on_from
from shoudan_kit.rpc.deadlines import NEEDED_S, time_left, too_short
from shoudan_kit.rpc.messages import AUTHORIZATION, CALLED_FROM, Options, RpcContext, size_options
from shoudan_kit.rpc.refusal import Refusal, Refused, refused_from_rpc
from shoudan_kit.rpc.shielded import finish_shielded
from shoudan_kit.rpc.transport import server_credentials
from shoudan_kit.tls.identity import Identity
from shoudan_kit.tracing import carried, spans
from shoudan_kit.tracing.trace import REQUEST_ID, TRACEPARENT, cleaned

T = TypeVar("T")
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic in the stubs only


# The outcome of a dependency that the caller may act on; everything else of it is our INTERNAL.
_PASSED_ON: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
_WORDS: Final[Mapping[grpc.StatusCode | None, str]] = {
    grpc.StatusCode.INVALID_ARGUMENT: "a value is out of range",
    grpc.StatusCode.ABORTED: "another call wrote the same at this moment, repeat this one",
}
# Refuses a direct call that needs two persons: its path, its request, its caller.
CheckAlone: TypeAlias = Callable[[str, Any, Caller], Awaitable[None]]

# Where a value of a request is read that the contract's type lets through.
_READERS: Final = frozenset(
    {
        "google.protobuf.internal.well_known_types",
        "google.protobuf.internal.enum_type_wrapper",
        "enum",
    }
)
_ADDRESS_FORM: Final = re.compile(r"[0-9A-Fa-f.:]{1,45}")
_READ: Final = frozenset({AUTHORIZATION, CALLED_FROM, REQUEST_ID, TRACEPARENT, carried.TRACES})

_log = log.get_logger("rpc")


class RpcSettings(Protocol):
    """The knobs of a server; ProcessSettings has them."""

    @property
    def listen_host(self) -> str: ...
    @property
    def listen_port(self) -> int: ...
    @property
    def drain_s(self) -> float: ...
    @property
    def rpc_concurrency_max(self) -> int: ...
    @property
    def rpc_message_bytes_max(self) -> int: ...
    @property
    def rpc_connection_age_s(self) -> int: ...
    @property
    def rpc_open(self) -> Sequence[str]: ...


class _Health(health.aio.HealthServicer):
    """The library's, with the method List of the protocol, which it leaves out."""

    async def List(self, _request: Any, _context: RpcContext) -> Any:
        """Everything that health knows here, identities included."""
        statuses = {
            name: health_pb2.HealthCheckResponse(status=status)
            for name, status in self._server_status.items()
        }
        return health_pb2.HealthListResponse(statuses=statuses)


class CallWatch(Protocol):
    """What a server calls around its methods: for the audit log."""

    def begin(self, access: Access, caller: Caller, request: Any) -> Any:
        """Before the method; None when nothing is to be done behind it."""
        ...

    async def end(self, begun: Any) -> None:
        """Before the answer is sent, with what `begin` gave."""
        ...

    def refused(self, refusal: Refusal) -> None:
        """In place of both, when the caller may not make this call."""
        ...


class NoWatch:
    """Watches nothing."""

    def begin(self, access: Access, caller: Caller, request: Any) -> None:
        """Nothing."""

    async def end(self, begun: Any) -> None:
        """Nothing."""

    def refused(self, refusal: Refusal) -> None:
        """Nothing."""


NO_WATCH: Final = NoWatch()


class RpcServer:
    """A server with callers and their rights, health, reflection, refusals, metrics, and a drain.

    With an identity every client needs a certificate of its authorities; without one it is plaintext.
    """

    def __init__(
        self,
        settings: RpcSettings,
        servicers: Sequence[Callable[[aio.Server], None]],
        names: Sequence[str],
        identities: Sequence[str] = (),
        identity: Identity | None = None,
        callers: Callers = LOCAL,
        watch: CallWatch = NO_WATCH,
        check_alone: CheckAlone | None = None,
    ) -> None:
        """`servicers` register themselves (`partial(add_X_to_server, x)`); `names` are full service
        names for health and reflection; `identities` are answered by health alone; `callers` says who
        calls, and without it every caller of this machine; `watch` is called around each method;
        `check_alone` refuses calls of methods with approvers that one operator may not make alone."""
        self._settings, self._names, self._identity = settings, tuple(names), identity
        self._identities, self._callers = tuple(identities), callers
        self._watch, self._check_alone = watch, check_alone
        self._servicers = tuple(servicers)
        self._health: Any = _Health()
        self._server: aio.Server | None = None
        self.port = 0

    async def start(self) -> int:
        """Serve; gives the port. RuntimeError when the port is taken."""
        server = aio.server(
            options=_server_options(self._settings),
            maximum_concurrent_rpcs=self._settings.rpc_concurrency_max,
        )
        around: Any = _Around(
            server, self._callers, self._settings.rpc_open, self._watch, self._check_alone
        )
        for register in self._servicers:
            register(around)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, around)
        names = (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        servicer = reflection.aio.ReflectionServicer(service_names=names)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, around)
        address = f"{self._settings.listen_host}:{self._settings.listen_port}"
        if self._identity is None:
            self.port = server.add_insecure_port(address)
        else:
            self.port = server.add_secure_port(address, server_credentials(self._identity))
        await server.start()
        self._server = server
        await self.set_serving(serving=True)
        return self.port

    async def set_serving(self, *, serving: bool) -> None:
        """What health says from now on; after `stop` nothing changes it any more."""
        status = health_pb2.HealthCheckResponse.ServingStatus
        said = status.Value("SERVING" if serving else "NOT_SERVING")
        for name in ("", *self._names, *self._identities):
            await self._health.set(name, said)

    async def stop(self) -> None:
        """Say NOT_SERVING, take no new calls, finish running and shielded work within `drain_s`."""
        if self._server is None:
            return
        began = time.monotonic()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._settings.drain_s)
        self._server = None
        await finish_shielded(max(1.0, self._settings.drain_s - (time.monotonic() - began)))


class _Around:
    """Stands for the server while servicers register, and puts a _Call around each of their methods.

    An interceptor would do the same at a third of the price of a whole call, for every call.
    """

    def __init__(
        self,
        server: aio.Server,
        callers: Callers,
        opened: Sequence[str],
        watch: CallWatch,
        check_alone: CheckAlone | None,
    ) -> None:
        self._server, self._callers, self._open = server, callers, opened
        self._watch, self._check_alone = watch, check_alone

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """The same methods without their names: generated code offers both, one is enough."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """The methods of one service."""
        wrapped = {name: _wrap(one, self._method(service, name)) for name, one in handlers.items()}
        self._server.add_registered_method_handlers(service, wrapped)

    def _method(self, service: str, name: str) -> _Method:
        access = access_of(service, name, self._open)
        check_alone = self._check_alone if access.right.approvers else None
        return _Method(access, self._callers, self._watch, check_alone)


@dataclass(frozen=True, slots=True)
class _Method:
    """What is known of a method before it is called."""

    access: Access
    callers: Callers
    watch: CallWatch
    check_alone: CheckAlone | None = None  # of a method that needs two persons


def _wrap(handler: Handler, method: _Method) -> Handler:
    coders = (_reading(handler.request_deserializer), handler.response_serializer)
    inner: Any = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    around: Any = _answering(inner, method)
    if handler.response_streaming:
        if inspect.isasyncgenfunction(inner):
            around = _yielding(inner, method)
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(around, *coders)
        return grpc.unary_stream_rpc_method_handler(around, *coders)
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(around, *coders)
    return grpc.unary_unary_rpc_method_handler(around, *coders)


class _Unreadable:
    """Stands for a request whose bytes are no message of its method, until the call can be refused."""


_UNREADABLE: Final = _Unreadable()


def _reading(read: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """A deserializer that never raises: the library would answer UNKNOWN with class names."""
    if read is None:
        return None

    def read_or_refuse(data: bytes) -> Any:
        try:
            return read(data)
        except (DecodeError, ValueError):
            return _UNREADABLE

    return read_or_refuse


async def _refuse_unreadable(request: Any, context: RpcContext) -> None:
    if request is _UNREADABLE:
        words = "the request is not a message of this method"
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, words)


def _answering(
    inner: Callable[[Any, RpcContext], Awaitable[Any]], method: _Method
) -> Callable[[Any, RpcContext], Awaitable[Any]]:
    async def call(request: Any, context: RpcContext) -> Any:
        async with _Call(method, context) as caller:
            await _refuse_unreadable(request, context)
            method.access.check_own(request, caller)
            method.access.fill_doer(request, caller)
            if method.check_alone is not None and caller.id:  # a person, not a service
                await method.check_alone(method.access.path, request, caller)
            begun = method.watch.begin(method.access, caller, request)
            answer = await inner(request, context)
            if begun is not None:
                await method.watch.end(begun)
            return answer

    return call


def _yielding(
    inner: Callable[[Any, RpcContext], AsyncIterator[Any]], method: _Method
) -> Callable[[Any, RpcContext], AsyncIterator[Any]]:
    async def call(request: Any, context: RpcContext) -> AsyncIterator[Any]:
        async with _Call(method, context) as caller:
            await _refuse_unreadable(request, context)
            method.access.check_own(request, caller)
            method.access.fill_doer(request, caller)
            if method.check_alone is not None and caller.id:  # a person, not a service
                await method.check_alone(method.access.path, request, caller)
            begun = method.watch.begin(method.access, caller, request)
            if begun is not None:  # before the first answer: what is sent cannot be taken back
                await method.watch.end(begun)
            async for answer in inner(request, context):
                yield answer

    return call


class _Call:
    """One call from admission to its code: entered before the servicer, left with its outcome."""

    __slots__ = ("_began", "_began_ns", "_context", "_hops", "_known", "_path", "_tokens")

    def __init__(self, method: _Method, context: RpcContext) -> None:
        self._known, self._path, self._context = method, method.access.path, context
        self._hops: carried.Hops | None = None
        self._tokens: carried.Tokens | None = None
        self._began, self._began_ns = time.perf_counter(), 0

    async def __aenter__(self) -> Caller:
        metrics.RPC_IN_PROGRESS().inc()
        self._hops, bearer, called_from = _read_metadata(self._context)
        if self._hops is not None:
            self._tokens = carried.begin(self._hops.carried)
            if self._hops.recorded:
                self._began_ns = spans.now_ns()
        try:
            caller = self._known.callers.admit(self._known.access, bearer, self._context)
            if called_from:
                hand_on_from(called_from, self._context)
            left = time_left(self._context)
            if left is not None and left < NEEDED_S:
                raise too_short(left, NEEDED_S)
        except Refusal as error:
            await self.__aexit__(type(error), error, None)
            raise  # not reached: the call was aborted
        return caller

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        code = "OK"
        try:
            if error is not None:
                code = await self._fail(error)
        except aio.AbortError:
            code = self._aborted_code()
            raise
        finally:
            metrics.RPC_IN_PROGRESS().dec()
            seconds = time.perf_counter() - self._began
            metrics.rpc_done(self._path, code, seconds)
            if self._hops is not None and self._tokens is not None:
                carried.end(self._tokens)
                failed = "" if code == "OK" else code
                recorded = self._hops.recorded
                spans.record(self._path, "server", recorded, self._began_ns, failed=failed)

    async def _fail(self, error: BaseException) -> str:
        """End the call as `error` demands; AbortError unless the error is to go on by itself."""
        if isinstance(error, aio.AbortError):
            return self._aborted_code()
        if isinstance(error, grpc.RpcError) and (refused := refused_from_rpc(error)):
            error = refused  # a deeper service's "no" is the answer of this call, too
        if isinstance(error, (Refusal, Refused)):
            _log.info("refused", method=self._path, reason=error.reason, facts=error.metadata)
            if isinstance(error, Refusal) and error.reason == NotAllowed.reason:
                self._known.watch.refused(error)
            status = rpc_status.to_status(error.to_status())
            await self._context.abort(status.code, status.details, status.trailing_metadata)
        if not isinstance(error, Exception):
            return grpc.StatusCode.CANCELLED.name
        trace = log.context("request_id") or secrets.token_hex(8)
        code = _dependency_code(error)
        words = _WORDS.get(code, "a dependency did not answer")
        if code is None:
            code, words = grpc.StatusCode.INTERNAL, "internal error"
            _log.error("internal_error", method=self._path, trace=trace, exc_info=error)
        else:
            _log.warning(
                "dependency_failed",
                method=self._path,
                trace=trace,
                code=code.name,
                error=describe(error),
            )
        return await self._context.abort(code, f"{words}, trace {trace}")

    def _aborted_code(self) -> str:
        """The name of the code the call was aborted with; the library gives number or member."""
        code: Any = self._context.code()
        return next((c.name for c in grpc.StatusCode if code in (c, c.value[0])), "UNKNOWN")


def _dependency_code(error: Exception) -> grpc.StatusCode | None:
    """The code of a failed inner call, or of a lost database, that our caller may act on, else None."""
    if away(error):
        return grpc.StatusCode.UNAVAILABLE
    if data_refused(error) or _is_no_value(error):
        return grpc.StatusCode.INVALID_ARGUMENT
    if taken(error):
        return grpc.StatusCode.ABORTED
    if not isinstance(error, aio.AioRpcError):
        return None
    code = error.code()
    return code if code in _PASSED_ON else None


def _is_no_value(error: Exception) -> bool:
    """Whether a request's Timestamp, Duration or enum is none: its own reader refused it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (
        isinstance(error, ValueError | OverflowError)
        and trace is not None
        and trace.tb_frame.f_globals.get("__name__") in _READERS
    )


def _read_metadata(context: RpcContext) -> tuple[carried.Hops | None, str, str]:
    """What the caller carries, as far as it may be logged and handed on, its token, and where a call was
    made that is handed on."""
    found = {
        name: value
        for name, value in context.invocation_metadata() or ()
        if name in _READ and isinstance(value, str)
    }
    bearer, called_from = found.pop(AUTHORIZATION, ""), found.pop(CALLED_FROM, "")
    if _ADDRESS_FORM.fullmatch(called_from) is None:
        called_from = ""
    if not found:
        return None, bearer, called_from
    request_id = found.get(REQUEST_ID, "")
    if cleaned(request_id) != request_id:
        request_id = ""
    traceparent, traces = found.get(TRACEPARENT, ""), found.get(carried.TRACES, "")
    return carried.received(request_id, traceparent, traces), bearer, called_from


def _server_options(settings: RpcSettings) -> Options:
    return [
        *size_options(settings.rpc_message_bytes_max),
        ("grpc.so_reuseport", 0),  # else a second server on a taken port would share it silently
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Clients ping each 30 s; the default of 300 s would cut them off for it.
        ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_connection_idle_ms", 900_000),
        ("grpc.max_connection_age_ms", settings.rpc_connection_age_s * 1000),
        # A report or a proof of the ledger may run for long on a connection that is retired.
        ("grpc.max_connection_age_grace_ms", 3_600_000),
    ]
