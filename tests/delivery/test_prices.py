"""Promises of suppliers' prices: only believed ones go on, a message whole or not, asked by one process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from grpc import StatusCode, aio

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan_delivery.prices import PricePolls
from shoudan_fakes.wire import signature
from tests.delivery.conftest import House, house
from tests.delivery.protocols.speakers import EXAMPLES, HmacJson, example
from tests.poll import eventually

SECRET = b"demo-secret-of-up"
WAITING = "SELECT 1 FROM task WHERE name = 'delivery.prices' AND status IN (20, 30)"


@pytest.fixture
async def made(
    new_database: Callable[[str], Awaitable[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    monkeypatch.setenv("SHOUDAN_SECRET_UP", SECRET.decode())
    urls = await new_database("delivery")
    async with house(
        urls.service, tmp_path / "journal.jsonl", price_every_s=10, notify_refused_burst=100
    ) as started:
        yield started


def body(*products: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A signed notify."""
    fields: dict[str, Any] = {"channel_no": "up", "timestamp": 1, "products": list(products)} | more
    return fields | {"sign": signature(fields, SECRET)}


async def take(made: House, sent: Any, channel_no: str = "up", **more: Any) -> bytes:
    raw = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    request = pb.TakePricesRequest(
        **{
            "channel_no": channel_no,
            "service_class": 10,
            "method": "POST",
            "body": raw,
            "remote_ip": "203.0.113.9",
        }
        | more
    )
    return (await made.deliveries.TakePrices(request)).body


async def refused(made: House, sent: Any, channel_no: str = "up", **more: Any) -> tuple[Any, str]:
    with pytest.raises(aio.AioRpcError) as raised:
        await take(made, sent, channel_no, **more)
    return raised.value.code(), raised.value.details() or ""


ONE = {"product": "sku", "version": "7", "price": "98.5", "stock": "3"}


async def test_a_signed_notify_is_acknowledged_and_reported_once_it_is_stored(made: House) -> None:
    await made.apply(secret_name="UP")
    made.orders.refuse = StatusCode.UNAVAILABLE
    two = {"product": "two", "version": "8", "status": "0", "effective_time": "2027-01-01 00:00:00"}
    assert await take(made, body(ONE, two)) == b"success"
    made.orders.refuse = None
    await eventually(lambda: len(made.orders.prices) == 2, 15)
    first, second = made.orders.prices
    assert (first.channel_no, first.product, first.version) == ("up", "sku", 7)
    assert (first.price_micros, first.available) == (98_500_000, True)
    assert (second.HasField("price_micros"), second.available) == (False, False)
    assert second.from_time.ToJsonString() == "2026-12-31T16:00:00Z"


FORGED: list[Any] = [
    b"",
    b"{}",
    b"\xff",
    body(),
    {**body(ONE), "sign": "0" * 64},
    {**body(ONE), "products": [{**ONE, "price": "1"}]},
    body(ONE, channel_no="other"),
    body({**ONE, "price": "-1"}),
    body({**ONE, "price": "0"}),
    body({**ONE, "price": "1e3"}),
    body({**ONE, "price": "9" * 30}),
    body({**ONE, "stock": "-1"}),
    body({**ONE, "stock": "many"}),
    body({**ONE, "status": "2"}),
    body({**ONE, "version": "0"}),
    body({**ONE, "version": "x"}),
    body({**ONE, "version": str(2**63)}),
    body({"version": "1", "price": "1"}),
    body({"product": "sku", "version": "1"}),
    body({"product": "x" * 65, "version": "1", "price": "1"}),
    body({**ONE, "effective_time": "tomorrow"}),
    body({**ONE, "effective_time": "0001-01-01 00:00:00"}),
    body({**ONE, "effective_time": "9999-12-31 23:59:59"}),
    body(ONE, {**ONE, "price": "-1"}),
    body(*[ONE] * 501),
    {"channel_no": "up", "products": ["sku"]},
]


async def test_forged_and_unreadable_ones_look_alike_and_change_nothing(made: House) -> None:
    await made.apply(secret_name="UP")
    code, alike = await refused(made, body(ONE), "nobody")
    assert code is StatusCode.PERMISSION_DENIED
    for sent in FORGED:
        found = await refused(made, sent)
        assert (found[0], found[1].replace("=up", "=nobody")) == (code, alike), sent
    assert await made.rows(WAITING) == []


async def test_no_token_stands_for_a_signature(made: House) -> None:
    """Each token is of one delivery; a channel without a secret is believed by its networks alone."""
    unsigned = {"channel_no": "up", "products": [ONE]}
    assert (await refused(made, unsigned, query="token=x"))[0] is StatusCode.PERMISSION_DENIED
    await made.apply(notify_without_token=True, notify_networks=["203.0.113.0/24"])
    assert await take(made, unsigned) == b"success"
    other = await refused(made, unsigned, remote_ip="198.51.100.1")
    assert other[0] is StatusCode.PERMISSION_DENIED


