"""`shoudan ledger verify | seal | keys`: proof, against a statement of one's own if need be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_pay.commands.calls import CALL_S, DEFAULT_TARGET, Target, console, errors, fail, plain
from shoudan_pay.commands.calls import run as run_call
from shoudan_pay.ledger.entries import Head
from shoudan_pay.ledger.statement_files import HeadFile, Kept, check_heads, read_file, read_folder
from shoudan_pay.ledger.statements import Keys, StatementInvalid

PROOF_S: Final = 3600.0
SEAL_EVERY_S: Final = 0.5
HEADS_PAGE: Final = 1000
WORKERS_MAX: Final = 32
FINDINGS_MAX: Final = 100


def verify(
    ident: Annotated[str, typer.Option(help="Only accounts of this system.")] = "",
    full: Annotated[
        bool, typer.Option("--full", help="Every record, not only those since the last statement.")
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(help="A signed statement, or a folder of them, that you have kept yourself."),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(help="File of public keys (shoudan ledger keys); without it the service's."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=WORKERS_MAX, help="Ranges proved at once, with --against.")
    ] = 4,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Recompute accounts from their records. Exit code 1 and what is broken first on damage."""
    if against is None:
        last = run_call(target, lambda stub: _verified(stub, ident, full=full))
        _tell(last, since=last.since_statement)
        return
    if ident:
        raise typer.BadParameter(
            "--ident does not go with --against: a statement is of all accounts"
        )
    kept = _statement(against, _keys(keys, target))
    statement = kept.statement
    console.print(
        f"statement {statement.number} of {statement.day}, {statement.accounts:,} accounts"
    )
    tally = run_call(target, lambda stub: _proved(stub, kept, workers, full=full))
    _tell(tally, since=0 if full else statement.number)


