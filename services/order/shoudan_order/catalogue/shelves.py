"""What a channel sees of the catalogue: its products, their prices, and whether they can be delivered."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import msgspec

from shoudan_kit.money import apply_rate
from shoudan_kit.tasks.unit_of_work import UnitOfWork
from shoudan_order import kinds
from shoudan_order.binding import INVOICE_NEEDED, deliverable_num, margin
from shoudan_order.catalogue.goods import MANY, Goods, GoodsType
from shoudan_order.catalogue.index import Catalogue, Offer, ProductRequest, SupplyRequest
from shoudan_order.catalogue.model import DownChannel, DownProduct
from shoudan_order.catalogue.routing import split
from shoudan_order.delivery_client import OwnStock
from shoudan_order.states import LossRule
from shoudan_order.store import catalogue as catalogue_store
from shoudan_order.store import goods as goods_store
from shoudan_order.store import shelves as store
from shoudan_signing import goofish

# Kinds whose change may alter what can be delivered of any product of a line and carrier.
_VERSION: Final = re.compile(r"0|[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
URL_CHARS_MAX: Final = 512
EVENTS: Final = frozenset({"price", "stock", "shelf"})
SUPPLY: Final = ("up_channels", "up_shelves", "up_products")


class ShelfProduct(msgspec.Struct, frozen=True):
    """One product as its channel sees it; one that it may not buy has its number alone."""

    product_id: int
    on_shelf: bool = False
    in_stock: bool = False
    line_id: int = 0
    carrier_no: str = ""
    province_no: str = ""
    city_no: str = ""
    invoice_type: int = 0
    face_micros: int = 0
    price_micros: int = 0
    service_micros: int = 0
    num_max: int = 0
    refundable: bool = False


def shown(catalogue: Catalogue, channel_no: str, product_id: int) -> ShelfProduct:
    """What the channel sees of a product now; of another channel's its number alone."""
    product = catalogue.down_products.get(product_id)
    if product is None or not product.enabled or _owner(catalogue, product) != channel_no:
        return ShelfProduct(product_id)
    channel = catalogue.down_channels[channel_no]
    if not (channel.enabled and catalogue.down_shelves[product.shelf_id].enabled):
        return ShelfProduct(product_id)
    request = ProductRequest(
        channel_no,
        product.line_id,
        product.carrier_no,
        product.province_no,
        product.city_no,
        product.face_micros,
        product.limit_count,
        product.invoice_type,
    )
    return ShelfProduct(
        product_id,
        on_shelf=True,
        in_stock=_in_stock(catalogue, product),
        line_id=product.line_id,
        carrier_no=product.carrier_no,
        province_no=product.province_no,
        city_no=product.city_no,
        invoice_type=product.invoice_type,
        face_micros=product.face_micros,
        price_micros=apply_rate(product.face_micros, product.sell_discount_ppm),
        service_micros=apply_rate(product.face_micros, product.service_discount_ppm),
        num_max=min(product.limit_count, deliverable_num(catalogue, product, request)),
        refundable=product.can_refund,
    )


def _owner(catalogue: Catalogue, product: DownProduct) -> str:
    return catalogue.down_shelves[product.shelf_id].channel_no


def supply_of(product: DownProduct) -> SupplyRequest:
    """What an order of the product for its own region would buy."""
    return SupplyRequest(
        product.line_id,
        product.carrier_no,
        product.province_no,
        product.city_no,
        returnable=product.can_refund,
        invoiced=product.invoice_type == INVOICE_NEEDED,
    )


def _in_stock(catalogue: Catalogue, product: DownProduct) -> bool:
    """Some supplier would be bound to an order of one unit, by the line's own rules."""
    return any(True for _ in _bound(catalogue, product))


def _bound(catalogue: Catalogue, product: DownProduct) -> Iterator[Offer]:
    """What could be bound to an order of one unit."""
    line = catalogue.lines[product.line_id]
    offers, _ = split(line, catalogue.index.offers(supply_of(product)))
    for one in offers:
        good = line.loss_rule == LossRule.ALLOW or margin(product, one.product) >= 0
        if good and _bindable(product, one.product.face_micros):
            yield one


def _bindable(product: DownProduct, face_micros: int) -> bool:
    if product.can_split_order:
        return face_micros <= product.face_micros
    return face_micros == product.face_micros


