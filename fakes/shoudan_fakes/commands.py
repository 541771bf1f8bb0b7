"""`shoudan mock ...`: the outside world for trying the system out."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)

VARIABLE = "SHOUDAN_MOCK_SECRET"


@app.callback()
def mock() -> None:
    """Stand-ins for the outside world."""


@app.command()
def upstream(
    host: Annotated[str, typer.Option(help="Address served.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port served; 0 takes any free one.")] = 8690,
    journal: Annotated[
        Path | None, typer.Option(help="Journal file; without it a new temporary one.")
    ] = None,
) -> None:
    """Serve the sandbox supplier, the notify inbox and the payment component.

    Requests and notifies are signed when SHOUDAN_MOCK_SECRET is set.
    """
    import uvloop

    from shoudan_fakes.sandbox import serve

    path = journal or Path(tempfile.mkdtemp(prefix="shoudan-sandbox-")) / "journal.jsonl"
    secret = os.environ.get(VARIABLE, "").encode()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(host, port, path, secret))


@app.command()
def component(
    host: Annotated[str, typer.Option(help="Address served.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port served; 0 takes any free one.")] = 8691,
) -> None:
    """Serve the sandbox payment component; the last digits of payBarCode choose what happens."""
    import uvloop

    from shoudan_fakes.component import serve

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(host, port))
