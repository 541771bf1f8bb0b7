"""Promises of the catalogue's index: one that was changed answers as one that is built anew."""

from __future__ import annotations

import itertools
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from shoudan_order.catalogue import admin, index
from shoudan_order.catalogue.index import (
    Catalogue,
    CatalogueIndex,
    ProductRequest,
    SupplyRequest,
)
from shoudan_order.catalogue.model import (
    DownChannel,
    DownProduct,
    DownShelf,
    UpChannel,
    UpProduct,
    UpShelf,
)

CARRIERS, REGIONS, FACES = ("ZSH", "ZSY"), ("*", "ZJ"), (100, 200)


def start() -> Catalogue:
    """Two shelves on each side, one of them not enabled, and nothing on them."""
    return Catalogue(
        version=1,
        down_channels={"c": DownChannel("c", "c")},
        down_shelves={i: DownShelf(i, "s", "c", enabled=i != 2) for i in (1, 2)},
        up_channels={"u": UpChannel("u", "u")},
        up_shelves={i: UpShelf(i, "s", "u", enabled=i != 2) for i in (1, 2)},
    )


def drawn(random: Random) -> tuple[str, Any]:
    """A row of some product: new, or instead of one that is there, perhaps moved or out of sale."""
    common = {
        "product_id": random.randint(1, 12),
        "shelf_id": random.choice((1, 1, 2)),
        "line_id": random.randint(1, 2),
        "carrier_no": random.choice(CARRIERS),
        "province_no": random.choice(REGIONS),
        "city_no": "*",
        "invoice_type": random.randint(1, 2),
        "ext_product_no": "",
        "can_refund": random.random() < 0.5,
        "face_micros": random.choice(FACES),
        "commission_discount_ppm": 0,
        "service_discount_ppm": 0,
        "limit_count": random.randint(1, 5),
        "enabled": random.random() < 0.8,
    }
    if random.random() < 0.5:
        return "up_products", UpProduct(**common, cost_discount_ppm=random.randint(1, 9))
    more: Any = {
        "sell_discount_ppm": 9,
        "payment_fee_discount_ppm": 0,
        "can_split_order": False,
        "split_order_face_micros": 0,
    }
    return "down_products", DownProduct(**common, **more)


def answers(made: CatalogueIndex) -> list[Any]:
    """What an index says to every question of this small world."""
    asked = itertools.product((1, 2), CARRIERS, ("ZJ", "SH"), FACES, (1, 3), (0, 1))
    wished = [
        ProductRequest("c", line, carrier, province, "*", face, num, invoice)
        for line, carrier, province, face, num, invoice in asked
    ]
    bought = itertools.product((1, 2), CARRIERS, ("ZJ", "SH"), (True, False), (True, False))
    supplies = [
        SupplyRequest(line, carrier, province, "*", returnable, invoiced)
        for line, carrier, province, returnable, invoiced in bought
    ]
    return [
        *(made.sold_as(one) for one in wished),
        *(made.num_max(one) for one in wished),
        *(made.offers(one) for one in supplies),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a_changed_index_answers_as_a_new_one_and_leaves_the_one_before(seed: int) -> None:
    random, now, sold = Random(seed), start(), 0
    for version in range(2, 40):
        rows = dict(drawn(random) for _ in range(random.randint(1, 2)))
        given = admin.Rows({kind: [row] for kind, row in rows.items()})
        before = answers(now.index)
        after = replace(admin.merged(now, given), version=version)
        after.index_from(now, {kind: [row.product_id] for kind, row in rows.items()})
        assert "index" in vars(after)
        assert answers(after.index) == answers(CatalogueIndex(after))
        assert answers(now.index) == before
        sold += sum(map(bool, before))
        now = after
    assert sold > 500


def test_an_index_is_built_anew_when_what_products_stand_on_changed_or_too_many_did() -> None:
    now = start()
    for changed in ({"down_shelves": [2]}, {"up_products": range(index.REINDEX_MAX + 1)}):
        after = replace(now, version=2)
        after.index_from(now, changed)
        assert "index" not in vars(after)