def stock_of(catalogue: Catalogue, one: Goods, own: OwnStock) -> int:
    """How many of goods can be had: none off the shelf, or where no supplier could deliver one now.

    Of goods that come from our own stock alone exactly as many as are there, at most MANY.
    """
    product = one.product
    there = shown(catalogue, one.channel_no, product.product_id)
    if not (there.in_stock and one.on_shelf(catalogue)):
        return 0
    kinds = {
        (offer.channel_no, product.carrier_no, offer.product.face_micros)
        for offer in _bound(catalogue, product)
    }
    if one.goods_type is not GoodsType.CARDS or any(no not in own.channels for no, _, _ in kinds):
        return MANY
    faces = sum(own.cards.get(kind, 0) * kind[2] // product.face_micros for kind in kinds)
    return min(MANY, faces)


def is_url(text: str) -> bool:
    """Whether a text may be where a channel is notified."""
    named = text.lower().startswith(("http://", "https://")) and text.isprintable()
    return named and len(text) <= URL_CHARS_MAX


def problems(row: Any) -> Iterator[str]:
    """What is wrong with what a channel is notified of."""
    if not isinstance(row, DownChannel):
        return
    for name in ("shelf_url", "notice_url"):
        if (url := getattr(row, name)) and not is_url(url):
            yield f"{name} is not an http or https URL"
    if row.api_version and _VERSION.fullmatch(row.api_version) is None:
        yield "api_version is not 0 or a day such as 2026-12-01"
    if len(row.shelf_events) != len(set(row.shelf_events) & EVENTS):
        yield "shelf_events is not price, stock or shelf, each once"


def facets(was: ShelfProduct, now: ShelfProduct) -> frozenset[str]:
    """What of a product changed in a channel's eyes."""
    if was.on_shelf != now.on_shelf:
        return frozenset({"shelf"})
    terms = msgspec.structs.replace(was, in_stock=now.in_stock)
    return frozenset(
        name
        for name, differs in (("stock", was.in_stock != now.in_stock), ("price", terms != now))
        if differs
    )


async def note(
    work: UnitOfWork,
    version: int,
    before: Catalogue,
    after: Catalogue,
    keys: Mapping[str, Collection[Any]],
) -> dict[str, list[int]]:
    """Note which products a version changed in the eyes of which channel, inside the version's transaction.

    Gives them by channel.
    Where a process of the release before wrote a version in between, all of them count as changed.
    """
    await catalogue_store.note_changes(
        work.db, version, {kind: list(ones) for kind, ones in keys.items()}
    )
    _, known = await store.versions(work.db)
    every = known != version - 1
    found = changed(before, after, keys, every=every)
    await store.mark(work.db, version, found)
    for channel_no, product_ids in found.items():
        channel = after.down_channels[channel_no]
        if channel.shelf_url and (
            every
            or not channel.shelf_events
            or any(
                facets(shown(before, channel_no, one), shown(after, channel_no, one))
                & set(channel.shelf_events)
                for one in product_ids
            )
        ):
            work.tasks.add(kinds.SHELF, kinds.ShelfStep(channel_no, version), order_no=channel_no)
        if channel.auth_mode.lower() == goofish.SCHEME:
            await goods_store.begin_again(work.db, channel_no, product_ids)
            work.tasks.add(kinds.GOODS, kinds.GoodsStep(channel_no, version), order_no=channel_no)
    return found


def changed(
    before: Catalogue, after: Catalogue, keys: Mapping[str, Collection[Any]], *, every: bool = False
) -> dict[str, list[int]]:
    """By channel, the products that it sees otherwise than before; `every`: all that there are."""
    found: dict[str, list[int]] = {}
    for product in after.down_products.values() if every else _touched(before, after, keys):
        product_id = product.product_id
        was = before.down_products.get(product_id)
        owners = {_owner(after, product), *([_owner(before, was)] if was else [])}
        for channel_no in sorted(owners):
            if every or shown(before, channel_no, product_id) != shown(
                after, channel_no, product_id
            ):
                found.setdefault(channel_no, []).append(product_id)
    return found


def _touched(
    before: Catalogue, after: Catalogue, keys: Mapping[str, Collection[Any]]
) -> Iterator[DownProduct]:
    """The products that a change of these rows may alter; one walk, however many rows changed."""
    own = {kind: set(ones) for kind, ones in keys.items() if ones}
    supplied = _supplied(before, own) | _supplied(after, own)
    none: set[Any] = set()
    for product in after.down_products.values():
        if (
            product.product_id in own.get("down_products", none)
            or product.line_id in own.get("lines", none)
            or product.shelf_id in own.get("down_shelves", none)
            or _owner(after, product) in own.get("down_channels", none)
            or (product.line_id, product.carrier_no) in supplied
        ):
            yield product


def _supplied(catalogue: Catalogue, keys: Mapping[str, set[Any]]) -> set[tuple[int, str]]:
    """Line and carrier of what these suppliers, shelves and products offer."""
    if not keys.keys() & set(SUPPLY):
        return set()
    channels, shelves, products = (keys.get(kind, set[Any]()) for kind in SUPPLY)
    return {
        (one.line_id, one.carrier_no)
        for one in catalogue.up_products.values()
        if one.product_id in products
        or one.shelf_id in shelves
        or catalogue.up_shelves[one.shelf_id].channel_no in channels
    }
