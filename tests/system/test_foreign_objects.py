"""S4: at every partner-facing endpoint another party's object answers as one that does not exist.

Rows are checked against the gateway's route table, so that a route without a row fails.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from shoudan_cli.system import System
from shoudan_fakes.chinaums import Ums
from shoudan_gateway.partners import load
from shoudan_gateway.partners.payserver import COLLECTIONS, PARTS
from shoudan_gateway.protocol import Sink
from shoudan_pay.payserver import protocol
from tests.erp_ingest.harness import body, refund, trade
from tests.system.parties import (
    ABSENT,
    DINGDANG,
    OTHER,
    OWN,
    ROOT,
    SCANNER,
    SIGNED_BY_SUPPLIERS,
    Parties,
    catalogue,
    environment,
    number,
    of_supplier,
    order_params,
    pay_of,
    refund_params,
    secret_of,
)

pytestmark = pytest.mark.system

# What differs between two answers to the same call: numbers and times that are made for it.
MADE = re.compile(
    r'("(?:order_id|refund_id|uuid|tractionNo|href|createdAt|modifiedAt|payedAt|clientPayNo|responseTimeStamp'
    r'|orderStartAt|orderExpiredAt|tradeFinishedAt|thirdPayNo|accessToken|id)":)("[^"]*"|\d+)'
)
# Numbers of these tests, of partners and of ours, and times.
SENT = re.compile(r"\b(?:[a-z]{2}\d{10}|Z{8,}|\d{15,}|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\b")
OWN_LIST = "it names no object: what is listed is the caller's own"
EMPTY_PERIOD = {"start_time": "2026-01-01 00:00:00", "end_time": "2026-01-02 00:00:00"}
Answer = tuple[int, dict[str, str], str]
Ask = Callable[[Parties, str, str], Awaitable[Answer]]


@dataclass(frozen=True)
class Row:
    """How one endpoint is asked about an object. `closed`: why the own one is answered alike."""

    asks: tuple[Ask, ...]
    closed: str = ""


def row(*asks: Ask, closed: str = "") -> Row:
    return Row(asks, closed)


# ---------------------------------------------------------------- channels
def ordered(two: Parties, whose: str, method: str) -> Any:
    """Other content under the number of an order: the own one is 409, any other is a new order."""
    kind = f"taken_by_{method.lower()}"
    request_no = number("or") if whose == ABSENT else two.id_of(kind, whose)
    params: Any = order_params(request_no, "77")
    return two.channel(method, "/order/request", **params)


def checked(two: Parties, whose: str, method: str) -> Any:
    """Other content under the number of an order: the own one would be 409, any other a new order."""
    request_no = number("or") if whose == ABSENT else two.id_of("order", whose)
    params: Any = order_params(request_no, "77")
    return two.channel(method, "/order/check", **params)


def queried(two: Parties, whose: str, method: str) -> Any:
    return two.channel(method, "/order/query", request_no=two.id_of("order", whose))


def cards_fetched(two: Parties, whose: str, method: str) -> Any:
    return two.channel(method, "/order/cards", request_no=two.id_of("order", whose))


async def listed(two: Parties, whose: str, method: str) -> Answer:
    """The list names its caller, which here is the name of an object, too."""
    status, headers, text = await two.channel(method, "/product/list", page_size="1")
    assert f'"channel_no":"{OWN}"' in text
    return status, headers, text.replace(f'"{OWN}"', '"caller"')


def own_list(path: str, **more: str) -> Ask:
    """A list of the caller's own, which names it alone."""

    async def ask(two: Parties, whose: str, method: str) -> Answer:
        status, headers, text = await two.channel(method, path, **more)
        assert (status, f'"channel_no":"{OWN}"' in text) == (200, True), text
        text = text.replace(f'"{two.id_of("endpoint", OWN)}"', '"its endpoint"')
        return status, headers, text.replace(f'"{OWN}"', '"caller"')

    return ask


def own_bill(path: str) -> Ask:
    """The caller's own bill of a day, which here is none."""

    async def ask(two: Parties, whose: str, method: str) -> Answer:
        status, headers, text = await two.channel(method, path, bill_date="2026-01-01")
        return status, headers, text.replace(f'"{OWN}"', '"caller"')

    return ask


