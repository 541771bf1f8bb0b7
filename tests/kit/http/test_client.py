"""HttpClient: what was sent and what is unknown are never confused, and no URL leads into our network."""

import asyncio
import socket
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from shoudan_kit.http.client import BODY_BYTES_MAX, Answered, HttpClient, NoAnswer, NotSent
from shoudan_kit.http.ssrf import DENIED, Guard, GuardedResolver, UrlForbidden, opened
from tests.poll import eventually

LOOPBACK = [ip_network("127.0.0.0/8")]


class Names(AbstractResolver):
    """A resolver that answers from a table: name -> the answers in turn, the last one for ever."""

    def __init__(self, table):
        self._table = {name: list(answers) for name, answers in table.items()}
        self.asked = 0

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.asked += 1
        answers = self._table.get(host)
        if answers is None:
            raise OSError(-2, "Name or service not known")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            {"hostname": host, "host": one, "port": port, "proto": 0, "flags": 0,
             "family": socket.AF_INET6 if ":" in one else socket.AF_INET}
            for one in addresses
        ]  # fmt: skip

    async def close(self):
        pass


class Outside:
    """An HTTP server whose requests are counted."""

    def __init__(self):
        self.requests = []
        self.port = 0

    async def answer(self, request):
        body = await request.read()
        self.requests.append((request.method, request.path_qs, body, dict(request.headers)))
        match request.path:
            case "/redirect":
                raise web.HTTPFound("/elsewhere")
            case "/hang":
                await asyncio.Event().wait()
            case "/big":
                return web.Response(body=b"x" * (BODY_BYTES_MAX + 1))
            case "/limit":
                return web.Response(body=b"x" * BODY_BYTES_MAX)
            case "/500":
                return web.Response(status=500, text="oops")
            case "/cut":
                response = web.StreamResponse(headers={"Content-Length": "100"})
                await response.prepare(request)
                await response.write(b"half")
                request.transport.abort()
                return response
            case "/cookie":
                return web.Response(headers={"Set-Cookie": "a=b"})
        return web.Response(text="success", headers={"X-Some": "thing"})


@pytest.fixture
async def outside():
    server = Outside()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.port = runner.addresses[0][1]
    yield server
    await runner.cleanup()


@pytest.fixture
async def http():
    made = HttpClient("test", total_s=5)
    yield made
    await made.aclose()


@asynccontextmanager
async def raw(handle):
    """A TCP server for what a proper HTTP server does not do; gives its port."""
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def url(outside, path):
    return f"http://127.0.0.1:{outside.port}{path}"


async def test_an_answer_comes_whole_whatever_its_status(outside, http):
    got = await http.send("POST", url(outside, "/a?b=%20c"), headers={"X-A": "1"}, body=b"data")
    assert isinstance(got, Answered)
    assert (got.status, got.body, got.headers["x-some"]) == (200, b"success", "thing")
    method, path, body, headers = outside.requests[0]
    assert (method, path, body, headers["X-A"]) == ("POST", "/a?b=%20c", b"data", "1")
    failed = await http.send("GET", url(outside, "/500"))
    assert isinstance(failed, Answered)
    assert (failed.status, failed.body) == (500, b"oops")


async def test_a_redirect_is_an_answer_and_not_followed(outside, http):
    got = await http.send("GET", url(outside, "/redirect"))
    assert isinstance(got, Answered)
    assert got.status == 302
    assert len(outside.requests) == 1


async def test_cookies_are_not_kept(outside, http):
    await http.send("GET", url(outside, "/cookie"))
    await http.send("GET", url(outside, "/a"))
    assert "Cookie" not in outside.requests[1][3]


