"""`shoudan exception …`: differences of the reconciliation, asked about, disputed, decided by two persons."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from grpc import aio

from shoudan.core.v1.proposal_service_pb2 import Proposal
from shoudan.finance.v1 import exception_service_pb2 as pb
from shoudan.finance.v1 import exception_service_pb2_grpc as stubs
from shoudan.finance.v1 import statement_service_pb2 as statement_pb
from shoudan.finance.v1 import statement_service_pb2_grpc as statement_stubs
from shoudan_finance.exception_sheets import Filled, read_sheet, write_sheet
from shoudan_finance.row_errors import for_people, wrong
from shoudan_kit.clock import beijing
from shoudan_kit.language import Lang, chosen
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.proposals.command import ReasonMissing, Why, call_or_propose, lines
from shoudan_kit.rpc.command import run_command
from shoudan_kit.rpc.refusal import refused_from_proto

T = TypeVar("T")

CALL_S: Final = 30.0
PAGE: Final = 1000
PART_BYTES: Final = 2**20
METHOD: Final = "shoudan.finance.v1.ExceptionService/DecideExceptions"
DEFAULT_TARGET: Final = "127.0.0.1:50056"
KINDS: Final = {1: "长款", 2: "短款", 3: "金额不符", 4: "状态不符", 5: "结算不符"}
DECISIONS: Final = {"book": 1, "write-off": 2, "adjust-cost": 3, "refund": 4}

app = typer.Typer(no_args_is_help=True)
dispute = typer.Typer(no_args_is_help=True)
app.add_typer(dispute, name="dispute", help="Disputes (争议) with a source.")

Target = Annotated[
    str, typer.Option(help="gRPC address of finance.", envvar="SHOUDAN_FINANCE_TARGET")
]
Numbers = Annotated[list[int], typer.Argument(metavar="NUMBER…", help="Numbers of exceptions.")]
Source = Annotated[str, typer.Option(help="Supplier, merchant or bank account.")]
Reason = Annotated[str, typer.Option(help="Why; a second person reads it before approving.")]
Text = Annotated[str, typer.Option(help="What.")]


@app.callback()
def exception() -> None:
    """Exceptions (差错) of the reconciliation."""


@app.command()
def ls(
    source: Source = "",
    of_dispute: Annotated[
        int, typer.Option("--dispute", min=0, help="Of this dispute, ended ones among them.")
    ] = 0,
    everything: Annotated[bool, typer.Option("--all", help="Those that ended, too.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """List exceptions, newest first."""
    request = pb.ListExceptionsRequest(
        source=source, undecided=not (everything or of_dispute), dispute_id=of_dispute
    )
    for one in _run(target, lambda stub: _all(stub, request)):
        typer.echo(_line(one))


@app.command()
def show(
    which: Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the exception.")],
    target: Target = DEFAULT_TARGET,
) -> None:
    """Show an exception with both sides and what was noted."""
    request = pb.GetExceptionRequest(exception_id=which)
    found = _run(target, lambda stub: stub.GetException(request, timeout=CALL_S))
    one = found.exception
    typer.echo(_line(one))
    for name in ("ours", "theirs"):
        typer.echo(f"  {name:7}{_side(getattr(one, name)) if one.HasField(name) else '-'}")
    if one.differing:
        typer.echo(f"  differ in {', '.join(one.differing)}")
    if one.record_id:
        typer.echo(f"  ledger record {one.record_id}, trade EX{one.exception_id}")
    for each in found.disputes:
        typer.echo(f"  dispute {_dispute(each)}")
    for note in found.notes:
        when = beijing(note.create_time.ToDatetime(UTC))
        file = f" [{note.file_name} {note.sha256.hex()}]" if note.sha256 else ""
        typer.echo(f"  {when} {note.by or '-'} {note.kind}: {note.text}{file}")


@app.command()
def assign(
    numbers: Numbers,
    to: Annotated[str, typer.Option(help="Who; nothing takes it away.")] = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Give exceptions to a person."""
    request = pb.AssignExceptionsRequest(exception_ids=numbers, assignee=to)
    _run(target, lambda stub: stub.AssignExceptions(request, timeout=CALL_S))


