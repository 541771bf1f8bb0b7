"""Promises of PayServer's side of the books: fetched once a day is over, whole; merchants have bills."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from grpc import StatusCode, aio

from shoudan.finance.v1 import bill_service_pb2 as pb
from shoudan_finance import bill_commands, bills, pay_books
from shoudan_kit import faults
from shoudan_kit.clock import BEIJING
from shoudan_pay.payserver.store import ended
from tests.finance.harness import FinanceHarness
from tests.finance.test_bills import content, published
from tests.pay.ledger.harness import LedgerHarness

YUAN = 1_000_000
SHOP, OTHER = "shop-one", "shop-two"
PAY = """INSERT INTO pay_order (id, uuid, merchant_uuid, client_pay_no, content_hash, traction_no, mode_uuid,
    mode_name, channel, method, async_notify, payer, payee, amount_micros, refunded_micros, params,
    extra_params, status, sent, parked, third_pay_no, start_time, expire_time, pay_start_time, finish_time,
    create_time, modify_time)
    VALUES ($1::bigint, 'p' || $1::bigint, $2, 'c' || $1::bigint, '', $1::bigint::text, 'm', '微信扫码', $3,
    $4, false, '', '', 10000000, 0, '', '', 'payed', 'heard', false, 't' || $1::bigint, $5, $5, $5, $5,
    $5, $5)"""
RECORD = """INSERT INTO trade_record (id, uuid, traction_no, trade_type, amount_micros, status, result_code,
    merchant_uuid, mode_uuid, pay_uuid, refund_uuid, create_time)
    VALUES ($1::bigint, 't' || $1::bigint, $2::bigint::text, 'pay', 10000000, $3, '', $4, 'm',
    'p' || $2::bigint, '', $5)"""


class Shop:
    """What PayServer's tables say of a day."""

    def __init__(self, harness: FinanceHarness, ledger: LedgerHarness, day: date) -> None:
        self.harness, self.day = harness, day
        self._url = ledger.urls.owner.replace("+asyncpg", "")
        self.noon = datetime(day.year, day.month, day.day, 12, tzinfo=BEIJING)

    async def ended(
        self,
        number: int,
        status: str,
        merchant: str = SHOP,
        *,
        minute: int = 0,
        way: str = "component",
    ) -> None:
        at = self.noon + timedelta(minutes=minute)
        db = await asyncpg.connect(self._url)
        try:
            if not await db.fetch("SELECT 1 FROM pay_order WHERE id = $1", number):
                await db.execute(PAY, number, merchant, "wechat", way, at)
            (last,) = await db.fetch("SELECT coalesce(max(id), 0) + 1 FROM trade_record")
            await db.execute(RECORD, last[0], number, status, merchant, at)
        finally:
            await db.close()

    async def bill(self, **more: Any) -> pb.Bill:
        given = {"kind": "merchant", "eid": SHOP, "first_day": str(self.day), **more}
        return await published(self.harness.bill_stub, pb.MakeBillRequest(**given))


@pytest.fixture
async def shop(
    harness: FinanceHarness, ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
) -> Shop:
    """A day with pays of two shops, which is over."""
    day = await harness.close_day()
    made = Shop(harness, ledger, day)
    base = 1_000_000_000_000_000 + (day - date(2020, 1, 1)).days * 1000
    for number, status in ((1, "payed"), (2, "payFailed"), (3, "payed"), (4, "payed")):
        await made.ended(base + number, status, minute=number)
    await made.ended(base + 4, "partRefunded", minute=20)  # no result of the pay
    await made.ended(base + 3, "payFailed", minute=30)  # a person corrected it
    await made.ended(base + 9, "payed", OTHER, way="account")
    await harness.completed(day)
    await harness.agreed(day, 15, 20, 80)

    async def later(_: Any) -> datetime:
        return made.noon + timedelta(days=1)

    monkeypatch.setattr(ended, "now", later)
    return made


