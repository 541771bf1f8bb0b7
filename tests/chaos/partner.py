"""The partner: orders by plan, over either gateway, as stubborn as a partner; and the inbox it is told in."""

from __future__ import annotations

import asyncio
import hashlib
import json
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from shoudan_cli import bench_erp
from shoudan_kit.process.polling import until
from tests.chaos.history import OK, REFUSED, UNCLEAR, Call, History, Letter
from tests.chaos.lasting import lasting
from tests.chaos.plan import Wanted
from tests.chaos.stage import CHANNEL, POOR
from tests.poll import eventually

LOOPBACK = "127.0.0.1"
AGAIN_S = 0.3
TAKEN_S = 240  # a machine that is busy with other things; what a law says is not how quickly
WATCH_S = 1.0
CALL_S = 12
PARTS = {
    "card": {"line_id": "1", "carrier_no": "ZSH", "face": "200", "amount": "198"},
    "split": {"line_id": "1", "carrier_no": "ZSH", "face": "1000", "amount": "990"},
    "voucher": {"line_id": "2", "carrier_no": "DZQ", "face": "50", "amount": "47.5"},
    "phone": {"line_id": "3", "carrier_no": "YD", "face": "50", "amount": "49.5"},
    "nobody": {"line_id": "3", "carrier_no": "LT", "face": "30", "amount": "29.7"},
}
RUNNING = 30
UNCLEAR_FROM = 500
REFUNDABLE = {0, 91}
NO_SUCH_ORDER, NOT_YET, IN_PROGRESS = 404, 990, 983
PUSH_EVERY = 5  # orders


def request_no(number: int) -> str:
    """Of an order of the plan."""
    return f"c-{number}"


@dataclass
class Inbox:
    """Where notifies come; `mood` says how they are answered during a fault."""

    history: History
    mood: str = ""
    url: str = ""
    seen: dict[str, int] = field(default_factory=dict)

    async def take(self, http: web.BaseRequest) -> web.StreamResponse:
        told = json.loads(await http.read())
        key = told["request_no"]
        if "refund_no" in told:
            key += f" {told['refund_no']}"
        self.seen[key] = self.seen.get(key, 0) + 1
        mood, acknowledged = self.mood or self._of_itself(key), False
        answer = web.Response(text="success")
        match mood:
            case "partner_hangs":
                await lasting(5)
            case "partner_refuses":
                answer = web.Response(status=500, text="later")
            case "partner_says_other":
                answer = web.Response(text='{"status": 1, "notify_msg": "busy"}')
            case "partner_resets":
                if http.transport is not None:
                    http.transport.abort()
            case _:
                acknowledged = True
        self.history.letters.append(
            Letter(self.history.now_s(), key, int(told["status"]), acknowledged)
        )
        return answer

    def _of_itself(self, key: str) -> str:
        """Some first attempts fail without any fault, of each letter the same ones in every run."""
        if self.seen[key] > 2 or zlib.crc32(f"{key} {self.seen[key]}".encode()) % 7:
            return ""
        return ("partner_refuses", "partner_says_other")[self.seen[key] % 2]


@asynccontextmanager
async def inbox(history: History) -> AsyncGenerator[Inbox]:
    """One on a free port of this machine."""
    made = Inbox(history)
    runner = web.ServerRunner(web.Server(made.take, access_log=None), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0, backlog=512).start()
    made.url = f"http://{LOOPBACK}:{runner.addresses[0][1]}/inbox"
    try:
        yield made
    finally:
        await runner.cleanup()


