"""`shoudan erp ...`: search what ERPs pushed, try quarantined pushes again, reveal, erase."""

from __future__ import annotations

import getpass
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer

app = typer.Typer(no_args_is_help=True)

CALL_S = 60.0
DEFAULT_TARGET = "127.0.0.1:50054"
T = TypeVar("T")

Target = Annotated[
    str, typer.Option(help="gRPC address of ERP ingest.", envvar="SHOUDAN_ERP_INGEST_TARGET")
]
Reason = Annotated[str, typer.Option(help="Why; it is recorded with your name.")]
Refunds = Annotated[bool, typer.Option("--refunds", help="Refunds instead of trades.")]


@app.callback()
def erp() -> None:
    """What ERPs push."""


@app.command()
def search(
    refunds: Refunds = False,
    sender: Annotated[str, typer.Option(help="customerid or app_key.")] = "",
    tid: Annotated[str, typer.Option(help="Exact tid.")] = "",
    refund_no: Annotated[str, typer.Option(help="Exact refund_no.")] = "",
    phone: Annotated[str, typer.Option(help="Exact phone, however written.")] = "",
    status: Annotated[str, typer.Option(help="Exact status.")] = "",
    shop: Annotated[str, typer.Option(help="Exact shop.")] = "",
    since: Annotated[str, typer.Option(help="Changed from, ISO time with zone.")] = "",
    until: Annotated[str, typer.Option(help="Changed before, ISO time with zone.")] = "",
    count: Annotated[int, typer.Option(help="At most so many.", min=1, max=1000)] = 20,
    every: Annotated[bool, typer.Option("--all", help="All of them, oldest first.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Print documents as JSON lines, newest change first; personal data is masked."""
    from shoudan.erp.v1 import erp_service_pb2 as pb

    wanted = pb.Filter(
        sender=sender, tid=tid, refund_no=refund_no, phone=phone, status=status, shop=shop
    )
    for field, text in ((wanted.start_time, since), (wanted.end_time, until)):
        if text:
            field.FromDatetime(_moment(text))
    if every:
        _run(target, lambda stub: _stream(stub, wanted, refunds))
        return
    if refunds:
        found = _call(
            target, "SearchRefunds", pb.SearchRefundsRequest(filter=wanted, page_size=count)
        ).refunds
    else:
        found = _call(
            target, "SearchTrades", pb.SearchTradesRequest(filter=wanted, page_size=count)
        ).trades
    for one in found:
        _print(one)


@app.command()
def quarantined(
    count: Annotated[int, typer.Option(help="At most so many.", min=1, max=1000)] = 50,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Pushes that could not be stored, newest first, and what is wrong with them."""
    from shoudan.erp.v1 import erp_service_pb2 as pb

    answer = _call(target, "ListQuarantined", pb.ListQuarantinedRequest(page_size=count))
    for one in answer.pushes:
        when = one.create_time.ToJsonString()
        typer.echo(f"{one.push_id}  {when}  {one.sender}  {one.reason}")


@app.command()
def reprocess(
    push_id: Annotated[list[int] | None, typer.Argument(help="These; all without.")] = None,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Try quarantined pushes again."""
    from shoudan.erp.v1 import erp_service_pb2 as pb

    answer = _call(target, "Reprocess", pb.ReprocessRequest(push_ids=push_id or []))
    typer.echo(f"{answer.stored} stored, {answer.quarantined} still quarantined")


@app.command()
def reveal(
    number: Annotated[int, typer.Argument(help="Our number of the document.")],
    reason: Reason,
    refund: Annotated[bool, typer.Option("--refund", help="It is a refund.")] = False,
    push: Annotated[bool, typer.Option("--push", help="It is a raw push: print its body.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Print the personal data of one document, or one raw body; it is recorded that you did."""
    from shoudan.erp.v1 import erp_service_pb2 as pb

    by = getpass.getuser()
    if push:
        request = pb.RevealPushRequest(push_id=number, by=by, reason=reason)
        body: bytes = _call(target, "RevealPush", request).body
        typer.echo(body, nl=False)
        return
    kind = pb.PUSH_KIND_REFUND if refund else pb.PUSH_KIND_TRADE
    answer = _call(target, "Reveal", pb.RevealRequest(kind=kind, id=number, by=by, reason=reason))
    typer.echo(json.dumps(dict(answer.fields), ensure_ascii=False, indent=2, sort_keys=True))


@app.command()
def erase(
    phone: Annotated[str, typer.Argument(help="Phone of the person.")],
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Remove the personal data of all persons with this phone, for good."""
    from shoudan.erp.v1 import erp_service_pb2 as pb

    if not yes:
        typer.confirm("This cannot be undone. Erase?", abort=True)
    request = pb.EraseSubjectRequest(phone=phone, by=getpass.getuser(), reason=reason)
    typer.echo(f"{_call(target, 'EraseSubject', request).documents} documents erased")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("such as 2026-11-20T00:00:00+08:00") from None
    if moment.tzinfo is None:
        raise typer.BadParameter("say the zone, such as +08:00")
    return moment


def _print(one: Any) -> None:
    typer.echo(f'{{"id":"{one.id}","sender":{json.dumps(one.sender)},"document":{one.json}}}')


async def _stream(stub: Any, wanted: Any, refunds: bool) -> None:
    from shoudan.erp.v1 import erp_service_pb2 as pb

    if refunds:
        async for some in stub.ExportRefunds(pb.ExportRefundsRequest(filter=wanted)):
            for one in some.refunds:
                _print(one)
        return
    async for some in stub.ExportTrades(pb.ExportTradesRequest(filter=wanted)):
        for one in some.trades:
            _print(one)


def _call(target: str, method: str, request: Any) -> Any:
    return _run(target, lambda stub: getattr(stub, method)(request, timeout=CALL_S))


def _run(target: str, work: Callable[[Any], Awaitable[T]]) -> T:
    from shoudan.erp.v1 import erp_service_pb2_grpc as rpc
    from shoudan_kit.rpc.command import run_command

    return run_command(target, "erp_ingest", lambda channel: work(rpc.ErpServiceStub(channel)))
