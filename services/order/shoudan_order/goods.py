"""Goods of the 虚拟货源 interface: what a channel may buy, which channels are notified of changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import grpc
import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from shoudan_kit import log
from shoudan_kit.ids import id_of
from shoudan_kit.money import FEN
from shoudan_kit.rpc.refusal import Overloaded, refused_from_rpc
from shoudan_order.catalogue import shelves
from shoudan_order.catalogue.goods import Goods, GoodsType
from shoudan_order.context import Context
from shoudan_order.delivery_client import NO_STOCK, OwnStock
from shoudan_order.refusals import ChannelUnavailable, FieldInvalid, GoodsNotFound
from shoudan_order.store import goods as store
from shoudan_order.store.goods import Subscription

SUBSCRIPTIONS_MAX = 1_000  # of one channel
NO_ACCOUNT = "ERROR_REASON_ACCOUNT_NOT_FOUND"

_log = log.get_logger("goods")


class Shown(msgspec.Struct, frozen=True):
    """Goods as they are sold now."""

    goods: Goods
    price_fen: int
    on_shelf: bool
    stock: int
    change_time: datetime


async def balance_fen(context: Context, channel_no: str) -> int:
    """What is on the account that a channel pays from, rounded down; 0 without one."""
    try:
        return await context.pay_client.balance(channel_no) // FEN
    except grpc.RpcError as error:
        refused = refused_from_rpc(error)
        if refused is not None and refused.reason == NO_ACCOUNT:
            return 0
        raise


async def page(
    context: Context,
    channel_no: str,
    keyword: str,
    goods_type: GoodsType | None,
    bounds: tuple[int, int],
) -> tuple[list[Shown], int]:
    """A page of a channel's goods after so many, and how many there are. Refuses ChannelUnavailable."""
    offset, most = bounds
    async with context.app.first.db.connect() as db:  # the catalogue is there, whatever the shard
        _check_channel(context, channel_no)
        found = context.goods.search(channel_no, keyword, goods_type)
        named = found[offset : offset + most]
        changed = await _changed(db, named)
    return await _shown(context, named, changed), len(found)


async def get(
    context: Context, channel_no: str, goods_no: str, goods_type: GoodsType | None
) -> Shown:
    """One of them. Refuses ChannelUnavailable, GoodsNotFound."""
    async with context.app.first.db.connect() as db:
        _check_channel(context, channel_no)
        named = [_found(context, channel_no, goods_no, goods_type)]
        changed = await _changed(db, named)
    (shown,) = await _shown(context, named, changed)
    return shown


async def own_stock(context: Context, found: Sequence[Goods]) -> OwnStock:
    """What our own stock has of goods that are codes; where it cannot be asked nothing is known of it."""
    if all(one.goods_type is not GoodsType.CARDS for one in found):
        return NO_STOCK
    try:
        return await context.delivery_client.stock()
    except (grpc.RpcError, Overloaded) as error:
        _log.warning("stock_not_known", error=type(error).__name__)
        return NO_STOCK


async def _changed(db: AsyncConnection, found: Sequence[Goods]) -> Mapping[int, datetime]:
    ids = [one.product.product_id for one in found]
    return await store.changed(db, found[0].channel_no, ids) if found else {}


async def _shown(
    context: Context, found: Sequence[Goods], changed: Mapping[int, datetime]
) -> list[Shown]:
    own = await own_stock(context, found)
    now = context.catalogue
    return [
        Shown(
            one,
            one.price_fen(1),
            one.on_shelf(now),
            shelves.stock_of(now, one, own),
            changed[one.product.product_id],
        )
        for one in found
    ]


async def subscribe(
    context: Context, key: tuple[str, str, str], goods_type: GoodsType | None, notify_url: str
) -> None:
    """Tell of changes of goods from now on. Refuses ChannelUnavailable, GoodsNotFound, FieldInvalid."""
    channel_no, goods_no, token = key
    async with context.app.work("goods.subscribe") as work:
        _check_channel(context, channel_no)
        found = _found(context, channel_no, goods_no, goods_type)
        key_ = (channel_no, found.product.product_id, token)
        if not await store.subscribe(work.db, key_, notify_url, SUBSCRIPTIONS_MAX):
            raise FieldInvalid("token", f"more than {SUBSCRIPTIONS_MAX} subscriptions")


async def unsubscribe(context: Context, channel_no: str, goods_no: str, token: str) -> None:
    """Tell no more of them; what is not there is gone already."""
    product_id = id_of(goods_no)
    if product_id is None:
        return
    async with context.app.work("goods.unsubscribe") as work:
        await store.unsubscribe(work.db, (channel_no, product_id, token))


async def subscriptions(
    context: Context, channel_no: str, goods_no: str, goods_type: GoodsType | None
) -> list[tuple[Subscription, GoodsType]]:
    """A channel's, with what they are of; those of goods that are there no more are left out."""
    async with context.app.db.connect() as db:
        found = await store.subscriptions(db, channel_no, SUBSCRIPTIONS_MAX * 2)
    named: list[tuple[Subscription, GoodsType]] = []
    for one in found:
        number = str(one.product_id)
        there = context.goods.find(channel_no, number, goods_type)
        if there is not None and goods_no in {"", number}:
            named.append((one, there.goods_type))
    return named


def _found(context: Context, channel_no: str, goods_no: str, goods_type: GoodsType | None) -> Goods:
    found = context.goods.find(channel_no, goods_no, goods_type)
    if found is None:
        raise GoodsNotFound(goods_no)
    return found


def _check_channel(context: Context, channel_no: str) -> None:
    channel = context.catalogue.down_channels.get(channel_no)
    if channel is None or not channel.enabled:
        raise ChannelUnavailable(channel_no)
