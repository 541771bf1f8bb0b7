"""What careless and hostile senders cannot do: take places of others, be logged as errors of ours."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from shoudan.order.v1 import catalogue_service_pb2 as catalogue
from shoudan_gateway.bodies import UnreadBodies
from shoudan_gateway.connection import path_of
from shoudan_gateway.partners import load
from shoudan_gateway.protocol import Endpoint, GatewayError, Inbound, Problem
from shoudan_kit import log, metrics
from tests.gateway.test_gateway import ORDER
from tests.poll import eventually

HALF = (
    b"POST /order/request HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 100\r\n\r\n{"
)


@pytest.fixture
async def send() -> AsyncIterator[Any]:
    """`await send(port, data)`: a raw connection, from any loopback address; closed at the end."""
    opened: list[asyncio.StreamWriter] = []

    async def start(port: int, data: bytes, source: str = "127.0.0.1") -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        opened.append(writer)
        writer.write(data)
        return reader, writer

    yield start
    for writer in opened:
        writer.transport.abort()
    for writer in opened:
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def answered(reader: asyncio.StreamReader) -> tuple[int, Any]:
    """Status and body of one answer that says its length."""
    async with asyncio.timeout(10):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.partition(":")[2])
            for line in head.splitlines()
            if line.lower().startswith("content-length")
        )
        body = await reader.readexactly(length)
    assert "aiohttp" not in head
    try:
        return int(head.split()[1]), json.loads(body)
    except ValueError:
        return int(head.split()[1]), body


@pytest.fixture
def lines():
    """The lines logged so far; stdout again afterwards."""
    stream = io.BytesIO()
    log.setup("gateway", "info", stream)
    yield lambda: [orjson.loads(line) for line in stream.getvalue().splitlines()]
    log.setup("gateway", "info")


async def test_bodies_that_never_come_take_no_partners_place(send, open_gateway) -> None:
    front = await open_gateway(
        requests_in_flight_max=4, unread_bodies_max=20, unread_bodies_per_address_max=12
    )
    [await send(front.port, HALF, f"127.0.0.{2 + at % 3}") for at in range(60)]
    for at in range(5):
        number = {**ORDER, "request_no": f"r{at}"}
        assert (await front.ask("/order/request", params=number))[0] == 200
        assert (await front.ask("/order/request", "POST", data=number))[0] == 200
    # A body that arrives in pieces finds a place, too, although others hold all of them.
    body = json.dumps({**ORDER, "request_no": "slow"}).encode()
    head = HALF.replace(b"100", str(len(body)).encode())
    reader, writer = await send(front.port, head)
    writer.write(body[1:])
    assert (await answered(reader))[0] == 200


async def test_the_sender_of_no_body_is_told_so_in_time(send, open_gateway) -> None:
    front = await open_gateway(body_wait_s=0.2)
    reader, _writer = await send(front.port, HALF)
    status, body = await answered(reader)
    assert (status, body["code"]) == (408, 408)
    assert await reader.read() == b""


async def test_one_address_with_too_many_unread_bodies_is_asked_to_wait(send, open_gateway) -> None:
    front = await open_gateway(unread_bodies_per_address_max=2)
    half = [await send(front.port, HALF) for _ in range(3)]
    status, _ = await answered(half[2][0])
    assert status == 429


async def test_the_busiest_sender_loses_its_oldest_body_first() -> None:
    unread = UnreadBodies(3, 3)
    others = [asyncio.timeout(60) for _ in range(4)]
    unread.enter("busy", (newer := others[0]))
    oldest = asyncio.timeout(60)

    async def read_the_oldest() -> None:
        async with oldest:
            unread.leave("busy", newer)
            unread.enter("busy", oldest)
            unread.enter("busy", newer)
            unread.enter("a", others[1])
            unread.enter("b", others[2])
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await read_the_oldest()
    assert len(unread) == 3
    unread.leave("busy", oldest)  # it has no place to give back any more
    assert len(unread) == 3
    with pytest.raises(Problem) as failure:  # everybody has one: nobody is the busiest
        unread.enter("a", others[3])
    assert failure.value.error is GatewayError.BUSY


async def test_connections_of_one_address_are_bounded_and_others_are_served(
    send, open_gateway
) -> None:
    front = await open_gateway(connections_per_address_max=3)
    before = metrics.HTTP_CONNECTIONS_REFUSED()._value.get()
    held = [await send(front.port, b"GET", "127.0.0.9") for _ in range(3)]
    reader, _ = await send(front.port, b"", "127.0.0.9")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    assert metrics.HTTP_CONNECTIONS_REFUSED()._value.get() == before + 1
    assert (await front.ask("/order/request", params=ORDER))[0] == 200
    held[0][1].transport.abort()

    async def free() -> bool:
        reader, _ = await send(front.port, b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", "127.0.0.9")
        with contextlib.suppress(ConnectionError):
            return b"404" in await reader.read(64)
        return False

    await eventually(free)


def rendered(body: Any) -> Any:
    return json.loads(body) if isinstance(body, bytes) and body[:1] in b"{[" else body


PLACES = {
    "channel": "/order/nothing",
    "payserver": "/api/v1.0.0/nothing",
    "dingdang": "/paycgi/nothing",
    "chinaums": "/v1/netpay/nothing",
    "wangdian": "/pushData/nothing",
    "vds": "/vds/nothing",
}
PARAMETER_ERRORS = {
    "two lengths": b"POST %s HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "bad header": b"GET %s HTTP/1.1\r\nna me: 15012345678\r\n\r\n",
    "both lengths": b"POST %s HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "control byte": b"GET %s?sign=secret&phone=15012345678\x01 HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", PARAMETER_ERRORS)
async def test_malformed_http_is_refused_in_the_protocols_shape_and_not_logged_as_an_error(
    send, front, lines, name, place
) -> None:
    path = PLACES[place]
    expected = load()[place].refuse(Problem(GatewayError.NOT_HTTP), Inbound("GET", path), False)
    reader, _writer = await send(front.port, PARAMETER_ERRORS[name] % path.encode())
    status, body = await answered(reader)
    assert status == expected.status
    assert body == rendered(expected.body)
    if place == "channel":
        assert body == {"code": 400, "message": "请求格式错误", "data": "error:请求格式错误"}
    assert {line["level"] for line in lines()} == {"info"}
    assert not {"15012345678", "secret"} & set("".join(map(str, lines())).split())
    assert "15012345678" not in str(lines())
    assert "secret" not in str(lines())


async def test_a_head_beyond_the_parsers_limits_is_refused_in_the_protocols_shape(
    send, front
) -> None:
    long = b"GET /order/request?pad=" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    reader, _writer = await send(front.port, long)
    status, body = await answered(reader)
    assert (status, body["code"]) == (431, 431)


@pytest.mark.parametrize("name", PLACES)
async def test_an_unknown_path_is_refused_in_the_shape_of_its_protocol(front, name) -> None:
    partner = load()[name]
    path = PLACES[name]
    expected = partner.refuse(Problem(GatewayError.PATH_UNKNOWN), Inbound("GET", path), False)
    status, body = await front.ask(path)
    assert status == expected.status
    assert body == rendered(expected.body)


async def test_a_chunked_body_that_is_none_is_the_senders_fault(send, front, lines) -> None:
    head = b"POST /order/request HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    reader, writer = await send(front.port, head)
    writer.write(b"zz\r\nnope\r\n")
    status, body = await answered(reader)
    assert (status, body["code"]) == (400, 400)
    assert not [line for line in lines() if line["level"] == "error"]


async def test_a_sender_that_hangs_up_is_no_failure_of_ours(send, front, lines) -> None:
    _, writer = await send(front.port, HALF)
    writer.transport.abort()

    def counted(code: str) -> float:
        text = metrics.exposition().decode()
        name = f'shoudan_http_seconds_count{{code="{code}",route="/order/request"}}'
        found = [line for line in text.splitlines() if line.startswith(name)]
        return float(found[0].split()[1]) if found else 0

    await eventually(lambda: counted("499"))
    assert not [line for line in lines() if line["level"] == "error"]
    assert counted("500") == 0


async def test_a_very_long_value_makes_a_short_log_line(open_gateway, lines) -> None:
    front = await open_gateway(access_log="all")
    number = {**ORDER, "request_no": "x" * 1_000_000}
    assert (await front.ask("/order/request", "POST", data=number))[0] == 406
    (line,) = [line for line in lines() if line["event"] == "request"]
    assert line["request_no"] == "x" * 64


RAW = ["{path}?a=%ff", "{path}?x=\xff&channel_no=\xff", "{path}/\xff"]


async def test_bytes_that_are_no_text_never_break_an_endpoint(send, front, lines) -> None:
    """Every outer endpoint, raw bytes in path, query and Authorization: never a 5xx of ours."""
    for partner in load().values():
        if partner.role == "internal":
            continue
        for endpoint in partner.endpoints:
            if not isinstance(endpoint, Endpoint):
                continue
            method = min(endpoint.methods)
            for form in RAW:
                path = form.format(path=endpoint.path.replace("{", "").replace("}", "\xff"))
                head = (
                    f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\r\n"
                    "X-Forwarded-For: \xff\r\nX-Sign: \xff\r\nContent-Length: 0\r\n\r\n"
                )
                reader, _writer = await send(front.port, head.encode("latin-1"))
                status, _ = await answered(reader)
                assert status not in {500, 502}, (path, status)
    assert not [line for line in lines() if line["level"] == "error"]


async def test_a_token_of_other_bytes_is_a_wrong_token(send, open_gateway) -> None:
    front = await open_gateway(profile="prod")
    reader, _writer = await send(
        front.port,
        b"GET /api/v1.0.0/payModes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xff.a.b\r\n\r\n",
    )
    status, body = await answered(reader)
    assert status == body["statusCode"] == 401


async def test_an_unsigned_caller_cannot_use_up_a_channels_rate(
    open_gateway, neighbours, monkeypatch
) -> None:
    monkeypatch.setenv("SHOUDAN_SECRET_CHANNEL_SIGNED", "k" * 32)
    order, _, _ = neighbours
    front = await open_gateway(channel_rate_per_s=0.001, channel_burst=1)
    order.channels = [
        catalogue.DownChannel(
            channel_no="signed", enabled=True, auth_mode="md5", secret_name="channel-signed"
        )
    ]
    await front.read_rules()
    query = {"channel_no": "signed", "request_no": "nope"}
    for _ in range(5):
        assert (await front.ask("/order/query", params={**query, "sign": "0" * 32}))[0] == 403
    from shoudan_signing import channel as signing

    good = {**query, "sign": signing.md5_sign(query, b"k" * 32)}
    assert (await front.ask("/order/query", params=good))[0] == 404
    assert (await front.ask("/order/query", params=good))[0] == 429


@pytest.mark.parametrize(
    ("head", "path"),
    [
        (b"GET /a/b?c=1 HTTP/1.1\r\n", "/a/b"),
        (b"GET /a", "/a"),
        (b"nonsense", ""),
        (b"GET http://x/a HTTP/1.1", ""),
        (b"", ""),
        (b"\x16\x03\x01 /\xff", "/\ufffd"),
    ],
)
def test_the_path_of_a_broken_head_is_found_when_it_is_there(head: bytes, path: str) -> None:
    assert path_of(head) == path
