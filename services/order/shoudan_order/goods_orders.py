"""Orders of goods: by number of the goods, at the price of the moment, repeatable by the channel's number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from shoudan_kit.db.text_statements import holdable
from shoudan_kit.money import FEN, MICROS_MAX
from shoudan_kit.secrets.sealing import Unsealable
from shoudan_order import cards, orders
from shoudan_order.catalogue.goods import GoodsType, fen_up
from shoudan_order.context import Context
from shoudan_order.delivery_client import VOUCHER
from shoudan_order.goods_notifies import (
    CARDS_MAX,
    RUNNING,
    STATUS,
    SUCCEEDED,
    CardItem,
    card_items,
    remark,
)
from shoudan_order.pricing import NewOrder
from shoudan_order.refusals import (
    FieldInvalid,
    GoodsNotFound,
    GoodsUnavailable,
    OrderNotFound,
    OrderRefusal,
    RequestDiffers,
)
from shoudan_order.store import goods as store
from shoudan_order.store.goods import OrderFacts
from shoudan_order.store.nonces import CallNonce

SIGNED_S: Final = 660  # twice what a signature may be off, and a little


class Wanted(msgspec.Struct, frozen=True):
    """An order as its channel sends it."""

    channel_no: str
    request_no: str
    goods_no: str
    goods_type: GoodsType
    num: int
    max_amount_fen: int
    notify_url: str
    account: str


class GoodsOrder(msgspec.Struct, frozen=True):
    """An order as it stands, with the codes that were asked for."""

    facts: OrderFacts
    goods_type: GoodsType
    goods_name: str
    account: str
    cards: Sequence[CardItem] = ()

    @property
    def status(self) -> int:
        """10, 20 or 30."""
        return STATUS.get(self.facts.order_status, RUNNING)

    @property
    def amount_fen(self) -> int:
        """What it costs the channel."""
        return fen_up(self.facts.sell_amount_micros + self.facts.service_amount_micros)

    @property
    def remark(self) -> str:
        """Why it failed, or that a part of it did."""
        return remark(self.facts.order_status, self.facts.fail_msg)


async def create(context: Context, wanted: Sequence[Wanted]) -> list[GoodsOrder | OrderRefusal]:
    """Store new orders; answers in order. Repeatable by (channel_no, request_no), at any later price.

    Refuses GoodsNotFound, GoodsUnavailable, FieldInvalid and as `orders.create`, each alone.
    """
    made = await _create(context, wanted, await _stored(context, wanted))
    # Stored a moment ago by another call, at another price perhaps: judged as the repeat it is.
    raced = [at for at, one in enumerate(made) if isinstance(one, RequestDiffers)]
    if raced:
        left = [wanted[at] for at in raced]
        again = await _create(context, left, await _stored(context, left))
        for at, one in zip(raced, again, strict=True):
            made[at] = one
    there = await _stored(context, [one for one, answer in zip(wanted, made, strict=True)
                                    if isinstance(answer, orders.Accepted)])  # fmt: skip
    return [
        answer
        if isinstance(answer, OrderRefusal)
        else _shown(context, there[one.channel_no, one.request_no])
        for one, answer in zip(wanted, made, strict=True)
    ]


async def _stored(context: Context, wanted: Sequence[Wanted]) -> dict[tuple[str, str], OrderFacts]:
    keys = {(one.channel_no, one.request_no) for one in wanted}
    if not keys:
        return {}
    async with context.app.db.connect() as db:
        return await store.orders_by_keys(db, list(filter(holdable, keys)))


async def _create(
    context: Context,
    wanted: Sequence[Wanted],
    there: dict[tuple[str, str], OrderFacts],
) -> list[orders.Accepted | OrderRefusal]:
    asked = [_new(context, one, there.get((one.channel_no, one.request_no))) for one in wanted]
    news = [one for one in asked if isinstance(one, NewOrder)]
    answers = iter(await orders.create(context, news) if news else ())
    return [next(answers) if isinstance(one, NewOrder) else one for one in asked]


def _new(context: Context, one: Wanted, there: OrderFacts | None) -> NewOrder | OrderRefusal:
    """The order that is meant: as it was stored, or of the goods as they are sold now."""
    if there is not None:
        return _repeated(one, there)
    found = context.goods.find(one.channel_no, one.goods_no, one.goods_type)
    if found is None:
        return GoodsNotFound(one.goods_no)
    if not found.on_shelf(context.catalogue):
        return GoodsUnavailable(one.goods_no)
    if found.goods_type is GoodsType.CARDS and one.num > CARDS_MAX:
        return FieldInvalid("num", f"1 to {CARDS_MAX} codes")
    if found.product.face_micros * one.num > MICROS_MAX:
        return FieldInvalid("num", "face times num is too large")
    sold = context.catalogue.index.sold_as(found.request(one.num))
    if sold is not None and sold[0].product_id != found.product.product_id:
        return GoodsUnavailable(one.goods_no)  # of so many another product would be sold
    product = found.product
    return NewOrder(
        one.channel_no,
        one.request_no,
        product.line_id,
        product.carrier_no,
        product.province_no,
        product.city_no,
        product.invoice_type,
        one.num,
        product.face_micros,
        found.sell_micros(one.num),
        one.notify_url,
        one.account,
        max_amount_micros=one.max_amount_fen * FEN,
    )


def _repeated(one: Wanted, there: OrderFacts) -> NewOrder | OrderRefusal:
    """What was asked for then, with what is asked for now of it."""
    if str(there.down_product_id) != one.goods_no:
        return RequestDiffers(one.channel_no, one.request_no)
    return NewOrder(
        one.channel_no,
        one.request_no,
        there.line_id,
        there.carrier_no,
        there.province_no,
        there.city_no,
        there.invoice_type,
        one.num,
        there.face_micros,
        there.mer_amount_micros,
        one.notify_url,
        one.account,
    )


async def find(
    context: Context, channel_no: str, request_no: str, order_id: int
) -> OrderFacts | None:
    """A channel's order by its number, or by ours where that is empty."""
    async with context.app.db.connect() as db:
        if not request_no:
            return await store.order_by_id(db, channel_no, order_id)
        key = (channel_no, request_no)
        if not holdable(key):
            return None
        return (await store.orders_by_keys(db, [key])).get(key)


