"""Whatever a field holds, no method of these services answers INTERNAL or UNKNOWN."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor as F
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from shoudan_kit.config import Secret
from shoudan_kit.service import OPERATIONS, Process

SERVICES = ("order", "delivery", "erp_ingest")
AWAY = "127.0.0.1:1"
NEIGHBOURS = {
    "order": {"pay_target": AWAY, "delivery_target": AWAY},
    "delivery": {"order_target": AWAY, "public_url": f"http://{AWAY}"},
}
DEPTH_MAX = 4
SIDE_BY_SIDE = 16
CALL_S = 6
WRONG = {
    F.CPPTYPE_STRING: ["\0", "x" * 70_000, "-1"],
    F.CPPTYPE_INT32: [2**31 - 1, -(2**31)],
    F.CPPTYPE_INT64: [2**63 - 1, -(2**63)],
    F.CPPTYPE_UINT32: [2**32 - 1],
    F.CPPTYPE_UINT64: [2**64 - 1],
    F.CPPTYPE_ENUM: [2**31 - 1],
    F.CPPTYPE_DOUBLE: [float("nan"), 1e308],
}
PLAIN = {F.CPPTYPE_STRING: "1", F.CPPTYPE_BOOL: True}
BUGS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}


def put(message: Any, field: F, value: Any) -> None:
    if field.type == F.TYPE_BYTES:
        value = value.encode()
    if field.is_repeated:
        getattr(message, field.name)[:] = [value]
    else:
        setattr(message, field.name, value)


def is_map(field: F) -> bool:
    return bool(field.message_type.GetOptions().map_entry)


def filled(message: Any, depth: int = 0) -> Any:
    """Every field set to something plain, of alternatives the first."""
    for field in message.DESCRIPTOR.fields:
        one_of = field.containing_oneof
        if one_of is not None and one_of.fields[0] is not field:
            continue
        if field.cpp_type != F.CPPTYPE_MESSAGE:
            put(message, field, PLAIN.get(field.cpp_type, 1))
        elif depth <= DEPTH_MAX and not is_map(field):
            held = getattr(message, field.name)
            below = held.add() if field.is_repeated else held
            below.SetInParent()
            filled(below, depth + 1)
    return message


def below(message: Any, field: F) -> Any:
    held = getattr(message, field.name)
    return held[0] if field.is_repeated else held


def paths(message: Any, way: tuple[F, ...] = ()) -> Iterator[tuple[F, ...]]:
    """The way to every field that holds a value."""
    for field, held in message.ListFields():
        if field.cpp_type != F.CPPTYPE_MESSAGE:
            yield (*way, field)
        elif not is_map(field):
            yield from paths(held[0] if field.is_repeated else held, (*way, field))


def cases(kind: type[Message]) -> Iterator[tuple[str, Message]]:
    """A plain request, and for each of its fields the same with that one wrong."""
    plain = filled(kind())
    yield "plain", plain
    for way in paths(plain):
        for value in WRONG.get(way[-1].cpp_type, []):
            made: Any = kind()
            made.CopyFrom(plain)
            at = made
            for field in way[:-1]:
                at = below(at, field)
            put(at, way[-1], value)
            yield f"{'.'.join(field.name for field in way)} = {value!r:.20}", made


async def code_of(channel: aio.Channel, path: str, method: Any, body: bytes) -> Any:
    """The code of one call; None when it answered."""
    try:
        if not method.server_streaming:
            await channel.unary_unary(path)(body, timeout=CALL_S)
            return None
        async for _ in channel.unary_stream(path)(body, timeout=CALL_S):
            pass
    except aio.AioRpcError as error:
        return error.code()
    return None


def methods(process: Process[Any]) -> Iterator[tuple[str, Any]]:
    for name in (*process.running.names, OPERATIONS):
        for method in Default().FindServiceByName(name).methods:
            yield f"/{name}/{method.name}", method


async def started(service: str, url: str) -> Process[Any]:
    (entry,) = entry_points(group="shoudan.services", name=service)
    declared: Any = entry.load()
    options = {"profile": "test", "database_url": Secret(url), "drain_s": 1}
    process = Process(declared, declared.settings(**options, **NEIGHBOURS.get(service, {})))
    await process.start()
    return process


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("service", SERVICES)
async def test_no_field_of_any_method_leads_to_internal_or_unknown(service, new_database):
    process = await started(service, (await new_database(service)).service)
    wrong: list[str] = []
    places = asyncio.Semaphore(SIDE_BY_SIDE)
    async with aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:

        async def ask(path: str, method: Any, what: str, request: bytes) -> None:
            async with places:
                code = await code_of(channel, path, method, request)
            if code in BUGS or (
                what == "unreadable" and code is not grpc.StatusCode.INVALID_ARGUMENT
            ):
                wrong.append(f"{path}: {what}: {code}")

        calls = []
        for path, method in methods(process):
            calls.append(ask(path, method, "unreadable", b"\xff\xff"))
            for what, request in cases(GetMessageClass(method.input_type)):
                calls.append(ask(path, method, what, request.SerializeToString()))
        await asyncio.gather(*calls)
    await process.stop()
    assert wrong == []