@app.command()
def comment(
    which: Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the exception.")],
    text: Text,
    file: Annotated[Path | None, typer.Option(exists=True, help="A file to attach.")] = None,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Note something about an exception, with a file."""
    request = pb.CommentExceptionRequest(exception_id=which, text=text)
    if file is not None:
        request.file_name, request.sha256 = file.name, _stored(target, file)
    _run(target, lambda stub: stub.CommentException(request, timeout=CALL_S))


@app.command()
def ask(numbers: Numbers, text: Text, target: Target = DEFAULT_TARGET) -> None:
    """Ask the supplier about exceptions; what it answers is noted."""
    request = pb.AskAboutExceptionsRequest(exception_ids=numbers, text=text)
    _run(target, lambda stub: stub.AskAboutExceptions(request, timeout=CALL_S))


@app.command()
def notify(numbers: Numbers, target: Target = DEFAULT_TARGET) -> None:
    """Have the channels behind exceptions notified again."""
    request = pb.ResendExceptionNotifiesRequest(exception_ids=numbers)
    _run(target, lambda stub: stub.ResendExceptionNotifies(request, timeout=CALL_S))


@app.command()
def evidence(
    which: Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the exception.")],
    target: Target = DEFAULT_TARGET,
) -> None:
    """Show the life of the order behind an exception, and what its supplier answered."""
    request = pb.GetEvidenceRequest(exception_id=which)
    found = _run(target, lambda stub: stub.GetEvidence(request, timeout=CALL_S))
    typer.echo(f"order {found.order_id or '-'}{f': {found.missing}' if found.missing else ''}")
    for one in found.moments:
        when = beijing(one.time.ToDatetime(UTC))
        typer.echo(f"  {when} {one.service} {one.tag}: {one.text}")
    for note in found.answers:
        typer.echo(f"  {beijing(note.create_time.ToDatetime(UTC))} supplier: {note.text}")


@app.command()
def decide(
    decision: Annotated[
        str, typer.Argument(help="book 挂账, write-off 核销, adjust-cost 调整成本, refund 退款.")
    ],
    numbers: Numbers,
    remark: Annotated[str, typer.Option(help="备注.")] = "",
    reason: Reason = "",
    dry_run: Annotated[bool, typer.Option(help="Only show what would be booked.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Decide about exceptions, all or none; a proposal where two persons are needed."""
    if decision not in DECISIONS:
        raise typer.BadParameter(f"{decision} is none of {', '.join(DECISIONS)}")
    kind = DECISIONS[decision]
    filled = [Filled(one, kind, remark) for one in numbers]
    if dry_run:
        _look(target, filled)
    else:
        _decide(target, filled, reason)


def _look(target: str, filled: Sequence[Filled]) -> None:
    """What would be booked, one by one and in sum; what is refused ends with an error."""
    request = pb.CheckDecisionsRequest(items=map(_item, filled))
    found = _run(target, lambda stub: stub.CheckDecisions(request, timeout=CALL_S))
    refused = 0
    for one in found.results:
        if one.HasField("refusal"):
            refused += 1
            typer.echo(f"exception {one.exception_id}: {refused_from_proto(one.refusal)}", err=True)
            continue
        booking = one.booking
        first = "order's money back, " if booking.refunds else ""
        amount = micros_to_yuan(booking.amount_micros)
        typer.echo(f"{booking.trade_no}: {first}{amount} 元 to {booking.account}")
    for each in found.sums:
        typer.echo(f"{each.account}: {each.count}, {micros_to_yuan(each.amount_micros)} 元")
    if refused:
        raise typer.Exit(1)


def _item(one: Filled) -> pb.DecideExceptionsRequest.Item:
    decision = pb.Decision.ValueType(one.decision)
    return pb.DecideExceptionsRequest.Item(
        exception_id=one.exception_id, decision=decision, remark=one.remark
    )


# ------------------------------------------------------------ Excel
@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="The workbook that is written.")],
    source: Source = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Write undecided exceptions as a workbook, to fill 处理方式 and 备注 in."""
    request = pb.ListExceptionsRequest(source=source, undecided=True)
    found = _run(target, lambda stub: _all(stub, request))
    write_sheet(file, found)
    typer.echo(f"{len(found)} exceptions in {file}")


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The workbook.")],
    reason: Reason = "",
    dry_run: Annotated[bool, typer.Option(help="Only show what would be decided.")] = False,
    lang: Lang = "",
    target: Target = DEFAULT_TARGET,
) -> None:
    """Decide as a workbook says: what differs from now is shown, then proposed."""
    with file.open("rb") as opened:
        filled, errors = read_sheet(opened)
    undecided = pb.ListExceptionsRequest(undecided=True)
    now = {one.exception_id: one for one in _run(target, lambda stub: _all(stub, undecided))}
    errors += [
        wrong(0, "", "EXCEPTION_DECIDED", number=one.exception_id)
        for one in filled
        if one.exception_id not in now
    ]
    for each in errors:
        typer.echo(for_people(each, chosen(lang)), err=True)
    for one in filled:
        if one.exception_id in now:
            amount = micros_to_yuan(now[one.exception_id].diff_micros)
            typer.echo(
                f"exception {one.exception_id}: {amount} 元: - -> {_word(one.decision)} {one.remark}"
            )
    if errors:
        raise typer.Exit(1)
    if not dry_run and filled:
        _decide(target, filled, reason)


def _decide(target: str, filled: Sequence[Filled], reason: str) -> None:
    """Decide in calls of at most PAGE."""
    for at in range(0, len(filled), PAGE):
        request = pb.DecideExceptionsRequest(items=map(_item, filled[at : at + PAGE]))

        async def asked(channel: aio.Channel, request: pb.DecideExceptionsRequest = request) -> Any:
            call = stubs.ExceptionServiceStub(channel).DecideExceptions
            return await call_or_propose(
                channel, METHOD, request, lambda: call(request, timeout=CALL_S), Why(reason)
            )

        try:
            made = run_command(target, "finance", asked)
        except ReasonMissing as missing:
            typer.echo(str(missing), err=True)
            raise typer.Exit(1) from None
        words = lines("finance", made) if isinstance(made, Proposal) else _decided(made.decided)
        for one in words:
            typer.echo(one)


def _decided(count: int) -> Iterator[str]:
    yield f"{count} exceptions decided, being booked"


# ------------------------------------------------------------ disputes
@dispute.command("open")
def open_(
    numbers: Numbers,
    source: Annotated[str, typer.Option(help="With whom.")],
    letter: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Our letter, text.")],
    deadline: Annotated[str, typer.Option(help="Until when, yyyy-mm-dd.")],
    target: Target = DEFAULT_TARGET,
) -> None:
    """Put exceptions into a dispute with their source."""
    request = pb.OpenDisputeRequest(
        source=source,
        exception_ids=numbers,
        letter=letter.read_text("utf-8"),
        deadline=deadline,
    )
    found = _run(target, lambda stub: stub.OpenDispute(request, timeout=CALL_S)).dispute
    typer.echo(_dispute(found))


@dispute.command()
def answer(
    which: Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the dispute.")],
    text: Text,
    file: Annotated[Path | None, typer.Option(exists=True, help="The answer's file.")] = None,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Note what a source answered; its exceptions are open again."""
    request = pb.AnswerDisputeRequest(dispute_id=which, answer=text)
    if file is not None:
        request.sha256 = _stored(target, file)
    found = _run(target, lambda stub: stub.AnswerDispute(request, timeout=CALL_S)).dispute
    typer.echo(_dispute(found))


