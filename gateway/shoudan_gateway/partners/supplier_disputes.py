"""A supplier's answers to disputes, by calls signed with the secret of its channel, which delivery verifies.

Source: docs/reference/supplier.md.
"""

from __future__ import annotations

from typing import Final

from shoudan.finance.v1 import exception_service_pb2 as pb
from shoudan_gateway.fields import Text, Whole
from shoudan_gateway.partners import supplier_bills, vds
from shoudan_gateway.partners.oms import BOTH
from shoudan_gateway.protocol import (
    Endpoint,
    Field,
    Inbound,
    Outbound,
    Partner,
    Unary,
    values_of,
)

ANSWER: Final = (
    supplier_bills.CHANNEL,
    Field("dispute_id", "", "争议编号", Whole()),
    Field("answer", "", "答复", Text(1024)),
    *supplier_bills.SIGNING,
)


def _read(request: Inbound) -> pb.TakeDisputeAnswerRequest:
    values = values_of(request, ANSWER)
    return pb.TakeDisputeAnswerRequest(
        dispute_id=values["dispute_id"],
        answer=values["answer"],
        channel_no=values["channel_no"],
        method=request.method,
        path=request.path,
        params=request.params,
        body=request.body,
        remote_ip=request.remote,
    )


def _write(answer: pb.TakeDisputeAnswerResponse, _: Inbound) -> Outbound:
    shown = {"dispute_id": str(answer.dispute.dispute_id), "answer": answer.dispute.answer}
    return Outbound(200, shown)


PARTNER: Final = Partner(
    name="supplier_disputes",
    role="supplier",
    refuse=vds.refuse,
    endpoints=(
        Endpoint(
            path="/vds/dispute/answer",
            methods=BOTH,
            source=supplier_bills.SOURCE,
            title="上游争议答复接口",
            fields=ANSWER,
            read=_read,
            call=Unary("shoudan.finance.v1.ExceptionService/TakeDisputeAnswer"),
            write=_write,
            writes=True,
            body_bytes_max=supplier_bills.BODY_BYTES_MAX,
        ),
    ),
)
