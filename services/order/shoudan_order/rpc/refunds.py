"""The refund calls of OrderService: messages to dataclasses and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_order import refunds, returns
from shoudan_order.context import Context
from shoudan_order.delivery_client import Outcome
from shoudan_order.refusals import FieldInvalid, OrderRefusal
from shoudan_order.results import Ack
from shoudan_order.rpc.messages import KEY_CHARS_MAX, NUM_MAX, call_nonce, filled, text_problem
from shoudan_order.states import RefundType
from shoudan_order.store.refunds import Refund

REASON_CHARS_MAX: Final = 256


async def create(context: Context, request: pb.CreateRefundsRequest) -> pb.CreateRefundsResponse:
    """Take refunds; malformed ones are refused alone."""
    wanted = [_new_refund(one) for one in request.refunds]
    well = [one for one in wanted if isinstance(one, refunds.NewRefund)]
    answers = iter(await refunds.create(context, well) if well else ())
    return pb.CreateRefundsResponse(
        results=[
            _result(next(answers) if isinstance(one, refunds.NewRefund) else one) for one in wanted
        ]
    )


def _new_refund(one: pb.NewRefund) -> refunds.NewRefund | FieldInvalid:
    texts = (
        ("channel_no", one.channel_no, 1, KEY_CHARS_MAX),
        ("request_no", one.request_no, 1, KEY_CHARS_MAX),
        ("refund_no", one.refund_no, 1, KEY_CHARS_MAX),
        ("reason", one.reason, 0, REASON_CHARS_MAX),
    )
    if problem := text_problem(texts, one.notify_url):
        return problem
    if not 1 <= one.refund_num <= NUM_MAX:
        return FieldInvalid("refund_num", f"1 to {NUM_MAX}")
    if one.type not in {pb.REFUND_TYPE_GENERAL, pb.REFUND_TYPE_MANDATORY}:
        return FieldInvalid("type", "general or mandatory")
    nonce = call_nonce(one.channel_no, one.nonce)
    if isinstance(nonce, FieldInvalid):
        return nonce
    return refunds.NewRefund(
        one.channel_no,
        one.request_no,
        one.refund_no,
        one.refund_num,
        one.notify_url,
        RefundType(one.type),
        nonce,
        one.reason,
    )


def _result(answer: refunds.AcceptedRefund | OrderRefusal) -> pb.CreateRefundsResponse.Result:
    if isinstance(answer, refunds.AcceptedRefund):
        return pb.CreateRefundsResponse.Result(
            refund=refund(msgspec.structs.asdict(answer.refund)), existed=answer.existed
        )
    return pb.CreateRefundsResponse.Result(refusal=answer.to_proto())


async def query(context: Context, request: pb.QueryRefundsRequest) -> pb.QueryRefundsResponse:
    """The state of refunds, key by key."""
    keys = [(key.channel_no, key.request_no, key.refund_no) for key in request.keys]
    return pb.QueryRefundsResponse(
        results=[
            pb.QueryRefundsResponse.Result(refund=refund(msgspec.structs.asdict(one)))
            if isinstance(one, Refund)
            else pb.QueryRefundsResponse.Result(refusal=one.to_proto())
            for one in await refunds.query(context, keys)
        ]
    )


async def report(context: Context, outcomes: Sequence[Outcome]) -> list[Ack]:
    """Ends of returns."""
    return await returns.report(context, outcomes) if outcomes else []


def refund(row: Any) -> pb.Refund:
    """One refund, a row by column name."""
    request = filled(
        pb.NewRefund,
        row,
        channel_no=row["down_channel_no"],
        refund_no=row["down_refund_no"],
        type=row["refund_type"],
    )
    return filled(pb.Refund, row, request=request, status=row["refund_status"])


def own_refund(row: Any) -> pb.Refund:
    """One refund as its channel sees it: why it was made may be words of our own people, and is left out."""
    made = refund(row)
    made.request.ClearField("reason")
    return made
