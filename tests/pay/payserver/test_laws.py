"""The law of pays: what was given back is noted, and no more than was paid."""

from __future__ import annotations

from sqlalchemy import text

from shoudan_pay.payserver.store.laws import SUBJECT
from tests.pay.payserver.harness import FEN, PayserverHarness, on_account


async def test_a_refund_that_is_not_noted_is_found(harness: PayserverHarness) -> None:
    mode = await harness.mode()
    key = await harness.account(mode, fen=10_000)
    _, paid = await harness.post("pay", on_account(mode, key))
    number = paid["data"]["tractionNo"]
    part = {"payTractionNo": number, "clientRefundNo": "law", "refundAmount": 20}
    status, back = await harness.post("refund", part)
    assert status == 200, back
    (law,) = SUBJECT.laws
    async with harness.owner.begin() as db:
        (pay_id,) = (
            await db.execute(text("SELECT id FROM pay_order WHERE traction_no = :n"), {"n": number})
        ).one()
        found = (await db.execute(SUBJECT.changed, {"after": 1 << 62, "most": 100})).all()
        assert pay_id in {row.id for row in found}
        given = {"ids": [pay_id]}
        assert (await db.execute(law.statement, given)).all() == []
        more = text("UPDATE pay_order SET refunded_micros = refunded_micros + :fen WHERE id = :id")
        await db.execute(more, {"fen": FEN, "id": pay_id})
        (row,) = (await db.execute(law.statement, given)).all()
        assert row.id == pay_id
        assert "20" in row.what
        await db.execute(more, {"fen": -FEN, "id": pay_id})
