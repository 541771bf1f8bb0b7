"""`shoudan bench erp`: trade pushes per second over HTTP, each then checked to be kept byte for byte."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

from grpc import aio

from shoudan.erp.v1 import erp_service_pb2 as pb
from shoudan.erp.v1 import erp_service_pb2_grpc as stubs
from shoudan_cli.bench_parts import cpu_s, environ, log_of, migrate, preallocate_wal, process
from shoudan_cli.clients import Failed
from shoudan_kit.embedded import Nats, Postgres
from shoudan_kit.process.child import tail
from shoudan_kit.process.polling import until
from shoudan_kit.process.ports import free_port
from shoudan_kit.rpc.client import connect

SENDER: Final = "BudweiserTmall"
CONNECTIONS: Final = 256
WARM_S: Final = 2.0
START_S_MAX: Final = 60.0
CHECK_AT_ONCE: Final = 500
HOST: Final = "127.0.0.1"
STORED: Final = b'"code":"0"'

# The documented push, but for its numbers and the person, who is invented.
_TRADE: Final = {
    "from_type": "淘宝",
    "msg_id": "@message@",
    "data": {
        "total_weight": "7.0000",
        "receiver_address": "漫享时光海景客栈@tid@",
        "trade_memo": "",
        "created": "2017-04-21 13:52:40",
        "tid": "@tid@",
        "status": "TRADE_FINISHED",
        "total_goods_fee": "18.0000",
        "receiver_city": "460200",
        "pay_time": "2017-04-21 13:52:40",
        "shipping_fee": "0.0000",
        "receiver_mobile": "150@phone@",
        "receiver_name": "大海",
        "seller_uname": "绿岛",
        "total_trade_fee": 18,
        "receiver_state": "460000",
        "receiver_district": "海南省 三亚市",
        "orders_number": "2",
        "payment_lists": {"buy_name": "巴黎新疆安康", "buyer_account": ""},
        "orders": {
            "iid": "5",
            "title": "",
            "oid": "A@tid@",
            "refund_status": "0",
            "orders_items": {
                "sale_price": 0,
                "sku_properties": "",
                "bn": "1HSD211-1-A1",
                "num": "1.0000",
                "price": "18.0000",
                "sku_id": "sdfffds",
                "total_item_fee": 0,
            },
        },
    },
}
_TEMPLATE: Final = json.dumps(_TRADE, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Figures:
    """What `--json` prints, with exactly these keys. CPU is that of the system without the client."""

    pushes_per_s: float
    cpu_us_per_push: float
    stored_equals_acknowledged: bool


@dataclass(slots=True)
class Load:
    """What the senders share."""

    prefix: str = field(default_factory=lambda: secrets.token_hex(3))
    sent: int = 0
    acknowledged: list[bytes] = field(default_factory=list[bytes])  # digests of bodies
    refused: list[bytes] = field(default_factory=list[bytes])

    def next_body(self) -> bytes:
        """A push with a number of its own."""
        self.sent += 1
        number = f"{self.sent:08d}"
        text = _TEMPLATE.replace("@tid@", f"{self.prefix}{number}")
        return text.replace("@phone@", number).replace("@message@", number).encode()


class Sender(asyncio.Protocol):
    """One keep-alive connection that pushes again as soon as it is answered."""

    def __init__(self, load: Load, stop: float) -> None:
        self._load, self._stop = load, stop
        self._transport: asyncio.Transport | None = None
        self._body, self._answer = b"", b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._push()

    def data_received(self, data: bytes) -> None:
        """An answer, or a part of one: the gateway always sends its length."""
        self._answer += data
        head, found, rest = self._answer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        if STORED in rest.replace(b" ", b""):
            self._load.acknowledged.append(hashlib.sha256(self._body).digest())
        else:
            self._load.refused.append(rest[:200])
        self._answer = b""
        self._push()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, wanted or not."""
        if not self.done.done():
            self.done.set_result(None)

    def _push(self) -> None:
        assert self._transport is not None
        if time.perf_counter() >= self._stop:
            self._transport.close()
            return
        self._body = self._load.next_body()
        head = f"POST /pushData?customerid={SENDER} HTTP/1.1\r\nHost: {HOST}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(self._body)}\r\n\r\n"
        self._transport.write(head.encode() + self._body)


