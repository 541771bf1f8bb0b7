"""Calls to the delivery service: handing deliveries and returns over, and querying their state."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Final

import grpc
import msgspec
from grpc import aio

from shoudan.core.v1 import core_pb2 as core_pb
from shoudan.delivery.v1 import card_service_pb2 as card_pb
from shoudan.delivery.v1 import card_service_pb2_grpc as card_rpc
from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan.delivery.v1 import delivery_service_pb2_grpc as rpc
from shoudan_kit.batch import Coalescer
from shoudan_kit.money import yuan_to_micros
from shoudan_kit.rpc.client import call_options
from shoudan_kit.rpc.refusal import Refused, refused_from_proto, refused_from_rpc

VOUCHER: Final = 20  # the service class whose goods may be cards
ITEMS_MAX: Final = 1_000  # of one call (delivery_service.proto)
# Orders of one call for cards, and their deliveries in all (card_service.proto).
NOTIFIES_MAX: Final = 50
NOTIFY_PARTS_MAX: Final = 1_000
STOCK_S: Final = 1.0
UNAVAILABLE: Final = "ERROR_REASON_CHANNEL_UNAVAILABLE"
UNKNOWN: Final = "ERROR_REASON_DELIVERY_NOT_FOUND"
CARDS_MISSING: Final = "ERROR_REASON_CARDS_MISSING"
DIFFERS: Final = "ERROR_REASON_DELIVERY_DIFFERS"
# Nothing is known of the item, or nothing was begun: it is handed over again.
AGAIN: Final = frozenset(
    {
        "ERROR_REASON_DEADLINE_TOO_SHORT",
        "ERROR_REASON_OVERLOADED",
        "ERROR_REASON_SHARD_AWAY",
        "ERROR_REASON_SHUTTING_DOWN",
    }
)
STATED_COST: Final = "cost_amount"  # in result_params, in yuan (docs/reference/supplier.md)
CARRIER_SERIAL: Final = "carrier_serial_no"  # in result_params: 运营商流水号
REQUIRE_SERIAL: Final = "require_carrier_serial"  # in the params of a delivery: "1"


class Sending(msgspec.Struct, frozen=True):
    """One delivery or return to send."""

    id: int
    order_id: int
    coop_id: str
    service_class: int
    up_channel_no: str
    carrier_no: str
    face_micros: int
    num: int
    account: str
    timeout_s: int
    params: Mapping[str, str]


class Outcome(msgspec.Struct, frozen=True):
    """How a delivery or return ended, as its supplier reported it."""

    id: int
    succeeded: bool
    is_return: bool = False
    up_order_no: str = ""
    result_code: str = ""
    result_desc: str = ""
    cost_amount_micros: int | None = None
    params: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    contradicts: bool = False  # the supplier reported the other end before, which stands

    @property
    def first(self) -> Outcome:
        """The end that stands: this one, or the one that it contradicts."""
        return Outcome(self.id, not self.succeeded, self.is_return) if self.contradicts else self

    @property
    def cost_text(self) -> str:
        """The cost as the supplier wrote it; empty when it stated none."""
        return self.params.get(STATED_COST, "")

    @property
    def message(self) -> str:
        """What is kept as return_msg."""
        return f"{self.result_code} {self.result_desc}".strip()[:256]

    @property
    def params_json(self) -> str:
        """The further facts as stored; empty when there are none."""
        return json.dumps(dict(self.params), ensure_ascii=False) if self.params else ""


class CardQuery(msgspec.Struct, frozen=True):
    """A page of the cards of an order's deliveries."""

    delivery_ids: Sequence[int]
    coop_id: str
    order_id: int
    page_size: int
    page_token: str
    remote_ip: str


class NotifyQuery(msgspec.Struct, frozen=True):
    """The first page of the cards of an order's deliveries, for its notify."""

    delivery_ids: Sequence[int]
    coop_id: str
    order_id: int


