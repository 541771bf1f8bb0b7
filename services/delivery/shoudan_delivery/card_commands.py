"""`shoudan cards ...`: see cards masked, show a few with a reason, make them void, fill our own stock."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True)

CALL_S = 10.0
DEFAULT_TARGET = "127.0.0.1:50053"

Target = Annotated[
    str,
    typer.Option(help="gRPC address of the delivery service.", envvar="SHOUDAN_DELIVERY_TARGET"),
]
Numbers = Annotated[list[int], typer.Argument(help="Numbers of cards, as ls shows them.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the audit log.")]


@app.callback()
def cards() -> None:
    """Cards (卡密)."""


@app.command("ls")
def list_cards(
    channel: Annotated[str, typer.Option(help="Only of this supplier channel.")] = "",
    order: Annotated[str, typer.Option(help="Only of this order, by its order_id.")] = "",
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only these: stocked, reserved, issued, revealed, redeemed, void."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="At most so many.")] = 100,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Cards without their codes, newest first."""
    from shoudan.delivery.v1 import card_service_pb2 as pb

    statuses = [_status(one) for one in state or []]
    request = pb.ListCardsRequest(
        channel_no=channel, order_id=order, statuses=statuses, page_size=limit
    )
    _print(_call(target, "ListCards", request).cards)


