"""The rules of refunds: the newest `modified` counts, older ones are history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from shoudan_erp_ingest.store.refunds import RefundWrite, StoredRefund
from shoudan_erp_ingest.tables.models import RefundDocument
from shoudan_kit.secrets.sealing import KeyRing, is_mobile


@dataclass(frozen=True, slots=True)
class RefundVerdict:
    """What one document does. Neither write nor late: it says nothing new."""

    write: RefundWrite | None
    late: bool
    document_id: int
    rows: int


def decide(
    ring: KeyRing,
    stored: StoredRefund | None,
    app_key: str,
    document: RefundDocument,
    push_id: int,
    new_id: Callable[[], int],
) -> RefundVerdict:
    """Compare a pushed refund with the stored one; it is written whole or not at all.

    Without `modified` a push is not older: it counts, and the stored moment stays. Source: protocols §3.3.
    """
    content = ring.content(document.head, document.lines, document.swaps)
    if stored is None:
        made = RefundWrite(app_key, new_id(), 1, push_id, True, document, content)
        return RefundVerdict(made, False, made.document_id, _rows(document))
    if stored.content == content:
        return RefundVerdict(None, False, stored.document_id, 0)
    modified = document.head.modified
    if modified and stored.modified and modified < stored.modified:
        return RefundVerdict(None, True, stored.document_id, 0)
    if modified is None and stored.modified is not None:
        document = replace(document, head=replace(document.head, modified=stored.modified))
    version = stored.version + 1
    made = RefundWrite(app_key, stored.document_id, version, push_id, False, document, content)
    return RefundVerdict(made, False, stored.document_id, _rows(document))


def phones(document: RefundDocument) -> list[str]:
    """Every phone number in a refund."""
    head = document.head
    found = (
        head.receiver_telno,
        head.return_mobile,
        head.return_telno,
        head.swap_mobile,
        head.swap_telno,
        head.pay_account if head.pay_account and is_mobile(head.pay_account) else None,
    )
    return [phone for phone in found if phone]


def _rows(document: RefundDocument) -> int:
    return 1 + len(document.lines) + len(document.swaps)
