"""What partners called is noted beside the way of requests: masked, bounded, and what is lost is said."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import Any

import grpc
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from shoudan.order.v1 import request_log_service_pb2 as pb
from shoudan_gateway import request_log
from shoudan_gateway.config import GatewaySettings
from shoudan_gateway.protocol import ChannelRule, GatewayError, Inbound, Outbound, Problem
from shoudan_gateway.request_log import RequestLog
from shoudan_kit.rpc.refusal import Refused
from tests.poll import eventually

ORDER = (
    "/order/request?channel_no=test&request_no=r1&line_id=1&carrier_no=ZSH&invoice_type=1&num=1"
    "&face=200&amount=198&rechage_account=13800001111&notify_url=http%3A%2F%2Fa.example%2Fsecret"
)
FLUSH = {"request_log_flush_s": 0.05}


def records(blocks: Iterable[pb.RequestBlock]) -> dict[str, list[dict[str, Any]]]:
    """The requests of blocks by party."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in blocks:
        there = json.loads(zlib.decompress(one.data))
        assert len(there) == one.record_count
        found.setdefault(one.party, []).extend(there)
    return found


async def test_a_request_is_in_the_log_of_its_channel_with_its_id_and_without_secrets(
    open_gateway: Any,
) -> None:
    front = await open_gateway(**FLUSH)
    async with front.http.get(front.url + ORDER, headers={"X-Request-Id": "my-id"}) as answer:
        assert answer.headers["X-Request-Id"] == "my-id"
    await eventually(lambda: front.log.blocks)
    (one,) = records(front.log.blocks)["channel test"]
    assert (one["id"], one["m"], one["p"], one["s"]) == ("my-id", "GET", "/order/request", 200)
    assert one["ok"] is True
    assert "c" not in one
    assert one["q"]["request_no"] == "r1"
    assert one["q"]["rechage_account"] == "138***11"
    assert one["q"]["notify_url"] == "http://a.example/***"
    assert "13800001111" not in json.dumps(one)
    assert "/secret" not in json.dumps(one)


async def test_a_refused_request_is_in_the_log_of_the_channel_it_names(open_gateway: Any) -> None:
    front = await open_gateway(**FLUSH)
    await front.ask("/order/query?channel_no=test&request_no=r1&sign=wrong&nonce=n")
    await front.ask("/order/query?channel_no=nope&request_no=r2")
    await front.ask("/nothing/there")
    await eventually(lambda: sum(one.record_count for one in front.log.blocks) == 3)
    found = records(front.log.blocks)
    (refused,) = found["channel test"]
    assert (refused["s"], refused["c"], refused["ok"]) == (403, "SIGN_WRONG", False)
    assert refused["q"]["sign"] == refused["q"]["nonce"] == "***"
    assert sorted(one["p"] for one in found[""]) == ["/nothing/there", "/order/query"]


async def test_requests_of_the_internal_port_are_not_partners(open_gateway: Any) -> None:
    front = await open_gateway(**FLUSH)
    async with front.http.get(front.internal_url + "/account/query?ident=oms") as answer:
        await answer.read()
    await front.ask("/order/query?channel_no=test&request_no=last")
    await eventually(lambda: front.log.blocks)
    assert [one["p"] for one in records(front.log.blocks)["channel test"]] == ["/order/query"]
    assert set(records(front.log.blocks)) == {"channel test"}


async def test_it_can_be_switched_off(open_gateway: Any) -> None:
    front = await open_gateway(request_log=False, **FLUSH)
    await front.ask("/order/query?channel_no=test&request_no=r1")
    await front.process.stop()
    assert front.log.calls == 0


async def test_what_is_noted_last_is_stored_before_the_gateway_ends(open_gateway: Any) -> None:
    front = await open_gateway(request_log_flush_s=3_600)
    await front.ask("/order/query?channel_no=test&request_no=r1")
    await front.process.stop()
    assert len(records(front.log.blocks)["channel test"]) == 1


