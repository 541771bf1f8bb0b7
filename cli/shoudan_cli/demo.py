"""`shoudan demo`: places the document's own example order, shows its life and the bill that it stands in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from shoudan_cli import life
from shoudan_cli.clients import Failed, console, open_clients, run, settings
from shoudan_cli.language import said
from shoudan_kit.language import Lang, chosen

Say = Callable[[str], None]
SUCCEEDED = 0


def demo(
    url: Annotated[
        str,
        typer.Option(help="Gateway of a running system; a temporary one is started without it."),
    ] = "",
    sandbox: Annotated[str, typer.Option(help="Sandbox supplier and inbox of that system.")] = "",
    lang: Lang = "",
) -> None:
    """Place the example order of the document and show its life; exit code 1 if a part is missing."""
    say = partial(_say, chosen(lang))
    run(lambda: _running(url, sandbox, say) if url else _temporary(say))


def _say(language: str, line: str) -> None:
    console.print(said(line, language), markup=False, highlight=False, soft_wrap=True)


async def _running(url: str, sandbox: str, say: Say) -> None:
    found = settings(gateway_url=url.rstrip("/"), sandbox_url=sandbox.rstrip("/"))
    async with open_clients(found) as clients:
        show(await life.watch(clients, found.gateway_url, found.sandbox_url, say), say)


async def _temporary(say: Say) -> None:
    """A system of our own, gone afterwards."""
    from shoudan_cli.demo_bill import next_morning
    from shoudan_cli.system import Stage, System, log_to_stderr
    from shoudan_kit.embedded import EmbeddedError
    from shoudan_kit.process.supervise import NotStarted

    log_to_stderr()

    def stage(done: Stage) -> None:
        say(f"✔ {done.name:<9} {done.text}  {done.seconds:.1f} s")

    try:
        async with System.start(profile="demo", stage=stage) as system:
            say(f"  system    one of its own ({system.id}), gone at the end")
            clients = system.clients()
            try:
                seen = await life.watch(clients, system.gateway_url, system.sandbox_url, say)
                show(seen, say)
                await next_morning(clients, seen.balance_after_micros, say)
            finally:
                await clients.close()
    except (EmbeddedError, NotStarted) as error:
        raise Failed(str(error)) from None


def show(seen: life.Life, say: Say) -> None:
    """Print a life. Raises Failed when the order did not succeed."""
    for line in life.lines(seen):
        say(line)
    if seen.query.get("status") != SUCCEEDED:
        raise Failed(f"the order ended with status {seen.query.get('status')}")
