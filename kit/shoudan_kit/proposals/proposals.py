"""Proposals of one service: made, decided once, applied in the transaction of their approval."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

import grpc
import msgspec
from google.protobuf.message import Message

from shoudan_kit.audit_log.entries import Entry, Who, record
from shoudan_kit.clock import Clock
from shoudan_kit.db.pool import Database, retry
from shoudan_kit.ids import IdMaker
from shoudan_kit.proposals import alone, calls, events, store
from shoudan_kit.proposals.kinds import Applied, DayBound, Effect, Kind
from shoudan_kit.proposals.refusals import (
    ProposalDiffers,
    ProposalEnded,
    ProposalInvalid,
    ProposalNotFound,
    ProposalOwner,
    ProposalRequired,
)
from shoudan_kit.proposals.settings import TwoPersonsSettings
from shoudan_kit.proposals.states import ProposalEvent, ProposalState
from shoudan_kit.proposals.store import End, New, Row
from shoudan_kit.rpc.caller import Caller
from shoudan_kit.rpc.callers import NotAllowed, current_caller
from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.rpc.rights import Right
from shoudan_kit.tasks.unit_of_work import UnitOfWork

REASON_MAX: Final = 256
EVIDENCE_MAX: Final = 1024
KEY_MAX: Final = 64
SUBJECT_MAX: Final = 256
ID_MAX: Final = 2**63 - 1
INLINE_BYTES_MAX: Final = 65_536  # requests that are larger are weighed in a thread
APPROVE: Final = "shoudan.core.v1.ProposalService/ApproveProposal"
LEFT_S: Final = 60.0  # longer than any call takes that is still being made
# A refusal with one of these says nothing about the call: the proposal stays open and is approved again.
PASSING: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
    }
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What an operator proposes."""

    method: str
    request: bytes
    reason: str
    evidence: str
    key: str


class Host(Protocol):
    """The part of an App that proposals need."""

    name: str
    clock: Clock

    @property
    def settings(self) -> TwoPersonsSettings: ...
    @property
    def db(self) -> Database: ...
    @property
    def ids(self) -> IdMaker: ...
    def work(self, name: str = ...) -> UnitOfWork: ...


class _RolledBack(Exception):
    """Ends a dry run, with what it would have changed."""

    def __init__(self, applied: Applied) -> None:
        super().__init__()
        self.applied = applied


