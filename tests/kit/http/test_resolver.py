"""Promises of look-ups: a name server that does not answer delays its own domain only."""

import asyncio
import socket
import threading

import pytest

from shoudan_kit.http.resolver import DOMAIN_MAX, Resolver, domain_of


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("a.b.example.com", "example.com"),
        ("example.com", "example.com"),
        ("pay.example.com.cn", "example.com.cn"),
        ("other.com.cn.", "other.com.cn"),
        ("a.example.cn", "example.cn"),
        ("localhost", "localhost"),
    ],
)
def test_a_domain_is_what_one_party_registers(host, domain):
    assert domain_of(host) == domain


async def test_a_name_server_that_hangs_delays_no_other_name(monkeypatch):
    held, system = threading.Event(), socket.getaddrinfo

    def look_up(host, *rest):
        if str(host).endswith("dead.test"):
            held.wait()
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return system(host, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    resolver = Resolver()
    dead = [asyncio.create_task(resolver.resolve(f"n{n}.dead.test")) for n in range(100)]
    try:
        found = await asyncio.wait_for(resolver.resolve("localhost", 80), 5)
        assert {one["host"] for one in found} <= {"127.0.0.1", "::1"}
        await asyncio.wait_for(
            asyncio.to_thread(lambda: None), 5
        )  # nor anything else of the process
        assert sum(task.done() for task in dead) == len(dead) - DOMAIN_MAX
    finally:
        held.set()
        ends = await asyncio.gather(*dead, return_exceptions=True)
        await resolver.close()
    assert all(isinstance(end, OSError) for end in ends)


async def test_a_domain_is_looked_up_again_once_its_look_ups_have_ended():
    resolver = Resolver()
    for _ in range(3 * DOMAIN_MAX):
        assert await resolver.resolve("localhost")
    await resolver.close()
