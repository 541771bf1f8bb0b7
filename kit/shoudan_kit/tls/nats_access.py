"""What each service may do at NATS: the server's own configuration, as a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from shoudan_kit.tls.identity import Files
from shoudan_kit.tls.names import spiffe_name

_STREAM: Final = "SHOUDAN_EVENTS"
# Values that the replicas of a service share, by service.
_BUCKETS: Final = {name: f"{name}_shares" for name in ("gateway", "order", "pay", "delivery")}
# The word in a service's subjects where it is not its name: subjects were documented before.
_SUBJECT_WORDS: Final = {"erp_ingest": "erp"}


def subject_word(service: str) -> str:
    """How a service is called in its subjects."""
    return _SUBJECT_WORDS.get(service, service)


def nats_access(files: Files, services: Sequence[str]) -> dict[str, Any]:
    """TLS with a certificate from every client, whose name in it is its user: one of `services`."""
    return {
        "tls": {
            "cert_file": str(files.cert),
            "key_file": str(files.key),
            "ca_file": str(files.ca),
            "verify_and_map": True,
            "min_version": "1.3",
            "handshake_first": True,  # else a server in between could say that TLS is not needed
            "timeout": 5,
        },
        "authorization": {
            "timeout": 5,
            "users": [
                {"user": spiffe_name(name), "permissions": permissions(name)} for name in services
            ],
        },
    }


def permissions(service: str) -> dict[str, Any]:
    """Its own events, hints for tasks, the event stream's use; no deletion, nothing of another service."""
    bucket = _BUCKETS.get(service)
    return {
        "publish": {
            "allow": [
                f"shoudan.events.{subject_word(service)}.>",
                "shoudan.task.>",
                "$JS.API.INFO",
                f"$JS.API.STREAM.INFO.{_STREAM}",
                f"$JS.API.STREAM.CREATE.{_STREAM}",
                f"$JS.API.STREAM.MSG.GET.{_STREAM}",
                f"$JS.API.DIRECT.GET.{_STREAM}.>",
                f"$JS.API.CONSUMER.CREATE.{_STREAM}.>",
                f"$JS.API.CONSUMER.INFO.{_STREAM}.>",
                f"$JS.API.CONSUMER.DURABLE.CREATE.{_STREAM}.>",
                f"$JS.API.CONSUMER.MSG.NEXT.{_STREAM}.>",
                # Both forms of an acknowledgement: with js_ack_fc_v2 it names domain and account, too.
                "$JS.ACK.>",
                "$JS.FC.>",
                *(_kept(bucket) if bucket else ()),
            ]
        },
        "subscribe": {"allow": [f"_INBOX.{service}.>", "shoudan.task.>"]},
    }


def _kept(bucket: str) -> tuple[str, ...]:
    """To make a bucket, read it, and change its values."""
    return (
        f"$KV.{bucket}.>",
        f"$JS.API.STREAM.INFO.KV_{bucket}",
        f"$JS.API.STREAM.CREATE.KV_{bucket}",
        f"$JS.API.STREAM.MSG.GET.KV_{bucket}",
        f"$JS.API.DIRECT.GET.KV_{bucket}.>",
    )
