"""A channel's business by the client: an order to its codes, a refund, a cancel, lists, its own log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from shoudan_client import Client, NewOrder, NewRefund, Refused

from tests.poll import eventually
from tests.system.test_cards import credential

pytestmark = pytest.mark.system
HOUR = timedelta(hours=1)


async def call(what: Callable[..., Any], *args: Any, **more: Any) -> Any:
    """The client is for threads."""
    return await asyncio.to_thread(what, *args, **more)


async def listed(what: Callable[..., Any], *args: Any, **more: Any) -> list[Any]:
    return await asyncio.to_thread(lambda: list(what(*args, **more)))


async def known(client: Client) -> None:
    """Once the gateway knows the new key, which takes it up to a second."""

    async def believed() -> bool:
        try:
            await call(client.balance)
        except Refused as refused:
            return refused.code != "SIGN_WRONG"
        return True

    await eventually(believed)


async def test_a_channel_runs_its_business_by_the_client(partner: Any, system: Any) -> None:
    made = await credential(partner, "IssueCredential", kind="channel", owner="test")
    try:
        client = Client(system.gateway_url, "test", made.secret)
        await known(client)
        start = datetime.now(UTC) - HOUR
        voucher = NewOrder(
            partner.number(), 2, "DZQ", Decimal(50), Decimal("142.5"), num=3,
            notify_url=f"{system.sandbox_url}/inbox/test",
        )  # fmt: skip
        before = (await call(client.balance)).balance
        first = await call(client.order, voucher)
        assert (await call(client.order, voucher)).replayed
        await partner.all_ended(voucher.request_no, 1)
        assert (await call(client.query_order, voucher.request_no)).status == 0
        assert before - (await call(client.balance)).balance == Decimal("142.5")
        cards = await listed(client.cards, voucher.request_no)
        assert len({one.number for one in cards}) == 3
        late = await call(client.cancel, voucher.request_no)
        assert (late.result, late.in_time) == ("ENDED", False)
        await the_lists_have_it(partner, client, voucher, first.order_id, start)
        await the_log_has_the_calls(client, voucher, start)
    finally:
        number = made.credential.credential_id
        await credential(partner, "RevokeCredential", credential_id=number)


async def the_lists_have_it(
    partner: Any, client: Client, order: NewOrder, order_id: str, start: datetime
) -> None:
    end = datetime.now(UTC) + HOUR
    mine = [
        one for one in await listed(client.orders, start, end) if one.request_no == order.request_no
    ]
    assert [(one.order_id, one.num, one.success_face) for one in mine] == [
        (order_id, 3, Decimal(150))
    ]
    refund = NewRefund(order.request_no, partner.number(), 3, order.notify_url, mandatory=True)
    await call(client.refund, refund)

    async def refunded() -> bool:
        return (await call(client.query_refund, order.request_no, refund.refund_no)).status == 0

    await eventually(refunded)
    numbers = [one.refund_no for one in await listed(client.refunds, start, end)]
    assert numbers.count(refund.refund_no) == 1
    notifies = await listed(client.notifies, order.request_no)
    assert [one.refund_no for one in notifies] == ["", refund.refund_no]
    assert await call(client.resend_notify, order.request_no) == "NOT_GIVEN_UP"
    assert any(one.on_shelf and one.price for one in await listed(client.products))


async def the_log_has_the_calls(client: Client, order: NewOrder, start: datetime) -> None:
    with pytest.raises(Refused) as nowhere:
        await call(client.query_order, "there-is-no-such-order")
    assert nowhere.value.code == "ORDER_NOT_FOUND"
    wanted = nowhere.value.request_id

    async def logged() -> bool:
        end = datetime.now(UTC) + HOUR
        found = await listed(client.requests, start, end, request_id=wanted, failed=True)
        return [(one.path, one.error_code) for one in found] == [
            ("/order/query", "ORDER_NOT_FOUND")
        ]

    await eventually(logged)
    other = NewOrder(order.request_no, 2, "DZQ", Decimal(50), Decimal("47.5"))
    with pytest.raises(Refused) as taken:
        await call(client.order, other)
    assert taken.value.advice == "other-number"
