"""Suppliers as they speak each protocol: what the contract suite lets them say, right and wrong."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from shoudan_delivery import trying
from shoudan_delivery.protocols import InboundNotify
from shoudan_delivery.protocols.default import signature
from shoudan_delivery.states import DealCode
from shoudan_delivery.store.rows import Supplier
from shoudan_signing.recipe import Recipe, sign

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "docs/examples/suppliers"
SECRET = b"secret-of-the-supplier"
KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)


def pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_pem(key: rsa.RSAPrivateKey) -> str:
    made = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return made.decode()


@dataclass(frozen=True)
class Said:
    """What a supplier says of an order."""

    order_no: str = "7"
    how: str = "success"  # or failed, unknown, unlisted, absent
    amount_micros: int = 100_000_000
    message: str = "充值成功"
    cards: Sequence[Mapping[str, str]] = ()


class Speaker(Protocol):
    """One protocol, from the supplier's side."""

    supplier: Supplier
    secret: bytes  # of who signs its notifies
    wrong_secret: bytes
    charset: str
    other_charset: str
    nothing: bytes  # a message of its kind in which nothing is found

    def answer(self, said: Said) -> bytes: ...
    def twice(self, said: Said) -> bytes: ...
    def notify(self, said: Said, secret: bytes) -> InboundNotify: ...


class Pricing(Speaker, Protocol):
    """One that sends prices by itself: products with sku, price in fen and stock, of a version."""

    def prices(
        self, products: Sequence[Mapping[str, Any]], version: object, secret: bytes
    ) -> InboundNotify: ...


