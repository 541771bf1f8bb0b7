"""What waits for a person: one list, one decision and one gauge for every kind a service has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Protocol

import grpc

from shoudan.core.v1 import work_service_pb2, work_service_pb2_grpc
from shoudan_kit import log, metrics
from shoudan_kit.audit_log.entries import describe
from shoudan_kit.clock import Clock
from shoudan_kit.db.errors import survived
from shoudan_kit.db.pool import Database
from shoudan_kit.db.text_statements import statement
from shoudan_kit.rpc.callers import NotAllowed, current_caller
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.rpc.rights import FINANCE_CHECKER, OPS, SUPPORT, Right
from shoudan_kit.tasks.unit_of_work import UnitOfWork

pb = work_service_pb2

NAME: Final = "shoudan.core.v1.WorkService"
PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 1_000
WORDS_MAX: Final = 256
KEY_MAX: Final = 64
GAUGE_EVERY_S: Final = 10.0
FINANCE: Final = frozenset({FINANCE_CHECKER})
PEOPLE: Final = frozenset({SUPPORT, OPS})
# More than a person reads through: beyond it the alert is the same.
COUNT_MAX: Final = 10_000

OPEN_WORK: Final = metrics.total(
    "open_work", f"What waits for a person, at most {COUNT_MAX}.", ("kind",)
)
OPEN_WORK_AGE_SECONDS: Final = metrics.worst(
    "open_work_age_seconds", "How long the oldest waits; 0 when nothing does.", ("kind",)
)

# By the index of keys, then sorted: a key has few events.
_DECIDED = statement("""
SELECT body FROM event WHERE key = :key AND subject = :subject ORDER BY event_id + 0 DESC LIMIT 20
""")

_log = log.get_logger("open_work")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that waits. `decisions` are the words that end it."""

    key: str
    state: str
    reason: str
    evidence: str
    decisions: tuple[str, ...]
    since: datetime
    amount_micros: int = 0


@dataclass(frozen=True, slots=True)
class Count:
    """How many wait, counted up to a bound, and since when the oldest does."""

    count: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Decision:
    """One of the offered decisions, who decides, and why."""

    word: str
    by: str
    reason: str


class Source(Protocol):
    """One kind of open work."""

    @property
    def kind(self) -> str:
        """Its name, unique over all services."""
        ...

    # Whether deciding it moves money: then finance decides, else support or ops.
    moves_money: ClassVar[bool]

    async def page(self, after: str, most: int) -> Sequence[Item]:
        """Those after this key, in the order of their keys, which is that of their age."""
        ...

    async def find(self, key: str) -> Item | None:
        """The one that waits under this key."""
        ...

    async def count(self, most: int) -> Count:
        """How many wait, counted up to `most`."""
        ...

    async def decide(self, item: Item, decision: Decision) -> None:
        """End it by one of its decisions, recorded with it. Raises the service's refusals."""
        ...

    async def decided(self, key: str, asked: Decision) -> Decision | None:
        """The last decision of what waited under this key; `asked` is the one that is repeated."""
        ...


