"""What pay orders and refunds have alike: fields, and the statements on either table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final, Generic, TypeVar

import msgspec
from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit.db.columns import Rows, literal, literals, types
from shoudan_kit.db.text_statements import columns, statement, unnest
from shoudan_kit.state_machine import Machine
from shoudan_pay.payserver.states import OTHER_AMOUNT, SENT, Event, SentEvent

_SETTLED: Final = ("traction_no", "expected", "status", "third_no", "result_code", "finish_time")


class Order(msgspec.Struct, frozen=True):
    """The columns of both pay_order and refund_order, and how the others are called in each."""

    CLIENT_NO: ClassVar[str]
    THIRD_NO: ClassVar[str]
    CALLED_AT: ClassVar[str]

    id: int
    uuid: str
    merchant_uuid: str
    content_hash: bytes
    traction_no: str
    mode_uuid: str
    template_id: str | None
    method: str
    async_notify: bool
    amount_micros: int
    extra_params: str
    status: str
    sent: str
    parked: bool
    result_code: str | None
    start_time: datetime
    finish_time: datetime | None
    create_time: datetime
    modify_time: datetime

    @property
    def client_key(self) -> tuple[str, str]:
        """The idempotency key: merchant and the client's own number."""
        return self.merchant_uuid, getattr(self, self.CLIENT_NO)

    @property
    def third_no(self) -> str | None:
        """The third party's number."""
        return getattr(self, self.THIRD_NO)

    @property
    def called_at(self) -> datetime:
        """When its component is called."""
        return getattr(self, self.CALLED_AT)


T = TypeVar("T", bound=Order)


@dataclass(frozen=True, slots=True)
class Settled:
    """The result of an order; stored only while its status is still `expected`."""

    traction_no: str
    expected: str
    status: str
    third_no: str | None
    result_code: str
    finish_time: datetime | None


class Orders(Generic[T]):
    """The statements on pay_order or refund_order."""

    def __init__(self, kind: type[T], table: Table, machine: Machine[Any, Event]) -> None:
        self.rows = Rows(kind)
        self._client_no = kind.CLIENT_NO
        name, read = table.name, self.rows.of("o")
        modified = "modify_time = greatest(modify_time, shoudan_now())"
        # A late result must not unpark an order whose component named another amount.
        stays = f"(o.parked AND starts_with(o.parked_reason, {literal(OTHER_AMOUNT)}))"
        asked = literal(machine.next(machine.initial, Event.ASKED))
        settled = types(table, "traction_no", "status", "result_code", "finish_time") | {
            "expected": "text",
            "third_no": "text",
        }
        self._by_client_no = statement(f"""
SELECT {read} FROM {unnest(**types(table, "merchant_uuid", kind.CLIENT_NO))}
JOIN {name} o ON o.merchant_uuid = given.merchant_uuid AND o.{kind.CLIENT_NO} = given.{kind.CLIENT_NO}
""")
        self._by_number = statement(f"""
SELECT {read} FROM {name} o WHERE o.traction_no = ANY(CAST(:numbers AS text[]))
""")
        # Settled orders have a finish_time: now when the component gave none.
        self._settle = statement(f"""
UPDATE {name} o SET status = given.status, {kind.THIRD_NO} = given.third_no,
    result_code = given.result_code, finish_time = coalesce(given.finish_time, shoudan_now()),
    {modified}, parked = {stays},
    parked_reason = CASE WHEN {stays} THEN o.parked_reason ELSE '' END
FROM {unnest(**{one: settled[one] for one in _SETTLED})}
WHERE o.traction_no = given.traction_no AND o.status = given.expected
RETURNING {read}
""")
        self._mark_sent = statement(f"""
UPDATE {name} SET sent = :sent, {modified}
WHERE traction_no = :traction_no AND status = {asked} AND sent = ANY(CAST(:before AS text[]))
RETURNING traction_no
""")
        # The first reason stands, and so does its time.
        self._park = statement(f"""
UPDATE {name} q SET parked = true, {modified},
    parked_reason = CASE WHEN q.parked THEN q.parked_reason ELSE given.reason END,
    parked_time = CASE WHEN q.parked THEN q.parked_time ELSE shoudan_now() END
FROM {unnest(traction_no="text", reason="text")} WHERE q.traction_no = given.traction_no
""")
        self._unpark = statement(f"""
UPDATE {name} SET parked = false, parked_reason = '', {modified}
WHERE traction_no = :number AND parked AND status NOT IN ({literals(machine.sources(Event.SUCCEEDED))})
RETURNING traction_no
""")

    async def by_client_no(
        self, db: AsyncConnection, keys: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], T]:
        """Orders by (merchant, client's number)."""
        pairs = list(keys)
        binds = {
            "merchant_uuid": [merchant for merchant, _ in pairs],
            self._client_no: [number for _, number in pairs],
        }
        found = self.rows.all(await db.execute(self._by_client_no, binds))
        return {one.client_key: one for one in found}

    async def by_number(self, db: AsyncConnection, numbers: Collection[str]) -> dict[str, T]:
        """Orders by tractionNo."""
        found = await db.execute(self._by_number, {"numbers": list(numbers)})
        return {one.traction_no: one for one in self.rows.all(found)}

    async def settle(self, db: AsyncConnection, results: Sequence[Settled]) -> dict[str, T]:
        """Store results; the orders that moved, by tractionNo."""
        binds = columns(sorted(results, key=lambda one: one.traction_no), *_SETTLED)
        found = self.rows.all(await db.execute(self._settle, binds))
        return {one.traction_no: one for one in found}

    async def mark_sent(self, db: AsyncConnection, traction_no: str, event: SentEvent) -> bool:
        """Store what happened to the call; False when it may not happen now, or the order has ended."""
        before = SENT.sources(event)
        binds = {"traction_no": traction_no, "before": before, "sent": SENT.next(before[0], event)}
        return (await db.execute(self._mark_sent, binds)).one_or_none() is not None

    async def park(self, db: AsyncConnection, reasons: Mapping[str, str]) -> None:
        """Leave orders to a person, each with its reason, by tractionNo."""
        binds = {"traction_no": list(reasons), "reason": list(reasons.values())}
        await db.execute(self._park, binds)

    async def unpark(self, db: AsyncConnection, traction_no: str) -> bool:
        """Unpark an order that has ended; False when it was not parked, or is still open."""
        return (await db.execute(self._unpark, {"number": traction_no})).one_or_none() is not None
