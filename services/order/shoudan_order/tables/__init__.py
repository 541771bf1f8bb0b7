"""Every table of the order service, declared once: the data dictionary and the migrations follow it."""

from shoudan_order.tables.catalogue import QUEUES
from shoudan_order.tables.orders import (
    ACCOUNTS,
    APPEND_ONLY,
    ATTEMPT,
    AUDIT,
    CHANGE,
    DELIVERY,
    METADATA,
    NOTIFY,
    ORDER,
    REFUND,
    RETURN,
    USED_NONCE,
)

__all__ = [
    "ACCOUNTS",
    "APPEND_ONLY",
    "ATTEMPT",
    "AUDIT",
    "CHANGE",
    "DELIVERY",
    "METADATA",
    "NOTIFY",
    "ORDER",
    "QUEUES",
    "REFUND",
    "RETURN",
    "USED_NONCE",
]
