"""`shoudan order|audit|notify ...`: an order's life, what only a person can decide, notifies given up."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypeVar

import typer

from shoudan_kit.clock import beijing
from shoudan_kit.language import Lang, chosen
from shoudan_order import archived_moments
from shoudan_order.archived_moments import Line

order = typer.Typer(no_args_is_help=True)
audit = typer.Typer(no_args_is_help=True)
notify = typer.Typer(no_args_is_help=True)

CALL_S = 10.0
# The columns of an order's life.
HEADS: Final = ("time", "service", "tag", "what", "text", "trace", "found in")
HEADS_ZH: Final = ("时间", "服务", "标签", "事件", "内容", "跟踪号", "来源")
DEFAULT_TARGET: Final = "127.0.0.1:50051"
STATUSES = {"success": 0, "failed": 90, "partial": 91}
# What one look at parked orders passes through at most: a hundred thousand of them.

T = TypeVar("T")
Ask = Callable[[str, str, Any], Awaitable[Any]]
Target = Annotated[
    str, typer.Option(help="gRPC address of the order service.", envvar="SHOUDAN_ORDER_TARGET")
]
Reason = Annotated[str, typer.Option(help="Why; it is recorded with your name.")]


@order.callback()
def orders() -> None:
    """Orders."""


@order.command()
def show(
    order_id: int,
    at: Annotated[
        str, typer.Option(envvar="SHOUDAN_ARCHIVE", help="Also search this archive of old parts.")
    ] = "",
    target: Target = DEFAULT_TARGET,
    lang: Lang = "",
) -> None:
    """One order whole, and its life as order, pay and delivery saw it; where each line was found."""
    from rich.console import Console
    from rich.table import Table

    language = chosen(lang)
    zh = language == "zh"
    found, lines = run(target, lambda ask: _order_and_life(ask, order_id))
    if at:
        lines = _with_archived(at, order_id, found, lines)
    if found is None and not lines:
        where = "the database" + (f" and in {at}" if at else "; is there an archive? --at")
        wo = f"数据库和 {at} 中" if at else "数据库中；如有归档请加 --at"
        said = f"没有订单 {order_id}：不在{wo}" if zh else f"order {order_id} is not in {where}"
        typer.echo(said, err=True)
        raise typer.Exit(1)
    console = Console()
    if found is None:
        archived = f"订单 {order_id} 已不在数据库中；归档的过程：" if zh else ""
        console.print(archived or f"order {order_id} is not in the database; its archived life:")
    else:
        from shoudan_order import order_words

        for line in order_words.lines(found, language):
            typer.echo(line)
    table = Table(*(HEADS_ZH if zh else HEADS))
    for one in lines:
        time = beijing(one.time)
        table.add_row(time, one.service, one.tag, one.what, one.text, one.trace_id, one.place)
    console.print(table)


async def _order_and_life(ask: Ask, order_id: int) -> tuple[Any, list[Line]]:
    """The order and its life in the databases; None and nothing when it is not there."""
    from grpc import StatusCode, aio

    from shoudan.order.v1 import order_service_pb2 as pb

    try:
        found = await ask("Order", "GetOrder", pb.GetOrderRequest(order_id=order_id))
        life = await ask("Order", "GetLifecycle", pb.GetLifecycleRequest(order_id=order_id))
    except aio.AioRpcError as error:
        if error.code() is not StatusCode.NOT_FOUND:
            raise
        return None, []
    return found.order, archived_moments.of_database(life.moments)


def _with_archived(at: str, order_id: int, found: Any, lines: list[Line]) -> list[Line]:
    from shoudan_kit.archive.place import ArchiveFailed, Place
    from shoudan_kit.archive.read import events

    try:
        keys = archived_moments.keys_of(order_id, found)
        archived = archived_moments.of_archive(events(Place(at), keys, order_id))
    except ArchiveFailed as error:
        typer.echo(f"archive: {error}", err=True)
        raise typer.Exit(1) from None
    return archived_moments.merged([*lines, *archived])


@order.command()
def pause(order_ids: list[int], reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """Bind nothing more of these orders to suppliers; what was handed over goes on."""
    _pause(order_ids, reason, target, paused=True)


@order.command()
def resume(order_ids: list[int], reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """Let paused orders go on."""
    _pause(order_ids, reason, target, paused=False)


def _pause(order_ids: list[int], reason: str, target: str, *, paused: bool) -> None:
    from shoudan.order.v1 import audit_service_pb2 as pb

    message = pb.PauseDeliveryRequest(
        order_ids=order_ids, paused=paused, by=getpass.getuser(), reason=reason
    )
    done: Any = call(target, "Audit", "PauseDelivery", message)
    changed = ", ".join(map(str, done.order_ids)) or "nothing changed"
    typer.echo(f"{'paused' if paused else 'resumed'}: {changed}")


@dataclass(frozen=True, slots=True)
class Paging:
    """How a list is fetched: rows of one call, and calls at most."""

    rows: int = 1_000
    pages_max: int = 100


@order.command()
def parked(
    context: typer.Context,
    count: Annotated[int, typer.Option(help="At most so many.", min=1, max=1000)] = 50,
    after: Annotated[int, typer.Option(help="Only orders made after this one.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Orders that wait for a person, oldest first: why, since when, and the audits that end it."""
    paging = context.obj or Paging()
    found = run(target, lambda ask: _look(ask, after, count, paging))
    if not found.whole:
        most = paging.pages_max * paging.rows
        typer.echo(f"more than {most} are parked: older ones are not shown", err=True)
    rows = [_row(one, found.audits.get(one.state.order_id, ())) for one in found.orders]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
        return
    if not rows:
        typer.echo(f"no order made after {after} is parked" if after else "no order is parked")
        return
    for row in rows:
        typer.echo(_lines(row))
    if found.count > len(rows):
        typer.echo(f"{len(rows)} of {found.count}; go on with --after {rows[-1]['order_id']}")


