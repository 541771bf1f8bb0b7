"""OrderService: creates, queries and shows orders, takes results."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC
from typing import Final, cast

from shoudan.core.v1.core_pb2 import Moment
from shoudan.order.v1 import order_service_pb2 as pb
from shoudan.order.v1 import order_service_pb2_grpc as grpc_pb
from shoudan_kit.batch import Coalescer
from shoudan_kit.ids import EPOCH
from shoudan_kit.money import MICROS_MAX
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.shielded import shielded
from shoudan_kit.secrets.sealing import plain_account
from shoudan_order import cards, checks, orders, results, timeline, views
from shoudan_order.context import Context
from shoudan_order.delivery_client import Outcome, carrier_serial, stated_cost_micros
from shoudan_order.pricing import NewOrder
from shoudan_order.refusals import FieldInvalid, OrderRefusal
from shoudan_order.rpc import refunds
from shoudan_order.rpc.messages import KEY_CHARS_MAX, NUM_MAX, call_nonce, filled, text_problem
from shoudan_order.states import YesNo
from shoudan_order.store.rows import OrderSummary
from shoudan_order.store.surveys import PARTS_MAX
from shoudan_order.store.views import OrderFilter, OrderView, RefundFilter

ITEMS_MAX: Final = 1_000
CODE_CHARS_MAX: Final = 8
PAGE_DEFAULT: Final = 100
PARTS_DEFAULT: Final = 48


class OrderServicer(grpc_pb.OrderServiceServicer):
    """The calls of OrderService."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._one: Coalescer[NewOrder, orders.Accepted] = Coalescer(
            self._create_batch,
            name="order.create",
            size_max=200,
            slots=context.app.db.slots,
        )

    async def aclose(self) -> None:
        """Finish the batch in progress."""
        await self._one.aclose()

    async def _create_batch(
        self, news: Sequence[NewOrder]
    ) -> Sequence[orders.Accepted | OrderRefusal]:
        return await orders.create(self._context, news)

    async def CreateOrders(
        self, request: pb.CreateOrdersRequest, context: RpcContext
    ) -> pb.CreateOrdersResponse:
        """Items are independent; malformed ones are refused alone."""
        _bounded("orders", len(request.orders))
        wanted = [_new_order(one) for one in request.orders]
        well = [one for one in wanted if isinstance(one, NewOrder)]
        answers = iter(await orders.create(self._context, well) if well else ())
        return pb.CreateOrdersResponse(
            results=[_result(next(answers) if isinstance(one, NewOrder) else one) for one in wanted]
        )

    async def CreateOrder(
        self, request: pb.CreateOrderRequest, context: RpcContext
    ) -> pb.CreateOrderResponse:
        """One order; calls in flight are gathered."""
        new = _new_order(request.order)
        if isinstance(new, FieldInvalid):
            raise new
        accepted = await self._one(new)
        return pb.CreateOrderResponse(order=state(accepted.order), existed=accepted.existed)

    async def QueryOrders(
        self, request: pb.QueryOrdersRequest, context: RpcContext
    ) -> pb.QueryOrdersResponse:
        """Key by key; a running notify is answered by it."""
        _bounded("keys", len(request.keys))
        keys = [(key.channel_no, key.request_no) for key in request.keys]
        found = await orders.query(self._context, keys)
        return pb.QueryOrdersResponse(
            results=[
                pb.QueryOrdersResponse.Result(order=state(one))
                if isinstance(one, OrderSummary)
                else pb.QueryOrdersResponse.Result(refusal=one.to_proto())
                for one in found
            ]
        )

    async def CheckOrders(
        self, request: pb.CheckOrdersRequest, context: RpcContext
    ) -> pb.CheckOrdersResponse:
        """Nothing is written; a malformed order is INVALID."""
        _bounded("orders", len(request.orders))
        wanted = [_new_order(one, request_chars_min=0) for one in request.orders]
        well = [one for one in wanted if isinstance(one, NewOrder)]
        answers = iter(await checks.check(self._context, well))
        checked = [
            next(answers) if isinstance(one, NewOrder) else checks.Checked(one) for one in wanted
        ]
        return pb.CheckOrdersResponse(
            results=[pb.CheckOrdersResponse.Result(check=_check(one)) for one in checked]
        )

    async def FetchCards(
        self, request: pb.FetchCardsRequest, context: RpcContext
    ) -> pb.FetchCardsResponse:
        """One page of the cards of an order."""
        texts = (
            ("channel_no", request.channel_no, 1, KEY_CHARS_MAX),
            ("request_no", request.request_no, 1, KEY_CHARS_MAX),
            ("page_token", request.page_token, 0, KEY_CHARS_MAX),
            ("remote_ip", request.remote_ip, 0, KEY_CHARS_MAX),
        )
        nonce = call_nonce(request.channel_no, request.nonce)
        if problem := text_problem(texts, ""):
            raise problem
        if isinstance(nonce, FieldInvalid):
            raise nonce
        wanted = cards.Wanted(
            request.channel_no,
            request.request_no,
            request.page_size,
            request.page_token,
            nonce,
            request.remote_ip,
        )
        order, page = await shielded(cards.fetch(self._context, wanted))
        return pb.FetchCardsResponse(
            order=state(order), cards=page.cards, next_page_token=page.next_page_token
        )

    async def ReportResults(
        self, request: pb.ReportResultsRequest, context: RpcContext
    ) -> pb.ReportResultsResponse:
        """Ends of deliveries and returns, acknowledged one by one."""
        _bounded("results", len(request.results))
        outcomes = [_outcome(one) for one in request.results]
        delivered = [one for one in outcomes if not one.is_return]
        acks = {
            a.id: a for a in (await results.report(self._context, delivered) if delivered else ())
        }
        returned = [one for one in outcomes if one.is_return]
        acks |= {a.id: a for a in await refunds.report(self._context, returned)}
        return pb.ReportResultsResponse(
            acks=[
                pb.ReportResultsResponse.Ack(
                    id=one.id, applied=acks[one.id].applied, conflict=acks[one.id].conflict
                )
                for one in outcomes
            ]
        )

    async def GetOrder(
        self, request: pb.GetOrderRequest, context: RpcContext
    ) -> pb.GetOrderResponse:
        """One order whole."""
        key = (request.key.channel_no, request.key.request_no)
        view = await views.order(self._context, request.order_id, key)
        return pb.GetOrderResponse(order=whole(view))

    async def ListOrders(
        self, request: pb.ListOrdersRequest, context: RpcContext
    ) -> pb.ListOrdersResponse:
        """Newest first, without their parts."""
        size = min(request.page_size or PAGE_DEFAULT, ITEMS_MAX)
        wanted = OrderFilter(
            channel_no=request.channel_no,
            statuses=tuple(request.statuses),
            start=request.start_time.ToDatetime(UTC) if request.HasField("start_time") else None,
            end=request.end_time.ToDatetime(UTC) if request.HasField("end_time") else None,
            parked=request.parked,
            before_id=_token(request.page_token),
            most=size,
            account=self._context.accounts.lookup(request.account) if request.account else "",
            account_in_clear=(request.account, plain_account(request.account)),
        )
        found, token = await views.orders(self._context, wanted)
        return pb.ListOrdersResponse(orders=[whole(v) for v in found], next_page_token=token)

    async def ListRefunds(
        self, request: pb.ListRefundsRequest, context: RpcContext
    ) -> pb.ListRefundsResponse:
        """Newest first."""
        wanted = RefundFilter(
            channel_no=request.channel_no,
            statuses=tuple(request.statuses),
            start=request.start_time.ToDatetime(UTC) if request.HasField("start_time") else None,
            end=request.end_time.ToDatetime(UTC) if request.HasField("end_time") else None,
            before_id=_token(request.page_token),
            most=min(request.page_size or PAGE_DEFAULT, ITEMS_MAX),
        )
        found, token = await views.refunds(self._context, wanted)
        return pb.ListRefundsResponse(
            refunds=[refunds.refund(row) for row in found], next_page_token=token
        )

    async def GetSurvey(
        self, request: pb.GetSurveyRequest, context: RpcContext
    ) -> AsyncIterator[pb.GetSurveyResponse]:
        """A line for each part of the period that has orders."""
        parts = request.parts or PARTS_DEFAULT
        if not 0 < parts <= PARTS_MAX:
            raise FieldInvalid("parts", f"from 1 to {PARTS_MAX}")
        start, end = (t.ToDatetime(UTC) for t in (request.start_time, request.end_time))
        if not EPOCH <= start < end:
            raise FieldInvalid("end_time", "after start_time, both since 2020")
        for one in await views.survey(self._context, request.channel_no, start, end, parts):
            yield pb.GetSurveyResponse(
                labels={"start": one.start.isoformat(timespec="milliseconds")},
                count=one.count,
                looked_at=one.looked_at,
                statuses=one.statuses,
                took_ms=one.took_ms,
            )

    async def GetLifecycle(
        self, request: pb.GetLifecycleRequest, context: RpcContext
    ) -> pb.GetLifecycleResponse:
        """The merged timeline of order, pay and delivery; whole, or the page asked for."""
        key, token = (request.key.channel_no, request.key.request_no), ""
        number, size = request.order_id, request.page_size
        if size > 0:
            wanted = (size, request.page_token)
            moments, token = await timeline.page(self._context, number, key, *wanted)
        else:
            moments = await timeline.of_order(self._context, number, key)
        return pb.GetLifecycleResponse(
            moments=[filled(Moment, one) for one in moments], next_page_token=token
        )

    async def CreateRefunds(
        self, request: pb.CreateRefundsRequest, context: RpcContext
    ) -> pb.CreateRefundsResponse:
        """General and mandatory refunds; items are independent."""
        _bounded("refunds", len(request.refunds))
        return await refunds.create(self._context, request)

    async def QueryRefunds(
        self, request: pb.QueryRefundsRequest, context: RpcContext
    ) -> pb.QueryRefundsResponse:
        """Key by key."""
        _bounded("keys", len(request.keys))
        return await refunds.query(self._context, request)


