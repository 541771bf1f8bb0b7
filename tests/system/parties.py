"""Two parties of every protocol on one system: an object of every kind of each, and how they sign."""

from __future__ import annotations

import base64
import copy
import hashlib
import itertools
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import yaml

from shoudan.pay.v1 import platform_service_pb2 as platform
from shoudan.pay.v1.platform_service_pb2_grpc import PlatformServiceStub
from shoudan_cli.clients import Clients
from shoudan_cli.system import System, demo_catalogue
from shoudan_erp_ingest.signatures import top_md5
from shoudan_gateway.commands import JWKS_FILE, issued
from shoudan_signing import channel as signing
from shoudan_signing import key_signature, open_access_token, open_body_sig, tsk_hmac
from tests.poll import eventually

OWN, OTHER, ABSENT = "own", "other", "absent"
PARTIES = (OWN, OTHER)
MERCHANTS = {OWN: "eLzwsgnlWpZN8xtvz0qgvw", OTHER: "mI2NDMoQRdnKCq01hAsLwQ", ABSENT: "A" * 22}
ROOT = "/api/v1.0.0"
SCANNER = "017AFC80-95FA-11E8-B0EC-5384BC9767FE"
UNION_PAY = "4CE44A21-68DA-4ADA-B7EE-371187327F75"
DINGDANG = "D1D1D1D1-0000-4000-8000-000000000001"
# The supplier whose path is called, another one, and a face that only the other one delivers.
SUPPLIERS = {OWN: "ycup", OTHER: "dearup"}
SIGNED_BY_SUPPLIERS = ("/vds/bill/trade", "/vds/bill/fund", "/vds/dispute/answer")
NOTIFY_KEY = "a-notify-key-of-at-least-32-characters"
FOREIGN_FACE = "77"
ORDERS = ("order", "refunded_order", "taken_by_get", "taken_by_post", "foreign_face")
OF_EACH_CALL = {"date", "content-length", "x-request-id"}  # headers
ENDS_S = 60
_numbers = itertools.count(1)


def number(prefix: str) -> str:
    """A partner's number that nothing else has; always of the same length."""
    return f"{prefix}{next(_numbers):010d}"


def secret_of(protocol: str, party: str) -> str:
    """The secret a party signs this protocol with."""
    return hashlib.sha256(f"{protocol} of {party}".encode()).hexdigest()


def environment(keys: Path) -> dict[str, str]:
    """The settings of a system that knows the secrets of both parties."""
    issued(keys, MERCHANTS[OWN], "", "merchant", timedelta(hours=1))
    rules = {party: {"scheme": "top-md5", "secret": secret_of("erp", party)} for party in PARTIES}
    env = {
        "SHOUDAN_GATEWAY_PAYSERVER_JWKS_FILE": str(keys / JWKS_FILE),
        "SHOUDAN_DELIVERY_NOTIFY_KEY": NOTIFY_KEY,
        "SHOUDAN_DELIVERY_NOTIFY_REFUSED_BURST": "1000",  # all of them come from one address
        "SHOUDAN_ERP_INGEST_CUSTOMERS": json.dumps(PARTIES),
        "SHOUDAN_ERP_INGEST_APP_KEYS": json.dumps(PARTIES),
        "SHOUDAN_ERP_INGEST_SENDER_RULES": json.dumps(rules),
    }
    env["SHOUDAN_COMPONENT_SCANNER"] = secret_of("component", OWN)
    for party in PARTIES:
        env[f"SHOUDAN_GATEWAY_SECRET_{party.upper()}"] = secret_of("channel", party)
        env[f"SHOUDAN_ORDER_SECRET_{party.upper()}"] = secret_of("channel", party)
        for protocol in ("ums", "notify", "skill"):
            name = f"SHOUDAN_PAY_SECRET_{protocol.upper()}_{party.upper()}"
            env[name] = secret_of(protocol, party)
    return env


