"""Refusals as another service writes them."""

from __future__ import annotations

from typing import Any

from grpc_status import rpc_status

from shoudan_kit.rpc.refusal import Refusal, code_of


def _made(reason: str, domain: str) -> Refusal:
    class Made(Refusal):
        code = code_of(9)

    made = Made()
    Made.reason, Made.domain = reason, domain
    return made


def refusal(reason: str, domain: str) -> Any:
    """A refusal of a batch item, as another service writes it."""
    return _made(reason, domain).to_proto()


async def refuse(context: Any, reason: str, domain: str) -> None:
    """End a unary call with a refusal, as another service does."""
    status = rpc_status.to_status(_made(reason, domain).to_status())
    await context.abort(status.code, status.details, status.trailing_metadata)