def _bounded(field: str, count: int) -> None:
    if count > ITEMS_MAX:
        raise FieldInvalid(field, f"more than {ITEMS_MAX}")


def _token(text: str) -> int:
    if not text:
        return MICROS_MAX * 1024 - 1
    if not text.isdecimal() or len(text) > 19:
        raise FieldInvalid("page_token", "not given by the page before")
    return int(text)


def _new_order(one: pb.NewOrder, *, request_chars_min: int = 1) -> NewOrder | FieldInvalid:
    """The requested order, or the refusal of its first malformed field."""
    problem = _problem(one, request_chars_min)
    if problem is not None:
        return problem
    nonce = call_nonce(one.channel_no, one.nonce)
    if isinstance(nonce, FieldInvalid):
        return nonce
    return NewOrder(
        one.channel_no,
        one.request_no,
        one.line_id,
        one.carrier_no,
        one.province_no,
        one.city_no,
        one.invoice_type,
        one.num,
        one.face_micros,
        one.amount_micros,
        one.notify_url,
        one.recharge_account,
        nonce,
        one.max_amount_micros,
        one.confirm_repeat,
    )


def _problem(one: pb.NewOrder, request_chars_min: int) -> FieldInvalid | None:
    texts = (
        ("channel_no", one.channel_no, 1, KEY_CHARS_MAX),
        ("request_no", one.request_no, request_chars_min, KEY_CHARS_MAX),
        ("carrier_no", one.carrier_no, 0, CODE_CHARS_MAX),
        ("province_no", one.province_no, 0, CODE_CHARS_MAX),
        ("city_no", one.city_no, 0, CODE_CHARS_MAX),
        ("recharge_account", one.recharge_account, 0, KEY_CHARS_MAX),
    )
    if problem := text_problem(texts, one.notify_url):
        return problem
    if not 1 <= one.num <= NUM_MAX:
        return FieldInvalid("num", f"1 to {NUM_MAX}")
    if not 0 < one.face_micros <= MICROS_MAX or one.face_micros % 10:
        return FieldInvalid("face", "an amount above zero with at most five decimals")
    for name, micros in (("amount", one.amount_micros), ("max_amount", one.max_amount_micros)):
        if not 0 <= micros <= MICROS_MAX or micros % 10:
            return FieldInvalid(name, "an amount with at most five decimals")
    if one.invoice_type not in {0, 1, 2}:
        return FieldInvalid("invoice_type", "0, 1 or 2")
    return None


