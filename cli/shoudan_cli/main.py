"""The one command: its own sub-commands, and those that installed packages bring along.

What lists them imports none of them: `shoudan --help` costs what Python and Typer cost.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points, version
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperGroup

from shoudan_cli.command_list import GROUP, GROUPS, SINGLE
from shoudan_kit.command_list import Command
from shoudan_kit.tls.versions import only_tls_1_3

HELP: Final = frozenset({"--help", "-h"})
PIPE_COLUMNS: Final = 200
ALL_SHARDS: Final = -1
# Commands that show rows to people. Others count or act on what they list: they need all of it.
LISTING: Final = frozenset(
    {"ls", "list", "search", "records", "accounts", "parked", "dead", "quarantined", "notices"}
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("shoudan"))
        raise typer.Exit


def root(
    show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    system: Annotated[
        str, typer.Option(help="System meant: name, data folder or gateway URL.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Change a system in production.")] = False,
    shard: Annotated[
        int, typer.Option(min=-1, help="Lists of this shard alone; -1: of all that answer.")
    ] = ALL_SHARDS,
) -> None:
    """Order acquiring for prepaid goods: orders, ledger, delivery, refunds, notifies."""
    del show, system, yes, shard  # read before the command is found


def listed() -> dict[str, Command]:
    """Every sub-command in the order shown; an installed package's under the name of its entry point."""
    groups = dict(GROUPS)
    groups |= {one.name: cast("Command", one.load()) for one in entry_points(group=GROUP)}
    return {**SINGLE, **{name: groups[name] for name in sorted(groups)}}


class Commands(TyperGroup):
    """Imports a sub-command when it is meant; its system is resolved before it reads its options."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names alone."""
        return list(listed())

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """As the base, but of lines alone, and every line whole."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.help) for name, one in listed().items()])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The sub-command itself; None without one of this name."""
        if cmd_name not in self.commands and (one := _declared(cmd_name)) is not None:
            self.commands[cmd_name] = _made(cmd_name, one)
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As the base; the command's name comes first in `args`."""
        if _declared(args[0]) is None:  # then the base says which name is near
            self.commands = {**dict.fromkeys(self.list_commands(ctx)), **self.commands}
        elif not HELP & set(args):
            from shoudan_cli.choice import prepare
            from shoudan_cli.systems import NAME_VARIABLE

            if system := ctx.params.get("system"):
                os.environ[NAME_VARIABLE] = system
            prepare(args, yes=bool(ctx.params.get("yes")))
            _look(ctx, args)
        return super().resolve_command(ctx, args)


def _look(ctx: Any, args: list[str]) -> None:
    """What is listed is of the shard that is meant, or of all that answer: which do not is said."""
    shard: int = ctx.params.get("shard", ALL_SHARDS)
    if shard == ALL_SHARDS and not LISTING & set(args[1:2]):
        return
    from shoudan_kit.rpc.shard_looks import looking

    def say(text: str) -> None:
        typer.echo(text, err=True)

    ctx.with_resource(looking(None if shard == ALL_SHARDS else shard, say))


def _declared(name: str) -> Command | None:
    own = SINGLE.get(name) or GROUPS.get(name)
    return own or next((entry.load() for entry in entry_points(group=GROUP, name=name)), None)


def _made(name: str, one: Command) -> Any:
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    loaded = one.load()
    if isinstance(loaded, typer.Typer):
        app.add_typer(loaded, name=name, help=one.help)
        return typer.main.get_group(app).commands[name]
    app.command(name)(loaded)
    return typer.main.get_command(app)


def collected() -> typer.Typer:
    """The whole command."""
    app = typer.Typer(
        name="shoudan",
        cls=Commands,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # rich alone takes longer to import than the list may take
    )
    app.callback()(root)
    return app


def main() -> None:
    """Console script. A service's own process loads no other command, because five start at once."""
    only_tls_1_3()
    if sys.argv[1:2] == ["serve"]:
        from shoudan_cli import process

        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command()(process.serve)
        alone(sys.argv[2:], prog_name="shoudan serve")
    else:
        if not sys.stdout.isatty():  # a pipe has no width; tables cut to 80 columns tell little
            os.environ.setdefault("COLUMNS", str(PIPE_COLUMNS))
        collected()()
