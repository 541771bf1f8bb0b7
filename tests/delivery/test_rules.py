"""The pure parts: the lifecycle, the signature's documented example, the breaker, the classification."""

import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from shoudan_delivery import interpret
from shoudan_delivery.protocols import PROTOCOLS
from shoudan_delivery.protocols.default import signature
from shoudan_delivery.senders.breaker import Breaker, BreakerRules, Turn
from shoudan_delivery.states import DELIVERY, FINAL, DealCode, Event, Source
from shoudan_delivery.store import deliveries as store
from shoudan_delivery.store.rows import Outgoing, Supplier, Verdict
from shoudan_kit.http.client import Answered, NoAnswer, NotSent

SUPPLIER_MD = Path(__file__).parents[2] / "docs/reference/supplier.md"
CODES = {"R_0000": DealCode.SUCCESS, "R_5124": DealCode.FAILURE, "R_9999": DealCode.UNKNOWN}
SUPPLIER = Supplier(
    1, "up", 10, "default", "http://a", "", "", 1, 1, 1, True, True, False, 1, 1.0, "",
    deal_codes=CODES,
)  # fmt: skip
DELIVERY_7 = Outgoing(
    7, "down", "1", "1", "up", 10, "ZSH", 50_000_000, 2, "1", "", 0.0, overdue=False
)


def test_the_lifecycle_ends_in_success_or_failure_and_reaches_every_state() -> None:
    assert DELIVERY.final == FINAL
    assert not DELIVERY.unreachable


def test_the_statements_move_from_the_states_the_table_names() -> None:
    assert "AND status = 20" in str(store._MARK_SENDING)
    assert "AND status = 30" in str(store._UNSEND)
    assert DELIVERY.sources(Event.SUCCEEDED) == DELIVERY.sources(Event.FAILED) == (20, 30)
    ends = " ".join(str(store._END).split())
    assert "order_info.status = 20 OR (order_info.status = 30 AND NOT given.unsent)" in ends


def test_the_documented_signature_is_the_one_we_make() -> None:
    example = re.search(r"\n(amount=\S+)\nsecret (\S+)\nsign\s+(\w+)", SUPPLIER_MD.read_text())
    assert example is not None
    fields = dict(part.split("=") for part in example[1].split("&"))
    assert signature(fields, example[2].encode()) == example[3]


@pytest.mark.parametrize(
    ("http_result", "verdict"),
    [
        (Answered(200, {}, b'{"order_no":"7","code":"R_0000","amount":"100"}'), Verdict.SUCCEEDED),
        (Answered(200, {}, b'{"order_no":"7","code":"R_5124"}'), Verdict.FAILED),
        (Answered(200, {}, b'{"order_no":"7","code":"R_9999"}'), Verdict.UNKNOWN),
        (Answered(200, {}, b'{"order_no":"7","code":"R_1"}'), Verdict.UNKNOWN),
        (Answered(200, {}, b'{"order_no":"8","code":"R_5124"}'), Verdict.UNKNOWN),
        (Answered(200, {}, b'{"order_no":"7","code":"R_0000","amount":"99"}'), Verdict.UNKNOWN),
        (Answered(200, {}, b'{"order_no":"7","code":"R_0000"}'), Verdict.UNKNOWN),
        (Answered(200, {}, b'{"order_no":"7","code":"R_4040"}'), Verdict.UNKNOWN),
        (Answered(200, {}, b'{"order_no":7,"code":"R_5124"}'), Verdict.FAILED),
        (Answered(200, {}, b"[" * 10_000), Verdict.UNKNOWN),
        (Answered(200, {}, b""), Verdict.UNKNOWN),
        (Answered(404, {}, b'{"order_no":"7","code":"R_5124"}'), Verdict.UNKNOWN),
        (Answered(302, {}, b""), Verdict.UNKNOWN),
        (NoAnswer("time-out"), Verdict.UNKNOWN),
        (NotSent("refused"), Verdict.NOT_SENT),
    ],
)
def test_only_an_explicit_answer_about_the_right_number_and_amount_ends_it(
    http_result: Answered | NoAnswer | NotSent, verdict: Verdict
) -> None:
    protocol = PROTOCOLS["default"]
    found = interpret.of_http_result(SUPPLIER, protocol, DELIVERY_7, http_result, Source.SYNC)
    assert found.verdict is verdict