def _result(answer: orders.Accepted | OrderRefusal) -> pb.CreateOrdersResponse.Result:
    if isinstance(answer, orders.Accepted):
        return pb.CreateOrdersResponse.Result(order=state(answer.order), existed=answer.existed)
    return pb.CreateOrdersResponse.Result(refusal=answer.to_proto())


def _check(one: checks.Checked) -> pb.CheckOrdersResponse.Check:
    made = pb.CheckOrdersResponse.Check(
        verdict=pb.CheckOrdersResponse.VERDICT_VALID, existed=one.existed
    )
    if one.order is not None:
        made.sell_amount_micros = one.order.sell_amount_micros
        made.service_amount_micros = one.order.service_amount_micros
    if one.cause is not None:
        made.cause.CopyFrom(one.cause.to_proto())
        made.verdict = (
            pb.CheckOrdersResponse.VERDICT_INVALID
            if one.order is None
            else pb.CheckOrdersResponse.VERDICT_UNAVAILABLE
        )
    return made


def state(order: OrderSummary) -> pb.OrderState:
    """The state that partners see."""
    return pb.OrderState(
        order_id=order.order_id,
        channel_no=order.down_channel_no,
        request_no=order.request_no,
        status=cast("pb.OrderStatus.ValueType", int(order.order_status)),
        fail_code=order.fail_code,
        fail_msg=order.fail_msg,
    )