@dispute.command("show")
def show_dispute(
    which: Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the dispute.")],
    target: Target = DEFAULT_TARGET,
) -> None:
    """Show a dispute: our letter, what was answered, and its exceptions."""
    request = pb.GetDisputeRequest(dispute_id=which)
    one = _run(target, lambda stub: stub.GetDispute(request, timeout=CALL_S)).dispute
    typer.echo(_dispute(one))
    typer.echo(f"  letter by {one.by}: {one.letter}")
    if one.HasField("answer_time"):
        file = f" [{one.answer_sha256.hex()}]" if one.answer_sha256 else ""
        typer.echo(f"  {beijing(one.answer_time.ToDatetime(UTC))} answer: {one.answer}{file}")
    wanted = pb.ListExceptionsRequest(dispute_id=which)
    for each in _run(target, lambda stub: _all(stub, wanted)):
        typer.echo(f"  {_line(each)}")


@dispute.command("ls")
def list_disputes(
    most: Annotated[int, typer.Option(help="How many.", min=1, max=1000)] = 100,
    target: Target = DEFAULT_TARGET,
) -> None:
    """List disputes, newest first."""
    request = pb.ListDisputesRequest(page_size=most)
    for one in _run(target, lambda stub: stub.ListDisputes(request, timeout=CALL_S)).disputes:
        typer.echo(_dispute(one))


