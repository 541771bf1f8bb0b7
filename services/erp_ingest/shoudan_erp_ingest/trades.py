"""The rules of trades: what a push changes, and what came too late to count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shoudan_erp_ingest.states import goes_back
from shoudan_erp_ingest.store.trades import Lines, StoredTrade, TradeWrite
from shoudan_erp_ingest.tables.models import TradeDocument, TradeLine, untraced
from shoudan_kit.secrets.sealing import KeyRing, is_mobile


@dataclass(frozen=True, slots=True)
class TradeVerdict:
    """What one document does. Neither write nor late: it says nothing new."""

    write: TradeWrite | None
    late: bool
    document_id: int
    rows: int


def grouped(lines: tuple[TradeLine, ...]) -> Lines:
    """Lines by oid, in order; an oid may have several items."""
    groups: dict[str, list[TradeLine]] = {}
    for line in lines:
        groups.setdefault(line.oid or "", []).append(line)
    return {oid: tuple(items) for oid, items in groups.items()}


def decide(
    ring: KeyRing,
    stored: StoredTrade | None,
    customerid: str,
    document: TradeDocument,
    push_id: int,
    new_id: Callable[[], int],
) -> TradeVerdict:
    """Compare a pushed trade with the stored one.

    A head that ended never goes back to one that has not; neither does a line. Lines of other oids
    than the pushed ones stay. A late head still adds new lines. Source: protocols §3.3.
    """
    head = document.head
    content = ring.content(head, document.payments)
    groups = grouped(document.lines)
    contents = {oid: ring.content(untraced(items)) for oid, items in groups.items()}
    if stored is None:
        made = TradeWrite(
            customerid, new_id(), 1, push_id, True, document, True, content, groups, contents
        )
        return TradeVerdict(made, False, made.document_id, _rows(made))
    late = goes_back(stored.status, head.status)
    write_head = not late and stored.content != content
    changed: dict[str, tuple[TradeLine, ...]] = {}
    for oid, items in groups.items():
        before = stored.groups.get(oid)
        if before is None:
            changed[oid] = items
        elif before.content != contents[oid]:
            if late or goes_back(before.status, items[0].status):
                late = True
            else:
                changed[oid] = items
    if not write_head and not changed:
        return TradeVerdict(None, late and stored.content != content, stored.document_id, 0)
    version = stored.version + 1
    made = TradeWrite(
        customerid, stored.document_id, version, push_id, False,
        document, write_head, content, changed, contents,
    )  # fmt: skip
    return TradeVerdict(made, late, stored.document_id, _rows(made))


def after(verdict: TradeVerdict, stored: StoredTrade | None) -> str | None:
    """The status the trade has once the verdict is carried out."""
    write = verdict.write
    if write is not None and write.head:
        return write.document.head.status
    return stored.status if stored else None


def phones(document: TradeDocument) -> list[str]:
    """Every phone number in a trade."""
    accounts = (p.buyer_account for p in document.payments)
    found = [a for a in accounts if a and is_mobile(a)]
    mobile = document.head.receiver_mobile
    return [mobile, *found] if mobile else found


def _rows(write: TradeWrite) -> int:
    payments = len(write.document.payments) if write.head else 0
    return int(write.head) + payments + sum(map(len, write.groups.values()))
