"""`shoudan sandbox ...`, `listen`, `trigger`: what a partner tries out before it goes live."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any, Final

import aiohttp
import typer
from rich.table import Table

from shoudan_cli.channel_calls import ChannelCalls, key_of
from shoudan_cli.clients import Failed, console, run, settings
from shoudan_fakes.scripts import SCRIPTS, chinese
from shoudan_signing import webhooks

app = typer.Typer(no_args_is_help=True)

PREFIX: Final = "10001100000"  # of the scripted accounts; the last four digits follow
RUNNING: Final = 30
# What is triggered: the account's last digits, the order that shows it, the status it ends with (30: later).
TRIGGERS: Final[dict[str, tuple[str, str, str, int]]] = {
    "success": ("0000", "200", "198", 0),
    "failed": ("0001", "200", "198", 90),
    "unknown": ("0002", "200", "198", 0),
    "review": ("0003", "200", "198", RUNNING),
    "partial": ("0004", "1000", "990", 91),
    "slow": ("0007", "200", "198", 0),
    "lost": ("0017", "200", "198", 0),
    "refund-failed": ("0020", "200", "198", 0),
}
POLL_S: Final = 0.5
BACKOFF_S_MAX: Final = 10.0
FORWARD_S: Final = 10
SHOWN_MAX: Final = 500
CARRIED: Final = ("content-type", webhooks.ID, webhooks.TIMESTAMP, webhooks.SIGNATURE)

KeyFile = Annotated[
    Path | None, typer.Option(help="File of the channel's secret; SHOUDAN_SIGN_KEY without it.")
]
Channel = Annotated[str, typer.Option(help="The channel that orders.")]
Gateway = Annotated[str, typer.Option("--url", help="Gateway; of the system that is meant.")]
SandboxUrl = Annotated[str, typer.Option("--sandbox", help="Its sandbox: supplier and inbox.")]


@app.callback()
def _group() -> None:
    """What the sandbox plays."""


@app.command()
def accounts() -> None:
    """The scripted accounts: their last four digits choose what happens to an order."""
    table = Table("account", "结果", "what happens")
    for tail, script in SCRIPTS.items():
        table.add_row(f"…{tail}", chinese().get(tail, ""), script.about)
    console.print(table)


def trigger(
    kind: Annotated[str, typer.Argument(help=", ".join(TRIGGERS))],
    channel: Channel = "test",
    key_file: KeyFile = None,
    url: Gateway = "",
    sandbox: SandboxUrl = "",
    wait_s: Annotated[float, typer.Option(help="Seconds to wait for its end.", min=0)] = 20,
) -> None:
    """Place an order of the sandbox that succeeds, fails, stays unknown …, and follow it to its end."""
    if kind not in TRIGGERS:
        raise typer.BadParameter(f"one of {', '.join(TRIGGERS)}", param_hint="kind")
    run(lambda: _trigger(kind, channel, key_of(key_file), (url, sandbox), wait_s))


async def _trigger(
    kind: str, channel: str, key: bytes, urls: tuple[str, str], wait_s: float
) -> None:
    tail, face, amount, wanted = TRIGGERS[kind]
    found = settings(gateway_url=urls[0].rstrip("/"), sandbox_url=urls[1].rstrip("/"))
    number = f"{kind}-{time.time_ns() // 1000}"
    facts = {"line_id": 1, "carrier_no": "ZSH", "invoice_type": 1, "num": 1, "face": face}
    inbox = f"{found.sandbox_url}/inbox/{channel}"
    async with ChannelCalls(found.gateway_url, channel, key) as calls:
        account = f"{PREFIX}{tail}"
        body = await calls.asked(
            "/order/request",
            request_no=number,
            amount=amount,
            rechage_account=account,
            notify_url=inbox,
            **facts,
        )
        _say(f"/order/request request_no={number} rechage_account={account}")
        ends_at, status = time.monotonic() + wait_s, int(body["status"])
        _say(f"  status {status}  order_id {body['order_id']}")
        while status == RUNNING and wanted != RUNNING and time.monotonic() < ends_at:
            await asyncio.sleep(POLL_S)
            status = int((await calls.asked("/order/query", request_no=number))["status"])
        if status != RUNNING:
            _say(f"  status {status}")
    _say(f"  notifies: {inbox}")
    if status == RUNNING:
        # Others may still deliver what one supplier could not: it ends at the order's timeout at the latest.
        _say(f"  under way: query {number} later, or let time pass: shoudan clock advance 15m")
    elif status != wanted:
        raise Failed(f"status {status}, {wanted} was to be")


def listen(
    forward_to: Annotated[
        str, typer.Option(help="Where each notify is sent on to, such as http://127.0.0.1:3000/n.")
    ] = "",
    inbox: Annotated[str, typer.Option(help="Name of the inbox: /inbox/NAME.")] = "test",
    sandbox: SandboxUrl = "",
    key_file: KeyFile = None,
    count: Annotated[int, typer.Option(help="End after so many; 0: at Ctrl-C.", min=0)] = 0,
) -> None:
    """Show the notifies that reach an inbox of the sandbox, check them, and send them on."""
    found = settings(sandbox_url=sandbox.rstrip("/"))
    secrets = [one for one in key_of(key_file).decode().split() if one]
    url = f"{found.sandbox_url}/inbox/{inbox}?format=json"
    run(lambda: Relay(url, forward_to, secrets).run(count))


class Relay:
    """Reads an inbox again and again; what is new is shown and sent on, once."""

    def __init__(self, inbox_url: str, forward_to: str, secrets: list[str]) -> None:
        self._inbox_url, self._forward_to, self._secrets = inbox_url, forward_to, secrets
        self._seen: int | None = None

    async def run(self, count: int = 0) -> None:
        """Until `count` notifies have come; for ever when 0."""
        _say(f"listening: {self._inbox_url.partition('?')[0]}  (Ctrl-C ends)")
        if self._forward_to:
            _say(f"sent on to: {self._forward_to}  (each within {FORWARD_S} s)")
        timeout = aiohttp.ClientTimeout(total=FORWARD_S)
        wait_s, done = POLL_S, 0
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as http:
            while not count or done < count:
                try:
                    for letter in await self._new(http):
                        await self._take(http, letter)
                        done += 1
                    wait_s = POLL_S
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    wait_s = min(wait_s * 2, BACKOFF_S_MAX)
                    _say(f"… no inbox ({error or type(error).__name__}); again in {wait_s:g} s")
                if not count or done < count:
                    await asyncio.sleep(wait_s)

    async def _new(self, http: aiohttp.ClientSession) -> list[dict[str, Any]]:
        """What came since it was last read. An inbox that counts from the start again is a new one."""
        async with http.get(self._inbox_url) as answer:
            inbox: dict[str, Any] = await answer.json()
        received, letters = int(inbox["received"]), list(inbox["letters"])
        before, self._seen = self._seen, received
        if before is None:  # what was there when it began is no news
            return []
        fresh = received - before if received >= before else received
        return letters[len(letters) - min(fresh, len(letters)) :]

    async def _take(self, http: aiohttp.ClientSession, letter: dict[str, Any]) -> None:
        headers = {name.lower(): str(value) for name, value in letter["headers"].items()}
        body = str(letter["body"])
        moment = time.strftime("%H:%M:%S", time.localtime(float(letter["time"])))
        _say(
            f"{moment} {letter['method']} {headers.get(webhooks.ID, '-')}  {self._check(headers, body)}"
        )
        _say(f"  {body[:SHOWN_MAX]}")
        if not self._forward_to:
            return
        carried = {name: headers[name] for name in CARRIED if name in headers}
        began = time.monotonic()
        try:
            async with http.post(self._forward_to, data=body.encode(), headers=carried) as answer:
                text = (await answer.text())[:SHOWN_MAX]
                took_ms = (time.monotonic() - began) * 1000
                _say(f"  → {answer.status} {text!r}  {took_ms:.0f} ms")
        except (aiohttp.ClientError, TimeoutError) as error:
            _say(f"  → not taken: {error or type(error).__name__}")

    def _check(self, headers: dict[str, str], body: str) -> str:
        if webhooks.SIGNATURE not in headers:
            return "unsigned"
        if not self._secrets:
            return "signed (not checked: no key)"
        try:
            webhooks.verify(self._secrets, headers, body.encode(), int(time.time()))
        except webhooks.NotVerified as error:
            return f"SIGNATURE WRONG: {error}"
        return "signature right"


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
