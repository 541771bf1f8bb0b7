"""What a catalogue sells for less than its first supplier takes: warnings for the operator who changes it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from shoudan_kit.money import PPM
from shoudan_order.binding import margin
from shoudan_order.catalogue.index import Catalogue
from shoudan_order.catalogue.routing import split
from shoudan_order.catalogue.shelves import supply_of

WARNINGS_MAX: Final = 20


def warnings(catalogue: Catalogue) -> list[str]:
    """One line for each product that would be bought at a loss first, at most WARNINGS_MAX."""
    return list(islice(_losses(catalogue), WARNINGS_MAX))


def _losses(catalogue: Catalogue) -> Iterator[str]:
    for product in catalogue.down_products.values():
        if not product.enabled:
            continue
        line = catalogue.lines[product.line_id]
        offers, _ = split(line, catalogue.index.offers(supply_of(product)))
        first = next(
            (one for one in offers if one.product.face_micros <= product.face_micros), None
        )
        if first is None or (lost := margin(product, first.product)) >= 0:
            continue
        yield (
            f"down_products {product.product_id}: up_products {first.product.product_id} of"
            f" {first.channel_no}, which is bought first, costs {-lost / PPM / 10_000:g}% of the face more"
            f" than is earned (loss_rule of its line: {line.loss_rule})"
        )
