"""`shoudan replay`: what partners called, played to two builds, to see what the newer one does otherwise."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.order.v1 import request_log_service_pb2 as log_pb
from shoudan.order.v1 import request_log_service_pb2_grpc as log_grpc
from shoudan_cli import replayed
from shoudan_cli.clients import Failed, console, open_clients, run, settings

app = typer.Typer(no_args_is_help=True)

FORMAT: Final = 1
PAGE: Final = 500
PAGES_MAX: Final = 1_000
NUMBERS: Final = frozenset({"request_no", "refund_no"})
ACCOUNTS: Final = frozenset({"rechage_account", "recharge_account"})
# Not played: what proves who calls. The channel of the catalogue that is played to asks for none.
PROOF: Final = frozenset({"sign", "sign_type", "timestamp", "nonce"})
HIDDEN: Final = "***"
FOLDERS: Final = (
    "kit",
    "cli",
    "client",
    "fakes",
    "signing",
    "configuration",
    "gateway",
    "console",
    "protos/gen",
)
CHANGED: Final = 3  # exit code
PLAY_S: Final = 3_600


@app.command()
def record(
    file: Annotated[Path, typer.Argument(help="New file, .json; it names no person and no order.")],
    channel: Annotated[str, typer.Option(help="Whose calls.")] = "test",
    hours: Annotated[int, typer.Option(help="Of the last so many hours.", min=1, max=672)] = 1,
    count: Annotated[int, typer.Option(help="At most so many.", min=1, max=100_000)] = 10_000,
) -> None:
    """Keep what a channel called, from the request log, with stand-ins for numbers and accounts."""
    if file.exists():
        raise typer.BadParameter(f"{file} exists: name a new file")
    found = run(lambda: _logged(channel, hours, count))
    kept, left_out = recording(found, secrets.token_bytes(32))
    file.write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", "utf-8")
    console.print(f"{file}: {len(kept['requests'])} requests, {left_out} left out")


@app.command("run")
def run_both(
    file: Annotated[Path, typer.Argument(help="What `record` wrote.", exists=True)],
    old: Annotated[Path, typer.Argument(help="Folder of the build that is known.", exists=True)],
    new: Annotated[Path, typer.Argument(help="Folder of the other one.", exists=True)],
    catalogue: Annotated[
        Path | None, typer.Option(help="What is sold; the demonstration's without it.", exists=True)
    ] = None,
) -> None:
    """Play a recording to two builds and list what differs; exit code 3 if anything does.

    Each build gets a system of its own, gone afterwards; the old one plays twice, and what differs between
    its two runs is noise.
    """
    if json.loads(file.read_text("utf-8")).get("format") != FORMAT:
        raise typer.BadParameter(f"{file} is no recording that this version reads")
    found = run(lambda: _compared(file, old, new, catalogue))
    for key, (was, now) in found.items():
        typer.echo(f"{key}\n  old {json.dumps(was, ensure_ascii=False)}")
        typer.echo(f"  new {json.dumps(now, ensure_ascii=False)}")
    typer.echo(f"{len(found)} differences")
    raise typer.Exit(CHANGED if found else 0)


async def _logged(channel: str, hours: int, count: int) -> list[Any]:
    """The channel's requests, oldest first. Raises Failed."""
    start, end, now = Timestamp(), Timestamp(), datetime.now(UTC)
    start.FromDatetime(now - timedelta(hours=hours))
    end.FromDatetime(now + timedelta(minutes=1))
    request = log_pb.ListRequestsRequest(
        party=f"channel {channel}", start_time=start, end_time=end, page_size=PAGE
    )
    found: list[Any] = []
    async with open_clients(settings()) as clients:
        for _ in range(PAGES_MAX):
            page = await clients.call(
                "order", log_grpc.RequestLogServiceStub, "ListRequests", request
            )
            found += page.requests
            request.page_token = page.next_page_token
            if not request.page_token or len(found) >= count:
                break
    return found[:count]


def recording(logged: Sequence[Any], key: bytes) -> tuple[dict[str, Any], int]:
    """What is kept of logged requests, and how many are left out: calls refused unread, values not known.

    Numbers and accounts are drawn by `key`, which is kept nowhere: what was the same stays so.
    """
    kept: list[dict[str, Any]] = []
    began: datetime | None = None
    for one in logged:
        params = {name: _stand_in(name, value, key) for name, value in one.params.items()}
        params = {name: value for name, value in params.items() if name not in PROOF}
        if not one.admitted or HIDDEN in params.values():
            continue
        at = one.time.ToDatetime(UTC) - timedelta(milliseconds=one.took_ms)
        began = began or at
        at_ms = max(int((at - began).total_seconds() * 1000), 0)
        kept.append({"at_ms": at_ms, "method": one.method, "path": one.path, "params": params})
    kept.sort(key=lambda one: one["at_ms"])
    return {"format": FORMAT, "requests": kept}, len(logged) - len(kept)


def _stand_in(name: str, value: str, key: bytes) -> str:
    if name == "notify_url":
        return "inbox"  # of the sandbox that is played to
    if name not in NUMBERS | ACCOUNTS:
        return value
    digest = hmac.new(key, f"{name} {value}".encode(), hashlib.sha256).digest()
    if name in NUMBERS:
        return digest[:8].hex()
    # The last digits choose what the sandbox's supplier does: those that the log shows, of a success else.
    tail = value[-2:] if value[-2:].isdecimal() else "00"
    return f"1{int.from_bytes(digest[:5]) % 10**8:08}00{tail}"


async def _compared(
    file: Path, old: Path, new: Path, catalogue: Path | None
) -> Mapping[str, tuple[Any, Any]]:
    """One after the other: two systems at once would only be slower. Raises Failed."""
    first, second, again = [
        await asyncio.to_thread(play, file, build, catalogue) for build in (old, new, old)
    ]
    return replayed.differences(first, second, again)


def play(file: Path, build: Path, catalogue: Path | None) -> dict[str, Any]:
    """What came of a recording at a build, by the Python of its environment, or ours where it has none."""
    roots = [build / name for name in FOLDERS if (build / name).is_dir()]
    if build / "kit" not in roots:
        raise Failed(f"{build} is no checkout of shoudan")
    roots += sorted(one for one in (build / "services").iterdir() if one.is_dir())
    own = build / ".venv/bin/python"
    python = str(own) if own.exists() else sys.executable
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(one.absolute()) for one in roots)}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        script = str(Path(replayed.__file__))
        command = [python, script, str(file.absolute()), str(catalogue or ""), str(result)]
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, check=False, timeout=PLAY_S
        )
        if done.returncode:
            raise Failed(f"{build} does not play: {done.stderr.strip()[-800:]}")
        return json.loads(result.read_text("utf-8"))
