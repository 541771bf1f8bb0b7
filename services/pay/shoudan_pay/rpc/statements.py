"""Calls that prove the ledger and make its statement."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.process.shutdown import cancel_all
from shoudan_kit.rpc.messages import RpcContext, filled
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import daily_statement
from shoudan_pay.ledger.entries import OWNER_BYTES, Head
from shoudan_pay.ledger.proof import BEYOND_ALL
from shoudan_pay.ledger.refusals import StatementsOff, StatementsUnusable
from shoudan_pay.ledger.statements import keys_of
from shoudan_pay.ledger.verify import Listed, Place, Progress, Scope, verify
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc.ledger_messages import IDENT_MAX, text

ANSWER_S: Final = 5.0  # a call does not wait longer for a statement; its caller repeats it
FRESH_S: Final = 30.0
HEADS_MAX: Final = 1000
HASH_BYTES_MAX: Final = 64

_BEGIN: Final = Progress(0, 0, 0, 0, done=False, findings=())


class Sealer:
    """The statement this process is making for its callers: they join it, and poll until it is done."""

    def __init__(self, app: App[PaySettings]) -> None:
        self._app = app
        self._run: asyncio.Task[daily_statement.Sealed] | None = None
        self._restart = False
        self.at = _BEGIN

    async def ask(self, *, restart: bool) -> daily_statement.Sealed | None:
        """The outcome, or None when it takes longer than ANSWER_S. Raises what `sealing.seal` does."""
        if self._run is None:
            self.at, self._restart = _BEGIN, restart
            made = daily_statement.seal(self._app, restart=restart, watch=self._watch)
            self._run = asyncio.create_task(made, name="seal the ledger")
            self._run.add_done_callback(self._ended)
        run, mine = self._run, self._restart == restart
        ended, _ = await asyncio.wait({run}, timeout=ANSWER_S)
        if ended:
            self._forget(run)
        try:
            return run.result() if ended and mine else None
        except daily_statement.SealedElsewhere:
            return None

    async def aclose(self) -> None:
        """Give it up; nothing half-made stays."""
        if self._run is not None:
            await cancel_all([self._run])

    def _watch(self, at: Progress) -> None:
        self.at = at

    def _ended(self, run: asyncio.Task[daily_statement.Sealed]) -> None:
        """Forget an outcome that was not fetched: it is no answer to a later call."""
        asyncio.get_running_loop().call_later(FRESH_S, self._forget, run)

    def _forget(self, run: asyncio.Task[daily_statement.Sealed]) -> None:
        if not run.cancelled():
            run.exception()  # retrieved, because its caller is gone
        if self._run is run:
            self._run = None


class StatementCalls:
    """The part of LedgerService that is about proofs and statements."""

    _app: App[PaySettings]
    _sealer: Sealer

    async def Verify(
        self, request: pb.VerifyRequest, context: RpcContext
    ) -> AsyncIterator[pb.VerifyResponse]:
        """Progress now and then, and at last the verdict."""
        _one_shard(request)
        ident = text("ident", request.ident, IDENT_MAX, optional=True)
        begin, call_s = _begin(request.begin), self._app.settings.verify_call_s
        try:
            async for at in daily_statement.prove(
                self._app, ident=ident, full=request.full, begin=begin, call_s=call_s
            ):
                yield _progress(at)
        except daily_statement.FolderUnusable as error:
            raise StatementsUnusable(str(error)) from error

    async def VerifyAgainst(
        self, request: pb.VerifyAgainstRequest, context: RpcContext
    ) -> AsyncIterator[pb.VerifyAgainstResponse]:
        """One range of accounts against heads the caller has."""
        _one_shard(request)
        begin = _begin(request.begin) if request.HasField("begin") else None
        begin = begin or Place(request.after_account_id)
        last = request.last_account_id or BEYOND_ALL
        if begin.before >= last:
            raise FieldInvalid("last_account_id", "is not behind where it begins")
        scope = Scope(
            begin=begin,
            last=last,
            stated=Listed(_heads("heads", request.heads, begin.before, last)),
            logged=Listed(_heads("logged", request.logged, begin.before, last)),
            full=request.full,
        )
        settings = self._app.settings
        limits = replace(daily_statement.limits_of(settings), call_s=settings.verify_call_s)
        async for at in verify(self._app.db, scope, limits):
            yield pb.VerifyAgainstResponse(progress=_progress(at))

    async def SealLedger(
        self, request: pb.SealLedgerRequest, context: RpcContext
    ) -> pb.SealLedgerResponse:
        """The statement of the day, or how far it is."""
        _one_shard(request)
        try:
            sealed = await self._sealer.ask(restart=request.restart)
        except daily_statement.FolderUnusable as error:
            raise StatementsUnusable(str(error)) from error
        if sealed is None:
            return pb.SealLedgerResponse(progress=_progress(self._sealer.at))
        response = pb.SealLedgerResponse(
            done=True, existed=sealed.existed, progress=_progress(sealed.progress)
        )
        if sealed.kept is not None:
            statement = sealed.kept.statement
            response.number, response.day = statement.number, statement.day
            response.hash, response.file = sealed.kept.read.hash, sealed.kept.path.name
        return response

    async def GetStatementKeys(
        self, request: pb.GetStatementKeysRequest, context: RpcContext
    ) -> pb.GetStatementKeysResponse:
        """The public keys, the one that signs first."""
        if self._app.settings.ledger_statements_dir is None:
            raise StatementsOff
        return pb.GetStatementKeysResponse(keys=keys_of(self._app.settings).lines)


def _one_shard(request: pb.VerifyRequest | pb.VerifyAgainstRequest | pb.SealLedgerRequest) -> None:
    """Of several shards the router has asked the one that is named as if it were the only one."""
    if request.shard:
        raise FieldInvalid("shard", "is 0: the service has one")


def _begin(place: pb.ProofPlace) -> Place:
    if place.seq < 0:
        raise FieldInvalid("begin.seq", "is negative")
    return Place(place.account_id or -1, place.seq)


def _progress(at: Progress) -> pb.VerifyResponse:
    place = None
    if at.place is not None:
        place = pb.ProofPlace(account_id=at.place.account_id, seq=at.place.seq)
    return pb.VerifyResponse(
        accounts=at.accounts,
        records=at.records,
        accounts_total=at.accounts_total,
        records_total=at.records_total,
        done=at.done and place is None,
        next=place,
        since_statement=at.since,
        findings=[filled(pb.VerifyResponse.Finding, one) for one in at.findings],
    )


def _heads(name: str, given: Sequence[pb.Head], before: int, last: int) -> list[Head]:
    """The heads, which must lie in the range and be in order; logged ones name no owner."""
    if len(given) > HEADS_MAX:
        raise FieldInvalid(name, f"are more than {HEADS_MAX}")
    owner_bytes = OWNER_BYTES if name == "heads" else 0
    found: list[Head] = []
    for one in given:
        if not before < one.account_id <= last:
            raise FieldInvalid(name, "are not in order within the range")
        before = one.account_id
        if len(one.hash) > HASH_BYTES_MAX or len(one.owner) != owner_bytes or one.seq < 0:
            raise FieldInvalid(name, f"of account {one.account_id} are none")
        contra = one.contra_account_id
        row = (one.account_id, contra, one.seq, one.balance_micros, one.hash, one.owner)
        found.append(Head(*row))
    return found
