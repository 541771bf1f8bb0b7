"""Calls that need two persons: made at once where one may, else proposed for the second."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import Message

from shoudan.core.v1 import proposal_service_pb2 as pb
from shoudan_console import calls
from shoudan_console.backend import Rpc
from shoudan_console.visits import Visit
from shoudan_kit.rpc.refusal import Refused

REQUIRED: Final = "ERROR_REASON_PROPOSAL_REQUIRED"
REASON_MAX: Final = 256


async def call_or_propose(
    visit: Visit, rpc: Rpc, request: Message, reason: str, key: str, evidence: str = ""
) -> Any:
    """The answer of the call, or the pb.Proposal of it.

    A form that is sent twice has the same `key`: it proposes once. Raises Refused, Away.
    """
    try:
        return await visit.ask(rpc, request)
    except Refused as refused:
        if refused.reason != REQUIRED:
            raise
    return await propose(visit, rpc, request, reason, key, evidence)


async def propose(
    visit: Visit, rpc: Rpc, request: Message, reason: str, key: str, evidence: str = ""
) -> Any:
    """The pb.Proposal of a call, for a second person, whether one is needed or not. Raises Refused, Away."""
    asked = pb.ProposeRequest(
        method=rpc.path,
        request=request.SerializeToString(deterministic=True),
        reason=reason[:REASON_MAX],
        evidence=evidence,
        key=key,
    )
    return (await visit.ask(calls.propose(rpc.service), asked)).proposal
