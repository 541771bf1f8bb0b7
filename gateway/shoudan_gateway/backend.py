"""The services behind the gateway: unary calls as they come, batch calls gathered per RPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import grpc
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from shoudan_gateway.config import GatewaySettings
from shoudan_gateway.protocol import Batch, Call, File, GatewayError, Problem, Stream
from shoudan_kit.batch import Coalescer
from shoudan_kit.log import get_logger
from shoudan_kit.rpc.messages import AUTHORIZATION, CALLED_FROM
from shoudan_kit.rpc.refusal import Overloaded, ShuttingDown, refused_from_proto, refused_from_rpc
from shoudan_kit.tracing import carried
from shoudan_kit.tracing.trace import Trace

# Items together stay well below the largest gRPC message; a large one counts as many.
BATCH_BYTES_MAX: Final = 8 * 2**20
_Item = tuple[Message, Trace | None]
# Refusals of services that say nothing of the request, which is made again.
NO_REFUSAL: Final = {
    "ERROR_REASON_OVERLOADED": GatewayError.BUSY,
    "ERROR_REASON_SHARD_AWAY": GatewayError.NO_ANSWER,
}

_log = get_logger("gateway.backend")


@dataclass(frozen=True, slots=True)
class Types:
    """The messages of one RPC, found by its name."""

    service: str  # ours, such as "order"
    path: str
    request: type[Message]
    answer: type[Message]


def types_of(method: str) -> Types:
    """What the contract says of "<package>.<Service>/<Rpc>"; its module must have been imported."""
    service_name, _, name = method.partition("/")
    rpc = Default().FindServiceByName(service_name).methods_by_name[name]
    package = service_name.split(".")[1]
    return Types(
        service="erp_ingest" if package == "erp" else package,
        path=f"/{method}",
        request=GetMessageClass(rpc.input_type),
        answer=GetMessageClass(rpc.output_type),
    )


def item_types(call: Batch) -> tuple[type[Message], type[Message]]:
    """The messages of one item of a batch and of its result."""
    types = types_of(call.method)
    item, result = _fields(types.request)[call.items], _fields(types.answer)["results"]
    return GetMessageClass(item.message_type), GetMessageClass(result.message_type)


def _fields(message: type[Message]) -> Mapping[str, Any]:
    return message.DESCRIPTOR.fields_by_name


class Backend:
    """`await backend(call, message)` gives the answer or raises Refused or Problem."""

    def __init__(self, settings: GatewaySettings, channel: Callable[[str], aio.Channel]) -> None:
        self._settings, self._channel = settings, channel
        self._batches: dict[str, Coalescer[_Item, Message]] = {}
        self._stubs: dict[str, Callable[..., Any]] = {}

    async def __call__(self, call: Call, message: Message) -> Message:
        """The answer to one message. Raises Refused, and Problem when the service did not answer."""
        if isinstance(call, Batch):
            gather = self._batches.get(call.method) or self._gather(call)
            try:
                return await gather((message, carried.current()))
            except (Overloaded, ShuttingDown):
                raise Problem(GatewayError.BUSY) from None
        return await self._send(call.method, message)

    async def hand_on(
        self, call: Call, message: Message, remote: str, authorization: str
    ) -> Message:
        """The same for who called the internal port, so that the service knows it; by itself, in no batch.

        `authorization` is an operator's token, or empty.
        """
        token = ((AUTHORIZATION, authorization),) if authorization else ()
        metadata = (*carried.call_metadata(), *token, (CALLED_FROM, remote))
        if not isinstance(call, Batch):
            return await self._send(call.method, message, metadata)
        request = types_of(call.method).request(**{call.items: [message]})
        answer = await self._send(call.method, request, metadata)
        outcome = _outcome(answer.results[0])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def file(self, call: Stream, message: Message) -> File:
        """A file whose first piece has come. Raises Refused, and Problem when the service did not answer."""
        types = types_of(call.method)
        stub = self._channel(types.service).unary_stream(
            types.path,
            request_serializer=types.request.SerializeToString,
            response_deserializer=types.answer.FromString,
        )
        timeout_s = self._settings.download_s
        answers: Any = stub(message, timeout=timeout_s, metadata=carried.call_metadata())
        parts = aiter(answers)
        try:
            first = await anext(parts, None)
        except aio.AioRpcError as error:
            raise _problem(call.method, error) from None
        if first is None:
            return File(0, _pieces(answers, parts, b""))
        return File(first.total_bytes, _pieces(answers, parts, first.body))

    async def aclose(self) -> None:
        """Answer everything that was taken."""
        for gather in self._batches.values():
            await gather.aclose()

    def _gather(self, call: Batch) -> Coalescer[_Item, Message]:
        settings, request = self._settings, types_of(call.method).request
        unit = BATCH_BYTES_MAX // settings.batch_size_max

        async def run(items: Sequence[_Item]) -> Sequence[Message | Exception]:
            message = request(**{call.items: [item for item, _ in items]})
            answer = await self._send(call.method, message, _traces(items))
            return [_outcome(result) for result in answer.results]

        gather = self._batches[call.method] = Coalescer(
            run,
            name=call.method.rpartition("/")[2],
            size_max=settings.batch_size_max,
            linger_s=settings.batch_linger_s,
            in_flight_max=settings.batches_in_flight_max,
            waiting_max=settings.batch_waiting_max,
            weight_of=lambda item: 1 + item[0].ByteSize() // unit,
        )
        return gather

    async def _send(
        self, method: str, message: Message, metadata: carried.Metadata | None = None
    ) -> Any:
        stub = self._stubs.get(method) or self._stub(method)
        metadata = carried.call_metadata() if metadata is None else metadata
        try:
            return await stub(message, timeout=self._settings.rpc_deadline_s, metadata=metadata)
        except aio.AioRpcError as error:
            raise _problem(method, error) from None

    def _stub(self, method: str) -> Callable[..., Any]:
        types = types_of(method)
        stub = self._stubs[method] = self._channel(types.service).unary_unary(
            types.path,
            request_serializer=types.request.SerializeToString,
            response_deserializer=types.answer.FromString,
        )
        return stub


async def _pieces(answers: Any, parts: AsyncIterator[Any], first: bytes) -> AsyncIterator[bytes]:
    """The pieces of a file, raises grpc.RpcError; a stream not taken to its end is cancelled."""
    try:
        yield first
        async for one in parts:
            yield one.body
    finally:
        answers.cancel()


def _traces(items: Sequence[_Item]) -> carried.Metadata:
    """The traces of a batch, by the positions of its items; a lone call carries its own."""
    if len(items) == 1:
        return carried.metadata_of({}, items[0][1])
    traces = {
        f"{carried.ITEM}{index}": one for index, (_, one) in enumerate(items) if one is not None
    }
    return carried.metadata_of(traces, None)


def _outcome(result: Any) -> Message | Exception:
    if result.HasField("refusal"):
        refused = refused_from_proto(result.refusal)
        known = NO_REFUSAL.get(refused.reason)
        return refused if known is None else Problem(known)
    return result


def _problem(method: str, error: aio.AioRpcError) -> Exception:
    """A refusal as it is; otherwise whether anything can have happened, and one log line."""
    refused = refused_from_rpc(cast("grpc.RpcError", error))
    if refused is not None and refused.reason not in NO_REFUSAL:
        return refused
    busy = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    _log.warning("call_failed", method=method, code=error.code().name)
    return Problem(GatewayError.BUSY if busy else GatewayError.NO_ANSWER)
