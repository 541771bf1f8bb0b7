"""What every endpoint may rely on: merging, limits, refusals without secrets, batches, a graceful end."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import grpc
import pytest

from shoudan.order.v1 import catalogue_service_pb2 as catalogue
from shoudan_kit.rpc.shard_router import ShardAway
from tests.poll import eventually

ORDER = {
    "channel_no": "test",
    "request_no": "r1",
    "line_id": "1",
    "carrier_no": "ZSH",
    "invoice_type": "1",
    "num": "1",
    "face": "200",
    "amount": "198",
}


async def refused(front: Any, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
    status, body = await front.ask(path, **options)
    assert set(body) == {"code", "message", "data"}
    assert body["data"] == f"error:{body['message']}"
    return status, body


async def test_query_form_and_json_are_the_same_order(front) -> None:
    for options in (
        {"params": ORDER},
        {"method": "POST", "data": ORDER},
        {"method": "POST", "json": ORDER},
        {"method": "POST", "json": {**ORDER, "num": 1, "face": 200, "amount": 198.0}},
        {"method": "POST", "params": ORDER},
    ):
        status, body = await front.ask("/order/request", **options)
        assert (status, body["status"]) == (200, 30)
    taken = front.order.taken
    assert len(taken) == 5
    assert all(one == taken[0] for one in taken)
    assert taken[0].face_micros == 200_000_000


async def test_query_and_body_may_repeat_but_not_contradict_each_other(front) -> None:
    for sent in ({"data": {"request_no": "f"}}, {"json": {"request_no": "f"}}):
        status, body = await refused(
            front, "/order/request", method="POST", params={**ORDER, "request_no": "q"}, **sent
        )
        assert (status, body["message"]) == (406, "输入参数有误:request_no与请求参数不一致")
    assert front.order.taken == []
    both = {"params": ORDER, "data": {"request_no": ORDER["request_no"]}}
    assert (await front.ask("/order/request", "POST", **both))[0] == 200


async def test_both_spellings_of_the_account_must_agree(front) -> None:
    same = {**ORDER, "rechage_account": "1", "recharge_account": "1"}
    assert (await front.ask("/order/request", params=same))[0] == 200
    assert (await front.ask("/order/request", params={**ORDER, "recharge_account": "2"}))[0] == 200
    status, _ = await refused(front, "/order/request", params={**same, "recharge_account": "2"})
    assert status == 406
    assert [one.recharge_account for one in front.order.taken] == ["1", "2"]


async def refuses_connections(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


WRONG = {
    "missing": {"request_no": ""},
    "zero": {"num": "0"},
    "too_many": {"num": "1001"},
    "fraction": {"num": "1.5"},
    "not_ascii": {"num": "１"},
    "negative": {"amount": "-1"},
    "six_decimals": {"amount": "1.000001"},
    "exponent": {"face": "1e2"},
    "nan": {"face": "NaN"},
    "huge": {"face": "99999999999999999999"},
    "long": {"channel_no": "x" * 33},
    "control": {"request_no": "a\nb"},
    "null": {"request_no": "a\0b"},
    "invoice": {"invoice_type": "3"},
    "ftp": {"notify_url": "ftp://a/b"},
    "userinfo": {"notify_url": "http://a@b/c"},
    "line": {"line_id": "abc"},
    "blanks": {"request_no": "   "},
    "padded_num": {"num": "01"},
    "padded_face": {"face": "050"},
    "half_ipv6": {"notify_url": "http://[::1/x"},
    "port": {"notify_url": "http://a:99999/x"},
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_malformed_parameter_is_refused_and_nothing_is_called(front, name) -> None:
    status, body = await refused(front, "/order/request", params={**ORDER, **WRONG[name]})
    assert (status, body["code"]) == (406, 406)
    assert body["message"].startswith("输入参数有误")
    assert front.order.taken == []


BODIES = {
    "repeated": (b"channel_no=test&channel_no=test", "application/x-www-form-urlencoded", 406),
    "repeated_in_json": (b'{"channel_no":"test","channel_no":"test"}', "application/json", 406),
    "not_utf8": (b"channel_no=%ff", "application/x-www-form-urlencoded", 406),
    "not_utf8_raw": (b'{"channel_no":"\xff"}', "application/json", 406),
    "surrogate": (b'{"channel_no":"\\ud800"}', "application/json", 406),
    "nan": (b'{"num":NaN}', "application/json", 406),
    "deep": (b"[" * 40 + b"]" * 40, "application/json", 406),
    "very_deep": (b"[" * 100_000, "application/json", 406),
    "list": (b"[1]", "application/json", 406),
    "nested": (b'{"channel_no":{}}', "application/json", 406),
    "fields": (
        b"&".join(b"a%d=1" % i for i in range(65)),
        "application/x-www-form-urlencoded",
        406,
    ),
    "xml": (b"<a/>", "text/xml", 415),
    "large": (b"a" * (2**20 + 1), "application/json", 413),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_beyond_the_limits_is_refused_in_the_partners_words(front, name) -> None:
    body, kind, expected = BODIES[name]
    headers = {"Content-Type": kind}
    status, answer = await refused(
        front, "/order/request", method="POST", data=io.BytesIO(body), headers=headers
    )
    assert status == answer["code"] == expected
    assert front.order.taken == []


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_wrong_with_a_parameter_is_told_in_the_protocols_language(
    front, name
) -> None:
    _, body = await refused(front, "/order/request", params={**ORDER, **WRONG[name]})
    told = body["message"].removeprefix("输入参数有误:").removeprefix(next(iter(WRONG[name])))
    assert told
    assert not told[0].isascii()


async def test_a_percent_that_encodes_nothing_is_refused(front) -> None:
    query = "&".join(f"{name}={value}" for name, value in ORDER.items())
    for broken in ("%zz", "%", "%4"):
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        head = f"GET /order/request?{query}&a={broken} HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(head.encode())
        assert b" 406 " in await reader.read(64)
        writer.close()
    assert front.order.taken == []


async def test_a_refund_names_where_its_end_is_told(front) -> None:
    refund = {"channel_no": "test", "request_no": "r1", "refund_no": "f1", "refund_num": "1"}
    for path in ("/refund/general", "/refund/mandatory"):
        status, body = await refused(front, path, params=refund)
        assert (status, body["message"]) == (406, "输入参数有误:notify_url不能为空")


async def test_what_is_wrong_is_named_also_when_it_is_no_single_parameter(front) -> None:
    words = {
        "not JSON": (b'{"a":', "输入参数有误:请求体不是有效的JSON"),
        "no object": (b"[1]", "输入参数有误:请求体必须是JSON对象"),
        "deep": (b"[" * 40 + b"]" * 40, "输入参数有误:请求体的JSON嵌套不能超过32层"),
    }
    headers = {"Content-Type": "application/json"}
    for body, text in words.values():
        _, answer = await refused(
            front, "/order/request", method="POST", data=body, headers=headers
        )
        assert answer["message"] == text
    _, answer = await refused(front, "/order/request?a=%ff")
    assert answer["message"] == "输入参数有误:请求参数不是UTF-8编码"


async def test_a_query_of_8192_is_read_and_of_one_more_refused(front) -> None:
    query = "channel_no=test&request_no=nope&pad="
    for length, expected in ((8192, 404), (8193, 414)):
        status, _ = await refused(front, "/order/query?" + query + "x" * (length - len(query)))
        assert status == expected


async def test_only_documented_methods_do_anything(front) -> None:
    for method in ("HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"):
        status, _ = await front.ask("/order/request", method, params=ORDER)
        assert status == 405
    assert front.order.taken == []


async def test_answers_are_never_stored_by_caches(front) -> None:
    async with front.http.get(front.url + "/order/request", params=ORDER) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_answers_do_not_tell_what_they_are_made_with(front) -> None:
    async with front.http.get(front.url + "/order/request", params=ORDER) as answer:
        assert answer.headers["Server"] == "shoudan"
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    writer.write(b"this is no HTTP\r\n\r\n")
    head = await reader.read(4096)
    writer.close()
    assert b"Server: shoudan" in head
    assert b"aiohttp" not in head


async def test_the_legacy_switch_gives_raw_status_and_data_only(open_gateway) -> None:
    front = await open_gateway(channel_legacy_errors=True)
    status, body = await front.ask("/order/query?channel_no=test&request_no=nope")
    assert (status, body) == (404, {"data": "error:订单不存在,channel_no:test,request_no:nope"})


async def test_what_fails_inside_shows_no_detail(front) -> None:
    for code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL):
        front.order.fails = code
        status, body = await refused(front, "/order/request", params=ORDER)
        assert status == 503
        assert "passwd" not in json.dumps(body)


async def test_an_overloaded_service_is_told_apart_from_an_unknown_end(front) -> None:
    front.order.fails = grpc.StatusCode.RESOURCE_EXHAUSTED
    _, busy = await refused(front, "/order/request", params=ORDER)
    front.order.fails = grpc.StatusCode.DEADLINE_EXCEEDED
    _, unknown = await refused(front, "/order/request", params=ORDER)
    assert "稍后再试" in busy["message"]
    assert "未知" in unknown["message"]


async def test_an_order_of_a_shard_that_is_away_has_an_unknown_end(front) -> None:
    front.order.refusal = ShardAway(1).to_proto()
    status, body = await refused(front, "/order/request", params=ORDER)
    assert status == 503
    assert "以相同编号重试" in body["message"]


async def test_an_order_whose_end_is_unknown_is_never_called_failed(open_gateway) -> None:
    front = await open_gateway(rpc_deadline_s=0.2, deadline_s=1)
    front.order.hold = asyncio.Event()
    status, body = await refused(front, "/order/request", params=ORDER)
    front.order.hold.set()
    assert status == 503
    assert "以相同编号重试" in body["message"]


async def test_requests_in_flight_travel_together(front) -> None:
    front.order.hold = asyncio.Event()
    asking = [
        asyncio.ensure_future(front.ask("/order/request", params={**ORDER, "request_no": f"r{i}"}))
        for i in range(60)
    ]
    await eventually(lambda: front.order.batches)
    front.order.hold.set()
    answers = await asyncio.gather(*asking)
    assert [body["request_no"] for _, body in answers] == [f"r{i}" for i in range(60)]
    assert len(front.order.batches) < 30


async def test_a_stopping_gateway_answers_what_it_has_taken(open_gateway) -> None:
    front = await open_gateway(drain_s=5)
    front.order.hold = asyncio.Event()
    asking = asyncio.ensure_future(front.ask("/order/request", params=ORDER))
    await eventually(lambda: front.order.batches)
    stopping = asyncio.ensure_future(front.process.stop())
    await eventually(lambda: refuses_connections(front.port))
    front.order.hold.set()
    status, _ = await asking
    await stopping
    assert status == 200


async def test_a_slow_head_is_hung_up_on(open_gateway) -> None:
    front = await open_gateway(head_wait_s=0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    writer.write(b"GET /order/query?channel_no=test HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_the_ledger_is_served_inside_only(front) -> None:
    query = "/account/query?ident=oms&groups=down_channel&eid=test"
    assert (await front.ask(query))[0] == 404
    async with front.http.get(front.internal_url + query) as answer:
        assert (answer.status, (await answer.json())["account_id"]) == (200, 86000)
    async with front.http.get(front.internal_url + "/order/request") as answer:
        assert answer.status == 404


async def test_a_suppliers_notify_passes_as_it_came(front) -> None:
    body = b"\xff\x00 not even text"
    status, text = await front.ask(
        "/vds/notify/ycup/10?a=1", "POST", data=body, headers={"X-Sign": "s", "Content-Type": "a/b"}
    )
    assert (status, text) == (200, "success")
    (notify,) = front.delivery.notifies
    assert (notify.channel_no, notify.service_class) == ("ycup", 10)
    assert (notify.query, notify.body, notify.headers["x-sign"]) == ("a=1", body, "s")
    assert (await front.ask("/vds/notify/ycup/11"))[0] == 406


async def test_the_sinks_answer_success_outside_of_production(open_gateway) -> None:
    front = await open_gateway()
    assert await front.ask("/order/response", "POST", json={"a": [1]}) == (200, "success")
    front = await open_gateway(profile="prod")
    assert (await front.ask("/refund/response"))[0] == 404


async def test_the_openapi_document_names_every_endpoint(front) -> None:
    status, document = await front.ask("/openapi.json")
    assert (status, document["openapi"]) == (200, "3.1.0")
    assert {"/order/request", "/order/query", "/refund/general", "/refund/mandatory"} <= set(
        document["paths"]
    )
    assert "/account/query" not in document["paths"]


async def test_an_unknown_path_is_not_found(front) -> None:
    for path in ("/", "/order", "/order/request/", "/order%2Frequest", "/" + "a" * 5000):
        assert (await front.ask(path))[0] == 404


async def test_the_dictionary_is_for_operators_and_names_what_is_missing(front) -> None:
    assert (await front.ask("/dds/dictionary/get?dic_type=Status"))[0] == 404
    async with front.http.get(f"{front.internal_url}/dds/dictionary/get") as answer:
        assert answer.status == 406
        assert await answer.json() == {
            "code": 406,
            "message": "dic_type不能为空",
            "data": "error:dic_type不能为空",
        }


async def test_a_channel_with_slow_calls_leaves_places_to_the_others(
    open_gateway, neighbours
) -> None:
    neighbours[0].channels.append(catalogue.DownChannel(channel_no="other", enabled=True))
    front = await open_gateway(requests_in_flight_max=6, caller_in_flight_max=3)
    front.order.hold = asyncio.Event()

    async def ask(channel_no: str, number: str) -> int:
        given = {**ORDER, "channel_no": channel_no, "request_no": number}
        return (await front.ask("/order/request", params=given))[0]

    slow = [asyncio.create_task(ask("test", f"s{at}")) for at in range(9)]
    await eventually(lambda: sum(task.done() for task in slow) == 6)
    assert [task.result() for task in slow if task.done()] == [429] * 6
    waiting = [task for task in slow if not task.done()]
    others = [asyncio.create_task(ask("other", f"o{at}")) for at in range(2)]
    await eventually(
        lambda: sum(map(len, front.order.batches)) >= 4
    )  # not refused, and not waiting
    front.order.hold.set()
    assert await asyncio.gather(*others) == [200, 200]
    assert await asyncio.gather(*waiting) == [200] * 3