@dataclass(frozen=True, slots=True)
class _Found:
    """Parked orders, oldest first, with what waits for a decision; `count` there are in all."""

    orders: Sequence[Any]
    audits: Mapping[int, Sequence[Any]]
    count: int
    whole: bool


async def _look(ask: Ask, after: int, count: int, paging: Paging) -> _Found:
    """The oldest `count` after this one. The service lists the newest first, so all are passed."""
    from shoudan.order.v1 import order_service_pb2 as pb

    oldest: deque[Any] = deque(maxlen=count)
    passed, token, more = 0, "", True
    for _ in range(paging.pages_max):
        wanted = pb.ListOrdersRequest(parked=True, page_size=paging.rows, page_token=token)
        page = await ask("Order", "ListOrders", wanted)
        later = [one for one in page.orders if one.state.order_id > after]
        oldest.extend(later)
        passed += len(later)
        token = page.next_page_token
        more = bool(token) and len(later) == len(page.orders)
        if not more:
            break
    audits = await _audits_of(ask, {one.state.order_id for one in oldest}, paging)
    return _Found(list(reversed(oldest)), audits, passed, whole=not more)


async def _audits_of(ask: Ask, order_ids: set[int], paging: Paging) -> Mapping[int, Sequence[Any]]:
    """What waits for a decision of each of these orders, oldest first."""
    from shoudan.order.v1 import audit_service_pb2 as pb

    found: defaultdict[int, list[Any]] = defaultdict(list)
    token = ""
    for _ in range(paging.pages_max if order_ids else 0):
        wanted = pb.ListAuditsRequest(page_size=paging.rows, page_token=token)
        page = await ask("Audit", "ListAudits", wanted)
        for one in page.audits:
            if one.order_id in order_ids:
                found[one.order_id].append(one)
        token = page.next_page_token
        if not token:
            break
    return found


def _row(one: Any, audits: Sequence[Any]) -> dict[str, Any]:
    """What `--json` prints, with exactly these keys; numbers as text, they have more than 53 bits.

    It waits since its first audit was asked for; null when none waits any more.
    """
    from shoudan.order.v1 import order_service_pb2 as pb

    since = audits[0].create_time.ToDatetime(UTC) if audits else None
    age = None if since is None else max(datetime.now(UTC) - since, timedelta())
    return {
        "order_id": str(one.state.order_id),
        "channel_no": one.state.channel_no,
        "request_no": one.state.request_no,
        "state": pb.OrderStatus.Name(one.state.status).removeprefix("ORDER_STATUS_").lower(),
        "parked_reason": one.parked_reason,
        "since": None if since is None else since.isoformat(timespec="seconds"),
        "age_s": None if age is None else int(age.total_seconds()),
        "audit_ids": [str(audit.audit_id) for audit in audits],
    }


def _lines(row: Mapping[str, Any]) -> str:
    """Two lines instead of a table: none of it may be cut off, and its numbers are to be copied."""
    since = "since an unknown time"
    if row["since"] is not None:
        age = timedelta(seconds=row["age_s"])
        since = f"since {beijing(datetime.fromisoformat(row['since']))} ({age})"
    audits = ", ".join(row["audit_ids"]) or "none waits"
    return (
        f"{row['order_id']}  {row['channel_no']} {row['request_no']}  {row['state']}  {since}\n"
        f"    {row['parked_reason']}; audit {audits}"
    )


