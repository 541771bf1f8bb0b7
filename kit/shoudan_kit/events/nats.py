"""NATS: JetStream for events, core NATS for wake-ups. Nothing that moves money waits for it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, cast

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError

from shoudan.core.v1 import core_pb2
from shoudan_kit import log
from shoudan_kit.db.errors import describe
from shoudan_kit.process.shutdown import bounded, cancel_all
from shoudan_kit.tls.hops import NATS_TLS
from shoudan_kit.tls.identity import Identity, TlsInvalid

STREAM: Final = "SHOUDAN_EVENTS"
SUBJECTS: Final = "shoudan.events.>"
WAKE: Final = "shoudan.task."
WAKE_SHARD: Final = WAKE + "shard."  # the first shard's have no number

DEDUPE_S: Final = 3_600
STREAM_AGE_S: Final = 14 * 86_400
STREAM_BYTES: Final = 8 * 2**30
MESSAGE_BYTES_MAX: Final = 256 * 1024
ACK_S: Final = 5.0
CLOSE_S: Final = 2.0
_MESSAGE_ID: Final = "Nats-Msg-Id"
# The library counts in whole seconds by its types, in fractions, too, by its code.
_PATIENCE: Final[dict[str, Any]] = {
    "allow_reconnect": True,
    "connect_timeout": 2,
    "max_outstanding_pings": 2,
    "max_reconnect_attempts": -1,
    "ping_interval": 10,
    "reconnect_time_wait": 0.5,
}

_log = log.get_logger("bus")

DOWN = (NatsError, OSError, TimeoutError, asyncio.TimeoutError)


@dataclass(frozen=True, slots=True)
class StreamState:
    """The stream as NATS describes it; `created` identifies it."""

    made: bool  # it was missing
    created: str
    first_seq: int


@dataclass(frozen=True, slots=True)
class Ack:
    """A message of ours that JetStream acknowledged: its place in the stream and its Nats-Msg-Id."""

    seq: int
    message_id: str


class _Client(Client):
    """Makes each connection with the newest certificate, where the library keeps that of the first one."""

    def __init__(self, identity: Identity | None) -> None:
        super().__init__()
        self._identity = identity

    @property
    def ssl_context(self) -> ssl.SSLContext:
        if self._identity is not None:
            with suppress(TlsInvalid):  # a pair that is replaced right now: the last one is good
                self.options["tls"] = self._identity.client_context()
        return super().ssl_context


class Bus:
    """One connection to NATS, kept for ever: while NATS is away the outbox grows and nothing else happens."""

    def __init__(
        self,
        servers: str | Sequence[str] | None,
        service: str,
        replicas: int = 1,
        identity: Identity | None = None,
    ) -> None:
        """With an `identity`, servers written tls:// are reached by mutual TLS."""
        self._identity = identity
        url = [servers] if isinstance(servers, str) else list(servers or ()) or None
        self._url, self._service, self.replicas = url, service, replicas
        self._nats: Any = None  # nats-py types what it offers partially
        self._js: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._subscriptions: list[tuple[str, Callable[[str], None]]] = []
        self._subscribed = False
        self._hints: set[asyncio.Future[None]] = set()
        self.last_ack: Ack | None = None
        self.disconnects = 0

    @property
    def configured(self) -> bool:
        """Whether there is a NATS to publish to at all."""
        return self._url is not None

    @property
    def connected(self) -> bool:
        """Whether NATS is there now."""
        return self._nats is not None and self._nats.is_connected

    @property
    def jetstream(self) -> Any:
        """What else JetStream offers. Raises ConnectionError before the first connection."""
        if self._js is None:
            raise ConnectionError("NATS is not connected yet")
        return self._js

    def start(self) -> None:
        """Begin to connect in the background."""
        if self._url is not None:
            self._connecting = asyncio.create_task(self._connect(), name="nats connect")

    async def close(self) -> None:
        """Flush what was sent and leave."""
        if self._connecting is not None:
            await cancel_all([self._connecting])
        if self._nats is not None:
            with suppress(*DOWN):
                async with asyncio.timeout(2):
                    await self._nats.flush()
            await bounded("nats", self._nats.close(), CLOSE_S)

    def on_wake(
        self, queues: Iterable[str] | None, wake: Callable[[], None], shard: int = 0
    ) -> None:
        """Call `wake` when another process has made a task for one of `queues` (None: any) in this shard."""

        def woken(subject: str) -> None:
            if shard or not subject.startswith(WAKE_SHARD):
                wake()

        for queue in queues or [">"]:
            one = (_wakes(shard) + _token(queue), woken)
            self._subscriptions.append(one)
            if self._subscribed:  # the others were, when NATS was there
                self._keep(self._subscribe(*one))

    def wake(self, queues: Iterable[str], shard: int = 0) -> None:
        """Hint the processes that serve these queues of a shard. A lost hint costs one scan interval."""
        if self._nats is None or not self._nats.is_connected:
            return
        for queue in queues:
            self._keep(self._hint(_wakes(shard) + _token(queue)))

    def _keep(self, run: Coroutine[Any, Any, None]) -> None:
        hint = asyncio.ensure_future(run)
        self._hints.add(hint)
        hint.add_done_callback(self._hints.discard)

    async def _subscribe(self, subject: str, call: Callable[[str], None]) -> None:
        with suppress(*DOWN):
            await self._nats.subscribe(subject, cb=_calling(call))

    async def publish(self, subject: str, payload: bytes, message_id: str) -> None:
        """Publish to JetStream and wait until it is on disk. Raises NatsError, OSError or TimeoutError."""
        # While the client reconnects it would buffer the message and send it before the stream is checked.
        if self._js is None or not self.connected:
            raise ConnectionError("NATS is not connected")
        headers = {_MESSAGE_ID: message_id}
        ack = await self._js.publish(subject, payload, timeout=ACK_S, headers=headers)
        if not ack.duplicate:
            self.last_ack = Ack(ack.seq, message_id)

    async def ensure(self) -> StreamState:
        """Make the stream if it is missing."""
        if self._js is None:
            raise ConnectionError("NATS is not connected yet")
        return await ensure_stream(self._js, self.replicas)

    async def last(self, subject: str) -> bytes | None:
        """The last message of a subject in the stream, None without any."""
        if self._js is None:
            raise ConnectionError("NATS is not connected yet")
        try:
            found = await self._js.get_last_msg(STREAM, subject)
        except NotFoundError:
            return None
        return cast("bytes", found.data or b"")

    async def holds(self, ack: Ack, stream: StreamState) -> bool:
        """Whether the stream still has this message, or has outlived it."""
        if self._js is None:
            raise ConnectionError("NATS is not connected yet")
        if ack.seq < stream.first_seq:
            return True
        try:
            found = await self._js.get_msg(STREAM, ack.seq)
        except NotFoundError:
            return False
        headers = cast("dict[str, str]", found.headers or {})
        return headers.get(_MESSAGE_ID) == ack.message_id

    async def consume(
        self,
        durable: str,
        subject: str,
        handle: Callable[[Sequence[core_pb2.Event]], Awaitable[None]],
    ) -> None:
        """Hand every event of `subject` to `handle`, at least once, until cancelled."""
        config = ConsumerConfig(
            ack_policy=AckPolicy.EXPLICIT, ack_wait=30, max_ack_pending=256, max_deliver=20
        )
        while True:
            try:
                if self._js is None:
                    raise ConnectionError("NATS is not connected yet")
                pull = await self._js.pull_subscribe(subject, durable, STREAM, config=config)
                while True:
                    await self._consume_some(pull, handle)
            except DOWN as error:
                _log.warning("consumer_waits", durable=durable, error=describe(error))
                await asyncio.sleep(1)

    async def _consume_some(
        self, pull: Any, handle: Callable[[Sequence[core_pb2.Event]], Awaitable[None]]
    ) -> None:
        try:
            messages = await pull.fetch(20, timeout=5)
        except TimeoutError:
            return  # nothing came
        for message in messages:
            await handle(core_pb2.EventBatch.FromString(message.data).events)
            await message.ack()

    async def _hint(self, subject: str) -> None:
        with suppress(*DOWN):
            if self._nats is not None:
                await self._nats.publish(subject, b"")

    async def _connect(self) -> None:
        assert self._url is not None
        while True:
            client = _Client(self._identity)
            try:
                await client.connect(
                    self._url,
                    name=self._service,
                    **_PATIENCE,
                    error_cb=_on_error,
                    reconnected_cb=self._on_reconnect,
                    disconnected_cb=self._on_disconnect,
                    # Replies come below a prefix of our own, which no other service may listen to.
                    inbox_prefix=f"_INBOX.{self._service}",
                    **self._tls(),
                )
                break
            except (*DOWN, TlsInvalid) as error:
                _log.warning("nats_waits", error=describe(error))
                await asyncio.sleep(1)
        self._nats = client
        await self._set_up(client)

    async def _set_up(self, client: Any) -> None:
        """Subscribe, and make the stream where it is missing."""
        for subject, call in self._subscriptions:
            await client.subscribe(subject, cb=_calling(call))
        self._subscribed = True
        js = client.jetstream(timeout=ACK_S)
        while True:
            try:
                await ensure_stream(js, self.replicas)
                break
            except DOWN as error:
                _log.warning("stream_waits", error=describe(error))
                await asyncio.sleep(1)
        self._js = js

    def _tls(self) -> dict[str, Any]:
        """TLS before anything is said: a server that offers none is not spoken to."""
        schemes = {one.partition("://")[0] for one in self._url or ()}
        if self._identity is None or not schemes & NATS_TLS:
            return {}
        context = self._identity.client_context()
        return {"tls": context, "tls_handshake_first": "tls" in schemes}

    async def _on_disconnect(self) -> None:
        self.disconnects += 1

    async def _on_reconnect(self) -> None:
        """A server that lost its store gets its stream again."""
        if self._js is not None:
            with suppress(*DOWN):
                await ensure_stream(self._js, self.replicas)


