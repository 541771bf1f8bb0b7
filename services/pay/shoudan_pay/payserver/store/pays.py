"""Statements on pay orders."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import ClassVar, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_pay.payserver.states import PAY
from shoudan_pay.payserver.store.orders import Order, Orders
from shoudan_pay.payserver.tables import PAY_ORDER


class PayOrder(Order, frozen=True):
    """One row of pay_order."""

    CLIENT_NO: ClassVar[str] = "client_pay_no"
    THIRD_NO: ClassVar[str] = "third_pay_no"
    CALLED_AT: ClassVar[str] = "pay_start_time"

    client_pay_no: str
    mode_name: str
    channel: str | None
    way: str | None
    payer: str
    payee: str
    refunded_micros: int
    params: str
    third_pay_no: str | None
    expire_time: datetime
    pay_start_time: datetime
    last_refund_time: datetime | None


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

    @property
    def client_key(self) -> tuple[str, str]:
        """The idempotency key."""
        return self.merchant_uuid, self.client_pay_no


ORDERS: Final = Orders(PayOrder, PAY_ORDER, PAY)
by_client_no, by_number = ORDERS.by_client_no, ORDERS.by_number
settle, park = ORDERS.settle, ORDERS.park

_COLUMNS: Final = ORDERS.rows.of("o")
_NEW: Final = NewPay.__struct_fields__[:-1]
_NAMES: Final = ", ".join(_NEW)

# Claims the client's numbers: a second transaction waits here for the first and then writes nothing.
_INSERT = statement(f"""
INSERT INTO pay_order AS o ({_NAMES}, refunded_micros, parked, start_time, expire_time, pay_start_time,
    create_time, modify_time)
SELECT {_NAMES}, 0, false, shoudan_now(), shoudan_now() + make_interval(hours => valid_h),
    shoudan_now(), shoudan_now(), shoudan_now()
FROM {unnest(**types(PAY_ORDER, *_NEW), valid_h="integer")}
ON CONFLICT (merchant_uuid, client_pay_no) DO NOTHING
RETURNING {_COLUMNS}
""")
_LOCK = statement(f"""
SELECT {_COLUMNS}, shoudan_now() AS now FROM pay_order o
WHERE o.traction_no = ANY(CAST(:numbers AS text[])) ORDER BY o.id FOR UPDATE
""")
# The rows are locked; CHECK constraints hold what the decision promises.
_GIVE_BACK = statement(f"""
UPDATE pay_order o SET refunded_micros = given.refunded_micros, status = given.status,
    last_refund_time = shoudan_now(), modify_time = greatest(modify_time, shoudan_now())
FROM {unnest(**types(PAY_ORDER, "id", "refunded_micros", "status"))} WHERE o.id = given.id
""")
_NOW = statement("SELECT shoudan_now()")


async def insert(db: AsyncConnection, new: Sequence[NewPay]) -> dict[tuple[str, str], PayOrder]:
    """Write those whose client's number is free; the orders written, by (merchant, clientPayNo)."""
    # Sorted, so that two writers of the same numbers never deadlock.
    binds = columns(sorted(new, key=lambda one: one.client_key), *_NEW, "valid_h")
    found = ORDERS.rows.all(await db.execute(_INSERT, binds))
    return {one.client_key: one for one in found}


async def lock(
    db: AsyncConnection, numbers: Collection[str]
) -> tuple[dict[str, PayOrder], datetime | None]:
    """Orders by tractionNo, locked in id order, and the time (None without any)."""
    rows = (await db.execute(_LOCK, {"numbers": list(numbers)})).all()
    return {one.traction_no: one for one in ORDERS.rows.all(rows)}, rows[0].now if rows else None


async def give_back(db: AsyncConnection, changed: Sequence[PayOrder]) -> None:
    """Store refunded_micros and status of locked orders."""
    await db.execute(_GIVE_BACK, columns(changed, "id", "refunded_micros", "status"))


async def now(db: AsyncConnection) -> datetime:
    """The database's time."""
    return (await db.execute(_NOW)).scalar_one()
