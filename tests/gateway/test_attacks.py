"""Attacks that worked once, at a gateway as partners reach it; docs/security.md lists where each is held."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.test_senders import HALF, ORDER, send
from tests.poll import own_time

__all__ = ["send"]  # the fixture
INSIDE = ("/account/query", "/account/balance/add", "/package/create", "/dds/dictionary/get")
FOUND = 200
HALF_OPEN = 2_100


async def raw(port: int, target: str) -> int:
    """The status of a request whose target is sent exactly so."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    line = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    return int(line.split()[1])


@pytest.mark.parametrize("inside", INSIDE)
async def test_no_way_to_write_a_path_leads_inside(open_gateway: Any, inside: str) -> None:
    front = await open_gateway()
    query = "?ident=oms&groups=down_channel&eid=test&trade_no=t1&amount=100"
    ways = [
        inside,
        f"/{inside}",
        f"/.{inside}",
        f"/order/..{inside}",
        f"/order/request/..;/..{inside}",
        f"/%2e%2e{inside}",
        inside.replace("/", "%2f"),
        inside.replace("/", "/%2e/", 1),
        inside.replace("/", "\\"),
        inside.upper(),
        f"{inside}/",
        f"{inside};x=1",
        f"{inside}%00",
        f"{inside}%23",
        f"http://127.0.0.1{inside}",
        f"http://internal{inside}",
    ]
    found = {way: await raw(front.port, way + query) for way in ways}
    assert {way: status for way, status in found.items() if not 400 <= status < 500} == {}
    # The same call inside is one: what is refused above is the way, not the call.
    async with front.http.get(front.internal_url + inside + query) as answer:
        assert answer.status != 404


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for both ends of the attack's connections, which are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 3 * HALF_OPEN)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
async def test_half_open_posts_beyond_the_bound_delay_no_partner(
    open_gateway: Any, send: Any
) -> None:
    front = await open_gateway()  # with the bounds as they are by default
    for at in range(HALF_OPEN):
        await send(front.port, HALF, f"127.0.0.{2 + at % 50}")
    for at in range(20):
        number = {**ORDER, "request_no": f"half{at}"}
        method = "POST" if at % 2 else "GET"
        where = {"data": number} if method == "POST" else {"params": number}
        async with own_time() as took:
            assert (await front.ask("/order/request", method, **where))[0] == FOUND
            assert took() < 2
