"""Promises, over real HTTP and real processes: documented answers, nothing lost, no person leaks."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from grpc import aio
from sqlalchemy import text

from shoudan.core.v1 import work_service_pb2 as work_pb
from shoudan.core.v1 import work_service_pb2_grpc as work_grpc
from shoudan.erp.v1 import erp_service_pb2 as pb
from shoudan.erp.v1 import erp_service_pb2_grpc as stubs
from shoudan_kit.db.pool import Database
from shoudan_kit.embedded import DatabaseUrls, Nats, Postgres
from shoudan_kit.process.child import Child
from shoudan_kit.process.ports import free_port
from tests.erp_ingest.harness import APP_KEY, CUSTOMER, body, example, refund, trade
from tests.poll import eventually

STORED = {"flag": "success", "code": "0", "message": ""}
RETURNED = {"returnflag": "success", "returncode": "0", "returnmessage": ""}
START = "from shoudan_cli.main import main; main()"


@dataclass
class House:
    """ERP ingest and gateway as their own processes."""

    environ: dict[str, str]
    folder: Path
    http: aiohttp.ClientSession
    http_port: int
    erp_port: int
    owner_url: str
    children: dict[str, Child] = field(default_factory=dict)

    async def start(self, service: str, **more: str) -> None:
        """Start one process and wait until it serves."""
        log = self.folder / f"{service}.log"
        argv = [sys.executable, "-c", START, "serve", service]
        before = log.read_bytes().count(b'"serving"') if log.exists() else 0
        self.children[service] = Child.spawn(argv, env=self.environ | more, output=log)

        def serving() -> bool:
            return log.read_bytes().count(b'"serving"') > before

        await eventually(serving, 30)
        if service != "gateway":
            # The gateway, started first, comes back to it within its reconnect backoff.
            await eventually(self.reached, 10, every_s=0.05)

    async def reached(self) -> bool:
        """Whether the gateway's calls arrive: a sender nobody knows is refused by name."""
        return "不在允许名单内" in (await self.push(b"{}", "customerid=nobody"))["message"]

    async def push(self, raw: bytes, query: str = f"customerid={CUSTOMER}") -> Any:
        """The answer to one push."""
        path = "pushReturngoods" if "app_key" in query else "pushData"
        url = f"http://127.0.0.1:{self.http_port}/{path}?{query}"
        headers = {"Content-Type": "application/json"}
        async with self.http.post(url, data=io.BytesIO(raw), headers=headers) as answer:
            assert answer.status == 200
            assert answer.content_type == "application/json"
            return json.loads(await answer.text())

    async def intact(self, raws: list[bytes]) -> bool:
        """Whether all these bodies are stored byte for byte."""
        digest = pb.CheckPushesRequest.Digest
        asked = [
            digest(kind=pb.PUSH_KIND_TRADE, sender=CUSTOMER, sha256=hashlib.sha256(raw).digest())
            for raw in raws
        ]
        async with aio.insecure_channel(f"127.0.0.1:{self.erp_port}") as channel:
            stub = stubs.ErpServiceStub(channel)
            answer = await stub.CheckPushes(pb.CheckPushesRequest(digests=asked))
        return len(raws) > 0 and all(one.stored and one.intact for one in answer.results)

    async def stop(self) -> None:
        """Stop everything."""
        for child in reversed(self.children.values()):
            await child.stop()


@pytest.fixture
async def house(new_database: Any, nats: Nats, tmp_path: Path) -> AsyncIterator[House]:
    urls: DatabaseUrls = await new_database("erp_ingest")
    erp_port, http_port = free_port(), free_port()
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith("SHOUDAN_")},
        "SHOUDAN_PROFILE": "test",
        "SHOUDAN_NATS_URL": nats.url,
        "SHOUDAN_ERP_INGEST_DATABASE_URL": urls.service,
        "SHOUDAN_ERP_INGEST_LISTEN_PORT": str(erp_port),
        "SHOUDAN_ERP_INGEST_OPS_PORT": str(free_port()),
        "SHOUDAN_GATEWAY_LISTEN_PORT": str(http_port),
        "SHOUDAN_GATEWAY_INTERNAL_PORT": "0",
        "SHOUDAN_GATEWAY_OPS_PORT": str(free_port()),
        "SHOUDAN_GATEWAY_ACCESS_LOG": "all",
        "SHOUDAN_GATEWAY_ERP_INGEST_TARGET": f"127.0.0.1:{erp_port}",
    }
    async with aiohttp.ClientSession() as http:
        made = House(environ, tmp_path, http, http_port, erp_port, urls.owner)
        try:
            await made.start("gateway")
            yield made
        finally:
            await made.stop()


