"""Statements on pay orders."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import literal
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_pay.payserver.states import OTHER_AMOUNT, PAY, SENT, Event, SentEvent


class PayOrder(msgspec.Struct, frozen=True):
    """One row of pay_order, in the order it is read."""

    id: int
    uuid: str
    merchant_uuid: str
    client_pay_no: str
    content_hash: bytes
    traction_no: str
    mode_uuid: str
    template_id: str | None
    mode_name: str
    channel: str | None
    way: str | None
    method: str
    async_notify: bool
    payer: str
    payee: str
    amount_micros: int
    refunded_micros: int
    params: str
    extra_params: str
    status: str
    sent: str
    parked: bool
    third_pay_no: str | None
    result_code: str | None
    start_time: datetime
    expire_time: datetime
    pay_start_time: datetime
    finish_time: datetime | None
    last_refund_time: datetime | None
    create_time: datetime
    modify_time: datetime


class NewPay(msgspec.Struct, frozen=True):
    """A pay order to write; its times begin now."""

    uuid: str
    merchant_uuid: str
    client_pay_no: str
    content_hash: bytes
    traction_no: str
    mode_uuid: str
    template_id: str | None
    mode_name: str
    channel: str | None
    way: str | None
    method: str
    async_notify: bool
    payer: str
    payee: str
    amount_micros: int
    params: str
    extra_params: str
    status: str
    sent: str
    valid_h: int


@dataclass(frozen=True, slots=True)
class Settled:
    """How a pay order ended: written only while its status is still `expected`."""

    traction_no: str
    expected: str
    status: str
    third_no: str | None
    result_code: str
    finish_time: datetime | None


COLUMNS: Final = PayOrder.__struct_fields__
_COLUMNS: Final = ", ".join(f"o.{name}" for name in COLUMNS)
_NEW: Final = {
    "uuid": "text",
    "merchant_uuid": "text",
    "client_pay_no": "text",
    "content_hash": "bytea",
    "traction_no": "text",
    "mode_uuid": "text",
    "template_id": "text",
    "mode_name": "text",
    "channel": "text",
    "way": "text",
    "method": "text",
    "async_notify": "boolean",
    "payer": "text",
    "payee": "text",
    "amount_micros": "bigint",
    "params": "text",
    "extra_params": "text",
    "status": "text",
    "sent": "text",
}
_NAMES: Final = ", ".join(_NEW)

_BY_CLIENT_NO = statement(f"""
SELECT {_COLUMNS} FROM {unnest(merchant_uuid="text", client_pay_no="text")}
JOIN pay_order o ON o.merchant_uuid = given.merchant_uuid AND o.client_pay_no = given.client_pay_no
""")

# Claims the client's numbers: a second transaction waits here for the first and then writes nothing.
_INSERT = statement(f"""
INSERT INTO pay_order AS o ({_NAMES}, refunded_micros, parked, start_time, expire_time, pay_start_time,
    create_time, modify_time)
SELECT {_NAMES}, 0, false, shoudan_now(), shoudan_now() + make_interval(hours => valid_h),
    shoudan_now(), shoudan_now(), shoudan_now()
