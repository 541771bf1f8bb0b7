"""One order from request to notify, placed by HTTP, followed by gRPC, printed for people."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import aiohttp
import orjson

from shoudan.order.v1 import order_service_pb2 as order_pb
from shoudan.order.v1 import order_service_pb2_grpc as order_grpc
from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_grpc
from shoudan_cli.clients import Clients, Failed
from shoudan_kit.money import micros_to_yuan

# The example of 000 §四.1.2, without its host.
EXAMPLE: Final = (
    "/order/request?channel_no=test&request_no=test1200001&line_id=1&carrier_no=ZSH&invoice_type=1"
    "&num=1&face=200&amount=198&notify_url=http://xxx.com/recv&rechage_account=100011000000000"
)
# An order of each channel of the demonstration, as a person may type it.
TRIED: Final = {
    "test": "line_id=1&carrier_no=ZSH&invoice_type=1&num=1&face=200&amount=198"
    "&rechage_account=100011000000000",
    "ycdown": "line_id=1&carrier_no=ZSH&province_no=CQ&invoice_type=1&num=1&face=200&amount=180"
    "&rechage_account=100011000000000",
}
POLL_S: Final = 0.02
WAIT_S: Final = 30.0
NOTIFIED, UP_PAID = 0, True


@dataclass(frozen=True, slots=True)
class Life:
    """What happened, in seconds after the request."""

    url: str
    answer: dict[str, Any]
    answered_s: float
    moments: list[tuple[float, str, str]]
    balance_before_micros: int
    balance_after_micros: int
    query: dict[str, Any]
    notify: dict[str, Any]


def example(request_no: str, notify_url: str) -> str:
    """The document's own request; only the number and the receiver of the notify are given anew."""
    path, _, query = EXAMPLE.partition("?")
    values = dict(parse_qsl(query))
    values["request_no"] = request_no
    values["notify_url"] = notify_url
    return f"{path}?{urlencode(values, safe=':/')}"


def commands(gateway_url: str) -> dict[str, str]:
    """By channel, a command that places an order of it; its number is new each time it is run."""
    place = f"{gateway_url}/order/request?request_no=t$(date +%s%N)"
    return {one: f'curl -sS "{place}&channel_no={one}&{rest}"' for one, rest in TRIED.items()}


async def watch(
    clients: Clients, gateway_url: str, sandbox_url: str, show: Callable[[str], None]
) -> Life:
    """Place the example order and wait for its whole life. Raises Failed when a part of it is missing."""
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=WAIT_S), trust_env=False
    ) as http:
        request_no = await _fresh(clients)
        inbox = f"{sandbox_url}/inbox/test"
        url = gateway_url + example(request_no, inbox)
        before = await _balance(clients)
        show(f"GET {url}")
        began, wall = time.perf_counter(), time.time()
        answer = await _get(http, url)
        answered_s = time.perf_counter() - began
        show(f"  {_json(answer)}   {answered_s * 1000:.1f} ms")
        order = await _ended(clients, request_no)
        notify = await _letter(http, inbox, request_no)
        query = await _get(
            http, f"{gateway_url}/order/query?channel_no=test&request_no={request_no}"
        )
        return Life(
            url=url,
            answer=answer,
            answered_s=answered_s,
            moments=await _moments(clients, order, wall),
            balance_before_micros=before,
            balance_after_micros=await _balance(clients),
            query=query,
            notify=notify,
        )


async def _fresh(clients: Clients) -> str:
    """The document's own request_no, or on a system that has it already one that is new."""
    first = "test1200001"
    return first if await _find(clients, first) is None else f"test{time.time_ns() // 1000}"


async def _find(clients: Clients, request_no: str) -> order_pb.Order | None:
    key = order_pb.OrderKey(channel_no="test", request_no=request_no)
    try:
        answer = await clients.call(
            "order", order_grpc.OrderServiceStub, "GetOrder", order_pb.GetOrderRequest(key=key)
        )
    except Failed as error:
        if "ORDER_NOT_FOUND" in str(error):
            return None
        raise
    return answer.order


async def _ended(clients: Clients, request_no: str) -> order_pb.Order:
    """The order once it is final, its supplier paid and its partner notified."""
    deadline = time.monotonic() + WAIT_S
    while True:
        order = await _find(clients, request_no)
        if order is not None and order.up_paid and order.notify_status == NOTIFIED:
            return order
        if time.monotonic() > deadline:
            raise Failed(f"the order did not end in {WAIT_S:g} s: {_state(order)}")
        await asyncio.sleep(POLL_S)


def _state(order: order_pb.Order | None) -> str:
    if order is None:
        return "it was never stored"
    return (
        f"status {order.state.status}, payment {order.payment_status}, "
        f"bind {order.delivery_bind_status}, notify {order.notify_status}, up paid {order.up_paid}"
    )


async def _moments(
    clients: Clients, order: order_pb.Order, wall: float
) -> list[tuple[float, str, str]]:
    message = order_pb.GetLifecycleRequest(order_id=order.state.order_id)
    answer = await clients.call("order", order_grpc.OrderServiceStub, "GetLifecycle", message)
    return [
        (one.time.ToNanoseconds() / 1e9 - wall, one.tag or _short(one.subject), one.text)
        for one in answer.moments
    ]


def _json(answer: dict[str, Any]) -> str:
    """An answer as the partner reads it."""
    return orjson.dumps(answer).decode()


def _short(subject: str) -> str:
    """What happened, of a subject like shoudan.events.pay.ledger.posted."""
    return ".".join(subject.rsplit(".", 2)[1:])


async def _balance(clients: Clients) -> int:
    key = pay.AccountKey(ident="oms", groups="down_channel", eid="test")
    message = pay.GetAccountRequest(key=key)
    answer = await clients.call("pay", pay_grpc.LedgerServiceStub, "GetAccount", message)
    return answer.account.balance_micros


async def _get(http: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    try:
        async with http.get(url, headers={"Accept": "application/json"}) as response:
            found: dict[str, Any] = await response.json(content_type=None)
            if response.status != 200:
                raise Failed(f"HTTP {response.status}: {found}")
            return found
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Failed(f"{url.partition('?')[0]}: {type(error).__name__} {error}") from None


async def _letter(http: aiohttp.ClientSession, inbox: str, request_no: str) -> dict[str, Any]:
    """The notify as the inbox received it."""
    deadline = time.monotonic() + WAIT_S
    while True:
        for letter in reversed((await _get(http, f"{inbox}?format=json"))["letters"]):
            if f'"{request_no}"' in letter["body"]:
                return letter
        if time.monotonic() > deadline:
            raise Failed("the notify did not reach the inbox")
        await asyncio.sleep(POLL_S)


def lines(life: Life) -> list[str]:
    """The life for people, one line each."""
    shown = [f"  {at:8.3f} s  {tag:<12} {text}" for at, tag, text in life.moments]
    before, after = life.balance_before_micros, life.balance_after_micros
    shown.append(
        f"  balance of test: {micros_to_yuan(before)} → {micros_to_yuan(after)} 元 "
        f"({micros_to_yuan(after - before)})"
    )
    shown.append(f"  notify {life.notify['method']} {life.notify['body']}  → success")
    shown.append(f"  GET /order/query → {_json(life.query)}")
    return shown
