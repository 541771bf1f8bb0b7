"""`shoudan ledger verify | seal | keys`: proof, against a statement of one's own if need be."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import grpc
import typer
from grpc import aio
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.rpc.messages import filled
from shoudan_pay.commands.calls import CALL_S, DEFAULT_TARGET, Target, console, errors, fail, plain
from shoudan_pay.commands.calls import run as run_call
from shoudan_pay.ledger.entries import Head
from shoudan_pay.ledger.head_files import read_logged
from shoudan_pay.ledger.proof import BEYOND_ALL
from shoudan_pay.ledger.statement_files import HeadFile, Kept, check_heads, read_file, read_folder
from shoudan_pay.ledger.statements import Keys, StatementInvalid

PROOF_S: Final = 3600.0
PAGE_S: Final = 120.0
FAILURES_MAX: Final = 3  # in a row, of calls a replica could not end
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
        shards = run_call(target, lambda stub: _of_shards(stub, ident, full=full))
        _print_all(shards)
        return
    if ident:
        raise typer.BadParameter(
            "--ident does not go with --against: a statement is of all accounts"
        )
    known = _keys(keys, target)
    kept = _statement(against, known)
    statement, logged = kept.statement, _logged(against, known)
    of = f" of shard {statement.shard}" if statement.shard else ""
    console.print(
        f"statement {statement.number} of {statement.day}{of}, {statement.accounts:,} accounts"
    )
    tally = run_call(target, lambda stub: _proved(stub, kept, logged, workers, full=full))
    _print(tally, since=0 if full else statement.number)


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
    shard, shards = 0, 1
    while shard < shards:  # each has a series of its own
        made = run_call(target, lambda stub, one=shard: _sealed(stub, one, restart=restart))
        shards = max(made.shards, 1)
        named = f"shard {shard}: " if shards > 1 else ""
        if not made.number:
            _print(made.progress, since=made.progress.since_statement)
            fail(f"{named}no statement was signed")
        word = "was there before" if made.existed else "signed"
        words = f"statement {made.number} of {made.day}, {made.file}, hash {made.hash}"
        plain(console, f"{named}{word}: {words}")
        shard += 1


def keys(target: Target = DEFAULT_TARGET) -> None:
    """The public keys of the statements, one a line: give them to those who verify."""
    request = pb.GetStatementKeysRequest()
    found = run_call(target, lambda stub: stub.GetStatementKeys(request, timeout=CALL_S))
    for line in found.keys:
        plain(console, line)


def _print_all(tallies: Sequence[_Tally]) -> None:
    """What was found in each shard; ends with exit code 1 after all of them when one is damaged."""
    damaged = False
    for shard, one in enumerate(tallies):
        named = f"shard {shard}: " if len(tallies) > 1 else ""
        try:
            _print(one, since=one.since_statement, named=named)
        except typer.Exit:
            damaged = True
    if damaged:
        raise typer.Exit(1)


def _print(outcome: pb.VerifyResponse | _Tally, *, since: int, named: str = "") -> None:
    if not outcome.findings:
        begin = f" since statement {since}" if since else ""
        console.print(
            f"{named}{outcome.accounts:,} accounts, {outcome.records:,} records{begin}: all hold"
        )
        return
    for found in outcome.findings:
        where = f"record {found.record_id}" if found.record_id else "its own row"
        place = f"account {found.account_id}, {where}" if found.account_id else "statements"
        plain(errors, f"{named}{place}: {found.what}")
    raise typer.Exit(1)


async def _of_shards(stub: Any, ident: str, *, full: bool) -> list[_Tally]:
    """The proof of each shard's ledger, one after the other."""
    tallies = [await _verified(stub, ident, 0, full=full)]
    while len(tallies) < tallies[0].shards:
        tallies.append(await _verified(stub, ident, len(tallies), full=full))
    return tallies


async def _verified(stub: Any, ident: str, shard: int, *, full: bool) -> _Tally:
    """Prove in calls of some seconds each, from where the one before ended."""
    tally, total = _Tally(), None
    with _bar() as shown:
        bar = shown.add_task("verify", total=None)
        request = pb.VerifyRequest(ident=ident, full=full, shard=shard)
        async for last, ended in _calls(stub.Verify, request, lambda one: one):
            total = max(last.records_total, total or 0)
            shown.update(bar, total=total, completed=tally.records + last.records)
            if ended:
                tally.add(last)
                if len(tally.findings) >= FINDINGS_MAX:
                    break
    return tally


