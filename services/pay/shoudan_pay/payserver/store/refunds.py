"""Statements on refunds and trade records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import literal
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_pay.payserver.states import OTHER_AMOUNT, REFUND, SENT, Event, RefundStatus, SentEvent


class RefundOrder(msgspec.Struct, frozen=True):
    """One row of refund_order, in the order it is read."""

    id: int
    uuid: str
    pay_id: int
    pay_uuid: str
    pay_traction_no: str
    merchant_uuid: str
    mode_uuid: str
    template_id: str | None
    client_refund_no: str
    content_hash: bytes
    traction_no: str
    method: str
    async_notify: bool
    cancel: bool
    amount_micros: int
    extra_params: str
    status: str
    sent: str
    parked: bool
    third_refund_no: str | None
    result_code: str | None
    start_time: datetime
    finish_time: datetime | None
    create_time: datetime
    modify_time: datetime


@dataclass(frozen=True, slots=True)
class Settled:
    """How a refund ended: written only while its status is still `expected`."""

    traction_no: str
    expected: str
    status: str
    third_no: str | None
    result_code: str
    finish_time: datetime | None


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade record to write."""

    uuid: str
    traction_no: str
    trade_type: str
    amount_micros: int
    status: str
    result_code: str
    merchant_uuid: str
    mode_uuid: str
    template_id: str | None
    pay_uuid: str
    refund_uuid: str


_COLUMNS: Final = ", ".join(f"r.{name}" for name in RefundOrder.__struct_fields__)
_NEW: Final = {
    "uuid": "text",
    "pay_id": "bigint",
    "pay_uuid": "text",
    "pay_traction_no": "text",
    "merchant_uuid": "text",
    "mode_uuid": "text",
    "template_id": "text",
    "client_refund_no": "text",
    "content_hash": "bytea",
    "traction_no": "text",
    "method": "text",
    "async_notify": "boolean",
    "cancel": "boolean",
    "amount_micros": "bigint",
    "extra_params": "text",
    "status": "text",
    "sent": "text",
    "third_refund_no": "text",
    "result_code": "text",
    "finish_time": "timestamptz",
}
_NAMES: Final = ", ".join(_NEW)

_BY_CLIENT_NO = statement(f"""
SELECT {_COLUMNS} FROM {unnest(merchant_uuid="text", client_refund_no="text")}
JOIN refund_order r ON r.merchant_uuid = given.merchant_uuid
    AND r.client_refund_no = given.client_refund_no
""")
_INSERT = statement(f"""
INSERT INTO refund_order AS r ({_NAMES}, parked, start_time, create_time, modify_time)
SELECT {_NAMES}, false, shoudan_now(), shoudan_now(), shoudan_now() FROM {unnest(**_NEW)}
RETURNING {_COLUMNS}
""")
_SETTLE = statement(f"""
UPDATE refund_order r SET status = given.status, third_refund_no = given.third_no,
    result_code = given.result_code, finish_time = coalesce(given.finish_time, shoudan_now()),
    modify_time = greatest(modify_time, shoudan_now()), parked = (r.parked AND starts_with(r.parked_reason, '{
    OTHER_AMOUNT
}')),
    parked_reason = CASE WHEN (r.parked AND starts_with(r.parked_reason, '{
    OTHER_AMOUNT
}')) THEN r.parked_reason ELSE '' END
FROM {
    unnest(
        traction_no="text",
        expected="text",
        status="text",
        third_no="text",
        result_code="text",
        finish_time="timestamptz",
    )
} WHERE r.traction_no = given.traction_no AND r.status = given.expected
RETURNING {_COLUMNS}
""")
_BY_NUMBER = statement(f"""
SELECT {_COLUMNS} FROM refund_order r WHERE r.traction_no = ANY(CAST(:numbers AS text[]))
""")
# Read after the pay orders were locked: nobody can add to these now. A failed refund that its component
# now calls a success may have been given back: it counts until a person has decided.
_GIVEN = statement(f"""
SELECT pay_id, CAST(sum(amount_micros) AS bigint)
FROM refund_order
WHERE pay_id = ANY(CAST(:pay_ids AS bigint[])) AND (status <> {literal(RefundStatus.REFUND_FAILED)} OR parked)
GROUP BY pay_id
""")
_ASKED: Final = literal(REFUND.next(REFUND.initial, Event.ASKED))
_MARK_SENT = statement(f"""
UPDATE refund_order SET sent = :sent, modify_time = greatest(modify_time, shoudan_now())
WHERE traction_no = :traction_no AND status = {_ASKED}
    AND sent = ANY(CAST(:before AS text[]))
RETURNING traction_no
""")
# The first reason stands, and so does its time.
_PARK = statement(f"""
UPDATE refund_order q SET parked = true, modify_time = greatest(modify_time, shoudan_now()),
    parked_reason = CASE WHEN q.parked THEN q.parked_reason ELSE given.reason END,
    parked_time = CASE WHEN q.parked THEN q.parked_time ELSE shoudan_now() END
FROM {unnest(traction_no="text", reason="text")} WHERE q.traction_no = given.traction_no
""")

