"""What is sold and bought in a simulated system, and from whom."""

from __future__ import annotations

from typing import Any, Final

from shoudan_delivery.states import DealCode
from shoudan_delivery.store.rows import Supplier as SupplierRow
from shoudan_order.catalogue.index import Catalogue
from shoudan_order.catalogue.model import (
    DownChannel,
    DownProduct,
    DownShelf,
    Line,
    UpChannel,
    UpProduct,
    UpShelf,
)
from tests.simulation import outside

YUAN: Final = 1_000_000
SUPPLIERS: Final = ("ycup", "second")
CHANNELS: Final = ("test", "short", "hasty")
HASTY_S: Final = 6  # the overtime of a channel whose orders often are paid too late


def catalogue() -> Catalogue:
    """Three channels, one short of money, one of time; two suppliers; goods in units and in parts."""
    common: dict[str, Any] = {
        "line_id": 1, "carrier_no": "ZSH", "province_no": "*", "city_no": "*", "invoice_type": 1,
        "ext_product_no": "", "can_refund": True,
    }  # fmt: skip
    sold: dict[str, Any] = {
        "sell_discount_ppm": 900_000, "commission_discount_ppm": 20_000,
        "service_discount_ppm": 10_000, "payment_fee_discount_ppm": 5_000, "limit_count": 10,
    }  # fmt: skip
    bought: dict[str, Any] = {
        "commission_discount_ppm": 10_000, "service_discount_ppm": 5_000, "limit_count": 10,
    }  # fmt: skip
    shelves = {at + 1: no for at, no in enumerate(CHANNELS)}
    down = {
        shelf * 100 + at: DownProduct(
            product_id=shelf * 100 + at,
            shelf_id=shelf,
            face_micros=face * YUAN,
            can_split_order=split > 0,
            split_order_face_micros=split * YUAN,
            **common,
            **sold,
        )
        for shelf in shelves
        for at, (face, split) in enumerate(((200, 0), (100, 0), (400, 200)))
    }
    up = {
        shelf * 100 + at: UpProduct(
            product_id=shelf * 100 + at,
            shelf_id=shelf,
            face_micros=face * YUAN,
            cost_discount_ppm=800_000 + 10_000 * (shelf - 1),
            **common,
            **bought,
        )
        for shelf in (1, 2)
        for at, face in enumerate((200, 100))
    }
    return Catalogue(
        version=1,
        lines={1: Line(1, "加油卡")},
        down_channels={no: DownChannel(no, no) for no in CHANNELS},
        down_shelves={
            number: DownShelf(number, no, no, *overtimes(no), pay_fail_fast=no == "short")
            for number, no in shelves.items()
        },
        down_products=down,
        up_channels={no: UpChannel(no, no) for no in SUPPLIERS},
        up_shelves={at + 1: UpShelf(at + 1, no, no, 300, 300) for at, no in enumerate(SUPPLIERS)},
        up_products=up,
    )


def overtimes(channel_no: str) -> tuple[int, int]:
    """Of its orders and of its refunds."""
    return (HASTY_S, 600) if channel_no == "hasty" else (600, 600)


def suppliers_known() -> list[SupplierRow]:
    """Every supplier, for deliveries and for returns."""
    codes = {
        outside.SUCCESS: DealCode.SUCCESS,
        outside.FAILURE: DealCode.FAILURE,
        outside.PENDING: DealCode.UNKNOWN,
    }
    return [
        SupplierRow(
            id=at * 10 + service_class,
            channel_no=no,
            service_class=service_class,
            protocol="default",
            request_url=f"http://{no}/request",
            notify_url=f"http://us/{no}",
            query_url=f"http://{no}/query",
            request_replenish_time_s=100,
            first_query_time_s=30,
            query_replenish_time_s=60,
            enabled=True,
            can_query=True,
            idempotent=False,
            concurrency_max=40,
            timeout_s=10.0,
            secret_name="",
            deal_codes=codes,
            notify_networks=("10.0.0.0/8",),
            notify_without_token=True,
        )
        for at, no in enumerate(SUPPLIERS)
        for service_class in (10, 21)
    ]


CATALOGUE: Final = catalogue()
