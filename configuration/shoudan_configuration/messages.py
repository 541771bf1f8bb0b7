"""The configuration file as the messages that services take, and what they have as the file writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import yaml
from google.protobuf.json_format import MessageToDict

from shoudan.delivery.v1 import delivery_service_pb2 as delivery
from shoudan.order.v1 import catalogue_service_pb2 as catalogue
from shoudan_configuration.document import Document, Row
from shoudan_kit.money import micros_to_yuan, ppm_to_rate

MICROS: Final = frozenset({"face", "split_order_face"})
RATES: Final = ("_discount", "_move_max")
WHOLE: Final = frozenset({3, 5})  # descriptor types int64 and int32
NESTED: Final = frozenset({"shelves", "products", "error_codes", "template"})


def fields(row: Row, **more: Any) -> dict[str, Any]:
    """A row's own values by the contract's names: amounts end in _micros, rates in _ppm."""
    values = {name: getattr(row, name) for name in type(row).model_fields if name not in NESTED}
    return {_ours(name): value for name, value in values.items()} | more


def _ours(name: str) -> str:
    if name in MICROS:
        return f"{name}_micros"
    return f"{name}_ppm" if name.endswith(RATES) else name


def catalogue_of(document: Document) -> catalogue.Catalogue:
    """The catalogue part as one message, shelves and products beside their channels."""
    down = [(one, shelf) for one in document.down_channels for shelf in one.shelves]
    up = [(one, shelf) for one in document.up_channels for shelf in one.shelves]
    return catalogue.Catalogue(
        lines=[catalogue.Line(**fields(one)) for one in document.lines],
        down_channels=[catalogue.DownChannel(**fields(one)) for one in document.down_channels],
        down_shelves=[
            catalogue.DownShelf(**fields(shelf, channel_no=one.channel_no)) for one, shelf in down
        ],
        down_products=[
            catalogue.DownProduct(**fields(product, shelf_id=shelf.shelf_id))
            for _, shelf in down
            for product in shelf.products
        ],
        up_channels=[catalogue.UpChannel(**fields(one)) for one in document.up_channels],
        up_shelves=[
            catalogue.UpShelf(**fields(shelf, channel_no=one.channel_no)) for one, shelf in up
        ],
        up_products=[
            catalogue.UpProduct(**fields(product, shelf_id=shelf.shelf_id))
            for _, shelf in up
            for product in shelf.products
        ],
        cantons=[catalogue.Canton(**fields(one)) for one in document.cantons],
        notify_endpoints=[
            catalogue.NotifyEndpoint(**fields(one)) for one in document.notify_endpoints
        ],
    )


def suppliers_of(document: Document) -> list[delivery.Supplier]:
    """The suppliers as messages."""
    return [
        delivery.Supplier(
            **fields(one),
            template=json.dumps(one.template, ensure_ascii=False) if one.template else "",
            error_codes=[delivery.Supplier.ErrorCode(**fields(c)) for c in one.error_codes],
        )
        for one in document.suppliers
    ]


# ------------------------------------------------------------ back to a file
def _plain(message: Any) -> dict[str, Any]:
    """A message as YAML writes it: our names back to the file's, 64-bit numbers as numbers."""
    row: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    shown: dict[str, Any] = {}
    for name, value in row.items():
        kind = message.DESCRIPTOR.fields_by_name[name].type
        number: Any = int(value) if kind in WHOLE and isinstance(value, str | int) else value
        if name.endswith("_micros"):
            shown[name.removesuffix("_micros")] = micros_to_yuan(number)
        elif name.endswith("_ppm"):
            shown[name.removesuffix("_ppm")] = ppm_to_rate(number)
        else:
            shown[name] = number
    return shown


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _channel(one: Any) -> dict[str, Any]:
    """A channel's own values; one without a signature says so."""
    row = _plain(one)
    return row | ({"auth_mode": row["auth_mode"] or "none"} if "auth_mode" in row else {})


def _nested(channels: Any, shelves: Any, products: Any) -> list[dict[str, Any]]:
    """Channels with their shelves with their products."""
    return [
        _channel(one)
        | {
            "shelves": [
                _without(_plain(shelf), "channel_no")
                | {
                    "products": [
                        _without(_plain(p), "shelf_id")
                        for p in products
                        if p.shelf_id == shelf.shelf_id
                    ]
                }
                for shelf in shelves
                if shelf.channel_no == one.channel_no
            ]
        }
        for one in channels
    ]


def catalogue_rows(found: catalogue.Catalogue) -> dict[str, Any]:
    """The catalogue as the file's parts."""
    return {
        "lines": [_plain(one) for one in found.lines],
        "down_channels": _nested(found.down_channels, found.down_shelves, found.down_products),
        "up_channels": _nested(found.up_channels, found.up_shelves, found.up_products),
        "cantons": [_plain(one) for one in found.cantons],
        "notify_endpoints": [_plain(one) for one in found.notify_endpoints],
    }


def supplier_row(one: delivery.Supplier) -> dict[str, Any]:
    """A supplier as the file has it, without what only the service sets."""
    row = _without(_plain(one), "state", "state_reason", "balance_yuan", "error_codes")
    whole = one.timeout_s.is_integer()
    row["timeout_s"] = int(one.timeout_s) if whole else one.timeout_s
    row["template"] = json.loads(one.template) if one.template else {}
    return row | {"error_codes": [_plain(code) for code in one.error_codes]}


def text_of(document: Mapping[str, Any]) -> str:
    """Parts of a file as its text."""
    return yaml.safe_dump(dict(document), allow_unicode=True, sort_keys=False, width=110)
