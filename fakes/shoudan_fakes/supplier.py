"""The sandbox supplier: answers deliveries by script, queries by its journal, and notifies."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from hmac import compare_digest
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from shoudan_fakes import cards
from shoudan_fakes.choices import Choice, Choices, Knobs
from shoudan_fakes.journal import Entry, Journal, Line
from shoudan_fakes.scripts import (
    CODE_FAILED,
    CODE_NO_SUCH_ORDER,
    CODE_OK,
    CODE_UNKNOWN,
    CODE_UNLISTED,
    SCRIPTS,
    Answer,
    Fate,
    Script,
    script_of,
)
from shoudan_fakes.wire import Query, Reply, Request, signature

ORDERS_MAX = 2_000_000  # about 300 bytes each
BACKGROUND_MAX = 20_000  # notifies and late fulfilments under way
LISTED_MAX = 100
GOODS_MAX = 10_000
NOTIFY_TRIES_MAX = 3
NOTIFY_TIMEOUT_S = 5.0

ENDS = {Fate.FULFILLED: "fulfilled", Fate.FAILED: "failed"}
JSON = {"Content-Type": "application/json; charset=utf-8"}


class Goods(msgspec.Struct):
    """One product as it is sold here: yuan, and units left."""

    product: str
    price: str
    stock: str


class PriceChange(msgspec.Struct):
    """Products to change, and where to send that; without `version` the time is one."""

    notify_url: str
    channel_no: str
    products: list[Goods]
    version: str = ""


class Supplier:
    """One supplier for any number of channels; the channel is named in the request."""

    def __init__(self, journal: Journal, secret: bytes = b"") -> None:
        self.journal = journal
        self.secret = secret
        self.knobs: dict[str, Knobs] = {"*": Knobs()}
        self.choices = Choices(self.knobs)
        self.goods: dict[str, Goods] = {}
        self._requests = msgspec.json.Decoder(Request).decode
        self._queries = msgspec.json.Decoder(Query).decode
        self._encode = msgspec.json.Encoder().encode
        self._background: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._lost: set[str] = set()
        # What was asked of vouchers, whose cards are given again on query. Gone with the process.
        self._vouchers: dict[str, tuple[Request, Script]] = {}
        self.in_flight = 0
        self.in_flight_most = 0
        self.queries = 0

    def routes(self) -> dict[str, Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]]:
        """Path to handler."""
        return {
            "/supplier/request": self.request,
            "/supplier/query": self.query,
            "/supplier/journal": self.show_journal,
            "/supplier/knobs": self.turn,
            "/supplier/choices": self.choose,
            "/supplier/prices": self.prices,
        }

    async def aclose(self) -> None:
        """Stop notifying, close the connections."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _knobs(self, channel_no: str) -> Knobs:
        return self.knobs.get(channel_no) or self.knobs["*"]

    # ------------------------------------------------------------ a delivery
    async def request(self, http: web.BaseRequest) -> web.StreamResponse:
        """Take one delivery: fulfil by script, note it on disk, answer by script."""
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight_most, self.in_flight)
        try:
            body = await http.read()
            try:
                asked = self._requests(body)
            except msgspec.DecodeError as error:
                return web.Response(status=400, text=f"bad request: {error}")
            if self.secret and not self._signed(body):
                return web.Response(status=403, text="bad signature")
            return await self._deliver(http, asked)
        finally:
            self.in_flight -= 1

    def _signed(self, body: bytes) -> bool:
        fields: dict[str, Any] = msgspec.json.decode(body)
        return compare_digest(str(fields.get("sign", "")), signature(fields, self.secret))

    async def _deliver(self, http: web.BaseRequest, asked: Request) -> web.StreamResponse:
        knobs = self._knobs(asked.channel_no)
        script = self.choices.of(asked.order_id, asked.account) or SCRIPTS.get(knobs.script)
        script = script or script_of(asked.account, asked.service_class)
        if knobs.down or len(self.journal.entries) >= ORDERS_MAX:
            return web.Response(status=503, text="the sandbox supplier is down or full")
        if asked.service_class == cards.CLASS:
            self._vouchers[asked.order_no] = asked, script
        if script.fate is Fate.LOST_ONCE and asked.order_no not in self._lost:
            self._lost.add(asked.order_no)
            return _reset(http)
        if script.late:
            self._later(self._fulfil_late(asked, script, knobs))
            await asyncio.sleep(knobs.late_s)
        else:
            await self._fulfil(asked, script, knobs)
            wait_s = knobs.slow_s if script.slow else knobs.latency_s
            if wait_s > 0:
                await asyncio.sleep(wait_s)
        for _ in range(script.notifies_before):
            await self._notify(asked, 0)
        if script.notifies_after and not script.late:
            for _ in range(script.notifies_after):
                self._later(self._notify(asked, knobs.notify_after_s))
        return self._answer(http, asked, script)

    async def _fulfil(self, asked: Request, script: Script, knobs: Knobs) -> None:
        """Do what the script says, once for each number unless a knob says otherwise."""
        entry = self.journal.entries.get(asked.order_no)
        attempt = 1 if entry is None else entry.attempts + 1
        effect = self._effect(asked, script, entry, knobs)
        await self.journal.write(_line(asked, script, attempt, effect))

    def _effect(self, asked: Request, script: Script, entry: Entry | None, knobs: Knobs) -> str:
        ended = entry is not None and (entry.fulfilled or entry.failed)
        if (ended and knobs.idempotent) or script.fate is Fate.NEVER:
            return "none"
        if script.fate is Fate.FIRST_ONLY:
            first = not self.journal.deliveries_of.get(asked.order_id or asked.order_no)
            return "fulfilled" if first else "failed"
        return "failed" if script.fate is Fate.FAILED else "fulfilled"

    async def _fulfil_late(self, asked: Request, script: Script, knobs: Knobs) -> None:
        """Apart from the request, because the caller's hanging up must not stop it."""
        known = self.journal.entries.get(asked.order_no)
        attempt = 1 if known is None else known.attempts + 1
        await self.journal.write(_line(asked, script, attempt, "none"))
        await asyncio.sleep(knobs.late_s)
        entry = self.journal.entries[asked.order_no]
        if not entry.fulfilled:
            await self.journal.write(_line(asked, script, entry.attempts, "fulfilled"))
        await self._notify(asked, knobs.notify_after_s)

    def _answer(self, http: web.BaseRequest, asked: Request, script: Script) -> web.StreamResponse:
        match script.answer:
            case Answer.RESET:
                return _reset(http)
            case Answer.HTML:
                return web.Response(text="<html><body>ok</body></html>", content_type="text/html")
            case Answer.HTTP_500:
                return web.Response(status=500, text="internal error")
            case Answer.UNKNOWN:
                reply = Reply(asked.order_no, CODE_UNKNOWN, "in progress")
            case Answer.UNLISTED:
                reply = Reply(asked.order_no, CODE_UNLISTED, "an unlisted code")
            case Answer.FAILED:
                reply = Reply(asked.order_no, CODE_FAILED, "refused")
            case _:
                reply = self._truth(asked.order_no, first=True)
        if script.answer is Answer.WRONG_AMOUNT:
            reply.amount = f"1{reply.amount}"
        if script.answer is Answer.WRONG_NUMBER:
            reply.order_no = f"{asked.order_no}0"
        body = self._encode(reply)
        if script.answer is Answer.CUT:
            body = body[: len(body) // 2]
        return web.Response(body=body, headers=JSON)

    def _truth(self, order_no: str, *, first: bool = False) -> Reply:
        """What the journal says about a number; `first`: in the answer to its request."""
        entry = self.journal.entries.get(order_no)
        if entry is None:
            return Reply(order_no, CODE_NO_SUCH_ORDER, "no such order")
        if entry.fulfilled:
            reply = Reply(order_no, CODE_OK, "success", f"S{order_no}", entry.amount)
            if voucher := self._vouchers.get(order_no):
                asked, script = voucher
                cards.add(reply, asked, script.cards, first=first)
            return reply
        if entry.failed:
            return Reply(order_no, CODE_FAILED, "refused", f"S{order_no}")
        return Reply(order_no, CODE_UNKNOWN, "in progress", f"S{order_no}")

    # ------------------------------------------------------------ questions
    async def query(self, http: web.BaseRequest) -> web.StreamResponse:
        """Tell how a number ended, unless its script stays silent for ever."""
        body = await http.read()
        self.queries += 1
        try:
            asked = self._queries(body)
        except msgspec.DecodeError as error:
            return web.Response(status=400, text=f"bad query: {error}")
        if self.secret and not self._signed(body):
            return web.Response(status=403, text="bad signature")
        knobs = self._knobs(asked.channel_no)
        if knobs.down:
            return web.Response(status=503, text="the sandbox supplier is down")
        await self._end_as_chosen(asked.order_no)
        return web.Response(body=self._encode(self._truth(asked.order_no)), headers=JSON)

    async def _end_as_chosen(self, order_no: str) -> None:
        """What hangs ends as a person has chosen for its order since."""
        entry = self.journal.entries.get(order_no)
        if entry is None or entry.fulfilled or entry.failed or not entry.order_id:
            return
        script = self.choices.of(entry.order_id, "")
        effect = ENDS.get(script.fate) if script and not script.late else None
        if script is None or effect is None:
            return
        line = Line(
            time.time(), order_no, entry.channel_no, 0, entry.order_id, entry.amount, script.tail,
            entry.attempts, effect,
        )  # fmt: skip
        await self.journal.write(line)

    async def show_journal(self, http: web.BaseRequest) -> web.StreamResponse:
        """The journal in numbers; `?order_no=` shows one number."""
        journal = self.journal
        if order_no := http.query.get("order_no"):
            entry = journal.entries.get(order_no)
            if entry is None:
                return web.Response(status=404, text="no such order")
            return web.Response(body=self._encode(entry), headers=JSON)
        body = {
            "path": str(journal.path),
            "orders": len(journal.entries),
            "attempts": journal.attempts,
            "fulfilled": journal.fulfilled,
            "failed": journal.failed,
            "fulfilled_twice": sorted(journal.twice)[:LISTED_MAX],
            "fulfilled_twice_count": len(journal.twice),
            "asked_again": sorted(journal.asked_again)[:LISTED_MAX],
            "asked_again_count": len(journal.asked_again),
            "in_flight": self.in_flight,
            "in_flight_most": self.in_flight_most,
            "queries": self.queries,
        }
        return web.Response(body=self._encode(body), headers=JSON)

    async def turn(self, http: web.BaseRequest) -> web.StreamResponse:
        """GET shows the knobs; POST {"latency_s": 0.5} sets those of `?channel_no=` (default "*")."""
        channel_no = http.query.get("channel_no", "*")
        if http.method == "POST":
            now = msgspec.to_builtins(self._knobs(channel_no))
            try:
                given = msgspec.json.decode(await http.read(), type=dict[str, Any])
                self.knobs[channel_no] = msgspec.convert(now | given, Knobs)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                return web.Response(status=400, text=str(error))
        return web.Response(body=self._encode(self.knobs), headers=JSON)

    async def choose(self, http: web.BaseRequest) -> web.StreamResponse:
        """GET shows scripts and what was chosen; POST {"kind": "order", "key": …, "script": …} chooses."""
        if http.method == "POST":
            try:
                choice = msgspec.json.decode(await http.read(), type=Choice)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                return web.Response(status=400, text=str(error))
            if mistake := self.choices.choose(choice):
                return web.Response(status=400, text=mistake)
        return web.Response(body=self._encode(self.choices.shown()), headers=JSON)

    # ------------------------------------------------------------ prices
    async def prices(self, http: web.BaseRequest) -> web.Response:
        """GET answers a price call; POST changes products and notifies of them once, with a new version."""
        if http.method != "POST":
            goods = [
                {"sku": one.product, "price": yuan_in_fen(one.price), "stock": one.stock}
                for one in self.goods.values()
            ]
            return web.Response(body=self._encode({"data": {"goods": goods}}), headers=JSON)
        try:
            asked = msgspec.json.decode(await http.read(), type=PriceChange)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return web.Response(status=400, text=str(error))
        if len(self.goods) + len(asked.products) > GOODS_MAX:
            return web.Response(status=503, text="the sandbox supplier is full")
        self.goods |= {one.product: one for one in asked.products}
        fields: dict[str, Any] = {
            "channel_no": asked.channel_no,
            "timestamp": int(time.time()),
            "products": [
                msgspec.to_builtins(one) | {"version": asked.version or str(time.time_ns() // 1000)}
                for one in asked.products
            ],
        }
        if self.secret:
            fields["sign"] = signature(fields, self.secret)
        session = self._opened()
        async with session.post(
            asked.notify_url, data=self._encode(fields), headers=JSON, allow_redirects=False
        ) as answer:
            return web.Response(status=answer.status, body=await answer.read())

    # ------------------------------------------------------------ notifies
    def _later(self, work: Any) -> None:
        if len(self._background) >= BACKGROUND_MAX:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=NOTIFY_TIMEOUT_S), trust_env=False
            )
        return self._session

    async def _notify(self, asked: Request, after_s: float) -> None:
        """POST the truth to the notify URL until it answers `success`, a few times at most."""
        if not asked.notify_url:
            return
        session = self._opened()
        reply = self._truth(asked.order_no)
        reply.channel_no, reply.timestamp = asked.channel_no, int(time.time())
        if self.secret:
            reply.sign = signature(msgspec.to_builtins(reply), self.secret)
        body = self._encode(reply)
        for _ in range(NOTIFY_TRIES_MAX):
            await asyncio.sleep(after_s)
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.post(
                    asked.notify_url, data=body, headers=JSON, allow_redirects=False
                ) as answer:
                    if answer.status == 200 and (await answer.read()).strip() == b"success":
                        return
            after_s = max(after_s, 0.2)


def yuan_in_fen(price: str) -> int:
    """`98.5` as 9850; a test's own numbers have no more decimals."""
    whole, _, rest = price.partition(".")
    return int(whole or "0") * 100 + int(f"{rest}00"[:2])


def _line(asked: Request, script: Script, attempt: int, effect: str) -> Line:
    return Line(
        time=time.time(),
        order_no=asked.order_no,
        channel_no=asked.channel_no,
        service_class=asked.service_class,
        order_id=asked.order_id,
        amount=asked.amount,
        tail=script.tail,
        attempt=attempt,
        effect=effect,
    )


def _reset(http: web.BaseRequest) -> web.StreamResponse:
    """Cut the connection; the response object is never sent."""
    if http.transport is not None:
        http.transport.abort()
    return web.Response(status=500)
