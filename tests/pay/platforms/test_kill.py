"""Promises under kill -9: refunds are sent once, a paid notice counts once, no notice is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from grpc import aio
from sqlalchemy import text

from shoudan.pay.v1 import payment_service_pb2 as payment
from shoudan.pay.v1 import payment_service_pb2_grpc as payment_grpc
from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan.pay.v1 import platform_service_pb2_grpc as stubs
from shoudan_fakes.chinaums import Ums
from shoudan_fakes.component import Component
from shoudan_kit.db.pool import Database
from shoudan_kit.embedded import DatabaseUrls
from shoudan_pay.payserver.numbers import new_uuid
from shoudan_pay.payserver.store import modes
from shoudan_pay.payserver.store.modes import Mode, Terms
from shoudan_pay.platforms.store import callers
from shoudan_signing import tsk_hmac
from tests.pay.ledger.process import PayProcess
from tests.pay.payserver.harness import FEN, INVARIANTS, number
from tests.pay.platforms.harness import APP_ID, APP_KEY, DOMAIN, MID, SKILL_SECRET, TID, encoded
from tests.poll import eventually

Databases = Callable[[str], Awaitable[DatabaseUrls]]
MERCHANT = "m"


@dataclass
class Till:
    """A pay service that dies and comes back; ChinaUMS, a component and a partner that do not."""

    process: PayProcess
    ums: Ums
    owner: Database
    by_ums: str
    by_dingdang: str
    told: list[bytes]
    told_url: str

    async def start(self, faults: str = "") -> None:
        await self.process.start(faults)
        channel: Any = aio.insecure_channel(self.process.target)
        self.pays: Any = payment_grpc.PaymentServiceStub(channel)
        self.dingdang: Any = stubs.DingdangServiceStub(channel)

    async def set_up(self) -> None:
        """Credentials, straight into the database."""
        ums = callers.UmsApp(
            app_id=APP_ID,
            merchant_uuid=MERCHANT,
            mid=MID,
            tid=TID,
            mer_name="",
            secret_name="ums-key",
            notify_secret_name="",
            base_url=self.ums.url,
            source_id="124S",
            enabled=True,
        )
        async with self.owner.begin() as db:
            await callers.set_app(db, ums)
            for role in ("partner", "platform"):
                domain = callers.Domain(
                    role=role,
                    domain_id=DOMAIN,
                    merchant_uuid=MERCHANT,
                    scheme="tsk_hmac",
                    secret_name="skill",
                    own_secret_name="",
                    credential_key="",
                    paid_url=self.told_url,
                    refunded_url="",
                    base_url="http://127.0.0.1:9/paycgi",
                    enabled=True,
                )
                await callers.set_domain(db, domain)

    async def pay(self, mode_uuid: str) -> payment.PayOrder:
        item = payment.CreatePaysRequest.Item(
            mode_uuid=mode_uuid,
            payer="A",
            payee="B",
            amount_micros=50 * FEN,
            client_pay_no=number(),
            params=b'{"payBarCode":"130000"}',
        )
        answer = await self.pays.CreatePays(payment.CreatePaysRequest(items=[item]), timeout=8)
        return answer.results[0].pay

    async def refund(self, traction_no: str, wish: str) -> None:
        item = payment.CreateRefundsRequest.Item(pay_traction_no=traction_no, client_refund_no=wish)
        await self.pays.CreateRefunds(payment.CreateRefundsRequest(items=[item]), timeout=8)

    async def paid(self, trade_no: str) -> None:
        """The platform's notice, signed now."""
        raw = encoded({"domainId": DOMAIN, "tradeNo": trade_no})
        stamp = tsk_hmac.stamp(datetime.now(UTC))
        proof = pb.Proof(body=raw, authorization=tsk_hmac.header(SKILL_SECRET, stamp, raw))
        request = pb.TakePaidRequest(
            proof=proof,
            domain_id=DOMAIN,
            nonce="n",
            transaction_id="DD1",
            trade_no=trade_no,
            total_fen=50,
        )
        await self.dingdang.TakePaid(request, timeout=8)

    async def sql(self, statement: str, **binds: Any) -> list[Any]:
        async with self.owner.begin() as db:
            return list((await db.execute(text(statement), binds)).all())

    async def becomes(self, statement: str, expected: str, **binds: Any) -> None:
        async def there() -> bool:
            return await self.sql(statement, **binds) == [(expected,)]

        await eventually(there, 30, every_s=0.05)

    async def broken(self) -> list[str]:
        return [name for name, sql in INVARIANTS.items() if await self.sql(f"{sql} LIMIT 5")]


