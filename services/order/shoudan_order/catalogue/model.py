"""The rows of the catalogue: product lines, channels, shelves, products, cantons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shoudan_order.states import LossRule


class RoutePolicy(StrEnum):
    """How a product line chooses among the suppliers that can deliver."""

    CHEAPEST = "cheapest"
    WEIGHTED = "weighted"
    OUTCOME = "outcome"


@dataclass(frozen=True, slots=True)
class Line:
    """A product line (oms_product_line)."""

    line_id: int
    line_name: str
    can_package_delivery: bool = False
    queues: Mapping[str, str] = field(default_factory=dict[str, str])
    service_class: int = 10
    return_service_class: int = 21
    loss_rule: str = LossRule.ALLOW
    route_policy: str = RoutePolicy.CHEAPEST
    route_weights: Mapping[str, int] = field(default_factory=dict[str, int])
    route_terms: Mapping[str, int] = field(default_factory=dict[str, int])
    forbid_supplier_classes: tuple[str, ...] = ()
    require_carrier_serial: bool = False


@dataclass(frozen=True, slots=True)
class DownChannel:
    """A partner (oms_down_channel)."""

    channel_no: str
    channel_name: str
    enabled: bool = True
    auth_mode: str = ""
    secret_name: str = ""
    allowed_networks: tuple[str, ...] = ()
    word_status: bool = False
    notify_networks: tuple[str, ...] = ()
    ext_channel_no: str = ""
    rate_per_s: int = 0
    calls_max: int = 0
    card_key: str = ""
    shelf_url: str = ""
    shelf_events: tuple[str, ...] = ()
    notice_url: str = ""
    api_version: str = ""


@dataclass(frozen=True, slots=True)
class NotifyEndpoint:
    """Where a partner is sent what happens, beside the notify_url of each order (oms_notify_endpoint)."""

    endpoint_no: str
    channel_no: str
    url: str
    events: tuple[str, ...] = ()
    body_version: int = 0
    enabled: bool = True

    def wants(self, event: str) -> bool:
        """Whether it is sent what is called so."""
        return self.enabled and (not self.events or event in self.events)


@dataclass(frozen=True, slots=True)
class DownShelf:
    """What a partner may buy under which time-outs (oms_down_shelf)."""

    shelf_id: int
    shelf_name: str
    channel_no: str
    order_overtime_s: int = 600
    refund_overtime_s: int = 600
    enabled: bool = True
    pay_fail_fast: bool = False
    extend_info: str = ""


@dataclass(frozen=True, slots=True)
class _Product:
    """What is said of a product, sold or bought."""

    product_id: int
    shelf_id: int
    line_id: int
    carrier_no: str
    province_no: str
    city_no: str
    invoice_type: int
    ext_product_no: str
    can_refund: bool
    face_micros: int


@dataclass(frozen=True, slots=True)
class DownProduct(_Product):
    """One thing sold (oms_down_product)."""

    sell_discount_ppm: int
    commission_discount_ppm: int
    service_discount_ppm: int
    payment_fee_discount_ppm: int
    can_split_order: bool
    split_order_face_micros: int
    limit_count: int
    enabled: bool = True
    extend_info: str = ""


@dataclass(frozen=True, slots=True)
class UpChannel:
    """A supplier (oms_up_channel)."""

    channel_no: str
    channel_name: str
    enabled: bool = True
    ext_channel_no: str = ""
    risk_class: str = ""
    price_rule: str = "ignore"
    price_move_max_ppm: int = 0


@dataclass(frozen=True, slots=True)
class UpShelf:
    """What a supplier offers under which time-outs (oms_up_shelf)."""

    shelf_id: int
    shelf_name: str
    channel_no: str
    delivery_overtime_s: int = 300
    return_overtime_s: int = 300
    enabled: bool = True
    extend_info: str = ""


@dataclass(frozen=True, slots=True)
class UpProduct(_Product):
    """One thing bought (oms_up_product)."""

    cost_discount_ppm: int
    commission_discount_ppm: int
    service_discount_ppm: int
    limit_count: int
    enabled: bool = True
    extend_info: str = ""
    price_rule: str = ""
    price_move_max_ppm: int = 0


@dataclass(frozen=True, slots=True)
class Canton:
    """A province, city or county (oms_canton_info)."""

    canton_code: str
    chinese_name: str
    spell: str = ""
    simple_spell: str = ""
    grade: int = 0
    parent: str = ""
    area_code: str = ""
    standard_code: str = ""
