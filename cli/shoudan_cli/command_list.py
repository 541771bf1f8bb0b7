"""The sub-commands that the command brings along itself."""

from __future__ import annotations

from typing import Final

from shoudan_kit.command_list import Command

GROUP: Final = "shoudan.commands"  # entry points of what installed packages bring along

# Commands by themselves, in the order a beginner needs them; their lines are those of their docstrings.
SINGLE: Final = {
    "up": Command(
        "shoudan_cli.up:up",
        "Start everything on this machine and keep it running until Ctrl-C.",
    ),
    "systems": Command(
        "shoudan_cli.up:systems", "List the systems that `shoudan up` keeps running here."
    ),
    "demo": Command(
        "shoudan_cli.demo:demo",
        "Place the example order of the document and show its life; exit code 1 if a part is missing.",
    ),
    "trigger": Command(
        "shoudan_cli.sandbox:trigger",
        "Place an order of the sandbox that succeeds, fails, stays unknown …, and follow it to its end.",
    ),
    "listen": Command(
        "shoudan_cli.sandbox:listen",
        "Show the notifies that reach an inbox of the sandbox, check them, and send them on.",
    ),
    "status": Command(
        "shoudan_cli.status:status",
        "Show the health of every service; exit code 1 unless all serve.",
    ),
    "doctor": Command(
        "shoudan_cli.doctor:doctor",
        "Say what is wrong with a system and what to do; exit code 1 if anything is.",
    ),
    "top": Command(
        "shoudan_cli.top:top",
        "Show every replica of every service, live; exit code 1 with --once unless all serve.",
    ),
    "login": Command(
        "shoudan_cli.login:login",
        "Log in to a system; its tokens are kept for the next commands.",
    ),
    "logout": Command("shoudan_cli.login:logout", "End the session of this command."),
    "whoami": Command(
        "shoudan_cli.login:whoami",
        "Show who this command is at the system, and what it may do.",
    ),
    "serve": Command(
        "shoudan_cli.process:serve", "Run one service until SIGTERM or Ctrl-C, then drain."
    ),
    "backup": Command(
        "shoudan_cli.backup:backup",
        "Keep a running system of this machine in one file, at one moment, while it goes on.",
    ),
    "restore": Command(
        "shoudan_cli.backup:restore",
        "Make a system's data folder again from what `shoudan backup` wrote; `up` goes on from there.",
    ),
    "migrate": Command(
        "shoudan_cli.process:migrate", "Bring the databases up to date. Repeats change nothing."
    ),
}
GROUPS: Final = {
    "audit-log": Command(
        "shoudan_cli.audit_log:app", "Who changed what in all services: list, export, prove."
    ),
    "bench": Command("shoudan_cli.bench:app", "Measure what this machine can do."),
    "clock": Command(
        "shoudan_cli.clock:app", "The clock of a test system: show it, let time pass."
    ),
    "config": Command(
        "shoudan_cli.config:app", "Catalogue, suppliers and accounts as one YAML file."
    ),
    "db": Command("shoudan_cli.ddl:app", "What a database administrator asks for."),
    "dictionary": Command(
        "shoudan_cli.dictionary:app", "The data dictionary, as what is installed declares it."
    ),
    "keys": Command(
        "shoudan_cli.keys:app", "Keys that secrets and personal data are sealed under."
    ),
    "mock": Command("shoudan_fakes.commands:app", "Stand-ins for the outside world."),
    "partner": Command(
        "shoudan_cli.partner:app",
        "Partners, suppliers and platforms: their secrets, the list before a channel goes live.",
    ),
    "personal": Command(
        "shoudan_cli.personal:app", "Recharge accounts of people: find, seal, erase."
    ),
    "pki": Command("shoudan_cli.pki:app", "Certificates of the processes: issue, renew, show."),
    "proposal": Command(
        "shoudan_cli.proposals:app", "Calls that need two persons: list, propose, approve, refuse."
    ),
    "replay": Command(
        "shoudan_cli.replay:app", "Play what partners called to two builds; list what differs."
    ),
    "sandbox": Command("shoudan_cli.sandbox:app", "What the sandbox plays: its scripted accounts."),
    "shard": Command(
        "shoudan_cli.shards:app", "Shards of a service: its map, shown, checked and changed."
    ),
    "sign": Command(
        "shoudan_cli.sign:app", "Signatures of partners' protocols, to compare with theirs."
    ),
    "task": Command("shoudan_cli.tasks:app", "Durable tasks: list, push again, pause."),
    "work": Command("shoudan_cli.work:app", "What waits for a person: list, show, decide."),
}
