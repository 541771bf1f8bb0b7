"""`shoudan route ...`: why a supplier was chosen, and what another policy would have chosen."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Final

import typer

from shoudan_kit.money import micros_to_yuan
from shoudan_order.commands import DEFAULT_TARGET, Ask, Target, call, run

app = typer.Typer(no_args_is_help=True)

PAGE: Final = 500
SUMS: Final = (
    "orders", "unbound", "moved", "compared", "was_cost_micros", "would_cost_micros", "was_ended",
    "was_succeeded", "would_parts", "would_per_mille_sum",
)  # fmt: skip


@app.command()
def explain(order_id: int, target: Target = DEFAULT_TARGET) -> None:
    """Why each part of an order went to its supplier."""
    from shoudan.order.v1 import catalogue_service_pb2 as pb

    request = pb.GetRouteRequest(order_id=order_id)
    found: Any = call(target, "Catalogue", "GetRoute", request)
    for one in found.parts:
        cost = micros_to_yuan(one.cost_amount_micros)
        typer.echo(
            f"#{one.delivery_id} {one.up_channel_no}, {cost} 元, state {one.delivery_status}"
        )
        typer.echo(f"  {one.words}")
    if not found.parts:
        typer.echo("not bound yet")
    if found.unbound:
        typer.echo(f"for what is not bound, {found.unbound}")


@app.command()
def simulate(
    day: Annotated[str, typer.Option(help="A day of Beijing, YYYY-MM-DD.")],
    line_id: Annotated[int, typer.Option("--line", help="Product line whose orders.")],
    policy: Annotated[str, typer.Option(help="cheapest, weighted or outcome.")],
    weights: Annotated[str, typer.Option(help="SUPPLIER=SHARE,… of weighted.")] = "",
    terms: Annotated[str, typer.Option(help="NAME=NUMBER,… of outcome.")] = "",
    most: Annotated[int, typer.Option(help="Orders looked at in each shard, at most.")] = 10_000,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Try a policy on the stored orders of a day; nothing is changed."""
    from shoudan.order.v1 import catalogue_service_pb2 as pb

    request = pb.CheckRouteRequest(
        day=day,
        line_id=line_id,
        route_policy=policy,
        route_weights=_numbers("--weights", weights),
        route_terms=_numbers("--terms", terms),
        page_size=PAGE,
    )

    async def pages(ask: Ask) -> list[Any]:
        found: list[Any] = []
        while len(found) * PAGE < most:
            page = await ask("Catalogue", "CheckRoute", request)
            found.append(page)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        return found

    _show(run(target, pages))
    if request.page_token:
        typer.echo(f"the day has more orders: --most is {most}", err=True)


def _numbers(name: str, text: str) -> dict[str, int]:
    """`A=70,B=30` by name."""
    made: dict[str, int] = {}
    for one in filter(None, text.split(",")):
        key, _, value = one.rpartition("=")
        if not (key and value.isascii() and value.isdigit() and len(value) < 8):
            raise typer.BadParameter(f"{name}: {one} is not NAME=NUMBER")
        made[key.strip()] = int(value)
    return made


def _show(pages: list[Any]) -> None:
    """The sums of all pages, in words."""
    total = {name: sum(getattr(page, name) for page in pages) for name in SUMS}
    was: Counter[str] = Counter()
    would: Counter[str] = Counter()
    for page in pages:
        was.update(page.was)
        would.update(page.would)
    typer.echo(
        f"{total['orders']} orders; {total['moved']} would begin with another supplier,"
        f" {total['unbound']} would have none"
    )
    before, after = (micros_to_yuan(total[f"{name}_cost_micros"]) for name in ("was", "would"))
    typer.echo(f"cost of the {total['compared']} delivered whole: {before} 元, would be {after} 元")
    typer.echo(
        f"success of 1000: {_per_mille(total['was_succeeded'] * 1_000, total['was_ended'])},"
        f" expected {_per_mille(total['would_per_mille_sum'], total['would_parts'])}"
    )
    for channel_no in sorted(was | would):
        typer.echo(f"{channel_no}: {was[channel_no]} parts, would be {would[channel_no]}")


def _per_mille(of: int, parts: int) -> str:
    return str(of // parts) if parts else "-"
