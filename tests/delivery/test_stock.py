"""Our own stock: imported line by line, reserved whole, issued once however many orders race."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from grpc import aio
from sqlalchemy import text
from typer.testing import CliRunner

from shoudan.delivery.v1 import card_service_pb2 as pb
from shoudan.delivery.v1 import card_service_pb2_grpc as stubs
from shoudan.delivery.v1 import delivery_service_pb2 as delivery_pb
from shoudan_delivery.card_commands import app
from shoudan_delivery.stock import INFO, watch
from shoudan_delivery.store import deliveries as delivery_store
from shoudan_delivery.store import stock as stock_store
from shoudan_kit import metrics
from shoudan_kit.faults import EXIT_CODE
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_kit.secrets.public_keys import SUITE
from tests.delivery.conftest import House, key, order_service
from tests.delivery.test_crashes import called, child
from tests.poll import eventually

CLASS, RETURN = 20, 21
ISSUED = 30
SUCCEEDED, FAILED = 0, 90
RACERS, COUNT = 200, 150
FACE_MICROS = 100_000_000
CHANNEL: dict[str, Any] = {
    "protocol": "stock",
    "request_url": "",
    "query_url": "",
    "delivers_cards": True,
}


def table(rows: Sequence[dict[str, str]], *names: str) -> bytes:
    made = io.StringIO()
    writer = csv.DictWriter(made, names or ("number", "password", "expiry"), restval="")
    writer.writeheader()
    writer.writerows(rows)
    return made.getvalue().encode()


def numbered(count: int, first: int = 1, **more: str) -> list[dict[str, str]]:
    return [
        {"number": f"N{at:06}", "password": f"P{at:06}", **more}
        for at in range(first, first + count)
    ]


class Stock:
    """CardService as operators of the stock call it."""

    def __init__(self, channel: aio.Channel) -> None:
        self.stub = stubs.CardServiceStub(channel)

    async def take(self, plain: bytes, *, key: bytes | None = None, name: str = "i1") -> Any:
        public = key or (await self.stub.GetImportKey(pb.GetImportKeyRequest())).public_key
        request = pb.ImportCardsRequest(
            channel_no="own",
            carrier_no="ZSH",
            face_micros=FACE_MICROS,
            import_no=name,
            file=SUITE.encrypt(plain, X25519PublicKey.from_public_bytes(public), INFO),
        )
        return await self.stub.ImportCards(request)

    async def level(self) -> tuple[int, int, int]:
        (one,) = (await self.stub.ListStock(pb.ListStockRequest())).levels
        return one.stocked, one.reserved, one.expired


@pytest.fixture
async def stock(running: House) -> AsyncIterator[Stock]:
    for service_class in (CLASS, RETURN):
        await running.apply("own", service_class=service_class, **CHANNEL)
    async with aio.insecure_channel(f"127.0.0.1:{running.process.port}") as channel:
        yield Stock(channel)


async def buy(house: House, num: int = 1, count: int = 1) -> list[int]:
    accounts = [""] * count
    return await house.send(*accounts, channel_no="own", service_class=CLASS, num=num)


async def issued(house: House) -> list[tuple[int, int]]:
    """Every card that left the stock, and its delivery."""
    rows = await house.rows("SELECT card_id, order_no FROM vds_card WHERE status <> 10")
    return [(row.card_id, row.order_no) for row in rows]


async def test_an_import_takes_each_line_by_itself_and_none_twice(
    running: House, stock: Stock
) -> None:
    rows = [
        *numbered(3),
        numbered(1)[0],
        {},
        {"number": "N9", "expiry": "soon"},
        numbered(1, 4)[0],
    ]
    first = await stock.take(table(rows))
    assert (first.taken, list(first.duplicates)) == (4, [5])
    assert [(one.line, one.why) for one in first.malformed] == [
        (6, "a card has no number, password, link or QR text"),
        (7, "the expiry of a card is no date"),
    ]
    again = await stock.take(table(rows), name="i2")
    assert (again.taken, list(again.duplicates)) == (0, [2, 3, 4, 5, 8])
    assert await stock.level() == (4, 0, 0)
    stored = str(await running.rows("SELECT vds_card::text, 1 FROM vds_card"))
    audit = str(await running.rows("SELECT audit_log::text, 1 FROM audit_log"))
    assert "N000001" not in stored + audit
    assert b"N000001".hex() not in stored + audit
    other = X25519PrivateKey.generate().public_key().public_bytes_raw()
    for call in (
        stock.take(table(rows), key=other),
        stock.take(b"number\n"),
        stock.take(table(numbered(5_001))),
        stock.stub.ImportCards(pb.ImportCardsRequest(file=b"x", face_micros=10)),
    ):
        with pytest.raises(grpc.RpcError) as error:
            await call
        refused = refused_from_rpc(error.value)
        assert refused is not None
        assert refused.reason == "ERROR_REASON_FIELD_INVALID"


async def test_operators_fill_the_stock_and_see_it_by_commands(
    running: House, stock: Stock, tmp_path: Path
) -> None:
    nothing = await stock.stub.ListStock(pb.ListStockRequest())
    assert (list(nothing.levels), list(nothing.channel_nos)) == ([], ["own"])
    target = f"127.0.0.1:{running.process.port}"
    plain, file = tmp_path / "cards.csv", tmp_path / "cards.enc"
    plain.write_bytes(table([*numbered(2), numbered(1)[0]]))

    async def said(*args: str) -> tuple[int, str]:
        argv = [*args, "--target", target] if args[0] != "encrypt" else [*args]
        done = await asyncio.to_thread(CliRunner().invoke, app, argv)
        return done.exit_code, done.output

    _, key = await said("key")
    assert await said("encrypt", str(plain), str(file), "--to", key.strip()) == (0, "")
    assert b"N000001" not in file.read_bytes()
    goods = ("--channel", "own", "--carrier", "ZSH", "--face", "100", "--name", "may")
    done = await said("import", str(file), *goods)
    assert done == (1, "2 cards taken\nline 4: is stored already\n")
    _, shown = await said("ls", "--state", "stocked")
    assert "N000001" not in shown
    assert "stocked" in shown
    assert "own" in (await said("stock"))[1]
    card_id = str((await stock.stub.ListCards(pb.ListCardsRequest())).cards[0].card_id)
    assert "N000002" in (await said("reveal", card_id, "--reason", "a test"))[1]
    assert (await said("void", card_id, "--reason", "a test"))[0] == 0
    assert await stock.level() == (1, 0, 0)


async def test_what_expires_first_is_issued_first_and_what_has_expired_never(
    running: House, stock: Stock
) -> None:
    for at, expiry in enumerate(("", "2020-01-01", "2099-01-01", "2098-01-01"), 1):
        await stock.take(table(numbered(1, at, expiry=expiry)), name=str(at))
    assert await stock.level() == (3, 0, 1)
    (two,) = await buy(running, 2)
    assert (await running.ends(two, CLASS)).status == SUCCEEDED
    rows = await running.rows("SELECT import_no, seq, status FROM vds_card ORDER BY seq")
    assert [tuple(row) for row in rows if row.seq] == [("4", 1, ISSUED), ("3", 2, ISSUED)]
    (three,) = await buy(running, 2)
    ended = await running.ends(three, CLASS)
    assert (ended.status, ended.result_code) == (FAILED, "OUT_OF_STOCK")
    assert await stock.level() == (1, 0, 1)
    (returned,) = await running.send(
        "", channel_no="own", service_class=RETURN, num=2, params={"delivery_id": str(two)}
    )
    assert (await running.ends(returned, RETURN)).status == SUCCEEDED
    rows = await running.rows("SELECT 1 FROM vds_card WHERE status = 90")
    assert len(rows) == 2, "what was issued does not come back into the stock"


def low() -> float | None:
    """The gauge, as it is shown."""
    return metrics.REGISTRY.get_sample_value("shoudan_card_kinds_low")


async def test_a_kind_of_goods_that_runs_out_is_counted(running: House, stock: Stock) -> None:
    await stock.take(table(numbered(100)))
    await watch(running.process.app)
    assert low() == 0
    await running.ends((await buy(running, 1))[0], CLASS)
    await watch(running.process.app)
    assert low() == 1


async def test_what_runs_out_and_comes_again_is_reported_once_each(
    running: House, stock: Stock
) -> None:
    def reported() -> list[tuple[str, str, int, bool]]:
        return [
            (one.channel_no, one.carrier_no, one.face_micros, one.available)
            for one in running.orders.prices
        ]

    await stock.take(table(numbered(2)))
    await eventually(lambda: reported() == [("own", "ZSH", FACE_MICROS, True)], 15)
    (two,) = await buy(running, 2)
    await running.ends(two, CLASS)
    await eventually(lambda: reported()[1:] == [("own", "ZSH", FACE_MICROS, False)], 15)
    await stock.take(table(numbered(1, 3)), name="i2")
    await eventually(lambda: reported()[2:] == [("own", "ZSH", FACE_MICROS, True)], 15)
    stamps = [one.as_of.ToNanoseconds() for one in running.orders.prices]
    assert stamps == sorted(stamps)
    assert {one.version for one in running.orders.prices} == {0}


async def test_of_200_racing_orders_as_many_succeed_as_there_are_cards(
    running: House, stock: Stock
) -> None:
    await stock.take(table(numbered(COUNT)))
    numbers = [
        one
        for part in await asyncio.gather(*(buy(running, 1, 10) for _ in range(RACERS // 10)))
        for one in part
    ]
    await eventually(lambda: len(running.orders.told) == RACERS, 30)
    succeeded = [one for one in numbers if running.orders.told[one].succeeded]
    assert len(succeeded) == COUNT
    gone = await issued(running)
    assert len({card_id for card_id, _ in gone}) == len({no for _, no in gone}) == COUNT
    assert await stock.level() == (0, 0, 0)


async def test_a_failed_delivery_gives_its_cards_back_to_the_stock(
    running: House, stock: Stock
) -> None:
    """As left by a process that died after reserving: no end, and a person decides."""
    await stock.take(table(numbered(2)))
    await running.set_state("HELD", "own")
    (number,) = await buy(running, 2)
    order_no = int((await running.query(number, CLASS)).order_no)
    async with running.process.app.work("test") as work:
        await delivery_store.mark_sending(work.db, [order_no])
        cards = [row.card_id for row in await work.db.execute(text("SELECT card_id FROM vds_card"))]
        await stock_store.reserve(work.db, [(one, order_no, at) for at, one in enumerate(cards, 1)])
    assert await stock.level() == (0, 2, 0)
    decided = delivery_pb.ResolveDeliveryRequest(
        key=key(number, CLASS), status=FAILED, by="li", reason="never issued"
    )
    await running.deliveries.ResolveDelivery(decided)
    assert await stock.level() == (2, 0, 0)


@pytest.mark.parametrize(
    "fault",
    [
        "stock.reserve.before_commit:exit",
        "stock.reserved:exit",
        "delivery.end.before_commit:exit",
    ],
)
async def test_dying_at_any_step_issues_no_card_twice_and_loses_none(
    new_database: Callable[[str], Awaitable[Any]], free_port: int, fault: str
) -> None:
    urls = await new_database("delivery")
    async with (
        order_service() as (orders, orders_port),
        child(urls.service, orders_port, free_port) as process,
    ):
        await process.start(fault)

        async def prepare(_: Any, suppliers: Any) -> Any:
            one = delivery_pb.Supplier(
                channel_no="own",
                service_class=CLASS,
                protocol="stock",
                delivers_cards=True,
                can_query=True,
                request_replenish_time_s=1,
                query_replenish_time_s=1,
                timeout_s=0.5,
                enabled=True,
            )
            request = delivery_pb.ApplySuppliersRequest(suppliers=[one], by="test")
            return await suppliers.ApplySuppliers(request, timeout=30, wait_for_ready=True)

        assert await called(free_port, prepare) is not None
        async with aio.insecure_channel(f"127.0.0.1:{free_port}") as channel:
            await Stock(channel).take(table(numbered(20)))
        items = delivery_pb.CreateDeliveriesRequest(
            items=[
                delivery_pb.CreateDeliveriesRequest.Item(
                    key=key(n, CLASS),
                    channel_no="own",
                    carrier_no="ZSH",
                    face_micros=FACE_MICROS,
                    num=2,
                    timeout_s=120,
                    order_id="1",
                )
                for n in range(1, 13)
            ]
        )
        await called(free_port, lambda d, _: d.CreateDeliveries(items, timeout=20))
        assert await process.died() == EXIT_CODE
        await process.start("")
        await called(
            free_port, lambda d, _: d.CreateDeliveries(items, timeout=30, wait_for_ready=True)
        )
        await eventually(lambda: len(orders.told) == 12, 30)
        assert sum(one.succeeded for one in orders.told.values()) == 10
        async with aio.insecure_channel(f"127.0.0.1:{free_port}") as channel:
            stub = stubs.CardServiceStub(channel)
            cards = list((await stub.ListCards(pb.ListCardsRequest(page_size=100))).cards)
        assert {one.status for one in cards} == {ISSUED}
        assert len({(one.order_no, one.seq) for one in cards}) == len(cards) == 20
