"""Whatever a field holds, whether or not the database is there, no method answers INTERNAL or UNKNOWN;
and a bad item of a batch is refused alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor as F
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from shoudan.delivery.v1 import delivery_service_pb2 as delivery
from shoudan.delivery.v1.delivery_service_pb2_grpc import SupplierServiceStub
from shoudan_identity.bootstrap import first_admin
from shoudan_kit.audit_log.servicer import NAME as AUDIT_LOG
from shoudan_kit.config import Secret
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.secrets.tokens import ROLES
from shoudan_kit.service import OPERATIONS, Process
from tests.order.harness import catalogue_pb, inboxes, running
from tests.valid import REFUSED, VALID, WITHOUT

SERVICES = ("order", "delivery", "erp_ingest", "pay", "identity", "finance")
BATCHING = ("order", "delivery", "erp_ingest", "pay")
AWAY = "127.0.0.1:1"
NEIGHBOURS: dict[str, dict[str, Any]] = {
    "identity": {
        "system_id": "test-system",
        "oidc_issuer": f"http://{AWAY}",
        "oidc_client_id": "shoudan",
    },
    "order": {"pay_target": AWAY, "delivery_target": AWAY},
    "finance": {"pay_target": AWAY, "order_target": AWAY, "delivery_target": AWAY},
    "delivery": {"order_target": AWAY, "public_url": f"http://{AWAY}"},
}
DEPTH_MAX = 4
SIDE_BY_SIDE = 16
CALL_S = 10  # a transaction that finds no database is tried again for up to 7.5 s
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


async def bearer(process: Process[Any]) -> Any:
    """The metadata of an operator's calls, where a service asks for it: the first admin's."""
    if process.service.name != "identity":
        return ()
    await first_admin(process.running.context)
    signer = await process.running.context.keys.signer()
    return (("authorization", f"Bearer {signer.issue('1', 'admin', ROLES)}"),)


async def code_of(
    channel: aio.Channel, path: str, method: Any, body: bytes, metadata: Any = ()
) -> Any:
    """The code of one call; None when it answered."""
    try:
        if not method.server_streaming:
            await channel.unary_unary(path)(body, timeout=CALL_S, metadata=metadata)
            return None
        async for _ in channel.unary_stream(path)(body, timeout=CALL_S, metadata=metadata):
            pass
    except aio.AioRpcError as error:
        return error.code()
    return None


def methods(process: Process[Any]) -> Iterator[tuple[str, Any]]:
    for name in (*process.running.names, OPERATIONS, AUDIT_LOG):
        for method in Default().FindServiceByName(name).methods:
            yield f"/{name}/{method.name}", method


async def started(service: str, url: str, **more: Any) -> Process[Any]:
    (entry,) = entry_points(group="shoudan.services", name=service)
    declared: Any = entry.load()
    options = {
        "profile": "test",
        "listen_port": 0,
        "database_url": Secret(url),
        "drain_s": 1,
        **more,
    }
    process = Process(declared, declared.settings(**options, **NEIGHBOURS.get(service, {})))
    await process.start()
    return process


@asynccontextmanager
async def serving(
    service: str, url: str, **more: Any
) -> AsyncGenerator[tuple[Process[Any], aio.Channel]]:
    process = await started(service, url, **more)
    try:
        async with aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            yield process, channel
    finally:
        await process.stop()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("service", SERVICES)
async def test_no_field_of_any_method_leads_to_internal_or_unknown(service, new_database):
    wrong: list[str] = []
    places = asyncio.Semaphore(SIDE_BY_SIDE)
    async with serving(service, (await new_database(service)).service) as (process, channel):
        operator = await bearer(process)

        async def ask(path: str, method: Any, what: str, request: bytes) -> None:
            async with places:
                code = await code_of(channel, path, method, request, operator)
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
    assert wrong == []


INJECTED = (
    "'); DELETE FROM witness; --",
    "' OR '1'='1",
    "1; DROP TABLE witness CASCADE",
    "\\'; DROP TABLE witness; --",
    '"; DROP TABLE witness; --',
    "$1::text); DROP TABLE witness; --",
)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("service", SERVICES)
async def test_no_text_of_a_caller_becomes_sql(service, new_database, monkeypatch):
    urls = await new_database(service)
    owner = await asyncpg.connect(urls.owner.replace("+asyncpg", ""))
    tables = "SELECT relname, relkind FROM pg_class ORDER BY relname, relkind"
    try:
        await owner.execute(
            "CREATE TABLE witness (a int); INSERT INTO witness VALUES (1); GRANT ALL ON witness TO PUBLIC"
        )
        before = await owner.fetch(tables)
        async with serving(service, urls.service) as (process, channel):
            operator = await bearer(process)
            for text in INJECTED:
                monkeypatch.setitem(PLAIN, F.CPPTYPE_STRING, text)
                for path, method in methods(process):
                    for valid in (lambda _: None, VALID.get(path.rpartition(".")[2])):
                        if valid is None:
                            continue
                        request = filled(GetMessageClass(method.input_type)())
                        valid(request)
                        code = await code_of(
                            channel, path, method, request.SerializeToString(), operator
                        )
                        assert code not in BUGS, (path, text, code)
        assert await owner.fetchval("SELECT count(*) FROM witness") == 1
        assert await owner.fetch(tables) == before
    finally:
        await owner.close()


class Line:
    """A way to PostgreSQL's socket that can be cut: sessions end, and none begins."""

    def __init__(self, socket: Path, folder: Path) -> None:
        self._socket, self._mine = socket, folder / socket.name
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._carry, self._mine)

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        self._mine.unlink(missing_ok=True)
        for one in self._open:
            one.transport.abort()

    async def _carry(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        there, on = await asyncio.open_unix_connection(str(self._socket))
        ends = {back, on}
        self._open |= ends
        try:
            await asyncio.gather(_copy(here, on), _copy(there, back), return_exceptions=True)
        finally:
            self._open -= ends
            for one in ends:
                one.close()


async def _copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    while data := await source.read(2**16):
        to.write(data)
        await to.drain()
    to.close()


async def prepare(service: str, urls: DatabaseUrls) -> None:
    """What a process must find at its start, so that a request is not refused from memory."""
    if service == "order":
        async with inboxes() as inbox, running(urls, inbox) as harness:
            endpoint = catalogue_pb.NotifyEndpoint(
                endpoint_no="e1", channel_no="test", url="http://127.0.0.1:1/", enabled=True
            )
            await harness.apply(notify_endpoints=[endpoint])
    if service == "delivery":
        async with serving(service, urls.service) as (_, channel):
            codes = [
                delivery.Supplier.ErrorCode(error_code=f"R_{n}", deal_code=n) for n in (0, 10, 90)
            ]
            given = delivery.Supplier(
                channel_no="up",
                service_class=10,
                request_url="http://127.0.0.1:9/",
                enabled=True,
                error_codes=codes,
            )
            trusted = delivery.Supplier(notify_without_token=True, notify_networks=["192.0.2.0/24"])
            trusted.MergeFrom(given)
            trusted.channel_no = "trusted"
            stub: Any = SupplierServiceStub(channel)
            both = delivery.ApplySuppliersRequest(suppliers=[given, trusted], by="t")
            await stub.ApplySuppliers(both)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("service", SERVICES)
async def test_every_method_answers_unavailable_while_the_database_is_away(
    service, new_database, postgres, tmp_path
):
    urls = await new_database(service)
    await prepare(service, urls)
    socket = Path(postgres.socket_dir) / f".s.PGSQL.{postgres.port}"
    line = Line(socket, tmp_path)
    await line.start()
    said: dict[str, str] = {}
    url = urls.service.replace(str(postgres.socket_dir), str(tmp_path))
    more = {"ledger_statements_dir": tmp_path} if service == "pay" else {}
    async with serving(service, url, **more) as (process, channel):
        operator = await bearer(process)
        await line.cut()

        async def ask(path: str, method: Any) -> None:
            name = path.rpartition(".")[2]
            request = filled(GetMessageClass(method.input_type)())
            VALID.get(name, lambda message: None)(request)
            code = await code_of(channel, path, method, request.SerializeToString(), operator)
            said[name] = "answered" if code is None else code.name

        # All at once: each waits for the database as long as a call may.
        await asyncio.gather(*(ask(*one) for one in methods(process)))
    known = {**dict.fromkeys(WITHOUT, "answered"), **REFUSED}
    expected = {name: known.get(name, "UNAVAILABLE") for name in said}
    if (
        process.app.clock_watch is None
    ):  # identity keeps the machine's time, and asks no database for it
        expected["OperationsService/GetClock"] = "answered"
        expected["OperationsService/AdvanceClock"] = "FAILED_PRECONDITION"
    assert said == expected


def batches(process: Process[Any]) -> Iterator[tuple[str, Any, str]]:
    """Methods whose contract has one result, or refusal, for each item; with the field of their items."""
    for path, method in methods(process):
        results = method.output_type.fields_by_name.get("results")
        if results is not None and "refusal" in getattr(results.message_type, "fields_by_name", ()):
            (items,) = (one.name for one in method.input_type.fields if one.is_repeated)
            yield path, method, items


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("service", BATCHING)
async def test_a_bad_item_of_a_batch_is_refused_alone(service, new_database):
    wrong: list[str] = []
    asked = 0
    async with serving(service, (await new_database(service)).service) as (process, channel):
        for path, method, items in batches(process):
            answer = GetMessageClass(method.output_type)

            async def outcomes(request: Any, path: str = path, answer: Any = answer) -> list[str]:
                body = await channel.unary_unary(path)(request.SerializeToString(), timeout=CALL_S)
                results = answer.FromString(body).results
                return [
                    one.refusal.reason if one.HasField("refusal") else "taken" for one in results
                ]

            (_, plain), *others = cases(GetMessageClass(method.input_type))
            (alone,) = await outcomes(plain)
            for what, bad in others:
                if not what.startswith(f"{items}."):
                    continue
                asked += 1
                getattr(bad, items).extend(getattr(plain, items))
                try:
                    _, other = await outcomes(bad)
                except aio.AioRpcError as error:
                    wrong.append(f"{path}: {what}: the whole batch: {error.code().name}")
                    continue
                if other != alone:
                    wrong.append(f"{path}: {what}: the other was {other}, alone {alone}")
    assert wrong == []
    assert asked > 0
