"""What an endpoint of a channel may be: where it is, what it is sent, and in which form. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from shoudan_order.catalogue.index import Catalogue
from shoudan_order.catalogue.model import NotifyEndpoint
from shoudan_order.catalogue.shelves import is_url

ORDER_ENDED: Final = "order.ended"
REFUND_ENDED: Final = "refund.ended"
CARDS_ISSUED: Final = "cards.issued"
BALANCE_ALERT: Final = "balance.alert"
BILL_READY: Final = "bill.ready"
SHELF_CHANGED: Final = "shelf.changed"
TEST: Final = "test"  # sent when asked for, whatever an endpoint wants
EVENTS: Final = (
    ORDER_ENDED,
    REFUND_ENDED,
    CARDS_ISSUED,
    BALANCE_ALERT,
    BILL_READY,
    SHELF_CHANGED,
)
DOCUMENTED, ENVELOPE = 0, 1
BODY_VERSIONS: Final = (DOCUMENTED, ENVELOPE)
CHANNEL_MAX: Final = 10  # enabled ones of a channel: each is sent what happens to every order
_NUMBER: Final = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)


def problems(after: Catalogue, row: NotifyEndpoint) -> Iterator[str]:
    """What is wrong with an endpoint."""
    if _NUMBER.fullmatch(row.endpoint_no) is None:
        yield "endpoint_no is not 1 to 32 letters, digits, _ and -"
    if row.channel_no not in after.down_channels:
        yield f"channel_no {row.channel_no!r} is not there"
    elif len(after.endpoints_of.get(row.channel_no, ())) > CHANNEL_MAX:
        yield f"channel_no {row.channel_no!r} has more than {CHANNEL_MAX} enabled endpoints"
    if not is_url(row.url):
        yield "url is not an http or https URL"
    if len(row.events) != len(set(row.events) & set(EVENTS)):
        yield f"events are not {', '.join(EVENTS)}, each once"
    if row.body_version not in BODY_VERSIONS:
        yield f"body_version is not {DOCUMENTED} or {ENVELOPE}"
