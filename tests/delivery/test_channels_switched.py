"""Operators and breakers decide which channels are used; a slow or dead one delays no other."""

import asyncio
import time

import pytest
from grpc import aio
from sqlalchemy import text

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.store import suppliers as supplier_store
from shoudan_kit.config import Secret
from shoudan_kit.http.ssrf import UrlForbidden
from tests.audit_rows import last_change
from tests.delivery.conftest import House
from tests.poll import eventually

SUCCEEDED, CREATED, SENDING, FAILED = 0, 20, 30, 90


async def state_of(running: House, channel_no: str) -> str:
    answer = await running.suppliers.ListSuppliers(pb.ListSuppliersRequest())
    found = next(one for one in answer.suppliers if one.channel_no == channel_no)
    return pb.SupplierState.Name(found.state).removeprefix("SUPPLIER_STATE_")


async def test_a_suspended_channel_refuses_so_that_orders_go_elsewhere(running: House) -> None:
    await running.set_state("SUSPENDED")
    result = (await running.create("0000")).results[0]
    assert result.refusal.reason == "ERROR_REASON_CHANNEL_UNAVAILABLE"
    await running.set_state("OPEN")
    (number,) = await running.send("0000")
    assert (await running.ends(number)).status == SUCCEEDED


async def test_what_a_held_channel_took_is_sent_when_released(running: House) -> None:
    await running.set_state("HELD")
    numbers = await running.send("0000", "0000")
    assert {(await running.query(n)).status for n in numbers} == {CREATED}
    assert running.sandbox.journal.attempts == 0
    await running.set_state("OPEN")
    assert {(await running.ends(n)).status for n in numbers} == {SUCCEEDED}


async def test_what_was_held_and_never_sent_fails_at_once_when_suspended(running: House) -> None:
    await running.set_state("HELD")
    (number,) = await running.send("0000")
    await running.set_state("SUSPENDED")
    ended = await running.ends(number)
    assert (ended.status, ended.result_code) == (FAILED, "CHANNEL_SUSPENDED")
    assert running.sandbox.journal.attempts == 0


async def test_a_delivery_not_sent_in_time_fails_and_is_never_sent(running: House) -> None:
    await running.set_state("HELD")
    (number,) = await running.send("0000", timeout_s=1)

    async def overdue() -> bool:
        rows = await running.rows(
            "SELECT 1 FROM vds_order_info WHERE coop_order_id = :n AND flow_timeout < shoudan_now()",
            n=str(number),
        )
        return bool(rows)

    await eventually(overdue)
    await running.set_state("OPEN")
    ended = await running.ends(number)
    assert (ended.status, ended.result_code) == (FAILED, "NOT_SENT_IN_TIME")
    assert running.sandbox.journal.attempts == 0


async def test_a_refused_connection_was_not_sent_and_is_tried_again(running: House) -> None:
    good = running.sandbox.url
    await running.apply(request_url="http://127.0.0.1:1/nobody")
    (number,) = await running.send("0000")

    async def refused() -> bool:
        rows = await running.rows(
            "SELECT 1 FROM vds_order_info WHERE coop_order_id = :n AND request_count > 0"
            " AND status = 20",
            n=str(number),
        )
        return bool(rows)

    await eventually(refused)
    await running.apply(request_url=f"{good}/supplier/request")
    assert (await running.ends(number)).status == SUCCEEDED
    running.witness()


async def test_a_dead_supplier_trips_its_breaker_and_a_live_one_closes_it(running: House) -> None:
    app = running.process
    assert app.settings.breaker_calls_min == 20
    running.sandbox.supplier.knobs["up"] = type(running.sandbox.supplier.knobs["*"])(down=True)
    numbers = await running.send(*["0000"] * 40)

    async def tripped() -> bool:
        return await state_of(running, "up") == "TRIPPED"

    await eventually(tripped)
    running.sandbox.supplier.knobs.pop("up")
    more = await running.send("0000")
    # The rest of fifteen seconds is turned in the database, whose clock counts.
    async with app.app.db.begin() as db:
        await db.execute(
            text("UPDATE vds_channel_info SET tripped_until = shoudan_now() - interval '1 s'")
        )
    assert (await running.ends(more[0])).status == SUCCEEDED

    async def open_again() -> bool:
        return await state_of(running, "up") == "OPEN"

    await eventually(open_again)
    # 503 is no answer: those stay unknown until the query says that the number never arrived there.
    assert {(await running.query(n)).status for n in numbers} <= {SENDING, SUCCEEDED}


async def test_of_all_replicas_one_tries_a_channel_that_has_rested(running: House) -> None:
    """The other replica is a claim in the database, as it would write it."""
    supplier = running.sandbox.supplier
    supplier.knobs["up"] = type(supplier.knobs["*"])(down=True)
    await running.send(*["0000"] * 40)

    async def tripped() -> bool:
        return await state_of(running, "up") == "TRIPPED"

    await eventually(tripped)
    db, key = running.process.app.db, ("up", 10)
    rested = text("UPDATE vds_channel_info SET tripped_until = shoudan_now() - interval '1 s'")
    async with db.begin() as work:
        await work.execute(rested)
        assert await supplier_store.claim_probe(work, key, 3600)
        assert not await supplier_store.claim_probe(work, key, 3600)
    supplier.knobs.pop("up")
    (number,) = await running.send("0000")
    waits_until = time.monotonic() + 2.5  # this one asks each second whether it is its turn

    async def still_waits() -> bool:
        assert (await running.query(number)).status == CREATED
        return time.monotonic() > waits_until

    await eventually(still_waits, 20, every_s=0.1)
    async with db.begin() as work:  # the other one has died, its claim has ended
        await work.execute(text("UPDATE vds_channel_info SET probe_until = shoudan_now()"))
    assert (await running.ends(number)).status == SUCCEEDED

    async def open_again() -> bool:
        return await state_of(running, "up") == "OPEN"

    await eventually(open_again)


