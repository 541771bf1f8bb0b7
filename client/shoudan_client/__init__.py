"""A typed client of shoudan's HTTP protocol for down channels."""

from __future__ import annotations

from shoudan_client.client import Client
from shoudan_client.errors import Busy, Failed, Refused, Unknown
from shoudan_client.models import (
    Balance,
    Cancelled,
    Card,
    ListedOrder,
    ListedRefund,
    LoggedRequest,
    NewOrder,
    NewRefund,
    Notify,
    Order,
    Product,
    Refund,
)
from shoudan_client.notifies import NotVerified, verify_notify

__all__ = [
    "Balance",
    "Busy",
    "Cancelled",
    "Card",
    "Client",
    "Failed",
    "ListedOrder",
    "ListedRefund",
    "LoggedRequest",
    "NewOrder",
    "NewRefund",
    "NotVerified",
    "Notify",
    "Order",
    "Product",
    "Refund",
    "Refused",
    "Unknown",
    "verify_notify",
]