async def bill_file(two: Parties, whose: str, method: str) -> Answer:
    """A link with another proof than any that was given."""
    return await two.send(method, f"{two.system.gateway_url}/bill/file/{'u' * 43}/bill.csv")


def of_endpoint(path: str, **more: str) -> Ask:
    """A call about an endpoint of the caller's."""

    def ask(two: Parties, whose: str, method: str) -> Any:
        return two.channel(method, path, endpoint_no=two.id_of("endpoint", whose), **more)

    return ask


def of_order(path: str) -> Ask:
    """A call about an order of the caller's."""

    def ask(two: Parties, whose: str, method: str) -> Any:
        return two.channel(method, path, request_no=two.id_of("order", whose))

    return ask


def refunded(path: str) -> Ask:
    def ask(two: Parties, whose: str, method: str) -> Any:
        params: Any = refund_params(two.id_of("order", whose), number("rn"), two.system.sandbox_url)
        return two.channel(method, path, **params)

    return ask


def refund_queried(two: Parties, whose: str, method: str) -> Any:
    numbers = {name: two.id_of(name, whose) for name in ("refunded_order", "refund_no")}
    params: Any = {"request_no": numbers["refunded_order"], "refund_no": numbers["refund_no"]}
    return two.channel(method, "/refund/query", **params)


def refund_of_own_order(two: Parties, whose: str, method: str) -> Any:
    """The own order with the number of another's refund."""
    request_no = two.id_of("refunded_order", OWN)
    refund_no = two.id_of("refund_no", whose)
    return two.channel(method, "/refund/query", request_no=request_no, refund_no=refund_no)


def goods(path: str, member: str = "", kind: str = "order") -> Row:
    """A channel that signs otherwise is answered as an unknown one; see tests/gateway/test_goofish.py."""

    async def ask(two: Parties, whose: str, method: str) -> Any:
        wish = {member: two.id_of(kind, whose)} if member else {}
        query = urlencode({"mch_id": OWN, "timestamp": str(int(time.time())), "sign": "0" * 32})
        url = f"{two.system.gateway_url}/goofish/{path}?{query}"
        return await two.send(method, url, json.dumps(wish).encode())

    return row(ask, closed="its channels sign by a scheme of their own")


# ---------------------------------------------------------------- PayServer
def at(path: str, kind: str, body_of: Callable[[str], Any] | None = None) -> Ask:
    """A call to a path below the root that holds {id}, or whose body does."""

    def ask(two: Parties, whose: str, method: str) -> Any:
        number_ = two.id_of(kind, whose)
        wish = body_of(number_) if body_of else None
        return two.merchant(method, f"{ROOT}/{path.format(id=number_)}", wish)

    return ask


def paid_with_own_mode(two: Parties, whose: str, method: str) -> Any:
    """Other content under a client's number: the own one is 409, any other is a new pay."""
    wish = pay_of(two.id_of("mode", OWN)) | {"payAmount": 51}
    wish["clientPayNo"] = number("cp") if whose == ABSENT else two.id_of("client_pay", whose)
    return two.merchant(method, f"{ROOT}/pay", wish)


def told(path: str, noun: str, kind: str) -> Ask:
    """A component with the sign of the own number."""

    def ask(two: Parties, whose: str, method: str) -> Any:
        sign = protocol.sign(secret_of("component", OWN).encode(), noun, two.id_of(kind, OWN))
        wish = {"tractionNo": two.id_of(kind, whose), "ret": "success"}
        return two.merchant(method, f"{ROOT}/{path}?sign={sign}", wish)

    return ask


def refund_of(traction_no: str) -> dict[str, Any]:
    return {"payTractionNo": traction_no, "clientRefundNo": number("rf"), "refundAmount": 1}


# The kind of object in each collection.
KINDS = {"payModes": "mode", "payOrders": "pay", "refundOrders": "refund", "tradeRecords": "record"}
COMMON = "templates are everyone's"


