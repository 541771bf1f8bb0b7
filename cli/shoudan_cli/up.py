"""`shoudan up`: the whole system on this machine, with nothing installed but Python packages."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from shoudan_cli import life
from shoudan_cli.clients import Failed, console, run
from shoudan_cli.language import said
from shoudan_cli.system import PortTaken, Stage, System, log_to_stderr
from shoudan_cli.systems import folder, free_name, running, starting
from shoudan_cli.wiring import SERVICES
from shoudan_kit.embedded import EmbeddedError
from shoudan_kit.language import Lang, chosen
from shoudan_kit.process.ports import NoPort
from shoudan_kit.process.supervise import NotStarted


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", text):
        raise typer.BadParameter("letters, digits, - and _, at most 40")
    return text


def up(
    ephemeral: Annotated[
        bool, typer.Option("--ephemeral", help="Keep nothing: all data goes at the end.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(help="Port of the gateway, this one only; else 8600 or the next free one."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data folder; ~/.local/share/shoudan without it.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Its name for `shoudan --system`; main without it.", parser=_name),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    lang: Lang = "",
) -> None:
    """Start everything on this machine and keep it running until Ctrl-C."""
    if ephemeral and data is not None:
        raise typer.BadParameter("--ephemeral keeps nothing, --data says where to keep it")
    log_to_stderr()
    run(lambda: _up(ephemeral, port, data, name, Voice(as_json, chosen(lang))))


def systems() -> None:
    """List the systems that `shoudan up` keeps running here."""
    table = Table("name", "id", "gateway", "pid", "folder")
    for one in running():
        table.add_row(one.name, one.id, one.gateway_url, str(one.pid), one.home)
    console.print(table)


class Voice:
    """What the command says, for people or for programs."""

    def __init__(self, as_json: bool, language: str = "en") -> None:
        self._as_json, self._language = as_json, language
        self._began = time.monotonic()

    def stage(self, stage: Stage) -> None:
        if self._as_json:
            self._object(stage=stage.name, text=stage.text, seconds=round(stage.seconds, 3))
        else:
            self._line(f"✔ {stage.name:<9} {stage.text}", f"{stage.seconds:.1f} s")

    def report(self, event: object) -> None:
        if self._as_json:
            self._object(event=str(event))
        else:
            self._line(f"! {event}", time.strftime("%H:%M:%S"))

    def ready(self, system: System) -> None:
        seconds = time.monotonic() - self._began
        if self._as_json:
            self._object(
                ready=True,
                seconds=round(seconds, 3),
                gateway=system.gateway_url,
                sandbox=system.sandbox_url,
                internal=system.internal_url,
                console=system.console_url,
                id=system.id,
                targets={name: system.target(name) for name in SERVICES},
                pids={name: system.supervisor.pid(name) for name in system.supervisor.names},
                logs=str(system.home / "logs"),
            )
            return
        self._line(f"✔ ready     {system.gateway_url}", f"{seconds:.1f} s")
        self._line(f"  partners channel_no=test and ycdown   API {system.gateway_url}/openapi.json")
        for channel, command in life.commands(system.gateway_url).items():
            self._line(f"  {channel:<8} {command}")
        self._line(f"  docs     {system.gateway_url}/docs/  ·  {system.gateway_url}/docs/en/")
        self._line(
            f"  console  {system.console_url}/   operators work here; log in as `shoudan login` does"
        )
        self._line(f"  logs     {system.home / 'logs'}")
        self._line(
            f"  next:    shoudan demo --url {system.gateway_url}      (Ctrl-C stops everything)"
        )

    def stopping(self) -> None:
        if self._as_json:
            self._object(stopping=True)
        else:
            self._line("  stopping: what is under way is finished first")

    def stopped(self) -> None:
        if self._as_json:
            self._object(stopped=True)
        else:
            self._line("✔ stopped")

    def _line(self, text: str, right: str = "") -> None:
        line = said(text, self._language)
        line = f"{line:<88} {right}" if right else line
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _object(self, **values: object) -> None:
        typer.echo(json.dumps(values, ensure_ascii=False))


@asynccontextmanager
async def noted(system: System, name: str | None) -> AsyncGenerator[None]:
    """Keep the addresses where other commands look for them, while the system is up."""
    file = folder() / f"{free_name(name)}.toml"
    ops = {
        name: f"http://127.0.0.1:{port}"
        for name in (*system.databases, "gateway")
        if (port := system.env.get(f"SHOUDAN_{name.upper()}_OPS_PORT"))
    }
    lines = [
        "[system]",
        f'id = "{system.id}"',
        f"pid = {os.getpid()}",
        f"home = {json.dumps(str(system.home))}",
        "[cli]",
        f'gateway_url = "{system.gateway_url}"',
        f'sandbox_url = "{system.sandbox_url}"',
    ]
    lines += [f'{name}_target = "{system.target(name)}"' for name in SERVICES]
    if system.certificates is not None:
        files = system.certificates.files("cli")
        given = {"cert": files.cert, "key": files.key, "ca": files.ca}
        lines += [f"tls_{name} = {json.dumps(str(path))}" for name, path in given.items()]
    lines += ["[cli.ops_urls]", *(f'{name} = "{url}"' for name, url in ops.items())]
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = file.with_suffix(".new")  # renamed into place: readers never see half of it
    new.write_text("\n".join(lines) + "\n", "utf-8")
    new.rename(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


async def _up(
    ephemeral: bool, port: int | None, data: Path | None, name: str | None, voice: Voice
) -> None:
    ready, stop = asyncio.Event(), asyncio.Event()
    start = System.start(
        ephemeral=ephemeral,
        port=port,
        data_dir=data,
        usual_ports=True,
        profile="demo",
        stage=voice.stage,
        report=voice.report,
    )

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            async with starting():
                free_name(name)
                system = await stack.enter_async_context(start)
                await stack.enter_async_context(noted(system, name))
            ready.set()
            voice.ready(system)
            await stop.wait()
            voice.stopping()

    work = asyncio.ensure_future(serve())

    def end() -> None:
        stop.set()
        if not ready.is_set():
            work.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    try:
        await work
    except asyncio.CancelledError:
        voice.stopping()
    except (EmbeddedError, NotStarted, NoPort, PortTaken) as error:
        raise Failed(str(error)) from None
    voice.stopped()
