"""In prod, what the gateway hands on unauthenticated is refused by the service, whatever the route."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from grpc import aio
from sqlalchemy import text

from shoudan.delivery.v1 import delivery_service_pb2 as delivery
from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_grpc
from shoudan.pay.v1 import payment_service_pb2 as payment
from shoudan.pay.v1 import payment_service_pb2_grpc as payment_grpc
from shoudan.pay.v1 import platform_service_pb2 as platform
from shoudan.pay.v1 import platform_service_pb2_grpc as platform_grpc
from shoudan_delivery.app import SERVICE as DELIVERY
from shoudan_delivery.config import DeliverySettings
from shoudan_erp_ingest.app import SERVICE as ERP
from shoudan_erp_ingest.config import ErpSettings
from shoudan_finance.app import SERVICE as FINANCE
from shoudan_finance.config import FinanceSettings
from shoudan_gateway.app import SERVICE as GATEWAY
from shoudan_gateway.app import ports
from shoudan_gateway.config import GatewaySettings
from shoudan_kit.config import Secret
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.rpc.client import connect
from shoudan_kit.service import Process
from shoudan_kit.tls.authority import Authority
from shoudan_pay.app import SERVICE as PAY
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver.numbers import new_uuid
from shoudan_pay.payserver.store import modes
from shoudan_pay.payserver.store.modes import Mode, Terms
from tests.credentials import identity_of, metadata_of, tls_of, trusted_keys
from tests.delivery.conftest import CODES
from tests.erp_ingest.harness import example
from tests.gateway.test_inbound import OPEN, refused_by_gateway, routes
from tests.pay.platforms.harness import DOMAIN, MID, TID

AWAY = "127.0.0.1:1"
SYSTEM = "prod"
ADMIN = metadata_of(SYSTEM, "admin")
HANDED_ON = [
    one
    for one in routes()
    if not refused_by_gateway(*one.values) and one.values[1].path not in OPEN
]
# What each protocol answers a caller it does not know.
REFUSED = {
    "payserver": (404, '"code":1599'),
    "vds": (403, ""),
    "supplier_bills": (403, ""),
    "supplier_disputes": (403, ""),
    "wangdian": (200, '"code":"1"'),
    "/pushReturngoods": (200, '"returnflag":"error"'),
    "chinaums": (412, "errCode"),
    "/chinaums/notify": (200, "FAILED"),
    "dingdang": (200, '"retCode":"FAIL"'),
}


# A supplier's own calls, whole but for a signature that is its.
OF_SUPPLIER = (
    "?channel_no=up&bill_date=2026-11-29&dispute_id=1&answer=x&sign_type=HMAC-SHA256-V2"
    "&timestamp={timestamp}&nonce=0123456789abcdef&sign="
)
UNSIGNED = ("", "?sign=", "?token=x&sign=x")


class Prod:
    """Services and gateway as in production, each with something that an outsider would like to move."""

    def __init__(
        self,
        url: str,
        http: aiohttp.ClientSession,
        parts: dict[str, Process[Any]],
        authority: Authority,
    ) -> None:
        self.url, self.http, self.parts, self.authority = url, http, parts, authority
        self.traction_no = self.order_no = ""

    async def sql(self, part: str, statement: str) -> Any:
        async with self.parts[part].app.db.connect() as db:
            return (await db.execute(text(statement))).scalar()

    async def prepare(self) -> None:
        """A pay, a delivery, a credential and two domains."""
        pay = self.parts["pay"]
        now, merchant = pay.app.clock.now(), new_uuid()
        none = dict.fromkeys(modes.TERMS)
        flags = dict.fromkeys(("sign_account", "async_notify", "third_party", "repeatable"), False)
        terms = Terms(
            **none
            | flags
            | {"name": "m", "valid_h": 24, "online": True, "secret_name": ""}
            | {"pay_url": "https://component.invalid/pay"}
        )
        mode = Mode(0, new_uuid(), None, merchant, "", True, True, 1, now, now, terms)
        async with pay.app.work() as work:
            await modes.create(work.db, mode)
        async with self.channel("pay", "gateway") as channel:
            stub: Any = payment_grpc.PaymentServiceStub(channel)
            item = payment.CreatePaysRequest.Item(
                mode_uuid=mode.uuid,
                payer="A",
                payee="https://shop.example.com/1",
                amount_micros=500_000,
                client_pay_no="p1",
                params=b'{"payBarCode":"1"}',
                extra_params=b"{}",
            )
            caller = payment.Caller(merchant_uuid=merchant)
            made = await stub.CreatePays(payment.CreatePaysRequest(caller=caller, items=[item]))
            self.traction_no = made.results[0].pay.traction_no
            admin: Any = platform_grpc.PlatformServiceStub(channel)
            app = platform.UmsApp(
                app_id="a",
                merchant_uuid=merchant,
                mid=MID,
                tid=TID,
                secret_name="ums",
                enabled=True,
            )
            app.notify_secret_name = "ums"
            await admin.SetUmsApp(platform.SetUmsAppRequest(app=app), metadata=ADMIN)
            for role in (platform.ROLE_PLATFORM, platform.ROLE_PARTNER):
                domain = platform.Domain(
                    role=role,
                    domain_id=DOMAIN,
                    merchant_uuid=merchant,
                    secret_name="skill",
                    enabled=True,
                )
                await admin.SetDomain(platform.SetDomainRequest(domain=domain), metadata=ADMIN)
        async with self.channel("delivery", "order") as channel:
            await self._deliver(channel)

    async def _deliver(self, channel: Any) -> None:
        codes = [delivery.Supplier.ErrorCode(error_code=c, deal_code=d) for c, d in CODES]
        supplier = delivery.Supplier(
            channel_no="up",
            service_class=10,
            request_url="https://supplier.invalid/request",
            query_url="https://supplier.invalid/query",
            request_replenish_time_s=60,
            first_query_time_s=60,
            query_replenish_time_s=60,
            can_query=True,
            concurrency_max=5,
            timeout_s=1,
            enabled=True,
            error_codes=codes,
        )
        admin: Any = delivery_grpc.SupplierServiceStub(channel)
        applied = delivery.ApplySuppliersRequest(suppliers=[supplier], by="t")
        await admin.ApplySuppliers(applied, metadata=ADMIN)
        item = delivery.CreateDeliveriesRequest.Item(
            key=delivery.DeliveryKey(coop_id="down", coop_order_id="1", service_class=10),
            channel_no="up",
            carrier_no="ZSH",
            face_micros=100_000_000,
            num=1,
            account="1000",
            timeout_s=300,
            order_id="1",
        )
        stub: Any = delivery_grpc.DeliveryServiceStub(channel)
        made = await stub.CreateDeliveries(delivery.CreateDeliveriesRequest(items=[item]))
        self.order_no = made.results[0].delivery.order_no

    def channel(self, part: str, caller: str) -> aio.Channel:
        """A channel to a part, with the certificate of another service."""
        target = f"127.0.0.1:{self.parts[part].port}"
        return connect(target, part, identity_of(self.authority, caller))

    def queries(self, partner: str) -> tuple[str, ...]:
        """What stands behind the path: no proof, or one that is none."""
        if not partner.startswith("supplier_"):
            return UNSIGNED
        whole = OF_SUPPLIER.format(timestamp=int(time.time()))
        return f"{whole}x", whole + "0" * 64

    def body(self, partner: str, path: str) -> bytes:
        """What would move something, if it were believed."""
        if partner.startswith("supplier_"):
            return b""
        if partner == "wangdian":
            return example("push_data.json" if "Data" in path else "push_returngoods.json")
        told: dict[str, Any] = {
            "payserver": {"tractionNo": self.traction_no, "ret": "success"},
            "vds": {"order_no": self.order_no, "code": "R_0000", "amount": "100"},
            "chinaums": {"mid": MID, "tid": TID, "merOrderId": self.traction_no, "msgId": "1"},
            "dingdang": {"domainId": DOMAIN, "tradeNo": "t", "nonceStr": "n" * 16},
        }[partner]
        return json.dumps(told).encode()


@pytest.fixture(scope="module")
async def prod(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Prod]:
    """Everything in the prod profile, on this machine."""
    patch = pytest.MonkeyPatch()
    for name in ("UMS", "SKILL"):
        patch.setenv(f"SHOUDAN_SECRET_{name}", "a-secret-of-nobody")

    folder = tmp_path_factory.mktemp("prod")
    authority = Authority.init(folder / "pki")
    for name in ("order", "pay", "delivery", "erp_ingest", "finance", "gateway"):
        authority.issue(name)
    known = {"system_id": SYSTEM, "token_keys": [str(trusted_keys(folder))]}

    async def common(service: str) -> dict[str, Any]:
        url = (await new_database(service)).service
        own = {"profile": "prod", "listen_port": 0, "database_url": Secret(url), "drain_s": 1}
        return own | known | tls_of(authority, service)

    parts: dict[str, Process[Any]] = {
        "pay": Process(PAY, PaySettings(**await common("pay"))),
        "delivery": Process(
            DELIVERY,
            DeliverySettings(
                **await common("delivery"), order_target=AWAY, public_url="https://a.example"
            ),
        ),
        "erp_ingest": Process(ERP, ErpSettings(**await common("erp_ingest"))),
    }
    for part in parts.values():
        await part.start()
    found = {"delivery_target": f"127.0.0.1:{parts['delivery'].port}"}
    parts["finance"] = Process(
        FINANCE,
        FinanceSettings(**await common("finance"), **found, order_target=AWAY, pay_target=AWAY),
    )
    await parts["finance"].start()
    targets = {f"{name}_target": f"127.0.0.1:{part.port}" for name, part in parts.items()}
    front = Process(
        GATEWAY,
        GatewaySettings(
            profile="prod",
            listen_port=0,
            internal_port=0,
            order_target=AWAY,
            **targets,
            **tls_of(authority, "gateway"),
        ),
    )
    await front.start()
    async with aiohttp.ClientSession() as http:
        made = Prod(f"http://127.0.0.1:{ports(front.running)[0]}", http, parts, authority)
        await made.prepare()
        yield made
    await front.stop()
    for part in parts.values():
        await part.stop()
    patch.undo()


@pytest.mark.parametrize(("partner", "endpoint"), HANDED_ON)
async def test_no_service_takes_an_unauthenticated_call_in_prod(
    prod: Prod, partner: Any, endpoint: Any
) -> None:
    path = endpoint.path.format(channel_no="up", service_class=10, uuid="u")
    for query in prod.queries(partner.name):
        body = prod.body(partner.name, path)
        async with prod.http.post(prod.url + path + query, data=body) as answer:
            told = await answer.text()
        status, words = REFUSED.get(path) or REFUSED[partner.name]
        assert (answer.status, words in told) == (status, True), told
    assert await prod.sql("pay", "SELECT status FROM pay_order") == "paying"
    assert await prod.sql("pay", "SELECT count(*) FROM refund_order") == 0
    assert await prod.sql("delivery", "SELECT status FROM vds_order_info") != 0
    assert await prod.sql("erp_ingest", "SELECT count(*) FROM push") == 0
    assert await prod.sql("finance", "SELECT count(*) FROM bill") == 0
