"""`shoudan alerts …`: thresholds of balances, who is alerted, and what they were sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Annotated, Any, Final, TypeVar

import typer

from shoudan.finance.v1 import alert_service_pb2 as pb
from shoudan.finance.v1 import alert_service_pb2_grpc as stubs
from shoudan.pay.v1 import ledger_service_pb2 as pay_pb
from shoudan.pay.v1 import ledger_service_pb2_grpc as pay_stubs
from shoudan_kit.clock import beijing
from shoudan_kit.money import micros_to_yuan, yuan_to_micros
from shoudan_kit.rpc.command import run_command, stop_command

T = TypeVar("T")

CALL_S: Final = 30.0
PAGE: Final = 1000
PAGES_MAX: Final = 1000
DEFAULT_TARGET: Final = "127.0.0.1:50056"
DEFAULT_PAY: Final = "127.0.0.1:50052"

app = typer.Typer(no_args_is_help=True)

Target = Annotated[
    str, typer.Option(help="gRPC address of finance.", envvar="SHOUDAN_FINANCE_TARGET")
]
Pay = Annotated[str, typer.Option(help="gRPC address of pay.", envvar="SHOUDAN_PAY_TARGET")]
Ident = Annotated[str, typer.Argument(help="System that owns the account.")]
Groups = Annotated[str, typer.Argument(help="Kind of account, such as down_channel.")]
Eid = Annotated[str, typer.Argument(help="Whose it is: a channel_no.")]
Threshold = Annotated[str, typer.Argument(help="Alert below this, in yuan.")]


@app.callback()
def alerts() -> None:
    """Alerts of low balances (余额预警)."""


@app.command()
def ls(pay: Pay = DEFAULT_PAY) -> None:
    """List thresholds and how each stands."""
    for one in _on_pay(pay, _all):
        key, yuan = one.key, micros_to_yuan
        word = "low 不足" if one.low else "ok 正常"
        typer.echo(
            f"{key.ident} {key.groups} {key.eid}: below {yuan(one.threshold_micros)} 元, again above "
            f"{yuan(one.threshold_micros + one.hysteresis_micros)}: {word}, "
            f"balance {yuan(one.balance_micros)} 元"
        )


@app.command()
def add(
    ident: Ident,
    groups: Groups,
    eid: Eid,
    threshold: Threshold,
    hysteresis: Annotated[
        str, typer.Option(help="Yuan above it at which the balance has recovered.")
    ] = "0",
    pay: Pay = DEFAULT_PAY,
) -> None:
    """Add a threshold to an account, or change its hysteresis."""
    request = pay_pb.SetAlertRequest(
        key=pay_pb.AccountKey(ident=ident, groups=groups, eid=eid),
        threshold_micros=_micros(threshold),
        hysteresis_micros=_micros(hysteresis),
    )
    _show(_on_pay(pay, lambda stub: stub.SetAlert(request, timeout=CALL_S)))


@app.command()
def rm(
    ident: Ident, groups: Groups, eid: Eid, threshold: Threshold, pay: Pay = DEFAULT_PAY
) -> None:
    """Remove a threshold from an account."""
    key = pay_pb.AccountKey(ident=ident, groups=groups, eid=eid)
    request = pay_pb.SetAlertRequest(key=key, threshold_micros=_micros(threshold), remove=True)
    _show(_on_pay(pay, lambda stub: stub.SetAlert(request, timeout=CALL_S)))


@app.command()
def targets(target: Target = DEFAULT_TARGET) -> None:
    """List who of the staff is alerted."""
    for one in _run(
        target, lambda s: s.ListTargets(pb.ListTargetsRequest(), timeout=CALL_S)
    ).targets:
        typer.echo(f"{one.name}: {one.kind}, {', '.join(one.groups) or 'all accounts'}")


@app.command()
def sent(target: Target = DEFAULT_TARGET) -> None:
    """List what each target was sent last of each threshold."""
    for one in _run(target, _all_sent):
        word = (
            "low 不足" if one.notified_low else "recovered 恢复" if one.notify_time.seconds else "-"
        )
        when = beijing(one.notify_time.ToDatetime(UTC)) if one.HasField("notify_time") else "-"
        tail = f"; {one.tries} tries: {one.answer}" if one.answer else ""
        where = f"{one.account_id} {micros_to_yuan(one.threshold_micros)} 元"
        typer.echo(f"{where} to {one.target}: {word} {when}{tail}")


@app.command("test")
def try_target(
    which: Annotated[str, typer.Argument(help="Target, or partner.")],
    channel: Annotated[str, typer.Option(help="Channel, with partner.")] = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Send a target a test at once. Exit code 1 when it was not acknowledged."""
    request = pb.TestTargetRequest(target=which, channel_no=channel)
    found = _run(target, lambda stub: stub.TestTarget(request, timeout=CALL_S))
    typer.echo("acknowledged" if found.acknowledged else f"not acknowledged: {found.answer}")
    if not found.acknowledged:
        raise typer.Exit(1)


async def _all(stub: Any) -> list[pay_pb.Alert]:
    found: list[pay_pb.Alert] = []
    token = ""
    for _ in range(PAGES_MAX):
        request = pay_pb.ListAlertsRequest(page_size=PAGE, page_token=token)
        page = await stub.ListAlerts(request, timeout=CALL_S)
        found += page.alerts
        token = page.next_page_token
        if not token:
            break
    return found


async def _all_sent(stub: Any) -> list[pb.Sent]:
    found: list[pb.Sent] = []
    token = ""
    for _ in range(PAGES_MAX):
        page = await stub.ListSent(
            pb.ListSentRequest(page_size=PAGE, page_token=token), timeout=CALL_S
        )
        found += page.sent
        token = page.next_page_token
        if not token:
            break
    return found


def _micros(text: str) -> int:
    try:
        return yuan_to_micros(text, signed=True)
    except ValueError as error:
        stop_command(f"{text}: {error}")


def _show(found: pay_pb.SetAlertResponse) -> None:
    there = ", ".join(micros_to_yuan(one) for one in found.threshold_micros)
    typer.echo(f"thresholds of the account: {there or 'none'}")


def _run(target: str, ask: Callable[[Any], Awaitable[T]]) -> T:
    return run_command(target, "finance", lambda channel: ask(stubs.AlertServiceStub(channel)))


def _on_pay(target: str, ask: Callable[[Any], Awaitable[T]]) -> T:
    return run_command(target, "pay", lambda channel: ask(pay_stubs.LedgerServiceStub(channel)))
