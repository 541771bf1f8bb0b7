"""What the rules of this service work with: settings, channels, senders, writers, the order service."""

from __future__ import annotations

from dataclasses import dataclass

from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.inbound import NotifyVerifier
from shoudan_delivery.order_client import OrderClient
from shoudan_delivery.result_writers import ResultWriters
from shoudan_delivery.senders import Senders
from shoudan_delivery.suppliers import Suppliers
from shoudan_kit.rpc.by_shard import ByShard
from shoudan_kit.secrets.sealing import SealedColumn
from shoudan_kit.service import App


@dataclass(frozen=True, slots=True)
class Context:
    """One process's delivery service."""

    app: App[DeliverySettings]
    suppliers: Suppliers
    senders: Senders
    writers: ResultWriters
    verifier: NotifyVerifier
    orders: OrderClient
    accounts: SealedColumn
    local_ip: str
    parts: Parts

    @property
    def settings(self) -> DeliverySettings:
        """The settings of this process."""
        return self.app.settings


class Parts(ByShard[Context]):
    """The shards of this process: a supplier's notify names its delivery where no router can read it."""

    def app_of(self, number: int) -> App[DeliverySettings]:
        """What the shard of a number works with. Refuses ShardAway before it is open."""
        return self.of_number(number)[1].app
