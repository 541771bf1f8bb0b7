"""Ports of this machine: which are free, who listens, who answers HTTP."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

# Below the kernel's range for outgoing connections, so that none of those takes a port meanwhile.
_FREE_PORTS: Final = range(20_000, 32_000)
_TRIES_MAX: Final = 200
_LISTEN: Final = "0A"
_RESERVED_MAX: Final = 256  # one given out that many ports ago is in use, or not wanted any more
_reserved: Final[deque[int]] = deque()


class NoPort(RuntimeError):
    """No free port was found."""


def port_taken(port: int) -> bool:
    """Whether a process of this machine has the port, on loopback or on every address."""
    for host in ("127.0.0.1", ""):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen(1)
            except OSError:
                return True
    return False


def free_port(wanted: int | None = None) -> int:
    """`wanted` or the next one above it that is free; without a wish, any one. Raises NoPort.

    It is this process's while it lives: no other call gives it out, in any process of the machine.
    """
    for number in range(_TRIES_MAX):
        port = random.choice(_FREE_PORTS) if wanted is None else wanted + number
        if port > 65_535:
            break
        if not port_taken(port) and _reserve(port):
            return port
    raise NoPort(f"no free port {'found' if wanted is None else f'from {wanted} on'}")


def _reserve(port: int) -> bool:
    """Whether the port was given to no other process. It is not listened on yet, and a reservation says so.

    An abstract socket needs no file that another user may not open, and goes with its process. Only
    Linux has them; elsewhere nothing is reserved.
    """
    if sys.platform != "linux":
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mark:
        try:
            mark.bind(f"\0shoudan-port-{port}")
        except OSError:
            return False
        _reserved.append(mark.detach())
    if len(_reserved) > _RESERVED_MAX:
        os.close(_reserved.popleft())
    return True


def listens(pid: int, port: int) -> bool:
    """Whether process `pid` itself listens on the port, by the kernel's tables."""
    listening: set[str] = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTEN and int(words[1].rpartition(":")[2], 16) == port:
                    listening.add(f"socket:[{words[9]}]")
    try:
        files = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    return any(_link(file) in listening for file in files)


def _link(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:
        return ""  # closed meanwhile


async def http_status(port: int, path: str, *, timeout_s: float = 2) -> int:
    """The status code of a GET on loopback; 0 without an HTTP answer in time."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request.encode())
                words = (await reader.readline()).split()
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return 0
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