@pytest.fixture
async def till(new_database: Databases, tmp_path: Path) -> AsyncIterator[Till]:
    (tmp_path / "ums-key").write_text(APP_KEY, "utf-8")
    (tmp_path / "skill").write_text(SKILL_SECRET, "utf-8")
    urls = await new_database("pay")
    settings = {
        "profile": "test",
        "component_timeout_s": "0.5",
        "component_poll_s": "0.2",
        "component_lost_s": "1",
        "ums_waits_s": "[0.2]",
        "ums_lost_s": "1",
        "notice_waits_s": "[1]",
        "task_scan_s": "0.1",
        "task_lease_s": "1",
        "secrets_dir": str(tmp_path),
    }
    told: list[bytes] = []

    async def tell(http: web.BaseRequest) -> web.StreamResponse:
        told.append(await http.read())
        return web.json_response({"retCode": "SUCCESS"})

    runner = web.ServerRunner(web.Server(tell, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    owner = Database(urls.owner)
    async with Component() as component, Ums(APP_ID, APP_KEY) as ums:
        pay_url = f"{component.url}/pay"
        by_ums = await _mode(owner, pay_url, "chinaums:")
        by_dingdang = await _mode(owner, "dingdang:", "dingdang:")
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/paid"
        process = PayProcess(urls, tmp_path, **settings)
        made = Till(process, ums, owner, by_ums, by_dingdang, told, url)
        await made.set_up()
        yield made
        assert await made.broken() == []
        await process.kill()
    await owner.dispose()
    await runner.cleanup()


async def _mode(owner: Database, pay_url: str, link: str) -> str:
    terms = Terms(
        "m",
        *(None, None, pay_url, link, None),
        *(24, True, False, False, True, None, None, link, False, ""),
    )
    now = datetime.now(UTC)
    mode = Mode(0, new_uuid(), None, MERCHANT, "", True, True, 1, now, now, terms)
    async with owner.begin() as db:
        return (await modes.create(db, mode)).uuid


REFUND_POINTS = {
    "chinaums_refund.before_commit:exit": "refundFailed",  # nothing was sent, and it is known
    "chinaums_refund.after_commit:exit": "refunded",  # written, not sent: NO_ORDER, then sent
    "payserver.called:exit@2": "refunded",  # made there, not written here: asked about
    "chinaums_heard.before_commit:exit": "refunded",
}


@pytest.mark.parametrize("point", REFUND_POINTS)
async def test_dying_in_a_refund_through_chinaums_sends_it_once(till: Till, point: str) -> None:
    at_last = REFUND_POINTS[point]
    await till.start(point)
    pay = await till.pay(till.by_ums)
    with pytest.raises(aio.AioRpcError):
        await till.refund(pay.traction_no, "r1")
    assert await till.process.ended() == 137
    await till.start()
    status = "SELECT status FROM refund_order WHERE client_refund_no = 'r1'"
    await till.becomes(status, at_last)
    arrived = [one.calls for one in till.ums.refunds.values()]
    assert arrived == [1] * (at_last == "refunded")


@pytest.mark.parametrize(
    "point",
    [
        "payserver_settle.before_commit:exit",
        "dingdang_paid.before_commit:exit",
        "dingdang_paid.after_commit:exit",
    ],
)
async def test_dying_in_a_paid_notice_counts_it_once(till: Till, point: str) -> None:
    await till.start(point)
    order = await till.pay(till.by_dingdang)
    assert order.status == "paying"
    with pytest.raises(aio.AioRpcError):
        await till.paid(order.traction_no)
    assert await till.process.ended() == 137
    await till.start()
    await asyncio.gather(*(till.paid(order.traction_no) for _ in range(3)))
    by_number = "SELECT status FROM pay_order WHERE traction_no = :number"
    await till.becomes(by_number, "payed", number=order.traction_no)
    events = await till.sql(
        "SELECT count(*) FROM event WHERE subject = 'shoudan.events.pay.dingdang.paid'"
    )
    assert events == [(1,)]


async def test_a_notice_survives_the_death_of_its_sender(till: Till) -> None:
    await till.start("dingdang_tell.before_commit:exit")
    await till.pay(till.by_ums)
    assert await till.process.ended() == 137
    await till.start()
    await till.becomes("SELECT status FROM dingdang_notice", "done")
    assert len(till.told) == 2  # told, died before writing it down, told again
