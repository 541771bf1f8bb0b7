"""Promises: the documented pushes arrive whole, repeats write nothing, newer counts, ended stays ended."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from shoudan.erp.v1 import events_pb2
from tests.erp_ingest.conftest import NAME, Databases, open_desk, open_shards
from tests.erp_ingest.harness import REFUND, TRADE, ErpHarness, body, example, refund, trade
from tests.shard_maps import Maps

TABLES = ("trade", "trade_line", "payment", "refund", "refund_line", "swap_line", "history")


@pytest.fixture(params=[1, 4], ids=["one shard", "four shards"])
async def harness(
    new_database: Databases, new_map: Maps, request: pytest.FixtureRequest
) -> AsyncIterator[ErpHarness]:
    """The same promises with one shard and with four on two servers."""
    four = request.param == 4
    opened = open_shards(new_map, 4) if four else open_desk(await new_database(NAME))
    async with opened as made:
        yield made


async def everything(harness: ErpHarness) -> dict[str, list[dict[str, object]]]:
    return {table: await harness.rows(table) for table in TABLES}


async def test_both_examples_of_the_document_arrive_whole(harness: ErpHarness) -> None:
    (first,) = await harness.push(example("push_data.json"))
    (second,) = await harness.push(example("push_returngoods.json"), kind=REFUND)
    assert (first.push_id > 0, first.changed, first.HasField("refusal")) == (True, 3, False)
    assert (second.push_id > 0, second.changed, second.HasField("refusal")) == (True, 3, False)
    head = await harness.trade("AT201704210011")
    assert head["total_trade_fee"] == "18"
    assert head["created"] == "2017-04-21 13:52:40"
    assert head["receiver_mobile"] == "150****3861"
    assert head["orders"][0]["oid"] == "AD201704210025"
    assert head["orders"][0]["num"] == "1"
    back = await harness.refund("TK1712070002")
    assert (back["process_status"], back["refund_time"], back["refund_id"]) == (90, None, 884)
    assert back["refund_order_list"][0]["oid"] == "1001767"
    assert back["refund_out_goods_list"][0]["retail_price"] == "10"


async def test_zero_amounts_of_the_example_are_stored_and_shown_as_zero(
    harness: ErpHarness,
) -> None:
    await harness.push(example("push_data.json"))
    await harness.push(example("push_returngoods.json"), kind=REFUND)
    (line,) = (await harness.trade("AT201704210011"))["orders"]
    assert (line["sale_price"], line["total_item_fee"]) == ("0", "0")
    assert (line["status"], line["msgid"]) == ("TRADE_FINISHED", "149245")
    back = await harness.refund("TK1712070002")
    assert (back["direct_refund_amount"], back["actual_refund_amount"]) == ("0", "0")
    assert back["refund_order_list"][0]["market_price"] == "0.0000"
    (row,) = await harness.rows("refund")
    assert row["direct_refund_amount"] == "0"


async def test_a_repeat_in_another_message_writes_nothing(harness: ErpHarness) -> None:
    await harness.push(body(trade(tid="T1")))
    (again,) = await harness.push(body({**trade(tid="T1"), "msg_id": "149246"}))
    assert again.changed == 0


async def test_a_repeat_as_it_came_or_as_an_array_writes_nothing(harness: ErpHarness) -> None:
    one, two = example("push_data.json"), example("push_returngoods.json")
    await harness.push(one)
    await harness.push(two, kind=REFUND)
    before, rows = await harness.counts(), await everything(harness)
    (again,) = await harness.push(one)
    (again_too,) = await harness.push(two, kind=REFUND)
    assert (again.changed, again_too.changed) == (0, 0)
    assert await harness.counts() == before
    whole = json.loads(one)
    data, orders = whole["data"], whole["data"]["orders"]
    arrays = {
        **whole,
        "data": [
            {
                **data,
                "payment_lists": [data["payment_lists"]],
                "orders": [{**orders, "orders_items": [orders["orders_items"]]}],
            }
        ],
    }
    refunds = json.loads(two)
    single = {"data": [{"refunds": refunds["data"]["refunds"][0]}]}
    results = await harness.push(body(arrays), body([arrays]))
    results += await harness.push(body(single), body([single]), kind=REFUND)
    assert [r.changed for r in results] == [0, 0, 0, 0]
    assert await everything(harness) == rows
    assert (await harness.counts())["event"] == before["event"]


async def test_the_same_push_twice_in_one_batch_is_one(harness: ErpHarness) -> None:
    one = body(trade(tid="T1"))
    first, second = await harness.push(one, one)
    assert first.push_id == second.push_id
    assert (await harness.counts())["trade"] == 1


async def test_versions_of_one_trade_in_one_batch_are_applied_in_order(harness: ErpHarness) -> None:
    words = ("WAIT_BUYER_PAY", "WAIT_SELLER_SEND_GOODS", "WAIT_BUYER_PAY", "TRADE_FINISHED")
    await harness.push(*(body(trade(tid="T1", status=word)) for word in words))
    assert (await harness.trade("T1"))["status"] == "TRADE_FINISHED"
    (row,) = await harness.rows("trade")
    assert row["version"] == 4
    kept = [r["snapshot"]["trade"]["status"] for r in await harness.rows("history")]
    assert kept == list(words[:3])


async def test_an_ended_trade_never_goes_back_and_keeps_the_late_push_as_history(
    harness: ErpHarness,
) -> None:
    await harness.push(body(trade(tid="T1", status="TRADE_CLOSED")))
    (late,) = await harness.push(body(trade(tid="T1", status="WAIT_BUYER_PAY")))
    assert not late.HasField("refusal")
    assert (await harness.trade("T1"))["status"] == "TRADE_CLOSED"
    (kept,) = await harness.rows("history")
    assert (kept["late"], kept["snapshot"]["trade"]["status"]) == (True, "WAIT_BUYER_PAY")
    assert kept["push_id"] == late.push_id


async def test_lines_pushed_one_by_one_gather_under_their_trade(harness: ErpHarness) -> None:
    for oid in ("A", "B"):
        whole = trade(tid="T1")
        whole["data"]["orders"]["oid"] = oid
        await harness.push(body(whole))
    assert [line["oid"] for line in (await harness.trade("T1"))["orders"]] == ["A", "B"]
    both = [trade(tid="T2"), trade(tid="T2")]
    both[1]["data"]["orders"]["oid"] = "B"
    (result,) = await harness.push(body(both))
    assert result.changed == 4
    assert len((await harness.trade("T2"))["orders"]) == 2


async def test_a_changed_line_replaces_its_own_items_only(harness: ErpHarness) -> None:
    whole = trade(tid="T1")
    item = whole["data"]["orders"]["orders_items"]
    whole["data"]["orders"] = [
        {"oid": "A", "orders_items": [{**item, "bn": "a1"}, {**item, "bn": "a2"}]},
        {"oid": "B", "orders_items": item},
    ]
    await harness.push(body(whole))
    whole["data"]["orders"] = {"oid": "A", "orders_items": {**item, "bn": "a3"}}
    (result,) = await harness.push(body(whole))
    assert result.changed == 1
    lines = (await harness.trade("T1"))["orders"]
    assert [(line["oid"], line["bn"]) for line in lines] == [("A", "a3"), ("B", item["bn"])]


async def test_a_refund_counts_only_when_its_modified_is_not_older(harness: ErpHarness) -> None:
    times = ("2017-12-07 13:00:00", "2017-12-07 12:00:00", "2017-12-07 13:00:00")
    for number, modified in enumerate(times):
        one = body(refund(refund_no="R1", modified=modified, status=str(number)))
        await harness.push(one, kind=REFUND)
    assert (await harness.refund("R1"))["status"] == 2
    history = await harness.rows("history")
    assert [(h["late"], h["snapshot"]["refund"]["status"]) for h in history] == [
        (True, 1),
        (False, 0),
    ]


async def test_a_refund_without_modified_counts_and_keeps_the_stored_moment(
    harness: ErpHarness,
) -> None:
    await harness.push(body(refund(refund_no="R1", modified="2017-12-07 13:00:00")), kind=REFUND)
    await harness.push(body(refund(refund_no="R1", modified=None, status="1")), kind=REFUND)
    shown = await harness.refund("R1")
    assert (shown["status"], shown["modified"]) == (1, "2017-12-07 13:00:00")


async def test_one_wrong_refund_keeps_all_of_its_push_out_and_touches_no_other(
    harness: ErpHarness,
) -> None:
    wrong = refund(refund_no="R1")
    good = wrong["data"]["refunds"][0]
    wrong["data"]["refunds"] = [good, {**good, "refund_no": ""}]
    bad, fine = await harness.push(body(wrong), body(refund(refund_no="R3")), kind=REFUND)
    assert bad.refusal.metadata["where"] == "data.refunds[1].refund_no"
    assert bad.refusal.metadata["why"] == "missing"
    assert not fine.HasField("refusal")
    assert [r["refund_no"] for r in await harness.rows("refund")] == ["R3"]
    assert {(p["status"], p["push_id"]) for p in await harness.rows("push")} == {
        (90, bad.push_id),
        (0, fine.push_id),
    }


async def test_unknown_senders_are_refused_and_nothing_is_kept(harness: ErpHarness) -> None:
    (no,) = await harness.push(example("push_data.json"), sender="Other")
    assert (no.push_id, no.refusal.reason) == (0, "ERROR_REASON_SENDER_UNKNOWN")
    (no,) = await harness.push(example("push_returngoods.json"), kind=REFUND, sender="1")
    assert no.refusal.reason == "ERROR_REASON_SENDER_UNKNOWN"
    assert sum((await harness.counts()).values()) == 0


async def test_every_version_is_an_event_without_personal_data(harness: ErpHarness) -> None:
    await harness.push(example("push_data.json"))
    await harness.push(example("push_returngoods.json"), kind=REFUND)
    await harness.push(body(refund(status="4")), kind=REFUND)
    events = await harness.rows("event")
    assert [e["subject"].removeprefix("shoudan.events.erp.") for e in events] == [
        "trade.received",
        "refund.received",
        "refund.changed",
    ]
    told = events_pb2.DocumentReceived.FromString(events[2]["body"])
    assert (told.no, told.sender, told.status, told.version) == ("TK1712070002", "24647807", "4", 2)
    names = events_pb2.DocumentReceived.DESCRIPTOR.fields_by_name
    assert set(names) == {"id", "sender", "no", "status", "version"}


async def test_keys_nobody_documented_are_kept(harness: ErpHarness) -> None:
    whole = trade(tid="T1", new_key={"a": 1.50})
    whole["data"]["orders"]["colour"] = "red"
    await harness.push(body(whole))
    shown = await harness.trade("T1")
    assert (shown["extra"], shown["orders"][0]["extra"]) == (["new_key"], ["colour"])


async def test_two_processes_can_take_the_same_new_trade_at_once(harness: ErpHarness) -> None:
    import asyncio

    bodies = [body(trade(tid=f"T{n % 5}", msg_id=str(n))) for n in range(40)]
    whole = [json.loads(b) | {"msg_id": str(n)} for n, b in enumerate(bodies)]
    answers = await asyncio.gather(*(harness.push(body(one)) for one in whole))
    assert not any(r.HasField("refusal") for answer in answers for r in answer)
    counts = await harness.counts()
    assert (counts["trade"], counts["push"], counts["history"]) == (5, 40, 0)


def test_kinds_of_the_contract_are_those_of_the_tables() -> None:
    assert (TRADE, REFUND) == (1, 2)
