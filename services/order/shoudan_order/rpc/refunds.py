"""The refund calls of OrderService."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_order.context import Context
from shoudan_order.results import Ack
from shoudan_order.suppliers import Outcome


async def create(context: Context, request: pb.CreateRefundsRequest) -> pb.CreateRefundsResponse:
    """Take refunds."""
    return pb.CreateRefundsResponse()


async def query(context: Context, request: pb.QueryRefundsRequest) -> pb.QueryRefundsResponse:
    """Tell how refunds stand."""
    return pb.QueryRefundsResponse()


async def report(context: Context, outcomes: Sequence[Outcome]) -> list[Ack]:
    """Ends of returns."""
    return [Ack(one.id, False, False) for one in outcomes]


def refund(row: Any) -> pb.Refund:
    """One refund."""
    return pb.Refund(refund_id=row["refund_id"])
