"""What commands share: a call that becomes a proposal where two persons are needed, and its lines."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final, TypeVar

from google.protobuf.message import Message
from grpc import aio

from shoudan.core.v1 import proposal_service_pb2 as pb
from shoudan.core.v1 import proposal_service_pb2_grpc as stubs
from shoudan_kit.clock import beijing
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.proposals.refusals import ProposalRequired
from shoudan_kit.rpc.refusal import refused_from_rpc

T = TypeVar("T")

CALL_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Why:
    """What a proposal says for itself; the call itself needs none of it."""

    reason: str
    evidence: str = ""


class ReasonMissing(Exception):
    """The call needs a second person, and who approves must read why."""

    def __init__(self) -> None:
        super().__init__("this needs a second person: say why, with --reason")


async def call_or_propose(
    channel: aio.Channel,
    method: str,
    request: Message,
    call: Callable[[], Awaitable[T]],
    why: Why,
) -> T | pb.Proposal:
    """The answer of the call, or the proposal of it where one person may not make it.

    Raises ReasonMissing, and AioRpcError as the call and the proposal do.
    """
    try:
        return await call()
    except aio.AioRpcError as error:
        refused = refused_from_rpc(error)
        if refused is None or refused.reason != ProposalRequired.reason:
            raise
    if not why.reason:
        raise ReasonMissing
    return await propose(channel, method, request, why)


async def propose(channel: aio.Channel, method: str, request: Message, why: Why) -> pb.Proposal:
    """Propose a call."""
    stub: Any = stubs.ProposalServiceStub(channel)
    return (await stub.Propose(proposed(method, request, why), timeout=CALL_S)).proposal


def proposed(method: str, request: Message, why: Why) -> pb.ProposeRequest:
    """The request that proposes a call, with a key of its own: sent twice, it makes one proposal."""
    return pb.ProposeRequest(
        method=method,
        request=request.SerializeToString(deterministic=True),
        reason=why.reason,
        evidence=why.evidence,
        key=secrets.token_hex(16),
    )


def state_of(proposal: pb.Proposal) -> str:
    """The word for its state."""
    return pb.ProposalState.Name(proposal.state).removeprefix("PROPOSAL_STATE_").lower()


def summary(service: str, proposal: pb.Proposal) -> str:
    """One line: what it is, whose, how much."""
    amount = (
        f"{micros_to_yuan(proposal.amount_micros)} 元"
        if proposal.HasField("amount_micros")
        else "amount unknown"
    )
    made = beijing(proposal.create_time.ToDatetime(UTC))
    number = f"{service}:{proposal.proposal_id}"
    return (
        f"{number}  {state_of(proposal)}  {amount}  {proposal.subject}  by {proposal.maker}, {made}"
    )


def lines(service: str, proposal: pb.Proposal) -> Iterator[str]:
    """All of it for people: what it changes, why, and what to type next."""
    yield summary(service, proposal)
    yield f"    method    {proposal.method}"
    yield f"    reason    {proposal.reason}"
    if proposal.evidence:
        yield f"    evidence  {proposal.evidence}"
    applied = state_of(proposal) == "applied"
    yield "    changed" if applied else "    would change"
    for effect in proposal.result if applied else proposal.dry_run:
        yield f"        {effect.what}: {effect.before} -> {effect.after}"
    if proposal.decider:
        said = f": {proposal.decide_reason}" if proposal.decide_reason else ""
        yield f"    {state_of(proposal)} by {proposal.decider}{said}"
    if proposal.refusal:
        yield f"    refused   {proposal.refusal}"
    if state_of(proposal) == "open":
        number = f"{service}:{proposal.proposal_id}"
        until = beijing(proposal.expire_time.ToDatetime(UTC))
        yield f"    until     {until}, for one of: {', '.join(proposal.approvers)}"
        yield f"    approve   shoudan proposal approve {number}"
