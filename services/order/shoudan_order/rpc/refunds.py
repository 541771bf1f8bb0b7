"""The refund calls of OrderService: messages to dataclasses and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_order import refunds, returns
from shoudan_order.context import Context
from shoudan_order.delivery_client import Outcome
from shoudan_order.refusals import FieldInvalid, OrderRefusal
from shoudan_order.results import Ack
from shoudan_order.states import RefundType
from shoudan_order.store.refunds import Refund

NUM_MAX: Final = 1_000
KEY_CHARS_MAX: Final = 64
URL_CHARS_MAX: Final = 2_048


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
        ("notify_url", one.notify_url, 0, URL_CHARS_MAX),
    )
    for name, text, least, most in texts:
        if not least <= len(text) <= most or not text.isprintable():
            return FieldInvalid(name, f"{least} to {most} printable characters")
    if not 1 <= one.refund_num <= NUM_MAX:
        return FieldInvalid("refund_num", f"1 to {NUM_MAX}")
    if one.type not in {pb.REFUND_TYPE_GENERAL, pb.REFUND_TYPE_MANDATORY}:
        return FieldInvalid("type", "general or mandatory")
    if one.notify_url and not one.notify_url.lower().startswith(("http://", "https://")):
        return FieldInvalid("notify_url", "an http or https URL")
    return refunds.NewRefund(
        one.channel_no,
        one.request_no,
        one.refund_no,
        one.refund_num,
        one.notify_url,
        RefundType(one.type),
    )


def _result(answer: refunds.AcceptedRefund | OrderRefusal) -> pb.CreateRefundsResponse.Result:
    if isinstance(answer, refunds.AcceptedRefund):
        return pb.CreateRefundsResponse.Result(
            refund=_message(answer.refund), existed=answer.existed
        )
    return pb.CreateRefundsResponse.Result(refusal=answer.to_proto())


async def query(context: Context, request: pb.QueryRefundsRequest) -> pb.QueryRefundsResponse:
    """Tell how refunds stand."""
    keys = [(key.channel_no, key.request_no, key.refund_no) for key in request.keys]
    return pb.QueryRefundsResponse(
        results=[
            pb.QueryRefundsResponse.Result(refund=_message(one))
            if isinstance(one, Refund)
            else pb.QueryRefundsResponse.Result(refusal=one.to_proto())
            for one in await refunds.query(context, keys)
        ]
    )


async def report(context: Context, outcomes: Sequence[Outcome]) -> list[Ack]:
    """Ends of returns."""
    return await returns.report(context, outcomes) if outcomes else []


def _message(one: Refund) -> pb.Refund:
    return refund(
        {
            "refund_id": one.refund_id,
            "order_id": one.order_id,
            "down_channel_no": one.down_channel_no,
            "request_no": one.request_no,
            "down_refund_no": one.down_refund_no,
            "refund_num": one.refund_num,
            "refund_type": int(one.refund_type),
            "refund_status": int(one.refund_status),
            "up_return_status": int(one.up_return_status),
            "down_refund_status": int(one.down_refund_status),
            "refund_notify_status": int(one.refund_notify_status),
            "refund_sell_amount_micros": one.refund_sell_amount_micros,
            "create_time": one.create_time,
        }
    )


def refund(row: Any) -> pb.Refund:
    """One refund by column name."""
    made = None
    if row["create_time"] is not None:
        made = Timestamp()
        made.FromDatetime(row["create_time"])
    return pb.Refund(
        refund_id=row["refund_id"],
        order_id=row["order_id"],
        request=pb.NewRefund(
            channel_no=row["down_channel_no"],
            request_no=row["request_no"],
            refund_no=row["down_refund_no"],
            refund_num=row["refund_num"],
            type=row["refund_type"],
        ),
        status=row["refund_status"],
        up_return_status=row["up_return_status"],
        down_refund_status=row["down_refund_status"],
        refund_notify_status=row["refund_notify_status"],
        refund_sell_amount_micros=row["refund_sell_amount_micros"],
        create_time=made,
    )
