"""`shoudan platform ...`: credentials of ChinaUMS, domains of Dingdang, trades bound, notices owed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from shoudan.pay.v1 import platform_service_pb2 as pb
from shoudan.pay.v1 import platform_service_pb2_grpc as stubs
from shoudan_pay.commands.calls import CALL_S, DEFAULT_TARGET, Target, console, plain, run

T = TypeVar("T")


app = typer.Typer(no_args_is_help=True)


class Role(StrEnum):
    """What we are to a domain."""

    PLATFORM = "platform"
    PARTNER = "partner"


class Scheme(StrEnum):
    """How a domain signs."""

    TSK_HMAC = "tsk-hmac"
    TSK_RSA2 = "tsk-rsa2"
    TVS_HMAC = "tvs"


ROLES: Final = {Role.PLATFORM: pb.ROLE_PLATFORM, Role.PARTNER: pb.ROLE_PARTNER}
SCHEMES: Final = {
    Scheme.TSK_HMAC: pb.SCHEME_TSK_HMAC,
    Scheme.TSK_RSA2: pb.SCHEME_TSK_RSA2,
    Scheme.TVS_HMAC: pb.SCHEME_TVS_HMAC,
}
STATES: Final = {
    pb.TRADE_STATE_NOTPAY: "not paid",
    pb.TRADE_STATE_PROCESSING: "processing",
    pb.TRADE_STATE_SUCCESS: "paid",
    pb.TRADE_STATE_FAIL: "failed",
}

Merchant = Annotated[str, typer.Option(help="Whose pays and refunds it is about: merchantUUID.")]
SecretName = Annotated[
    str, typer.Option(help="Name of its secret; the secret itself is in SHOUDAN_SECRET_<NAME>.")
]
Off = Annotated[bool, typer.Option("--off", help="Do not take it.")]
DomainId = Annotated[str, typer.Argument(help="domainId.")]


@app.command()
def ums(
    app_id: Annotated[str, typer.Argument(help="AppId.")],
    merchant: Merchant,
    mid: Annotated[str, typer.Option(help="mid.")],
    tid: Annotated[str, typer.Option(help="tid.")],
    secret: SecretName,
    notify_secret: Annotated[str, typer.Option(help="Name of the secret of its notifies.")] = "",
    name: Annotated[str, typer.Option(help="merName.")] = "",
    base_url: Annotated[str, typer.Option(help="Where ChinaUMS is called, up to /v1.")] = "",
    source_id: Annotated[str, typer.Option(help="msgSrcId: what our numbers begin with.")] = "",
    off: Off = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Write one AppId of ChinaUMS."""
    given = pb.UmsApp(
        app_id=app_id,
        merchant_uuid=merchant,
        mid=mid,
        tid=tid,
        mer_name=name,
        secret_name=secret,
        notify_secret_name=notify_secret,
        base_url=base_url,
        source_id=source_id,
        enabled=not off,
    )
    request = pb.SetUmsAppRequest(app=given)
    _run(target, lambda stub: stub.SetUmsApp(request, timeout=CALL_S))
    plain(console, f"AppId {app_id} {'off' if off else 'set'}")


@app.command()
def domain(
    role: Annotated[Role, typer.Argument(help="What we are to it.")],
    domain_id: DomainId,
    merchant: Merchant,
    secret: SecretName,
    scheme: Annotated[Scheme, typer.Option(help="How it signs.")] = Scheme.TSK_HMAC,
    own_secret: Annotated[str, typer.Option(help="Name of the secret we sign with.")] = "",
    credential_key: Annotated[str, typer.Option(help="CredentialKey of tvs.")] = "",
    paid_url: Annotated[str, typer.Option(help="As platform: where 通知发货 goes.")] = "",
    refunded_url: Annotated[str, typer.Option(help="As platform: where 退款结果通知 goes.")] = "",
    base_url: Annotated[str, typer.Option(help="As partner: the platform, up to /paycgi.")] = "",
    off: Off = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Write one domain of Dingdang."""
    given = pb.Domain(
        role=ROLES[role],
        domain_id=domain_id,
        merchant_uuid=merchant,
        scheme=SCHEMES[scheme],
        secret_name=secret,
        own_secret_name=own_secret,
        credential_key=credential_key,
        paid_url=paid_url,
        refunded_url=refunded_url,
        base_url=base_url,
        enabled=not off,
    )
    request = pb.SetDomainRequest(domain=given)
    _run(target, lambda stub: stub.SetDomain(request, timeout=CALL_S))
    plain(console, f"domain {domain_id} ({role}) {'off' if off else 'set'}")


@app.command()
def trade(
    domain_id: DomainId,
    trade_no: Annotated[str, typer.Argument(help="tradeNo.")],
    fen: Annotated[int, typer.Option(help="Bind it: what it costs, 分; 0 only shows it.")] = 0,
    channel: Annotated[str, typer.Option(help="channel_no of the order it pays.")] = "",
    request_no: Annotated[str, typer.Option(help="request_no of the order it pays.")] = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Bind a trade number to an order, or show how it stands."""
    given = pb.Trade(
        domain_id=domain_id,
        trade_no=trade_no,
        total_fen=fen,
        channel_no=channel,
        request_no=request_no,
    )
    asked = pb.GetTradeRequest(domain_id=domain_id, trade_no=trade_no)
    bound = pb.BindTradeRequest(trade=given)
    found: pb.Trade = _run(
        target,
        lambda stub: (
            stub.BindTrade(bound, timeout=CALL_S) if fen else stub.GetTrade(asked, timeout=CALL_S)
        ),
    ).trade
    order = f", order {found.channel_no} {found.request_no}" if found.channel_no else ""
    pay = f", pay {found.pay_traction_no}" if found.pay_traction_no else ""
    plain(console, f"{trade_no}: {found.total_fen} 分, {STATES[found.state]}{order}{pay}")


@app.command()
def notices(
    domain_id: Annotated[str, typer.Option("--domain", help="Only of this domainId.")] = "",
    most: Annotated[int, typer.Option("--max", min=1, max=1000, help="Rows.")] = 100,
    target: Target = DEFAULT_TARGET,
) -> None:
    """The newest notices to partners of Dingdang, with their last attempt."""
    request = pb.ListNoticesRequest(domain_id=domain_id, limit=most)
    found = _run(target, lambda stub: stub.ListNotices(request, timeout=CALL_S))
    table = Table("id", "domain", "kind", "number", "status", "attempts", "HTTP", "answer")
    for one in found.notices:
        row = (one.notice_id, one.domain_id, one.kind, one.traction_no, one.status)
        cells = (*row, one.count, one.http_status or "", one.answer)
        table.add_row(*(Text(str(cell)) for cell in cells))
    console.print(table)


def _run(target: str, ask: Callable[[Any], Awaitable[T]]) -> T:
    return run(target, ask, stubs.PlatformServiceStub)
