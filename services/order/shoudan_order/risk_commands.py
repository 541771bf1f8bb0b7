"""`shoudan risk ...`: the rules that bound new orders, and the list of blocked and exempt accounts."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import typer

from shoudan_kit.clock import beijing
from shoudan_kit.money import micros_to_yuan, yuan_to_micros
from shoudan_order.commands import DEFAULT_TARGET, Reason, Target, call

app = typer.Typer(no_args_is_help=True)

PAGE: Final = 1_000
Channel = Annotated[str, typer.Option("--channel", help="Orders of this channel only.")]


@app.command()
def rules(target: Target = DEFAULT_TARGET) -> None:
    """Every rule."""
    from rich.console import Console
    from rich.table import Table

    from shoudan.order.v1 import risk_service_pb2 as pb

    found: Any = call(target, "Risk", "ListRules", pb.ListRulesRequest())
    table = Table("rule", "at most", "orders of", "does")
    for one in found.rules:
        does = "refuses, unless confirmed" if one.confirmable else "refuses"
        does = "counts only" if one.shadow else does
        of = f"channel {one.channel_no or 'any'}, line {one.line_id or 'any'}"
        table.add_row(one.rule_id, _bound(one), of, does if one.enabled else "nothing: off")
    Console().print(table)


def _bound(rule: Any) -> str:
    """The bound of a rule in words, such as `account a day: 20 orders, 500 元`."""
    from shoudan.order.v1 import risk_service_pb2 as pb

    per = pb.RiskRule.Per.Name(rule.per).removeprefix("PER_").lower()
    if rule.minutes:
        return f"{per}: one order in {rule.minutes} minutes"
    within = pb.RiskRule.Within.Name(rule.within).removeprefix("WITHIN_").lower()
    count = f"{rule.count_max} orders" if rule.count_max else ""
    amount = f"{micros_to_yuan(rule.amount_max_micros)} 元" if rule.amount_max_micros else ""
    return f"{per} a {within}: {', '.join(filter(None, (count, amount)))}"


@app.command("set")
def set_rule(
    rule_id: str,
    reason: Reason,
    per: Annotated[str, typer.Option(help="channel, product, account or account_face.")],
    within: Annotated[str, typer.Option(help="day, month, or minutes since the last order.")],
    count_max: Annotated[int, typer.Option("--orders", help="Most orders; 0 for no bound.")] = 0,
    amount: Annotated[str, typer.Option(help="Most sale amount in 元; 0 for no bound.")] = "0",
    channel_no: Channel = "",
    line_id: Annotated[int, typer.Option("--line", help="Orders of this line only.")] = 0,
    refuse: Annotated[bool, typer.Option(help="Refuse; without it the rule only counts.")] = False,
    confirmable: Annotated[bool, typer.Option(help="An order with confirm_repeat passes.")] = False,
    enabled: Annotated[bool, typer.Option("--on/--off", help="In force.")] = True,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Make a rule exactly so. Begin without --refuse and look at shoudan_orders_risk_hits_total for a day."""
    from shoudan.order.v1 import risk_service_pb2 as pb

    minutes = int(within) if within.isascii() and within.isdigit() else 0
    window = "SINCE_LAST" if minutes else within.upper()
    if f"PER_{per.upper()}" not in dict(pb.RiskRule.Per.items()):
        raise typer.BadParameter("--per is channel, product, account or account_face")
    if f"WITHIN_{window}" not in dict(pb.RiskRule.Within.items()):
        raise typer.BadParameter("--within is day, month, or a number of minutes")
    try:
        amount_micros = yuan_to_micros(amount)
    except ValueError as error:
        raise typer.BadParameter(f"--amount: {error}") from None
    rule = pb.RiskRule(
        rule_id=rule_id,
        per=pb.RiskRule.Per.Value(f"PER_{per.upper()}"),
        within=pb.RiskRule.Within.Value(f"WITHIN_{window}"),
        minutes=minutes,
        count_max=count_max,
        amount_max_micros=amount_micros,
        channel_no=channel_no,
        line_id=line_id,
        shadow=not refuse,
        confirmable=confirmable,
        enabled=enabled,
    )
    request = pb.SetRuleRequest(rule=rule, by=getpass.getuser(), reason=reason)
    call(target, "Risk", "SetRule", request)
    typer.echo(f"{rule_id}: set")


@app.command()
def remove(rule_id: str, reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """Remove a rule and what it has counted."""
    from shoudan.order.v1 import risk_service_pb2 as pb

    request = pb.RemoveRuleRequest(rule_id=rule_id, by=getpass.getuser(), reason=reason)
    call(target, "Risk", "RemoveRule", request)
    typer.echo(f"{rule_id}: removed")


@app.command()
def block(
    account: str,
    reason: Reason,
    channel_no: Channel = "",
    days: Annotated[int, typer.Option(help="Days until it ends; 0 for never.")] = 0,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Refuse orders for an account."""
    _listed(account, reason, channel_no, days, target, exempt=False)


@app.command()
def exempt(
    account: str,
    reason: Reason,
    channel_no: Channel = "",
    days: Annotated[int, typer.Option(help="Days until it ends; 0 for never.")] = 0,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Let an account order whatever the rules say; one that is blocked stays so."""
    _listed(account, reason, channel_no, days, target, exempt=True)


def _listed(
    account: str, reason: str, channel_no: str, days: int, target: str, *, exempt: bool
) -> None:
    from shoudan.order.v1 import risk_service_pb2 as pb

    request = pb.SetEntryRequest(
        recharge_account=account,
        exempt=exempt,
        channel_no=channel_no,
        by=getpass.getuser(),
        reason=reason,
    )
    if days > 0:
        request.expire_time.FromDatetime(datetime.now(UTC) + timedelta(days=days))
    made: Any = call(target, "Risk", "SetEntry", request)
    typer.echo(f"entry {made.entry_id}")


@app.command()
def lift(entry_id: int, reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """Take an entry off the list."""
    from shoudan.order.v1 import risk_service_pb2 as pb

    request = pb.RemoveEntryRequest(entry_id=entry_id, by=getpass.getuser(), reason=reason)
    call(target, "Risk", "RemoveEntry", request)
    typer.echo(f"entry {entry_id}: lifted")


@app.command("list")
def entries(
    after: Annotated[str, typer.Option(help="The token that the page before ended with.")] = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Blocked and exempt accounts, oldest first, at most 1000."""
    from rich.console import Console
    from rich.table import Table

    from shoudan.order.v1 import risk_service_pb2 as pb

    request = pb.ListEntriesRequest(page_size=PAGE, page_token=after)
    found: Any = call(target, "Risk", "ListEntries", request)
    table = Table("entry", "is", "account", "channel", "until", "by", "why")
    for one in found.entries:
        ends = beijing(one.expire_time.ToDatetime(UTC)) if one.HasField("expire_time") else ""
        word = "exempt" if one.exempt else "blocked"
        account, channel = f"…{one.account_tail}", one.channel_no or "all"
        table.add_row(str(one.entry_id), word, account, channel, ends, one.made_by, one.reason)
    Console().print(table)
    if found.next_page_token:
        typer.echo(f"there is more: --after {found.next_page_token}", err=True)