async def test_a_proxy_of_the_environment_is_not_used(outside, http, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert isinstance(await http.send("GET", url(outside, "/a")), Answered)


@pytest.mark.parametrize("path", ["/big", "/cut", "/hang"])
async def test_an_answer_too_long_cut_or_late_is_unknown(outside, http, path):
    got = await http.send("POST", url(outside, path), body=b"x", total_s=0.5)
    assert isinstance(got, NoAnswer)
    assert len(outside.requests) == 1


async def test_the_longest_allowed_answer_is_read(outside, http):
    got = await http.send("GET", url(outside, "/limit"))
    assert isinstance(got, Answered)
    assert len(got.body) == BODY_BYTES_MAX


@pytest.mark.parametrize("words", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n"])
async def test_no_or_no_http_answer_is_unknown(http, words):
    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(words)
        writer.close()

    async with raw(handle) as port:
        assert isinstance(await http.send("POST", f"http://127.0.0.1:{port}/"), NoAnswer)


async def test_a_get_on_a_connection_closed_under_it_is_not_repeated(http):
    received = []

    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        received.append("first")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.readuntil(b"\r\n\r\n")
        received.append("second")
        writer.close()

    async with raw(handle) as port:
        target = f"http://127.0.0.1:{port}/deliver?no=1"
        assert isinstance(await http.send("GET", target), Answered)
        assert isinstance(await http.send("GET", target), NoAnswer)
    assert received == ["first", "second"]


async def test_a_refused_connection_and_an_unknown_name_are_not_sent(http):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refuses
        port = taken.getsockname()[1]
        assert isinstance(await http.send("POST", f"http://127.0.0.1:{port}/"), NotSent)
    nameless = HttpClient("test", resolver=Names({}))
    assert await nameless.send("GET", "http://shop.example/") == NotSent("name not resolved")
    await nameless.aclose()


@pytest.mark.parametrize(
    "bad", ["", "shop.example/x", "ftp://shop.example/", "http://", "http://["]
)
async def test_what_is_no_url_is_not_sent(http, bad):
    assert isinstance(await http.send("GET", bad), NotSent)


async def test_a_wait_for_a_free_connection_that_is_too_long_is_not_sent(outside):
    narrow = HttpClient("test", per_host_max=1, connect_s=0.2, total_s=3)
    holding = asyncio.ensure_future(narrow.send("GET", url(outside, "/hang")))
    await eventually(lambda: outside.requests)
    assert await narrow.send("GET", url(outside, "/a")) == NotSent("no connection in time")
    holding.cancel()
    await asyncio.wait([holding])
    await narrow.aclose()
    assert len(outside.requests) == 1


NASTY = [
    # loopback and private in every spelling
    "http://127.0.0.1/", "http://127.1/", "http://127.0.1/", "http://0/", "http://0.0.0.0/",
    "http://0x7f000001/", "http://0x7f.0.0.1/", "http://0X7F.1/", "http://2130706433/",
    "http://017700000001/", "http://0177.0.0.1/", "http://127.0.0.01/", "http://127.0.0.1./",
    "http://①②⑦.0.0.1/", "http://127。0。0。1/", "http://１２７.0.0.1/", "http://127.0.0.1%2e/",
    "http://10.0.0.1/", "http://172.16.0.1/", "http://172.31.255.255/", "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/", "http://100.100.100.200/", "http://100.64.0.1/",
    "http://192.0.0.8/", "http://198.18.0.1/", "http://224.0.0.1/", "http://255.255.255.255/",
    "http://240.0.0.1/", "http://203.0.113.5/", "http://192.88.99.1/",
    # IPv6
    "http://[::1]/", "http://[::]/", "http://[::127.0.0.1]/", "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/", "http://[64:ff9b::7f00:1]/", "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::]/", "http://[2001::1]/", "http://[2001:db8::1]/", "http://[fc00::1]/",
    "http://[fd00:ec2::254]/", "http://[fe80::1]/", "http://[fe80::1%25eth0]/",
    "http://[fec0::1]/", "http://[ff02::1]/", "http://[0:0:0:0:0:0:0:1]/", "http://[::1", "http://[v1.x]/",
    # other schemes, ports, users, ambiguity
    "file:///etc/passwd", "ftp://8.8.8.8/", "gopher://8.8.8.8/", "//8.8.8.8/", "javascript:1",
    "http://8.8.8.8:5432/", "http://8.8.8.8:4222/", "http://8.8.8.8:0/", "http://8.8.8.8:99999/",
    "http://8.8.8.8:+80/", "http://8.8.8.8:８０/", "http://u:p@8.8.8.8/", "http://8.8.8.8@127.0.0.1/",
    "http://8.8.8.8\\@127.0.0.1/", "http://8.8.8.8 /", "http://8.8.8.8/\r\nX: y", "http://8.8.8.8/\t",
    "http://127.0.0.1\t/", " http://8.8.8.8/", "http:///x", "http://", "", "http:8.8.8.8",
    "http://a..b/", "http://-a.b/", "http://a.b./", "http://%31/",
    "http://bücher.example/", "http://ex\u200bample.com/", "http://1.2.3/", "http://1.2.3.4.5/",
    "http://999.1.1.1/", "http://a.0x7f/", "http://8.8.8.8/" + "x" * 2_048, "http://" + "a" * 64 + ".b/",
]  # fmt: skip


@pytest.mark.parametrize("nasty", NASTY)
def test_a_nasty_url_is_forbidden(nasty):
    with pytest.raises(UrlForbidden):
        Guard().parse(nasty)


@pytest.mark.parametrize(
    "fine",
    [
        "http://8.8.8.8/",
        "https://shop.example/notify?a=b&c=%E4%BD%99",
        "HTTPS://Shop.Example:443/",
        "http://[2606:4700::1111]:80/",
        "http://xn--bcher-kva.example/",
        "http://a_b.example/支付",
        "http://8.8.8.8#@127.0.0.1/",
    ],
)
def test_an_ordinary_url_is_allowed(fine):
    assert Guard().parse(fine).host


@pytest.mark.parametrize("network", DENIED, ids=str)
def test_both_ends_of_each_denied_network_are_denied(network):
    for address in (network.network_address, network.broadcast_address):
        assert not Guard().allows(address)


def test_an_opened_network_is_allowed_but_never_the_metadata_addresses():
    guard = Guard([ip_network("169.254.0.0/16"), ip_network("192.168.0.0/16")], {8080})
    assert guard.allows(ip_address("192.168.5.5"))
    assert guard.parse("http://192.168.5.5:8080/").port == 8080
    assert not guard.allows(ip_address("169.254.169.254"))
    assert not guard.allows(ip_address("10.0.0.1"))
    with pytest.raises(UrlForbidden):
        guard.parse("http://192.168.5.5/")


@pytest.mark.parametrize(
    "host",
    ["::ffff:0:7f00:1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100:0:0:1::1",
     "4000::1", "7fff::1", "8000::1", "c000::1", "fec0::1", "::7f00:1", "2002:7f00:1::"],
)  # fmt: skip
def test_no_translated_or_unassigned_address_is_public(host):
    assert not Guard().allows(ip_address(host))
    with pytest.raises(UrlForbidden):
        Guard().parse(f"http://[{host}]/")


@pytest.mark.parametrize(
    "host",
    ["::ffff:169.254.169.254", "::ffff:0:a9fe:a9fe", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
     "64:ff9b:1::6464:64c8", "fd00:ec2::254"],
)  # fmt: skip
def test_no_opened_network_carries_a_metadata_address(host):
    assert not Guard([ip_network("::/0")]).allows(ip_address(host))


async def test_an_opened_network_may_name_its_ports():
    guard = Guard([opened("10.1.0.0/16:8080,8443"), opened("10.2.0.0/16"), opened("fd01::/16:81")])
    for fine in ("10.1.2.3:8080", "10.1.2.3:8443", "10.2.0.1:9", "8.8.8.8:443", "[fd01::1]:81"):
        assert guard.parse(f"http://{fine}/").host
    for wrong in ("10.1.2.3", "10.1.2.3:81", "8.8.8.8:8080", "10.3.0.1:8080", "[fd01::1]:8080"):
        with pytest.raises(UrlForbidden):
            guard.parse(f"http://{wrong}/")
    names = Names({"in.example": [["10.1.2.3"]], "out.example": [["8.8.8.8"]]})
    await guard.check("http://in.example:8080/", names)
    for wrong in ("http://in.example:81/", "http://in.example/", "http://out.example:8080/"):
        with pytest.raises(UrlForbidden):
            await guard.check(wrong, names)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.1/8",
        "10.0.0.0/8:",
        "10.0.0.0/8:0",
        "10.0.0.0/8:65536",
        "10.0.0.0/8:x",
        "10.0.0.0:80",
    ],
)
def test_an_opened_network_that_is_none_is_a_mistake(text):
    with pytest.raises(ValueError, match=r"network|port|bits|permitted|octet|appear"):
        opened(text)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "10.0.0.1"],
        ["::1"],
        ["::ffff:10.0.0.1"],
        ["fe80::1%eth0"],
        ["2606:4700::1111", "fd00::1"],
        [],
        ["nonsense"],
    ],
)
async def test_a_name_with_one_forbidden_address_is_forbidden(addresses):
    names = Names({"shop.example": [addresses]})
    with pytest.raises(UrlForbidden):
        await GuardedResolver(Guard(), names).resolve("shop.example", 80)
    with pytest.raises(UrlForbidden):
        await Guard().check("http://shop.example/", names)


