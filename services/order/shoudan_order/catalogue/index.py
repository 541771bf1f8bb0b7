"""The catalogue in memory: what is sold to whom, what can be bought, and which of it fits an order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from shoudan_order.catalogue.model import (
    Canton,
    DownChannel,
    DownProduct,
    DownShelf,
    Line,
    UpChannel,
    UpProduct,
    UpShelf,
)

WILDCARD = "*"
# Distinct (line, carrier, province, city, rules) seen; more start the cache anew.
FITS_MAX = 10_000


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

    @cached_property
    def index(self) -> CatalogueIndex:
        """The same, indexed for orders; built once for each version."""
        return CatalogueIndex(self)


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

    def _sell(self, catalogue: Catalogue, product: DownProduct) -> None:
        shelf = catalogue.down_shelves[product.shelf_id]
        channel = catalogue.down_channels[shelf.channel_no]
        if product.enabled and shelf.enabled and channel.enabled:
            key = (channel.channel_no, product.line_id, product.carrier_no, product.face_micros)
            self._sold.setdefault(key, []).append((product, shelf))

    def _offer(self, catalogue: Catalogue, product: UpProduct) -> None:
        shelf = catalogue.up_shelves[product.shelf_id]
        channel = catalogue.up_channels[shelf.channel_no]
        if product.enabled and shelf.enabled and channel.enabled:
            offer = Offer(
                product, channel.channel_no, shelf.delivery_overtime_s, shelf.return_overtime_s
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