def catalogue(folder: Path) -> Path:
    """The demonstration's catalogue, with two channels that sign and a template for each platform."""
    whole = yaml.safe_load(demo_catalogue().read_text("utf-8"))
    (model, *_) = whole["down_channels"]
    whole["down_channels"] = [_channel(model, party, n) for n, party in enumerate(PARTIES)]
    whole["accounts"] += [
        {"groups": "down_channel", "eid": party, "name": party, "opening_yuan": 90000}
        for party in PARTIES
    ]
    whole["notify_endpoints"] = [
        {
            "endpoint_no": f"{party}-1",
            "channel_no": party,
            "url": "http://127.0.0.1:1/",
            "enabled": False,
        }
        for party in PARTIES
    ]
    dear = whole["up_channels"][1]["shelves"][0]["products"]
    dear.append(dear[0] | {"product_id": 399, "face": int(FOREIGN_FACE)})
    whole["accounts"] = [a for a in whole["accounts"] if a["eid"] not in {"test", "ycdown"}]
    whole["pay_mode_templates"][0]["secret_name"] = "SHOUDAN_COMPONENT_SCANNER"
    whole["pay_mode_templates"] += [
        {
            "template_id": UNION_PAY,
            "name": "银联",
            "pay_url": "${SHOUDAN_SANDBOX_URL}/component/pay",
            "refund_url": "chinaums:",
            "query_url": "chinaums:",
            "online": True,
        },
        {
            "template_id": DINGDANG,
            "name": "叮当",
            "pay_url": "dingdang:",
            "refund_url": "dingdang:",
            "query_url": "dingdang:",
            "online": True,
        },
    ]
    path = folder / "catalogue.yaml"
    path.write_text(yaml.safe_dump(whole, allow_unicode=True), "utf-8")
    return path


def _channel(model: dict[str, Any], party: str, place: int) -> dict[str, Any]:
    channel = copy.deepcopy(model)
    del channel["allowed_networks"]
    channel |= {"channel_no": party, "auth_mode": "hmac2", "secret_name": party}
    (shelf,) = channel["shelves"]
    shelf["shelf_id"] = 10 + place
    shelf["products"].append(shelf["products"][0] | {"face": int(FOREIGN_FACE)})
    for n, product in enumerate(shelf["products"]):
        product["product_id"] = 1000 + 100 * place + n
    return channel