@dataclass(frozen=True)
class DefaultJson:
    """The default protocol."""

    supplier: Supplier
    secret: bytes = SECRET
    wrong_secret: bytes = b"another"
    charset: str = "utf-8"
    other_charset: str = "gb18030"
    nothing: bytes = b'{"a": "b"}'
    codes: Mapping[str, str] = field(
        default_factory=lambda: {
            "success": "R_0000", "failed": "R_5124", "unknown": "R_9999",
            "unlisted": "R_1", "absent": "R_4040",
        }
    )  # fmt: skip

    def _fields(self, said: Said) -> dict[str, Any]:
        made: dict[str, Any] = {
            "order_no": said.order_no,
            "code": self.codes[said.how],
            "message": said.message,
            "up_order_no": "U1",
            "amount": str(said.amount_micros // 1_000_000),
        }
        return made | ({"cards": list(said.cards)} if said.cards else {})

    def answer(self, said: Said) -> bytes:
        return json.dumps(self._fields(said), ensure_ascii=False).encode()

    def twice(self, said: Said) -> bytes:
        return self.answer(said).replace(b'{"order_no"', b'{"code": "R_5124", "order_no"')

    def notify(self, said: Said, secret: bytes) -> InboundNotify:
        made = self._fields(said) | {"channel_no": self.supplier.channel_no}
        made["sign"] = signature(made, secret)
        body = json.dumps(made, ensure_ascii=False).encode()
        return InboundNotify("POST", "", body, {"Content-Type": "application/json"}, "")

    def prices(
        self, products: Sequence[Mapping[str, Any]], version: object, secret: bytes
    ) -> InboundNotify:
        listed = [
            {"product": one["sku"], "version": str(version), "stock": str(one["stock"])}
            | {"price": f"{one['price'] // 100}.{one['price'] % 100:02}"}
            for one in products
        ]
        made = {"channel_no": self.supplier.channel_no, "products": listed}
        made["sign"] = signature(made, secret)
        return InboundNotify("POST", "", json.dumps(made).encode(), {}, "")


@dataclass(frozen=True)
class FormAndXml:
    """docs/examples/suppliers/md5-form-gbk.yaml."""

    supplier: Supplier
    secret: bytes = SECRET
    wrong_secret: bytes = b"another"
    charset: str = "gb18030"
    other_charset: str = "utf-8"
    nothing: bytes = b"<a><b>c</b></a>"
    codes: Mapping[str, tuple[str, str]] = field(
        default_factory=lambda: {
            "success": ("0", "1"), "failed": ("0", "2"), "unknown": ("0", "0"),
            "unlisted": ("9", ""), "absent": ("1003", ""),
        }
    )  # fmt: skip

    def _fields(self, said: Said) -> dict[str, str]:
        result, status = self.codes[said.how]
        return {
            "orderid": said.order_no,
            "result": result,
            "status": status,
            "msg": said.message,
            "sysid": "U1",
            "money": str(said.amount_micros // 1_000_000),
        }

    def answer(self, said: Said) -> bytes:
        inner = "".join(f"<{name}>{text}</{name}>" for name, text in self._fields(said).items())
        return f'<?xml version="1.0" encoding="GBK"?><root>{inner}</root>'.encode("gbk")

    def twice(self, said: Said) -> bytes:
        return self.answer(said).replace(b"<root>", b"<root><status>2</status>")

    def notify(self, said: Said, secret: bytes) -> InboundNotify:
        fields = {name: text for name, text in self._fields(said).items() if text}
        text = "&".join(f"{name}={fields[name]}" for name in sorted(fields))
        signed = (text + "&key=").encode("gbk") + secret
        fields["sign"] = hashlib.md5(signed, usedforsecurity=False).hexdigest().upper()
        return InboundNotify("POST", "", urlencode(fields, encoding="gbk").encode(), {}, "")


@dataclass(frozen=True)
class HmacJson:
    """docs/examples/suppliers/hmac-json.yaml."""

    supplier: Supplier
    secret: bytes = SECRET
    wrong_secret: bytes = b"another"
    charset: str = "utf-8"
    other_charset: str = "gb18030"
    nothing: bytes = b'{"a": {"b": "c"}}'
    codes: Mapping[str, tuple[str, str]] = field(
        default_factory=lambda: {
            "success": ("OK", "SUCCESS"), "failed": ("OK", "FAILED"),
            "unknown": ("OK", "PROCESSING"), "unlisted": ("OK", "ODD"), "absent": ("NOT_FOUND", ""),
        }
    )  # fmt: skip

    def answer(self, said: Said) -> bytes:
        code, status = self.codes[said.how]
        data: dict[str, Any] = {
            "out_trade_no": said.order_no,
            "status": status,
            "trade_no": "U1",
            "total": said.amount_micros // 10_000,
        }
        if said.cards:
            data["cards"] = [
                {"no": one["number"], "secret": {"pin": one["password"]}, "x": "1"} for one in said.cards
            ]  # fmt: skip
        made = {"code": code, "message": said.message, "data": data}
        return json.dumps(made, ensure_ascii=False).encode()

    def twice(self, said: Said) -> bytes:
        return self.answer(said).replace(b'{"code"', b'{"code": "ERR", "code"')

    def notify(self, said: Said, secret: bytes) -> InboundNotify:
        body = self.answer(said)
        return self._signed(body, secret)

    def _signed(self, body: bytes, secret: bytes) -> InboundNotify:
        made = hmac.new(secret, b"1700000000\n" + body, hashlib.sha256).hexdigest()
        return InboundNotify("POST", "", body, {"x-timestamp": "1700000000", "x-sign": made}, "")

    def prices(
        self, products: Sequence[Mapping[str, Any]], version: object, secret: bytes
    ) -> InboundNotify:
        listed = [dict(one) | {"ms": version} for one in products]
        return self._signed(json.dumps({"goods": listed}).encode(), secret)


@dataclass(frozen=True)
class RsaXml:
    """docs/examples/suppliers/rsa-xml.yaml."""

    supplier: Supplier
    secret: bytes = pem(KEY)
    wrong_secret: bytes = pem(OTHER_KEY)
    charset: str = "utf-8"
    other_charset: str = "gb18030"
    nothing: bytes = b"<a><b>c</b></a>"
    codes: Mapping[str, str] = field(
        default_factory=lambda: {
            "success": "00", "failed": "05", "unknown": "09", "unlisted": "77", "absent": "44",
        }
    )  # fmt: skip

    def _fields(self, said: Said) -> dict[str, str]:
        return {
            "serial": said.order_no,
            "code": self.codes[said.how],
            "message": said.message,
            "trade": "U1",
            "amount": str(said.amount_micros // 1_000_000),
        }

    def _xml(self, fields: Mapping[str, str]) -> bytes:
        inner = "".join(f"<{name}>{text}</{name}>" for name, text in fields.items())
        return f"<answer>{inner}</answer>".encode()

    def answer(self, said: Said) -> bytes:
        return self._xml(self._fields(said))

    def twice(self, said: Said) -> bytes:
        return self.answer(said).replace(b"<answer>", b"<answer><code>05</code>")

    def notify(self, said: Said, secret: bytes) -> InboundNotify:
        fields = self._fields(said)
        fields["sign"] = sign(Recipe("rsa-sha256", field="sign"), fields, secret, "utf-8")
        return InboundNotify("POST", "", self._xml(fields), {}, "")


def example(name: str, change: Callable[[dict[str, Any]], None] = lambda _: None) -> Supplier:
    """The channel of an example, with a secret."""
    document = yaml.safe_load((EXAMPLES / name).read_text())
    change(document["suppliers"][0]["template"])
    return replace(trying.channel_of(document, ""), secret=SECRET)


def _own_key(template: dict[str, Any]) -> None:
    template["notify"]["sign"]["public_key"] = public_pem(KEY)


DEFAULT = Supplier(
    1, "up", 10, "default", "http://a/order", "", "http://a/query", 1, 1, 1, True, True, False, 1,
    1.0, "", secret=SECRET,
    deal_codes={
        "R_0000": DealCode.SUCCESS, "R_5124": DealCode.FAILURE, "R_9999": DealCode.UNKNOWN,
    },
)  # fmt: skip
SPEAKERS: Sequence[Speaker] = (
    DefaultJson(DEFAULT),
    FormAndXml(example("md5-form-gbk.yaml")),
    HmacJson(example("hmac-json.yaml")),
    RsaXml(replace(example("rsa-xml.yaml", _own_key), secret=pem(OTHER_KEY))),
)
VOUCHERS: Sequence[Speaker] = (
    DefaultJson(replace(DEFAULT, service_class=20, delivers_cards=True)),
    HmacJson(example("hmac-json.yaml")),
)
PRICING: Sequence[Pricing] = (DefaultJson(DEFAULT), HmacJson(example("hmac-json.yaml")))