async def test_an_order_service_that_is_away_gets_the_same_blocks_later(open_gateway: Any) -> None:
    front = await open_gateway(**FLUSH)
    front.log.fails = grpc.StatusCode.UNAVAILABLE
    await front.ask("/order/query?channel_no=test&request_no=r1")
    await eventually(lambda: front.log.calls > 2)
    assert front.log.blocks == []
    front.log.fails = None
    await eventually(lambda: front.log.blocks)
    assert [one.lost_count for one in front.log.blocks] == [0]
    assert len(records(front.log.blocks)["channel test"]) == 1


# ---------------------------------------------------------------- by itself
class Store:
    """An order service in memory, which may be away or refuse."""

    def __init__(self) -> None:
        self.calls: list[pb.StoreRequestBlocksRequest] = []
        self.raises: Exception | None = None

    async def ask(self, call: Any, message: Any) -> Any:
        if self.raises is not None:
            raise self.raises
        self.calls.append(message)

    @property
    def blocks(self) -> list[pb.RequestBlock]:
        return [one for call in self.calls for one in call.blocks]


def inbound(channel_no: str = "test", *, admitted: bool = True, **params: str) -> Inbound:
    return Inbound(
        "GET",
        "/order/query",
        params={"channel_no": channel_no} | params,
        headers=CIMultiDictProxy(CIMultiDict[str]()),
        remote="127.0.0.1",
        channel=ChannelRule(channel_no) if admitted else None,
    )


def log_of(store: Store, waiting_max: int = 10_000) -> RequestLog:
    return RequestLog(store.ask, lambda no: no.startswith("test"), 1, waiting_max)


OK = Outbound(200, {})


async def test_what_finds_no_room_is_counted_in_the_next_block() -> None:
    store = Store()
    log = log_of(store, waiting_max=3)
    for _ in range(10):
        log.note(inbound(), OK, "id", 0.01)
    await log.flush()
    assert [(one.record_count, one.lost_count) for one in store.blocks] == [(3, 7)]
    log.note(inbound(), OK, "id", 0.01)
    await log.flush()
    assert [one.lost_count for one in store.blocks] == [7, 0]


async def test_blocks_that_wait_too_long_are_dropped_oldest_first_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_log, "UNSENT_BYTES_MAX", 400)
    store = Store()
    store.raises = Problem(GatewayError.NO_ANSWER)
    log = log_of(store)
    for turn in range(20):
        log.note(inbound(request_no=f"r{turn}"), OK, f"id{turn}", 0.01)
        await log.flush()
    store.raises = None
    await log.flush()
    kept = [one["id"] for one in records(store.blocks)["channel test"]]
    assert kept == [f"id{turn}" for turn in range(20 - len(kept), 20)]
    await log.flush()
    assert sum(one.lost_count for one in store.blocks) == 20 - len(kept) > 0


