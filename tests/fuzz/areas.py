"""Bytes for the hand-written parsers, area by area: what coverage-guided fuzzing calls and has kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from shoudan_kit.http.connection import Connection
from tests.fuzz.test_parsers import HEAD, PARSERS, ROW

CORPUS = Path(__file__).parent / "corpus"
KINDS = ("", "application/json", "application/x-www-form-urlencoded", "text/xml; charset=gbk")
BODY_MAX = 4_096
PIECES_MAX = 4


class Wire(asyncio.Transport):
    """A transport that goes nowhere."""

    ended = False

    def write(self, data: Any) -> None:
        """The request."""

    def abort(self) -> None:
        self.ended = True

    close = abort

    def is_closing(self) -> bool:
        return self.ended

    def pause_reading(self) -> None:
        """An answer that is too fast."""

    resume_reading = pause_reading


class AtOnce:
    """A queue without any other connection."""

    def take(self, connection: Connection) -> None:
        connection.work()


def answer_of_a_server(data: bytes) -> None:
    """Whatever a server sends, in pieces: there is an answer or none, and nothing is raised."""
    loop = asyncio.new_event_loop()
    try:
        queue: Any = AtOnce()
        connection = Connection(loop, BODY_MAX, queue, lambda _: None)
        wire = Wire()
        connection.connection_made(wire)
        answer = connection.ask(b"GET / HTTP/1.1\r\n\r\n")
        size = max(len(data) // PIECES_MAX, 1)
        for at in range(0, len(data), size):
            if not wire.ended:
                connection.data_received(data[at : at + size])
        connection.connection_lost(None)
        assert answer.done(), "whoever asked waits without an end"
    finally:
        loop.close()


def text(data: bytes) -> str:
    """Any that UTF-8 can say."""
    return data.decode("utf-8", "replace")


def table(data: bytes) -> dict[str, str]:
    """Parameters."""
    return dict(pair.partition("=")[::2] for pair in text(data).split("&")[:20])


def typed(data: bytes) -> tuple[str, bytes]:
    """A body, and of what kind it says it is."""
    return KINDS[data[0] % len(KINDS)] if data else "", data[1:]


def request(data: bytes) -> tuple[str, bytes, str]:
    """A query and a body."""
    kind, rest = typed(data)
    query, _, body = rest.partition(b"\n")
    return query.decode("utf-8", "surrogateescape"), body, kind


def parsers(made: Callable[[bytes], Any], *names: str) -> list[Callable[[bytes], None]]:
    """These of the parsers, given what is made of bytes."""
    return [partial(_parsed, name, made) for name in names]


def _parsed(name: str, made: Callable[[bytes], Any], data: bytes) -> None:
    parser = PARSERS[name]
    with suppress(*parser.refusals):
        parser.call(made(data))


AREAS: Mapping[str, Sequence[Callable[[bytes], None]]] = {
    "http_client": [answer_of_a_server],
    "parameters": [
        *parsers(text, "query"),
        *parsers(bytes, "json parameters", "json document", "head", "json object", "repeated key"),
        *parsers(request, "request"),
    ],
    "signatures": [
        *parsers(text, "authorization", "open body sig", "open body moment", "open access token"),
        *parsers(text, "tsk", "tsk moment", "tvs", "webhook"),
        *parsers(table, "key signature", "channel md5", "channel hmac", "wdt signature"),
    ],
    "amounts": parsers(text, "yuan", "rate", "beijing time"),
    "urls": parsers(text, "url", "network"),
    "erp": parsers(bytes, "erp trades", "erp refunds"),
    "answers": [
        *parsers(typed, "supplier answer", "supplier fields"),
        *parsers(bytes, "notify answer"),
    ],
    "statements": parsers(bytes, *(name for name in PARSERS if name.startswith("statement "))),
}

# What is right, for each parser of an area: coverage-guided fuzzing begins there.
SAMPLES: Mapping[str, Sequence[bytes]] = {
    "http_client": [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.0 500 Oh\r\n\r\nto the end",
    ],
    "parameters": [b"a=1&b=%E9%87%91&c=", b'{"a":"1","b":["x",{"c":null}]}', b"\x01a=1\n{}"],
    "signatures": [b"a=1&sign=00&sign_type=MD5&timestamp=1796000000", b"Bearer a.b.c"],
    "amounts": [b"198.00001", b"0.97", b"2026-11-30 23:59:59"],
    "urls": [b"https://a.b:8443/c?d=e#f", b"10.0.0.0/8:443", b"http://[::ffff:10.0.0.1]:80/"],
    "erp": [
        b'{"data":[{"tid":"1","created":"2026-11-30 10:00:00","orders":[{"oid":"2","num":1}]}]}',
        b'{"refunds":[{"refund_id":"1","tid":"2","num":1,"amount":"3.5"}]}',
    ],
    "answers": [b'\x01{"code":"R_0000","order_no":"1","amount":"198","cards":[{"card_no":"1"}]}'],
    "statements": [(HEAD + ROW).encode(), (HEAD + ROW).encode("gbk")],
}


def tried(area: str, data: bytes) -> None:
    """The first byte says which parser of the area gets the rest."""
    calls = AREAS[area]
    calls[data[0] % len(calls) if data else 0](data[1:])


def kept(area: str) -> list[bytes]:
    """The inputs that are kept of an area, one on a line."""
    file = CORPUS / f"{area}.txt"
    lines = file.read_text("ascii").splitlines() if file.exists() else []
    return [one.encode("ascii").decode("unicode_escape").encode("latin-1") for one in lines]


def keep(area: str, inputs: Sequence[bytes]) -> None:
    """Write them."""
    lines = [one.decode("latin-1").encode("unicode_escape").decode("ascii") for one in inputs]
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{area}.txt").write_text("".join(f"{one}\n" for one in sorted(lines)), "ascii")
