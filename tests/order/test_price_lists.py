"""Promises of price lists: only the channel's own, whole or what changed, nothing lost between pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoudan.order.v1 import catalogue_service_pb2 as pb
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_order.catalogue import admin, shelves
from shoudan_order.catalogue.index import Catalogue
from shoudan_order.rpc.catalogue import MESSAGES, read_rows
from shoudan_order.store import catalogue as catalogue_store
from tests.order.harness import (
    LOOPBACK,
    YUAN,
    OrderHarness,
    catalogue,
    down_product,
    up_product,
)


async def listed(harness: OrderHarness, channel_no: str = "test", **asked: Any) -> Any:
    request = pb.ListProductsRequest(channel_no=channel_no, **asked)
    return await harness.catalogue.ListProducts(request)


async def walked(harness: OrderHarness, size: int, **asked: Any) -> AsyncIterator[Any]:
    """Every page."""
    token = ""
    while True:
        page = await listed(harness, page_size=size, page_token=token, **asked)
        yield page
        token = page.next_page_token
        if not token:
            return


def other_channel() -> dict[str, Any]:
    """A second channel with a shelf and a product of its own."""
    return {
        "down_channels": [
            pb.DownChannel(
                channel_no="two", channel_name="二", enabled=True, allowed_networks=LOOPBACK
            )
        ],
        "down_shelves": [
            pb.DownShelf(
                shelf_id=2,
                shelf_name="二",
                channel_no="two",
                order_overtime_s=600,
                refund_overtime_s=600,
                enabled=True,
            )
        ],
        "down_products": [down_product(product_id=400, shelf_id=2, sell_discount_ppm=950_000)],
    }


async def test_a_channel_sees_its_own_products_at_its_prices(harness: OrderHarness) -> None:
    await harness.apply(**other_channel())
    mine, theirs = await listed(harness), await listed(harness, "two")
    assert (mine.full, mine.version) == (True, 2)
    (one,) = mine.products
    assert (one.product_id, one.on_shelf, one.in_stock, one.num_max) == (300, True, True, 10)
    assert (one.face_micros, one.price_micros, one.service_micros) == (
        200 * YUAN,
        180 * YUAN,
        2 * YUAN,
    )
    assert [(p.product_id, p.price_micros) for p in theirs.products] == [(400, 190 * YUAN)]
    assert (await listed(harness, since_version=1)).products == []


async def test_since_a_version_only_what_changed_is_given(harness: OrderHarness) -> None:
    more = [down_product(product_id=n, face_micros=n * YUAN) for n in (301, 302, 303)]
    begin = (await harness.apply(down_products=more)).version
    await harness.apply(down_products=[down_product(sell_discount_ppm=910_000)])
    await harness.apply(
        down_products=[down_product(product_id=302, face_micros=302 * YUAN, enabled=False)]
    )
    page = await listed(harness, since_version=begin)
    assert (page.full, page.version, page.next_page_token) == (False, begin + 2, "")
    assert [(p.product_id, p.on_shelf, p.price_micros) for p in page.products] == [
        (300, True, 182 * YUAN),
        (302, False, 0),
    ]
    assert list((await listed(harness, since_version=page.version)).products) == []
    whole = await listed(harness)
    assert [p.product_id for p in whole.products] == [300, 301, 303]


async def test_what_no_channel_sees_is_no_change(harness: OrderHarness) -> None:
    await harness.apply(down_products=[down_product(commission_discount_ppm=21_000)])
    await harness.apply(up_products=[up_product(cost_discount_ppm=810_000)])
    page = await listed(harness, since_version=1)
    assert (list(page.products), page.version) == ([], 3)


async def test_the_last_supplier_of_a_product_takes_it_out_of_stock(harness: OrderHarness) -> None:
    await harness.apply(up_products=[up_product(enabled=False)])
    (one,) = (await listed(harness, since_version=1)).products
    assert (one.on_shelf, one.in_stock) == (True, False)
    await harness.apply(up_products=[up_product()])
    (one,) = (await listed(harness, since_version=2)).products
    assert one.in_stock


async def test_stock_that_may_not_be_sold_at_a_loss_is_none(harness: OrderHarness) -> None:
    await harness.apply(
        lines=[pb.Line(line_id=1, line_name="加油卡", service_class=10, loss_rule="refuse")]
    )
    await harness.apply(up_products=[up_product(cost_discount_ppm=950_000)])
    (one,) = (await listed(harness, since_version=2)).products
    assert not one.in_stock


async def test_a_product_that_moves_to_another_channel_says_nothing_of_it(
    harness: OrderHarness,
) -> None:
    await harness.apply(**other_channel())
    await harness.apply(
        down_products=[down_product(shelf_id=2, city_no="HZ", sell_discount_ppm=990_000)]
    )
    (gone,) = (await listed(harness, since_version=2)).products
    assert gone == pb.ShelfProduct(product_id=300)
    (new,) = (await listed(harness, "two", since_version=2)).products
    assert (new.product_id, new.price_micros) == (300, 198 * YUAN)


async def test_pages_hold_everything_once_and_say_the_version_of_the_first(
    harness: OrderHarness,
) -> None:
    more = [down_product(product_id=n, face_micros=n * YUAN) for n in range(301, 308)]
    await harness.apply(down_products=more)
    found: list[int] = []
    versions: set[int] = set()
    async for page in walked(harness, 3):
        found += [p.product_id for p in page.products]
        versions.add(page.version)
        # A change in the middle of the walk: it comes with the next changes, whatever this walk had.
        await harness.apply(down_products=[down_product(sell_discount_ppm=900_000 + len(found))])
    assert (found, versions) == ([*range(300, 308)], {2})
    changes = [
        p.product_id async for page in walked(harness, 3, since_version=2) for p in page.products
    ]
    assert changes == [300]


async def test_changes_are_paged_in_order_of_their_versions(harness: OrderHarness) -> None:
    await harness.apply(
        down_products=[down_product(product_id=n, face_micros=n * YUAN) for n in range(301, 308)]
    )
    for n in (305, 301, 303):
        changed = down_product(product_id=n, face_micros=n * YUAN, limit_count=9)
        await harness.apply(down_products=[changed])
    found = [
        p.product_id async for page in walked(harness, 1, since_version=2) for p in page.products
    ]
    assert found == [305, 301, 303]


async def test_a_version_that_a_process_of_the_release_before_wrote_is_listed_whole(
    harness: OrderHarness,
) -> None:
    async with harness.process.app.work("tests") as work:  # what such a process does
        version = await catalogue_store.raise_version(work.db)
        changed = down_product(sell_discount_ppm=920_000)
        (row,) = read_rows("down_products", pb.Catalogue(down_products=[changed]))
        await catalogue_store.write_kind(work.db, "down_products", [admin.to_columns(row)])
        await catalogue_store.note_changes(work.db, version, {"down_products": [300]})
    page = await listed(harness, since_version=1)
    assert (page.full, [p.price_micros for p in page.products]) == (True, [184 * YUAN])
    # The next version of ours cannot know what that one changed: it counts all as changed.
    await harness.apply(up_products=[up_product(cost_discount_ppm=810_000)])
    page = await listed(harness, since_version=1)
    assert (page.full, [p.product_id for p in page.products]) == (False, [300])


async def test_a_version_of_another_time_is_answered_with_all(harness: OrderHarness) -> None:
    page = await listed(harness, since_version=10**12)
    assert (page.full, page.version, len(page.products)) == (True, 1, 1)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"channel_no": "nobody"}, "ERROR_REASON_CHANNEL_UNAVAILABLE"),
        ({"channel_no": ""}, "ERROR_REASON_CHANNEL_UNAVAILABLE"),
        ({"page_size": -1}, "ERROR_REASON_FIELD_INVALID"),
        ({"since_version": -1}, "ERROR_REASON_FIELD_INVALID"),
        ({"page_token": "c-1-2"}, "ERROR_REASON_FIELD_INVALID"),
        ({"page_token": "c-1-2-9999999999999999999"}, "ERROR_REASON_FIELD_INVALID"),
        ({"page_token": "a-１-0-0"}, "ERROR_REASON_FIELD_INVALID"),
    ],
)
async def test_what_cannot_be_listed_is_refused(
    harness: OrderHarness, asked: dict[str, Any], reason: str
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        await listed(harness, **({"channel_no": "test"} | asked))
    refused = refused_from_rpc(raised.value)
    assert refused is not None
    assert refused.reason == reason


def in_memory(**changes: Any) -> Catalogue:
    """The example's catalogue with two channels, as a process has it."""
    one = catalogue()
    for kind, rows in other_channel().items():
        one[kind] = [*one[kind], *rows]
    message = pb.Catalogue(**(one | changes))
    rows = admin.Rows({kind: read_rows(kind, message) for kind in MESSAGES})
    return admin.merged(Catalogue(), rows)


SWITCHES = st.fixed_dictionaries(
    {
        "enabled": st.booleans(),
        "shelf_id": st.sampled_from((1, 2)),
        "sell_discount_ppm": st.sampled_from((900_000, 910_000)),
        "limit_count": st.sampled_from((1, 10)),
    }
)


@given(before=SWITCHES, after=SWITCHES, supplier=st.tuples(st.booleans(), st.booleans()))
@settings(max_examples=100, deadline=None)
def test_what_is_noted_as_changed_is_what_each_channel_sees_otherwise(
    before: dict[str, Any], after: dict[str, Any], supplier: tuple[bool, bool]
) -> None:
    was = in_memory(
        down_products=[down_product(**before)], up_products=[up_product(enabled=supplier[0])]
    )
    now = in_memory(
        down_products=[down_product(**after)], up_products=[up_product(enabled=supplier[1])]
    )
    keys = {"down_products": [300], "up_products": [300]}
    noted = {
        (channel_no, one)
        for channel_no, ones in shelves.changed(was, now, keys).items()
        for one in ones
    }
    seen = {
        (channel_no, 300)
        for channel_no in ("test", "two")
        if shelves.shown(was, channel_no, 300) != shelves.shown(now, channel_no, 300)
    }
    assert noted == seen
