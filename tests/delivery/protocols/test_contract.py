"""The contract of a supplier's protocol: every one of them passes, whether it is a module or a template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoudan_delivery import interpret
from shoudan_delivery.protocols import (
    PROTOCOLS,
    Call,
    InboundNotify,
    Unverified,
    Unwritable,
    protocol_of,
)
from shoudan_delivery.states import Source
from shoudan_delivery.store.rows import Outcome, Outgoing, Reply, Verdict
from shoudan_kit.http.client import Answered, HttpResult, NoAnswer, NotSent
from tests.delivery.protocols.speakers import (
    PRICING,
    SECRET,
    SPEAKERS,
    VOUCHERS,
    DefaultJson,
    Pricing,
    RsaXml,
    Said,
    Speaker,
)

NOW = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)
OURS = "https://pay.example.com/vds/notify/up/10?token=t"
CARDS = ({"number": "C1", "password": "secret1"}, {"number": "C2", "password": "secret2"})

speaking = pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda one: type(one).__name__)
selling_cards = pytest.mark.parametrize("speaker", VOUCHERS, ids=lambda one: type(one).__name__)


sending_prices = pytest.mark.parametrize("speaker", PRICING, ids=lambda one: type(one).__name__)
GOODS = ({"sku": "P1", "price": 9_950, "stock": 3}, {"sku": "P2", "price": 1, "stock": 0})


def delivery_of(speaker: Speaker) -> Outgoing:
    supplier = speaker.supplier
    return Outgoing(
        7, "down", "1", "1", supplier.channel_no, supplier.service_class, "ZSH", 50_000_000, 2,
        "13800000000", '{"ext_product_no":"P1"}', 0.0, overdue=False,
    )  # fmt: skip


def judged(speaker: Speaker, result: HttpResult, source: Source = Source.SYNC) -> Outcome:
    supplier = replace(speaker.supplier, delivers_cards=False)
    return interpret.of_http_result(
        supplier, protocol_of(supplier), delivery_of(speaker), result, source
    )


def answered(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Answered:
    return Answered(status, dict(headers or {}), body)


def test_every_module_speaks_here() -> None:
    assert {one.supplier.protocol for one in SPEAKERS} == {*PROTOCOLS, "template"}


@speaking
@pytest.mark.parametrize("source", [Source.SYNC, Source.QUERY])
@pytest.mark.parametrize(
    ("how", "verdict"),
    [
        ("success", Verdict.SUCCEEDED),
        ("failed", Verdict.FAILED),
        ("unknown", Verdict.UNKNOWN),
        ("unlisted", Verdict.UNKNOWN),
    ],
)
def test_an_answer_means_what_its_code_says(
    speaker: Speaker, how: str, verdict: Verdict, source: Source
) -> None:
    outcome = judged(speaker, answered(speaker.answer(Said(how=how))), source)
    assert outcome.verdict is verdict
    assert (outcome.desc, outcome.up_order_no) == ("充值成功", "U1")


@speaking
def test_that_a_number_never_arrived_is_believed_of_a_query_alone(speaker: Speaker) -> None:
    body = speaker.answer(Said(how="absent"))
    assert judged(speaker, answered(body), Source.QUERY).verdict is Verdict.NO_SUCH_ORDER
    assert judged(speaker, answered(body), Source.SYNC).verdict is Verdict.UNKNOWN


@speaking
def test_no_answer_is_unknown_and_a_refused_connection_was_never_sent(speaker: Speaker) -> None:
    assert judged(speaker, NoAnswer("timeout")).verdict is Verdict.UNKNOWN
    assert judged(speaker, NotSent("refused")).verdict is Verdict.NOT_SENT


@speaking
@pytest.mark.parametrize("how", ["success", "failed"])
def test_what_is_not_the_protocol_is_unknown(speaker: Speaker, how: str) -> None:
    good = speaker.answer(Said(how=how))
    bad = [
        b"",
        b"<html><body>502</body></html>",
        good[: len(good) // 2],
        good[:-1],
        good + good,
        speaker.nothing,
        b"[]",
        b"null",
        b"{}",
        b"\x00\xff\xfe",
        b"result=",
    ]
    for body in bad:
        assert judged(speaker, answered(body)).verdict is Verdict.UNKNOWN, body
    for status in (201, 204, 302, 400, 404, 500, 503):
        assert judged(speaker, answered(good, status)).verdict is Verdict.UNKNOWN


@speaking
def test_another_charset_is_read_right_or_not_at_all(speaker: Speaker) -> None:
    body = speaker.answer(Said()).decode(speaker.charset).encode(speaker.other_charset)
    for charset in (speaker.other_charset, speaker.charset, "iso-8859-1", "none-such"):
        headers = {"Content-Type": f"text/plain; charset={charset}"}
        outcome = judged(speaker, answered(body, headers=headers))
        assert outcome.verdict in {Verdict.SUCCEEDED, Verdict.UNKNOWN}


@speaking
def test_another_number_and_another_amount_are_unknown(speaker: Speaker) -> None:
    other = judged(speaker, answered(speaker.answer(Said(order_no="8"))))
    assert (other.verdict, other.claims) == (Verdict.UNKNOWN, False)
    assert "order number" in other.incident
    more = judged(speaker, answered(speaker.answer(Said(amount_micros=101_000_000))))
    assert (more.verdict, more.claims) == (Verdict.UNKNOWN, True)


@speaking
def test_a_name_that_stands_twice_is_unknown(speaker: Speaker) -> None:
    body = speaker.twice(Said())
    assert body != speaker.answer(Said())
    assert judged(speaker, answered(body)).verdict is Verdict.UNKNOWN


@speaking
@given(body=st.binary(max_size=200))
def test_rubbish_ends_nothing(speaker: Speaker, body: bytes) -> None:
    assert judged(speaker, answered(body)).verdict is Verdict.UNKNOWN


@speaking
@given(cut=st.integers(0, 400), flipped=st.integers(0, 400), bit=st.integers(0, 7))
def test_a_damaged_answer_never_says_the_opposite(
    speaker: Speaker, cut: int, flipped: int, bit: int
) -> None:
    """A flipped bit may make another listed code of a digit, so codes are left whole."""
    body = bytearray(speaker.answer(Said(message="x" * 40)))
    start = body.find(b"x" * 40)
    body[start + flipped % 40] ^= 1 << bit
    outcome = judged(speaker, answered(bytes(body[: len(body) - cut % 40])))
    assert outcome.verdict in {Verdict.SUCCEEDED, Verdict.UNKNOWN}


# ---------------------------------------------------------------- cards
@selling_cards
def test_cards_are_issued_when_each_unit_has_one(speaker: Speaker) -> None:
    supplier = speaker.supplier
    made = interpret.of_http_result(
        supplier, protocol_of(supplier), delivery_of(speaker),
        answered(speaker.answer(Said(cards=CARDS))), Source.SYNC,
    )  # fmt: skip
    assert made.verdict is Verdict.SUCCEEDED
    assert [dict(one.secrets) for one in made.cards] == list(CARDS)
    assert "secret1" not in f"{made.desc}{made.params}{made.raw}{made.incident}"


@selling_cards
@pytest.mark.parametrize(
    "cards", [(), CARDS[:1], (*CARDS, {"number": "C3", "password": "z"}), (CARDS[0], CARDS[0])]
)
def test_half_a_list_of_cards_is_unknown(
    speaker: Speaker, cards: tuple[Mapping[str, str], ...]
) -> None:
    supplier = speaker.supplier
    made = interpret.of_http_result(
        supplier, protocol_of(supplier), delivery_of(speaker),
        answered(speaker.answer(Said(cards=cards))), Source.SYNC,
    )  # fmt: skip
    assert (made.verdict, made.claims, made.cards) == (Verdict.UNKNOWN, True, ())
    assert made.incident.startswith("cards: ")


# ---------------------------------------------------------------- notifies
@speaking
def test_a_signed_notify_says_what_an_answer_says(speaker: Speaker) -> None:
    supplier = speaker.supplier
    for how, verdict in (("success", Verdict.SUCCEEDED), ("failed", Verdict.FAILED)):
        notify = speaker.notify(Said(how=how), speaker.secret)
        reply = protocol_of(supplier).read_notify(supplier, notify)
        assert isinstance(reply, Reply), reply
        plain = replace(supplier, delivers_cards=False)
        made = interpret.of_reply(plain, delivery_of(speaker), reply, Source.NOTIFY)
        assert made.verdict is verdict
    assert protocol_of(supplier).ack_body()


@speaking
def test_a_notify_of_a_wrong_signature_is_not_believed(speaker: Speaker) -> None:
    supplier = speaker.supplier
    read = protocol_of(supplier).read_notify
    good = speaker.notify(Said(), speaker.secret)
    wrong = [
        speaker.notify(Said(), speaker.wrong_secret),
        replace(good, method="PUT"),
        replace(good, body=good.body.replace(b"100", b"101").replace(b"10000", b"10001")),
        replace(good, body=b""),
        replace(good, body=speaker.nothing),
        replace(good, headers={"content-type": "text/plain"}, body=_unsigned(good.body)),
    ]
    for notify in wrong:
        assert isinstance(read(supplier, notify), Unverified), notify


def _unsigned(body: bytes) -> bytes:
    """The same message with its signature under another name."""
    return body.replace(b"sign", b"mark")


# RSA verifies with the supplier's public key, which stands in the template.
@pytest.mark.parametrize("speaker", [one for one in SPEAKERS if not isinstance(one, RsaXml)])
def test_a_channel_whose_secret_is_another_believes_no_notify(speaker: Speaker) -> None:
    supplier = replace(speaker.supplier, secret=b"not the one")
    notify = speaker.notify(Said(), speaker.secret)
    assert isinstance(protocol_of(supplier).read_notify(supplier, notify), Unverified)


# ---------------------------------------------------------------- calls
def texts_of(call: Call | Unwritable, charset: str) -> str:
    assert isinstance(call, Call), call
    assert "\n" not in "".join([call.url, *call.headers, *call.headers.values()])
    return call.url + "".join(call.headers.values()) + call.body.decode(charset)


@speaking
def test_a_request_names_the_delivery_and_shows_no_secret(speaker: Speaker) -> None:
    supplier, protocol = speaker.supplier, protocol_of(speaker.supplier)
    delivery = delivery_of(speaker)
    first = protocol.request(supplier, delivery, NOW, OURS)
    text = texts_of(first, speaker.charset)
    amount = "10000" if supplier.channel_no == "jsonup" else "100"
    assert '"7"' in text or "=7&" in text or ">7<" in text
    assert amount in text
    assert SECRET.decode() not in text
    assert "PRIVATE" not in text
    assert first == protocol.request(supplier, delivery, NOW, OURS)  # a repeat is the same call
    asked = texts_of(protocol.query(supplier, delivery, NOW), speaker.charset)
    assert '"7"' in asked or "=7&" in asked or ">7<" in asked


@speaking
def test_a_request_is_signed_by_the_secret_alone(speaker: Speaker) -> None:
    supplier, protocol = speaker.supplier, protocol_of(speaker.supplier)
    other = replace(
        supplier, secret=speaker.wrong_secret if speaker.secret == SECRET else speaker.secret
    )
    calls = [protocol.request(one, delivery_of(speaker), NOW, OURS) for one in (supplier, other)]
    assert calls[0] != calls[1]
    bare = replace(supplier, secret=b"")
    unsigned = texts_of(protocol.request(bare, delivery_of(speaker), NOW, OURS), speaker.charset)
    assert len(unsigned) < len(texts_of(calls[0], speaker.charset))


def test_the_default_protocol_writes_json() -> None:
    speaker = SPEAKERS[0]
    assert isinstance(speaker, DefaultJson)
    call = protocol_of(speaker.supplier).request(speaker.supplier, delivery_of(speaker), NOW, OURS)
    assert isinstance(call, Call)
    assert call.body.startswith(b"{")


def priced(speaker: Pricing, notify: InboundNotify) -> Any:
    return protocol_of(speaker.supplier).read_prices(speaker.supplier, notify, NOW)


@sending_prices
def test_a_signed_notify_of_prices_states_them(speaker: Pricing) -> None:
    first, second = priced(speaker, speaker.prices(GOODS, 7, SECRET))
    assert (first.product, first.version, first.price_micros) == ("P1", 7, 99_500_000)
    assert (second.price_micros, first.available, second.available) == (10_000, True, False)
    assert {one.channel_no for one in (first, second)} == {speaker.supplier.channel_no}


@sending_prices
def test_a_forged_notify_of_prices_is_not_believed(speaker: Pricing) -> None:
    for secret in (b"another", b""):
        assert isinstance(priced(speaker, speaker.prices(GOODS, 7, secret)), Unverified)
    signed = speaker.prices(GOODS, 7, SECRET)
    for body in (signed.body.replace(b"P1", b"P3"), b"", b"{}", b"[]", b"<a/>", signed.body[:-1]):
        assert isinstance(priced(speaker, replace(signed, body=body)), Unverified), body
    assert isinstance(priced(speaker, replace(signed, method="GET")), Unverified)


@sending_prices
@pytest.mark.parametrize("version", [0, -1, "x", "", None, 1.5, 10**20, True])
def test_prices_without_a_version_that_rises_are_not_believed(
    speaker: Pricing, version: object
) -> None:
    assert isinstance(priced(speaker, speaker.prices(GOODS, version, SECRET)), Unverified)


@sending_prices
@pytest.mark.parametrize(
    "wrong", [{"price": 0}, {"stock": -1}, {"stock": "many"}, {"sku": ""}, {"sku": "x" * 65}]
)
def test_a_notify_of_prices_is_read_whole_or_not_at_all(
    speaker: Pricing, wrong: Mapping[str, Any]
) -> None:
    goods = (GOODS[0], {**GOODS[1], **wrong})
    assert isinstance(priced(speaker, speaker.prices(goods, 7, SECRET)), Unverified)
    assert isinstance(priced(speaker, speaker.prices([], 7, SECRET)), Unverified)
    many = [GOODS[0]] * 501
    assert isinstance(priced(speaker, speaker.prices(many, 7, SECRET)), Unverified)


@speaking
def test_a_protocol_without_notifies_of_prices_takes_none(speaker: Speaker) -> None:
    if any(type(one) is type(speaker) for one in PRICING):
        return
    notify = speaker.notify(Said(), speaker.secret)
    assert isinstance(
        protocol_of(speaker.supplier).read_prices(speaker.supplier, notify, NOW), Unverified
    )
