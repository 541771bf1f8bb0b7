"""Promises of fund bills: of the accounts they are asked for, and of no other."""

from __future__ import annotations

import csv

from shoudan.finance.v1 import bill_service_pb2 as pb
from tests.finance.harness import FinanceHarness
from tests.finance.test_bills import content, published
from tests.pay.ledger.harness import YUAN, posting


async def test_a_merchant_of_the_payment_server_has_a_bill_of_its_own_account(
    harness: FinanceHarness,
) -> None:
    key = await harness.ledger.account(50 * YUAN, ident="shop", groups="member")
    await harness.ledger.post(posting(key, 20 * YUAN))
    day = await harness.close_day()
    await harness.completed(day)
    request = pb.MakeBillRequest(kind="fund", ident="shop", eid=key.eid, first_day=str(day))
    one = await published(harness.bill_stub, request)
    text = (await content(harness.bill_stub, one.bill_id)).decode()
    assert one.rows == 2
    (summed,) = [row for row in csv.reader(text.splitlines()) if row[1:2] == ["member"]][-1:]
    assert summed[3:] == ["0", "2", "70", "0", "0", "70"]
    # The channel's own bill, of a merchant with the same number, has nothing of it.
    other = pb.MakeBillRequest(kind="fund", ident="oms", eid=key.eid, first_day=str(day))
    assert (await published(harness.bill_stub, other)).rows == 0