class CardsRefused(Exception):
    """The cards of one order cannot be had; `reason` as the contract has it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CardPage(msgspec.Struct, frozen=True):
    """Cards in clear, handed on as they came, and the token of the next page."""

    cards: Sequence[core_pb.Card]
    next_page_token: str

    def __repr__(self) -> str:
        """How many: what they are is shown to their partner alone."""
        return f"CardPage({len(self.cards)})"


class OwnStock(msgspec.Struct, frozen=True):
    """Cards to be had by channel, carrier and face; `channels` are all that sell out of our own stock."""

    channels: frozenset[str] = frozenset()
    cards: Mapping[tuple[str, str, int], int] = msgspec.field(
        default_factory=dict[tuple[str, str, int], int]
    )


NO_STOCK: Final = OwnStock()


class Pending(msgspec.Struct, frozen=True):
    """Not ended yet."""

    id: int


Answer = Outcome | Pending | Refused


class DeliveryClient:
    """The delivery service."""

    def __init__(self, channel: aio.Channel, *, call_s: float) -> None:
        self._stub = rpc.DeliveryServiceStub(channel)
        self._cards = card_rpc.CardServiceStub(channel)
        self._call_s = call_s
        self._notify_cards: Coalescer[NotifyQuery, CardPage] = Coalescer(
            self._cards_of,
            name="notify.cards",
            size_max=NOTIFY_PARTS_MAX,
            weight_of=lambda one: max(len(one.delivery_ids), NOTIFY_PARTS_MAX // NOTIFIES_MAX),
        )
        self._stocked: Coalescer[None, OwnStock] = Coalescer(
            self._stock_of, name="goods.stock", size_max=ITEMS_MAX
        )
        self._stock, self._stock_until_s = NO_STOCK, 0.0

    async def send(self, sendings: Sequence[Sending]) -> list[Answer]:
        """Hand over; a repeat gives the stored state. Raises grpc.RpcError when there is no answer."""
        answers: list[Answer] = []
        for start in range(0, len(sendings), ITEMS_MAX):
            part = sendings[start : start + ITEMS_MAX]
            request = pb.CreateDeliveriesRequest(items=[_item(one) for one in part])
            answer = await self._stub.CreateDeliveries(request, **call_options(self._call_s))
            answers += [
                _answer(one.id, result) for one, result in zip(part, answer.results, strict=True)
            ]
        return answers

    async def ask(self, keys: Sequence[tuple[int, str, int]]) -> list[Answer]:
        """The state of each (id, coop_id, service_class); a Refused UNKNOWN was never handed over."""
        answers: list[Answer] = []
        for start in range(0, len(keys), ITEMS_MAX):
            part = keys[start : start + ITEMS_MAX]
            request = pb.QueryDeliveriesRequest(keys=[_key(*key) for key in part])
            answer = await self._stub.QueryDeliveries(request, **call_options(self._call_s))
            answers += [
                _answer(key[0], result) for key, result in zip(part, answer.results, strict=True)
            ]
        return answers

    async def cards(self, wanted: CardQuery) -> CardPage:
        """A page of cards, which are revealed by it. Raises grpc.RpcError, refusals among them."""
        request = card_pb.FetchCardsRequest(
            keys=[_key(one, wanted.coop_id, VOUCHER) for one in wanted.delivery_ids],
            page_size=wanted.page_size,
            page_token=wanted.page_token,
            order_id=str(wanted.order_id),
            remote_ip=wanted.remote_ip,
        )
        answer = await self._cards.FetchCards(request, **call_options(self._call_s))
        return CardPage(answer.cards, answer.next_page_token)

    async def notify_cards(self, wanted: NotifyQuery) -> CardPage:
        """The first cards of an order; those of notifies at the same time are one call.

        Raises CardsRefused of this order alone, grpc.RpcError when there is no answer.
        """
        return await self._notify_cards(wanted)

    async def stock(self) -> OwnStock:
        """Our own stock, at most STOCK_S old. Raises grpc.RpcError when there is no answer."""
        if time.monotonic() < self._stock_until_s:
            return self._stock
        return await self._stocked(None)

    async def _stock_of(self, asked: Sequence[None]) -> list[OwnStock | Exception]:
        answer = await self._cards.ListStock(
            card_pb.ListStockRequest(), **call_options(self._call_s)
        )
        cards = {
            (one.channel_no, one.carrier_no, one.face_micros): one.stocked for one in answer.levels
        }
        self._stock = OwnStock(frozenset(answer.channel_nos), cards)
        self._stock_until_s = time.monotonic() + STOCK_S
        return [self._stock] * len(asked)

    async def _cards_of(self, wanted: Sequence[NotifyQuery]) -> list[CardPage | Exception]:
        request = card_pb.FetchNotifyCardsRequest(
            orders=[
                card_pb.FetchNotifyCardsRequest.Order(
                    keys=[_key(number, one.coop_id, VOUCHER) for number in one.delivery_ids],
                    order_id=str(one.order_id),
                )
                for one in wanted
            ]
        )
        try:
            answer = await self._cards.FetchNotifyCards(request, **call_options(self._call_s))
        except aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            return [await self._one_by_one(one) for one in wanted]  # the release before
        return [
            CardsRefused(refused_from_proto(one.refusal).reason)
            if one.HasField("refusal")
            else CardPage(one.page.cards, one.page.next_page_token)
            for one in answer.results
        ]

    async def _one_by_one(self, wanted: NotifyQuery) -> CardPage | Exception:
        request = card_pb.FetchCardsRequest(
            keys=[_key(number, wanted.coop_id, VOUCHER) for number in wanted.delivery_ids],
            order_id=str(wanted.order_id),
            in_notify=True,
        )
        try:
            answer = await self._cards.FetchCards(request, **call_options(self._call_s))
        except aio.AioRpcError as error:
            refused = refused_from_rpc(error)
            return error if refused is None else CardsRefused(refused.reason)
        return CardPage(answer.cards, answer.next_page_token)

    async def resolve(
        self, key: tuple[int, str, int], *, succeeded: bool, by: str, reason: str
    ) -> Refused | None:
        """End it there by a person's decision, which stops its queries; None when it is stored so.

        A repeat changes nothing. Raises grpc.RpcError when there is no answer.
        """
        request = pb.ResolveDeliveryRequest(
            key=_key(*key),
            status=pb.STATUS_SUCCEEDED if succeeded else pb.STATUS_FAILED,
            by=by,
            reason=reason,
        )
        try:
            await self._stub.ResolveDelivery(request, **call_options(self._call_s))
        except grpc.RpcError as error:
            refused = refused_from_rpc(error)
            if refused is None:
                raise
            return refused
        return None


def carrier_serial(params_json: str) -> str:
    """The carrier's own number of a delivery, of its facts as stored; empty when its supplier gave none."""
    return str(json.loads(params_json).get(CARRIER_SERIAL, "")) if params_json else ""


