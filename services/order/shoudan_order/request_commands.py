"""`shoudan request ...`: what partners called, by partner, period and request id."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from shoudan_kit.clock import beijing
from shoudan_order.commands import DEFAULT_TARGET, Ask, Target, run

app = typer.Typer(no_args_is_help=True)
PAGES_MAX = 1_000
USAGE = ("party", "protocol", "call", "version", "count", "last_day")


@app.command("ls")
def list_requests(
    party: Annotated[str, typer.Argument(help="Such as `channel ACME`, `merchant 2f…`.")],
    hours: Annotated[int, typer.Option(help="Of the last so many hours.", min=1, max=672)] = 1,
    request_id: Annotated[str, typer.Option("--id", help="Only this X-Request-Id.")] = "",
    failed: Annotated[bool, typer.Option(help="Only those answered by an error.")] = False,
    count: Annotated[int, typer.Option(help="At most so many.", min=1, max=10_000)] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Requests of a partner, oldest first, refused ones too."""
    from google.protobuf.timestamp_pb2 import Timestamp

    from shoudan.order.v1 import request_log_service_pb2 as pb

    now = datetime.now(UTC)
    start, end = Timestamp(), Timestamp()
    start.FromDatetime(now - timedelta(hours=hours))
    end.FromDatetime(now + timedelta(minutes=1))
    request = pb.ListRequestsRequest(
        party=party, start_time=start, end_time=end, request_id=request_id, failed=failed
    )
    found, lost = run(target, lambda ask: _gathered(ask, request, count))
    for one in found:
        typer.echo(json.dumps(_row(one), ensure_ascii=False) if as_json else _line(one))
    if not found and not as_json:
        typer.echo("no such request is in the log")
    if lost:
        typer.echo(f"{lost} more were lost before they were stored", err=True)


async def _gathered(ask: Ask, request: Any, count: int) -> tuple[list[Any], int]:
    """The first requests that fit, and how many were lost beside them."""
    found: list[Any] = []
    lost = 0
    for _ in range(PAGES_MAX):
        request.page_size = min(500, count - len(found))
        page = await ask("RequestLog", "ListRequests", request)
        found += page.requests
        lost += page.lost_count
        request.page_token = page.next_page_token
        if not request.page_token or len(found) >= count:
            break
    return found, lost


def _row(one: Any) -> dict[str, Any]:
    return {
        "time": one.time.ToDatetime(UTC).isoformat(timespec="milliseconds"),
        "request_id": one.request_id,
        "method": one.method,
        "path": one.path,
        "http_status": one.http_status,
        "error_code": one.error_code,
        "took_ms": one.took_ms,
        "remote_ip": one.remote_ip,
        "admitted": one.admitted,
        "params": dict(one.params),
    }


def _line(one: Any) -> str:
    params = " ".join(f"{name}={value}" for name, value in sorted(one.params.items()))
    error = f" {one.error_code}" if one.error_code else ""
    known = "" if one.admitted else " (not admitted)"
    return (
        f"{beijing(one.time.ToDatetime(UTC))}  {one.method} {one.path}  {one.http_status}{error}"
        f"  {one.took_ms} ms  {one.remote_ip}{known}\n    {one.request_id}  {params}"
    )


@app.command()
def usage(
    party: Annotated[str, typer.Argument(help="Such as `channel ACME`; all when absent.")] = "",
    days: Annotated[int, typer.Option(help="Of the last so many days.", min=1, max=90)] = 30,
    version: Annotated[str, typer.Option(help="Only calls answered in this version.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Who still calls what, in which version, and when last."""
    found = [
        one
        for one in run(target, lambda ask: _usage(ask, party, days))
        if version in {"", one.version}
    ]
    for one in found:
        facts = {name: getattr(one, name) for name in USAGE}
        line = f"{one.party}  {one.protocol} {one.call}  version {one.version}"
        line += f"  {one.count} times, last {one.last_day}"
        typer.echo(json.dumps(facts, ensure_ascii=False) if as_json else line)
    if not found and not as_json:
        typer.echo("no such call was counted")


async def _usage(ask: Ask, party: str, days: int) -> list[Any]:
    """All pages, at most PAGES_MAX."""
    from shoudan.order.v1 import request_log_service_pb2 as pb

    request = pb.ListUsageRequest(party=party, days=days, page_size=1_000)
    found: list[Any] = []
    for _ in range(PAGES_MAX):
        page = await ask("RequestLog", "ListUsage", request)
        found += page.usage
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    return found
