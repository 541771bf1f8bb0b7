"""Partners: what they ask for, what they were answered, and what they were notified of."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from grpc import aio

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_kit.http.connection import Answered, NoAnswer
from tests.simulation.loop import Node, pause
from tests.simulation.network import HttpResult

if TYPE_CHECKING:
    from tests.simulation.system import System

YUAN: Final = 1_000_000
ENDED: Final = frozenset({0, 90, 91})
CHANNELS: Final = ("short", "hasty", *("test",) * 6)
# What partners answer with HTTP 200, and which of it takes the notify (000 §四.6).
OBJECTIONS: Final = (
    b"we have a problem", b'{"status":500}', b'{"status":0,"notify_msg":"no such order"}', b"",
    b'{"status":"0"}', b'{"data":"failed"}', b"[]",
)  # fmt: skip
AGREEMENTS: Final = (
    b"success", b'"success"', b"\xef\xbb\xbfSUCCESS\r\n", b'{"data":"success"}', b'{"status":200}',
    b'{"status":0,"notify_msg":"ok"}',
)  # fmt: skip
FACES: Final = ((200, 1), (200, 3), (100, 2), (400, 1))


@dataclass
class Wanted:
    """One order of one partner, and everything it was answered."""

    new: pb.NewOrder
    ids: set[int] = field(default_factory=set[int])
    accepted: bool = False
    status: int | None = None
    refused: set[str] = field(default_factory=set[str])
    refunds: list[str] = field(default_factory=list[str])


class Partners:
    """All partners of the world."""

    def __init__(self, system: System) -> None:
        self.system, self.random = system, system.random
        self.wanted: dict[tuple[str, str], Wanted] = {}
        self.notified: dict[tuple[str, str, str], list[tuple[int, bool]]] = {}
        self.refunds: dict[tuple[str, str], dict[str, Any]] = {}
        self.problems: list[str] = []
        self.cancelled: set[tuple[str, str]] = set()
        self.troubled = True
        self._count = 0

    # ------------------------------------------------------------ what they do
    def new_order(self) -> Wanted:
        """An order nobody has asked for yet."""
        self._count += 1
        face, num = FACES[self.random.randrange(len(FACES))]
        channel = CHANNELS[self.random.randrange(8)]
        request_no = f"r{self._count}"
        with_notify = self.random.randrange(10)
        new = pb.NewOrder(
            channel_no=channel,
            request_no=request_no,
            line_id=1,
            carrier_no="ZSH",
            invoice_type=1,
            num=num,
            face_micros=face * YUAN,
            amount_micros=num * face * YUAN * 9 // 10,
            notify_url=f"http://{channel}/notify" if with_notify else "",
            recharge_account="100011000000000",
        )
        wanted = self.wanted[channel, request_no] = Wanted(new)
        return wanted

    async def order(self, batch: list[Wanted]) -> None:
        """Ask for orders, again and again until they are answered."""
        node = self.system.caller
        request = pb.CreateOrdersRequest(orders=[one.new for one in batch])
        for _ in range(30):
            before = [one.status for one in batch]
            try:
                answer = await self.system.network.call(node, "order", "CreateOrders", request, 8.0)
            except aio.AioRpcError:  # whatever it was, a partner repeats
                await pause(node, 1.0 + self.random.random() * 4)
                continue
            for one, was, result in zip(batch, before, answer.results, strict=True):
                self._answered(one, was, result)
            if self.random.randrange(10):
                return

    def _answered(self, one: Wanted, was: int | None, result: Any) -> None:
        if result.HasField("refusal"):
            one.refused.add(result.refusal.reason)
            if one.accepted:
                self.problems.append(f"H2: {one.new.request_no} was taken, then refused")
            return
        one.accepted = True
        one.ids.add(result.order.order_id)
        if len(one.ids) > 1:
            self.problems.append(f"H2: {one.new.request_no} has the numbers {sorted(one.ids)}")
        if one.status == was:  # a partner asks twice at a time, and answers overtake each other
            self._saw(one, result.order.status)

    def _saw(self, one: Wanted, status: int) -> None:
        """H3: what one partner sees never goes back."""
        was, now = one.status, status if status in ENDED else 30
        if was in ENDED and now == 30:
            self.problems.append(f"H3: {one.new.request_no} went back from {was} to {status}")
        if was == 90 and now != 90:
            self.problems.append(f"H3: {one.new.request_no} had failed and is {status}")
        one.status = now

    async def query(self, batch: list[Wanted]) -> None:
        """Ask how orders stand."""
        node = self.system.caller
        accepted = [one.accepted for one in batch]
        request = pb.QueryOrdersRequest(
            keys=[
                pb.OrderKey(channel_no=one.new.channel_no, request_no=one.new.request_no)
                for one in batch
            ]
        )
        before = [one.status for one in batch]
        try:
            answer = await self.system.network.call(node, "order", "QueryOrders", request, 8.0)
        except aio.AioRpcError:  # a query says nothing when it fails
            return
        for one, was_accepted, was, result in zip(
            batch, accepted, before, answer.results, strict=True
        ):
            if result.HasField("refusal"):
                if was_accepted:
                    self.problems.append(f"H1/H5: {one.new.request_no} was taken and is not found")
            elif one.status == was:  # another answer may have overtaken this one
                one.ids.add(result.order.order_id)
                self._saw(one, result.order.status)

    async def refund(self, one: Wanted, asked: dict[str, int], kind: str) -> None:
        """Ask for refunds by number, at once, until they are answered."""
        node = self.system.caller
        news = [
            pb.NewRefund(
                channel_no=one.new.channel_no,
                request_no=one.new.request_no,
                refund_no=refund_no,
                refund_num=num,
                notify_url=f"http://{one.new.channel_no}/refund",
                type=kind,
            )
            for refund_no, num in asked.items()
        ]
        for _ in range(30):
            try:
                request = pb.CreateRefundsRequest(refunds=news)
                answer = await self.system.network.call(
                    node, "order", "CreateRefunds", request, 8.0
                )
            except aio.AioRpcError:  # whatever it was, a partner repeats
                await pause(node, 1.0 + self.random.random() * 4)
                continue
            for new, result in zip(news, answer.results, strict=True):
                if result.HasField("refund"):
                    self._refunded(one, new, result.refund.request)
            if self.random.randrange(5):
                return

    def _refunded(self, one: Wanted, new: pb.NewRefund, stored: pb.NewRefund) -> None:
        one.refunds.append(new.refund_no)
        if stored.refund_num != new.refund_num:
            asked = f"{new.refund_num} of {new.refund_no} were asked for"
            self.problems.append(f"H2: {asked}, taken were {stored.refund_num}")

    # ------------------------------------------------------------ what they hear
    async def serve(self, node: Node, body: bytes) -> HttpResult:
        """A notify."""
        await pause(node, self.system.network.beat_s(2))
        told = json.loads(body)
        roll = self.random.randrange(100) if self.troubled else 100
        taken = roll >= 25
        key = (told["channel_no"], told["request_no"], str(told.get("refund_no", "")))
        self.notified.setdefault(key, []).append((int(told["status"]), taken))
        if roll < 6:
            return NoAnswer("timeout")
        if roll < 12:
            return Answered(500, {}, b"oops")
        words = OBJECTIONS if roll < 25 else AGREEMENTS
        return Answered(200, {}, words[self.random.randrange(len(words))])