def stated_cost_micros(params: Mapping[str, str]) -> int | None:
    """The cost a supplier stated, negative ones too; None for none and for what is no amount."""
    try:
        return yuan_to_micros(params.get(STATED_COST, ""), signed=True)
    except ValueError:
        return None


def _key(number: int, coop_id: str, service_class: int) -> pb.DeliveryKey:
    return pb.DeliveryKey(coop_id=coop_id, coop_order_id=str(number), service_class=service_class)


def _item(one: Sending) -> pb.CreateDeliveriesRequest.Item:
    return pb.CreateDeliveriesRequest.Item(
        key=_key(one.id, one.coop_id, one.service_class),
        channel_no=one.up_channel_no,
        carrier_no=one.carrier_no,
        face_micros=one.face_micros,
        num=one.num,
        account=one.account,
        timeout_s=one.timeout_s,
        params=one.params,
        order_id=str(one.order_id),
    )


def _answer(
    number: int,
    result: pb.CreateDeliveriesResponse.Result | pb.QueryDeliveriesResponse.Result,
) -> Answer:
    if result.HasField("refusal"):
        return refused_from_proto(result.refusal)
    delivery = result.delivery
    if delivery.status not in {pb.STATUS_SUCCEEDED, pb.STATUS_FAILED}:
        return Pending(number)
    return Outcome(
        id=number,
        succeeded=delivery.status == pb.STATUS_SUCCEEDED,
        up_order_no=delivery.up_order_no,
        result_code=delivery.result_code,
        result_desc=delivery.result_desc,
        cost_amount_micros=stated_cost_micros(delivery.result_params),
        params=dict(delivery.result_params),
    )
