"""Decisions over open work as calls of two persons, where deciding is one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

from shoudan.core.v1 import work_service_pb2 as pb
from shoudan_kit.proposals.kinds import Applied, Effect, Kind
from shoudan_kit.proposals.refusals import ProposalInvalid
from shoudan_kit.rpc.rights import OPS
from shoudan_kit.tasks.open_work import (
    FINANCE,
    KEY_MAX,
    NAME,
    WORDS_MAX,
    Decision,
    Item,
    Source,
    check_right,
)
from shoudan_kit.tasks.unit_of_work import UnitOfWork

METHOD: Final = f"{NAME}/DecideWork"
S = TypeVar("S", bound=Source)

PEOPLE: Final = frozenset({OPS})


class Decidable(Source, Protocol):
    """A kind of open work that is decided in one transaction."""

    async def decide_in(self, work: UnitOfWork, item: Item, decision: Decision) -> None:
        """End it and record the decision, inside the transaction given. Raises the service's refusals."""
        ...


def decide_work(sources: Sequence[Decidable]) -> Kind:
    """DecideWork of a service: what moves money needs two persons, and finance approves it."""
    by_kind = {one.kind: one for one in sources}
    money = {one.kind for one in sources if one.moves_money}

    def amount(request: pb.DecideWorkRequest) -> int | None:
        return None if request.kind in money else 0

    def roles(request: pb.DecideWorkRequest) -> frozenset[str]:
        return FINANCE if request.kind in money else PEOPLE

    return Kind(METHOD, pb.DecideWorkRequest, amount, partial(_apply, by_kind), roles)


async def _apply(
    sources: Mapping[str, Decidable], work: UnitOfWork, request: pb.DecideWorkRequest
) -> Applied:
    source, item, decision = await asked(sources, request)
    await source.decide_in(work, item, decision)
    effect = Effect(f"{source.kind} {item.key}", item.state, decision.word)
    subject = f"decide {source.kind} {item.key}: {decision.word}"
    return Applied([effect], subject, item.amount_micros or None)


async def asked(
    sources: Mapping[str, S], request: pb.DecideWorkRequest
) -> tuple[S, Item, Decision]:
    """What is decided, and how. Raises NotAllowed, and ProposalInvalid when it waits no longer."""
    source = sources.get(request.kind)
    if source is None:
        raise ProposalInvalid("kind", f"is of {', '.join(sources)}")
    check_right(source)
    if not 1 <= len(request.reason) <= WORDS_MAX or not request.reason.isprintable():
        raise ProposalInvalid("reason", f"has not 1 to {WORDS_MAX} printable characters")
    key = request.key
    fits = 1 <= len(key) <= KEY_MAX and key.isascii() and key.isprintable()
    item = await source.find(key) if fits else None
    if item is None:
        raise ProposalInvalid("key", "nothing waits under it")
    if request.decision not in item.decisions:
        raise ProposalInvalid("decision", f"is of {', '.join(item.decisions)}")
    return source, item, Decision(request.decision, request.by, request.reason)
