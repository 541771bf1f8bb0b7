"""`shoudan platform` writes and shows what the pay service holds, and says in one line what it refuses."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from typer.testing import CliRunner

from shoudan_pay.commands.platform import app
from tests.pay.payserver.harness import number
from tests.pay.platforms.harness import MID, TID, PlatformsHarness

LOG_LINE = re.compile(r"\{\"ts\":|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")


@dataclass(frozen=True)
class Said:
    """What a command printed, without the log lines of the services that run in this process beside it."""

    exit_code: int
    stdout: str
    stderr: str


def printed(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not LOG_LINE.match(line))


async def run(harness: PlatformsHarness, *args: str) -> Said:
    """In a thread of its own: the command brings its own loop."""
    target = ("--target", f"127.0.0.1:{harness.payserver.pay.port}")
    done = await asyncio.to_thread(CliRunner().invoke, app, [*args, *target])
    return Said(done.exit_code, printed(done.stdout), printed(done.stderr))


async def test_credentials_domains_and_trades_are_written_and_shown(
    harness: PlatformsHarness,
) -> None:
    merchant, domain, trade = number("m"), number("d"), number("t")
    who = ("--merchant", merchant, "--secret", "ums-key")
    done = await run(harness, "ums", "cli-app", *who, "--mid", MID, "--tid", TID)
    assert (done.exit_code, done.stdout) == (0, "AppId cli-app set\n")
    urls = ("--base-url", "https://dingdang.example.com/paycgi")
    done = await run(harness, "domain", "partner", domain, *who, *urls)
    assert done.stdout == f"domain {domain} (partner) set\n"
    order = ("--channel", "c1", "--request-no", "q1")
    done = await run(harness, "trade", domain, trade, "--fen", "100", *order)
    shown = await run(harness, "trade", domain, trade)
    assert done.stdout == shown.stdout == f"{trade}: 100 分, not paid, order c1 q1\n"
    assert (await run(harness, "notices")).exit_code == 0


async def test_what_is_refused_is_said_in_one_line(harness: PlatformsHarness) -> None:
    who = ("--merchant", number("m"), "--secret", "s")
    refused = [
        await run(harness, "trade", "nobody", "t1"),
        await run(harness, "trade", "nobody", "t1", "--fen", "1"),
        await run(harness, "domain", "platform", number("d"), *who, "--paid-url", "ftp://x"),
        await run(harness, "ums", "a", *who, "--mid", "1", "--tid", "1", "--base-url", "https://x"),
    ]
    assert [one.exit_code for one in refused] == [1] * 4
    assert all(one.stderr.count("\n") == 1 for one in refused)
    assert "ERROR_REASON_NO_ORDER" in refused[0].stderr