@notify.command()
def dead(channel_no: str = "", target: Target = DEFAULT_TARGET) -> None:
    """Notifies that were given up, oldest first, at most 1000."""
    from rich.console import Console
    from rich.table import Table

    from shoudan.order.v1 import audit_service_pb2 as pb

    message = pb.ListDeadNotifiesRequest(channel_no=channel_no, page_size=1_000)
    found: Any = call(target, "Audit", "ListDeadNotifies", message)
    table = Table("notify", "order", "refund", "attempts", "last answer", "to")
    for one in found.notifies:
        refund = str(one.refund_id or "")
        count = str(one.notify_count)
        table.add_row(
            str(one.notify_id), str(one.order_id), refund, count, one.notify_msg, one.notify_url
        )
    Console().print(table)


@notify.command("ls")
def list_notifies(channel_no: str = "", target: Target = DEFAULT_TARGET) -> None:
    """What channels have not acknowledged: notifies given up, and those of their shelves and goods."""
    from datetime import UTC

    from shoudan.order.v1 import audit_service_pb2 as pb
    from shoudan_kit.clock import beijing

    message = pb.ListDeadNotifiesRequest(channel_no=channel_no, page_size=1_000)
    dead: Any = call(target, "Audit", "ListDeadNotifies", message)
    for one in dead.notifies:
        refund = f"refund {one.refund_id} of " if one.refund_id else ""
        about = f"{refund}order {one.order_id}"
        typer.echo(f"notify {one.notify_id}  {about}  given up after {one.notify_count}")
        typer.echo(f"    {one.notify_msg or 'no answer'}; {one.notify_url}")
    asked = pb.ListShelfNotifiesRequest(channel_no=channel_no, page_size=1_000)
    left: Any = call(target, "Audit", "ListShelfNotifies", asked)
    for shelf in left.notifies:
        about = f"goods {shelf.product_id} ({shelf.token})" if shelf.product_id else "shelves"
        state = "given up" if shelf.given_up else "tried again"
        since = beijing(shelf.notify_time.ToDatetime(UTC))
        typer.echo(f"{shelf.channel_no}  {about}  {state} after {shelf.fails}, last {since}")
        typer.echo(f"    {shelf.answer}; {shelf.notify_url}; has version {shelf.version}")
    if not dead.notifies and not left.notifies:
        typer.echo("everything is acknowledged")
    if dead.next_page_token or left.next_page_token:
        typer.echo("there is more: --channel-no", err=True)


@notify.command("show")
def show_notifies(order_id: int, target: Target = DEFAULT_TARGET) -> None:
    """Every notify of one order and its refunds: where to, how often, the last answer."""
    from shoudan.order.v1 import order_service_pb2 as pb

    found: Any = call(target, "Order", "GetOrder", pb.GetOrderRequest(order_id=order_id))
    for one in found.order.notifies:
        state = {0: "acknowledged", 100: "answered by query"}.get(one.notify_status, "waits")
        count = f"{one.notify_count} of {one.max_count}"
        typer.echo(f"notify {one.notify_id}  refund {one.refund_id or '-'}  {state}  {count}")
        typer.echo(f"    {one.notify_msg or 'no answer'}; {one.notify_url}")
    if not found.order.notifies:
        typer.echo("it has none")


