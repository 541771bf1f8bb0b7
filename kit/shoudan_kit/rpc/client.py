"""How every gRPC client here connects: retries, keepalive, and the options of one call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, TypedDict

from grpc import aio

from shoudan_kit.rpc.messages import (
    AUTHORIZATION,
    BEARER,
    MESSAGE_BYTES_MAX,
    Options,
    size_options,
)
from shoudan_kit.rpc.shard_looks import looks
from shoudan_kit.rpc.transport import renewed
from shoudan_kit.tls.identity import Identity
from shoudan_kit.tracing.carried import call_metadata

Token: TypeAlias = Callable[[], str]
_tokens: dict[str, Token] = {}


def connect(
    target: str,
    service: str = "",
    identity: Identity | None = None,
    *,
    retry: bool = True,
    serving_only: bool = False,
) -> aio.Channel:
    """A channel to `host:port` or `dns:///name:port`, spread over all its addresses.

    With an `identity` it is mutual TLS with `service`, and with no other; without one it is plaintext.
    UNAVAILABLE alone is tried again (4 times at most); the server must know repeats by key.
    `serving_only`: a replica whose health says NOT_SERVING (it drains, or its database is away) gets no call.
    """
    options = _client_options(retry=retry, serving_only=serving_only)
    interceptors = [*bearers(target), *looks()]
    if identity is None:
        return aio.insecure_channel(target, options, interceptors=interceptors)
    return renewed(target, identity, service, options, interceptors)


def send_token(token: Token, targets: Iterable[str]) -> None:
    """Send an operator's token on every channel opened to these targets from now on, and to no other.

    For commands alone: services show certificates. `token` is asked at each call, so that it may be renewed.
    """
    _tokens.update(dict.fromkeys(targets, token))


def bearers(target: str) -> list[aio.ClientInterceptor]:
    """What adds the token to the calls of a channel to `target`."""
    token = _tokens.get(target)
    return [] if token is None else [_UnaryBearer(token), _StreamBearer(token)]


class _UnaryBearer(aio.UnaryUnaryClientInterceptor):
    """Adds the token to calls with one answer."""

    def __init__(self, token: Token) -> None:
        self._token = token

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        """The library's interface."""
        return await continuation(_with_token(client_call_details, self._token()), request)


class _StreamBearer(aio.UnaryStreamClientInterceptor):
    """Adds the token to calls with a stream of answers."""

    def __init__(self, token: Token) -> None:
        self._token = token

    async def intercept_unary_stream(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        """The library's interface."""
        return await continuation(_with_token(client_call_details, self._token()), request)


def _with_token(details: Any, token: str) -> Any:
    """The call with the token, unless it has one of its own."""
    if any(name == AUTHORIZATION for name, _ in details.metadata or ()):
        return details
    metadata = aio.Metadata(*(details.metadata or ()), (AUTHORIZATION, BEARER + token))
    return details._replace(metadata=metadata)


class CallOptions(TypedDict):
    """Keyword arguments of a stub's method."""

    timeout: float
    metadata: tuple[tuple[str, str], ...]


def call_options(timeout_s: float) -> CallOptions:
    """`await stub.Post(request, **call_options(3))`: the time limit, and the traces of what is worked on."""
    return CallOptions(timeout=timeout_s, metadata=call_metadata())


def _client_options(*, retry: bool, serving_only: bool) -> Options:
    return [
        *size_options(MESSAGE_BYTES_MAX),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # A replica that was away is found again within 2 s; the default doubles its wait up to 120 s.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 2_000),  # the time limit of one attempt, default 20 s
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        # A request larger than this buffer is never retried; the default of 256 KiB excludes batches.
        ("grpc.per_rpc_retry_buffer_size", MESSAGE_BYTES_MAX),
        ("grpc.enable_retries", int(retry)),
        (
            "grpc.service_config",
            json.dumps(_service_config(retry=retry, serving_only=serving_only)),
        ),
    ]


def _service_config(*, retry: bool, serving_only: bool) -> dict[str, Any]:
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if serving_only:
        config["healthCheckConfig"] = {"serviceName": ""}
    if retry:
        policy = {
            "maxAttempts": 4,
            "initialBackoff": "0.1s",
            "backoffMultiplier": 2,
            "maxBackoff": "1s",
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        config["methodConfig"] = [{"name": [{}], "retryPolicy": policy}]
        config["retryThrottling"] = {"maxTokens": 10, "tokenRatio": 0.1}
    return config