async def ensure_stream(js: Any, replicas: int) -> StreamState:
    """Make the stream if it is missing; one that exists keeps the operators' settings."""
    made, info = False, None
    try:
        info = await js.stream_info(STREAM)
    except NotFoundError:
        made = True
        info = await js.add_stream(
            StreamConfig(
                name=STREAM,
                subjects=[SUBJECTS],
                retention=RetentionPolicy.LIMITS,
                storage=StorageType.FILE,
                discard=DiscardPolicy.NEW,
                max_age=STREAM_AGE_S,
                max_bytes=STREAM_BYTES,
                max_msg_size=MESSAGE_BYTES_MAX,
                duplicate_window=DEDUPE_S,
                deny_delete=True,
                deny_purge=True,
                num_replicas=replicas,
            )
        )
    return StreamState(made, str(info.created), info.state.first_seq)


def _wakes(shard: int) -> str:
    """What the subjects of a shard's hints begin with."""
    return f"{WAKE_SHARD}{shard}." if shard else WAKE


def _token(queue: str) -> str:
    """A queue name as the end of a subject: oms:order:pay is oms.order.pay."""
    return queue.replace(":", ".").replace(" ", "_")


def _calling(call: Callable[[str], None]) -> Callable[[Any], Awaitable[None]]:
    async def called(message: Any) -> None:
        call(message.subject)

    return called


async def _on_error(error: Exception) -> None:
    _log.warning("nats_error", error=describe(error))