# ---------------------------------------------------------------- asked for
@dataclass
class Goods:
    """The price call of docs/examples/suppliers/hmac-json.yaml."""

    answer: str = '{"data":{"goods":[{"sku":"a1","price":9850,"stock":"0"}]}}'
    asked: int = 0
    url: str = ""

    async def serve(self, _: web.BaseRequest) -> web.Response:
        self.asked += 1
        return web.Response(text=self.answer, content_type="application/json")


@asynccontextmanager
async def goods() -> AsyncIterator[Goods]:
    supplier = Goods()
    runner = web.ServerRunner(web.Server(supplier.serve, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    supplier.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield supplier
    finally:
        await runner.cleanup()


async def connect(made: House, supplier: Goods) -> None:
    text = (EXAMPLES / "hmac-json.yaml").read_text()
    row = yaml.safe_load(text.replace("https://cards.example.com", supplier.url))["suppliers"][0]
    codes = [pb.Supplier.ErrorCode(**one) for one in row.pop("error_codes")]
    changes = {"template": json.dumps(row["template"]), "secret_name": "UP"}
    message = pb.Supplier(**row | changes, error_codes=codes, enabled=True)
    await made.suppliers.ApplySuppliers(pb.ApplySuppliersRequest(suppliers=[message], by="test"))


async def waits(made: House) -> list[Any]:
    return await made.rows(
        "SELECT price_fails, EXTRACT(epoch FROM price_ask_time - shoudan_now()) AS left_s"
        " FROM vds_channel_info WHERE channel_no = 'jsonup'"
    )


async def test_prices_are_asked_for_and_reported(made: House) -> None:
    async with goods() as supplier:
        await connect(made, supplier)
        await eventually(lambda: bool(made.orders.prices), 15)
    (one,) = made.orders.prices
    assert (one.product, one.version, one.price_micros) == ("a1", 0, 98_500_000)
    assert not one.available
    assert one.HasField("as_of")


async def test_of_many_processes_one_asks(made: House) -> None:
    app, suppliers = made.process.app, made.process.running.context.suppliers
    async with goods() as supplier:
        await connect(made, supplier)
        await eventually(lambda: supplier.asked == 1, 15)
        await suppliers.refresh()
        (one,) = [one for one in suppliers.all() if one.channel_no == "jsonup"]
        await asyncio.gather(*(PricePolls(app, suppliers).look(one) for _ in range(8)))
        assert supplier.asked == 1

        async def read() -> bool:
            ((fails, left_s),) = await waits(made)
            return fails == 0 and 5 < left_s <= 11

        await eventually(read)  # who asks has failed until what was answered is stored
        assert supplier.asked == 1


@pytest.mark.parametrize(
    "answer",
    [
        "no JSON",
        '{"data":{"goods":[{"sku":"a1","price":-5,"stock":"1"}]}}',
        '{"data":{"goods":[{"sku":"a1","price":0,"stock":"1"}]}}',
        '{"data":{"goods":[{"sku":"a1","price":5,"stock":"-1"}]}}',
        '{"data":{"goods":[{"sku":"a1","price":5,"stock":"1"},{"sku":"","price":5}]}}',
    ],
)
async def test_an_answer_that_cannot_be_read_changes_nothing_and_is_asked_for_later(
    made: House, answer: str
) -> None:
    async with goods() as supplier:
        supplier.answer = answer
        await connect(made, supplier)
        await eventually(lambda: supplier.asked == 1, 15)

        async def failed() -> bool:
            return (await waits(made))[0].price_fails == 1

        await eventually(failed)
        assert made.orders.prices == []
        assert await made.rows(WAITING) == []


async def test_a_template_takes_a_notify_of_prices_and_acknowledges_in_its_words(
    made: House,
) -> None:
    async with goods() as supplier:
        supplier.answer = "no JSON"
        await connect(made, supplier)
        speaker = HmacJson(example("hmac-json.yaml"))
        notify = speaker.prices([{"sku": "a1", "price": 9_850, "stock": 0}], 7, SECRET)
        forged = speaker.prices([{"sku": "a1", "price": 1, "stock": 9}], 8, b"another")

        async def sent(one: Any) -> bytes:
            return await take(made, one.body, "jsonup", service_class=20, headers=dict(one.headers))

        with pytest.raises(aio.AioRpcError):
            await sent(forged)
        assert await sent(notify) == b'{"code":"OK"}'
        await eventually(lambda: bool(made.orders.prices), 15)
    (one,) = made.orders.prices
    assert (one.product, one.version, one.price_micros) == ("a1", 7, 98_500_000)
    assert not one.available