_TRADE: Final = {
    "uuid": "text",
    "traction_no": "text",
    "trade_type": "text",
    "amount_micros": "bigint",
    "status": "text",
    "result_code": "text",
    "merchant_uuid": "text",
    "mode_uuid": "text",
    "template_id": "text",
    "pay_uuid": "text",
    "refund_uuid": "text",
}
_INSERT_TRADES = statement(f"""
INSERT INTO trade_record ({", ".join(_TRADE)}, create_time)
SELECT {", ".join(f"given.{name}" for name in _TRADE)}, shoudan_now() FROM {unnest(**_TRADE)}
""")


async def by_client_no(
    db: AsyncConnection, keys: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], RefundOrder]:
    """The refunds that have these (merchant, clientRefundNo)."""
    pairs = list(keys)
    binds = {"merchant_uuid": [k[0] for k in pairs], "client_refund_no": [k[1] for k in pairs]}
    found = _read(await db.execute(_BY_CLIENT_NO, binds))
    return {(r.merchant_uuid, r.client_refund_no): r for r in found}


async def insert(db: AsyncConnection, new: Sequence[RefundOrder]) -> dict[str, RefundOrder]:
    """Write new refunds, by number; ids and times given with them do not count."""
    ordered = sorted(new, key=lambda r: (r.merchant_uuid, r.client_refund_no))
    found = _read(await db.execute(_INSERT, columns(ordered, *_NEW)))
    return {r.traction_no: r for r in found}


async def settle(db: AsyncConnection, ended: Sequence[Settled]) -> dict[str, RefundOrder]:
    """Write ends; the refunds that moved, by number."""
    names = ("traction_no", "expected", "status", "third_no", "result_code", "finish_time")
    found = _read(await db.execute(_SETTLE, columns(ended, *names)))
    return {r.traction_no: r for r in found}


async def by_number(db: AsyncConnection, numbers: Collection[str]) -> dict[str, RefundOrder]:
    """Refunds by tractionNo."""
    found = await db.execute(_BY_NUMBER, {"numbers": list(numbers)})
    return {r.traction_no: r for r in _read(found)}


async def given(db: AsyncConnection, pay_ids: Collection[int]) -> dict[int, int]:
    """Micro-yuan that were or may still be given back of locked pay orders, by id; without failed refunds."""
    rows = (await db.execute(_GIVEN, {"pay_ids": list(pay_ids)})).all()
    return {row[0]: row[1] for row in rows}


async def mark_sent(db: AsyncConnection, traction_no: str, event: SentEvent) -> bool:
    """Store what happened to the call, if it may happen then and nothing has ended since."""
    before = SENT.sources(event)
    sent = SENT.next(before[0], event)
    binds = {"traction_no": traction_no, "sent": sent, "before": before}
    return (await db.execute(_MARK_SENT, binds)).one_or_none() is not None


async def park(db: AsyncConnection, reasons: Mapping[str, str]) -> None:
    """Leave these to a person, each with its reason."""
    binds = {"traction_no": list(reasons), "reason": list(reasons.values())}
    await db.execute(_PARK, binds)


async def record(db: AsyncConnection, trades: Sequence[Trade]) -> None:
    """Add to the history."""
    await db.execute(_INSERT_TRADES, columns(trades, *_TRADE))


def _read(rows: Iterable[Any]) -> list[RefundOrder]:
    return [RefundOrder(*row) for row in rows]