async def test_documented_pushes_get_documented_answers_and_bad_ones_a_place(house: House) -> None:
    await house.start("erp_ingest")
    one, two = example("push_data.json"), example("push_returngoods.json")
    for _ in range(2):
        assert await house.push(one) == STORED
        assert await house.push(two, f"app_key={APP_KEY}") == RETURNED
    whole = json.loads(one)
    assert await house.push(body([whole])) == STORED
    told = await house.push(one, "customerid=Other")
    assert (told["flag"], told["code"]) == ("error", "1")
    assert told["message"]
    told = await house.push(body({"data": {"refunds": []}}), f"app_key={APP_KEY}")
    assert told == {
        "returnflag": "error",
        "returncode": "1",
        "returnmessage": "data.refunds 没有数据",
    }
    depth = b'{"data":' * 33 + b"1" + b"}" * 33
    nasties = {
        "不是有效的JSON": b"x",
        "data.tid 缺失": b'{"data": {}}',
        "请求体不能超过2MiB": b" " * (2 * 2**20 + 1),
        "JSON嵌套不能超过32层": depth,
        "数量过多": body({"data": [{"tid": str(n)} for n in range(1001)]}),
        "不是UTF-8编码": '{"data": "大海"}'.encode("gbk"),
        "data.tid 含有无效的Unicode字符": rb'{"data": {"tid": "\udc00"}}',
        "data.tid 含有空字符": rb'{"data": {"tid": "\u0000"}}',
        "tid 字段重复": b'{"data": {"tid": 1, "tid": 1}}',
    }
    for words, raw in nasties.items():
        told = await house.push(raw)
        assert (told["flag"], told["code"]) == ("error", "1")
        assert words in told["message"]
    async with aio.insecure_channel(f"127.0.0.1:{house.erp_port}") as channel:
        stub = stubs.ErpServiceStub(channel)
        listed = await stub.ListQuarantined(pb.ListQuarantinedRequest())
    assert len(listed.pushes) == len(nasties) + 1
    assert (await house.push(b" " * (2 * 2**20 + 2)))["code"] == "1"
    assert (await house.push(b"{}", "x=1"))["message"] == "customerid缺失"
    fits = body(trade(tid="BIG", remark="x" * 10))[:-1]
    assert await house.push(fits + b" " * (2 * 2**20 - len(fits) - 1) + b"}") == STORED
    async with house.http.get(f"http://127.0.0.1:{house.http_port}/pushData") as answer:
        assert answer.status == 200
        assert json.loads(await answer.text())["code"] == "1"


async def test_large_pushes_at_once_are_all_taken(house: House) -> None:
    await house.start("erp_ingest")
    raws = [body(trade(tid=f"L{n}"))[:-1] + b" " * 2_000_000 + b"}" for n in range(12)]
    answers = await asyncio.gather(*(house.push(raw) for raw in raws))
    assert answers == [STORED] * 12
    assert await house.intact(raws)


def pushes() -> Iterator[bytes]:
    prefix = secrets.token_hex(4)
    number = 0
    while True:
        number += 1
        yield body(trade(tid=f"{prefix}{number}", msg_id=str(number)))


@pytest.mark.parametrize("fault", ["erp.before_commit:exit@5", "erp.after_commit:exit@5", ""])
async def test_what_was_answered_success_survives_a_kill_at_any_moment(
    house: House, fault: str
) -> None:
    await house.start("erp_ingest", SHOUDAN_FAULTS=fault)
    source, acknowledged, failed = pushes(), list[bytes](), list[bytes]()
    stop = asyncio.Event()

    async def sender() -> None:
        while not stop.is_set():
            raw = next(source)
            answer = await house.push(raw)
            (acknowledged if answer == STORED else failed).append(raw)

    senders = [asyncio.create_task(sender()) for _ in range(16)]
    erp = house.children["erp_ingest"]
    if not fault:
        await eventually(lambda: len(acknowledged) > 100, 30)
        erp.send(signal.SIGKILL)
    await eventually(lambda: failed, 30)
    stop.set()
    await asyncio.gather(*senders)
    await erp.wait()
    await house.start("erp_ingest")
    assert await house.intact(acknowledged[-1000:])
    for raw in failed:
        await eventually(lambda raw=raw: stored(house, raw), 20, every_s=0.2)
    assert await house.intact(failed[-1000:])


