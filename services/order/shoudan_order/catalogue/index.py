"""The catalogue in memory: what is sold to whom, what can be bought, and which of it fits an order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from shoudan_order.catalogue.model import (
    Canton,
    DownChannel,
    DownProduct,
    DownShelf,
    Line,
    NotifyEndpoint,
    UpChannel,
    UpProduct,
    UpShelf,
)

WILDCARD = "*"
# Distinct (line, carrier, province, city, rules) seen; more start the cache anew.
FITS_MAX = 10_000
# Products that are exchanged in an index; each costs a walk along those of its kind and carrier.
REINDEX_MAX = 20
# Kinds whose rows no other row of the index depends on.
LEAVES = frozenset({"lines", "cantons", "down_products", "up_products", "notify_endpoints"})


@dataclass(frozen=True)
class Catalogue:
    """All of it at one version, by key."""

    version: int = 0
    lines: Mapping[int, Line] = field(default_factory=dict[int, Line])
    down_channels: Mapping[str, DownChannel] = field(default_factory=dict[str, DownChannel])
    down_shelves: Mapping[int, DownShelf] = field(default_factory=dict[int, DownShelf])
    down_products: Mapping[int, DownProduct] = field(default_factory=dict[int, DownProduct])
    up_channels: Mapping[str, UpChannel] = field(default_factory=dict[str, UpChannel])
    up_shelves: Mapping[int, UpShelf] = field(default_factory=dict[int, UpShelf])
    up_products: Mapping[int, UpProduct] = field(default_factory=dict[int, UpProduct])
    cantons: Mapping[str, Canton] = field(default_factory=dict[str, Canton])
    notify_endpoints: Mapping[str, NotifyEndpoint] = field(
        default_factory=dict[str, NotifyEndpoint]
    )

    @cached_property
    def index(self) -> CatalogueIndex:
        """The same, indexed for orders; built once for each version."""
        return CatalogueIndex(self)

    @cached_property
    def endpoints_of(self) -> Mapping[str, Sequence[NotifyEndpoint]]:
        """By channel, where it is sent what happens; gathered once for each version."""
        made: dict[str, list[NotifyEndpoint]] = {}
        for _, one in sorted(self.notify_endpoints.items()):
            if one.enabled and self.down_channels[one.channel_no].enabled:
                made.setdefault(one.channel_no, []).append(one)
        return made

    @cached_property
    def bought_as(self) -> Mapping[tuple[str, str], Sequence[int]]:
        """By supplier and its own number of a product, ours; gathered once for each version."""
        made: dict[tuple[str, str], list[int]] = {}
        for product_id, product in sorted(self.up_products.items()):
            if product.ext_product_no:
                key = self.up_shelves[product.shelf_id].channel_no, product.ext_product_no
                made.setdefault(key, []).append(product_id)
        return made

    @cached_property
    def stocked_as(self) -> Mapping[tuple[str, str, int], Sequence[int]]:
        """By supplier, carrier and face, our products; gathered once for each version."""
        made: dict[tuple[str, str, int], list[int]] = {}
        for product_id, product in sorted(self.up_products.items()):
            channel_no = self.up_shelves[product.shelf_id].channel_no
            key = channel_no, product.carrier_no, product.face_micros
            made.setdefault(key, []).append(product_id)
        return made

    @cached_property
    def sold_to(self) -> Mapping[str, Sequence[int]]:
        """By channel, the numbers of what it may buy, ascending; gathered once for each version."""
        made: dict[str, list[int]] = {}
        for product_id, product in sorted(self.down_products.items()):
            shelf = self.down_shelves[product.shelf_id]
            if product.enabled and shelf.enabled and self.down_channels[shelf.channel_no].enabled:
                made.setdefault(shelf.channel_no, []).append(product_id)
        return made

    def index_from(self, base: Catalogue, changed: Mapping[str, Collection[Any]]) -> None:
        """Make the index out of that of `base`, from which this differs by the rows of these keys alone.

        Only where a few products changed; else it is built anew when it is asked for.
        """
        if sum(map(len, changed.values())) <= REINDEX_MAX and changed.keys() <= LEAVES:
            made = copy(base.index)
            made.exchange(base, self, changed)
            vars(self)["index"] = made  # where cached_property keeps it


@dataclass(frozen=True, slots=True)
class ProductRequest:
    """What an order asks to buy."""

    channel_no: str
    line_id: int
    carrier_no: str
    province_no: str
    city_no: str
    face_micros: int
    num: int
    invoice_type: int


@dataclass(frozen=True, slots=True)
class SupplyRequest:
    """What must be bought for an order, whatever its size."""

    line_id: int
    carrier_no: str
    province_no: str
    city_no: str
    returnable: bool
    invoiced: bool


@dataclass(frozen=True, slots=True)
class Offer:
    """An up product that can be bought now, with its supplier and time-outs."""

    product: UpProduct
    channel_no: str
    delivery_overtime_s: int
    return_overtime_s: int
    risk_class: str = ""


class CatalogueIndex:
    """Enabled products, indexed by what orders name."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._sold: dict[tuple[str, int, str, int], list[tuple[DownProduct, DownShelf]]] = {}
        self._offered: dict[tuple[int, str], list[Offer]] = {}
        self._fits: dict[SupplyRequest, tuple[Offer, ...]] = {}
        for product in catalogue.down_products.values():
            self._sell(catalogue, product)
        for product in catalogue.up_products.values():
            self._offer(catalogue, product)

    def exchange(
        self, before: Catalogue, after: Catalogue, keys: Mapping[str, Collection[Any]]
    ) -> None:
        """Be the index of `after` instead of `before`, which differ by these products alone.

        What a copy of this shares with it stays as it is: lists are made anew.
        """
        self._sold, self._offered, self._fits = dict(self._sold), dict(self._offered), {}
        for product_id in keys.get("down_products", ()):
            self._sell_instead(before, after, product_id)
        for product_id in keys.get("up_products", ()):
            self._offer_instead(before, after, product_id)

    def _sell_instead(self, before: Catalogue, after: Catalogue, product_id: int) -> None:
        was, product = before.down_products.get(product_id), after.down_products[product_id]
        if was is not None:
            at = _sold_at(before, was)
            self._sold[at] = [one for one in self._sold.get(at, ()) if one[0] is not was]
        at = _sold_at(after, product)
        self._sold[at] = list(self._sold.get(at, ()))
        self._sell(after, product)

    def _offer_instead(self, before: Catalogue, after: Catalogue, product_id: int) -> None:
        was, product = before.up_products.get(product_id), after.up_products[product_id]
        if was is not None:
            at = (was.line_id, was.carrier_no)
            self._offered[at] = [one for one in self._offered.get(at, ()) if one.product is not was]
        at = (product.line_id, product.carrier_no)
        self._offered[at] = list(self._offered.get(at, ()))
        self._offer(after, product)

    def _sell(self, catalogue: Catalogue, product: DownProduct) -> None:
        shelf = catalogue.down_shelves[product.shelf_id]
        channel = catalogue.down_channels[shelf.channel_no]
        if product.enabled and shelf.enabled and channel.enabled:
            self._sold.setdefault(_sold_at(catalogue, product), []).append((product, shelf))

    def _offer(self, catalogue: Catalogue, product: UpProduct) -> None:
        shelf = catalogue.up_shelves[product.shelf_id]
        channel = catalogue.up_channels[shelf.channel_no]
        if product.enabled and shelf.enabled and channel.enabled:
            offer = Offer(
                product,
                channel.channel_no,
                shelf.delivery_overtime_s,
                shelf.return_overtime_s,
                channel.risk_class,
            )
            self._offered.setdefault((product.line_id, product.carrier_no), []).append(offer)

    def num_max(self, request: ProductRequest) -> int:
        """The largest limit_count of what would be sold but for the number of units; 0 when nothing would."""
        key = (request.channel_no, request.line_id, request.carrier_no, request.face_micros)
        one_unit = replace(request, num=1)
        fitting = [p.limit_count for p, _ in self._sold.get(key, ()) if _sells(p, one_unit)]
        return max(fitting, default=0)

    def sold_as(self, request: ProductRequest) -> tuple[DownProduct, DownShelf] | None:
        """What the channel sells for this request: exact region before `*`, exact invoice before any."""
        key = (request.channel_no, request.line_id, request.carrier_no, request.face_micros)
        fitting = [one for one in self._sold.get(key, ()) if _sells(one[0], request)]
        if len(fitting) <= 1:
            return fitting[0] if fitting else None
        return min(fitting, key=lambda one: (*_looseness(one[0], request), one[0].product_id))

    def offers(self, supply: SupplyRequest) -> tuple[Offer, ...]:
        """What can be bought for this request: largest face first, then cheapest, then most exact."""
        found = self._fits.get(supply)
        if found is None:
            if len(self._fits) >= FITS_MAX:
                self._fits.clear()
            offered = self._offered.get((supply.line_id, supply.carrier_no), ())
            found = tuple(
                sorted((o for o in offered if _fits(o.product, supply)), key=_rank(supply))
            )
            self._fits[supply] = found
        return found


