"""`shoudan clock ...`: let time pass in a test system, so that overtimes, retries and bills happen."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from shoudan.core.v1 import operations_service_pb2 as core
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
from shoudan_kit.process.polling import until

app = typer.Typer(no_args_is_help=True)

TURNED: Final = tuple(name for name in SERVICES if name != "identity")  # tokens are of real time
UNITS_S: Final = {"w": 7 * 86_400, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
LONG_S: Final = 3_600
TAIL_S: Final = 1_800  # longer than anything looks for what another service has done
TAIL_STEP_S: Final = 360
FOLLOW_S_MAX: Final = 60.0
LOOK_S: Final = 0.1
SETTLE_S_MAX: Final = 20.0  # for what is due at a step
STEPS_MAX: Final = 1_000
TASKS_SHOWN: Final = 1_000
_SPAN: Final = re.compile(r"(?:[0-9]{1,6}[wdhms])+")


def seconds_of(text: str) -> int:
    """The seconds of `90s`, `15m`, `1d12h`. Raises BadParameter."""
    if not _SPAN.fullmatch(text):
        raise typer.BadParameter(f"{text!r}: such as 90s, 15m, 6h, 1d, 1w or 1d12h")
    parts = re.findall(r"([0-9]+)([wdhms])", text)
    return sum(int(number) * UNITS_S[unit] for number, unit in parts)


def span(seconds: int) -> str:
    """`1d 2h`, for people."""
    words: list[str] = []
    for unit in "dhms":
        count, seconds = divmod(seconds, UNITS_S[unit])
        words += [f"{count}{unit}"] if count else []
    return " ".join(words) or "0s"


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


def moments(from_s: int, by_s: int, step_s: int) -> list[int]:
    """How far ahead the clock is after each step; `step_s` 0: one jump, the last half hour in small steps."""
    end_s = from_s + by_s
    if step_s:
        return [*range(from_s + step_s, end_s, step_s), *([end_s] if by_s else [])]
    if by_s < LONG_S:
        return [end_s] if by_s else []
    return list(range(end_s - TAIL_S, end_s + 1, TAIL_STEP_S))


async def shifts(clients: Clients) -> Mapping[str, list[core.Clock]]:
    """The clocks of the services that have one. Raises Failed."""
    request = core.GetClockRequest()
    stub: Callable[[Any], Any] = core_grpc.OperationsServiceStub
    found = await asyncio.gather(
        *(clients.call(name, stub, "GetClock", request) for name in TURNED)
    )
    return {name: list(one.clocks) for name, one in zip(TURNED, found, strict=True)}


def ahead_s(clocks: Mapping[str, list[core.Clock]]) -> set[int]:
    """How far the clocks are ahead; more than one when an advance was interrupted."""
    return {one.shift_s for ones in clocks.values() for one in ones}


async def _show() -> None:
    async with open_clients(settings()) as clients:
        clocks = await shifts(clients)
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
        there = ahead_s(await shifts(clients))
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
            await _settled(clients, shift_s)


async def to(clients: Clients, shift_s: int) -> None:
    """All services at once, and until each of their processes has followed. Raises Failed."""
    request = core.AdvanceClockRequest(shift_s=shift_s)
    stub: Callable[[Any], Any] = core_grpc.OperationsServiceStub
    await asyncio.gather(*(clients.call(name, stub, "AdvanceClock", request) for name in TURNED))

    async def followed() -> bool:
        behind[:] = [
            name
            for name, ones in (await shifts(clients)).items()
            if any(one.sessions_behind for one in ones)
        ]
        return not behind

    behind: list[str] = []
    if not await until(followed, FOLLOW_S_MAX, every_s=LOOK_S):
        raise Failed(f"processes of {', '.join(behind)} do not follow; see `shoudan clock show`")


async def _settled(clients: Clients, shift_s: int) -> None:
    """Until nothing is due, SETTLE_S_MAX at most: what waits for an outside party may stay so."""

    async def nothing_due() -> bool:
        return not await _due(clients, shift_s)

    await until(nothing_due, SETTLE_S_MAX, every_s=LOOK_S)


async def _due(clients: Clients, shift_s: int) -> bool:
    now = datetime.now(UTC) + timedelta(seconds=shift_s)
    statuses = [core.TASK_STATUS_WAITING]
    request = core.ListTasksRequest(statuses=statuses, page_size=TASKS_SHOWN)
    for name in TURNED:
        answer = await clients.call(name, core_grpc.OperationsServiceStub, "ListTasks", request)
        for task in answer.tasks:
            if task.HasField("next_execute_time"):
                due = task.next_execute_time.ToDatetime(UTC)
                if due <= now:
                    return True
    return False


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