async def bench(seconds: float, say: Callable[[str], None]) -> Figures:
    """Start PostgreSQL, NATS, ERP ingest and gateway as in production, push for `seconds`, stop them.

    Raises Failed when a service does not start or a push is refused.
    """
    async with await Postgres.start() as postgres, await Nats.start() as nats:
        urls = (await postgres.provision(["erp_ingest"]))["erp_ingest"]
        home = postgres.home.path
        erp_port, http_port = free_port(), free_port()
        env = environ("erp_ingest", urls, nats.url) | {
            "SHOUDAN_ERP_INGEST_LISTEN_PORT": str(erp_port),
            "SHOUDAN_GATEWAY_LISTEN_PORT": str(http_port),
            "SHOUDAN_GATEWAY_INTERNAL_PORT": "0",
            "SHOUDAN_GATEWAY_ERP_INGEST_TARGET": f"{HOST}:{erp_port}",
        }
        await migrate("erp_ingest", env, home)
        await preallocate_wal(postgres)
        async with (
            process("erp_ingest", env, home, "serve", "erp_ingest") as erp,
            process("gateway", env, home, "serve", "gateway") as gateway,
            _stub(erp_port) as stub,
        ):
            if not await until(lambda: _ready(stub, http_port), START_S_MAX):
                raise Failed(f"not ready:\n{tail(log_of('gateway', home))}")
            roots = [erp, gateway, postgres.pid, nats.pid]
            load, per_s, cpu_us = await _run(http_port, roots, seconds)
            say(f"{per_s:,.0f} pushes/s, {cpu_us:.0f} us CPU each")
            equal = await _kept(stub, load)
            say(f"{len(load.acknowledged):,} acknowledged, all kept byte for byte: {equal}")
    return Figures(round(per_s, 1), round(cpu_us, 1), equal)


async def _run(port: int, roots: Sequence[int], seconds: float) -> tuple[Load, float, float]:
    """Push; the first seconds are not counted."""
    load = Load()
    began = time.perf_counter()
    counted_from, stop = began + WARM_S, began + WARM_S + seconds
    loop = asyncio.get_running_loop()
    senders = [
        (await loop.create_connection(lambda: Sender(load, stop), HOST, port))[1]
        for _ in range(CONNECTIONS)
    ]
    await asyncio.sleep(max(0.0, counted_from - time.perf_counter()))
    cpu_before, done_before, at = cpu_s(roots), len(load.acknowledged), time.perf_counter()
    await asyncio.sleep(max(0.0, stop - time.perf_counter()))
    used, done = cpu_s(roots) - cpu_before, len(load.acknowledged) - done_before
    elapsed = time.perf_counter() - at
    await asyncio.wait([sender.done for sender in senders], timeout=30)
    if load.refused:
        raise Failed(f"a push was refused: {load.refused[0].decode(errors='replace')}")
    if not done:
        raise Failed("no push was answered in time")
    return load, done / elapsed, used * 1e6 / done


async def _kept(stub: Any, load: Load) -> bool:
    """Whether every acknowledged body is kept, stored and opens to the very same bytes."""
    digest = pb.CheckPushesRequest.Digest
    for start in range(0, len(load.acknowledged), CHECK_AT_ONCE):
        some = load.acknowledged[start : start + CHECK_AT_ONCE]
        digests = [digest(kind=pb.PUSH_KIND_TRADE, sender=SENDER, sha256=one) for one in some]
        answer = await stub.CheckPushes(pb.CheckPushesRequest(digests=digests))
        if not all(one.stored and one.intact for one in answer.results):
            return False
    return True


# ---------------------------------------------------------------- processes


@asynccontextmanager
async def _stub(port: int) -> AsyncGenerator[Any]:
    channel = connect(f"{HOST}:{port}")
    try:
        yield stubs.ErpServiceStub(channel)
    finally:
        await channel.close()


async def _ready(stub: Any, http_port: int) -> bool:
    try:
        await stub.ListQuarantined(pb.ListQuarantinedRequest(), timeout=2)
        _, writer = await asyncio.open_connection(HOST, http_port)
    except (aio.AioRpcError, OSError):
        return False
    writer.close()
    return True