@app.command()
def reveal(cards: Numbers, reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """Show a few cards in clear, at most 10."""
    from shoudan.delivery.v1 import card_service_pb2 as pb

    request = pb.RevealCardsRequest(card_ids=cards, reason=reason, by=getpass.getuser())
    for card in _call(target, "RevealCards", request).cards:
        facts = {name: getattr(card, name) for name in ("number", "password", "link", "qr")}
        typer.echo(
            "  ".join(
                [str(card.card_id), *(f"{name}={text}" for name, text in facts.items() if text)]
            )
        )


@app.command()
def void(cards: Numbers, reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """Make cards void, or withdraw them from the stock: their partner gets them no more."""
    _set(target, cards, "VOID", reason)


@app.command()
def redeem(cards: Numbers, reason: Reason, target: Target = DEFAULT_TARGET) -> None:
    """Note that cards are used up: they cannot be returned."""
    _set(target, cards, "REDEEMED", reason)


@app.command()
def stock(target: Target = DEFAULT_TARGET) -> None:
    """How much is in our own stock."""
    from rich.console import Console
    from rich.table import Table

    from shoudan.delivery.v1 import card_service_pb2 as pb
    from shoudan_kit.money import micros_to_yuan

    table = Table("channel", "carrier", "face", "in stock", "reserved", "expired", "first expires")
    for one in _call(target, "ListStock", pb.ListStockRequest()).levels:
        first = one.first_expiry.ToDatetime(UTC) if one.HasField("first_expiry") else None
        table.add_row(
            one.channel_no,
            one.carrier_no,
            micros_to_yuan(one.face_micros),
            str(one.stocked),
            str(one.reserved),
            str(one.expired),
            "" if first is None else f"{first:%Y-%m-%d %H:%M} UTC",
        )
    Console().print(table)


@app.command()
def key(target: Target = DEFAULT_TARGET) -> None:
    """The public key that files of cards are encrypted to, in base64."""
    from base64 import b64encode

    from shoudan.delivery.v1 import card_service_pb2 as pb

    answer = _call(target, "GetImportKey", pb.GetImportKeyRequest())
    typer.echo(b64encode(answer.public_key).decode())


@app.command()
def encrypt(
    file: Annotated[Path, typer.Argument(help="CSV with a header: number, password, expiry …")],
    out: Annotated[Path, typer.Argument(help="The encrypted file to write.")],
    to: Annotated[str, typer.Option(help="The public key, as `shoudan cards key` shows it.")],
) -> None:
    """Encrypt a file of cards, where it was made: the issuer of the cards runs this."""
    from base64 import b64decode

    from shoudan_delivery import stock as rules

    try:
        made = rules.encrypted(file.read_bytes(), b64decode(to, validate=True))
    except ValueError:
        raise typer.BadParameter("the key is not one of `shoudan cards key`") from None
    out.write_bytes(made)


@app.command("import")
def import_cards(
    file: Annotated[Path, typer.Argument(help="The encrypted file.")],
    channel: Annotated[str, typer.Option(help="Channel of our own stock.")],
    carrier: Annotated[str, typer.Option(help="Carrier, as in the catalogue.")],
    face: Annotated[str, typer.Option(help="Face value of each, in yuan.")],
    name: Annotated[str, typer.Option(help="Name of the import.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit log.")] = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Take a file of cards into our own stock; exit code 1 when a line was not taken."""
    from shoudan.delivery.v1 import card_service_pb2 as pb
    from shoudan_kit.money import yuan_to_micros

    request = pb.ImportCardsRequest(
        channel_no=channel,
        carrier_no=carrier,
        face_micros=yuan_to_micros(face),
        import_no=name,
        file=file.read_bytes(),
        reason=reason,
        by=getpass.getuser(),
    )
    answer = _call(target, "ImportCards", request)
    typer.echo(f"{answer.taken} cards taken")
    for line in answer.duplicates:
        typer.echo(f"line {line}: is stored already")
    for one in answer.malformed:
        typer.echo(f"line {one.line}: {one.why}")
    if answer.duplicates or answer.malformed:
        raise typer.Exit(1)


@app.command()
def enter(
    delivery: Annotated[
        str, typer.Argument(help="The part's number, as `shoudan order show` has it.")
    ],
    file: Annotated[Path, typer.Argument(help="The encrypted file: a line for each unit.")],
    partner: Annotated[str, typer.Option(help="Number of the down channel.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit log.")],
    target: Target = DEFAULT_TARGET,
) -> None:
    """Give a delivery its cards: until it is decided they are reserved for it, then issued."""
    from shoudan.delivery.v1 import card_service_pb2 as pb
    from shoudan.delivery.v1 import delivery_service_pb2 as delivery_pb

    request = pb.EnterCardsRequest(
        key=delivery_pb.DeliveryKey(coop_id=partner, coop_order_id=delivery, service_class=20),
        file=file.read_bytes(),
        reason=reason,
        by=getpass.getuser(),
    )
    typer.echo(f"{_call(target, 'EnterCards', request).cards} cards")


@app.command("missing")
def list_missing(
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="At most so many.")] = 100,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Deliveries whose supplier says success without cards that can be issued, and what it said."""
    from shoudan.delivery.v1 import card_service_pb2 as pb

    request = pb.ListMissingCardsRequest(page_size=limit)
    found = _call(target, "ListMissingCards", request).missing
    for one in found:
        for line in _missing_lines(one):
            typer.echo(line)
    if not found:
        typer.echo("no delivery lacks its cards")


@app.command()
def ask(
    delivery: Annotated[str, typer.Argument(help="The part's number, as missing shows it.")],
    partner: Annotated[str, typer.Option(help="Number of the down channel.")],
    target: Target = DEFAULT_TARGET,
) -> None:
    """Ask the supplier again now how a delivery of cards ended."""
    from shoudan.delivery.v1 import delivery_service_pb2 as pb
    from shoudan.delivery.v1 import delivery_service_pb2_grpc as rpc

    key = pb.DeliveryKey(coop_id=partner, coop_order_id=delivery, service_class=20)
    request = pb.AskSupplierRequest(key=key)
    stood = _call(target, "AskSupplier", request, rpc.DeliveryServiceStub).delivery
    status = pb.Status.Name(stood.status).removeprefix("STATUS_").lower()
    typer.echo(f"asked; it stood {status}: {stood.result_code} {stood.result_desc}".rstrip())


def _missing_lines(one: Any) -> list[str]:
    """Lines instead of a table: their numbers are to be copied."""
    from shoudan.delivery.v1 import delivery_service_pb2 as pb
    from shoudan_kit.money import micros_to_yuan

    status = pb.Status.Name(one.status).removeprefix("STATUS_").lower()
    since = f"{one.since.ToDatetime(UTC):%Y-%m-%d %H:%M:%S} UTC"
    number, partner = one.key.coop_order_id, one.key.coop_id
    lines = [
        f"delivery {number} of order {one.order_id}, partner {partner}  {status}  since {since}",
        f"    {one.num} x {micros_to_yuan(one.face_micros)} of {one.channel_no} {one.carrier_no}",
        f"    {one.why}; answered {one.answers} times, last: {one.answer}",
    ]
    if one.entered:
        lines.append(f"    {one.entered} cards are entered and wait for the decision")
    if status == "sending":
        lines.append(f"    ask:     shoudan cards ask {number} --partner {partner}")
    lines.append(f"    enter:   shoudan cards enter {number} FILE --partner {partner} --reason …")
    if status == "sending":
        lines.append(
            f"    decide:  shoudan audit request delivery {number} --reason …, then audit decide"
        )
    return lines


def _set(target: str, cards: Sequence[int], state: str, reason: str) -> None:
    from shoudan.delivery.v1 import card_service_pb2 as pb

    status = pb.CardStatus.Value(f"CARD_STATUS_{state}")
    request = pb.SetCardStateRequest(
        card_ids=cards, status=status, reason=reason, by=getpass.getuser()
    )
    _call(target, "SetCardState", request)
    typer.echo(f"{len(set(cards))} cards are {state.lower()}")


def _status(word: str) -> Any:
    from shoudan.delivery.v1 import card_service_pb2 as pb

    try:
        return pb.CardStatus.Value(f"CARD_STATUS_{word.upper()}")
    except ValueError:
        raise typer.BadParameter(f"{word} is no state of a card") from None


def _call(target: str, method: str, request: Any, stub: Any = None) -> Any:
    from shoudan.delivery.v1 import card_service_pb2_grpc as rpc
    from shoudan_kit.rpc.client import call_options
    from shoudan_kit.rpc.command import run_command

    return run_command(
        target,
        "delivery",
        lambda channel: getattr((stub or rpc.CardServiceStub)(channel), method)(
            request, **call_options(CALL_S)
        ),
    )


def _print(cards: Sequence[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from shoudan.delivery.v1 import card_service_pb2 as pb
    from shoudan_kit.money import micros_to_yuan

    table = Table()
    table.add_column("card", min_width=len(str(2**63)))  # whole: other commands take it
    for name in ("channel", "carrier", "face", "delivery", "state", "ends in", "expires"):
        table.add_column(name)
    for one in cards:
        expires = one.expire_time.ToDatetime(UTC) if one.HasField("expire_time") else None
        table.add_row(
            str(one.card_id),
            one.channel_no,
            one.carrier_no,
            micros_to_yuan(one.face_micros),
            f"{one.order_no}-{one.seq}" if one.order_no else "",
            pb.CardStatus.Name(one.status).removeprefix("CARD_STATUS_").lower(),
            "unreadable" if one.unreadable else one.masked or "****",
            "" if expires is None else f"{expires:%Y-%m-%d %H:%M} UTC",
        )
    Console().print(table)
