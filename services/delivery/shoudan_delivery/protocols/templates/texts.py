"""The values of a template's calls: `$name` in a text stands for what is known of a delivery."""

from __future__ import annotations

import string
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from shoudan_delivery.store.rows import Outgoing, Supplier
from shoudan_kit.clock import BEIJING
from shoudan_kit.money import micros_to_fen, micros_to_yuan

OWN: Final = ("ext.", "param.")  # of the channel's ext_params, of the delivery's request params
ALWAYS: Final = frozenset(
    {"channel_no", "service_class", "timestamp", "timestamp_ms", "time", "time14", "day"}
)
OF_DELIVERY: Final = ALWAYS | {
    "order_no",
    "order_id",
    "carrier_no",
    "product",
    "face_yuan",
    "face_fen",
    "num",
    "amount_yuan",
    "amount_fen",
    "account",
    "notify_url",
}

_params = msgspec.json.Decoder(dict[str, str]).decode


class Text(string.Template):
    """The standard library's `$name`, also of the channel's and the delivery's own: `$ext.mer_id`."""

    idpattern = r"(?a:[a-z][a-z0-9_]*(?:\.[A-Za-z0-9_-]+)?)"


class _Known(dict[str, str]):
    """What a delivery lacks of its own parameters is empty."""

    def __missing__(self, name: str) -> str:
        if name.startswith("param."):
            return ""
        raise KeyError(name)


def filled(texts: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """The texts with their values. KeyError for a name that is not known, which applying has refused."""
    return {name: Text(text).substitute(known) for name, text in texts.items()}


def always(supplier: Supplier, now: datetime) -> dict[str, str]:
    """What is known without a delivery."""
    here = now.astimezone(BEIJING)
    seconds = int(now.timestamp())
    return _Known(
        {f"ext.{name}": text for name, text in supplier.ext_params.items()}
        | {
            "channel_no": supplier.channel_no,
            "service_class": str(supplier.service_class),
            "timestamp": str(seconds),
            "timestamp_ms": str(seconds * 1000 + now.microsecond // 1000),
            "time": here.strftime("%Y-%m-%d %H:%M:%S"),
            "time14": here.strftime("%Y%m%d%H%M%S"),
            "day": here.strftime("%Y%m%d"),
        }
    )


def of_delivery(
    supplier: Supplier, delivery: Outgoing, now: datetime, notify_url: str
) -> dict[str, str]:
    """What is known of a delivery. ValueError for an amount that is no whole number of fen."""
    params = _params(delivery.request_params) if delivery.request_params else {}
    known = always(supplier, now)
    known |= {f"param.{name}": text for name, text in params.items()}
    known |= {
        "order_no": str(delivery.order_no),
        "order_id": delivery.order_id,
        "carrier_no": delivery.carrier_no,
        "product": params.get("ext_product_no", delivery.carrier_no),
        "face_yuan": micros_to_yuan(delivery.product_face_micros),
        "num": str(delivery.product_num),
        "amount_yuan": micros_to_yuan(delivery.amount_micros),
        "account": delivery.account,
        "notify_url": notify_url,
    }
    # Only where it is asked for may an amount have no fen.
    for name, micros in (
        ("face_fen", delivery.product_face_micros),
        ("amount_fen", delivery.amount_micros),
    ):
        if micros % 10_000 == 0:
            known[name] = str(micros_to_fen(micros))
    return known


def problem(text: str, known: frozenset[str], ext_params: Mapping[str, str]) -> str:
    """Why a text cannot be filled; empty when it can."""
    if not Text(text).is_valid():
        return "a $ that begins no name; write $$ for the character"
    for name in Text(text).get_identifiers():
        own = name.startswith("param.") and "order_no" in known
        if name.startswith("ext.") and name.removeprefix("ext.") in ext_params:
            own = True
        if not own and name not in known:
            return f"${name} is not known; there are {', '.join(sorted(known))}, $ext. and $param."
    return ""
