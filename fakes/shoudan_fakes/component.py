"""A payment component for trying PayServer out (002 Pay 3, Refund 2): the bar code chooses what happens."""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Self

import aiohttp
import msgspec
from aiohttp import web

from shoudan_kit.clock import beijing

TAIL_DIGITS: Final = 4
BODIES_MAX: Final = 2_000
NUMBERS_MAX: Final = 200_000
STOP_S: Final = 1.0

SUCCESS: Final = "success"
RUNNING: Final = "running"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class Script:
    """What one tail of a bar code means. `ends`: what becomes of it; `says`: the answer to the call."""

    tail: str
    about: str
    ends: str = SUCCESS
    says: str = ""  # empty: how it ends
    notifies: int = 0
    noted: bool = True
    broken: str = ""  # hang, reset, html, http_500, other_number, twice, numbers, amounts
    refund_ends: str = SUCCESS
    refund_says: str = ""
    refund_broken: str = ""


_TABLE: Final = (
    Script("0000", "success"),
    Script("1001", "failed", ends=FAILED),
    Script("1002", "running, then success when asked", says=RUNNING),
    Script("1003", "running, then failed when asked", ends=FAILED, says=RUNNING),
    Script("1004", "takes the money and does not answer (time-out)", broken="hang"),
    Script("1005", "success, notified twice more", notifies=2),
    Script("1006", "running for ever", ends=RUNNING, says=RUNNING),
    Script("1007", "cuts the connection before noting anything", noted=False, broken="reset"),
    Script("1008", "takes the money, answers an HTML page", broken="html"),
    Script("1009", "takes the money, answers HTTP 500", broken="http_500"),
    Script("1010", "takes the money, answers another tractionNo", broken="other_number"),
    Script("1011", "running, then success by notify, twice", says=RUNNING, notifies=2),
    Script("1012", "running, then failed by notify", ends=FAILED, says=RUNNING, notifies=1),
    Script("1013", "says failed, later notifies success: a contradiction", says=FAILED, notifies=1),
    Script("1014", "takes the money, says failed and success in one answer", broken="twice"),
    Script("1015", "success, its numbers as JSON numbers", broken="numbers"),
    Script("1016", "takes the money, names another payAmount", broken="amount"),
    Script("1017", "names another payAmount when asked", says=RUNNING, broken="later_amount"),
    Script("1018", "notifies another payAmount", says=RUNNING, notifies=1, broken="later_amount"),
    Script("2001", "paid; a refund fails", refund_ends=FAILED),
    Script("2002", "paid; a refund runs, then succeeds when asked", refund_says=RUNNING),
    Script("2003", "paid; a refund is made and not answered", refund_broken="hang"),
    Script("2004", "paid; a refund names another refundAmount", refund_broken="amount"),
)
OTHER_FEN: Final = 49
SCRIPTS: Final = {script.tail: script for script in _TABLE}


Route = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Call(msgspec.Struct, rename="camel"):
    """What both calls of the contract have in common, and where the bar code is."""

    traction_no: str
    pay_amount: int = 0
    refund_amount: int = 0
    pay_traction_no: str = ""
    pay_params: dict[str, Any] = {}
    notify_url: str = ""


@dataclass(slots=True)
class Noted:
    """One number this component knows."""

    amount: int
    script: Script
    ends: str
    calls: int = 0


