"""The shards of one process: opened as their servers are there, exchanged when a newer map says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from shoudan_kit import log, metrics
from shoudan_kit.cell import Cell
from shoudan_kit.config import ConfigError, ProcessSettings, ServiceSettings
from shoudan_kit.db.errors import away, describe
from shoudan_kit.db.pinned_keys import NONE
from shoudan_kit.db.shard_map import Home, ShardMap, ShardMapInvalid
from shoudan_kit.db.shard_settings import served_map
from shoudan_kit.process.shutdown import bounded, cancel_all
from shoudan_kit.rpc.shard_router import Router

S = TypeVar("S", bound=ProcessSettings)

OPEN_S: Final = 5.0  # a start waits for servers of shards; then the shards there are serve
AWAY_S: Final = 1.0  # between looks for a server that is away
BACK_S: Final = 0.2  # between looks whether a shard that rests answers again
BACK_S_MAX: Final = 3.0  # for one such look
ARRIVES_S: Final = 0.2  # between looks whether a shard has arrived where the map says it is
LOOK_S: Final = 1.0  # between looks at the map
LEAVE_S: Final = 5.0  # for what still runs at the place that a shard has left

SHARD_UP: Final = metrics.gauge(
    "shard_up",
    "1 while a process with several shards can work on this one, else 0.",
    ("shard",),
)
MAP_EPOCH: Final = metrics.gauge(
    "shard_map_epoch", "Epoch of the map of shards in use; not shown without a map."
)
MAP_REFUSED: Final = metrics.gauge(
    "shard_map_refused",
    "1 while the file with the map of shards cannot follow the map in use, else 0.",
)

_ASKED: Final = text("SELECT 1")

_log = log.get_logger("shards")

Make = Callable[[Home], Cell[S]]


class Shards(Generic[S]):
    """The cells of a process by their shard, and what the router is given of them."""

    def __init__(self, homes: Iterable[Home], make: Make[S], known: ShardMap | None = None) -> None:
        self._make, self.known = make, known
        self.cells = [make(home) for home in homes]
        pinned = NONE if known is None else known.pinned
        self.router = Router(len(self.cells), pinned) if len(self.cells) > 1 else None
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._proving: set[asyncio.Task[None]] = set()
        self._exchanges: dict[int, tuple[Home, asyncio.Task[None]]] = {}

    async def open(self) -> None:
        """The shards beside the first, which is open. Those whose server is away are opened when it is back.
        Raises ConfigError."""
        if self.router is None:
            return
        self.router.add(0, self.cells[0].registers()[0])
        self.router.on_rest = self._prove
        for shard, cell in enumerate(self.cells[1:], 1):
            self._opening[shard] = asyncio.create_task(self._open(cell), name="open shard")
        await asyncio.wait(self._opening.values(), timeout=OPEN_S)
        for shard, task in self._opening.items():
            if not task.done():
                _log.warning("shard_away", shard=shard)
            elif (error := task.exception()) is not None:
                raise error

    async def take(self, found: ShardMap) -> None:
        """Exchange the cells of shards that live elsewhere in this map, each as soon as it has arrived."""
        self.known = found
        for home in found.homes[1:]:
            shard = home.shard
            target, task = self._exchanges.get(shard, (None, None))
            if target is not None and task is not None and not task.done():
                if _same_place(target, home):
                    continue
                await cancel_all([task])  # a move of before is off
            if not _same_place(self.cells[shard].app.home, home):
                task = asyncio.create_task(self._exchange(home), name="exchange shard")
                self._exchanges[shard] = home, task

    async def stop(self, until: float) -> None:
        """Finish what runs until this moment (monotonic), close."""
        exchanges = [task for _, task in self._exchanges.values()]
        await cancel_all([*self._opening.values(), *exchanges, *self._proving])
        for cell in reversed(self.cells):
            await cell.stop(until)

    async def reason(self) -> str | None:
        """Why no shard can be worked on; None when one can: the process serves as long."""
        reasons = await asyncio.gather(*(one.reason() for one in self.cells))
        for shard, why in enumerate(reasons):
            SHARD_UP(str(shard)).set(0 if why else 1)
        if None in reasons:
            return None
        return "; ".join(f"{shard}: {why}" for shard, why in enumerate(reasons))

    def _prove(self, shard: int) -> None:
        task = asyncio.create_task(self._until_back(shard), name="prove shard")
        self._proving.add(task)
        task.add_done_callback(self._proving.discard)

    async def _until_back(self, shard: int) -> None:
        """Look whether a resting shard answers; it is asked nothing else as long."""
        assert self.router is not None, "a single shard never rests"
        while True:
            if await self._answers(shard):
                self.router.wake(shard)
                return
            await asyncio.sleep(BACK_S)

    async def _answers(self, shard: int) -> bool:
        """Whether its database takes a statement now; the checks remember what they found a moment ago."""
        cell = self.cells[shard]
        try:
            async with asyncio.timeout(BACK_S_MAX), cell.app.db.connect() as db:
                await db.execute(_ASKED)
        except (SQLAlchemyError, OSError, TimeoutError):
            return False
        return await cell.reason() is None

    async def _open(self, cell: Cell[S]) -> None:
        """Wait for the server of a shard, then serve it. Raises ConfigError."""
        shard = cell.app.home.shard
        while not cell.is_open:
            try:
                await cell.open()
            except ConfigError:
                _log.error("shard_refused", shard=shard, exc_info=True)  # by the start, or too late
                raise
            except Exception as error:
                if not away(error):
                    _log.error("shard_failed", shard=shard, exc_info=True)
                    raise
                _log.warning("shard_waits", shard=shard, error=describe(error))
                await asyncio.sleep(AWAY_S)
        self._serve(cell)

    async def _exchange(self, home: Home) -> None:
        """Serve a shard at its old place until it is at its new one, then there."""
        cell, shard, said = self._make(home), home.shard, ""
        _log.info("shard_moves", shard=shard, server=home.server, epoch=home.epoch)
        try:
            while not cell.is_open:
                try:
                    await cell.open()
                except Exception as error:
                    if not (isinstance(error, ConfigError) or away(error)):
                        _log.error("shard_failed", shard=shard, exc_info=True)
                        raise
                    why = str(error) if isinstance(error, ConfigError) else describe(error)
                    if why != said:
                        _log.warning("shard_not_there_yet", shard=shard, why=why)
                    said = why
                    await asyncio.sleep(ARRIVES_S)
        except BaseException:
            await bounded("app", cell.app.close(), LEAVE_S)
            raise
        if (opening := self._opening.pop(shard, None)) is not None:
            await cancel_all([opening])
        old, self.cells[shard] = self.cells[shard], cell
        self._serve(cell)
        await old.stop(time.monotonic() + LEAVE_S)

    def _serve(self, cell: Cell[S]) -> None:
        assert self.router is not None, "a single shard is not routed to"
        shard = cell.app.home.shard
        self.router.add(shard, cell.registers()[0])
        cell.run()
        _log.info("shard_open", shard=shard, server=cell.app.home.server)


def _same_place(one: Home, other: Home) -> bool:
    return (one.server, one.url) == (other.server, other.url)


class MapWatch:
    """The map of a running process: its file is looked at, and what is newer is taken."""

    def __init__(self, settings: ServiceSettings, shards: Shards[Any]) -> None:
        self._settings, self._shards = settings, shards
        self._file = Path(settings.shards or "")
        self._seen: tuple[int, ...] | None = None
        MAP_EPOCH().set(self._known.epoch)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Take the map of the file when it is newer. One that cannot follow is refused, the old one kept."""
        seen = self._stamp()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            found = served_map(self._settings, self._settings.db_pool_size)
        except ShardMapInvalid as error:
            self._refuse(error.mistakes)
            return
        known = self._known
        if (why := known.refuses(found)) is not None:
            self._refuse([why])
            return
        MAP_REFUSED().set(0)
        if found.epoch > known.epoch:
            _log.info("shard_map_taken", epoch=found.epoch, before=known.epoch)
            MAP_EPOCH().set(found.epoch)
            await self._shards.take(found)

    @property
    def _known(self) -> ShardMap:
        assert self._shards.known is not None, "a process with several shards has a map"
        return self._shards.known

    def _refuse(self, mistakes: list[str]) -> None:
        MAP_REFUSED().set(1)
        _log.error("shard_map_refused", epoch=self._known.epoch, mistakes=mistakes)

    def _stamp(self) -> tuple[int, ...] | None:
        """What changes with the file; None without one."""
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