def seal(
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Begin a new series after a loss or a restore; the statement says so."
        ),
    ] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Prove the ledger and sign the statement of the day; a repeat shows the one there is."""
    made = run_call(target, lambda stub: _sealed(stub, restart=restart))
    if not made.number:
        _tell(made.progress, since=made.progress.since_statement)
        fail("no statement was signed")
    word = "was there before" if made.existed else "signed"
    plain(console, f"{word}: statement {made.number} of {made.day}, {made.file}, hash {made.hash}")


def keys(target: Target = DEFAULT_TARGET) -> None:
    """The public keys of the statements, one a line: give them to those who verify."""
    request = pb.GetStatementKeysRequest()
    found = run_call(target, lambda stub: stub.GetStatementKeys(request, timeout=CALL_S))
    for line in found.keys:
        plain(console, line)


def _tell(outcome: pb.VerifyResponse | _Tally, *, since: int) -> None:
    if not outcome.findings:
        begin = f" since statement {since}" if since else ""
        console.print(
            f"{outcome.accounts:,} accounts, {outcome.records:,} records{begin}: all hold"
        )
        return
    for found in outcome.findings:
        where = f"record {found.record_id}" if found.record_id else "its own row"
        place = f"account {found.account_id}, {where}" if found.account_id else "statements"
        plain(errors, f"{place}: {found.what}")
    raise typer.Exit(1)


async def _verified(stub: Any, ident: str, *, full: bool) -> pb.VerifyResponse:
    last = pb.VerifyResponse()
    with _bar() as shown:
        bar = shown.add_task("verify", total=None)
        request = pb.VerifyRequest(ident=ident, full=full)
        async for last in stub.Verify(request, timeout=PROOF_S):
            shown.update(bar, total=last.records_total, completed=last.records)
    if not last.done:
        fail("the proof ended early; nothing is proved")
    return last


async def _sealed(stub: Any, *, restart: bool) -> pb.SealLedgerResponse:
    """Ask until it is done: each call is short, however long the proof is."""
    request, end = pb.SealLedgerRequest(restart=restart), time.monotonic() + PROOF_S
    with _bar() as shown:
        bar = shown.add_task("seal", total=None)
        while time.monotonic() < end:
            made = await stub.SealLedger(request, timeout=CALL_S)
            if made.done:
                return made
            shown.update(bar, total=made.progress.records_total, completed=made.progress.records)
            await asyncio.sleep(SEAL_EVERY_S)
    plain(errors, f"not done after {PROOF_S:.0f} s; the service goes on, ask again")
    raise typer.Exit(1)


def _bar() -> Progress:
    columns = TextColumn("records"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=errors, transient=True)


# ---------------------------------------------------------------- against a statement one has


def _keys(file: Path | None, target: str) -> Keys:
    if file is not None:
        try:
            return Keys(file.read_text("ascii"))
        except (OSError, ValueError):
            raise typer.BadParameter(f"{file} holds no public keys") from None
    plain(errors, "keys: as the service gives them; --keys proves that it is the same ones as ever")
    request = pb.GetStatementKeysRequest()
    found = run_call(target, lambda stub: stub.GetStatementKeys(request, timeout=CALL_S))
    return Keys("\n".join(found.keys))


def _statement(place: Path, known: Keys) -> Kept:
    """The statement of a file, or the newest of a folder whose series is whole."""
    try:
        kept = _newest(place, known) if place.is_dir() else read_file(place, known)
        check_heads(kept)
    except OSError as error:
        raise typer.BadParameter(f"{place}: {error.strerror}") from None
    except StatementInvalid as error:
        fail(f"statements: {place.name}: {error}")
    return kept


def _newest(folder: Path, known: Keys) -> Kept:
    series = read_folder(folder, known)
    for wrong in series.wrong:
        plain(errors, f"statements: {wrong}")
    if series.wrong:
        raise typer.Exit(1)
    if series.last is None:
        raise typer.BadParameter(f"{folder} holds no statement")
    return series.last


@dataclass(slots=True)
class _Tally:
    accounts: int = 0
    records: int = 0
    findings: list[pb.VerifyResponse.Finding] = field(
        default_factory=list["pb.VerifyResponse.Finding"]
    )


async def _proved(stub: Any, kept: Kept, workers: int, *, full: bool) -> _Tally:
    """Prove range after range, several at once: replicas of the service share them."""
    tally, ranges = _Tally(), _ranges(kept, full=full)

    async def work() -> None:
        for request in ranges:
            if len(tally.findings) >= FINDINGS_MAX:
                return
            last = await _last(stub.VerifyAgainst(request, timeout=PROOF_S))
            tally.accounts += last.accounts
            tally.records += last.records
            tally.findings += last.findings
            shown.update(bar, completed=tally.accounts)

    with _bar() as shown:
        bar = shown.add_task("accounts", total=kept.statement.accounts)
        await asyncio.gather(*[work() for _ in range(workers)])
    tally.findings = sorted(tally.findings, key=lambda one: one.account_id)[:FINDINGS_MAX]
    return tally


async def _last(answers: AsyncIterator[pb.VerifyAgainstResponse]) -> pb.VerifyResponse:
    last = pb.VerifyResponse()
    async for one in answers:
        last = one.progress
    if not last.done:
        fail("the proof ended early; nothing is proved")
    return last


def _ranges(kept: Kept, *, full: bool) -> Iterable[pb.VerifyAgainstRequest]:
    """The statement's accounts a thousand at a time; the last range has no end, for new ones."""
    after = -1
    with HeadFile(kept.path, kept.heads_bytes) as heads:
        page = heads.take(HEADS_PAGE)
        while True:
            following = heads.take(HEADS_PAGE)
            last = page[-1].account_id if following else 0
            yield pb.VerifyAgainstRequest(
                after_account_id=after,
                last_account_id=last,
                heads=[_head(one) for one in page],
                full=full,
            )
            if not following:
                return
            after, page = last, following


def _head(one: Head) -> pb.Head:
    return pb.Head(
        account_id=one.account_id,
        contra_account_id=one.contra_account_id,
        seq=one.seq,
        balance_micros=one.balance_micros,
        hash=one.hash,
        owner=one.owner,
    )
