"""Notifies of components: who brings what the notifyUrl carried may end a pay or a refund."""

from __future__ import annotations

from typing import Final

from shoudan_kit import log
from shoudan_kit.rpc.shielded import shielded
from shoudan_pay.payserver import protocol
from shoudan_pay.payserver.history import PAY, REFUND
from shoudan_pay.payserver.protocol import AnswerKind, ComponentAnswer, RawAnswer
from shoudan_pay.payserver.refusals import ResourceNotFound
from shoudan_pay.payserver.rules import Method
from shoudan_pay.payserver.server import PayServer
from shoudan_pay.payserver.store import modes as mode_store
from shoudan_pay.payserver.store import pays as pay_store
from shoudan_pay.payserver.store import refunds as refund_store
from shoudan_pay.refusals import FieldInvalid

UNLISTED: Final = "is none of success, running, failed"

_log = log.get_logger("payserver")


class Notifies:
    """Takes what components tell; a repeat changes nothing."""

    def __init__(self, server: PayServer) -> None:
        self._app, self._components = server.app, server.components
        self._pays, self._refunds = server.pays, server.refunds

    async def pay(self, number: str, sign: str, answer: RawAnswer) -> None:
        """Raises ResourceNotFound, for a wrong sign, too, and FieldInvalid."""
        async with self._app.db.connect() as db:
            pay = (await pay_store.by_number(db, [number])).get(number)
            mode = "" if pay is None else pay.mode_uuid
            usable = (await mode_store.usable(db, [mode])).get(mode)
        if pay is None or pay.method != Method.COMPONENT:
            raise ResourceNotFound(number[:64])
        self._verify(PAY, number, sign, usable)
        heard = _heard(answer)
        await shielded(self._pays.heard(pay, heard))

    async def refund(self, number: str, sign: str, answer: RawAnswer) -> None:
        """The same for a refund."""
        async with self._app.db.connect() as db:
            refund = (await refund_store.by_number(db, [number])).get(number)
            mode = "" if refund is None else refund.mode_uuid
            usable = (await mode_store.usable(db, [mode])).get(mode)
        if refund is None or refund.method != Method.COMPONENT:
            raise ResourceNotFound(number[:64])
        self._verify(REFUND, number, sign, usable)
        heard = _heard(answer)
        await shielded(self._refunds.heard(refund, heard))

    def _verify(self, kind: str, number: str, sign: str, usable: mode_store.Usable | None) -> None:
        """Raises ResourceNotFound unless the notify brought what its notifyUrl carried."""
        secret = b"" if usable is None else self._components.secret(usable)
        if not protocol.signed(sign, secret, kind, number) or usable is None:
            _log.warning("notify_unsigned", kind=kind, traction_no=number)
            raise ResourceNotFound(number[:64])


def _heard(answer: RawAnswer) -> ComponentAnswer:
    """What a notify says. Raises FieldInvalid on a word that is not documented."""
    heard = protocol.heard(answer, str(answer.tractionNo))
    if heard.word is AnswerKind.UNKNOWN:
        raise FieldInvalid("ret", UNLISTED)
    return heard