def test_an_account_that_its_supplier_repeats_is_not_kept_in_clear() -> None:
    delivery = msgspec.structs.replace(DELIVERY_7, account="13912345678")
    texts = (
        b'{"order_no":"7","code":"R_5124","message":"13912345678 is off","data":{"mobile":"13912345678"}}',
        b'{"order_no":"8","code":"R_5124","message":"13912345678"}',
        b"<html>13912345678</html>",
    )
    for text in texts:
        http_result = Answered(200, {}, text)
        protocol = PROTOCOLS["default"]
        outcome = interpret.of_http_result(SUPPLIER, protocol, delivery, http_result, Source.SYNC)
        assert "13912345678" not in repr(outcome)
    assert "139****78" in repr(outcome)


def test_the_breaker_trips_at_half_of_twenty_within_the_window_and_not_before() -> None:
    breaker = Breaker(BreakerRules(30, 20, 500_000))
    turns = [breaker.note(n * 0.1, failed=n % 2 == 0, tripped=False) for n in range(19)]
    assert set(turns) == {Turn.NONE}
    assert breaker.note(2, failed=True, tripped=False) is Turn.TRIP
    assert breaker.note(20, failed=False, tripped=True) is Turn.CLOSE
    old = [breaker.note(20, failed=True, tripped=False) for _ in range(19)]
    assert set(old) == {Turn.NONE}
    assert breaker.note(51, failed=True, tripped=False) is Turn.NONE


@pytest.mark.parametrize(
    ("cost", "doubted"), [("", False), ("95.5", False), ("0", False), ("-1", True), ("1e9", True)]
)
def test_a_stated_cost_that_is_no_amount_is_an_incident_and_no_failure(
    cost: str, doubted: bool
) -> None:
    body = f'{{"order_no":"7","code":"R_0000","amount":"100","data":{{"cost_amount":"{cost}"}}}}'
    http_result = Answered(200, {}, body.encode())
    outcome = interpret.of_http_result(
        SUPPLIER, PROTOCOLS["default"], DELIVERY_7, http_result, Source.SYNC
    )
    assert outcome.verdict is Verdict.SUCCEEDED
    assert bool(outcome.incident) is doubted


@pytest.mark.parametrize(
    ("required", "facts", "verdict"),
    [
        ("", "{}", Verdict.SUCCEEDED),
        ("1", "{}", Verdict.UNKNOWN),
        ("1", '{"carrier_serial_no":" "}', Verdict.UNKNOWN),
        ("1", '{"carrier_serial_no":null}', Verdict.UNKNOWN),
        ("1", '{"serial":"CMCC1"}', Verdict.UNKNOWN),
        ("1", '{"carrier_serial_no":"CMCC1"}', Verdict.SUCCEEDED),
        ("1", '{"carrier_serial_no":20261130}', Verdict.SUCCEEDED),
    ],
)
def test_a_success_without_the_carriers_number_is_unknown_where_it_is_required(
    required: str, facts: str, verdict: Verdict
) -> None:
    params = '{"require_carrier_serial":"1"}' if required else '{"ext_product_no":"x"}'
    delivery = msgspec.structs.replace(DELIVERY_7, request_params=params)
    body = f'{{"order_no":"7","code":"R_0000","amount":"100","data":{facts}}}'
    http_result = Answered(200, {}, body.encode())
    outcome = interpret.of_http_result(
        SUPPLIER, PROTOCOLS["default"], delivery, http_result, Source.SYNC
    )
    assert outcome.verdict is verdict
    unknown = verdict is Verdict.UNKNOWN
    assert (bool(outcome.incident), outcome.claims) == (unknown, unknown)
    failed = Answered(200, {}, b'{"order_no":"7","code":"R_5124"}')
    assert (
        interpret.of_http_result(
            SUPPLIER, PROTOCOLS["default"], delivery, failed, Source.SYNC
        ).verdict
        is Verdict.FAILED
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xfe", b"\xf8", b'"\\ud800"', b"[" * 5_000, b"NaN", b'{"a":' * 900, b"1e999"],
)
def test_an_answer_that_may_hold_cards_is_kept_in_its_shape_alone(body: bytes) -> None:
    """Whatever it is: what cannot be read is not kept, and never an error."""
    supplier = replace(SUPPLIER, service_class=20)
    kept = interpret.shown(supplier, body, "")
    assert len(kept) <= 1_000
    secret = b'{"code":"R_0000","x9":"SECRET","cards":[{"number":"SECRET"}],"d":{"SECRET":1}}'
    assert "SECRET" not in interpret.shown(supplier, secret, "")
