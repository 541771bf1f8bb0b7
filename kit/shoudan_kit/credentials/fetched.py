"""Live secrets of another service, for who verifies with them: fetched anew, kept while it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from shoudan.core.v1 import credential_service_pb2 as pb
from shoudan.core.v1 import credential_service_pb2_grpc
from shoudan_kit import log
from shoudan_kit.clock import Clock
from shoudan_kit.credentials.book import AGE_SECONDS, USED_EVERY_S
from shoudan_kit.credentials.live import LiveSecret, LiveSecrets
from shoudan_kit.rpc.client import call_options

CALL_S: Final = 3.0
WAIT_S: Final = 1.0  # in one call; what is known is never older by more than that
AGAIN_S: Final = 0.2

_log = log.get_logger("credentials")


class FetchedSecrets(LiveSecrets):
    """The live secrets of some kinds that `service` owns."""

    def __init__(
        self, channel: aio.Channel, service: str, kinds: Sequence[str], clock: Clock
    ) -> None:
        super().__init__(clock)
        self._stub: Any = credential_service_pb2_grpc.CredentialServiceStub(channel)
        self._service, self._kinds = service, list(kinds)
        self._version = 0
        self._read_at: float | None = None
        self._reported_at = time.monotonic()
        self._watchers: list[Callable[[], None]] = []

    @property
    def known(self) -> bool:
        """Whether there is a first copy, or it is known that the service has none."""
        return self._read_at is not None

    @property
    def age_s(self) -> float:
        """Seconds since the service last answered; 0 before it has."""
        return 0.0 if self._read_at is None else time.monotonic() - self._read_at

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` after each change."""
        self._watchers.append(watcher)

    async def run(self) -> None:
        """Fetch, wait, fetch again, for ever."""
        waits = False
        while True:
            began = time.monotonic()
            answered = await self.fetch()
            if answered == waits:
                (_log.info if answered else _log.warning)(
                    "credentials_fetched" if answered else "credentials_wait", owner=self._service
                )
            waits = not answered
            AGE_SECONDS(self._service).set(self.age_s)
            if time.monotonic() - began < WAIT_S:  # changed, away, or a release that does not wait
                await asyncio.sleep(AGAIN_S)

    async def fetch(self) -> bool:
        """Fetch once; whether the service answered."""
        used = self._used_now()
        request = pb.FetchCredentialsRequest(
            kinds=self._kinds, version=self._version, used=used, wait_ms=int(WAIT_S * 1000)
        )
        try:
            answer = await self._stub.FetchCredentials(request, **call_options(CALL_S))
        except aio.AioRpcError as error:
            self._used.update(used)
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                return False
            answer = pb.FetchCredentialsResponse(unchanged=True)  # a release that has none
        self._read_at = time.monotonic()
        if not answer.unchanged:
            self._version = answer.version
            self.replace(map(_live, answer.secrets))
            for watcher in self._watchers:
                watcher()
        return True

    def _used_now(self) -> list[int]:
        now = time.monotonic()
        if now - self._reported_at < USED_EVERY_S:
            return []
        self._reported_at = now
        return self.take_used()


def _live(one: pb.LiveSecret) -> LiveSecret:
    begins = _moment(one.not_before) if one.HasField("not_before") else None
    ends = _moment(one.expire_time) if one.HasField("expire_time") else None
    return LiveSecret(one.credential_id, one.kind, one.owner, one.secret, begins, ends)


def _moment(given: Timestamp) -> datetime:
    return given.ToDatetime(UTC)
