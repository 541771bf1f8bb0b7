"""One small value that replicas share at NATS (KV): read with its revision, changed only against it."""

from __future__ import annotations

from typing import Any, Final

from nats.js.api import KeyValueConfig, StorageType
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError

from shoudan_kit.events.nats import Bus

KEY: Final = "all"
VALUE_S: Final = 60.0  # a value unchanged for so long is deleted


class Kept:
    """The value of one bucket, which is made when it is missing; in memory, so it ends with the server."""

    def __init__(self, bus: Bus, bucket: str) -> None:
        self._bus, self._bucket = bus, bucket
        self._store: Any = None  # nats-py types what it offers partially

    @property
    def configured(self) -> bool:
        """Whether there is a NATS at all."""
        return self._bus.configured

    async def read(self) -> tuple[bytes, int]:
        """The value and its revision; nothing and 0 without one. Raises what Bus.DOWN names."""
        store = await self._opened()
        try:
            entry = await store.get(KEY)
        except KeyNotFoundError as missing:
            # A value that has been deleted has a revision, too.
            return b"", getattr(getattr(missing, "entry", None), "revision", 0) or 0
        except Exception:
            self._store = None  # the bucket may be gone with its server
            raise
        return entry.value or b"", entry.revision

    async def write(self, value: bytes, revision: int) -> bool:
        """Whether the value of exactly this revision was replaced."""
        store = await self._opened()
        try:
            await store.update(KEY, value, last=revision)
        except KeyWrongLastSequenceError:
            return False
        except Exception:
            self._store = None
            raise
        return True

    async def _opened(self) -> Any:
        if self._store is None:
            js = self._bus.jetstream
            try:
                self._store = await js.key_value(self._bucket)
            except BucketNotFoundError:
                config = KeyValueConfig(
                    bucket=self._bucket,
                    description="shares of callers' limits, by replica",
                    ttl=VALUE_S,
                    storage=StorageType.MEMORY,
                    replicas=self._bus.replicas,
                )
                self._store = await js.create_key_value(config)
        return self._store
