"""What a supplier's answer means: only an explicit answer about the right number and amount ends anything."""

from __future__ import annotations

from dataclasses import replace

from shoudan_delivery.channels import SupplierProtocol
from shoudan_delivery.states import DealCode, Source
from shoudan_delivery.store.rows import Finding, Outgoing, Reply, Supplier, Unreadable, Verdict
from shoudan_kit.egress import Answered, NoAnswer, NotSent, Outcome

RAW_MAX = 4_000


def of_outcome(
    supplier: Supplier,
    protocol: SupplierProtocol,
    delivery: Outgoing,
    outcome: Outcome,
    source: Source,
) -> Finding:
    """The meaning of one HTTP call. Time-outs, resets, 5xx and rubbish are unknown, never failed."""
    match outcome:
        case NotSent(reason):
            return Finding(delivery.order_no, Verdict.NOT_SENT, source, "NOT_SENT", reason)
        case NoAnswer(reason):
            return Finding(delivery.order_no, Verdict.UNKNOWN, source, "NO_ANSWER", reason)
        case Answered(status, _, body):
            read = protocol.read(status, body)
            raw = body[:RAW_MAX].decode("utf-8", "backslashreplace")
            if isinstance(read, Unreadable):
                return Finding(
                    delivery.order_no,
                    Verdict.UNKNOWN,
                    source,
                    "UNREADABLE",
                    read.why,
                    incident=f"unusable answer: {read.why}",
                    raw=raw,
                )
            return replace(of_reply(supplier, delivery, read, source), raw=raw)


def of_reply(supplier: Supplier, delivery: Outgoing, reply: Reply, source: Source) -> Finding:
    """The meaning of a readable answer or notify."""
    finding = Finding(
        delivery.order_no,
        Verdict.UNKNOWN,
        source,
        reply.code,
        reply.desc,
        reply.up_order_no,
        params=reply.params,
    )
    if reply.order_no != str(delivery.order_no):
        return replace(finding, incident="answer names another order number")
    if reply.no_such_order and source is Source.QUERY:
        return replace(finding, verdict=Verdict.NO_SUCH_ORDER)
    deal = supplier.deal_codes.get(reply.code, DealCode.UNKNOWN)
    if deal is DealCode.FAILURE:
        return replace(finding, verdict=Verdict.FAILED)
    if deal is DealCode.UNKNOWN:
        return finding
    if reply.amount_micros != delivery.amount_micros:
        return replace(finding, incident="answer names another amount")
    return replace(finding, verdict=Verdict.SUCCEEDED, succ_face_micros=delivery.amount_micros)


def transport_failed(outcome: Outcome) -> bool:
    """What the breaker counts: no connection, no answer, 5xx. A business "no" is a good answer."""
    return not isinstance(outcome, Answered) or outcome.status >= 500