def of_template(name: str) -> Ask:
    """What is there of a template that all use."""

    def ask(two: Parties, whose: str, method: str) -> Any:
        path = f"payModeTemplates/{two.template}/{name}?uuid={two.id_of(KINDS[name], whose)}"
        return two.merchant(method, f"{ROOT}/{path}")

    return ask


def payserver_lists() -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for name in COLLECTIONS:
        if name == "payModeTemplates":
            common = at(f"{name}?limit=1", "mode"), at(f"{name}/{{id}}", "mode")
            rows[f"{ROOT}/{name}"] = row(common[0], closed=COMMON)
            rows[f"{ROOT}/{name}/{{uuid}}"] = row(common[1], closed=COMMON)
            continue
        kind = KINDS[name]
        rows[f"{ROOT}/{name}"] = row(
            at(f"{name}?uuid={{id}}", kind),
            at(f"{name}?merchantUUID={{id}}", "merchant"),
        )
        rows[f"{ROOT}/{name}/{{uuid}}"] = row(at(f"{name}/{{id}}", kind))
    for parent, names in PARTS.items():
        for name in names:
            path = f"{ROOT}/{parent}/{{uuid}}/{name}"
            if parent == "payModeTemplates":
                ask = of_template(name)
            else:
                ask = at(f"{parent}/{{id}}/{name}", KINDS[parent])
            rows[path] = row(ask)
    return rows


# ---------------------------------------------------------------- platforms, suppliers, ERPs
def skill(path: str, kind: str, name: str, **members: Any) -> Ask:
    def ask(two: Parties, whose: str, method: str) -> Any:
        return two.skill(path, **(members | {name: two.id_of(kind, whose)}))

    return ask


def in_domain(path: str) -> Ask:
    """A domain named with the own key."""

    def ask(two: Parties, whose: str, method: str) -> Any:
        return two.skill(path, two.id_of("app", whose), tradeNo=two.id_of("client_pay", OWN))

    return ask


PRICES = "/vds/prices/{channel_no}/{service_class}"
NOTIFY = "/vds/notify/{channel_no}/{service_class}"


def notified(two: Parties, whose: str, method: str) -> Any:
    return two.supplier(method, two.id_of("delivery", whose))


def priced(two: Parties, whose: str, method: str) -> Any:
    return two.supplier(method, two.id_of("delivery", whose), of="prices")


def pushed(path: str, name: str, made: Callable[[], Any]) -> Ask:
    def ask(two: Parties, whose: str, method: str) -> Any:
        return two.push(path, name, two.id_of("app", whose), body(made()))

    return ask


# ---------------------------------------------------------------- the internal port
def account(path: str, **more: str) -> Ask:
    """A channel signs for the account of a channel."""

    def ask(two: Parties, whose: str, method: str) -> Any:
        eid = two.id_of("app", whose)
        key = {"ident": "oms", "groups": "down_channel", "eid": eid}
        return two.channel(method, path, inside=True, **(key | more))

    return ask


FOR_TOKENS = "a channel's signature changes nothing and lists nobody"
PERSONS = {
    "trade_no": "t1",
    "ext_no": "t0",
    "amount": "1",
    "credit": "1",
    "account_name": "n",
    "spkg_id": "s",
    "pkg_name": "s",
    "num": "1",
    "total_capacity": "1",
    "dic_type": "carrier",
}
OWN_READS = {
    "/account/query": {},
    "/account/record/query": {},
    "/package/query": {"spkg_id": "s"},
    "/package/record/query": {"spkg_id": "s"},
}


def internal() -> dict[str, Row]:
    partners = [one for one in load().values() if one.role == "internal"]
    paths = [endpoint.path for partner in partners for endpoint in partner.endpoints]
    closed = [path for path in paths if path not in OWN_READS]
    return {path: row(account(path, **more)) for path, more in OWN_READS.items()} | {
        path: row(account(path, **PERSONS), closed=FOR_TOKENS) for path in closed
    }


