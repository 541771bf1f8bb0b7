"""What a supplier's answer means: only an explicit answer about the right number and amount ends anything."""

from __future__ import annotations

from typing import Final

import msgspec

from shoudan_delivery import card_answers
from shoudan_delivery.protocols import SupplierProtocol
from shoudan_delivery.states import DealCode, ServiceClass, Source
from shoudan_delivery.store.rows import Outcome, Outgoing, Reply, Supplier, Unreadable, Verdict
from shoudan_kit.http.client import Answered, HttpResult, NoAnswer, NotSent
from shoudan_kit.money import yuan_to_micros
from shoudan_kit.secrets.sealing import hidden_in

RAW_MAX = 4_000
CARRIER_SERIAL: Final = "carrier_serial_no"  # of an answer's facts: 运营商流水号
REQUIRE_SERIAL: Final = "require_carrier_serial"  # of a delivery's params

_params = msgspec.json.Decoder(dict[str, str]).decode


def of_http_result(
    supplier: Supplier,
    protocol: SupplierProtocol,
    delivery: Outgoing,
    http_result: HttpResult,
    source: Source,
) -> Outcome:
    """The meaning of one HTTP call. Time-outs, resets, 5xx and rubbish are unknown, never failed."""
    match http_result:
        case NotSent(reason):
            return Outcome(delivery.order_no, Verdict.NOT_SENT, source, "NOT_SENT", reason)
        case NoAnswer(reason):
            return Outcome(delivery.order_no, Verdict.UNKNOWN, source, "NO_ANSWER", reason)
        case Answered(status, headers, body):
            reader = protocol.read_query if source is Source.QUERY else protocol.read
            read = reader(status, headers, body)
            if isinstance(read, Unreadable):
                return Outcome(
                    delivery.order_no,
                    Verdict.UNKNOWN,
                    source,
                    "UNREADABLE",
                    read.why,
                    incident=f"unusable answer: {read.why}",
                    raw=shown(supplier, body, delivery.account),
                )
            outcome = of_reply(supplier, delivery, read, source)
            if outcome.incident:
                outcome.raw = shown(supplier, body, delivery.account)
            return outcome


def of_reply(supplier: Supplier, delivery: Outgoing, reply: Reply, source: Source) -> Outcome:
    """The meaning of a readable answer or notify; `delivery` has its account in clear."""
    account, answer = delivery.account, reply
    if may_hold := card_answers.may_hold(supplier):
        reply = card_answers.without_cards(supplier, reply)
    outcome = Outcome(
        delivery.order_no,
        Verdict.UNKNOWN,
        source,
        reply.code.replace("\0", " "),  # PostgreSQL's text holds no NUL
        hidden_in(reply.desc.replace("\0", " "), account),
        reply.up_order_no.replace("\0", " "),
        params={name: hidden_in(fact, account) for name, fact in reply.params.items()},
    )
    if reply.names_order and reply.order_no != str(delivery.order_no):
        outcome.incident = "answer names another order number"
        return outcome
    if reply.no_such_order and source is Source.QUERY:
        outcome.verdict = Verdict.NO_SUCH_ORDER
        return outcome
    outcome.unmapped = bool(outcome.code) and reply.code not in supplier.deal_codes
    deal = supplier.deal_codes.get(reply.code, DealCode.UNKNOWN)
    if deal is DealCode.FAILURE:
        outcome.verdict = Verdict.FAILED
    elif deal is DealCode.SUCCESS and _another_amount(reply, delivery):
        outcome.incident, outcome.claims = "answer names another amount", True
    elif deal is DealCode.SUCCESS and _lacks_serial(reply, delivery):
        outcome.incident, outcome.claims = f"success without {CARRIER_SERIAL}", True
    elif deal is DealCode.SUCCESS:
        outcome.verdict, outcome.succ_face_micros = Verdict.SUCCEEDED, delivery.amount_micros
        if not _cost_readable(reply.params.get("cost_amount", "")):
            outcome.incident = "the stated cost is no amount; the agreed cost is booked"
        if may_hold and supplier.service_class == ServiceClass.COUPON:
            _take_cards(outcome, supplier, delivery, answer)
    return outcome


def _another_amount(reply: Reply, delivery: Outgoing) -> bool:
    return reply.states_amount and reply.amount_micros != delivery.amount_micros


def _lacks_serial(reply: Reply, delivery: Outgoing) -> bool:
    """Whether the carrier's own number is required of this delivery, and is not there."""
    if REQUIRE_SERIAL not in delivery.request_params:
        return False
    wanted = REQUIRE_SERIAL in _params(delivery.request_params)
    return wanted and not reply.params.get(CARRIER_SERIAL, "").strip()


def _take_cards(outcome: Outcome, supplier: Supplier, delivery: Outgoing, reply: Reply) -> None:
    """A success whose cards cannot be issued is unknown where the channel must deliver them."""
    outcome.cards, problem = card_answers.read(supplier, delivery, reply)
    if not problem:
        return
    outcome.incident = f"cards: {problem}"
    if supplier.delivers_cards:
        outcome.verdict, outcome.succ_face_micros = Verdict.UNKNOWN, 0
        outcome.desc, outcome.claims, outcome.lacks_cards = outcome.incident, True, True


def _cost_readable(text: str) -> bool:
    """Whether a stated cost is an amount or absent."""
    try:
        return not text or yuan_to_micros(text) >= 0
    except ValueError:
        return False


def shown(supplier: Supplier, body: bytes, account: str) -> str:
    """What is kept of a body that could not be used: cut, without the account it may repeat.

    Of one that may hold cards its shape alone: what cannot be read cannot be masked.
    """
    if card_answers.may_hold(supplier):
        return card_answers.shape(supplier, body)
    return hidden_in(body.decode("utf-8", "backslashreplace"), account)[:RAW_MAX]


def not_kept(body: bytes) -> str:
    """What stands for a body that may hold what it must not be kept with."""
    return f"{len(body)} bytes, not kept"


def transport_failed(http_result: HttpResult) -> bool:
    """What the breaker counts: no connection, no answer, 5xx. A business "no" is a good answer."""
    return not isinstance(http_result, Answered) or http_result.status >= 500
