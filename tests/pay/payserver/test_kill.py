"""Promises under kill -9: around every commit and call of a pay and a refund, money moves exactly once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from sqlalchemy import text

from shoudan.pay.v1 import payment_service_pb2 as pb
from shoudan.pay.v1 import payment_service_pb2_grpc as stubs
from shoudan_fakes.component import Component
from shoudan_kit.db.pool import Database
from shoudan_kit.embedded import DatabaseUrls
from shoudan_pay.payserver.numbers import new_uuid
from shoudan_pay.payserver.store import modes
from shoudan_pay.payserver.store.modes import Mode, Terms
from tests.pay.ledger.process import PayProcess
from tests.pay.payserver.harness import FEN, INVARIANTS, number
from tests.poll import eventually

Databases = Callable[[str], Awaitable[DatabaseUrls]]


@dataclass
class Till:
    """A pay service that dies and comes back, and a component that does not."""

    process: PayProcess
    component: Component
    stub: Any
    owner: Database
    mode_uuid: str = ""

    async def start(self, faults: str = "") -> None:
        """Start, dying where `faults` says."""
        await self.process.start(faults)
        channel: Any = aio.insecure_channel(self.process.target)
        self.stub = stubs.PaymentServiceStub(channel)

    async def pay(self, client_pay_no: str) -> pb.PayOrder:
        item = pb.CreatePaysRequest.Item(
            mode_uuid=self.mode_uuid,
            payer="A",
            payee="B",
            amount_micros=50 * FEN,
            client_pay_no=client_pay_no,
            params=b'{"payBarCode":"130000"}',
        )
        answer = await self.stub.CreatePays(pb.CreatePaysRequest(items=[item]), timeout=8)
        assert answer.results[0].WhichOneof("outcome") == "pay", answer
        return answer.results[0].pay

    async def refund(self, traction_no: str, client_refund_no: str) -> pb.RefundOrder:
        item = pb.CreateRefundsRequest.Item(
            pay_traction_no=traction_no, client_refund_no=client_refund_no
        )
        answer = await self.stub.CreateRefunds(pb.CreateRefundsRequest(items=[item]), timeout=8)
        assert answer.results[0].WhichOneof("outcome") == "refund", answer
        return answer.results[0].refund

    async def broken(self) -> list[str]:
        found: list[str] = []
        async with self.owner.connect() as db:
            for name, sql in INVARIANTS.items():
                if (await db.execute(text(f"{sql} LIMIT 5"))).all():
                    found.append(name)
        return found


@pytest.fixture
async def till(new_database: Databases, tmp_path: Path) -> AsyncIterator[Till]:
    """A pay service on a database of its own, a component, and one mode that pays by it."""
    urls = await new_database("pay")
    settings = {
        "profile": "test",
        "component_timeout_s": "0.5",
        "component_poll_s": "0.2",
        "component_lost_s": "1",
        "task_scan_s": "0.1",
        "task_lease_s": "1",
    }
    process = PayProcess(urls, tmp_path, **settings)
    owner = Database(urls.owner)
    async with Component() as component:
        terms = Terms(
            "微信扫码枪",
            *(None, None, f"{component.url}/pay", f"{component.url}/refund", None),
            *(24, True, False, False, True, None, None, f"{component.url}/query", False, ""),
        )
        now = datetime.now(UTC)
        mode = Mode(0, new_uuid(), None, "m", "", True, True, 1, now, now, terms)
        async with owner.begin() as db:
            await modes.create(db, mode)
        yield Till(process, component, None, owner, mode.uuid)
    await owner.dispose()


# Where it dies: whether the component had been asked, and what the pay is in the end.
PAY_POINTS = {
    "payserver_pay.before_commit": (0, "payed"),  # nothing was written: the repeat pays
    "payserver_pay.after_commit": (0, "payFailed"),  # written, not sent: the component has nothing
    "payserver.called": (1, "payed"),  # taken, not written: the query finds it
    "payserver_settle.before_commit": (1, "payed"),
    "payserver_settle.after_commit": (1, "payed"),
}


@pytest.mark.parametrize("point", PAY_POINTS)
async def test_dying_in_a_pay_takes_the_money_once_and_finds_it(till: Till, point: str) -> None:
    calls, at_last = PAY_POINTS[point]
    await till.start(f"{point}:exit")
    wish = number()
    with pytest.raises(aio.AioRpcError):
        await till.pay(wish)
    assert await till.process.ended() == 137
    assert len(till.component.pays) == calls
    await till.start()

    async def ended() -> bool:
        return (await till.pay(wish)).status == at_last

    await eventually(ended, 20, every_s=0.05)
    assert [one.calls for one in till.component.pays.values()] == [1] * (at_last == "payed")
    assert till.component.taken_fen == (50 if at_last == "payed" else 0)
    assert await till.broken() == []
    assert await till.process.stop() == 0


REFUND_POINTS = {
    "payserver_refund.after_commit": "refundFailed",
    "payserver.called": "refunded",
    "payserver_settle.before_commit": "refunded",
}


@pytest.mark.parametrize("point", REFUND_POINTS)
async def test_dying_in_a_refund_gives_back_once_and_finds_it(till: Till, point: str) -> None:
    at_last = REFUND_POINTS[point]
    # The pay before it goes through settling, too.
    nth = 1 if point.startswith("payserver_refund") else 2
    await till.start(f"{point}:exit@{nth}")
    paid = await till.pay(number())
    assert paid.status == "payed"
    wish = number("r")
    with pytest.raises(aio.AioRpcError):
        await till.refund(paid.traction_no, wish)
    assert await till.process.ended() == 137
    await till.start()

    async def ended() -> bool:
        return (await till.refund(paid.traction_no, wish)).status == at_last

    await eventually(ended, 20, every_s=0.05)
    given = [one.calls for one in till.component.refunds.values()]
    assert given == [1] * (at_last == "refunded")
    assert await till.broken() == []
    assert await till.process.stop() == 0
