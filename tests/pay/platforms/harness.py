"""Short words for cash desks, ChinaUMS and Dingdang, for their tests."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan_fakes.chinaums import Ums
from shoudan_pay.payserver.store.modes import Mode
from shoudan_signing import open_body_sig, tsk_hmac
from tests.pay.payserver.harness import PayserverHarness, body, number
from tests.pay.platforms.orders import Orders
from tests.poll import eventually

APP_ID = "12345678901234567890123456789012"
APP_KEY = "67890123456789012345678901234567"
COMMUNICATION_KEY = "fcAmtnx7MwismjWNhNKdHC44mNXtnEQeJkRrhKJwyrW2ysRR"
SKILL_SECRET = "app_secret_test_0123456789"
MID, TID = "898310148160568", "88880001"
UNION_PAY = "4CE44A21-68DA-4ADA-B7EE-371187327F75"
DOMAIN = "1001"
SECRETS = {
    "UMS_KEY": APP_KEY,
    "UMS_OTHER": "another-key",
    "UMS_NOTIFY": COMMUNICATION_KEY,
    "SKILL": f"{SKILL_SECRET}\nolder-secret",
    "SKILL_OTHER": "another-secret",
}


@dataclass
class PlatformsHarness:
    """The system, and those who talk to it."""

    payserver: PayserverHarness
    ums: Ums
    platform: Any
    orders: Orders

    # ---------------------------------------------------------------- set up
    async def app(self, merchant: str, **given: Any) -> None:
        """The credential of a merchant's cash desk."""
        app = {
            "app_id": APP_ID,
            "merchant_uuid": merchant,
            "mid": MID,
            "tid": TID,
            "mer_name": "测试商户",
            "secret_name": "ums-key",
            "notify_secret_name": "ums-notify",
            "base_url": self.ums.url,
            "source_id": "124S",
            "enabled": True,
        }
        await self.platform.SetUmsApp(pb.SetUmsAppRequest(app=pb.UmsApp(**(app | given))))

    async def domain(self, role: pb.Role.ValueType, merchant: str, **given: Any) -> None:
        """A domain of a merchant; both roles may have the same number."""
        domain = {
            "role": role,
            "domain_id": DOMAIN,
            "merchant_uuid": merchant,
            "secret_name": "skill",
            "enabled": True,
        }
        if role == pb.ROLE_PLATFORM:
            domain |= {
                "paid_url": f"{self.payserver.url}/dingdang/pay/notify",
                "refunded_url": f"{self.payserver.url}/dingdang/refund/notify",
            }
        else:
            domain["base_url"] = f"{self.payserver.url}/paycgi"
        domain |= given
        await self.platform.SetDomain(pb.SetDomainRequest(domain=pb.Domain(**domain)))

    async def union_pay(self, **given: Any) -> Mode:
        """A 银联 mode: paid at a component, given back through ChinaUMS."""
        await self.payserver.sql(
            "UPDATE pay_mode_template SET online = true, pay_url = :pay, refund_url = :link,"
            " query_url = :link WHERE template_id = :id RETURNING id",
            pay=f"{self.payserver.component.url}/pay",
            link="chinaums:",
            id=UNION_PAY,
        )
        return await self.payserver.mode(UNION_PAY, name="银联", **given)

    async def paid(self, mode: Mode, **given: Any) -> dict[str, Any]:
        """A pay that has been payed."""
        status, answer = await self.payserver.post("pay", body(mode, **given))
        assert status == 200, answer
        assert answer["data"]["status"] == "payed", answer
        return answer["data"]

    async def refund(self, pay: dict[str, Any], **given: Any) -> dict[str, Any]:
        """Asks PayServer to give back."""
        asked = {"payTractionNo": pay["tractionNo"], "clientRefundNo": number("r"), **given}
        await self.payserver.post("refund", asked)  # one that fails at once is answered 500
        rows = await self.payserver.sql(
            "SELECT traction_no, status FROM refund_order WHERE client_refund_no = :number",
            number=asked["clientRefundNo"],
        )
        number_, status = rows[0]
        return {
            "clientRefundNo": asked["clientRefundNo"],
            "tractionNo": number_,
            "status": status,
        }

    async def status(self, table: str, column: str, value: str) -> str:
        """The status of one row."""
        rows = await self.payserver.sql(
            f"SELECT status FROM {table} WHERE {column} = :value", value=value
        )
        return rows[0][0] if rows else ""

    async def becomes(self, table: str, column: str, value: str, status: str) -> None:
        """Wait until the row has the status."""

        async def there() -> bool:
            return await self.status(table, column, value) == status

        await eventually(there, 15, every_s=0.05)

    # ---------------------------------------------------------------- calls
    async def send(
        self, path: str, raw: bytes, authorization: str | None, **headers: str
    ) -> tuple[int, Any]:
        """POST exactly these bytes; the answer as JSON, or as text when it is none."""
        sent = {"Content-Type": "application/json", **headers}
        if authorization is not None:
            sent["Authorization"] = authorization
        async with self.payserver.http.post(
            self.payserver.url + path, data=raw, headers=sent
        ) as answer:
            text = await answer.text()
            if answer.content_type != "application/json":
                return answer.status, text
            return answer.status, json.loads(text)

    async def ask(
        self, mer_order_id: str, *, key: str = APP_KEY, app_id: str = APP_ID, **given: Any
    ) -> tuple[int, Any]:
        """A cash desk asks about a refund."""
        raw = encoded(
            {
                "requestTimestamp": "2022-04-15 10:47:59",
                "merOrderId": mer_order_id,
                "instMid": "APPDEFAULT",
                "mid": MID,
                "tid": TID,
                "msgId": "m1",
                **given,
            }
        )
        return await self.send(
            "/v1/netpay/refund-query", raw, body_sig(raw, key=key, app_id=app_id)
        )

    async def skill(
        self, path: str, members: dict[str, Any], *, secret: str = SKILL_SECRET, late_s: float = 0
    ) -> tuple[int, Any]:
        """A call of Dingdang's protocol, either way."""
        raw = encoded({"domainId": DOMAIN, "nonceStr": secrets.token_hex(16), **members})
        stamp = tsk_hmac.stamp(datetime.now(UTC) - timedelta(seconds=late_s))
        return await self.send(path, raw, tsk_hmac.header(secret, stamp, raw))


def encoded(members: dict[str, Any]) -> bytes:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


def body_sig(
    raw: bytes,
    *,
    key: str = APP_KEY,
    app_id: str = APP_ID,
    late_s: float = 0,
    nonce: str | None = None,
) -> str:
    stamp = open_body_sig.stamp(datetime.now(UTC) - timedelta(seconds=late_s))
    return open_body_sig.header(app_id, key, stamp, nonce or secrets.token_hex(16), raw)