FROM {unnest(**_NEW, valid_h="integer")}
ON CONFLICT (merchant_uuid, client_pay_no) DO NOTHING
RETURNING {_COLUMNS}
""")

# Ended orders have a time; `now` when the component gave none. No late word takes from a person what was
# told with another amount.
_SETTLE = statement(f"""
UPDATE pay_order o SET status = given.status, third_pay_no = given.third_no,
    result_code = given.result_code, finish_time = coalesce(given.finish_time, shoudan_now()),
    modify_time = greatest(modify_time, shoudan_now()), parked = (o.parked AND starts_with(o.parked_reason, '{
    OTHER_AMOUNT
}')),
    parked_reason = CASE WHEN (o.parked AND starts_with(o.parked_reason, '{
    OTHER_AMOUNT
}')) THEN o.parked_reason ELSE '' END
FROM {
    unnest(
        traction_no="text",
        expected="text",
        status="text",
        third_no="text",
        result_code="text",
        finish_time="timestamptz",
    )
} WHERE o.traction_no = given.traction_no AND o.status = given.expected
RETURNING {_COLUMNS}
""")
_BY_NUMBER = statement(f"""
SELECT {_COLUMNS} FROM pay_order o WHERE o.traction_no = ANY(CAST(:numbers AS text[]))
""")
_LOCK = statement(f"""
SELECT {_COLUMNS}, shoudan_now() FROM pay_order o WHERE o.traction_no = ANY(CAST(:numbers AS text[]))
ORDER BY o.id FOR UPDATE
""")
_ASKED: Final = literal(PAY.next(PAY.initial, Event.ASKED))
_MARK_SENT = statement(f"""
UPDATE pay_order SET sent = :sent, modify_time = greatest(modify_time, shoudan_now())
WHERE traction_no = :traction_no AND status = {_ASKED}
    AND sent = ANY(CAST(:before AS text[]))
RETURNING traction_no
""")
# The first reason stands, and so does its time.
_PARK = statement(f"""
UPDATE pay_order q SET parked = true, modify_time = greatest(modify_time, shoudan_now()),
    parked_reason = CASE WHEN q.parked THEN q.parked_reason ELSE given.reason END,
    parked_time = CASE WHEN q.parked THEN q.parked_time ELSE shoudan_now() END
FROM {unnest(traction_no="text", reason="text")} WHERE q.traction_no = given.traction_no
""")
# The rows are locked; CHECK constraints hold what the decision promises.
_GIVE_BACK = statement(f"""
UPDATE pay_order o SET refunded_micros = given.refunded, status = given.status,
    last_refund_time = shoudan_now(), modify_time = greatest(modify_time, shoudan_now())
FROM {unnest(id="bigint", refunded="bigint", status="text")} WHERE o.id = given.id
""")
_NOW = statement("SELECT shoudan_now()")


def client_key(pay: PayOrder | NewPay) -> tuple[str, str]:
    """What a repeat is recognised by."""
    return pay.merchant_uuid, pay.client_pay_no


async def by_client_no(
    db: AsyncConnection, keys: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], PayOrder]:
    """The orders that have these (merchant, clientPayNo)."""
    pairs = list(keys)
    binds = {"merchant_uuid": [k[0] for k in pairs], "client_pay_no": [k[1] for k in pairs]}
    return {client_key(o): o for o in _read(await db.execute(_BY_CLIENT_NO, binds))}


async def insert(db: AsyncConnection, new: Sequence[NewPay]) -> dict[tuple[str, str], PayOrder]:
    """Write those whose client's number is free; the orders written."""
    # In one order for everybody, so that two writers of the same numbers never wait in a circle.
    binds = columns(sorted(new, key=client_key), *_NEW, "valid_h")
    return {client_key(o): o for o in _read(await db.execute(_INSERT, binds))}


async def settle(db: AsyncConnection, ended: Sequence[Settled]) -> dict[str, PayOrder]:
    """Write ends; the orders that moved, by number."""
    names = ("traction_no", "expected", "status", "third_no", "result_code", "finish_time")
    binds = columns(sorted(ended, key=lambda one: one.traction_no), *names)
    return {o.traction_no: o for o in _read(await db.execute(_SETTLE, binds))}


async def by_number(db: AsyncConnection, numbers: Collection[str]) -> dict[str, PayOrder]:
    """Orders by tractionNo."""
    found = await db.execute(_BY_NUMBER, {"numbers": list(numbers)})
    return {o.traction_no: o for o in _read(found)}


async def lock(
    db: AsyncConnection, numbers: Collection[str]
) -> tuple[dict[str, PayOrder], datetime | None]:
    """Orders by tractionNo, locked in id order, and the time it is (None without any)."""
    rows = (await db.execute(_LOCK, {"numbers": list(numbers)})).all()
    return {row.traction_no: PayOrder(*row[:-1]) for row in rows}, rows[0][-1] if rows else None


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


async def give_back(db: AsyncConnection, changed: Sequence[tuple[int, int, str]]) -> None:
    """Write (id, refunded in all, status) of locked orders."""
    arrays = [list(column) for column in zip(*changed, strict=True)]
    await db.execute(_GIVE_BACK, {"id": arrays[0], "refunded": arrays[1], "status": arrays[2]})


async def now(db: AsyncConnection) -> datetime:
    """The database's time."""
    return (await db.execute(_NOW)).scalar_one()


def _read(rows: Iterable[Any]) -> list[PayOrder]:
    return [PayOrder(*row) for row in rows]
