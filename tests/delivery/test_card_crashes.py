"""The process dies around each step on cards: what is repeated finds the same, no code is lost or doubled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
from grpc import aio
from sqlalchemy import text

from shoudan.delivery.v1 import card_service_pb2 as pb
from shoudan.delivery.v1 import card_service_pb2_grpc as stubs
from shoudan.delivery.v1 import delivery_service_pb2 as delivery_pb
from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_stubs
from shoudan_delivery.stock import encrypted
from shoudan_fakes.sandbox import Sandbox
from shoudan_kit.db.pool import Database
from shoudan_kit.faults import EXIT_CODE
from tests.delivery.conftest import CODES, key, order_service
from tests.delivery.test_crashes import Mortal, child
from tests.delivery.test_stock import CHANNEL, FACE_MICROS, numbered, table
from tests.poll import eventually

CLASS = 20
OWN, UNKNOWN = 1, 2  # deliveries: out of our own stock, and one whose supplier sends no codes
ISSUED, REVEALED = 30, 40
SUCCEEDED = 0
WITHOUT = "100011000000110"


class Desk:
    """The calls on cards; each on a connection of its own, as the process may be another one by now."""

    def __init__(self, port: int, url: str) -> None:
        self.target, self.url = f"127.0.0.1:{port}", url
        self.file, self.entered = b"", b""

    async def call(self, method: str, request: Any) -> Any:
        stub = (
            stubs.CardServiceStub if hasattr(stubs.CardServiceServicer, method)
            else delivery_stubs.DeliveryServiceStub
            if hasattr(delivery_stubs.DeliveryServiceServicer, method)
            else delivery_stubs.SupplierServiceStub
        )  # fmt: skip
        async with aio.insecure_channel(self.target) as channel:
            return await getattr(stub(channel), method)(request, timeout=30, wait_for_ready=True)

    async def prepare(self, supplier_url: str) -> None:
        common: dict[str, Any] = {
            "service_class": CLASS,
            "can_query": True,
            "request_replenish_time_s": 1,
            "query_replenish_time_s": 1,
            "enabled": True,
        }
        codes = [delivery_pb.Supplier.ErrorCode(error_code=c, deal_code=d) for c, d in CODES]
        up = delivery_pb.Supplier(
            channel_no="up",
            request_url=f"{supplier_url}/supplier/request",
            query_url=f"{supplier_url}/supplier/query",
            delivers_cards=True,
            error_codes=codes,
            **common,
        )
        own = delivery_pb.Supplier(channel_no="own", **(CHANNEL | common))
        request = delivery_pb.ApplySuppliersRequest(suppliers=[own, up], by="test")
        await self.call("ApplySuppliers", request)
        public = (await self.call("GetImportKey", pb.GetImportKeyRequest())).public_key
        self.file = encrypted(table(numbered(5)), public)
        self.entered = encrypted(table(numbered(2, 100)), public)

    async def create(self, number: int, channel_no: str, account: str = "") -> None:
        item = delivery_pb.CreateDeliveriesRequest.Item(
            key=key(number, CLASS),
            channel_no=channel_no,
            carrier_no="ZSH",
            face_micros=FACE_MICROS,
            num=2,
            account=account,
            timeout_s=300,
            order_id="1",
        )
        await self.call("CreateDeliveries", delivery_pb.CreateDeliveriesRequest(items=[item]))

    async def take(self) -> Any:
        request = pb.ImportCardsRequest(
            channel_no="own",
            carrier_no="ZSH",
            face_micros=FACE_MICROS,
            import_no="i1",
            file=self.file,
        )
        return await self.call("ImportCards", request)

    async def enter(self) -> Any:
        request = pb.EnterCardsRequest(
            key=key(UNKNOWN, CLASS), file=self.entered, reason="by telephone", by="t"
        )
        return await self.call("EnterCards", request)

    async def decide(self) -> Any:
        request = delivery_pb.ResolveDeliveryRequest(
            key=key(UNKNOWN, CLASS), status=SUCCEEDED, by="t", reason="seen"
        )
        return await self.call("ResolveDelivery", request)

    async def fetch(self) -> Any:
        request = pb.FetchCardsRequest(keys=[key(OWN, CLASS)], order_id="1")
        return await self.call("FetchCards", request)

    async def reveal(self) -> Any:
        card_ids = [row.card_id for row in await self.rows("card_id", f"status = {REVEALED}")]
        return await self.call("RevealCards", pb.RevealCardsRequest(card_ids=card_ids, reason="t"))

    async def ask_later(self) -> None:
        """The supplier is not asked again within this test; for while no process runs."""
        later = "UPDATE task SET next_execute_time = next_execute_time + interval '1 h'"
        database = Database(self.url)
        async with database.begin() as db:
            await db.execute(text(f"{later} WHERE name = 'delivery.ask'"))
        await database.dispose()

    async def rows(self, columns: str, where: str = "true", table: str = "vds_card") -> list[Any]:
        database = Database(self.url)
        async with database.connect() as db:
            found = await db.execute(text(f"SELECT {columns} FROM {table} WHERE {where}"))
        await database.dispose()
        return list(found)


async def dies(process: Mortal, fault: str, call: Callable[[], Awaitable[Any]]) -> None:
    """The call, in a process that dies of this fault; the next one begins where it stopped."""
    await process.stop()
    await process.start(f"{fault}:exit")
    with suppress(grpc.RpcError):
        await call()
    assert await process.died() == EXIT_CODE, fault


async def test_a_death_around_each_step_on_cards_loses_none_and_doubles_none(
    new_database: Callable[[str], Awaitable[Any]], tmp_path: Path, free_port: int
) -> None:
    """One process after the other; each repeats what the one before died of."""
    urls = await new_database("delivery")
    async with (
        Sandbox(tmp_path / "journal.jsonl") as sandbox,
        order_service() as (orders, orders_port),
        child(urls.service, orders_port, free_port) as process,
    ):
        desk = Desk(free_port, urls.owner)
        await process.start("stock.import.after_commit:exit")
        await desk.prepare(sandbox.url)
        with suppress(grpc.RpcError):
            await desk.take()
        assert await process.died() == EXIT_CODE
        assert len(await desk.rows("1")) == 5

        await process.start("card.fetch.before_commit:exit")
        assert list((await desk.take()).duplicates) == [2, 3, 4, 5, 6]
        await desk.create(OWN, "own")
        await desk.create(UNKNOWN, "up", WITHOUT)
        await eventually(lambda: OWN in orders.told, 20)
        with suppress(grpc.RpcError):
            await desk.fetch()
        assert await process.died() == EXIT_CODE
        assert await desk.rows("1", table="vds_card_fetch") == [], "shown and recorded, or neither"
        await dies(process, "card.fetch.after_commit", desk.fetch)
        assert {row.status for row in await desk.rows("status", "order_no > 0")} == {REVEALED}
        assert len(await desk.rows("1", table="vds_card_fetch")) == 1

        await dies(process, "card.reveal.after_commit", desk.reveal)
        assert len(await desk.rows("1", "reason <> ''", "vds_card_fetch")) == 1
        await dies(process, "card.enter.before_commit", desk.enter)
        await dies(process, "card.entered", desk.enter)

        await desk.ask_later()  # what a query finds out is an end, too
        await process.start("delivery.end.after_commit:exit")
        assert [one.number for one in (await desk.fetch()).cards] == ["N000001", "N000002"]
        assert (await desk.enter()).cards == 2
        with suppress(grpc.RpcError):
            await desk.decide()
        assert await process.died() == EXIT_CODE
        await process.start("")
        await desk.decide()
        await eventually(lambda: UNKNOWN in orders.told, 20)
        cards = await desk.rows("order_no, seq, status", "order_no > 0")
        assert len({(row.order_no, row.seq) for row in cards}) == len(cards) == 4
        assert sorted(row.status for row in cards) == [ISSUED, ISSUED, REVEALED, REVEALED]
        assert len(await desk.rows("1", "status = 10")) == 3, "what was not sold is in the stock"