@dataclass
class Partner:
    """Carries out the orders of a plan."""

    http: aiohttp.ClientSession
    gateways: list[str]
    inbox: Inbox
    history: History
    healed: asyncio.Event = field(default_factory=asyncio.Event)
    pushes: bench_erp.Load = field(default_factory=bench_erp.Load)
    turn: int = 0

    async def get(self, path: str, **params: Any) -> tuple[int, dict[str, Any]]:
        """From either gateway. Status 0: no answer that can be read."""
        self.turn += 1
        url = self.gateways[self.turn % len(self.gateways)] + path
        try:
            async with self.http.get(url, params={k: str(v) for k, v in params.items()}) as answer:
                return answer.status, json.loads(await answer.text())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return 0, {}

    def note(self, what: str, key: str, status: int, body: dict[str, Any]) -> Call:
        """One call that has ended."""
        unclear = status == 0 or status >= UNCLEAR_FROM
        end = OK if status == 200 else UNCLEAR if unclear else REFUSED
        if status >= UNCLEAR_FROM and status not in {503, 504}:
            self.history.strange.append(f"{what} {key}: HTTP {status} {body}")
        made = Call(
            self.history.now_s(),
            what,
            key,
            end,
            str(body.get("order_id", "")),
            body.get("status"),
            body.get("code"),
        )
        self.history.calls.append(made)
        return made

    async def order(self, wanted: Wanted, *, differs: bool = False) -> Call:
        """Ask once."""
        values = dict(PARTS.get(wanted.kind, PARTS["card"]))
        if differs:
            values["amount"] = "1"
        no = request_no(wanted.number)
        status, body = await self.get(
            "/order/request",
            channel_no=channel_of(wanted),
            request_no=no,
            invoice_type=1,
            num=1,
            rechage_account=f"1000110000{wanted.number % 10_000:04}{wanted.tail}",
            notify_url=self.inbox.url,
            **values,
        )
        return self.note("differs" if differs else "order", no, status, body)

    async def query(self, wanted: Wanted) -> Call:
        """How it stands."""
        no = request_no(wanted.number)
        status, body = await self.get("/order/query", channel_no=channel_of(wanted), request_no=no)
        return self.note("query", no, status, body)

    async def refund(self, wanted: Wanted) -> Call:
        """Ask for it once."""
        no = request_no(wanted.number)
        status, body = await self.get(
            f"/refund/{wanted.refund}",
            channel_no=channel_of(wanted),
            request_no=no,
            refund_no=f"r-{no}",
            refund_num=1,
            notify_url=self.inbox.url,
        )
        return self.note("refund", f"{no} r-{no}", status, body)

    async def live(self, wanted: Wanted) -> None:
        """One order from its request to where the partner looks no more."""
        if wanted.twice:
            await asyncio.gather(*(self.until_clear(wanted, self.order) for _ in range(2)))
        taken = await self.until_clear(wanted, self.order)
        if taken.end != OK:
            return
        if wanted.differs:
            await self.order(wanted, differs=True)
        if wanted.number % PUSH_EVERY == 0:
            await self.push()
        if wanted.watched:
            await self.watch(wanted)

    async def until_clear(self, wanted: Wanted, ask: Callable[[Wanted], Any]) -> Call:
        """Again and again until it is known what became of it."""
        last: list[Call] = []

        async def clear() -> bool:
            last[:] = [await ask(wanted)]
            return last[0].end != UNCLEAR

        await eventually(clear, TAKEN_S, every_s=AGAIN_S)
        return last[0]

    async def watch(self, wanted: Wanted) -> None:
        """Ask until it has ended or the faults are over; then give it back, if that is wanted."""
        last: list[Call] = []

        async def ended() -> bool:
            last[:] = [await self.query(wanted)]
            return last[0].status not in {None, RUNNING} or self.healed.is_set()

        await until(ended, TAKEN_S, every_s=WATCH_S)
        if wanted.refund and last[0].status in REFUNDABLE:
            await self.until_clear(wanted, self.refund)

    async def push(self) -> None:
        """An ERP push; kept if it was answered so."""
        body = self.pushes.next_body()
        self.turn += 1
        url = self.gateways[self.turn % len(self.gateways)] + "/pushData"
        try:
            async with self.http.post(
                url, params={"customerid": bench_erp.SENDER}, data=body
            ) as answer:
                text = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return
        if bench_erp.STORED in text.replace(b" ", b""):
            self.history.pushes.append(hashlib.sha256(body).digest())


def channel_of(wanted: Wanted) -> str:
    """Whose order it is."""
    return POOR if wanted.kind == "poor" else CHANNEL
