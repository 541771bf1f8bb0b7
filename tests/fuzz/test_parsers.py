"""Whatever a parser is given, it reads it or says no in its own words: no other exception leaves it.

And what it has read is what it writes: an amount, a rate, a time comes back as it was read.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoudan_configuration import document as configuration
from shoudan_delivery.protocols import answers, cards, default
from shoudan_delivery.store.rows import Unreadable as NotTheProtocol
from shoudan_erp_ingest import normalising, signatures
from shoudan_erp_ingest.bodies import Unreadable
from shoudan_finance.statement_files import FileTooLarge, FileWrong
from shoudan_finance.statement_lines import Reading
from shoudan_finance.templates import load
from shoudan_gateway import connection, parameters
from shoudan_gateway.protocol import Malformed, Problem
from shoudan_kit import clock, money
from shoudan_kit.http import json_keys
from shoudan_kit.http.client import Answered
from shoudan_kit.http.ssrf import Guard, UrlForbidden, opened
from shoudan_order import notify_words
from shoudan_signing import (
    authorization,
    channel,
    key_signature,
    open_access_token,
    open_body_sig,
    tsk_hmac,
    tvs_hmac,
    webhooks,
)
from tests.fuzz.values import BODIES, INPUTS, TEXTS, bodies, counted, texts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + INPUTS // 20)]

EXAMPLES = max(INPUTS // 20, 60)
NOW_S = 1_796_000_000
TEMPLATES = load("")
ROW = "1,2,3,13800000000,50,47.5,2026-11-20 10:00:00,充值,成功\n"
HEAD = "商户单号,平台单号,结算单号,充值账号,面值,金额,时间,类型,状态\n"
names = st.sampled_from(
    ["data", "orders", "tid", "oid", "num", "price", "refunds", "msg_id", "created", "modified",
     "orders_items", "payment_lists", "refund_id", "code", "order_no", "cards", "amount", "status", "goods"]
)  # fmt: skip
jsons = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**20), 10**20), texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(names, texts), inner, max_size=4)
    ),
    max_leaves=12,
)
json_bodies = st.one_of(
    jsons.map(lambda value: orjson.dumps(value) if small(value) else b"{}"),
    bodies,
)


def small(value: Any) -> bool:
    """Whether orjson writes it: no integer beyond 64 bits."""
    if isinstance(value, dict):
        return all(small(one) for one in value.values())
    if isinstance(value, list):
        return all(small(one) for one in value)
    return not isinstance(value, int) or abs(value) < 2**63


queries = st.one_of(
    texts,
    st.lists(st.tuples(texts, texts), max_size=6).map(
        lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
    ),
    st.binary(max_size=80).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
)
tables = st.dictionaries(texts, texts, max_size=5)
urls = st.one_of(
    texts,
    st.tuples(
        st.sampled_from(["http://", "https://", "HTTP://", "http:", "//"]),
        st.sampled_from(
            ["127.0.0.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "①②⑦.0.0.1", "a.b",
             "user@a.b", "a.b:99999", "a.b:80", "[fe80::1%eth0]", "a..b", "xn--a", "a_b", "-a.b", "1.1.1.1"]
        ),
        st.one_of(st.just("/"), texts),
    ).map("".join),
)  # fmt: skip
types = st.sampled_from(
    [
        "",
        "application/json",
        "application/x-www-form-urlencoded",
        "text/xml; charset=gbk",
        "x; charset=\0",
    ]
)


@dataclass(frozen=True)
class Parser:
    """One hand-written parser: what it takes, and how it may say no."""

    call: Callable[..., Any]
    given: st.SearchStrategy[Any]
    refusals: tuple[type[Exception], ...] = ()


def statement(name: str) -> Callable[[bytes], Any]:
    """Reading of a whole file by a template."""
    return lambda data: list(Reading(io.BytesIO(data), TEMPLATES[name], "sup", 2**20).lines())


def refused_notify(text: str) -> None:
    """A webhook with any header."""
    headers = {"webhook-id": text, "webhook-timestamp": str(NOW_S), "webhook-signature": text}
    webhooks.verify(["whsec_" + "a" * 32], headers, text.encode("utf-8", "replace"), NOW_S)


rows = st.one_of(
    bodies,
    st.lists(
        st.one_of(st.just(ROW), texts, st.lists(texts, max_size=9).map(",".join)), max_size=4
    ).map(lambda lines: (HEAD + "".join(lines)).encode("utf-8", "replace")),
)
GUARD = Guard([opened("10.0.0.0/8")])
PARSERS: dict[str, Parser] = {
    "query": Parser(parameters.pairs, queries, (Malformed,)),
    "json parameters": Parser(parameters.table, json_bodies, (Malformed,)),
    "json document": Parser(parameters.document, json_bodies, (Malformed,)),
    "request": Parser(
        lambda of: parameters.merged(*of), st.tuples(queries, json_bodies, types), (Malformed, Problem)
    ),
    "head": Parser(connection.path_of, bodies),
    "json object": Parser(json_keys.json_object, json_bodies),
    "repeated key": Parser(json_keys.repeated_key, json_bodies, (ValueError, RecursionError)),
    "yuan": Parser(money.yuan_to_micros, texts, (ValueError,)),
    "rate": Parser(money.rate_to_ppm, texts, (ValueError,)),
    "beijing time": Parser(clock.from_beijing, texts, (ValueError,)),
    "url": Parser(GUARD.parse, urls, (UrlForbidden,)),
    "network": Parser(opened, texts, (ValueError,)),
    "authorization": Parser(authorization.parse, texts),
    "open body sig": Parser(open_body_sig.read, texts),
    "open body moment": Parser(open_body_sig.moment_of, texts),
    "open access token": Parser(open_access_token.read, texts),
    "tsk": Parser(tsk_hmac.read, texts),
    "tsk moment": Parser(tsk_hmac.moment_of, texts),
    "tvs": Parser(tvs_hmac.read, texts),
    "key signature": Parser(lambda table: key_signature.right(table, "key"), tables),
    "channel md5": Parser(lambda table: channel.md5_sign(table, b"key"), tables),
    "channel hmac": Parser(
        lambda table: channel.hmac_v2_sign("GET", "/order/request", table, b"", b"key"), tables
    ),
    "wdt signature": Parser(lambda table: signatures.wdt_md5(table, "key"), tables),
    "webhook": Parser(refused_notify, texts, (webhooks.NotVerified,)),
    "erp trades": Parser(normalising.trades, json_bodies, (Unreadable,)),
    "erp refunds": Parser(normalising.refunds, json_bodies, (Unreadable,)),
    "supplier answer": Parser(
        lambda of: default.read(200, {"Content-Type": of[0]}, of[1]), st.tuples(types, json_bodies)
    ),
    "supplier fields": Parser(
        lambda of: answers.fields({"Content-Type": of[0]}, of[1]),
        st.tuples(types, json_bodies),
        (ValueError,),
    ),
    "cards": Parser(cards.of_value, jsons, (ValueError,)),
    "notify answer": Parser(lambda body: notify_words.acknowledged(Answered(200, {}, body)), json_bodies),
    "configuration": Parser(
        lambda text: configuration.parse(text, "a.yaml", {}), texts, (configuration.DocumentError,)
    ),
    **{
        f"statement {name}": Parser(statement(name), rows, (FileWrong, FileTooLarge))
        for name in TEMPLATES
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_reads_or_says_no_in_its_own_words(name: str) -> None:
    parser = PARSERS[name]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(parser.given)
    def take(value: Any) -> None:
        taken.append(1)
        with suppress(*parser.refusals):
            parser.call(value)

    taken: list[int] = []
    take()
    counted("parser inputs", len(taken))


ALONE = {id(one): TEXTS for one in (texts, queries, urls)} | {
    id(one): BODIES for one in (bodies, json_bodies, rows)
}


@pytest.mark.parametrize("name", [name for name, one in PARSERS.items() if id(one.given) in ALONE])
def test_what_once_broke_programs_is_read_or_refused(name: str) -> None:
    """The known nasty ones, each as it is: those a strategy may not draw in a small run."""
    parser = PARSERS[name]
    for value in ALONE[id(parser.given)]:
        with suppress(*parser.refusals):
            parser.call(value)


@pytest.mark.parametrize("body", [b'{"a":' * 5_000, b"[" * 100_000], ids=["objects", "lists"])
def test_an_answer_nested_without_an_end_is_unreadable(body: bytes) -> None:
    assert isinstance(default.read(200, {}, body), NotTheProtocol)


@given(st.integers(0, 2**53 // money.STEP))
def test_an_amount_is_read_as_it_was_written(steps: int) -> None:
    micros = steps * money.STEP
    assert money.yuan_to_micros(money.micros_to_yuan(micros)) == micros


@given(texts)
def test_an_amount_that_is_read_is_written_and_read_again(text: str) -> None:
    with suppress(ValueError):
        micros = money.yuan_to_micros(text)
        assert money.yuan_to_micros(money.micros_to_yuan(micros)) == micros