def _sold_at(catalogue: Catalogue, product: DownProduct) -> tuple[str, int, str, int]:
    channel_no = catalogue.down_shelves[product.shelf_id].channel_no
    return channel_no, product.line_id, product.carrier_no, product.face_micros


def _in_region(product: DownProduct | UpProduct, province_no: str, city_no: str) -> bool:
    return product.province_no in {province_no, WILDCARD} and product.city_no in {city_no, WILDCARD}


def _region_looseness(product: DownProduct | UpProduct, province_no: str, city_no: str) -> int:
    """0 when both are named exactly; `*` asked for and `*` offered is exact."""
    return (product.province_no != province_no) + (product.city_no != city_no)


def _sells(product: DownProduct, request: ProductRequest) -> bool:
    invoice = request.invoice_type == 0 or product.invoice_type in {0, request.invoice_type}
    return (
        invoice
        and product.limit_count >= request.num
        and _in_region(product, request.province_no, request.city_no)
    )


def _looseness(product: DownProduct, request: ProductRequest) -> tuple[int, bool]:
    region = _region_looseness(product, request.province_no, request.city_no)
    return region, product.invoice_type != request.invoice_type


def _fits(product: UpProduct, supply: SupplyRequest) -> bool:
    return (
        (product.can_refund or not supply.returnable)
        and (product.invoice_type == 2 or not supply.invoiced)
        and _in_region(product, supply.province_no, supply.city_no)
    )


def _rank(supply: SupplyRequest) -> Callable[[Offer], tuple[int, int, int, int]]:
    """Order of preference: face descending, cost ascending, exactness, product number."""

    def rank(offer: Offer) -> tuple[int, int, int, int]:
        product = offer.product
        loose = _region_looseness(product, supply.province_no, supply.city_no)
        return (-product.face_micros, product.cost_discount_ppm, loose, product.product_id)

    return rank
