"""Kept connections: one whole answer to one request, or the connection is not used again."""

import asyncio
import datetime as dt
import socket
import ssl
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shoudan_kit.http.client import BODY_BYTES_MAX, Answered, HttpClient, NoAnswer, NotSent
from shoudan_kit.http.connection import Connection
from shoudan_kit.limits.fair_queue import FairQueue
from tests.poll import eventually

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """A TCP server that answers each request with the next of its words and counts connections."""

    def __init__(self, *words, close=False):
        self.words, self.close = list(words), close
        self.connections, self.requests, self.gone = 0, [], 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.port = 0

    async def handle(self, reader, writer):
        self.connections += 1
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                await self.hold.wait()
                writer.write(self.words.pop(0) if len(self.words) > 1 else self.words[0])
                await writer.drain()
                if self.close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.gone += 1
            writer.close()


@asynccontextmanager
async def serving(peer, tls=None):
    server = await asyncio.start_server(peer.handle, "127.0.0.1", 0, ssl=tls)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()


@pytest.fixture
async def http():
    made = HttpClient("test", total_s=3, per_host_max=2)
    yield made
    await made.aclose()


def url(peer, scheme="http"):
    return f"{scheme}://127.0.0.1:{peer.port}/a"


async def test_calls_one_after_the_other_share_a_connection(http):
    async with serving(Peer(OK)) as peer:
        for _ in range(5):
            got = await http.send("GET", url(peer))
            assert isinstance(got, Answered)
            assert got.body == b"ok"
    assert peer.connections == 1


async def test_more_calls_than_connections_wait_and_are_all_answered(http):
    async with serving(Peer(OK)) as peer:
        got = await asyncio.gather(*(http.send("POST", url(peer), body=b"") for _ in range(20)))
    assert {one.body for one in got} == {b"ok"}
    assert peer.connections == 2


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3\r\nay!\r\n0\r\n\r\n", b"okay!"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ],
    ids=["chunked", "continue", "no_content", "empty"],
)  # fmt: skip
async def test_every_form_of_a_whole_answer_is_read_and_the_connection_kept(http, words, body):
    async with serving(Peer(words)) as peer:
        for _ in range(2):
            got = await http.send("GET", url(peer))
            assert isinstance(got, Answered)
            assert got.body == body
    assert peer.connections == 1


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 200 OK\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=["until_closed", "http_1_0", "close"],
)
async def test_an_answer_that_ends_its_connection_is_read(http, words):
    async with serving(Peer(words, close=True)) as peer:
        for _ in range(2):
            got = await http.send("GET", url(peer))
            assert isinstance(got, Answered)
            assert got.body == b"ok"
    assert peer.connections == 2


@pytest.mark.parametrize(
    "words",
    [
        OK + OK,
        OK + b"garbage",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\nx\r\n" * (BODY_BYTES_MAX // 2),
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    ],
    ids=["two", "garbage", "two_lengths", "bad_chunk", "upgrade", "many_pieces", "long_header"],
)
async def test_what_is_no_single_answer_is_unknown_and_ends_the_connection(http, words):
    async with serving(Peer(words, OK)) as peer:
        assert isinstance(await http.send("POST", url(peer), body=b"x"), NoAnswer)
        got = await http.send("POST", url(peer), body=b"x")
        assert isinstance(got, Answered)
        assert got.body == b"ok"
    assert peer.connections == 2


async def test_words_nobody_asked_for_are_no_answer_to_the_next_request(http):
    late = asyncio.Event()

    class Chatty(Peer):
        async def handle(self, reader, writer):
            self.connections += 1
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            if self.connections == 1:
                await late.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
            await reader.read()
            writer.close()

    async with serving(Chatty()) as peer:
        assert isinstance(await http.send("GET", url(peer)), Answered)
        late.set()
        pool = http._pool
        await eventually(lambda: not pool._origins)
        again = await http.send("GET", url(peer))
        assert isinstance(again, Answered)
        assert again.body == b"ok"
    assert peer.connections == 2


async def test_a_call_that_is_cancelled_or_late_gives_its_connection_to_nobody(http):
    async with serving(Peer(OK)) as peer:
        peer.hold.clear()
        waiting = asyncio.ensure_future(http.send("GET", url(peer)))
        await eventually(lambda: peer.requests)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert isinstance(await http.send("GET", url(peer), total_s=0.1), NoAnswer)
        peer.hold.set()
        assert isinstance(await http.send("GET", url(peer)), Answered)
    assert peer.connections == 3


async def test_an_idle_connection_is_closed():
    http = HttpClient("test", idle_s=0.05)
    async with serving(Peer(OK)) as peer:
        await http.send("GET", url(peer))
        await eventually(lambda: peer.gone == 1)
        assert isinstance(await http.send("GET", url(peer)), Answered)
        assert peer.connections == 2
        await http.aclose()


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b"])
async def test_a_header_that_would_begin_another_is_not_sent(http, value):
    async with serving(Peer(OK)) as peer:
        got = await http.send("GET", url(peer), headers={"X-A": value})
        assert isinstance(got, NotSent)
    assert peer.connections == 0


async def test_only_a_trusted_certificate_of_the_right_name_is_spoken_to(tmp_path, monkeypatch):
    server, trusted = certificate(tmp_path)
    async with serving(Peer(OK), tls=server) as peer:
        stranger = HttpClient("test")
        assert isinstance(await stranger.send("POST", url(peer, "https"), body=b"x"), NotSent)
        await stranger.aclose()
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        known = HttpClient("test")
        for _ in range(2):
            assert isinstance(await known.send("POST", url(peer, "https"), body=b"x"), Answered)
        await known.aclose()
    assert len(peer.requests) == 2


def certificate(folder):
    """A server's context for 127.0.0.1, and the file that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peer")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "peer.pem", folder / "peer.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return context, public


class Busy:
    """Somebody else's work, which takes this turn of the loop."""

    def work(self):
        pass


async def test_words_on_an_idle_line_end_it_before_their_turn_comes():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    fair_queue = FairQueue(loop, 1)
    _, line = await loop.create_connection(
        lambda: Connection(loop, BODY_BYTES_MAX, fair_queue, lambda _: None), sock=ours
    )
    assert line.usable
    fair_queue.take(Busy())
    line.data_received(OK)
    assert not line.usable, "they must not pass for the answer to the next request"
    theirs.close()