async def test_a_name_that_does_not_resolve_is_forbidden_and_a_public_one_is_not():
    names = Names({"shop.example": [["8.8.8.8", "2606:4700::1111"]]})
    await Guard().check("http://shop.example/", names)
    await Guard().check("http://8.8.8.8/", names)
    with pytest.raises(UrlForbidden):
        await Guard().check("http://absent.example/", names)


async def test_a_name_that_changes_its_mind_reaches_nothing(outside):
    names = Names({"shop.example": [["8.8.8.8"], ["127.0.0.1"]]})
    guard = Guard(ports={outside.port})
    target = f"http://shop.example:{outside.port}/"
    await guard.check(target, names)
    http = HttpClient("test", guard=guard, resolver=names)
    assert await http.send("GET", target) == NotSent("address not allowed")
    assert await http.send("GET", url(outside, "/")) == NotSent("address not allowed")
    assert outside.requests == []
    await http.aclose()


async def test_an_allowed_private_partner_is_reached_under_its_own_name(outside):
    names = Names({"shop.example": [["127.0.0.1"]]})
    http = HttpClient("test", guard=Guard(LOOPBACK, {outside.port}), resolver=names)
    for _ in range(3):
        got = await http.send("GET", f"http://shop.example:{outside.port}/a")
        assert isinstance(got, Answered)
    assert outside.requests[0][3]["Host"] == f"shop.example:{outside.port}"
    assert names.asked == 1  # the cache keeps checked addresses only
    await http.aclose()