class OpenWork(work_service_pb2_grpc.WorkServiceServicer):
    """WorkService over the kinds of one service."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = {one.kind: one for one in sources}

    async def ListOpenWork(
        self, request: pb.ListOpenWorkRequest, context: RpcContext
    ) -> pb.ListOpenWorkResponse:
        """One page. The token is the kind and key of the last item."""
        kinds = [one for one in self._sources if not request.kinds or one in request.kinds]
        most = request.page_size or PAGE_DEFAULT
        from_kind, _, after = request.page_token.partition(":")
        if not 1 <= most <= PAGE_MAX or (from_kind and from_kind not in kinds):
            await _refuse(context, f"page_size is 1 to {PAGE_MAX}, page_token that of a page")
        answer = pb.ListOpenWorkResponse(kinds=list(self._sources))
        if request.key:
            for kind in kinds:
                item = await self._sources[kind].find(request.key)
                answer.items.extend([_message(kind, item)] if item is not None else [])
            return answer
        for kind in kinds[kinds.index(from_kind) if from_kind else 0 :]:
            left = most - len(answer.items)
            page = await self._sources[kind].page(after if kind == from_kind else "", left)
            answer.items.extend(_message(kind, item) for item in page)
            if len(answer.items) == most:
                answer.next_page_token = f"{kind}:{answer.items[-1].key}"
                break
        return answer

    async def DecideWork(
        self, request: pb.DecideWorkRequest, context: RpcContext
    ) -> pb.DecideWorkResponse:
        """End one item."""
        source = self._sources.get(request.kind)
        if source is None:
            await _refuse(context, f"kind is of {', '.join(self._sources)}")
            raise AssertionError
        check_right(source)
        for name, text in (("by", request.by), ("reason", request.reason)):
            if not 1 <= len(text) <= WORDS_MAX or not text.isprintable():
                await _refuse(context, f"{name} is 1 to {WORDS_MAX} printable characters")
        key = request.key
        fits = 1 <= len(key) <= KEY_MAX and key.isascii() and key.isprintable()
        item = await source.find(key) if fits else None
        decision = Decision(request.decision, request.by, request.reason)
        if item is None:
            return await _repeated(context, source, key if fits else "", decision)
        if request.decision not in item.decisions:
            await _refuse(context, f"decision is of {', '.join(item.decisions)}")
        before = {"state": item.state, "reason": item.reason, "amount_micros": item.amount_micros}
        describe(source.kind, key, before, {"decision": decision.word})
        try:
            await source.decide(item, decision)
        except Refusal:
            if await source.find(key) is not None:
                raise
            return await _repeated(context, source, key, decision)
        return _response(decision)


def gauging(sources: Sequence[Source], clock: Clock) -> Callable[[], Awaitable[None]]:
    """A background loop that sets the gauges of open work; a failed look leaves the last values."""

    async def gauge_open_work() -> None:
        while True:
            with survived(_log, "gauge_failed"):
                await gauge(sources, clock)
            await asyncio.sleep(GAUGE_EVERY_S)

    return gauge_open_work


async def gauge(sources: Sequence[Source], clock: Clock) -> None:
    """One look at every kind."""
    for source in sources:
        found = await source.count(COUNT_MAX)
        oldest = found.oldest
        age_s = 0.0 if oldest is None else (clock.now() - oldest).total_seconds()
        OPEN_WORK(source.kind).set(found.count)
        OPEN_WORK_AGE_SECONDS(source.kind).set(max(0.0, age_s))


def check_right(source: Source) -> None:
    """The contract lets everyone call DecideWork who may decide something. Raises NotAllowed."""
    caller, needed = current_caller(), FINANCE if source.moves_money else PEOPLE
    if caller.kind == "operator" and needed.isdisjoint(caller.roles):
        roles = ", ".join(sorted(caller.roles))
        raise NotAllowed(f"/{NAME}/DecideWork of {source.kind}", roles, Right(roles=needed).needed)


async def _refuse(context: RpcContext, text: str) -> None:
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)


async def _repeated(
    context: RpcContext, source: Source, key: str, asked: Decision
) -> pb.DecideWorkResponse:
    """What was decided of it before, if that was the same."""
    before = await source.decided(key, asked) if key else None
    if before is None:
        await context.abort(grpc.StatusCode.NOT_FOUND, "nothing waits under this key")
        raise AssertionError
    if before.word != asked.word:
        decided = f"was decided {before.word} by {before.by}: {before.reason}"
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, decided)
    return _response(before, repeated=True)


def _response(decision: Decision, *, repeated: bool = False) -> pb.DecideWorkResponse:
    return pb.DecideWorkResponse(
        decision=decision.word, by=decision.by, reason=decision.reason, repeated=repeated
    )


@dataclass(frozen=True, slots=True)
class DecisionEvents:
    """The record of decisions in a service's events: `message` is its WorkDecided."""

    subject: str
    message: type[Any]

    def add(self, work: UnitOfWork, kind: str, key: str, decision: Decision) -> None:
        """Record a decision with what the transaction does."""
        word, by, reason = decision.word, decision.by, decision.reason
        body = self.message(kind=kind, key=key, decision=word, by=by, reason=reason)
        text = f"{kind} {key}: {word}, {by}: {reason}"
        work.events.add(self.subject, key=key, body=body, text=text)

    async def last(self, database: Database, kind: str, key: str) -> Decision | None:
        """The last decision of what waited under this key."""
        async with database.connect() as db:
            rows = await db.execute(_DECIDED, {"key": key, "subject": self.subject})
            bodies = [self.message.FromString(row.body) for row in rows]
        return next(
            (Decision(one.decision, one.by, one.reason) for one in bodies if one.kind == kind), None
        )


def _message(kind: str, item: Item) -> pb.OpenWork:
    made = pb.OpenWork(
        kind=kind,
        key=item.key,
        state=item.state,
        reason=item.reason,
        evidence=item.evidence,
        decisions=item.decisions,
        amount_micros=item.amount_micros,
    )
    made.since.FromDatetime(item.since.astimezone(UTC))
    return made
