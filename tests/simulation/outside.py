"""The outside world: suppliers with their own journals, and partners who order, ask, refund and listen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from grpc import aio

from shoudan.delivery.v1 import delivery_service_pb2 as delivery_pb
from shoudan_kit.http.connection import Answered, NoAnswer, NotSent
from shoudan_kit.money import micros_to_yuan, yuan_to_micros
from tests.simulation.loop import Node, pause
from tests.simulation.network import HttpResult, Network

SUCCESS: Final = "R_0000"
FAILURE: Final = "R_5124"
PENDING: Final = "R_5064"
NO_SUCH_ORDER: Final = "R_4040"
HEADERS: Final = {"content-type": "application/json"}

# What a supplier does with an order, in thousandths; the rest succeeds at once.
BEHAVIOURS: Final = (
    ("fails", 120),
    ("late", 110),
    ("late failure", 40),
    ("answer lost", 60),
    ("request lost", 40),
    ("rubbish", 30),
    ("refused connection", 30),
    ("contradicts", 30),
    ("another number", 15),
    ("another amount", 20),
    ("never ends", 15),
    ("another cost", 60),
    ("absurd cost", 30),
)


@dataclass
class Entry:
    """What a supplier did with one number: the only witness of it."""

    behaviour: str
    amount: str
    received: int = 0
    fulfilled: int = 0
    ended: bool | None = None  # how, once it has
    said: list[bool] = field(
        default_factory=list[bool]
    )  # every end it stated about the right amount
    taken: list[bool] = field(default_factory=list[bool])  # those that were acknowledged
    cost_micros: int | None = None
    ends_at: float = 0.0
    is_return: bool = False


class Supplier:
    """A supplier that is not idempotent: what arrives twice is delivered twice."""

    def __init__(self, channel_no: str, network: Network, random: Random) -> None:
        self.channel_no, self._network, self._random = channel_no, network, random
        self.journal: dict[str, Entry] = {}
        self.troubled = True
        self.watch: Callable[[str, Entry], None] = lambda number, entry: None

    def _behaviour(self) -> str:
        roll = self._random.randrange(1000)
        for name, share in BEHAVIOURS if self.troubled else ():
            roll -= share
            if roll < 0:
                return name
        return "succeeds"

    async def serve(self, node: Node, body: bytes) -> HttpResult:
        """A request or a query."""
        asked = json.loads(body)
        number = str(asked["order_no"])
        if "amount" in asked:
            return await self._request(node, number, asked)
        return await self._query(node, number)

    async def _request(self, node: Node, number: str, asked: dict[str, Any]) -> HttpResult:
        entry = self.journal.get(number)
        behaviour = entry.behaviour if entry else self._behaviour()
        if behaviour == "refused connection":
            if self._random.randrange(3):
                return NotSent("connection refused")
            behaviour = "succeeds"
        if entry is None:
            entry = self.journal[number] = Entry(behaviour, asked["amount"])
            entry.is_return = asked["service_class"] == 21
        if behaviour == "request lost":
            return NoAnswer("reset")
        entry.received += 1
        now = self._network.loop.now
        entry.ends_at = now
        if behaviour in {"late", "late failure"}:
            entry.ends_at = now + self._random.choice((1.0, 20.0, 200.0, 400.0, 900.0))
        elif behaviour == "never ends":
            entry.ends_at = now + 10**9
        self._network.loop.add(entry.ends_at, None, self._end, (number, entry), None)
        await pause(node, self._network.beat_s(3))
        return self._answer(number, entry)

    def _end(self, number: str, entry: Entry) -> None:
        """It is done now, whoever listens."""
        entry.ended = entry.behaviour not in {"fails", "late failure"}
        if entry.ended:
            entry.fulfilled += 1
        self.watch(number, entry)
        if entry.behaviour in {"late", "late failure", "answer lost"} or not self._random.randrange(
            4
        ):
            self._notify_later(number, entry, entry.ended)
            if not self._random.randrange(3):
                self._notify_later(number, entry, entry.ended)
        if entry.behaviour == "contradicts":
            self._notify_later(number, entry, not entry.ended, after_s=5.0)

    def _answer(self, number: str, entry: Entry) -> HttpResult:
        match entry.behaviour:
            case "answer lost":
                return NoAnswer("timeout")
            case "rubbish":
                return Answered(200, HEADERS, b"<html>bad gateway</html>")
            case "late" | "late failure" | "never ends":
                return self._says(number, entry, None)
            case "another number":
                return Answered(200, HEADERS, self._body("1", entry, True))
            case "another amount":
                return Answered(200, HEADERS, self._body(number, entry, True, amount="0.01"))
            case "fails":
                return self._says(number, entry, False)
            case _:
                return self._says(number, entry, True)

    def _says(self, number: str, entry: Entry, succeeded: bool | None) -> HttpResult:
        if succeeded is not None:
            entry.said.append(succeeded)
        return Answered(200, HEADERS, self._body(number, entry, succeeded))

    def _body(
        self, number: str, entry: Entry, succeeded: bool | None, *, amount: str = ""
    ) -> bytes:
        code = PENDING if succeeded is None else (SUCCESS if succeeded else FAILURE)
        said = {"order_no": number, "code": code, "amount": amount or entry.amount}
        if succeeded:
            said["up_order_no"] = f"u{number}"
            if entry.behaviour in {"another cost", "absurd cost"} and not entry.is_return:
                whole = yuan_to_micros(entry.amount) * 8 // 10
                factor = 1_004_000 if entry.behaviour == "another cost" else 3_000_000
                entry.cost_micros = whole * factor // 1_000_000 // 10 * 10
                said["data"] = {"cost_amount": micros_to_yuan(entry.cost_micros)}
        return json.dumps(said).encode()

    async def _query(self, node: Node, number: str) -> HttpResult:
        await pause(node, self._network.beat_s(3))
        if self.troubled and not self._random.randrange(10):
            return NoAnswer("timeout")
        entry = self.journal.get(number)
        if entry is None or not entry.received:
            return Answered(
                200, HEADERS, json.dumps({"order_no": number, "code": NO_SUCH_ORDER}).encode()
            )
        return self._says(number, entry, entry.ended)

    # ------------------------------------------------------------ notifies
    def _notify_later(
        self, number: str, entry: Entry, succeeded: bool, *, after_s: float = 0.0
    ) -> None:
        wait_s = after_s + self._network.beat_s(12)
        loop = self._network.loop
        loop.add(loop.now + wait_s, None, self._notify, (number, entry, succeeded, 0), None)

    def _notify(self, number: str, entry: Entry, succeeded: bool, count: int) -> None:
        node = CALLER[0]
        entry.said.append(succeeded)
        node.spawn(self._send(node, number, entry, succeeded, count))

    async def _send(
        self, node: Node, number: str, entry: Entry, succeeded: bool, count: int
    ) -> None:
        request = delivery_pb.TakeNotifyRequest(
            channel_no=self.channel_no,
            service_class=21 if entry.is_return else 10,
            method="POST",
            body=self._body(number, entry, succeeded),
            remote_ip="10.1.2.3",
            query="",
        )
        try:
            await self._network.call(node, "delivery", "TakeNotify", request, 5.0)
            entry.taken.append(succeeded)
        except aio.AioRpcError:  # a supplier repeats for whatever reason
            if count < 20:
                loop = self._network.loop
                again = (number, entry, succeeded, count + 1)
                loop.add(loop.now + 10.0, None, self._notify, again, None)


# The process that stands for whatever is outside and calls in: it never dies.
CALLER: Final[list[Node]] = []