async def test_a_day_that_is_not_over_is_not_taken(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def noon(_: Any) -> datetime:
        return shop.noon

    with monkeypatch.context() as patched:
        patched.setattr(ended, "now", noon)
        assert not await pay_books.take(shop.harness.context, shop.day)
    assert await pay_books.take(shop.harness.context, shop.day)


async def test_a_bill_of_a_merchant_has_a_row_for_each_result_and_never_changes(
    shop: Shop, tmp_path: Path
) -> None:
    made = await shop.bill()
    rows = (await content(shop.harness.bill_stub, made.bill_id)).decode().splitlines()
    cells = [one.split(",") for one in rows[1:6]]
    assert [(one[1], one[9], one[11]) for one in cells] == [
        ("支付", "成功", "10"),
        ("支付", "失败", "0"),
        ("支付", "成功", "10"),
        ("支付", "成功", "10"),
        ("支付更正", "失败", "-10"),
    ]
    number = cells[0][2]
    assert cells[0][3:7] == [number, f"c{number}", f"t{number}", "微信扫码"]
    sums = msgspec.json.decode(made.manifest)["sums"]
    assert sum(one["amount_micros"] for one in sums) == 20 * YUAN
    await shop.ended(int(number), "payFailed", minute=50)  # what a later look would see
    again = await shop.bill()
    assert (again.bill_id, again.sha256) == (made.bill_id, made.sha256)
    assert (
        await shop.harness.bill_stub.VerifyBill(pb.VerifyBillRequest(bill_id=made.bill_id))
    ).same
    words = (
        "make",
        "-",
        SHOP,
        "--kind",
        "merchant",
        "--day",
        str(shop.day),
        "--out",
        str(tmp_path),
    )
    said = await shop.harness.run(*words, app=bill_commands.app)
    assert "支付更正 失败: 1 笔, -10 元" in said.output, said.output
    file = tmp_path / f"merchant-{SHOP}-{shop.day}.csv"
    held = await shop.harness.run("verify", str(file), app=bill_commands.app)
    assert (held.exit_code, "holds, 5 rows" in held.output) == (0, True)
    for form in ("xlsx", "pdf"):
        assert (await shop.bill(format=form)).rows == 5


async def test_what_died_in_the_middle_of_a_day_is_taken_whole(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = shop.harness.context

    def dies(name: str) -> None:
        raise faults.FaultRaised(name)

    real, pages = context.pay.ended_pays, list[str]()

    async def two_pages(day: date, token: str) -> Any:
        found, _ = await real(day, "")
        pages.append(token)
        return (found[2:], "") if token else (found[:2], "1.1")

    monkeypatch.setattr(type(context.pay), "ended_pays", lambda _, *given: two_pages(*given))
    with monkeypatch.context() as patched:
        patched.setattr(faults, "hit", dies)
        with pytest.raises(faults.FaultRaised):
            await pay_books.take(context, shop.day)
    for _ in range(2):  # the second one asks nothing
        assert await pay_books.take(context, shop.day)
    assert pages == ["", "", "1.1"]
    (row,) = await shop.harness.sql("SELECT pays FROM trade_day WHERE day = $1", shop.day)
    assert row[0] == 6


async def test_bills_of_merchants_wait_while_pay_is_away_and_come_by_themselves(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = shop.harness.context

    async def away(*_: Any) -> Any:
        raise aio.AioRpcError(StatusCode.UNAVAILABLE, aio.Metadata(), aio.Metadata())

    merchants = "SELECT eid FROM bill WHERE ident = 'payserver' AND first_day = $1 ORDER BY eid"
    kinds = context.app.settings.daily_bills
    kinds.append("merchant")
    try:
        with monkeypatch.context() as patched:
            patched.setattr(type(context.pay), "ended_pays", away)
            await bills.daily(context)
        assert await shop.harness.sql(merchants, shop.day) == []
        for _ in range(2):
            await bills.daily(context)
    finally:
        kinds.remove("merchant")
    assert [row[0] for row in await shop.harness.sql(merchants, shop.day)] == [SHOP, OTHER]
