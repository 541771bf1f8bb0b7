"""`shoudan endpoint ...`: where channels are sent what happens, and how that goes."""

from __future__ import annotations

import getpass
from datetime import UTC
from typing import Annotated, Any, Final

import typer

from shoudan_kit.clock import beijing
from shoudan_order.commands import DEFAULT_TARGET, Ask, Reason, Target, call, run

app = typer.Typer(no_args_is_help=True)

STATES: Final = {0: "active", 10: "paused", 90: "off"}
Channel = Annotated[str, typer.Argument(help="Number of the channel.")]
Endpoint = Annotated[str, typer.Argument(help="Number of its endpoint.")]


@app.command("ls")
def list_endpoints(
    channel_no: Annotated[str, typer.Argument(help="Of this channel; of all when absent.")] = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Endpoints, how they do, and what was not sent to them."""
    found = run(target, lambda ask: _endpoints(ask, channel_no))
    for one in found:
        setting = "" if one.enabled else "  switched off in the catalogue"
        typer.echo(f"{one.endpoint_no}  {STATES.get(one.state, one.state)}{setting}  {one.url}")
        wanted = ", ".join(one.events) or "everything"
        typer.echo(f"    {one.channel_no}: {wanted}, body version {one.body_version}")
        last = f"; last {beijing(one.answer_time.ToDatetime(UTC))}" if one.sent else ""
        typer.echo(
            f"    {one.recent_acknowledged} of the last {one.recent_sent} acknowledged{last}"
        )
        if one.fails:
            part = f" ({one.alert_level} % alerted)" if one.alert_level else ""
            typer.echo(f"    {one.fails} of {one.fails_max} failures in a row{part}: {one.answer}")
        if one.reason:
            typer.echo(f"    {one.reason}")
        if one.given_up_count:
            again = f"shoudan endpoint resend {one.channel_no} {one.endpoint_no}"
            typer.echo(f"    {one.given_up_count} were not sent: {again}")
    if not found:
        typer.echo("no endpoint: shoudan endpoint put CHANNEL ENDPOINT --url URL")


async def _endpoints(ask: Ask, channel_no: str) -> list[Any]:
    from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
    from shoudan.order.v1 import endpoint_service_pb2 as pb

    numbers = {channel_no}
    if not channel_no:
        now = await ask("Catalogue", "GetCatalogue", catalogue_pb.GetCatalogueRequest())
        numbers = {one.channel_no for one in now.catalogue.notify_endpoints}
    found: list[Any] = []
    for number in sorted(numbers):
        request = pb.ListEndpointsRequest(channel_no=number)
        found += (await ask("Endpoint", "ListEndpoints", request)).endpoints
    return found


@app.command()
def put(
    channel_no: Channel,
    endpoint_no: Endpoint,
    url: Annotated[str, typer.Option(help="Where to, under the rules of a notify_url.")],
    events: Annotated[
        str, typer.Option(help="order.ended,refund.ended,… ; everything when absent.")
    ] = "",
    body_version: Annotated[int, typer.Option(help="0 as documented, 1 in an envelope.")] = 1,
    enabled: Annotated[bool, typer.Option(help="Nothing is owed to one that is not.")] = True,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Make an endpoint exactly so. Its secret: shoudan partner key issue endpoint ENDPOINT."""
    from shoudan.order.v1 import catalogue_service_pb2 as pb

    one = pb.NotifyEndpoint(
        endpoint_no=endpoint_no,
        channel_no=channel_no,
        url=url,
        events=[name for name in events.split(",") if name],
        body_version=body_version,
        enabled=enabled,
    )
    catalogue = pb.Catalogue(notify_endpoints=[one])
    request = pb.ApplyCatalogueRequest(catalogue=catalogue, by=getpass.getuser())
    made: Any = call(target, "Catalogue", "ApplyCatalogue", request)
    for line in made.changes:
        typer.echo(line)
    if not made.changes:
        typer.echo("nothing changed")


@app.command()
def pause(
    channel_no: Channel, endpoint_no: Endpoint, reason: Reason, target: Target = DEFAULT_TARGET
) -> None:
    """Send it nothing; what it is owed meanwhile is kept."""
    _state((channel_no, endpoint_no), reason, target, paused=True)


@app.command()
def resume(
    channel_no: Channel, endpoint_no: Endpoint, reason: Reason, target: Target = DEFAULT_TARGET
) -> None:
    """Send it again what it is owed from now on; what was kept is sent by `resend`."""
    _state((channel_no, endpoint_no), reason, target, paused=False)


def _state(which: tuple[str, str], reason: str, target: str, *, paused: bool) -> None:
    from shoudan.order.v1 import endpoint_service_pb2 as pb

    request = pb.SetEndpointStateRequest(
        channel_no=which[0],
        endpoint_no=which[1],
        paused=paused,
        by=getpass.getuser(),
        reason=reason,
    )
    done: Any = call(target, "Endpoint", "SetEndpointState", request)
    was = "" if done.changed else " as before"
    typer.echo(f"{which[1]}: {STATES.get(done.endpoint.state, '')}{was}")
    if not paused and done.endpoint.given_up_count:
        typer.echo(f"{done.endpoint.given_up_count} were not sent: shoudan endpoint resend")


@app.command("test")
def try_one(channel_no: Channel, endpoint_no: Endpoint, target: Target = DEFAULT_TARGET) -> None:
    """Send a test once; ends with 1 when it was not acknowledged."""
    from shoudan.order.v1 import endpoint_service_pb2 as pb

    request = pb.TestEndpointRequest(channel_no=channel_no, endpoint_no=endpoint_no)
    done: Any = call(target, "Endpoint", "TestEndpoint", request, call_s=30)
    said = "acknowledged" if done.acknowledged else f"not acknowledged: {done.answer}"
    typer.echo(f"{said} ({done.took_ms} ms)")
    if not done.acknowledged:
        raise typer.Exit(1)


@app.command()
def notifies(
    channel_no: Channel,
    endpoint_no: Endpoint,
    given_up: Annotated[bool, typer.Option(help="Only what was not sent.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """What it was sent within 28 days, the newest hundred."""
    from shoudan.order.v1 import endpoint_service_pb2 as pb

    request = pb.ListEndpointNotifiesRequest(
        channel_no=channel_no, endpoint_no=endpoint_no, given_up=given_up
    )
    found: Any = call(target, "Endpoint", "ListEndpointNotifies", request)
    for one in found.notifies:
        state = "acknowledged" if one.HasField("end_time") else "waits"
        state = "kept" if one.given_up else state
        since = beijing(one.create_time.ToDatetime(UTC))
        typer.echo(f"{one.notify_id}  {since}  {one.event}  {one.event_key}  {state}")
        if one.answer:
            typer.echo(f"    {one.tries} of {one.tries_max}: {one.answer}")
    if not found.notifies:
        typer.echo("nothing")


@app.command()
def resend(
    channel_no: Channel,
    endpoint_no: Endpoint,
    notify_ids: Annotated[list[int] | None, typer.Argument(help="These; all when absent.")] = None,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Give what was not sent three more attempts, a thousand at a time."""
    from shoudan.order.v1 import endpoint_service_pb2 as pb

    request = pb.ResendEndpointNotifiesRequest(
        channel_no=channel_no,
        endpoint_no=endpoint_no,
        notify_ids=notify_ids or [],
        by=getpass.getuser(),
    )
    done: Any = call(target, "Endpoint", "ResendEndpointNotifies", request)
    typer.echo(f"{done.count} sent again")