# ------------------------------------------------------------ what they share
async def _all(stub: Any, request: pb.ListExceptionsRequest) -> list[pb.Exception]:
    found: list[pb.Exception] = []
    request.page_size = PAGE
    while True:
        page = await stub.ListExceptions(request, timeout=CALL_S)
        found += page.exceptions
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def _stored(target: str, file: Path) -> bytes:
    data = file.read_bytes()
    sha256 = hashlib.sha256(data).digest()

    async def store(channel: aio.Channel) -> None:
        stub: Any = statement_stubs.StatementServiceStub(channel)
        for at in range(0, len(data), PART_BYTES):
            part = data[at : at + PART_BYTES]
            given = statement_pb.StorePartRequest(
                sha256=sha256, part_no=at // PART_BYTES, data=part
            )
            await stub.StorePart(given, timeout=CALL_S)

    run_command(target, "finance", store)
    return sha256


def _line(one: pb.Exception) -> str:
    status = pb.ExceptionStatus.Name(one.status).removeprefix("EXCEPTION_STATUS_").lower()
    age = (datetime.now(UTC) - one.create_time.ToDatetime(UTC)).days
    what = f"{KINDS[one.kind]} {micros_to_yuan(one.diff_micros)} 元"
    then = f"{_word(one.decision)} {one.remark}" if one.decision else f"try {_word(one.suggestion)}"
    whose = f" for {one.assignee}" if one.assignee else ""
    return f"{one.exception_id} {one.source} {one.day}: {what}: {status}{whose}, {age} d, {then}"


def _word(decision: int) -> str:
    return pb.Decision.Name(pb.Decision.ValueType(decision)).removeprefix("DECISION_").lower()


def _side(one: statement_pb.Row) -> str:
    numbers = " ".join(filter(None, (one.our_no, one.their_no, one.settle_no, one.account)))
    when = beijing(one.happen_time.ToDatetime(UTC))
    return f"{when} {one.kind} {numbers} {micros_to_yuan(one.amount_micros)} 元 {one.outcome}"


def _dispute(one: pb.Dispute) -> str:
    status = pb.DisputeStatus.Name(one.status).removeprefix("DISPUTE_STATUS_").lower()
    late = status == "open" and one.deadline < beijing(datetime.now(UTC))[:10]
    amount = micros_to_yuan(one.diff_micros)
    what = f"{one.exceptions} exceptions, {amount} 元, until {one.deadline}"
    return f"{one.dispute_id} {one.source}: {what}: {'overdue' if late else status}"


def _run(target: str, ask_of: Callable[[Any], Awaitable[T]]) -> T:
    return run_command(
        target, "finance", lambda channel: ask_of(stubs.ExceptionServiceStub(channel))
    )
