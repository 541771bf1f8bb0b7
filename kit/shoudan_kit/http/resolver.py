"""Look-ups of host names: on threads of their own, and few at a time for each domain."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

THREADS_MAX: Final = 32
DOMAIN_MAX: Final = (
    4  # look-ups of one domain at once; more fail at once, as if they were not answered
)
SECOND_LEVEL_MAX: Final = 3  # letters of "com" in "com.cn": such a name is no domain of one party


class Resolver(AbstractResolver):
    """The system's resolver. A name server that does not answer holds a few threads of this resolver only.

    The event loop's own threads serve the whole process, and a look-up cannot be cut off.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="resolve")
        self._loop = asyncio.get_running_loop()
        self._domains: Counter[str] = Counter()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host`. Raises OSError."""
        domain = domain_of(host)
        if self._domains[domain] >= DOMAIN_MAX:
            raise OSError("too many look-ups of this domain")
        self._domains[domain] += 1
        looking = self._loop.run_in_executor(
            self._threads, socket.getaddrinfo, host, port, family, socket.SOCK_STREAM
        )
        # Counted until the thread is free, even when its caller has given up.
        looking.add_done_callback(lambda _: self._done(domain))
        found = await asyncio.shield(looking)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, proto, _, address in found
        ]

    def _done(self, domain: str) -> None:
        self._domains[domain] -= 1
        if not self._domains[domain]:
            del self._domains[domain]

    async def close(self) -> None:
        """Begin no look-up any more; those under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def domain_of(host: str) -> str:
    """The part of a name that one party registers: example.com, example.com.cn."""
    labels = host.lower().rstrip(".").split(".")
    shared = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= SECOND_LEVEL_MAX
    return ".".join(labels[-3:] if shared else labels[-2:])
