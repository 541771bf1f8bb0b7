"""What is published: that a document came or changed, by its numbers, with no personal data."""

from __future__ import annotations

from typing import Final

from shoudan.erp.v1 import events_pb2
from shoudan_erp_ingest.store.refunds import RefundWrite
from shoudan_erp_ingest.store.trades import TradeWrite
from shoudan_kit.tasks.unit_of_work import UnitOfWork

TRADE_RECEIVED: Final = "shoudan.events.erp.trade.received"
REFUND_RECEIVED: Final = "shoudan.events.erp.refund.received"
REFUND_CHANGED: Final = "shoudan.events.erp.refund.changed"


def trade_written(work: UnitOfWork, write: TradeWrite) -> None:
    """A version of a trade was received."""
    head = write.document.head
    body = events_pb2.DocumentReceived(
        id=write.document_id,
        sender=write.customerid,
        no=head.tid,
        status=head.status or "",
        version=write.version,
    )
    work.events.add(TRADE_RECEIVED, key=head.tid, body=body)


def refund_written(work: UnitOfWork, write: RefundWrite) -> None:
    """The first version of a refund is received, later ones are changes."""
    head = write.document.head
    body = events_pb2.DocumentReceived(
        id=write.document_id,
        sender=write.app_key,
        no=head.refund_no,
        status="" if head.status is None else str(head.status),
        version=write.version,
    )
    subject = REFUND_RECEIVED if write.first else REFUND_CHANGED
    work.events.add(subject, key=head.refund_no, body=body)
