"""The sandbox supplier's journal: what it fulfilled, on disk before it is answered."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec


class Line(msgspec.Struct):
    """One thing that happened: `effect` is "fulfilled", "failed" or "none" (only asked for)."""

    time: float
    order_no: str
    channel_no: str
    service_class: int
    order_id: str
    amount: str
    tail: str
    attempt: int
    effect: str


class Entry(msgspec.Struct, gc=False):
    """What the journal says about one order number."""

    channel_no: str
    amount: str
    tail: str
    attempts: int = 0
    fulfilled: int = 0
    failed: int = 0
    order_id: str = ""


class Journal:
    """An append-only file of JSON lines, synced once per turn of the event loop.

    Kept in memory as well, one small record per number, so that a query costs no file access.
    Opened again it has every entry written before; a last line cut by a crash is dropped:
    no answer was sent that relied on it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        self.deliveries_of: dict[str, int] = {}
        self.attempts = 0
        self.fulfilled = 0
        self.failed = 0
        self.twice: set[str] = set()
        self.asked_again: set[str] = set()
        self._encode = msgspec.json.Encoder().encode
        self._pending: list[bytes] = []
        self._synced: asyncio.Future[None] | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._read()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _read(self) -> None:
        if not self.path.exists():
            return
        whole = 0
        decode = msgspec.json.Decoder(Line).decode
        with self.path.open("rb") as file:
            for raw in file:
                if not raw.endswith(b"\n"):
                    break
                self._learn(decode(raw))
                whole += len(raw)
        os.truncate(self.path, whole)

    def _learn(self, line: Line) -> None:
        entry = self.entries.get(line.order_no)
        if entry is None:
            entry = Entry(line.channel_no, line.amount, line.tail, order_id=line.order_id)
            self.entries[line.order_no] = entry
            if line.order_id:
                self.deliveries_of[line.order_id] = self.deliveries_of.get(line.order_id, 0) + 1
        if line.attempt > entry.attempts:
            entry.attempts = line.attempt
            self.attempts += 1
            if line.attempt > 1:
                self.asked_again.add(line.order_no)
        if line.effect == "fulfilled":
            entry.fulfilled += 1
            self.fulfilled += 1
            if entry.fulfilled > 1:
                self.twice.add(line.order_no)
        elif line.effect == "failed":
            entry.failed += 1
            self.failed += 1

    def write(self, line: Line) -> asyncio.Future[None]:
        """Note `line`; the future is done once it is on disk. One sync serves all of this turn."""
        self._learn(line)
        self._pending.append(self._encode(line))
        if self._synced is None:
            loop = asyncio.get_running_loop()
            self._synced = loop.create_future()
            # Behind everything that is ready now: those lines share the sync.
            loop.call_soon(self._sync)
        return self._synced

    def _sync(self) -> None:
        lines, self._pending = self._pending, []
        synced, self._synced = self._synced, None
        assert synced is not None
        # Blocking on purpose: while the disk works, requests gather for the next turn.
        data = b"\n".join([*lines, b""])
        while data:
            data = data[os.write(self._file, data) :]
        os.fdatasync(self._file)
        if not synced.done():
            synced.set_result(None)

    def close(self) -> None:
        """Write what is pending, close the file."""
        if self._synced is not None:
            self._sync()
        os.close(self._file)
