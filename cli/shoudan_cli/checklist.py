"""`shoudan partner checklist`: whether a channel is ready to go live, by what it has called and taken."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import aiohttp
import typer

from shoudan_cli.channel_calls import ChannelCalls, key_of
from shoudan_cli.clients import Failed, console, run, settings
from shoudan_kit.clock import beijing
from shoudan_signing import webhooks

OK: Final = 200
PAGE: Final = 500
PAGES_MAX: Final = 100
PROBE_S: Final = 10
ANSWER_BYTES: Final = 1024
ORDERS_MAX: Final = 20  # whose notifies are looked at
V2: Final = "HMAC-SHA256-V2"
OWN: Final = frozenset(
    {"/balance/query", "/request/list", "/notify/list"}
)  # what the list itself calls


class Point(NamedTuple):
    """One point of the list; `seen`: what shows it, or what is missing."""

    name: str
    zh: str
    en: str
    done: bool
    seen: str


class Call(NamedTuple):
    """A call that was let in, as the request log has it."""

    path: str
    status: int
    params: Mapping[str, str]
    request_id: str


async def observed(calls: ChannelCalls, hours: int) -> tuple[list[Call], list[dict[str, Any]]]:
    """What the channel has called in the last so many hours, and the notifies of its newest orders."""
    now = datetime.now(UTC)
    period = {
        "start_time": beijing(now - timedelta(hours=hours)),
        "end_time": beijing(now + timedelta(minutes=1)),
    }
    found: list[Call] = []
    page = ""
    for _ in range(PAGES_MAX):
        more = {"page": page} if page else {}
        body = await calls.asked("/request/list", page_size=PAGE, **period, **more)
        found += [
            Call(one["path"], one["http_status"], one["params"], one["request_id"])
            for one in body["requests"]
            if one["admitted"]
        ]
        page = body["next_page"]
        if not page:
            break
    return found, [one async for one in _notifies(calls, found)]


async def _notifies(calls: ChannelCalls, found: Sequence[Call]) -> AsyncIterator[dict[str, Any]]:
    numbers = [
        one.params["request_no"]
        for one in reversed(found)
        if one.path == "/order/request" and one.status == OK and one.params.get("notify_url")
    ]
    for number in list(dict.fromkeys(numbers))[:ORDERS_MAX]:
        status, body = await calls.get("/notify/list", request_no=number)
        for one in body["notifies"] if status == OK else ():
            yield one


async def probe(url: str) -> bool:
    """Whether a receiver turns down a notify that is signed wrongly. Raises Failed where none answers."""
    body = b'{"channel_no": "probe", "request_no": "probe", "order_id": "0", "status": 0}'
    wrong = webhooks.signed([secrets.token_hex(16)], "msg_probe", int(time.time()), body)
    headers = {**wrong, "Content-Type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=PROBE_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as http,
            http.post(url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            text = (await answer.content.read(ANSWER_BYTES)).strip().lower()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Failed(f"{url}: {error or type(error).__name__}") from None
    return answer.status != OK or text != b"success"


def judged(
    calls: Sequence[Call], notifies: Sequence[Mapping[str, Any]], refused: bool | None = None
) -> list[Point]:
    """The list, each point by what was seen of it; `refused`: whether a probe was, None without one."""
    taken = [one for one in calls if one.status == OK]
    acked = [one for one in notifies if one["notify_status"] == "ACKNOWLEDGED"]
    return [
        _point("signature", "签名（第二版）", "calls are signed, in the second version",
               [one.request_id for one in taken
                if one.params.get("sign_type") == V2 and one.path not in OWN],
               "no signed call: auth_mode hmac2"),
        _point("idempotency", "幂等：同一编号重复提交", "an order was sent twice with one number",
               _twice(taken), "send /order/request again with the same request_no"),
        _point("unknown", "结果未知时查询", "an order was queried",
               [one.request_id for one in taken if one.path == "/order/query"],
               "no /order/query"),
        _point("notify", "通知已确认", "a notify was acknowledged",
               [one["notify_id"] for one in acked], "no acknowledged notify"),
        _point("verification", "验签：拒绝过签名错误的通知", "a notify with a wrong signature was refused",
               ["the probe was refused"] if refused else [],
               "--probe sends one that is signed wrongly" if refused is None
               else "a wrong signature was acknowledged"),
        _point("refund", "退款", "a refund was asked for and queried, or its notify taken",
               _refunds(taken, acked), "no /refund/general with its end"),
        _point("cancel", "撤单", "a cancel was tried",
               [one.request_id for one in taken if one.path == "/order/cancel"], "no /order/cancel"),
        _point("reconciliation", "对账", "bills were asked for",
               [one.request_id for one in taken if one.path.startswith("/bill/")],
               "no /bill/trade, no /bill/fund"),
    ]  # fmt: skip


def _point(name: str, zh: str, en: str, seen: Iterable[str], missing: str) -> Point:
    first = next(iter(seen), "")
    return Point(name, zh, en, bool(first), first or missing)


def _twice(taken: Sequence[Call]) -> list[str]:
    seen: set[str] = set()
    again: list[str] = []
    for one in taken:
        number = one.params.get("request_no", "")
        if one.path == "/order/request":
            again += [one.request_id] if number in seen else []
            seen.add(number)
    return again


def _refunds(taken: Sequence[Call], acked: Sequence[Mapping[str, Any]]) -> list[str]:
    asked = {one.params.get("refund_no", "") for one in taken if one.path.startswith("/refund/g")}
    queried = [
        one.request_id
        for one in taken
        if one.path == "/refund/query" and one.params.get("refund_no") in asked
    ]
    return queried + [one["notify_id"] for one in acked if one["refund_no"] in asked]


def checklist(
    channel: Annotated[str, typer.Argument(help="Number of the channel.")],
    key_file: Annotated[
        Path | None,
        typer.Option(help="File of its secret; SHOUDAN_SIGN_KEY without it, else unsigned."),
    ] = None,
    url: Annotated[str, typer.Option(help="Gateway; of the system that is meant.")] = "",
    hours: Annotated[int, typer.Option(help="Of the last so many.", min=1, max=672)] = 24,
    send_probe: Annotated[
        bool, typer.Option("--probe", help="Send a wrongly signed notify to its newest notify_url.")
    ] = False,
) -> None:
    """Whether a channel is ready to go live, by what it has called; exit code 1 while a point is open."""
    found = settings(gateway_url=url.rstrip("/"))
    points = run(lambda: _looked(found.gateway_url, channel, key_of(key_file), hours, send_probe))
    for one in points:
        mark = "✔" if one.done else "✘"
        console.print(f"{mark} {one.zh} · {one.en}: {one.seen}", markup=False, highlight=False)
    if not all(one.done for one in points):
        raise typer.Exit(1)


async def _looked(url: str, channel: str, key: bytes, hours: int, send_probe: bool) -> list[Point]:
    async with ChannelCalls(url, channel, key) as calls:
        await calls.asked(
            "/balance/query"
        )  # a channel that is none has no log, and would look unready
        made, notifies = await observed(calls, hours)
    refused = await probe(notifies[0]["notify_url"]) if send_probe and notifies else None
    return judged(made, notifies, refused)
