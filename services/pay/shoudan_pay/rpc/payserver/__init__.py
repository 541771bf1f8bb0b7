"""PaymentService's servicer: PayServer (002) over gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from shoudan.pay.v1 import payment_service_pb2 as pb
from shoudan.pay.v1 import payment_service_pb2_grpc as grpc_stubs
from shoudan_kit import log
from shoudan_kit.refusal import Refusal
from shoudan_kit.rpc import RpcContext, deadline
from shoudan_kit.service import App
from shoudan_kit.shielded import shielded
from shoudan_pay.channels import component
from shoudan_pay.channels.component import Answer, Heard, Word
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver.judging import Method
from shoudan_pay.payserver.refusals import ResourceNotFound
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc.payserver import history, paying, refunding, wire
from shoudan_pay.rpc.payserver.asking import Asking
from shoudan_pay.rpc.payserver.components import Components
from shoudan_pay.rpc.payserver.history import History, Subscriber
from shoudan_pay.rpc.payserver.modes import ModeCalls
from shoudan_pay.rpc.payserver.paying import Paid, Paying
from shoudan_pay.rpc.payserver.refunding import Refunded, Refunding
from shoudan_pay.rpc.payserver.settling import Settling
from shoudan_pay.store.payserver import modes as mode_store
from shoudan_pay.store.payserver import pays as pay_store
from shoudan_pay.store.payserver import refunds as refund_store

UNLISTED = "is none of success, running, failed"

M = TypeVar("M")
V = TypeVar("V")
A = TypeVar("A")

_log = log.get_logger("payserver")
_PayResult = pb.CreatePaysResponse.Result
_RefundResult = pb.CreateRefundsResponse.Result


class PayServer:
    """Everything of PayServer in one process; made once, closed once."""

    def __init__(self, app: App[PaySettings], subscribers: Sequence[Subscriber] = ()) -> None:
        self.app = app
        self.components = Components(app.settings)
        self.settling = Settling(app, History(subscribers))
        self.paying = Paying(app, self.components, self.settling)
        self.refunding = Refunding(app, self.components, self.settling)
        self.asking = Asking(app, self.components, self.settling, self.paying, self.refunding)

    async def aclose(self) -> None:
        """Finish what was taken, then close."""
        await self.paying.aclose()
        await self.refunding.aclose()
        await self.settling.aclose()
        await self.components.aclose()


class PaymentServicer(ModeCalls, grpc_stubs.PaymentServiceServicer):
    """shoudan.pay.v1.PaymentService."""

    def __init__(self, server: PayServer) -> None:
        self._app, self._components = server.app, server.components
        self._paying, self._refunding = server.paying, server.refunding
        self._settling = server.settling

    async def CreatePays(
        self, request: pb.CreatePaysRequest, context: RpcContext
    ) -> pb.CreatePaysResponse:
        """Items are independent; what a component has not ended in time is answered as paying."""
        merchant, wait_s = request.caller.merchant_uuid, self._wait_s(context)

        async def pay(wishes: Sequence[paying.Wish]) -> Sequence[paying.Answer]:
            return await self._paying.pay(wishes, wait_s)

        results = await _each(
            request.items,
            lambda item: paying.Wish(merchant, wire.pay(item)),
            pay,
            _pay_result,
        )
        return pb.CreatePaysResponse(results=results)

    async def CreateRefunds(
        self, request: pb.CreateRefundsRequest, context: RpcContext
    ) -> pb.CreateRefundsResponse:
        """Items are independent; what a component has not ended in time is answered as refunding."""
        merchant, wait_s = request.caller.merchant_uuid, self._wait_s(context)

        async def refund(wishes: Sequence[refunding.Wish]) -> Sequence[refunding.Answer]:
            return await self._refunding.refund(wishes, wait_s)

        results = await _each(
            request.items,
            lambda item: refunding.Wish(merchant, wire.refund(item)),
            refund,
            _refund_result,
        )
        return pb.CreateRefundsResponse(results=results)

    async def NotifyPay(
        self, request: pb.NotifyPayRequest, context: RpcContext
    ) -> pb.NotifyPayResponse:
        """A wrong sign is answered like an unknown number."""
        number = wire.resource(request.told.traction_no)
        async with self._app.db.connect() as db:
            pay = (await pay_store.by_number(db, [number])).get(number)
            mode = "" if pay is None else pay.mode_uuid
            usable = (await mode_store.usable(db, [mode])).get(mode)
        if pay is None or pay.method != Method.COMPONENT:
            raise ResourceNotFound(number[:64])
        self._verify(history.PAY, number, request.sign, usable)
        heard = _heard(request.told)
        await shielded(self._paying.heard(pay, heard))
        return pb.NotifyPayResponse()

    async def NotifyRefund(
        self, request: pb.NotifyRefundRequest, context: RpcContext
    ) -> pb.NotifyRefundResponse:
        """The same for a refund."""
        number = wire.resource(request.told.traction_no)
        async with self._app.db.connect() as db:
            refund = (await refund_store.by_number(db, [number])).get(number)
            mode = "" if refund is None else refund.mode_uuid
            usable = (await mode_store.usable(db, [mode])).get(mode)
        if refund is None or refund.method != Method.COMPONENT:
            raise ResourceNotFound(number[:64])
        self._verify(history.REFUND, number, request.sign, usable)
        heard = _heard(request.told)
        await shielded(self._refunding.heard(refund, heard))
        return pb.NotifyRefundResponse()

    def _verify(self, kind: str, number: str, sign: str, usable: mode_store.Usable | None) -> None:
        """Raises ResourceNotFound unless the notify brought what its notifyUrl carried."""
        secret = b"" if usable is None else self._components.secret(usable)
        if not component.signed(sign, secret, kind, number) or usable is None:
            _log.warning("notify_unsigned", kind=kind, traction_no=number)
            raise ResourceNotFound(number[:64])

    def _wait_s(self, context: RpcContext) -> float:
        return deadline(context, self._app.settings.component_timeout_s + 1)


async def _each(
    messages: Sequence[M],
    read: Callable[[M], V],
    run: Callable[[Sequence[V]], Awaitable[Sequence[A]]],
    result: Callable[[A | Refusal], Any],
) -> list[Any]:
    """Results in the order of the messages; those without a shape are refused, the others run together."""
    if len(messages) > wire.ITEMS_MAX:
        raise FieldInvalid("items", f"are more than {wire.ITEMS_MAX}")
    values: list[V | Refusal] = []
    for message in messages:
        try:
            values.append(read(message))
        except Refusal as refusal:
            values.append(refusal)
    right = [one for one in values if not isinstance(one, Refusal)]
    answers = iter(await run(right) if right else ())
    return [result(one if isinstance(one, Refusal) else next(answers)) for one in values]


def _pay_result(answer: paying.Answer) -> pb.CreatePaysResponse.Result:
    if isinstance(answer, Paid):
        return _PayResult(pay=wire.pay_message(answer.pay), repeated=answer.repeated)
    if isinstance(answer, Refusal):
        return _PayResult(refusal=answer.to_proto())
    return _PayResult(offline=True)


def _refund_result(answer: refunding.Answer) -> pb.CreateRefundsResponse.Result:
    if isinstance(answer, Refunded):
        shown = wire.refund_message(answer.refund)
        return _RefundResult(refund=shown, repeated=answer.repeated)
    if isinstance(answer, Refusal):
        return _RefundResult(refusal=answer.to_proto())
    return _RefundResult(offline=True)


def _heard(told: pb.Told) -> Heard:
    """What a notify says. Raises FieldInvalid on a word that is not documented."""
    answer = Answer(
        told.traction_no,
        told.ret,
        told.third_order_no,
        told.third_error_reason,
        told.trade_finished_at,
        told.pay_fen if told.HasField("pay_fen") else None,
        told.refund_fen if told.HasField("refund_fen") else None,
    )
    heard = component.heard(answer, told.traction_no)
    if heard.word is Word.UNKNOWN:
        raise FieldInvalid("ret", UNLISTED)
    return heard