class Asker(msgspec.Struct, frozen=True):
    """Where a query came from, and what it was signed with; an empty signature stops no repeat."""

    remote_ip: str
    signature: str


async def get(
    context: Context, key: tuple[str, str, int], goods_type: GoodsType | None, asker: Asker
) -> GoodsOrder:
    """How an order stands, with its codes once it has succeeded; a signature gives codes once.

    Refuses OrderNotFound, CardsUnreadable, NonceUsed.
    """
    channel_no, request_no, order_id = key
    facts = await find(context, *key)
    shown = None if facts is None else _shown(context, facts)
    if shown is None or goods_type not in {None, shown.goods_type}:
        raise OrderNotFound(channel_no, request_no or str(order_id))
    if shown.goods_type is not GoodsType.CARDS or shown.status != SUCCEEDED:
        return shown
    nonce = (
        CallNonce(channel_no, f"goofish {asker.signature}", context.app.ids.next(), SIGNED_S)
        if asker.signature
        else None
    )
    number = shown.facts.request_no
    wanted = cards.Wanted(channel_no, number, CARDS_MAX, "", nonce, asker.remote_ip)
    _, page = await cards.fetch(context, wanted)
    return msgspec.structs.replace(shown, cards=card_items(page.cards))


def _shown(context: Context, facts: OrderFacts) -> GoodsOrder:
    line = context.catalogue.lines.get(facts.line_id)
    is_cards = line is not None and line.service_class == VOUCHER
    found = context.goods.find(facts.down_channel_no, str(facts.down_product_id))
    return GoodsOrder(
        facts,
        GoodsType.CARDS if is_cards else GoodsType.RECHARGE,
        "" if found is None else found.name,
        _account(context, facts),
    )


def _account(context: Context, facts: OrderFacts) -> str:
    """The account in clear; empty for one that no key opens any more."""
    try:
        return context.accounts.open(facts.order_id, facts.rechage_account)
    except Unsealable:
        return ""
