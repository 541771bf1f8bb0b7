"""`shoudan clock ...`: let time pass in a test system, so that overtimes, retries and bills happen."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from shoudan.core.v1 import operations_service_pb2_grpc as core_grpc
from shoudan_cli.clients import (
    SERVICES,
    Clients,
    Failed,
    console,
    open_clients,
    run,
    settings,
)
from shoudan_kit.clock import beijing
from shoudan_kit.clock_steps import UNITS_S, Behind, Clocks, ahead_s, moments, span

app = typer.Typer(no_args_is_help=True)

TURNED: Final = tuple(name for name in SERVICES if name != "identity")  # tokens are of real time
STEPS_MAX: Final = 1_000
_SPAN: Final = re.compile(r"(?:[0-9]{1,6}[wdhms])+")


def seconds_of(text: str) -> int:
    """The seconds of `90s`, `15m`, `1d12h`. Raises BadParameter."""
    if not _SPAN.fullmatch(text):
        raise typer.BadParameter(f"{text!r}: such as 90s, 15m, 6h, 1d, 1w or 1d12h")
    parts = re.findall(r"([0-9]+)([wdhms])", text)
    return sum(int(number) * UNITS_S[unit] for number, unit in parts)


@app.command()
def show() -> None:
    """How far each service's clock is ahead of the machine's."""
    run(_show)


@app.command()
def advance(
    by: Annotated[str, typer.Argument(help="How much time passes: 15m, 6h, 1d, 1d12h.")],
    step: Annotated[
        str, typer.Option(help="In steps of so much: what is due at one is done before the next.")
    ] = "",
) -> None:
    """Let time pass in a test system, in all its services. Time does not go back.

    Without --step an hour or more is one jump and a last half hour of small steps, so that what follows from
    each other happens, too: a day is closed, then copied, then billed.
    """
    by_s, step_s = seconds_of(by), seconds_of(step) if step else 0
    if step and (not step_s or by_s > step_s * STEPS_MAX):
        raise typer.BadParameter(f"at most {STEPS_MAX} steps", param_hint="--step")
    run(lambda: _advance(by_s, step_s))


def clocks_of(clients: Clients) -> Clocks:
    """The clocks that go together, called as this operator."""
    stub: Callable[[Any], Any] = core_grpc.OperationsServiceStub

    async def call(service: str, method: str, request: Any) -> Any:
        return await clients.call(service, stub, method, request)

    return Clocks(TURNED, call)


async def _show() -> None:
    async with open_clients(settings()) as clients:
        clocks = await clocks_of(clients).look()
    if not all(one.turnable for ones in clocks.values() for one in ones):
        _say("the clock is the machine's: it is advanced in test systems alone")
        return
    table = Table("service", "ahead", "its time (Beijing)", "sessions behind")
    now = datetime.now(UTC)
    for name, ones in clocks.items():
        for one in ones:
            its = beijing(now + timedelta(seconds=one.shift_s))
            table.add_row(name, span(one.shift_s), its, str(one.sessions_behind))
    console.print(table)
    if len(ahead_s(clocks)) > 1:
        _say("they differ: an advance was interrupted; `shoudan clock advance 0s` completes it")


async def _advance(by_s: int, step_s: int) -> None:
    async with open_clients(settings()) as clients:
        there = ahead_s(await clocks_of(clients).look())
        reached = max(there, default=0)
        if len(there) > 1:
            await to(clients, reached)
            _say(f"completed an advance that was interrupted: all are {span(reached)} ahead")
            if by_s:
                _say("nothing was added to it: repeat the command to go farther")
            return
        for shift_s in moments(reached, by_s, step_s):
            await to(clients, shift_s)
            its = beijing(datetime.now(UTC) + timedelta(seconds=shift_s))
            _say(f"  {its}  ({span(shift_s)} ahead)")
            await clocks_of(clients).settled(shift_s)


async def to(clients: Clients, shift_s: int) -> None:
    """All services at once, and until each of their processes has followed. Raises Failed."""
    try:
        await clocks_of(clients).to(shift_s)
    except Behind as behind:
        raise Failed(f"processes of {behind} do not follow; see `shoudan clock show`") from None


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
