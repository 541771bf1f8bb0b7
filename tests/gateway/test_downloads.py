"""Promises of bills over HTTP: a channel's own, by a link, piece by piece; what breaks off shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
import pytest
from grpc import aio
from grpc_status import rpc_status

from shoudan.finance.v1 import bill_service_pb2 as pb
from shoudan.finance.v1 import bill_service_pb2_grpc as stubs
from shoudan.order.v1 import catalogue_service_pb2 as catalogue
from shoudan_finance.refusals import BillLinkNotFound
from tests.gateway.conftest import Front, Open
from tests.poll import eventually

PIECE = b"x" * 2**18
TOKEN = "t" * 43


@dataclass
class Bills(stubs.BillServiceServicer):
    """Finance: one bill, whose file has `pieces` pieces and may break off."""

    asked: list[Any] = field(default_factory=list[Any])
    pieces: int = 3
    breaks_at: int = 0
    hold: asyncio.Event | None = None
    ended: int = 0

    async def GetBillLink(self, request: Any, context: Any) -> Any:
        self.asked.append(request.bill)
        bill = pb.Bill(status=pb.BILL_STATUS_PUBLISHED, file="trade-test-2026-11-29.csv.gz")
        return pb.GetBillLinkResponse(bill=bill, token=TOKEN)

    async def DownloadBill(self, request: Any, context: Any) -> Any:
        if request.token != TOKEN:
            await context.abort_with_status(rpc_status.to_status(BillLinkNotFound().to_status()))
        try:
            for at in range(self.pieces):
                if self.breaks_at and at == self.breaks_at:
                    await context.abort(grpc.StatusCode.INTERNAL, "secret /etc/passwd")
                total = self.pieces * len(PIECE) if at == 0 else 0
                yield pb.DownloadBillResponse(total_bytes=total, body=PIECE)
                if self.hold is not None:
                    await self.hold.wait()
        finally:
            self.ended += 1


@pytest.fixture
async def finance() -> AsyncIterator[tuple[Bills, str]]:
    server, bills = aio.server(), Bills()
    stubs.add_BillServiceServicer_to_server(bills, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield bills, f"127.0.0.1:{port}"
    await server.stop(None)


async def fetched(front: Front, url: str) -> tuple[int, bytes, Any]:
    async with front.http.get(url) as answer:
        return answer.status, await answer.read(), answer.headers


async def link(front: Front) -> str:
    asked = "/bill/trade?channel_no=test&bill_date=2026-11-29&format=csv.gz"
    status, found = await front.ask(asked)
    assert (status, found["status"]) == (200, "READY")
    url: str = found["url"]
    assert url.startswith(f"https://pay.example.com/bill/file/{TOKEN}/")
    return url.replace("https://pay.example.com", front.url)


async def test_a_channel_gets_its_own_bill_by_the_link(
    open_gateway: Open, finance: tuple[Bills, str]
) -> None:
    bills, target = finance
    front = await open_gateway(finance_target=target, public_base_url="https://pay.example.com/")
    status, body, headers = await fetched(front, await link(front))
    assert (status, body, headers["Content-Type"]) == (200, PIECE * 3, "application/gzip")
    assert headers["Content-Length"] == str(len(PIECE) * 3)
    assert headers["Cache-Control"] == "no-store"
    assert [(one.kind, one.eid, one.packed) for one in bills.asked] == [("trade", "test", True)]


async def test_a_channel_that_does_not_sign_as_it_must_gets_no_bill(
    open_gateway: Open, finance: tuple[Bills, str]
) -> None:
    bills, target = finance
    front = await open_gateway(finance_target=target)
    front.order.channels = [
        catalogue.DownChannel(channel_no="test", enabled=True, auth_mode="hmac", secret_name="T")
    ]
    await front.read_rules()
    for asked in ("channel_no=test&bill_date=2026-11-29", "bill_date=2026-11-29"):
        for kind in ("fund", "trade"):
            status, _ = await front.ask(f"/bill/{kind}?{asked}")
            assert status >= 400
    assert bills.asked == []


@pytest.mark.parametrize(
    "asked",
    ["bill_date=2026-13-01", "bill_date=2026", "bill_date=2026-W01-1", "bill_date=20260101",
     "bill_date=0001-01", "bill_date=9999-12", "bill_date=1999-12-31", "bill_date=2026-11-29&format=doc",
     "bill_date=2026-11-29&format=xlsx&excel=1", ""],
)  # fmt: skip
async def test_what_is_no_bill_is_refused_in_the_protocols_words(
    open_gateway: Open, finance: tuple[Bills, str], asked: str
) -> None:
    front = await open_gateway(finance_target=finance[1])
    status, found = await front.ask(f"/bill/fund?channel_no=test&{asked}")
    assert (status, found["code"]) == (406, 406)


@pytest.mark.parametrize("path", [f"/bill/file/{'u' * 43}/a.csv", f"/bill/file/{TOKEN}"])
async def test_a_link_that_is_none_is_answered_by_404(
    open_gateway: Open, finance: tuple[Bills, str], path: str
) -> None:
    front = await open_gateway(finance_target=finance[1])
    status, body, _ = await fetched(front, front.url + path)
    assert (status, "账单链接无效或已过期" in body.decode()) == (404, path.endswith(".csv"))


async def test_a_file_that_breaks_off_is_shorter_than_it_says(
    open_gateway: Open, finance: tuple[Bills, str]
) -> None:
    bills, target = finance
    bills.breaks_at = 2
    front = await open_gateway(finance_target=target, public_base_url="https://pay.example.com")
    with pytest.raises(aiohttp.ClientError):
        await fetched(front, await link(front))


async def test_one_download_too_many_is_told_to_come_again(
    open_gateway: Open, finance: tuple[Bills, str]
) -> None:
    bills, target = finance
    bills.hold = asyncio.Event()
    front = await open_gateway(
        finance_target=target, public_base_url="https://pay.example.com", downloads_max=1
    )
    url = await link(front)
    async with front.http.get(url) as first:
        assert first.status == 200
        status, _, headers = await fetched(front, url)
        assert (status, headers.get("Retry-After")) == (503, "1")
        bills.hold.set()
        assert await first.read() == PIECE * 3

    async def free_again() -> bool:  # a moment after its last byte was read
        return (await fetched(front, url))[0] == 200

    await eventually(free_again)


async def test_a_reader_that_goes_ends_the_stream_of_the_service(
    open_gateway: Open, finance: tuple[Bills, str]
) -> None:
    bills, target = finance
    bills.pieces = 1000
    front = await open_gateway(
        finance_target=target, public_base_url="https://pay.example.com", downloads_max=1
    )
    url = await link(front)
    async with front.http.get(url) as answer:
        await answer.content.readexactly(10)
        answer.close()

    async def ended() -> bool:
        return bills.ended == 1

    await eventually(ended)
    bills.pieces = 1
    assert (await fetched(front, url))[0] == 200


async def test_a_reader_that_takes_nothing_is_let_go_in_time(
    open_gateway: Open, finance: tuple[Bills, str]
) -> None:
    bills, target = finance
    bills.pieces = 1000
    front = await open_gateway(
        finance_target=target,
        public_base_url="https://pay.example.com",
        downloads_max=1,
        download_s=0.3,
    )
    url = await link(front)
    async with front.http.get(url) as answer:
        assert answer.status == 200

        async def ended() -> bool:
            return bills.ended == 1

        await eventually(ended)