@pytest.mark.alone("latencies are compared")
async def test_a_slow_channel_does_not_delay_another(running: House) -> None:
    knobs = running.sandbox.supplier.knobs
    await running.apply("slow", concurrency_max=5)
    await running.apply("fast")
    knobs["slow"] = type(knobs["*"])(latency_s=3.0)

    async def took() -> float:
        began = time.perf_counter()
        (number,) = await running.send("0000", channel_no="fast")
        await running.ends(number)
        return time.perf_counter() - began

    alone = sorted([await took() for _ in range(10)])
    slow = await running.send(*["0000"] * 200, channel_no="slow")
    beside = sorted([await took() for _ in range(10)])
    assert beside[-2] < alone[-2] + 0.25, (alone, beside)
    assert running.sandbox.supplier.in_flight <= 5
    assert (await running.query(slow[-1])).status == CREATED


async def test_an_idempotent_supplier_is_sent_a_lost_number_again(running: House) -> None:
    running.sandbox.supplier.knobs["*"].idempotent = True
    await running.apply(idempotent=True)
    (number,) = await running.send("0017")
    ended = await running.ends(number)
    assert ended.status == SUCCEEDED
    running.witness()


async def test_a_lost_number_is_never_sent_again_without_that_promise(running: House) -> None:
    (number,) = await running.send("0017")

    async def asked_twice() -> bool:
        return (await running.query(number)).query_count >= 2

    await eventually(asked_twice)
    assert (await running.query(number)).status == SENDING
    assert running.sandbox.journal.attempts == 0


async def test_an_operator_may_ask_the_supplier_now(running: House) -> None:
    await running.apply(first_query_time_s=3600)
    (number,) = await running.send("0002")

    async def unknown() -> bool:
        return (await running.query(number)).result_code == "R_9999"

    await eventually(unknown)
    key = (await running.query(number)).key
    await running.deliveries.AskSupplier(pb.AskSupplierRequest(key=key))
    assert (await running.ends(number)).status == SUCCEEDED


async def test_applying_the_same_channels_again_changes_nothing(running: House) -> None:
    listed = (await running.suppliers.ListSuppliers(pb.ListSuppliersRequest())).suppliers
    again = pb.ApplySuppliersRequest(suppliers=listed, by="test")
    assert list((await running.suppliers.ApplySuppliers(again)).changes) == []
    listed[0].concurrency_max = 7
    dry = pb.ApplySuppliersRequest(suppliers=listed, by="test", dry_run=True)
    assert list((await running.suppliers.ApplySuppliers(dry)).changes) == [
        "supplier up/10: concurrency_max"
    ]
    assert list((await running.suppliers.ApplySuppliers(again)).changes) == []
    await asyncio.gather(running.set_state("HELD"), running.apply(concurrency_max=9))
    assert await state_of(running, "up") == "HELD"


async def test_the_audit_log_has_what_each_channel_was(running: House) -> None:
    listed = (await running.suppliers.ListSuppliers(pb.ListSuppliersRequest())).suppliers
    (supplier,) = listed
    was = supplier.concurrency_max
    supplier.concurrency_max = was + 1
    supplier.ext_params["app_key"] = "a value of its own"
    await running.suppliers.ApplySuppliers(pb.ApplySuppliersRequest(suppliers=listed, by="test"))
    before, after = await last_change(running.process.app.db, "suppliers")
    assert before == {"supplier up/10": {"concurrency_max": was, "ext_params": []}}
    assert after == {"supplier up/10": {"concurrency_max": was + 1, "ext_params": ["app_key"]}}


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://10.0.0.1/a", "address"),
        ("http://169.254.169.254/latest", "address"),
        ("http://[::ffff:0:7f00:1]/", "address"),
        ("http://8.8.8.8:8081/", "port"),
        ("http://127.0.0.1/", "address"),
    ],
)
def test_prod_calls_suppliers_at_public_addresses_and_opened_networks_only(
    url: str, why: str
) -> None:
    settings = DeliverySettings(
        profile="prod",
        database_url=Secret("postgresql://x/y"),
        supplier_networks=["10.1.0.0/16:8080"],
    )
    with pytest.raises(UrlForbidden, match=why):
        settings.supplier_guard().parse(url)
    assert settings.supplier_guard().parse("http://10.1.0.5:8080/a").port == 8080


async def test_a_channel_in_our_own_network_is_refused_when_it_is_applied(running: House) -> None:
    with pytest.raises(aio.AioRpcError, match="request_url"):
        await running.apply("inside", request_url="http://10.0.0.1/a")
    with pytest.raises(aio.AioRpcError, match="query_url"):
        await running.apply("inside", query_url="http://169.254.169.254/")