class Proposals:
    """The proposals of one service. Every call of it is one transaction, or a repeatable few."""

    def __init__(self, app: Host, kinds: Sequence[Kind]) -> None:
        self.app, self.kinds = app, {kind.method: kind for kind in kinds}
        self._settings = app.settings

    async def check_alone(self, path: str, request: Message, caller: Caller) -> None:
        """Refuse a direct call of an operator that needs two persons: ProposalRequired.

        Services need no second person, nor does the holder of the owner's certificate, who sets a system up
        before there are operators. Where the request does not say how much money it is about, a dry run does.
        What one operator does alone adds up over a day.
        """
        if caller.kind != "operator" or not caller.id or not self._settings.needs_two:
            return
        kind = self.kinds[path.removeprefix("/")]
        if request.ByteSize() > INLINE_BYTES_MAX:  # a catalogue: other calls go on meanwhile
            amount = await asyncio.to_thread(kind.amount, request)
        else:
            amount = kind.amount(request)
        if amount is None and kind.steps is None:
            amount = (await retry(lambda: self._dry_run(kind, request))).amount_micros
        bound = kind.bound or DayBound(alone.MONEY, self._settings.alone_max_micros)
        if amount is None or amount > bound.most:
            raise ProposalRequired(path)

        async def count() -> bool:
            async with self.app.db.begin() as db:
                return await alone.count(db, bound, caller.id, path, request, amount)

        if amount and not await retry(count):
            raise ProposalRequired(path)

    def approvers(self, row: Row) -> frozenset[str]:
        """The roles that may approve or refuse it; none when its method needs no two persons any more."""
        kind = self.kinds.get(row.method)
        if kind is None:
            return frozenset()
        if kind.roles is not None:
            return kind.roles(kind.request.FromString(row.request))
        return calls.access(kind).right.approvers

    async def propose(self, maker: Caller, asked: Asked) -> tuple[Row, bool]:
        """Store a call with its dry run; the proposal, and whether it was there before.

        Refuses: ProposalInvalid, ProposalDiffers, NotAllowed, and what the call itself refuses.
        """
        _check_person(maker, "Propose")
        kind = self.kinds.get(asked.method)
        if kind is None:
            raise ProposalInvalid("method", "is none of this service that needs two persons")
        right = calls.access(kind).right
        if not right.allows(maker):
            raise NotAllowed(f"/{asked.method}", ", ".join(sorted(maker.roles)), right.needed)
        _check_text("reason", asked.reason, 1, REASON_MAX)
        _check_text("evidence", asked.evidence, 0, EVIDENCE_MAX)
        _check_text("key", asked.key, 1, KEY_MAX)
        request = calls.read(kind, asked.request, maker)
        async with self.app.db.connect() as db:
            before = await store.by_key(db, maker.id, asked.key)
        if before is not None:
            return _same(before, asked, request), True
        planned = await retry(lambda: self._dry_run(kind, request))
        return await retry(lambda: self._store(maker, asked, request, planned))

    async def _dry_run(self, kind: Kind, request: Message) -> Applied:
        """What the call would change: made, and rolled back."""
        try:
            async with self.app.work("proposal_dry_run") as work:
                raise _RolledBack(await kind.apply(work, request))
        except _RolledBack as end:
            return end.applied

    async def _store(
        self, maker: Caller, asked: Asked, request: Message, planned: Applied
    ) -> tuple[Row, bool]:
        new = New(
            self.app.ids.next(),
            asked.method,
            calls.written(request),
            calls.as_json(request),
            planned.subject[:SUBJECT_MAX],
            planned.amount_micros,
            effects_text(planned.effects),
            asked.reason,
            asked.evidence,
            asked.key,
            maker.id,
            maker.name,
        )
        async with self.app.work("proposal") as work:
            row = await store.insert(work.db, new, self._settings.proposal_valid_s)
            if row is not None:
                self._record(work, maker, row)
                return row, False
            before = await store.by_key(work.db, maker.id, asked.key)
        assert before is not None, "a key that is taken has its proposal"
        return _same(before, asked, request), True

    async def approve(self, caller: Caller, proposal_id: int, reason: str) -> tuple[Row, bool]:
        """Make the call, once: the proposal, applied or failed, and whether that was done before.

        Refuses: ProposalNotFound, ProposalEnded, ProposalOwner, NotAllowed.
        """
        _check_text("reason", reason, 0, REASON_MAX)
        row = await self._to_decide(caller, proposal_id, "Approve")
        kind = self.kinds[row.method]  # a method that is none any more has no approvers
        if kind.steps is not None:
            return await self._approve_steps(kind, caller, proposal_id, reason)
        if kind.prepare is not None and row.status is ProposalState.OPEN:
            await kind.prepare(kind.request.FromString(row.request))
        end = End(ProposalEvent.APPLIED, caller.id, caller.name, reason)
        try:
            ended = await retry(lambda: self._apply(kind, caller, proposal_id, end))
        except Refusal as refusal:
            if refusal.code in PASSING:
                raise
            why = str(refusal)
            end = End(ProposalEvent.FAILED, caller.id, caller.name, reason, why)
            ended = await retry(lambda: self._end(caller, proposal_id, end))
        if ended is not None:
            return ended, False
        repeated = await self._repeated(
            caller, proposal_id, ProposalState.APPLIED, ProposalState.FAILED
        )
        return repeated, True

    async def _apply(self, kind: Kind, caller: Caller, proposal_id: int, end: End) -> Row | None:
        """Approval, call and result in one transaction; None when the proposal is not open."""
        async with self.app.work("proposal_apply") as work:
            row = await store.end(work.db, proposal_id, end)
            if row is None:
                return None
            applied = await kind.apply(work, kind.request.FromString(row.request))
            row = await store.write_result(work.db, proposal_id, effects_text(applied.effects))
            self._record(work, caller, row)
        return row

    async def _approve_steps(
        self, kind: Kind, caller: Caller, proposal_id: int, reason: str
    ) -> tuple[Row, bool]:
        """Approve first, then make the call: once decided, it is made until it ends."""
        end = End(ProposalEvent.APPROVED, caller.id, caller.name, reason)
        begun = await retry(lambda: self._end(caller, proposal_id, end))
        if begun is None:
            begun = await self._repeated(
                caller,
                proposal_id,
                ProposalState.APPROVED,
                ProposalState.APPLIED,
                ProposalState.FAILED,
            )
            return (
                begun,
                True,
            )  # one that is being made is finished by its process, or by `make_left`
        return await self.make(kind, begun), False

    async def make(self, kind: Kind, begun: Row) -> Row:
        """Make the call of an approved proposal; its end. Raises what is no answer to the call."""
        assert kind.steps is not None, "a call in one transaction is made with its approval"
        by = Caller("operator", begun.decider_name, id=begun.decider_id)

        async def finish(work: UnitOfWork, applied: Applied) -> None:
            result = effects_text(applied.effects)
            row = await store.finish(work.db, begun.proposal_id, ProposalEvent.APPLIED, result, "")
            if row is None:  # made twice at once: the other one was first
                _refuse_ended(begun)
            self._record(work, by, row)

        try:
            await kind.steps(kind.request.FromString(begun.request), finish)
        except Refusal as refusal:
            if refusal.code in PASSING:
                raise
            async with self.app.work("proposal") as work:
                row = await store.finish(
                    work.db, begun.proposal_id, ProposalEvent.FAILED, "", str(refusal)
                )
                if row is not None:
                    self._record(work, by, row)
        return await self.get(begun.proposal_id)

    async def make_left(self) -> None:
        """Make the calls that a process which has died had begun."""
        async with self.app.db.connect() as db:
            rows = await store.left(db, LEFT_S)
        for row in rows:
            if (kind := self.kinds.get(row.method)) is not None and kind.steps is not None:
                await self.make(kind, row)

    async def refuse(self, caller: Caller, proposal_id: int, reason: str) -> tuple[Row, bool]:
        """End a proposal without a call. Refuses as `approve`."""
        _check_text("reason", reason, 1, REASON_MAX)
        await self._to_decide(caller, proposal_id, "Refuse")
        end = End(ProposalEvent.REFUSED, caller.id, caller.name, reason)
        ended = await retry(lambda: self._end(caller, proposal_id, end))
        if ended is not None:
            return ended, False
        return await self._repeated(caller, proposal_id, ProposalState.REFUSED), True

    async def withdraw(self, caller: Caller, proposal_id: int, reason: str) -> tuple[Row, bool]:
        """End a proposal of the caller's own. Refuses: ProposalNotFound, ProposalEnded, ProposalOwner."""
        _check_person(caller, "Withdraw")
        _check_text("reason", reason, 0, REASON_MAX)
        if (await self.get(proposal_id)).maker_id != caller.id:
            raise ProposalOwner(proposal_id, "only its maker withdraws it")
        end = End(ProposalEvent.WITHDRAWN, caller.id, caller.name, reason)
        ended = await retry(lambda: self._end(caller, proposal_id, end))
        if ended is not None:
            return ended, False
        return await self._repeated(caller, proposal_id, ProposalState.WITHDRAWN), True

    async def get(self, proposal_id: int) -> Row:
        """One proposal. Refuses: ProposalNotFound."""
        row = None
        if 0 < proposal_id <= ID_MAX:
            async with self.app.db.connect() as db:
                row = await store.find(db, proposal_id)
        if row is None:
            raise ProposalNotFound(proposal_id)
        return row

    async def page(
        self, states: Sequence[int], before: int, most: int
    ) -> tuple[Sequence[Row], str]:
        """A page, newest first, and the token of the next."""
        async with self.app.db.connect() as db:
            return await store.page(db, states, before, most)

    async def expire(self) -> int:
        """End what was not decided in time; how many were ended."""
        async with self.app.work("proposal_expire") as work:
            rows = await store.expire(work.db)
            for row in rows:
                events.changed(work, self.app.name, row)
        return len(rows)

    async def _end(self, caller: Caller, proposal_id: int, end: End) -> Row | None:
        """End it without a call; None when it is not open."""
        async with self.app.work("proposal") as work:
            row = await store.end(work.db, proposal_id, end)
            if row is not None:
                self._record(work, caller, row)
        return row

    def _record(self, work: UnitOfWork, caller: Caller, row: Row) -> None:
        """What every change of a proposal leaves behind, in its transaction."""
        events.changed(work, self.app.name, row)
        called = current_caller().id == caller.id  # else its process died, and another one goes on
        state = row.status.name.lower()
        effects = effects_of(row.result or row.dry_run)
        record(
            work,
            Entry(
                "proposal",
                row.proposal_id,
                after={
                    "state": state,
                    "method": row.method,
                    "effects": [f"{one.what}: {one.before} -> {one.after}" for one in effects],
                    "refusal": row.refusal,
                },
                reason=row.decide_reason or row.reason,
                proposal_id=row.proposal_id,
                action="" if called else APPROVE,
                who=None if called else Who("operator", caller.id),
            ),
        )

    async def _to_decide(self, caller: Caller, proposal_id: int, what: str) -> Row:
        """The proposal, if the caller may decide over it."""
        _check_person(caller, what)
        row = await self.get(proposal_id)
        needed = self.approvers(row)
        if needed.isdisjoint(caller.roles):
            roles = ", ".join(sorted(caller.roles))
            raise NotAllowed(f"{what} /{row.method}", roles, Right(roles=needed).needed)
        if row.maker_id == caller.id:
            raise ProposalOwner(proposal_id, "its maker decides over it never")
        return row

    async def _repeated(self, caller: Caller, proposal_id: int, *states: ProposalState) -> Row:
        """The proposal, if this caller gave it this end before. Raises ProposalEnded."""
        row = await self.get(proposal_id)
        if row.status is ProposalState.OPEN:  # too late, and not looked at since
            await self.expire()
            row = await self.get(proposal_id)
        if row.status not in states or row.decider_id != caller.id:
            _refuse_ended(row)
        return row


