"""Documents as people may see them without being recorded: personal data masked."""

from __future__ import annotations

from typing import Any, cast

import orjson

from shoudan_erp_ingest.tables.fields import Kind, Spec, personal_specs, specs
from shoudan_erp_ingest.tables.models import Document, TradeDocument
from shoudan_kit.clock import beijing
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.secrets.sealing import plain_phone

PHONES = ("mobile", "telno", "account", "zip", "_no")
ADDRESS_SHOWN_MAX = 6


def masked(name: str, value: str) -> str:
    """`15001253861` → `150****3861`, `大海` → `大*`, an address keeps its beginning, notes keep nothing."""
    if name.endswith(PHONES):
        digits = plain_phone(value)
        if len(digits) >= 11:
            return f"{digits[:3]}****{digits[-4:]}"
        return "****" + value[-2:] if len(value) > 4 else "****"
    if name.endswith("address"):
        return value[: min(ADDRESS_SHOWN_MAX, len(value) // 2)] + "***"
    if name in {"remark", "trade_memo"}:
        return "***"
    return value[:1] + "*" * max(1, min(3, len(value) - 1))


def shown(document: Document) -> str:
    """A document as JSON of the documented names; amounts in yuan, times in Beijing time."""
    made = _row(document.head)
    if isinstance(document, TradeDocument):
        made["msg_id"] = document.msg_id
        made["payment_lists"] = [_row(p) for p in document.payments]
        made["orders"] = [_row(line) for line in document.lines]
    else:
        made["refund_order_list"] = [_row(line) for line in document.lines]
        made["refund_out_goods_list"] = [_row(line) for line in document.swaps]
    return orjson.dumps(made).decode()


def personal(document: Document) -> dict[str, str]:
    """Every personal field of a document in the clear, by its name; parts by list and number."""
    if isinstance(document, TradeDocument):
        parts = {"payment_lists": document.payments, "orders": document.lines}
    else:
        parts = {
            "refund_order_list": document.lines,
            "refund_out_goods_list": document.swaps,
        }
    made = _hidden(document.head, "")
    for name, rows in parts.items():
        for number, row in enumerate(rows):
            made |= _hidden(row, f"{name}[{number}].")
    return made


def _hidden(row: Any, prefix: str) -> dict[str, str]:
    found = {
        prefix + s.name: getattr(row, s.attribute)
        for s in personal_specs(cast("type[Any]", type(row)))
    }
    if row.extra:
        found[f"{prefix}extra"] = row.extra
    return {name: value for name, value in found.items() if value is not None}


def _row(row: Any) -> dict[str, Any]:
    made = {
        s.name: _value(s, getattr(row, s.attribute)) for s in specs(cast("type[Any]", type(row)))
    }
    if row.extra:  # names of undocumented keys are theirs, values may tell about a person
        made["extra"] = sorted(orjson.loads(row.extra))
    return made


def _value(spec: Spec, value: Any) -> Any:
    if value is None:
        return None
    if spec.wire.personal:
        return masked(spec.name, value)
    if spec.wire.kind is Kind.MONEY:
        return _yuan(value)
    if spec.wire.kind is Kind.TIME:
        return beijing(value)
    return value


def _yuan(micros: int) -> str:
    """ERP amounts may be finer and larger than those of our own ledger."""
    try:
        return micros_to_yuan(micros)
    except ValueError:
        whole, part = divmod(abs(micros), 1_000_000)
        return f"{'-' if micros < 0 else ''}{whole}.{part:06}".rstrip("0").rstrip(".")