@dataclass
class Component:
    """`async with Component() as component:` serves; `hang_s`, `later_s` and `slow_s` are knobs.

    Another server may serve `routes` instead; it calls `aclose` at its end.
    """

    host: str = "127.0.0.1"
    port: int = 0
    hang_s: float = 30.0
    later_s: float = 0.2
    slow_s: float = 0.0
    finished: str = ""  # tradeFinishedAt; empty: now
    environment: dict[str, Any] = field(default_factory=lambda: {"ret": True})
    pays: dict[str, Noted] = field(default_factory=dict[str, Noted])
    refunds: dict[str, Noted] = field(default_factory=dict[str, Noted])
    bodies: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=BODIES_MAX))
    notified: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])

    def __post_init__(self) -> None:
        self._runner: web.ServerRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._later: set[asyncio.Task[None]] = set()
        self._routes = {**self.routes(), "/healthz": self._healthy, "/": self._page}

    def routes(self) -> dict[str, Route]:
        """What it serves, by path."""
        return {
            "/component/pay": self._pay,
            "/component/refund": self._refund,
            "/component/query": self._query,
            "/component/checkEnv": self._check,
            "/component/journal": self._journal,
        }

    @property
    def url(self) -> str:
        """`http://host:port/component`."""
        return f"http://{self.host}:{self.port}/component"

    @property
    def taken_fen(self) -> int:
        """What was really paid, all together."""
        return sum(one.amount for one in self.pays.values() if one.ends == SUCCESS)

    async def __aenter__(self) -> Self:
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=STOP_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port, backlog=1024).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
        if self._runner is not None:
            await self._runner.cleanup()

    async def aclose(self) -> None:
        """Cancel every notify that is still to be sent."""
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        route = self._routes.get(http.path)
        return await route(http) if route is not None else web.Response(status=404, text="see /")

    async def _pay(self, http: web.BaseRequest) -> web.StreamResponse:
        call = await self._read(http)
        code = str(call.pay_params.get("payBarCode", ""))
        script = SCRIPTS.get(code[-TAIL_DIGITS:], SCRIPTS["0000"])
        if script.noted:
            self._note(self.pays, call.traction_no, call.pay_amount, script, script.ends)
        answer = self._said(call.traction_no, script.says or script.ends)
        self._notify(call, script.notifies, script.ends)
        return await self._reply(http, answer, script.broken)

    async def _refund(self, http: web.BaseRequest) -> web.StreamResponse:
        call = await self._read(http)
        paid = self.pays.get(call.pay_traction_no)
        script = paid.script if paid is not None else SCRIPTS["0000"]
        self._note(self.refunds, call.traction_no, call.refund_amount, script, script.refund_ends)
        answer = self._said(call.traction_no, script.refund_says or script.refund_ends)
        if call.notify_url and script.refund_says == RUNNING:
            self._notify(call, 1, script.refund_ends)
        return await self._reply(http, answer, script.refund_broken)

    async def _query(self, http: web.BaseRequest) -> web.StreamResponse:
        call = await self._read(http)
        known = self.pays.get(call.traction_no) or self.refunds.get(call.traction_no)
        said = self._said(call.traction_no, known.ends if known is not None else "notFound")
        if known is not None and known.script.broken == "later_amount":
            said["payAmount"] = OTHER_FEN
        return _json(said)

    async def _check(self, http: web.BaseRequest) -> web.StreamResponse:
        return _json(self.environment)

    async def _journal(self, http: web.BaseRequest) -> web.StreamResponse:
        shown = {
            name: {
                number: {"amount": one.amount, "ends": one.ends, "calls": one.calls}
                for number, one in numbers.items()
            }
            for name, numbers in (("pays", self.pays), ("refunds", self.refunds))
        }
        return _json(shown)

    async def _healthy(self, http: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="ok")

    async def _page(self, http: web.BaseRequest) -> web.StreamResponse:
        lines = "".join(f"…{one.tail}  {one.about}\n" for one in _TABLE)
        text = f"The last four digits of payBarCode choose what happens; others succeed.\n\n{lines}"
        return web.Response(text=text)

    async def _read(self, http: web.BaseRequest) -> Call:
        body = await http.read()
        self.bodies.append(msgspec.json.decode(body, type=dict[str, Any]))
        return msgspec.json.decode(body, type=Call)

    def _note(
        self, numbers: dict[str, Noted], number: str, amount: int, script: Script, ends: str
    ) -> None:
        known = numbers.get(number)
        if known is None and len(numbers) < NUMBERS_MAX:
            known = numbers[number] = Noted(amount, script, ends)
        if known is not None:
            known.calls += 1

    async def _reply(
        self, http: web.BaseRequest, answer: dict[str, Any], broken: str
    ) -> web.StreamResponse:
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        if broken == "hang":
            await asyncio.sleep(self.hang_s)
        if broken == "reset" and http.transport is not None:
            http.transport.abort()
        if broken == "html":
            return web.Response(text="<html>busy</html>", content_type="text/html")
        if broken == "http_500":
            return web.Response(status=500, text="down")
        if broken == "other_number":
            answer = answer | {"tractionNo": "1531820383201847"}
        if broken == "amount":
            answer |= {"payAmount": OTHER_FEN, "refundAmount": OTHER_FEN}
        if broken == "numbers":
            answer |= {name: int(answer[name]) for name in ("tractionNo", "thirdOrderNo")}
        if broken == "twice":
            body = msgspec.json.encode(answer).replace(b'"ret":', b'"ret":"failed","ret":')
            return web.Response(body=body, content_type="application/json")
        return _json(answer)

    def _notify(self, call: Call, times: int, ends: str) -> None:
        if not call.notify_url or not times:
            return
        said = self._said(call.traction_no, ends)
        pay = self.pays.get(call.traction_no)
        if pay is not None and pay.script.broken == "later_amount":
            said["payAmount"] = OTHER_FEN
        sending = self._send(call.notify_url, said, times)
        task = asyncio.create_task(sending)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _send(self, url: str, body: dict[str, Any], times: int) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        for _ in range(times):
            await asyncio.sleep(self.later_s)
            async with self._session.post(url, json=body) as answer:
                self.notified.append((answer.status, await answer.text()))

    def _said(self, number: str, ret: str) -> dict[str, Any]:
        ended = ret in {SUCCESS, FAILED}
        return {
            "tractionNo": number,
            "ret": ret,
            "thirdOrderNo": f"42{number}" if ended else "",
            "thirdErrorReason": "USER_REFUSED" if ret == FAILED else "",
            "tradeFinishedAt": (self.finished or beijing(datetime.now(UTC))) if ended else "",
        }


def _json(body: dict[str, Any]) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


async def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Component(host, port) as component:
        print(f"sandbox payment component on {component.url}/pay", flush=True)
        await stop.wait()
