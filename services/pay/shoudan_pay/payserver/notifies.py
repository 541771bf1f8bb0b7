"""Notifies of components: one that brings the sign of its notifyUrl may end a pay or a refund."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from shoudan_kit import log
from shoudan_kit.rpc.shielded import shielded
from shoudan_pay.payserver import protocol
from shoudan_pay.payserver.acceptance import Acceptance
from shoudan_pay.payserver.history import PAY, REFUND
from shoudan_pay.payserver.protocol import AnswerKind, RawAnswer
from shoudan_pay.payserver.refusals import ResourceNotFound
from shoudan_pay.payserver.rules import Method
from shoudan_pay.payserver.server import PayServer
from shoudan_pay.payserver.settlement import PAYS, REFUNDS, OrderKind
from shoudan_pay.payserver.store import modes as mode_store
from shoudan_pay.payserver.store.orders import Order
from shoudan_pay.refusals import FieldInvalid

UNLISTED: Final = "is none of success, running, failed"

_log = log.get_logger("payserver")

T = TypeVar("T", bound=Order)


class Notifies:
    """Accepts notifies of components; a repeat changes nothing."""

    def __init__(self, server: PayServer) -> None:
        self._app, self._components = server.app, server.components
        self._pays, self._refunds = server.pays, server.refunds

    async def pay(self, number: str, sign: str, answer: RawAnswer) -> None:
        """Raises ResourceNotFound, for a wrong sign, too, and FieldInvalid."""
        await self._accept(PAY, PAYS, self._pays, number, sign, answer)

    async def refund(self, number: str, sign: str, answer: RawAnswer) -> None:
        """The same for a refund."""
        await self._accept(REFUND, REFUNDS, self._refunds, number, sign, answer)

    async def _accept(
        self,
        noun: str,
        own: OrderKind[T],
        accepted: Acceptance[Any, T],
        number: str,
        sign: str,
        raw: RawAnswer,
    ) -> None:
        async with self._app.db.connect() as db:
            order = (await own.orders.by_number(db, [number])).get(number)
            mode = "" if order is None else order.mode_uuid
            usable = (await mode_store.usable(db, [mode])).get(mode)
        if order is None or order.method != Method.COMPONENT:
            raise ResourceNotFound(number[:64])
        if usable is None or not self._components.is_signed(usable, sign, noun, number):
            _log.warning("notify_unsigned", kind=noun, traction_no=number)
            raise ResourceNotFound(number[:64])
        answer = protocol.read_answer(raw, str(raw.traction_no))
        if answer.word is AnswerKind.UNKNOWN:
            raise FieldInvalid("ret", UNLISTED)
        await shielded(accepted.apply(order, answer))
