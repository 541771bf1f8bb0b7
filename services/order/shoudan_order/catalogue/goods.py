"""Products of a channel as goods of the 虚拟货源 standard interface: number, type, name, price. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from shoudan_kit.money import FEN, apply_rate, micros_to_yuan
from shoudan_order.catalogue.index import WILDCARD, Catalogue, ProductRequest
from shoudan_order.catalogue.model import DownProduct
from shoudan_order.delivery_client import VOUCHER


class GoodsType(IntEnum):
    """What is delivered; the documented numbers."""

    RECHARGE = 1
    CARDS = 2


ON_SHELF, OFF_SHELF = 1, 2
MANY = 99_999  # of goods on the shelf of which no supplier says how many it has


@dataclass(frozen=True, slots=True)
class Goods:
    """One product of a channel."""

    product: DownProduct
    channel_no: str
    goods_type: GoodsType
    name: str

    @property
    def goods_no(self) -> str:
        """Its number, as the interface has it."""
        return str(self.product.product_id)

    def request(self, num: int) -> ProductRequest:
        """What an order of so many asks for."""
        one = self.product
        return ProductRequest(
            self.channel_no,
            one.line_id,
            one.carrier_no,
            one.province_no,
            one.city_no,
            one.face_micros,
            num,
            one.invoice_type,
        )

    def sell_micros(self, num: int) -> int:
        """What so many are sold for, without the service fee."""
        return apply_rate(self.product.face_micros * num, self.product.sell_discount_ppm)

    def price_fen(self, num: int) -> int:
        """What so many cost the channel, service fee included, rounded up."""
        total = self.product.face_micros * num
        return fen_up(self.sell_micros(num) + apply_rate(total, self.product.service_discount_ppm))

    def on_shelf(self, catalogue: Catalogue) -> bool:
        """Whether an order of one buys this very product now."""
        sold = catalogue.index.sold_as(self.request(1))
        return sold is not None and sold[0].product_id == self.product.product_id


@dataclass(frozen=True, slots=True)
class GoodsIndex:
    """All goods of one version of the catalogue, by channel in order of their numbers."""

    catalogue: Catalogue = field(default_factory=Catalogue)
    by_channel: dict[str, dict[int, Goods]] = field(default_factory=dict[str, dict[int, Goods]])

    def find(
        self, channel_no: str, goods_no: str, goods_type: GoodsType | None = None
    ) -> Goods | None:
        """The goods of a number, and of a type where one is named; None for what the channel has not."""
        if not (goods_no.isascii() and goods_no.isdigit()) or len(goods_no) > 19:
            return None
        found = self.by_channel.get(channel_no, {}).get(int(goods_no))
        if found is None or found.goods_no != goods_no:
            return None
        return found if goods_type in {None, found.goods_type} else None

    def search(
        self, channel_no: str, keyword: str, goods_type: GoodsType | None
    ) -> Sequence[Goods]:
        """Those of a type whose name has the keyword in it, or whose number it is."""
        word = keyword.casefold()
        return [
            one
            for one in self.by_channel.get(channel_no, {}).values()
            if goods_type in {None, one.goods_type}
            and (not word or word in one.name.casefold() or keyword == one.goods_no)
        ]


def status_of(one: Goods, catalogue: Catalogue) -> int:
    """上架 1, 下架 2: whether an order now buys this very product."""
    return ON_SHELF if one.on_shelf(catalogue) else OFF_SHELF


def index_of(catalogue: Catalogue) -> GoodsIndex:
    """The goods of a version."""
    made = GoodsIndex(catalogue)
    for product_id in sorted(catalogue.down_products):
        product = catalogue.down_products[product_id]
        channel_no = catalogue.down_shelves[product.shelf_id].channel_no
        line = catalogue.lines[product.line_id]
        kind = GoodsType.CARDS if line.service_class == VOUCHER else GoodsType.RECHARGE
        made.by_channel.setdefault(channel_no, {})[product_id] = Goods(
            product, channel_no, kind, _name(catalogue, product, line.line_name)
        )
    return made


def fen_up(micros: int) -> int:
    """Whole fen that are enough for an amount."""
    return -(-micros // FEN)


def _name(catalogue: Catalogue, product: DownProduct, line_name: str) -> str:
    """The line, the carrier, where it is sold, and the face."""
    regions = [one for one in (product.province_no, product.city_no) if one != WILDCARD]
    named = [
        catalogue.cantons[one].chinese_name if one in catalogue.cantons else one for one in regions
    ]
    face = f"{micros_to_yuan(product.face_micros)}元"
    return " ".join((line_name, product.carrier_no, *named, face))