def effects_text(effects: Sequence[Effect]) -> str:
    """Effects as they are stored."""
    return msgspec.json.encode(effects).decode()


def effects_of(text: str) -> list[Effect]:
    """Stored effects; none for an empty text."""
    return msgspec.json.decode(text, type=list[Effect]) if text else []


def _refuse_ended(row: Row) -> NoReturn:
    state = "expired" if row.status is ProposalState.OPEN else row.status.name.lower()
    why = row.refusal or row.decide_reason
    raise ProposalEnded(row.proposal_id, state, row.decider_name, why)


def _same(before: Row, asked: Asked, request: Message) -> Row:
    """The first proposal of a key, when the repeat has its content. Raises ProposalDiffers."""
    there = before.method, before.request, before.reason, before.evidence
    if there != (asked.method, calls.written(request), asked.reason, asked.evidence):
        raise ProposalDiffers(before.proposal_id)
    return before


def _check_person(caller: Caller, what: str) -> None:
    """Two certificates, or unknown callers, are no two persons. Raises NotAllowed."""
    if caller.kind != "operator" or not caller.id:
        raise NotAllowed(what, caller.name or caller.kind, "an operator who has logged in")


def _check_text(field: str, value: str, least: int, most: int) -> None:
    if not least <= len(value) <= most:
        raise ProposalInvalid(field, f"has not {least} to {most} characters")
    if value and not value.isprintable():
        raise ProposalInvalid(field, "has characters that cannot be seen")
