"""Templates that could not work are refused when they are applied, by the place of the mistake, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import yaml

from shoudan_delivery.protocols import Call, Unwritable, protocol_of, templates
from shoudan_delivery.protocols.templates import checks, reading
from shoudan_delivery.store.rows import Outgoing, Supplier, Unreadable
from tests.delivery.protocols.speakers import EXAMPLES, SECRET, example

NOW = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)
FORM, JSON, XML = "md5-form-gbk.yaml", "hmac-json.yaml", "rsa-xml.yaml"


def found(name: str, change: Callable[[dict[str, Any]], Any], **channel: Any) -> str:
    """All that is wrong with an example once it is changed."""
    document = yaml.safe_load((EXAMPLES / name).read_text())
    change(document["suppliers"][0]["template"])
    template = msgspec.json.encode(document["suppliers"][0]["template"]).decode()
    supplier = replace(example(name), template=template, **channel)
    return "; ".join(f"{at}: {why}" for at, why in checks.problems(supplier))


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir()))
def test_the_examples_have_no_mistake(name: str) -> None:
    assert found(name, lambda _: None) == ""


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (FORM, lambda t: t.update(sing={}), "unknown field `sing`"),
        (FORM, lambda t: t["order"]["read"].update(cod="x"), "unknown field `cod`"),
        (FORM, lambda t: t.pop("order"), "missing required field `order`"),
        (FORM, lambda t: t["order"]["read"].pop("code"), "missing required field `code`"),
        (FORM, lambda t: t.update(charset="latin1"), "Invalid enum value"),
        (FORM, lambda t: t["order"]["send"]["fields"].update(x="$mobil"), "$mobil is not known"),
        (FORM, lambda t: t["order"]["send"]["fields"].update(x="$ext.none"), "$ext.none is not known"),
        (FORM, lambda t: t["order"]["send"]["fields"].update(x="5$"), "begins no name"),
        (FORM, lambda t: t["balance"]["send"]["fields"].update(x="$order_no"), "$order_no is not known"),
        (FORM, lambda t: t["order"]["send"]["fields"].pop("orderid"), "no field has $order_no"),
        (FORM, lambda t: t["order"]["send"]["fields"].update({"a.b": "1"}), "no name of a field of form"),
        (FORM, lambda t: t["notify"]["read"].update(code="a.b"), "can match nothing"),
        (FORM, lambda t: t["order"]["read"].update(code="a[?b"), "no path such as"),
        (FORM, lambda t: t["order"]["read"].update(code="length(a)"), "more than a path"),
        (FORM, lambda t: t["order"]["read"].update(code="a || b"), "more than a path"),
        (FORM, lambda t: t["order"]["read"].update(code="`1`"), "more than a path"),
        (FORM, lambda t: t["order"]["read"].update(code="a[*].b"), "more than a path"),
        (FORM, lambda t: t["order"]["read"].update(code=""), "no path such as"),
        (FORM, lambda t: t["query"]["read"].update(absent=["1005"]), "is one of the error codes"),
        (FORM, lambda t: t["order"]["read"].update(absent=["1"]), "only of a query"),
        (FORM, lambda t: t["query"]["read"].update(prefix="q:"), "no error code begins with q:"),
        (FORM, lambda t: t["notify"].update(method="GET"), "GET has a query"),
        (FORM, lambda t: t["notify"]["read"].pop("order_no"), "a notify belongs to no call"),
        (FORM, lambda t: t["order"]["send"].update(method="GET"), "GET has no body"),
        (FORM, lambda t: t["capabilities"].remove("query"), "query is there and not declared"),
        (FORM, lambda t: t["capabilities"].append("price"), "price is declared and not there"),
        (FORM, lambda t: t["order"]["read"].pop("amount"), "amount is declared and not there"),
        (FORM, lambda t: t["sign"].pop("field"), "a field or in a header"),
        (FORM, lambda t: t["sign"].update(listed=["a"]), "over sorted has none"),
        (FORM, lambda t: t["sign"].update(field="mobile"), "mobile is the signature's"),
        (FORM, lambda t: t["sign"].update(public_key="x"), "only of RSA"),
        (FORM, lambda t: t["balance"].update(release_from="1"), "at least hold_below"),
        (FORM, lambda t: t["balance"].update(hold_below="many"), "amounts in yuan"),
        (FORM, lambda t: t["balance"].update(url="ftp://x"), "http or https URL"),
        (FORM, lambda t: t["balance"]["read"].update(good=[]), "go together"),
        (JSON, lambda t: t["sign"].update(header="", field="sign"), "cannot hold the signature"),
        (JSON, lambda t: t["sign"].update(over="sorted", listed=[]), "not signed sorted"),
        (JSON, lambda t: t["sign"].update(key_joint="&"), "HMAC has its key apart"),
        (JSON, lambda t: t["order"]["read"].update(card={"pan": "no"}), "pan is none of"),
        (JSON, lambda t: t["order"]["send"].update(numbers=["x"]), "fields of JSON"),
        (JSON, lambda t: t["order"]["send"]["fields"].update(goods="x"), "cannot be a text and hold"),
        (JSON, lambda t: t["order"]["send"]["headers"].update({"A B": "x"}), "letters, digits"),
        (JSON, lambda t: t["order"]["send"]["headers"].update({"A": "x\ny"}), "texts of one line"),
        (FORM, lambda t: t["order"]["read"].update(facts={"cost_amount": "x"}), "further fact"),
        (XML, lambda t: t["notify"]["sign"].update(public_key="x"), "no PEM of an RSA public key"),
        (XML, lambda t: t["order"]["send"].update(root="a b"), "a name"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(name: str, change: Callable[[dict[str, Any]], Any], words: str) -> None:
    assert words in found(name, change)


def test_the_channel_and_its_template_agree() -> None:
    def nothing(_: dict[str, Any]) -> None: ...

    assert "can_query" in found(FORM, nothing, can_query=False)
    assert "needs cards" in found(FORM, nothing, delivers_cards=True)

    def deaf(template: dict[str, Any]) -> None:
        del template["query"], template["notify"]
        template["capabilities"] = ["balance", "amount", "order_no"]

    assert "would stay so" in found(FORM, deaf, can_query=False)
    assert "at most" in found(FORM, lambda t: t["order"]["send"]["fields"].update(x="y" * 20_000))


def test_a_template_without_amount_and_number_says_so_and_is_believed() -> None:
    def silent(template: dict[str, Any]) -> None:
        template["capabilities"] = ["query", "notify", "balance"]
        for one in ("order", "query"):
            template[one]["read"] = dict(template[one]["read"])
            template[one]["read"].pop("amount")
            template[one]["read"].pop("order_no")

    supplier = example(FORM, silent)
    body = "<r><result>0</result><status>1</status></r>".encode("gbk")
    reply = protocol_of(supplier).read(200, {}, body)
    assert not isinstance(reply, Unreadable)
    assert (reply.names_order, reply.states_amount, reply.code) == (False, False, "0/1")


def delivery(supplier: Supplier, face_micros: int, account: str = "1") -> Outgoing:
    return Outgoing(
        7, "d", "1", "1", supplier.channel_no, supplier.service_class, "C", face_micros, 1,
        account, "", 0.0, overdue=False,
    )  # fmt: skip


def test_what_the_supplier_cannot_be_asked_is_not_sent() -> None:
    supplier = example(JSON)
    protocol = protocol_of(supplier)
    odd = protocol.request(supplier, delivery(supplier, 1_000), NOW, "u")  # a tenth of a fen
    assert odd == Unwritable("no value of amount_fen")
    fuel = replace(example(XML), secret=SECRET)  # no PEM
    unsigned = protocol_of(fuel).request(fuel, delivery(fuel, 1_000_000), NOW, "u")
    assert isinstance(unsigned, Unwritable)
    assert SECRET.decode() not in unsigned.why


def test_texts_of_others_stay_texts() -> None:
    """What stands in an account or a name is no placeholder, no element and no parameter."""
    account = '$order_no&a=b</card><x>"'
    fuel = replace(example(XML), secret=b"")
    call = protocol_of(fuel).request(fuel, delivery(fuel, 1_000_000, account), NOW, "u")
    assert isinstance(call, Call)
    assert reading.xml_fields(call.body.decode())["card"] == account
    form = replace(example(FORM), secret=b"")
    sent = protocol_of(form).request(form, delivery(form, 1_000_000, account), NOW, "u")
    assert isinstance(sent, Call)
    assert reading.form_fields(sent.body.decode(), "gb18030")["mobile"] == account


BOMB = '<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><r><code>&b;</code></r>'
OUTSIDE = '<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><r><code>&a;</code></r>'


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        OUTSIDE,
        '<!DOCTYPE r SYSTEM "http://127.0.0.1/x.dtd"><r><code>0</code></r>',
        "<r>" + "<a>" * 5_000 + "</a>" * 5_000 + "</r>",
        "<r><code>0</code>",
        "<r/>",
        "<r>text</r>",
        "",
    ],
)
def test_xml_that_could_harm_or_is_none_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"DTD|XML|deep|element"):
        reading.xml_fields(text)


def test_xml_as_it_is_read() -> None:
    text = '<?xml version="1.0" encoding="GBK"?><r xmlns="u" v="1"><a> 1 </a><a>2</a><b c="3">x</b></r>'
    assert reading.xml_fields(text) == {"@v": "1", "a": ["1", "2"], "b": {"@c": "3", "#text": "x"}}


def test_balances_and_prices_are_read_or_not_at_all() -> None:
    form = templates.of(example(FORM).template)
    for body, left in (
        ("<r><result>0</result><balance>12.5</balance></r>", 12_500_000),
        ("<r><result>0</result><balance>-3</balance></r>", -3_000_000),
    ):
        assert form.read_balance(200, {}, body.encode()) == left
    for body in (
        "<r><result>1</result><balance>12.5</balance></r>",
        "<r><result>0</result></r>",
        "<r><result>0</result><balance>1e3</balance></r>",
        "<html>",
    ):
        assert isinstance(form.read_balance(200, {}, body.encode()), Unreadable)
    assert isinstance(form.read_balance(500, {}, b""), Unreadable)
    goods = templates.of(example(JSON).template)
    good = b'{"data": {"goods": [{"sku": "P1", "price": 995, "stock": 3}, {"sku": "P2", "price": "1"}]}}'
    assert goods.read_price_list(200, {}, good) == [("P1", "9.95", "3"), ("P2", "0.01", "")]
    for bad in (
        b'{"data": {"goods": [{"sku": "P1"}]}}',
        b'{"data": {"goods": [{"price": 1}]}}',
        b"[",
    ):
        assert isinstance(goods.read_price_list(200, {}, bad), Unreadable)