ROWS: dict[str, Row] = {
    "/order/request": row(ordered),
    "/order/check": row(checked),
    "/order/query": row(queried),
    "/order/cards": row(cards_fetched),
    "/product/list": row(listed, closed=OWN_LIST),
    "/balance/query": row(own_list("/balance/query"), closed=OWN_LIST),
    "/order/list": row(own_list("/order/list", **EMPTY_PERIOD), closed=OWN_LIST),
    "/refund/list": row(own_list("/refund/list", **EMPTY_PERIOD), closed=OWN_LIST),
    "/bill/trade": row(own_bill("/bill/trade"), closed=OWN_LIST),
    "/bill/fund": row(own_bill("/bill/fund"), closed=OWN_LIST),
    **{path: row(of_supplier(path), closed="its signature") for path in SIGNED_BY_SUPPLIERS},
    "/bill/file/{token}/{file}": row(bill_file, closed="the link is the proof"),
    "/request/list": row(own_list("/request/list", **EMPTY_PERIOD), closed=OWN_LIST),
    "/order/cancel": row(of_order("/order/cancel")),
    "/notify/endpoint/list": row(own_list("/notify/endpoint/list"), closed=OWN_LIST),
    "/notify/endpoint/notifies": row(of_endpoint("/notify/endpoint/notifies")),
    "/notify/endpoint/pause": row(of_endpoint("/notify/endpoint/pause", paused="1")),
    "/notify/endpoint/resend": row(of_endpoint("/notify/endpoint/resend")),
    "/notify/endpoint/test": row(of_endpoint("/notify/endpoint/test")),
    "/notify/list": row(of_order("/notify/list")),
    "/notify/resend": row(of_order("/notify/resend")),
    "/refund/general": row(refunded("/refund/general")),
    "/refund/mandatory": row(refunded("/refund/mandatory")),
    "/refund/query": row(refund_queried, refund_of_own_order),
    f"{ROOT}/registerPayModeTemplate": row(
        at("registerPayModeTemplate", "mode", lambda one: {"uuid": one, "payTemplateId": DINGDANG}),
        closed="for roles that act for everyone",
    ),
    f"{ROOT}/listAllPayModes": row(at("listAllPayModes?merchantUUID={id}", "merchant")),
    f"{ROOT}/merchants/{{uuid}}": row(at("merchants/{id}", "merchant")),
    f"{ROOT}/pay": row(at("pay", "mode", pay_of), paid_with_own_mode),
    f"{ROOT}/batchPay": row(at("batchPay", "mode", lambda one: {"batchPayData": [pay_of(one)]})),
    f"{ROOT}/refund": row(at("refund", "traction", refund_of)),
    f"{ROOT}/batchRefund": row(
        at("batchRefund", "traction", lambda one: {"batchRefundData": [refund_of(one)]})
    ),
    f"{ROOT}/payNotify": row(told("payNotify", "pay", "refunded_pay")),
    f"{ROOT}/refundNotify": row(told("refundNotify", "refund", "refund_traction")),
    "/v1/netpay/refund-query": row(
        lambda two, whose, _: two.cash_desk(two.id_of("ums_refund", whose))
    ),
    "/v1/token/access": row(lambda two, whose, _: two.ums_token(two.id_of("app", whose))),
    "/chinaums/notify": row(lambda two, whose, _: two.ums_notify(two.id_of("ums_pay", whose))),
    "/paycgi/orderquery": row(
        skill("/paycgi/orderquery", "client_pay", "tradeNo"),
        skill("/paycgi/orderquery", "traction", "transactionId"),
        in_domain("/paycgi/orderquery"),
    ),
    "/paycgi/refund": row(
        skill(
            "/paycgi/refund",
            "client_pay",
            "tradeNo",
            refundTradeNo="skill-refund",
            totalAmt=50,
            refundAmt=1,
        ),
        in_domain("/paycgi/refund"),
    ),
    "/paycgi/refundquery": row(
        skill("/paycgi/refundquery", "refund_traction", "refundTransactionId"),
        in_domain("/paycgi/refundquery"),
    ),
    "/dingdang/pay/notify": row(
        skill(
            "/dingdang/pay/notify", "dingdang", "tradeNo", transactionId="platform-1", totalAmt=50
        ),
        in_domain("/dingdang/pay/notify"),
    ),
    "/dingdang/refund/notify": row(
        skill(
            "/dingdang/refund/notify",
            "dingdang_refund",
            "refundTradeNo",
            tradeNo="t",
            transactionId="platform-1",
            refundTransactionId="platform-2",
            totalAmt=50,
            refundAmt=50,
            refundStatus="SUCCESS",
        ),
        in_domain("/dingdang/refund/notify"),
    ),
    "/goofish/open/info": goods("open/info"),
    "/goofish/user/info": goods("user/info"),
    "/goofish/goods/list": goods("goods/list"),
    "/goofish/goods/detail": goods("goods/detail"),
    "/goofish/goods/change/subscribe/list": goods("goods/change/subscribe/list"),
    "/goofish/goods/change/subscribe": goods("goods/change/subscribe"),
    "/goofish/goods/change/unsubscribe": goods("goods/change/unsubscribe"),
    "/goofish/order/recharge/create": goods("order/recharge/create", "order_no"),
    "/goofish/order/purchase/create": goods("order/purchase/create", "order_no"),
    "/goofish/order/detail": goods("order/detail", "order_no"),
    NOTIFY: row(notified, closed="suppliers of the documented protocol notify by POST"),
    PRICES: row(priced, closed="it names no delivery: without a secret it is believed of nobody"),
    "/pushData": row(pushed("/pushData", "customerid", trade)),
    "/pushReturngoods": row(pushed("/pushReturngoods", "app_key", refund)),
    **internal(),
    **payserver_lists(),
}
# Writes on a path whose GET has a row of its own.
CHANGES: dict[str, Row] = {
    NOTIFY: row(notified),
    f"{ROOT}/payModes": row(
        at("payModes", "merchant", lambda one: {"merchantUUID": one, "payTemplateId": SCANNER}),
    ),
    f"{ROOT}/payModes/{{uuid}}": row(at("payModes/{id}", "mode", lambda _: {"uiOrder": 2})),
}
ENDPOINTS = [
    pytest.param(method, endpoint.path, id=f"{partner.name} {method} {endpoint.path}")
    for partner in load().values()
    for endpoint in partner.endpoints
    if not isinstance(endpoint, Sink)  # answers everybody the same
    for method in sorted(endpoint.methods - {"HEAD"})
]