@pytest.mark.parametrize("fault", ["erp.before_commit:exit", "erp.after_commit:exit"])
async def test_a_decision_whose_process_died_is_answered_when_it_is_repeated(
    house: House, fault: str
) -> None:
    await house.start("erp_ingest")
    assert await house.push(example("push_data.json")) == STORED
    # As a release left it that could not read it.
    owner = Database(house.owner_url)
    async with owner.begin() as db:
        await db.execute(text("UPDATE push SET status = 90, place = 'body', why = 'not_json'"))
        (push_id,) = (await db.execute(text("SELECT push_id FROM push"))).one()
    await owner.dispose()
    await house.children["erp_ingest"].stop()
    await house.start("erp_ingest", SHOUDAN_FAULTS=fault)

    async def retry(by: str) -> Any:
        words = {"decision": "retry", "by": by, "reason": "they mended it"}
        request = work_pb.DecideWorkRequest(kind="push", key=str(push_id), **words)
        async with aio.insecure_channel(f"127.0.0.1:{house.erp_port}") as channel:
            return await work_grpc.WorkServiceStub(channel).DecideWork(request)

    with pytest.raises(aio.AioRpcError):
        await retry("li")
    await house.children["erp_ingest"].wait()
    await house.start("erp_ingest")
    assert (await retry("li")).by == "li"
    again = await retry("wang")
    assert (again.repeated, again.decision, again.by) == (True, "retry", "li")


async def stored(house: House, raw: bytes) -> bool:
    return await house.push(raw) == STORED


async def test_no_person_is_found_in_logs_metrics_events_or_database_files(
    house: House, postgres: Postgres, nats: Nats
) -> None:
    await house.start("erp_ingest")
    mark = secrets.token_hex(4)
    phone = f"13{secrets.randbelow(10**9):09d}"
    other = f"+86 {phone[:3]} {phone[3:7]} {phone[7:]}"
    person = {name: f"{name}{mark}" for name in ("receiver_name", "receiver_address", "trade_memo")}
    person["receiver_mobile"] = phone
    names = ("pay_account", "buyer_nick", "return_name", "swap_address", "customer_name", "remark")
    back = {name: f"{name}{mark}" for name in names} | {"return_mobile": phone, "swap_telno": other}
    lists = {"buy_name": f"buyer{mark}", "buyer_account": phone}
    first = body(trade(tid="C1", payment_lists=lists, secret_key=f"extra{mark}", **person))
    assert await house.push(first) == STORED
    ended = body(trade(tid="C1", status="TRADE_CLOSED", **person))
    late = body(trade(tid="C1", status="WAIT_BUYER_PAY", **person))
    for raw in (ended, late):
        assert await house.push(raw) == STORED
    query = f"app_key={APP_KEY}"
    assert await house.push(body(refund(refund_no="C1", **back)), query) == RETURNED
    older = body(refund(refund_no="C1", modified="2000-01-01 00:00:00", **back))
    assert await house.push(older, query) == RETURNED
    assert (await house.push(first[:-2]))["code"] == "1"
    assert (await house.push(body({"data": {f"key{mark}": phone}})))["code"] == "1"
    assert (await house.push(first, "customerid=Other"))["code"] == "1"
    log = house.folder / "erp_ingest.log"
    await eventually(log.exists)
    metrics = b""
    for service in ("ERP_INGEST", "GATEWAY"):
        port = house.environ[f"SHOUDAN_{service}_OPS_PORT"]
        async with house.http.get(f"http://127.0.0.1:{port}/metrics") as answer:
            metrics += await answer.read()
    await house.stop()
    async with postgres.admin() as db:
        await db.execute("CHECKPOINT")
    places = [postgres.home.path, nats.home.path, house.folder]
    needles = [mark.encode(), phone.encode(), phone[3:].encode(), other[-9:].encode()]
    assert len(metrics) > 1000
    assert not any(needle in metrics for needle in needles)
    searched = 0
    for file in (f for place in places for f in place.rglob("*") if f.is_file()):
        content = file.read_bytes()
        searched += len(content)
        assert not any(needle in content for needle in needles), file
    assert searched > 10_000_000
