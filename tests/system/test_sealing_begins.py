"""Promises: while processes that do not seal accounts run beside processes that do, every order ends, its
supplier gets the account, and afterwards one walk leaves none in clear."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan.order.v1 import order_service_pb2_grpc as stubs
from shoudan_kit.process.polling import until
from shoudan_kit.rpc.client import connect
from shoudan_kit.tls.identity import Identity
from tests.system.beside import beside
from tests.system.conftest import ENDED_S, ORDER, Partner
from tests.system.test_personal import TAILS, places, walk

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(240)]

YUAN = 1_000_000
OFF = {"SHOUDAN_ORDER_SEAL_ACCOUNTS": "false", "SHOUDAN_DELIVERY_SEAL_ACCOUNTS": "false"}


def asked(number: str, account: str) -> pb.CreateOrderRequest:
    """What the partner's GET asks, as the gateway hands it on."""
    return pb.CreateOrderRequest(
        order=pb.NewOrder(
            channel_no="test",
            request_no=number,
            line_id=int(ORDER["line_id"]),
            carrier_no=ORDER["carrier_no"],
            invoice_type=int(ORDER["invoice_type"]),
            num=1,
            face_micros=int(ORDER["face"]) * YUAN,
            amount_micros=int(ORDER["amount"]) * YUAN,
            recharge_account=account,
        )
    )


async def test_old_and_new_settings_work_side_by_side(partner: Partner) -> None:
    system, prefix = partner.system, partner.number()
    old_delivery = beside(system, "delivery", OFF)
    old_order = beside(
        system, "order", {**OFF, "SHOUDAN_ORDER_DELIVERY_TARGET": old_delivery.target}
    )
    await system.supervisor.start(old_delivery.process, old_order.process)
    accounts = [f"139372{n:01d}{tail}" for n in range(4) for tail in TAILS]
    to_old = {f"{prefix}-old-{n}": one for n, one in enumerate(accounts)}
    to_new = {f"{prefix}-new-{n}": one for n, one in enumerate(accounts)}
    assert system.certificates is not None
    gateway = Identity(system.certificates.files("gateway"))  # nobody else may take an order
    async with connect(old_order.target, "order", gateway) as channel:
        stub: Any = stubs.OrderServiceStub(channel)
        answers = await asyncio.gather(
            *(stub.CreateOrder(asked(*one), timeout=20) for one in to_old.items()),
            *(
                partner.order(request_no=n, rechage_account=a, notify_url="")
                for n, a in to_new.items()
            ),
        )
        assert {one[0] for one in answers[len(to_old) :]} == {200}
        # One process takes what the other was asked first for the same request, and no other.
        number, account = next(iter(to_new.items()))
        again = await stub.CreateOrder(asked(number, account), timeout=20)
        assert again.existed
    clear = await partner.sql(
        "order",
        "SELECT count(*) FROM oms_order_info WHERE request_no LIKE $1 || '-%'"
        " AND rechage_account NOT LIKE '~1~%'",
        prefix,
    )
    assert clear == len(to_old)
    # The old ones go while their deliveries are still asked about: the new ones take them over.
    for one in (old_order, old_delivery):
        await system.stop(one.process.name)
    await all_delivered(partner, prefix, len(to_old) + len(to_new))
    number, account = next(iter(to_old.items()))
    status, _ = await partner.order(request_no=number, rechage_account=account, notify_url="")
    assert status == 200
    both = pb.ListOrdersRequest(account=account, page_size=100)
    found = await partner.clients.call("order", stubs.OrderServiceStub, "ListOrders", both)
    assert {one.request.request_no for one in found.orders} == {
        f"{prefix}-old-0",
        f"{prefix}-new-0",
    }
    assert (await places(partner, account)) != []
    sealed = await walk(partner)
    assert sealed["order"][2] >= len(to_old)
    for account in accounts:
        assert await places(partner, account) == []
    await partner.ledger_is_whole()


async def all_delivered(partner: Partner, prefix: str, count: int) -> None:
    """Every order of the prefix ended well, and each delivery is of the account that was asked for."""

    async def ended() -> bool:
        done = await partner.sql(
            "order",
            "SELECT count(*) FROM oms_order_info WHERE request_no LIKE $1 || '-%'"
            " AND order_status = 0 AND complete_up_pay = 0",
            prefix,
        )
        return done == count

    if not await until(ended, ENDED_S, every_s=0.2):
        raise AssertionError(f"not all of {prefix} ended: {await partner.open_orders(prefix)}")
    # The sandbox ends a delivery as the account's last digits say: a sealed text would end otherwise.
    ids = await partner.sql(
        "order",
        "SELECT json_agg(CAST(order_id AS text) ORDER BY CAST(substr(request_no, $2) AS integer))"
        " FROM oms_order_info WHERE request_no LIKE $1 || '-old-%'",
        prefix,
        len(prefix) + len("-old-") + 1,
    )
    sources = await partner.sql(
        "delivery",
        "SELECT json_agg(result_source ORDER BY array_position($1, order_id))"
        " FROM vds_order_info WHERE order_id = ANY($1)",
        json.loads(ids),
    )
    assert json.loads(sources) == [3, 2, 2, 3] * 4
