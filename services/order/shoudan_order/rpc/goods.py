"""GoodsService: products as goods, orders by their number, subscriptions to their changes."""

from __future__ import annotations

from datetime import datetime
from typing import Final, cast

from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.order.v1 import goods_service_pb2 as pb
from shoudan.order.v1 import goods_service_pb2_grpc as grpc_pb
from shoudan_kit.money import FEN, MICROS_MAX
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.shielded import shielded
from shoudan_order import goods, goods_orders
from shoudan_order.catalogue.goods import GoodsType
from shoudan_order.context import Context
from shoudan_order.goods_orders import GoodsOrder, Wanted
from shoudan_order.refusals import FieldInvalid, OrderRefusal
from shoudan_order.rpc.messages import KEY_CHARS_MAX, NUM_MAX, text_problem
from shoudan_order.store.goods import Subscription

ITEMS_MAX: Final = 1_000
PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 100
OFFSET_MAX: Final = 1_000_000
TOKEN_CHARS_MAX: Final = 128
FEN_MAX: Final = MICROS_MAX // FEN
ID_MAX: Final = 2**63 - 1


class GoodsServicer(grpc_pb.GoodsServiceServicer):
    """The calls of GoodsService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def GetGoodsApplication(
        self, request: pb.GetGoodsApplicationRequest, context: RpcContext
    ) -> pb.GetGoodsApplicationResponse:
        """As it is configured."""
        return pb.GetGoodsApplicationResponse(
            app_id=int(self._context.settings.goofish_app_id or 0)
        )

    async def GetGoodsAccount(
        self, request: pb.GetGoodsAccountRequest, context: RpcContext
    ) -> pb.GetGoodsAccountResponse:
        """As the ledger has it."""
        _texts(("channel_no", request.channel_no, 1, KEY_CHARS_MAX))
        fen = await goods.balance_fen(self._context, request.channel_no)
        return pb.GetGoodsAccountResponse(balance_fen=fen)

    async def ListGoods(
        self, request: pb.ListGoodsRequest, context: RpcContext
    ) -> pb.ListGoodsResponse:
        """By number."""
        _texts(
            ("channel_no", request.channel_no, 1, KEY_CHARS_MAX),
            ("keyword", request.keyword, 0, KEY_CHARS_MAX),
        )
        found, count = await goods.page(
            self._context,
            request.channel_no,
            request.keyword,
            _type(request.goods_type),
            _page(request.offset, request.page_size),
        )
        return pb.ListGoodsResponse(goods=[_goods(one) for one in found], count=count)

    async def GetGoods(
        self, request: pb.GetGoodsRequest, context: RpcContext
    ) -> pb.GetGoodsResponse:
        """As they are sold now."""
        _texts(
            ("channel_no", request.channel_no, 1, KEY_CHARS_MAX),
            ("goods_no", request.goods_no, 1, KEY_CHARS_MAX),
        )
        kind = _type(request.goods_type)
        found = await goods.get(self._context, request.channel_no, request.goods_no, kind)
        return pb.GetGoodsResponse(goods=_goods(found))

    async def CreateGoodsOrders(
        self, request: pb.CreateGoodsOrdersRequest, context: RpcContext
    ) -> pb.CreateGoodsOrdersResponse:
        """Items are independent; malformed ones are refused alone."""
        if len(request.orders) > ITEMS_MAX:
            raise FieldInvalid("orders", f"more than {ITEMS_MAX}")
        wanted = [_wanted(one) for one in request.orders]
        well = [one for one in wanted if isinstance(one, Wanted)]
        answers = iter(await goods_orders.create(self._context, well) if well else ())
        made = [next(answers) if isinstance(one, Wanted) else one for one in wanted]
        return pb.CreateGoodsOrdersResponse(results=[_result(one) for one in made])

    async def GetGoodsOrder(
        self, request: pb.GetGoodsOrderRequest, context: RpcContext
    ) -> pb.GetGoodsOrderResponse:
        """With its codes, when it has succeeded."""
        _texts(
            ("channel_no", request.channel_no, 1, KEY_CHARS_MAX),
            ("request_no", request.request_no, 0, KEY_CHARS_MAX),
            ("remote_ip", request.remote_ip, 0, KEY_CHARS_MAX),
            ("signature", request.signature, 0, KEY_CHARS_MAX),
        )
        if not request.request_no and not 0 < request.order_id <= ID_MAX:
            raise FieldInvalid("request_no", "a number of the order must be said")
        key = (request.channel_no, request.request_no, request.order_id)
        kind = _type(request.goods_type)
        by = goods_orders.Asker(request.remote_ip, request.signature)
        found = goods_orders.get(self._context, key, kind, by)
        return pb.GetGoodsOrderResponse(order=_order(await shielded(found)))

    async def SubscribeGoods(
        self, request: pb.SubscribeGoodsRequest, context: RpcContext
    ) -> pb.SubscribeGoodsResponse:
        """From now on."""
        _texts(*_subscription_texts(request), notify_url=request.notify_url)
        if not request.notify_url:
            raise FieldInvalid("notify_url", "where it is notified of changes")
        key = (request.channel_no, request.goods_no, request.token)
        kind = _type(request.goods_type)
        await shielded(goods.subscribe(self._context, key, kind, request.notify_url))
        return pb.SubscribeGoodsResponse()

    async def UnsubscribeGoods(
        self, request: pb.UnsubscribeGoodsRequest, context: RpcContext
    ) -> pb.UnsubscribeGoodsResponse:
        """A repeat changes nothing."""
        _texts(*_subscription_texts(request))
        key = (request.channel_no, request.goods_no, request.token)
        await shielded(goods.unsubscribe(self._context, *key))
        return pb.UnsubscribeGoodsResponse()

    async def ListGoodsSubscriptions(
        self, request: pb.ListGoodsSubscriptionsRequest, context: RpcContext
    ) -> pb.ListGoodsSubscriptionsResponse:
        """By goods."""
        _texts(
            ("channel_no", request.channel_no, 1, KEY_CHARS_MAX),
            ("goods_no", request.goods_no, 0, KEY_CHARS_MAX),
        )
        offset, most = _page(request.offset, request.page_size)
        kind = _type(request.goods_type)
        found = await goods.subscriptions(self._context, request.channel_no, request.goods_no, kind)
        return pb.ListGoodsSubscriptionsResponse(
            subscriptions=[_subscription(*one) for one in found[offset : offset + most]],
            count=len(found),
        )


# ---------------------------------------------------------------- in
def _texts(*texts: tuple[str, str, int, int], notify_url: str = "") -> None:
    if problem := text_problem(texts, notify_url):
        raise problem


def _subscription_texts(
    request: pb.SubscribeGoodsRequest | pb.UnsubscribeGoodsRequest,
) -> tuple[tuple[str, str, int, int], ...]:
    return (
        ("channel_no", request.channel_no, 1, KEY_CHARS_MAX),
        ("goods_no", request.goods_no, 1, KEY_CHARS_MAX),
        ("token", request.token, 1, TOKEN_CHARS_MAX),
    )


def _type(given: int) -> GoodsType | None:
    if not given:
        return None
    try:
        return GoodsType(given)
    except ValueError:
        raise FieldInvalid("goods_type", "1 or 2") from None


def _page(offset: int, page_size: int) -> tuple[int, int]:
    most = page_size or PAGE_DEFAULT
    if not 0 <= offset <= OFFSET_MAX:
        raise FieldInvalid("offset", f"0 to {OFFSET_MAX}")
    if not 1 <= most <= PAGE_MAX:
        raise FieldInvalid("page_size", f"1 to {PAGE_MAX}")
    return offset, most


def _wanted(one: pb.NewGoodsOrder) -> Wanted | FieldInvalid:
    """The order, or the refusal of its first malformed field."""
    texts = (
        ("channel_no", one.channel_no, 1, KEY_CHARS_MAX),
        ("request_no", one.request_no, 1, KEY_CHARS_MAX),
        ("goods_no", one.goods_no, 1, KEY_CHARS_MAX),
        ("recharge_account", one.recharge_account, 0, KEY_CHARS_MAX),
    )
    if problem := text_problem(texts, one.notify_url):
        return problem
    if not 1 <= one.num <= NUM_MAX:
        return FieldInvalid("num", f"1 to {NUM_MAX}")
    if not 0 <= one.max_amount_fen <= FEN_MAX:
        return FieldInvalid("max_amount", "an amount")
    if one.goods_type not in set(GoodsType):
        return FieldInvalid("goods_type", "1 or 2")
    kind = GoodsType(one.goods_type)
    if kind is GoodsType.RECHARGE and not one.recharge_account:
        return FieldInvalid("recharge_account", "the account to recharge")
    return Wanted(
        one.channel_no,
        one.request_no,
        one.goods_no,
        kind,
        one.num,
        one.max_amount_fen,
        one.notify_url,
        one.recharge_account,
    )


# ---------------------------------------------------------------- out
def _kind(one: GoodsType) -> pb.GoodsType.ValueType:
    return cast("pb.GoodsType.ValueType", int(one))


def _stamp(moment: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def _goods(one: goods.Shown) -> pb.Goods:
    return pb.Goods(
        goods_no=one.goods.goods_no,
        goods_type=_kind(one.goods.goods_type),
        goods_name=one.goods.name,
        price_fen=one.price_fen,
        on_shelf=one.on_shelf,
        update_time=_stamp(one.change_time),
        stock=one.stock,
    )


def _result(answer: GoodsOrder | OrderRefusal) -> pb.CreateGoodsOrdersResponse.Result:
    if isinstance(answer, OrderRefusal):
        return pb.CreateGoodsOrdersResponse.Result(refusal=answer.to_proto())
    return pb.CreateGoodsOrdersResponse.Result(order=_order(answer))


def _order(one: GoodsOrder) -> pb.GoodsOrder:
    facts = one.facts
    return pb.GoodsOrder(
        goods_type=_kind(one.goods_type),
        request_no=facts.request_no,
        order_id=facts.order_id,
        order_status=one.status,
        amount_fen=one.amount_fen,
        goods_no=str(facts.down_product_id),
        goods_name=one.goods_name,
        num=facts.num,
        create_time=_stamp(facts.create_time),
        end_time=None if facts.end_time is None else _stamp(facts.end_time),
        recharge_account=one.account,
        cards=[
            pb.GoodsOrder.CardItem(card_no=card.card_no, card_pwd=card.card_pwd)
            for card in one.cards
        ],
        remark=one.remark,
    )


def _subscription(one: Subscription, kind: GoodsType) -> pb.GoodsSubscription:
    return pb.GoodsSubscription(
        goods_no=str(one.product_id),
        goods_type=_kind(kind),
        token=one.token,
        notify_url=one.notify_url,
        subscribe_time=_stamp(one.create_time),
    )