async def test_what_is_lost_is_told_to_each_partner_once_and_does_not_grow_by_being_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Blocks of many partners carry what was lost; dropped themselves, that is still no more than it was."""
    monkeypatch.setattr(request_log, "UNSENT_BYTES_MAX", 0)
    store = Store()
    store.raises = Problem(GatewayError.NO_ANSWER)
    log = log_of(store, waiting_max=20)
    for _ in range(40):
        for n in range(30):  # ten find no room
            log.note(inbound(f"test{n}"), OK, "id", 0.01)
        await log.flush()
    store.raises = None
    monkeypatch.setattr(request_log, "UNSENT_BYTES_MAX", 2**20)
    monkeypatch.setattr(request_log, "RECORDS_MAX", 2)
    for n in range(5):
        log.note(inbound("test1" if n else "test2"), OK, "id", 0.01)
    await log.flush()
    said = {one.party: 0 for one in store.blocks}
    for one in store.blocks:
        said[one.party] += one.lost_count
    assert said == {"channel test1": 40 * 30, "channel test2": 40 * 30}


async def test_blocks_that_are_refused_are_not_sent_for_ever() -> None:
    store = Store()
    store.raises = Refused(grpc.StatusCode.INVALID_ARGUMENT, "order.shoudan", "X")
    log = log_of(store)
    log.note(inbound(), OK, "id", 0.01)
    await log.flush()
    store.raises = None
    log.note(inbound(), OK, "next", 0.01)
    await log.flush()
    assert [one["id"] for one in records(store.blocks)["channel test"]] == ["next"]
    assert sum(one.lost_count for one in store.blocks) == 1


async def test_strangers_cannot_fill_a_channel_s_log() -> None:
    store = Store()
    log = log_of(store)
    for turn in range(request_log.STRANGERS_MAX + 50):
        log.note(inbound(admitted=False), OK, f"s{turn}", 0.01)
    log.note(inbound(), OK, "own", 0.01)
    await log.flush()
    (block,) = store.blocks
    assert (block.record_count, block.lost_count) == (request_log.STRANGERS_MAX + 1, 50)
    assert records([block])["channel test"][-1]["id"] == "own"


async def test_many_requests_of_one_flush_are_several_blocks_within_their_bounds() -> None:
    store = Store()
    log = log_of(store)
    many = request_log.RECORDS_MAX * 2 + 1
    for turn in range(many):
        log.note(inbound(), OK, f"id{turn}", 0.01)
    await log.flush()
    assert [one.record_count for one in store.blocks] == [2000, 2000, 1]
    assert len({one.block_no for one in store.blocks}) == 3


async def test_large_parameters_are_not_kept() -> None:
    store = Store()
    log = log_of(store)
    large = "x" * (request_log.SMALL_BYTES + 1)
    log.note(inbound(request_no=large), OK, "small query", 0.01)
    with_body = inbound(request_no="r1")
    log.note(
        Inbound(with_body.method, with_body.path, params=with_body.params, body=large.encode()),
        OK,
        "large body",
        0.01,
    )
    await log.flush()
    found = records(store.blocks)
    assert len(found["channel test"][0]["q"]["request_no"]) == request_log.VALUE_CHARS_MAX
    assert "q" not in found[""][0]


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("request_no", "r1", "r1"),
        ("sign", "abc", "***"),
        ("recharge_account", "13800001111", "138***11"),
        ("recharge_account", "1234567", "***"),
        ("notify_url", "https://u@a.example:8443/x?token=1", "https://a.example/***"),
        ("notify_url", "http://[", "***"),
        ("anything", "else", "***"),
    ],
)
def test_a_value_is_shown_only_where_it_names_nothing_secret(
    name: str, value: str, kept: str
) -> None:
    assert request_log.masked(name, value) == kept


async def test_a_link_that_is_its_own_proof_is_kept_without_it(open_gateway: Any) -> None:
    front = await open_gateway(**FLUSH)
    token = "T" * 43
    await front.ask(f"/bill/file/{token}/a.csv")
    await eventually(lambda: front.log.blocks)
    (one,) = records(front.log.blocks)[""]
    assert one["p"] == "/bill/file/{token}/{file}"
    assert token not in json.dumps(one)


def test_no_setting_that_hides_a_name_is_contradicted() -> None:
    assert not request_log.SHOWN & GatewaySettings.masked


async def test_what_was_called_is_counted_by_call_and_version(open_gateway: Any) -> None:
    front = await open_gateway(**FLUSH)
    newer = {"Shoudan-Version": "2026-12-01"}
    for headers in ({}, {}, newer):
        url = f"{front.url}/order/query?channel_no=test&request_no=r1"
        async with front.http.get(url, headers=headers) as answer:
            await answer.read()
    await front.ask("/order/query?channel_no=test&request_no=r1&sign=wrong&nonce=n")
    await eventually(lambda: sum(one.record_count for one in front.log.blocks) == 4)
    counts: dict[tuple[str, str, str], int] = {}
    for block in front.log.blocks:
        for one in block.calls:
            key = one.protocol, one.call, one.version
            counts[key] = counts.get(key, 0) + one.count
    assert counts == {
        ("channel", "/order/query", "0"): 2,
        ("channel", "/order/query", "2026-12-01"): 1,
    }
