"""Before a command runs: its system is resolved, proved, named, and in prod confirmed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

import typer

from shoudan_cli.command_list import GROUP
from shoudan_cli.credentials import owner_home, present
from shoudan_cli.systems import NAME_VARIABLE, Answer, SystemUnclear, described, meant

if TYPE_CHECKING:
    from shoudan_cli.clients import ClientSettings

ALL: Final = ("order", "pay", "delivery", "erp_ingest", "identity", "finance")
# Groups of the command itself that call services, beside those that services bring along.
OWN_GROUPS: Final = frozenset(
    {
        "audit-log",
        "clock",
        "config",
        "dictionary",
        "keys",
        "partner",
        "personal",
        "proposal",
        "task",
    }
    | {"work"}
)
READING: Final = frozenset(
    {"ls", "show", "search", "quarantined", "parked", "dead", "profit", "up", "down", "verify"}
    | {"balance", "accounts", "records", "notices", "export", "plan", "check", "tables", "diff"}
    | {"keys", "sessions", "tokens", "day", "days", "prove-archive"}
    | {"trade-day", "trade-days"}
    | {"trial-balance", "income", "debts", "invoices", "periods"}
)


def prepare(args: Sequence[str], *, yes: bool) -> None:
    """Resolve the system of a command that calls services. Ends with one sentence when it is unclear."""
    from shoudan_cli.clients import errors
    from shoudan_kit.config import ConfigError

    try:
        if args[0] == "demo":
            asyncio.run(_prepare_demo(_option(args, "--url"), yes=yes))
        elif (services := _services(args)) and len(args) > 1:
            asyncio.run(_prepare(services, args, yes=yes))
    except (SystemUnclear, ConfigError) as error:
        errors.print(str(error), style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None


def _services(args: Sequence[str]) -> Sequence[str]:
    """The services that a group's commands call."""
    group = args[0]
    if tuple(args[:2]) in {("operator", "bootstrap"), ("ledger", "prove-archive")}:
        return ()  # these speak to the databases of a service that may not run
    if list(args[:2]) == ["bill", "verify"] and not "".join(args[2:3]).isdecimal():
        return ()  # it looks at files alone, wherever they are
    if group in OWN_GROUPS:
        return ALL
    if group == "bench":  # a system of its own, or the ledger that an option names
        return ("pay",) if _option(args, "--target") else ()
    for entry in entry_points(group=GROUP, name=group):
        service = entry.value.partition(".")[0].removeprefix("shoudan_")
        return (service,) if service in ALL else ()
    return ()


async def _prepare(services: Sequence[str], args: Sequence[str], *, yes: bool) -> None:
    from shoudan_cli import kept_logins
    from shoudan_cli.clients import addressed, answered, resolved

    own = _option(args, "--target")
    given = {f"{services[0]}_target": own} if own else {}
    found, system = resolved(**given)
    anywhere = bool(own or system) or addressed()
    for name in ALL:  # what the commands' own --target options read
        os.environ[f"SHOUDAN_{name.upper()}_TARGET"] = str(getattr(found, f"{name}_target"))
    for name in ("tls_cert", "tls_key", "tls_ca") if found.tls_files else ():
        os.environ[f"SHOUDAN_CLI_{name.upper()}"] = str(getattr(found, name))
    answers = await answered(system, found, *services)
    login = await _login_token(found)
    if services == ("identity",):
        os.environ |= {kept_logins.ACCESS_VARIABLE: login} if login else {}
    else:
        _present(answers, login)
    verb = args[2] if args[0] == "partner" and len(args) > 2 else args[1]
    if verb not in READING and "--dry-run" not in args:
        await _confirm(answers, anywhere=anywhere, yes=yes)
    elif own and answers:
        _say(answers)


async def _login_token(found: ClientSettings) -> str:
    """The token of the operator who logged in, or empty. Raises SystemUnclear when the login is over."""
    from shoudan_cli import kept_logins
    from shoudan_cli.clients import Failed, open_clients

    async with open_clients(found) as clients:
        try:
            return await kept_logins.access_token(clients, await kept_logins.context_of(found))
        except Failed as error:
            raise SystemUnclear(f"{error}; shoudan login") from None


async def _prepare_demo(url: str, *, yes: bool) -> None:
    """An order is placed at `url` and looked for at the services: both must be one system."""
    from shoudan_cli.clients import addressed, answered, resolved

    if not url:
        return
    if not addressed() and (system := meant(url, addressed=False)) is not None:
        os.environ[NAME_VARIABLE] = system.name
    found, system = resolved(gateway_url=url.rstrip("/"))
    answers = await answered(system, found)
    _present(answers, await _login_token(found))
    await _confirm(answers, anywhere=True, yes=yes)


def _present(answers: Sequence[Answer], login: str) -> None:
    """Let the commands show who runs them, to what has answered as this system and to nothing else."""
    if not answers:
        return
    whose = answers[0].id
    present(whose, owner_home(whose), [one.target for one in answers], login)


def _option(args: Sequence[str], name: str) -> str:
    """The value that the command line itself gives to an option."""
    for one, after in zip(args, [*args[1:], ""], strict=True):
        if one == name:
            return after
        if one.startswith(f"{name}="):
            return one.partition("=")[2]
    return ""


async def _confirm(answers: Sequence[Answer], *, anywhere: bool, yes: bool) -> None:
    """Name the system that is about to change; in prod, and where it is not known, a person or --yes says so.

    `anywhere`: an address is given; at the usual ports only a system that has an id is changed.
    """
    if not answers:
        raise SystemUnclear("no service of a system answers: is it up? `shoudan systems`")
    which = described(answers[0])
    if not (anywhere or answers[0].id):
        raise SystemUnclear(f"{which}: it is not named; give its address or --system")
    _say(answers)
    if yes or answers[0].profile not in {"prod", ""}:
        return
    why = "is in production" if answers[0].profile else "may be in production"
    if not sys.stdin.isatty():
        raise SystemUnclear(f"{which} {why}: shoudan --yes …")
    if not typer.confirm(f"It {why}. Change it?", err=True):
        raise typer.Exit(1)


def _say(answers: Sequence[Answer]) -> None:
    from shoudan_cli.clients import errors

    errors.print(described(answers[0]), markup=False, highlight=False, soft_wrap=True)
