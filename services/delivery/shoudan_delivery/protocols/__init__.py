"""Supplier protocols: one module each, two pure transforms, a status map and the way in for notifies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from shoudan_delivery.kinds import StatedPrice
from shoudan_delivery.protocols import default, templates
from shoudan_delivery.protocols.messages import Call, InboundNotify, Unverified, Unwritable
from shoudan_delivery.store.rows import Outgoing, Reply, Supplier, Unreadable

__all__ = [
    "PROTOCOLS",
    "SPOKEN",
    "Call",
    "InboundNotify",
    "SupplierProtocol",
    "Unverified",
    "Unwritable",
    "protocol_of",
]


class SupplierProtocol(Protocol):
    """What a module of this folder offers. Nothing here waits, sends or touches the database."""

    def request(
        self, supplier: Supplier, delivery: Outgoing, now: datetime, notify_url: str
    ) -> Call | Unwritable:
        """The call that requests a delivery or a return; its result is notified to `notify_url`."""
        ...

    def query(self, supplier: Supplier, delivery: Outgoing, now: datetime) -> Call | Unwritable:
        """The call that asks how it ended."""
        ...

    def read(self, status: int, headers: Mapping[str, str], body: bytes) -> Reply | Unreadable:
        """The answer to a request; `interpret` decides what it means."""
        ...

    def read_query(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> Reply | Unreadable:
        """The answer to a query."""
        ...

    def read_notify(self, supplier: Supplier, notify: InboundNotify) -> Reply | Unverified:
        """A notify, its signature verified when the channel has a secret."""
        ...

    def read_prices(
        self, supplier: Supplier, notify: InboundNotify, as_of: datetime
    ) -> list[StatedPrice] | Unverified:
        """A notify of prices and stock, verified alike."""
        ...

    def prices_ack(self) -> bytes:
        """The body that acknowledges a notify of prices."""
        ...

    def ack_body(self) -> bytes:
        """The body that acknowledges a notify, so that it is not sent again."""
        ...


@dataclass(frozen=True, slots=True)
class _Default:
    """The default protocol as an object, so that the registry is typed."""

    request = staticmethod(default.request)
    query = staticmethod(default.query)
    read = staticmethod(default.read)
    read_query = staticmethod(default.read)
    read_notify = staticmethod(default.read_notify)
    read_prices = staticmethod(default.read_prices)
    prices_ack = staticmethod(default.ack_body)
    ack_body = staticmethod(default.ack_body)


PROTOCOLS: Mapping[str, SupplierProtocol] = {"default": _Default()}


SPOKEN: Final = frozenset({*PROTOCOLS, templates.NAME})


def protocol_of(supplier: Supplier) -> SupplierProtocol:
    """The protocol of a channel; the configuration was checked when it was applied."""
    if supplier.protocol == templates.NAME:
        return templates.of(supplier.template)
    return PROTOCOLS[supplier.protocol]
