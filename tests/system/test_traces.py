"""Promises of following a request: one order is one connected trace over all processes, found by its id."""

from __future__ import annotations

import asyncio
import re

import pytest

from shoudan_kit.tracing.trace import of_text, parsed
from tests.poll import eventually
from tests.system.conftest import ORDER

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0cc902b7"
HEADER = f"00-{TRACE}-{SPAN}-01"
PROCESSES = {"shoudan-gateway", "shoudan-order", "shoudan-pay", "shoudan-delivery"}
STEPS = (
    "/order/request",
    "/shoudan.order.v1.OrderService/CreateOrders",
    "task order.pay",
    "/shoudan.pay.v1.LedgerService/PostEntries",
    "task order.deliver",
    "/shoudan.delivery.v1.DeliveryService/CreateDeliveries",
    "task delivery.request",
    "supplier ",
    "task delivery.report",
    "/shoudan.order.v1.OrderService/ReportResults",
    "task order.notify",
    "notify",
    "task order.up_pay",
)
pytestmark = pytest.mark.system


async def place(partner, number: str, **headers: str):
    """The status and headers of one order's answer."""
    url = f"{partner.system.gateway_url}/order/request"
    values = {
        **ORDER,
        "notify_url": f"{partner.system.sandbox_url}/inbox/test",
        "request_no": number,
    }
    async with partner.http.get(url, params=values, headers=headers) as answer:
        await answer.read()
        return answer.status, answer.headers


def missing(spans) -> list[str]:
    names = [one.name for one in spans]
    return [step for step in STEPS if not any(name.startswith(step) for name in names)]


async def test_one_order_is_one_connected_trace_over_all_processes(partner, receiver):
    number = partner.number()
    status, headers = await place(partner, number, traceparent=HEADER, **{"X-Request-Id": "my-1"})
    assert status == 200
    assert headers["X-Request-Id"] == "my-1"
    await partner.all_ended(number, 1)
    spans = receiver.traces[TRACE]
    await eventually(lambda: not missing(spans), 30)
    assert {one.service for one in spans} == PROCESSES
    assert all(one.attributes["shoudan.request_id"] == "my-1" for one in spans)
    known = {one.span_id for one in spans} | {SPAN}
    assert {one.parent_id for one in spans} <= known, "every span hangs on another of the trace"


async def test_the_notify_carries_the_orders_trace(partner, receiver):
    number = partner.number()
    _, headers = await place(partner, number)
    await partner.all_ended(number, 1)
    url = f"{partner.system.sandbox_url}/inbox/test?format=json"
    async with partner.http.get(url) as answer:
        letters = (await answer.json())["letters"]
    (mine,) = [one["headers"] for one in letters if number in one["body"]]
    trace_id, span_id, _ = parsed(mine["traceparent"])
    assert trace_id == headers["X-Request-Id"]
    spans = receiver.traces[trace_id]
    await eventually(lambda: span_id in {one.span_id for one in spans if one.name == "notify"}, 20)


async def test_orders_of_one_batch_keep_their_own_traces_linked_to_each_other(partner, receiver):
    together = f"{partner.number()}-together-"
    numbers = [f"{together}{at}" for at in range(20)]
    answers = await asyncio.gather(*(place(partner, number) for number in numbers))
    ids = [headers["X-Request-Id"] for _, headers in answers]
    assert len(set(ids)) == len(ids)
    await partner.all_ended(together, len(numbers))
    await eventually(lambda: not any(missing(receiver.traces[one]) for one in ids), 30)
    links = {link for one in ids for span in receiver.traces[one] for link in span.links}
    assert links & set(ids), "some of them shared a batch"


async def test_rows_and_published_events_name_the_request(partner):
    number = partner.number()
    _, headers = await place(partner, number, **{"X-Request-Id": "rows-1"})
    await partner.all_ended(number, 1)
    stored = await partner.sql(
        "order",
        "SELECT array_agg(trace) FROM event JOIN oms_order_info ON key = order_id::text"
        " WHERE request_no = $1",
        number,
    )
    assert len(stored) >= 5
    assert {of_text(one).request_id for one in stored} == {headers["X-Request-Id"]} == {"rows-1"}


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": "garbage"},
        {"traceparent": "00-" + "a" * 10_240},
        {"traceparent": HEADER, "tracestate": "\t=,,=" * 2_000},
        {"tracestate": "x" * 1_000},
        {"X-Request-Id": "a b<script>" + "x" * 4_000},
        {},
    ],
)
@pytest.mark.parametrize(
    "path", ["/order/query", "/nowhere", "/payments", "/bean/account/balance", "/openapi.json"]
)
async def test_every_answer_has_a_request_id_whatever_the_caller_sends(partner, path, headers):
    async with partner.http.get(partner.system.gateway_url + path, headers=headers) as answer:
        given = answer.headers["X-Request-Id"]
        assert answer.status < 500
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given)


async def test_what_is_no_http_is_answered_with_a_request_id(partner):
    host, _, port = partner.system.gateway_url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /order/query HTTP/9.9\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(4_096), 10)
    writer.close()
    assert b"X-Request-Id: " in answer


def test_the_callers_header_of_this_file_is_one():
    assert parsed(HEADER) == (TRACE, SPAN, True)