def _outcome(one: pb.DeliveryResult) -> Outcome:
    return Outcome(
        id=one.id,
        succeeded=one.succeeded,
        is_return=one.is_return,
        up_order_no=one.up_order_no,
        result_code=one.result_code,
        result_desc=one.result_desc,
        cost_amount_micros=one.cost_amount_micros
        if one.HasField("cost_amount_micros")
        else stated_cost_micros(one.params),
        params=dict(one.params),
        contradicts=one.contradicts,
    )


def whole(view: OrderView) -> pb.Order:
    """An order with its parts."""
    v = view.values
    return filled(
        pb.Order,
        v,
        state=filled(pb.OrderState, v, channel_no=v["down_channel_no"], status=v["order_status"]),
        request=filled(
            pb.NewOrder,
            v,
            channel_no=v["down_channel_no"],
            amount_micros=v["mer_amount_micros"],
            notify_url=view.notify_url,
            recharge_account=v["rechage_account"],
        ),
        overtime=view.timeout,
        up_paid=v["complete_up_pay"] == YesNo.YES,
        archived=view.archived,
        deliveries=[
            filled(
                pb.OrderDelivery,
                row,
                up_service_amount_micros=row["service_amount_micros"],
                carrier_serial_no=carrier_serial(row["result_params"]),
            )
            for row in view.deliveries
        ],
        refunds=[refunds.refund(row) for row in view.refunds],
        notifies=[filled(pb.Notify, row) for row in view.notifies],
    )
