"""PaymentService's servicer: PayServer (002) over gRPC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from shoudan.pay.v1 import payment_service_pb2 as pb
from shoudan.pay.v1 import payment_service_pb2_grpc as grpc_stubs
from shoudan_kit.rpc.deadlines import deadline
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.refusal import Refusal
from shoudan_pay.payserver import pays, refunds
from shoudan_pay.payserver.acceptance import Acceptance, Answer, Asked, Request, Stored
from shoudan_pay.payserver.lists import Lists
from shoudan_pay.payserver.modes import Modes
from shoudan_pay.payserver.notifies import Notifies
from shoudan_pay.payserver.protocol import RawAnswer
from shoudan_pay.payserver.server import PayServer
from shoudan_pay.payserver.store.orders import Order
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc import payment_messages
from shoudan_pay.rpc.ended_pays import EndedCalls
from shoudan_pay.rpc.payment_modes import ModeCalls

K = TypeVar("K", bound=Asked)
T = TypeVar("T", bound=Order)
R = TypeVar("R")

_PayResult = pb.CreatePaysResponse.Result
_RefundResult = pb.CreateRefundsResponse.Result


class PaymentServicer(ModeCalls, EndedCalls, grpc_stubs.PaymentServiceServicer):
    """shoudan.pay.v1.PaymentService."""

    def __init__(self, server: PayServer) -> None:
        self._app, self._lists = server.app, Lists(server.app)
        self._modes = Modes(server.app, server.components)
        self._pays, self._refunds = server.pays, server.refunds
        self._notifies = Notifies(server)

    async def CreatePays(
        self, request: pb.CreatePaysRequest, context: RpcContext
    ) -> pb.CreatePaysResponse:
        """Items are independent; what a component has not ended in time is answered as paying."""
        results = await self._each(request, context, self._pays, payment_messages.pay, _pay_result)
        return pb.CreatePaysResponse(results=results)

    async def CreateRefunds(
        self, request: pb.CreateRefundsRequest, context: RpcContext
    ) -> pb.CreateRefundsResponse:
        """Items are independent; what a component has not ended in time is answered as refunding."""
        results = await self._each(
            request, context, self._refunds, payment_messages.refund, _refund_result
        )
        return pb.CreateRefundsResponse(results=results)

    async def NotifyPay(
        self, request: pb.NotifyPayRequest, context: RpcContext
    ) -> pb.NotifyPayResponse:
        """A wrong sign is answered like an unknown number."""
        number = payment_messages.resource(request.told.traction_no)
        await self._notifies.pay(number, request.sign, _answer(request.told))
        return pb.NotifyPayResponse()

    async def NotifyRefund(
        self, request: pb.NotifyRefundRequest, context: RpcContext
    ) -> pb.NotifyRefundResponse:
        """The same for a refund."""
        number = payment_messages.resource(request.told.traction_no)
        await self._notifies.refund(number, request.sign, _answer(request.told))
        return pb.NotifyRefundResponse()

    async def _each(
        self,
        request: Any,
        context: RpcContext,
        accepted: Acceptance[K, T],
        read: Callable[[Any], K],
        result: Callable[[Answer[T]], R],
    ) -> list[R]:
        """Results in the order of the items; those without a shape are refused, the others run together."""
        if len(request.items) > payment_messages.ITEMS_MAX:
            raise FieldInvalid("items", f"are more than {payment_messages.ITEMS_MAX}")
        values: list[Request[K] | Refusal] = []
        for item in request.items:
            try:
                values.append(Request(request.caller.merchant_uuid, read(item)))
            except Refusal as refusal:
                values.append(refusal)
        right = [one for one in values if not isinstance(one, Refusal)]
        wait_s = deadline(context, self._app.settings.component_timeout_s + 1)
        answers = iter(await accepted.accept(right, wait_s) if right else ())
        return [result(one if isinstance(one, Refusal) else next(answers)) for one in values]


def _pay_result(answer: pays.Answer) -> pb.CreatePaysResponse.Result:
    if isinstance(answer, Stored):
        return _PayResult(pay=payment_messages.pay_message(answer.order), repeated=answer.repeated)
    if isinstance(answer, Refusal):
        return _PayResult(refusal=answer.to_proto())
    return _PayResult(offline=True)


def _refund_result(answer: refunds.Answer) -> pb.CreateRefundsResponse.Result:
    if isinstance(answer, Stored):
        shown = payment_messages.refund_message(answer.order)
        return _RefundResult(refund=shown, repeated=answer.repeated)
    if isinstance(answer, Refusal):
        return _RefundResult(refusal=answer.to_proto())
    return _RefundResult(offline=True)


def _answer(notified: pb.Told) -> RawAnswer:
    return RawAnswer(
        notified.traction_no,
        notified.ret,
        notified.third_order_no,
        notified.third_error_reason,
        notified.trade_finished_at,
        notified.pay_fen if notified.HasField("pay_fen") else None,
        notified.refund_fen if notified.HasField("refund_fen") else None,
    )
