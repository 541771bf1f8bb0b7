"""Everything that ERP ingest has sealed: pushes, documents and their parts, what history keeps of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from shoudan_erp_ingest.store.trades import line_key
from shoudan_erp_ingest.tables.schema import TRADE
from shoudan_kit.credentials.sealed import CREDENTIALS
from shoudan_kit.secrets.sealed_columns import (
    BIGINT,
    INTEGER,
    TEXT,
    Bytes,
    Documents,
    Part,
    SealedValues,
)


def _parts(row: Any, whole: Any) -> Iterator[Part]:
    """The parts of a snapshot with their places; those of a late one have no numbers but their order."""
    number = row.document_id
    of_trade = row.kind == TRADE
    head = "trade" if of_trade else "refund"
    yield whole[head], head, str(number)
    if not of_trade:
        yield from _numbered(whole.get("lines"), "refund_line", "line_no", number)
        yield from _numbered(whole.get("swaps"), "swap_line", "line_no", number)
        return
    yield from _numbered(whole.get("payments"), "payment", "payment_no", number)
    for at, part in enumerate(whole.get("lines") or ()):
        oid, item_no = part.get("line_oid", ""), part.get("item_no", at)
        yield part, "trade_line", line_key(number, oid, item_no)


def _numbered(parts: Any, place: str, name: str, number: int) -> Iterable[Part]:
    for at, part in enumerate(parts or ()):
        yield part, place, f"{number}.{part.get(name, at)}"


def _document(table: str) -> SealedValues:
    form = Bytes(table, lambda row: str(row.document_id))
    return SealedValues(table, "sealed", {"document_id": BIGINT}, form)


def _line(table: str, number: str) -> SealedValues:
    form = Bytes(table, lambda row: f"{row.document_id}.{getattr(row, number)}")
    return SealedValues(table, "sealed", {"document_id": BIGINT, number: INTEGER}, form)


SEALED: Final = (
    CREDENTIALS,
    SealedValues("push", "sealed", {"push_id": BIGINT}, Bytes("push", lambda row: row.push_id)),
    _document("trade"),
    _line("payment", "payment_no"),
    SealedValues(
        "trade_line",
        "sealed",
        {"document_id": BIGINT, "line_oid": TEXT, "item_no": INTEGER},
        Bytes("trade_line", lambda row: line_key(row.document_id, row.line_oid, row.item_no)),
    ),
    _document("refund"),
    _line("refund_line", "line_no"),
    _line("swap_line", "line_no"),
    SealedValues(
        "history",
        "snapshot",
        {"history_id": BIGINT},
        Documents(_parts),
        more=("kind", "document_id"),
    ),
)