@notify.command()
def resend(
    notify_ids: Annotated[list[int] | None, typer.Argument()] = None,
    channel_no: Annotated[str, typer.Option(help="All given up of this channel.")] = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Give notifies that were given up three more attempts: these, or all of a channel with its shelves'."""
    from shoudan.order.v1 import audit_service_pb2 as pb

    if not notify_ids and not channel_no:
        raise typer.BadParameter("which: numbers, or --channel-no")
    message = pb.ResendNotifiesRequest(
        notify_ids=notify_ids or [], channel_no=channel_no, by=getpass.getuser()
    )
    done: Any = call(target, "Audit", "ResendNotifies", message)
    typer.echo(f"{done.count} sent again")


@audit.command("ls")
def list_audits(order_id: int = 0, target: Target = DEFAULT_TARGET) -> None:
    """What waits for a decision, oldest first."""
    from rich.console import Console
    from rich.table import Table

    from shoudan.order.v1 import audit_service_pb2 as pb

    found: Any = call(target, "Audit", "ListAudits", pb.ListAuditsRequest(order_id=order_id))
    table = Table("audit", "order", "of", "kind", "why")
    for one in found.audits:
        kind = pb.AuditType.Name(one.type).removeprefix("AUDIT_TYPE_").lower()
        number = str(one.delivery_id or one.refund_id or one.order_id)
        table.add_row(str(one.audit_id), str(one.order_id), number, kind, one.message)
    Console().print(table)


@audit.command()
def decide(audit_id: int, status: str, reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """End an audit: success, failed or partial."""
    from shoudan.order.v1 import audit_service_pb2 as pb

    if status not in STATUSES:
        raise typer.BadParameter(f"one of {', '.join(STATUSES)}")
    request = pb.DecideAuditRequest(
        audit_id=audit_id, status=STATUSES[status], by=getpass.getuser(), reason=reason
    )
    proposal = run(target, lambda ask: _decide_or_propose(ask, request))
    if proposal is None:
        typer.echo(f"audit {audit_id}: {status}")
        return
    from shoudan_kit.proposals.command import lines

    for line in lines("order", proposal):
        typer.echo(line)


async def _decide_or_propose(ask: Ask, request: Any) -> Any:
    """None when the audit was decided; its proposal where that needs a second person."""
    import grpc

    from shoudan_kit.proposals.command import Why, proposed
    from shoudan_kit.proposals.refusals import ProposalRequired
    from shoudan_kit.rpc.refusal import refused_from_rpc

    try:
        await ask("Audit", "DecideAudit", request)
    except grpc.RpcError as error:
        refused = refused_from_rpc(error)
        if refused is None or refused.reason != ProposalRequired.reason:
            raise
    else:
        return None
    method = "shoudan.order.v1.AuditService/DecideAudit"
    answer = await ask("Proposal", "Propose", proposed(method, request, Why(request.reason)))
    return answer.proposal


@audit.command()
def request(kind: str, number: int, reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """Ask for an audit: `order|refund NUMBER` (partial success), `false_success|delivery DELIVERY`."""
    from shoudan.order.v1 import audit_service_pb2 as pb

    message = pb.RequestAuditRequest(
        type=pb.AuditType.Value(f"AUDIT_TYPE_{kind.upper()}"),
        id=number,
        by=getpass.getuser(),
        reason=reason,
    )
    made: Any = call(target, "Audit", "RequestAudit", message)
    typer.echo(f"audit {made.audit.audit_id} waits")


@audit.command()
def retry(step: str, number: int, reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """Make a step due again: bind, up_pay, order_notify, return, up_refund, down_refund, refund_notify."""
    from shoudan.order.v1 import audit_service_pb2 as pb

    message = pb.RetryStepRequest(
        step=pb.RetryStepRequest.Step.Value(f"STEP_{step.upper()}"),
        id=number,
        by=getpass.getuser(),
        reason=reason,
    )
    made: Any = call(target, "Audit", "RetryStep", message)
    typer.echo(f"task {made.task_id}" if made.task_id else "nothing to do")


def call(target: str, service: str, method: str, message: Any, *, call_s: float = CALL_S) -> Any:
    """One unary call; a refusal ends the command with its words."""
    return run(target, lambda ask: ask(service, method, message), call_s=call_s)


def run(target: str, work: Callable[[Ask], Awaitable[T]], *, call_s: float = CALL_S) -> T:
    """What asks the service one thing or several; the first refusal ends the command with its words."""
    import grpc

    from shoudan.core.v1 import proposal_service_pb2_grpc
    from shoudan.order.v1 import (
        audit_service_pb2_grpc,
        catalogue_service_pb2_grpc,
        endpoint_service_pb2_grpc,
        order_service_pb2_grpc,
        request_log_service_pb2_grpc,
        retention_service_pb2_grpc,
        risk_service_pb2_grpc,
    )
    from shoudan_kit.rpc.command import command_channel

    async def connected() -> T:
        channel = command_channel(target, "order")
        stubs = {
            "Order": order_service_pb2_grpc.OrderServiceStub,
            "Audit": audit_service_pb2_grpc.AuditServiceStub,
            "Proposal": proposal_service_pb2_grpc.ProposalServiceStub,
            "Catalogue": catalogue_service_pb2_grpc.CatalogueServiceStub,
            "Endpoint": endpoint_service_pb2_grpc.EndpointServiceStub,
            "RequestLog": request_log_service_pb2_grpc.RequestLogServiceStub,
            "Retention": retention_service_pb2_grpc.RetentionServiceStub,
            "Risk": risk_service_pb2_grpc.RiskServiceStub,
        }

        async def ask(service: str, method: str, message: Any) -> Any:
            called: Callable[..., Awaitable[Any]] = getattr(stubs[service](channel), method)
            return await called(message, timeout=call_s)

        try:
            return await work(ask)
        finally:
            await channel.close()

    try:
        return asyncio.run(connected())
    except grpc.RpcError as error:
        details = getattr(error, "details", None)
        typer.echo(f"refused: {details() if details else error}", err=True)
        raise typer.Exit(1) from None