async def _calls(
    method: Any, request: Any, progress_of: Callable[[Any], pb.VerifyResponse]
) -> AsyncIterator[tuple[pb.VerifyResponse, bool]]:
    """The progress of call after call until all is proved, and whether it is the last of its call."""
    place, failures = (-1, 0), 0
    while True:
        last = pb.VerifyResponse()
        try:
            async for one in method(request, timeout=PAGE_S):
                last = progress_of(one)
                if not last.done and not last.HasField("next"):
                    yield last, False
        except aio.AioRpcError as error:
            failures += 1
            if error.code() is not grpc.StatusCode.UNAVAILABLE or failures > FAILURES_MAX:
                raise
            await asyncio.sleep(SEAL_EVERY_S)
            continue
        following = (last.next.account_id, last.next.seq)
        if not last.done and (not last.HasField("next") or following == place):
            fail("the proof ended early; nothing is proved")
        yield last, True
        if last.done:
            return
        place, failures = following, 0
        request.begin.CopyFrom(last.next)


async def _sealed(stub: Any, shard: int, *, restart: bool) -> pb.SealLedgerResponse:
    """Ask until it is done: each call is short, however long the proof is."""
    end = time.monotonic() + PROOF_S
    request = pb.SealLedgerRequest(restart=restart, shard=shard)
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


def _logged(place: Path, known: Keys) -> list[Head]:
    """What the head log of a folder says, by account; nothing for a single file."""
    if not place.is_dir():
        return []
    logged = read_logged(place, known, read_folder(place, known).restart)
    for wrong in logged.wrong:
        plain(errors, f"head log: {wrong}")
    if logged.wrong:
        raise typer.Exit(1)
    return sorted(logged.heads.values(), key=lambda head: head.account_id)


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
    since_statement: int = 0
    shards: int = 0
    findings: list[pb.VerifyResponse.Finding] = field(
        default_factory=list["pb.VerifyResponse.Finding"]
    )

    def add(self, last: pb.VerifyResponse) -> None:
        """What a call came to; it tells of the statements each time."""
        self.accounts += last.accounts
        self.records += last.records
        self.since_statement, self.shards = last.since_statement, last.shards
        self.findings += [one for one in last.findings if one not in self.findings]


async def _proved(
    stub: Any, kept: Kept, logged: Sequence[Head], workers: int, *, full: bool
) -> _Tally:
    """Prove range after range, several at once: replicas of the service share them."""
    tally, ranges = _Tally(), iter(_ranges(kept, logged, full=full))

    async def work() -> None:
        for request in ranges:
            if len(tally.findings) >= FINDINGS_MAX:
                return
            async for last, ended in _calls(stub.VerifyAgainst, request, _of_range):
                if ended:
                    tally.add(last)
                    _drop_proved(request, last.next)
                shown.update(bar, completed=tally.accounts + (0 if ended else last.accounts))

    with _bar() as shown:
        bar = shown.add_task("accounts", total=kept.statement.accounts)
        await asyncio.gather(*[work() for _ in range(workers)])
    tally.findings = sorted(tally.findings, key=lambda one: one.account_id)[:FINDINGS_MAX]
    return tally


def _of_range(response: pb.VerifyAgainstResponse) -> pb.VerifyResponse:
    return response.progress


def _drop_proved(request: pb.VerifyAgainstRequest, place: pb.ProofPlace) -> None:
    """Heads before the place where the next call begins."""
    before = place.account_id - 1 if place.seq else place.account_id
    for heads in (request.heads, request.logged):
        left = [one for one in heads if one.account_id > before]
        del heads[:]
        heads.extend(left)


def _ranges(kept: Kept, logged: Sequence[Head], *, full: bool) -> Iterable[pb.VerifyAgainstRequest]:
    """Accounts in ranges with at most a thousand heads of the statement and a thousand logged ones."""
    place = 0
    for request in _stated_ranges(kept, full=full):
        end = request.last_account_id or BEYOND_ALL
        upto = bisect_right(logged, end, place, key=lambda head: head.account_id)
        while upto - place > HEADS_PAGE:
            cut = logged[place + HEADS_PAGE - 1].account_id
            part = pb.VerifyAgainstRequest()
            part.CopyFrom(request)
            part.last_account_id = cut
            del part.heads[:]
            part.heads.extend(one for one in request.heads if one.account_id <= cut)
            part.logged.extend(map(_head, logged[place : place + HEADS_PAGE]))
            yield part
            place += HEADS_PAGE
            request.after_account_id = cut
            _drop_proved(request, pb.ProofPlace(account_id=cut))
        request.logged.extend(map(_head, logged[place:upto]))
        place = upto
        yield request


def _stated_ranges(kept: Kept, *, full: bool) -> Iterable[pb.VerifyAgainstRequest]:
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
                shard=kept.statement.shard,
            )
            if not following:
                return
            after, page = last, following


def _head(one: Head) -> pb.Head:
    return filled(pb.Head, one)
