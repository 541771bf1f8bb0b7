"""A supplier by configuration: orders go through its template; too little money there holds its channel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import yaml
from aiohttp import web
from grpc import StatusCode
from grpc.aio import AioRpcError

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan_kit import metrics
from tests.delivery.conftest import House
from tests.delivery.conftest import house as started
from tests.delivery.protocols.speakers import EXAMPLES
from tests.poll import eventually

SUCCEEDED = 0
HELD, OPEN = pb.SUPPLIER_STATE_HELD, pb.SUPPLIER_STATE_OPEN


@dataclass
class Formup:
    """The supplier of docs/examples/suppliers/md5-form-gbk.yaml."""

    balance: str = "<balance>5000</balance>"
    orders: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    asked: int = 0
    url: str = ""
    channel_no: str = "formup"
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.answers.set()

    async def serve(self, http: web.BaseRequest) -> web.Response:
        form = dict(parse_qsl((await http.read()).decode(), encoding="gbk"))
        if http.path == "/balance.do":
            self.asked += 1
            await self.answers.wait()
            return self._xml(f"<result>0</result>{self.balance}")
        self.orders.append(form)
        return self._xml(
            f"<result>0</result><status>1</status><orderid>{form['orderid']}</orderid>"
            f"<msg>充值成功</msg><sysid>U1</sysid><money>{form['money']}</money>"
            "<serial>CMCC123</serial>"
        )

    def _xml(self, inner: str) -> web.Response:
        return web.Response(body=f"<r>{inner}</r>".encode("gbk"), content_type="text/xml")


@asynccontextmanager
async def formup(**facts: Any) -> AsyncIterator[Formup]:
    supplier = Formup(**facts)
    runner = web.ServerRunner(web.Server(supplier.serve, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    supplier.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield supplier
    finally:
        await runner.cleanup()


async def apply(house: House, supplier: Formup, change: Callable[[dict[str, Any]], Any]) -> None:
    """Configure the example's channel at this supplier."""
    text = (EXAMPLES / "md5-form-gbk.yaml").read_text()
    row = yaml.safe_load(text.replace("https://recharge.example.com", supplier.url))["suppliers"][0]
    row["channel_no"] = supplier.channel_no
    change(row["template"])
    codes = [pb.Supplier.ErrorCode(**one) for one in row.pop("error_codes")]
    message = pb.Supplier(
        **row | {"template": json.dumps(row["template"])}, error_codes=codes, enabled=True
    )
    await house.suppliers.ApplySuppliers(pb.ApplySuppliersRequest(suppliers=[message], by="test"))


async def channel(house: House) -> pb.Supplier:
    listed = await house.suppliers.ListSuppliers(pb.ListSuppliersRequest())
    (found,) = [one for one in listed.suppliers if one.channel_no == "formup"]
    return found


def low() -> float:
    return metrics.REGISTRY.get_sample_value("shoudan_suppliers_balance_low") or 0


@pytest.fixture
async def house(
    new_database: Callable[[str], Awaitable[Any]], tmp_path: Path
) -> AsyncIterator[House]:
    urls = await new_database("delivery")
    async with started(urls.service, tmp_path / "journal.jsonl", balance_every_s=1) as made:
        yield made


async def test_orders_go_through_a_template_and_a_low_balance_holds_them(house: House) -> None:
    async with formup() as supplier:
        await apply(house, supplier, lambda _: None)
        (first,) = await house.send("13800000001", channel_no="formup", service_class=30)
        assert (await house.ends(first, 30)).status == SUCCEEDED
        result = house.orders.told[first]
        assert (result.up_order_no, result.params["carrier_serial_no"]) == ("U1", "CMCC123")
        assert (supplier.orders[0]["mobile"], supplier.orders[0]["money"]) == ("13800000001", "100")

        supplier.balance = "<balance>499.99</balance>"
        await eventually(lambda: low() == 1, 15)
        shown = await channel(house)
        assert (shown.state, shown.balance_yuan) == (HELD, "499.99")
        assert "balance" in shown.state_reason
        (second,) = await house.send("13800000002", channel_no="formup", service_class=30)

        # Between the two amounts it stays held; what cannot be read changes nothing.
        for between in ("<balance>1999</balance>", "<balance>x</balance>", ""):
            supplier.balance, asked = between, supplier.asked
            await eventually(lambda asked=asked: supplier.asked >= asked + 2, 15)
        assert (await channel(house)).state == HELD
        assert [one["mobile"] for one in supplier.orders] == ["13800000001"]

        supplier.balance = "<balance>2000</balance>"
        assert (await house.ends(second, 30)).status == SUCCEEDED
        assert (await channel(house)).state == OPEN
        await eventually(lambda: low() == 0, 15)


async def test_a_supplier_that_does_not_answer_keeps_no_other_unwatched(house: House) -> None:
    async with formup(channel_no="hung") as hung, formup() as supplier:
        hung.answers.clear()
        for one in (hung, supplier):
            await apply(house, one, lambda _: None)
        await eventually(lambda: hung.asked == 1, 15)
        asked = supplier.asked
        await eventually(lambda: supplier.asked >= asked + 2, 15)
        assert hung.asked == 1
        hung.answers.set()


async def test_a_channel_that_is_no_longer_watched_is_not_held(house: House) -> None:
    def unwatched(template: dict[str, Any]) -> None:
        del template["balance"]
        template["capabilities"].remove("balance")

    async with formup() as supplier:
        supplier.balance = "<balance>0</balance>"
        await apply(house, supplier, lambda _: None)
        await eventually(lambda: low() == 1, 15)
        await apply(
            house, supplier, lambda template: template["order"]["send"]["fields"].update(x="1")
        )
        assert (await channel(house)).state == HELD  # another template changes no balance
        await apply(house, supplier, unwatched)
        assert ((await channel(house)).state, (await channel(house)).balance_yuan) == (OPEN, "")


async def test_a_template_that_could_not_work_is_refused(house: House) -> None:
    async with formup() as supplier:
        with pytest.raises(AioRpcError) as refused:
            await apply(
                house, supplier, lambda template: template["order"]["read"].update(code="a||b")
            )
        assert refused.value.code() is StatusCode.INVALID_ARGUMENT
        assert "template.order.read.code0" in str(refused.value.details()) + str(refused.value)
        with pytest.raises(AioRpcError):
            await house.apply(template="{}")  # of a channel of another protocol
        with pytest.raises(AioRpcError):
            await house.apply(protocol="template")