@dataclass
class Parties:
    """The system, and every object by kind and party."""

    system: System
    http: aiohttp.ClientSession
    clients: Clients
    keys: Path
    ums_url: str
    template: str = ""
    objects: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])

    def id_of(self, kind: str, whose: str) -> str:
        """The number of an object; of an absent one it looks like that of the party's own."""
        if whose != ABSENT:
            return self.objects[kind][whose]
        own = self.objects[kind][OWN]
        return "9" * (len(own) - 1) + "8" if own.isdigit() else "Z" * len(own)

    # ---------------------------------------------------------------- as each protocol calls
    async def send(
        self, method: str, url: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        """Status, the headers that say something, and the text of an answer."""
        async with self.http.request(method, url, data=body, headers=headers) as answer:
            shown = {
                name: value
                for name, value in answer.headers.items()
                if not name.startswith("RateLimit") and name.lower() not in OF_EACH_CALL
            }
            return answer.status, shown, await answer.text()

    async def channel(
        self, method: str, path: str, *, inside: bool = False, **params: str
    ) -> tuple[int, dict[str, str], str]:
        """A call that the own channel has signed."""
        whole = {
            "channel_no": OWN,
            "sign_type": signing.HMAC_SHA256_V2,
            "timestamp": str(int(time.time())),
            "nonce": secrets.token_hex(16),
            **params,
        }
        key = secret_of("channel", whole["channel_no"]).encode()
        whole["sign"] = signing.hmac_v2_sign(method, path, whole, b"", key)
        base = self.system.internal_url if inside else self.system.gateway_url
        return await self.send(method, f"{base}{path}?{urlencode(whole)}")

    async def merchant(
        self, method: str, path: str, body: Any = None, *, party: str = OWN
    ) -> tuple[int, dict[str, str], str]:
        """A call of PayServer with the token of a party's merchant."""
        token = issued(self.keys, MERCHANTS[party], "", "merchant", timedelta(hours=1))
        raw = None if body is None else json.dumps(body).encode()
        url = self.system.gateway_url + path
        return await self.send(method, url, raw, Authorization=f"Bearer {token}")

    async def skill(self, path: str, domain: str = OWN, signer: str = OWN, **members: Any) -> Any:
        """A call of Dingdang's protocol in the name of a domain."""
        raw = _encoded({"domainId": domain, "nonceStr": secrets.token_hex(16), **members})
        stamp = tsk_hmac.stamp(datetime.now(UTC))
        header = tsk_hmac.header(secret_of("skill", signer), stamp, raw)
        return await self.send("POST", self.system.gateway_url + path, raw, Authorization=header)

    async def cash_desk(self, mer_order_id: str) -> Any:
        """The own cash desk asks about a refund."""
        raw = _encoded(
            {
                "requestTimestamp": "2022-04-15 10:47:59",
                "merOrderId": mer_order_id,
                "instMid": "APPDEFAULT",
                "mid": f"mid-{OWN}",
                "tid": f"tid-{OWN}",
            }
        )
        stamp, nonce = open_body_sig.stamp(datetime.now(UTC)), secrets.token_hex(16)
        header = open_body_sig.header(OWN, secret_of("ums", OWN), stamp, nonce, raw)
        url = f"{self.system.gateway_url}/v1/netpay/refund-query"
        return await self.send("POST", url, raw, Authorization=header)

    async def ums_token(self, app_id: str) -> Any:
        """A token of ChinaUMS for an app, asked for with the own key."""
        stamp, nonce = open_body_sig.stamp(datetime.now(UTC)), secrets.token_hex(16)
        sign = open_access_token.sign(app_id, secret_of("ums", OWN), stamp, nonce, "SHA256")
        members = {"appId": app_id, "timestamp": stamp, "nonce": nonce, "signMethod": "SHA256"}
        url = f"{self.system.gateway_url}/v1/token/access"
        return await self.send("POST", url, _encoded(members | {"signature": sign}))

    async def ums_notify(self, mer_order_id: str) -> Any:
        """ChinaUMS tells the own cash desk of a pay."""
        params = {
            "mid": f"mid-{OWN}",
            "tid": f"tid-{OWN}",
            "merOrderId": mer_order_id,
            "totalAmount": "50",
            "status": "TRADE_SUCCESS",
        }
        sign = key_signature.sign(params, secret_of("notify", OWN), "SHA256")
        url = f"{self.system.gateway_url}/chinaums/notify"
        form = urlencode(params | {"sign": sign}).encode()
        return await self.send(
            "POST", url, form, **{"Content-Type": "application/x-www-form-urlencoded"}
        )

    async def supplier(self, method: str, order_no: str, of: str = "notify") -> Any:
        """The own supplier notifies, with the token of its own delivery."""
        path = f"/vds/{of}/{SUPPLIERS[OWN]}/10"
        text = f"notify/{SUPPLIERS[OWN]}/10/{self.objects['delivery'][OWN]}"
        key = hashlib.blake2b(NOTIFY_KEY.encode()).digest()
        mac = hashlib.blake2b(text.encode(), key=key, digest_size=16).digest()
        token = base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
        told = {"order_no": order_no, "code": "R_0000", "amount": "200"}
        url = f"{self.system.gateway_url}{path}?{urlencode({'token': token})}"
        headers = {"Content-Type": "application/json"}
        return await self.send(method, url, json.dumps(told).encode(), **headers)

    async def push(self, path: str, name: str, sender: str, body: bytes) -> Any:
        """A push in the name of a sender, with the own secret."""
        params = {name: sender, "timestamp": "2026-11-20 12:00:00"}
        query = urlencode(params | {"sign": top_md5(params, secret_of("erp", OWN), body)})
        return await self.send("POST", f"{self.system.gateway_url}{path}?{query}", body)

    # ---------------------------------------------------------------- what there is
    async def prepare(self) -> None:
        """One object of every kind for each party."""
        self.objects["endpoint"] = {party: f"{party}-1" for party in PARTIES}
        for party in PARTIES:
            await self._platforms(party)
            await self._payserver(party)
            await self._orders(party)
        await self._deliveries()

    async def _call(self, rpc: str, request: Any) -> Any:
        return await self.clients.call("pay", PlatformServiceStub, rpc, request)

    async def _platforms(self, party: str) -> None:
        app = platform.UmsApp(
            app_id=party,
            merchant_uuid=MERCHANTS[party],
            mid=f"mid-{party}",
            tid=f"tid-{party}",
            secret_name=f"ums-{party}",
            notify_secret_name=f"notify-{party}",
            base_url=self.ums_url,
            source_id="124S",
            enabled=True,
        )
        await self._call("SetUmsApp", platform.SetUmsAppRequest(app=app))
        for role in (platform.ROLE_PLATFORM, platform.ROLE_PARTNER):
            domain = platform.Domain(
                role=role,
                domain_id=party,
                merchant_uuid=MERCHANTS[party],
                secret_name=f"skill-{party}",
                enabled=True,
            )
            if role == platform.ROLE_PARTNER:
                domain.base_url = f"{self.system.gateway_url}/paycgi"
            await self._call("SetDomain", platform.SetDomainRequest(domain=domain))

    def keep(self, party: str, **numbers: str) -> None:
        for kind, text in numbers.items():
            self.objects.setdefault(kind, {})[party] = text

    async def _made(self, path: str, body: Any, party: str) -> Any:
        status, _, text = await self.merchant("POST", f"{ROOT}/{path}", body, party=party)
        assert status in {200, 201}, text
        return json.loads(text)

    async def _mode(self, template: str, party: str) -> str:
        wish = {"payTemplateId": template, "isOpened": 1, "uiOrder": 1}
        return (await self._made("payModes", wish, party))["uuid"]

    async def _pay(self, mode: str, party: str, tail: str = "0000", no: str = "") -> Any:
        wish = pay_of(mode) | {"payParams": {"payBarCode": f"13485356618120{tail}"}}
        return (await self._made("pay", wish | ({"clientPayNo": no} if no else {}), party))["data"]

    async def _payserver(self, party: str) -> None:
        scanner, union = await self._mode(SCANNER, party), await self._mode(UNION_PAY, party)
        dingdang = await self._mode(DINGDANG, party)
        pay, left = await self._pay(scanner, party), await self._pay(scanner, party)
        wish = {
            "payTractionNo": pay["tractionNo"],
            "clientRefundNo": number("rf"),
            "refundAmount": 20,
        }
        refund = (await self._made("refund", wish, party))["data"]
        at_ums = await self._pay(union, party)
        # Runs for ever, so that only a notify ends it.
        running = await self._pay(union, party, "1006")
        order, paid = await self._pay(dingdang, party), await self._pay(dingdang, party)
        members = {"tradeNo": paid["tractionNo"], "transactionId": "platform-0", "totalAmt": 50}
        _, _, text = await self.skill("/dingdang/pay/notify", party, party, **members)
        assert json.loads(text) == {"retCode": "SUCCESS"}
        back = {"payTractionNo": paid["tractionNo"], "clientRefundNo": number("rd")}
        await self.merchant("POST", f"{ROOT}/refund", back, party=party)
        told = {"payTractionNo": at_ums["tractionNo"], "clientRefundNo": number("ru")}
        await self.merchant("POST", f"{ROOT}/refund", told, party=party)
        by_no = "clientRefundNo", back["clientRefundNo"]
        dingdang_refund = await self._first("refundOrders", party, *by_no)
        template = await self._first("payModeTemplates", party, "payTemplateId", SCANNER)
        self.template = template["uuid"]
        self.keep(
            party,
            mode=scanner,
            traction=left["tractionNo"],
            client_pay=left["clientPayNo"],
            refunded_pay=pay["tractionNo"],
            refund_traction=refund["tractionNo"],
            ums_refund=told["clientRefundNo"],
            ums_pay=running["tractionNo"],
            dingdang=order["tractionNo"],
            dingdang_refund=dingdang_refund["tractionNo"],
            merchant=MERCHANTS[party],
            app=party,
        )
        for kind, collection, name, value in (
            ("pay", "payOrders", "tractionNo", pay["tractionNo"]),
            ("refund", "refundOrders", "tractionNo", refund["tractionNo"]),
            ("record", "tradeRecords", "tractionNo", pay["tractionNo"]),
        ):
            self.keep(party, **{kind: (await self._first(collection, party, name, value))["uuid"]})

    async def _first(self, collection: str, party: str, name: str, value: str) -> Any:
        path = f"{ROOT}/{collection}?{name}={value}&limit=1"
        _, _, text = await self.merchant("GET", path, party=party)
        (item,) = json.loads(text)["items"]
        return item

    async def _orders(self, party: str) -> None:
        placed = {kind: number("or") for kind in ORDERS}
        for kind, request_no in placed.items():
            await self.place(party, request_no, FOREIGN_FACE if kind == "foreign_face" else "")
        await self._ended("oms_order_info", "request_no", "order_status", placed.values())
        refund_no = number("rn")
        params = refund_params(placed["refunded_order"], refund_no, self.system.sandbox_url)
        status, _, text = await self.channel("GET", "/refund/general", channel_no=party, **params)
        assert status == 200, text
        await self._ended("oms_refund_info", "down_refund_no", "refund_status", [refund_no])
        self.keep(party, refund_no=refund_no, **placed)

    async def place(self, party: str, request_no: str, face: str = "") -> None:
        """An order of a party."""
        params = order_params(request_no, face or "200")
        status, _, text = await self.channel("GET", "/order/request", channel_no=party, **params)
        assert status == 200, text

    async def _ended(self, table: str, column: str, status: str, numbers: Any) -> None:
        wanted = list(numbers)
        query = f"SELECT count(*) FROM {table} WHERE {column} = ANY($1) AND {status} = 0"

        async def done() -> bool:
            async with self.system.postgres.admin("shoudan_order") as db:
                return await db.fetchval(query, wanted) == len(wanted)

        await eventually(done, ENDS_S, every_s=0.1)

    async def _deliveries(self) -> None:
        async with self.system.postgres.admin("shoudan_delivery") as db:
            for party, supplier in SUPPLIERS.items():
                found = await db.fetchval(
                    "SELECT order_no FROM vds_order_info WHERE channel_no = $1 AND service_class = 10"
                    " AND status = 0 ORDER BY 1 LIMIT 1",
                    supplier,
                )
                self.keep(party, delivery=str(found))


def pay_of(mode: str) -> dict[str, Any]:
    """A pay as the document shows it."""
    return {
        "payModeUUID": mode,
        "payer": "A",
        "payee": "http://shop.example.com/1",
        "payAmount": 50,
        "clientPayNo": number("cp"),
        "payParams": {"payBarCode": "134853566181200000"},
        "clientExtraParams": {},
    }


def order_params(request_no: str, face: str = "200") -> dict[str, str]:
    """An order of the example's goods."""
    amounts = {"200": "198", FOREIGN_FACE: "76.23"}
    return {
        "request_no": request_no,
        "line_id": "1",
        "carrier_no": "ZSH",
        "invoice_type": "1",
        "num": "1",
        "face": face,
        "amount": amounts[face],
        "rechage_account": "100011000000000",
    }


def refund_params(request_no: str, refund_no: str, sandbox_url: str) -> dict[str, str]:
    """A refund of a whole order."""
    return {
        "request_no": request_no,
        "refund_no": refund_no,
        "refund_num": "1",
        "notify_url": f"{sandbox_url}/inbox/refunds",
    }


def _encoded(members: dict[str, Any]) -> bytes:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


def of_supplier(path: str) -> Callable[[Parties, str, str], Awaitable[Any]]:
    """Of a supplier that is there, and of others, without its secret."""
    signed = {"sign_type": "HMAC-SHA256-V2", "nonce": "0123456789abcdef", "sign": "0" * 64}
    about = {"bill_date": "2026-01-01", "dispute_id": "1", "answer": "no"}

    async def ask(two: Parties, whose: str, method: str) -> Any:
        channel_no = SUPPLIERS.get(whose, "nobody")
        params = {**signed, **about, "channel_no": channel_no, "timestamp": str(int(time.time()))}
        found = await two.send(method, f"{two.system.gateway_url}{path}?{urlencode(params)}")
        assert found[0] == 403, found
        return found

    return ask