def row_of(method: str, path: str) -> Row | None:
    changed = None if method == "GET" else CHANGES.get(path)
    return changed or ROWS.get(path)


@pytest.fixture(scope="module")
async def two(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Parties]:
    folder = tmp_path_factory.mktemp("parties")
    env = environment(folder / "keys")
    async with (
        Ums(OWN, secret_of("ums", OWN)) as ums,
        System.start(profile="test", env=env, catalogue=catalogue(folder)) as system,
        aiohttp.ClientSession() as http,
    ):
        clients = system.clients()
        made = Parties(system, http, clients, folder / "keys", ums.url)
        await made.prepare()
        yield made
        await clients.close()


def plain(two: Parties, whose: str, answer: Answer) -> Answer:
    """The answer without the numbers that were sent and without what is made for each call."""
    status, headers, text = answer
    sent = {two.id_of(kind, whose) for kind in two.objects}
    for one in sorted(sent, key=len, reverse=True):
        text = text.replace(f'"{one}"', '"#"').replace(f"/{one}", "/#").replace(f"={one}", "=#")
    return status, headers, SENT.sub("#", MADE.sub(r"\1-", text))


def test_every_endpoint_has_a_row() -> None:
    there = {(str(one.values[0]), str(one.values[1])) for one in ENDPOINTS}
    assert {one for one in there if row_of(*one) is None} == set()
    assert {*ROWS, *CHANGES} == {path for _, path in there}


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
async def test_another_party_s_object_answers_as_none(two: Parties, method: str, path: str) -> None:
    one = row_of(method, path)
    assert one is not None
    for ask in one.asks:
        foreign, absent, own = [
            plain(two, whose, await ask(two, whose, method)) for whose in (OTHER, ABSENT, OWN)
        ]
        assert foreign == absent
        if one.closed:
            assert own == absent, one.closed
        else:
            assert own != absent
