"""Promises: the documented pushes arrive whole, repeats write nothing, newer counts, ended stays ended."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from shoudan.erp.v1 import events_pb2
from tests.erp_ingest.conftest import NAME, Databases, Maps, open_desk, open_shards
from tests.erp_ingest.desk import REFUND, TRADE, Desk, body, example, refund, trade

TABLES = ("trade", "trade_line", "payment", "refund", "refund_line", "swap_line", "history")


@pytest.fixture(params=[1, 4], ids=["one shard", "four shards"])
async def desk(
    new_database: Databases, new_map: Maps, request: pytest.FixtureRequest
) -> AsyncIterator[Desk]:
    """The same promises with one shard and with four on two servers."""
    four = request.param == 4
    opened = open_shards(new_map, 4) if four else open_desk(await new_database(NAME))
    async with opened as made:
        yield made


async def everything(desk: Desk) -> dict[str, list[dict[str, object]]]:
    return {table: await desk.rows(table) for table in TABLES}


async def test_both_examples_of_the_document_arrive_whole(desk: Desk) -> None:
    (first,) = await desk.push(example("push_data.json"))
    (second,) = await desk.push(example("push_returngoods.json"), kind=REFUND)
    assert (first.push_id > 0, first.changed, first.HasField("refusal")) == (True, 3, False)
    assert (second.push_id > 0, second.changed, second.HasField("refusal")) == (True, 3, False)
    head = await desk.trade("AT201704210011")
    assert head["total_trade_fee"] == "18"
    assert head["created"] == "2017-04-21 13:52:40"
    assert head["receiver_mobile"] == "150****3861"
    assert head["orders"][0]["oid"] == "AD201704210025"
    assert head["orders"][0]["num"] == "1"
    back = await desk.refund("TK1712070002")
    assert (back["process_status"], back["refund_time"], back["refund_id"]) == (90, None, 884)
    assert back["refund_order_list"][0]["oid"] == "1001767"
    assert back["refund_out_goods_list"][0]["retail_price"] == "10"


async def test_zero_amounts_of_the_example_are_stored_and_shown_as_zero(desk: Desk) -> None:
    await desk.push(example("push_data.json"))
    await desk.push(example("push_returngoods.json"), kind=REFUND)
    (line,) = (await desk.trade("AT201704210011"))["orders"]
    assert (line["sale_price"], line["total_item_fee"]) == ("0", "0")
    assert (line["status"], line["msgid"]) == ("TRADE_FINISHED", "149245")
    back = await desk.refund("TK1712070002")
    assert (back["direct_refund_amount"], back["actual_refund_amount"]) == ("0", "0")
    assert back["refund_order_list"][0]["market_price"] == "0.0000"
    (row,) = await desk.rows("refund")
    assert row["direct_refund_amount"] == "0"


async def test_a_repeat_in_another_message_writes_nothing(desk: Desk) -> None:
    await desk.push(body(trade(tid="T1")))
    (again,) = await desk.push(body({**trade(tid="T1"), "msg_id": "149246"}))
    assert again.changed == 0


async def test_a_repeat_as_it_came_or_as_an_array_writes_nothing(desk: Desk) -> None:
    one, two = example("push_data.json"), example("push_returngoods.json")
    await desk.push(one)
    await desk.push(two, kind=REFUND)
    before, rows = await desk.counts(), await everything(desk)
    (again,) = await desk.push(one)
    (again_too,) = await desk.push(two, kind=REFUND)
    assert (again.changed, again_too.changed) == (0, 0)
    assert await desk.counts() == before
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
    results = await desk.push(body(arrays), body([arrays]))
    results += await desk.push(body(single), body([single]), kind=REFUND)
    assert [r.changed for r in results] == [0, 0, 0, 0]
    assert await everything(desk) == rows
    assert (await desk.counts())["event"] == before["event"]


async def test_the_same_push_twice_in_one_batch_is_one(desk: Desk) -> None:
    one = body(trade(tid="T1"))
    first, second = await desk.push(one, one)
    assert first.push_id == second.push_id
    assert (await desk.counts())["trade"] == 1


async def test_versions_of_one_trade_in_one_batch_are_applied_in_order(desk: Desk) -> None:
    words = ("WAIT_BUYER_PAY", "WAIT_SELLER_SEND_GOODS", "WAIT_BUYER_PAY", "TRADE_FINISHED")
    await desk.push(*(body(trade(tid="T1", status=word)) for word in words))
    assert (await desk.trade("T1"))["status"] == "TRADE_FINISHED"
    (row,) = await desk.rows("trade")
    assert row["version"] == 4
    kept = [r["snapshot"]["trade"]["status"] for r in await desk.rows("history")]
    assert kept == list(words[:3])


async def test_an_ended_trade_never_goes_back_and_keeps_the_late_push_as_history(
    desk: Desk,
) -> None:
    await desk.push(body(trade(tid="T1", status="TRADE_CLOSED")))
    (late,) = await desk.push(body(trade(tid="T1", status="WAIT_BUYER_PAY")))
    assert not late.HasField("refusal")
    assert (await desk.trade("T1"))["status"] == "TRADE_CLOSED"
    (kept,) = await desk.rows("history")
    assert (kept["late"], kept["snapshot"]["trade"]["status"]) == (True, "WAIT_BUYER_PAY")
    assert kept["push_id"] == late.push_id


async def test_lines_pushed_one_by_one_gather_under_their_trade(desk: Desk) -> None:
    for oid in ("A", "B"):
        whole = trade(tid="T1")
        whole["data"]["orders"]["oid"] = oid
        await desk.push(body(whole))
    assert [line["oid"] for line in (await desk.trade("T1"))["orders"]] == ["A", "B"]
    both = [trade(tid="T2"), trade(tid="T2")]
    both[1]["data"]["orders"]["oid"] = "B"
    (result,) = await desk.push(body(both))
    assert result.changed == 4
    assert len((await desk.trade("T2"))["orders"]) == 2


async def test_a_changed_line_replaces_its_own_items_only(desk: Desk) -> None:
    whole = trade(tid="T1")
    item = whole["data"]["orders"]["orders_items"]
    whole["data"]["orders"] = [
        {"oid": "A", "orders_items": [{**item, "bn": "a1"}, {**item, "bn": "a2"}]},
        {"oid": "B", "orders_items": item},
    ]
    await desk.push(body(whole))
    whole["data"]["orders"] = {"oid": "A", "orders_items": {**item, "bn": "a3"}}
    (result,) = await desk.push(body(whole))
    assert result.changed == 1
    lines = (await desk.trade("T1"))["orders"]
    assert [(line["oid"], line["bn"]) for line in lines] == [("A", "a3"), ("B", item["bn"])]


async def test_a_refund_counts_only_when_its_modified_is_not_older(desk: Desk) -> None:
    times = ("2017-12-07 13:00:00", "2017-12-07 12:00:00", "2017-12-07 13:00:00")
    for number, modified in enumerate(times):
        one = body(refund(refund_no="R1", modified=modified, status=str(number)))
        await desk.push(one, kind=REFUND)
    assert (await desk.refund("R1"))["status"] == 2
    history = await desk.rows("history")
    assert [(h["late"], h["snapshot"]["refund"]["status"]) for h in history] == [
        (True, 1),
        (False, 0),
    ]


async def test_a_refund_without_modified_counts_and_keeps_the_stored_moment(desk: Desk) -> None:
    await desk.push(body(refund(refund_no="R1", modified="2017-12-07 13:00:00")), kind=REFUND)
    await desk.push(body(refund(refund_no="R1", modified=None, status="1")), kind=REFUND)
    shown = await desk.refund("R1")
    assert (shown["status"], shown["modified"]) == (1, "2017-12-07 13:00:00")


async def test_one_wrong_refund_keeps_all_of_its_push_out_and_touches_no_other(
    desk: Desk,
) -> None:
    wrong = refund(refund_no="R1")
    good = wrong["data"]["refunds"][0]
    wrong["data"]["refunds"] = [good, {**good, "refund_no": ""}]
    bad, fine = await desk.push(body(wrong), body(refund(refund_no="R3")), kind=REFUND)
    assert bad.refusal.metadata["where"] == "data.refunds[1].refund_no"
    assert bad.refusal.metadata["why"] == "missing"
    assert not fine.HasField("refusal")
    assert [r["refund_no"] for r in await desk.rows("refund")] == ["R3"]
    assert {(p["status"], p["push_id"]) for p in await desk.rows("push")} == {
        (90, bad.push_id),
        (0, fine.push_id),
    }


async def test_unknown_senders_are_refused_and_nothing_is_kept(desk: Desk) -> None:
    (no,) = await desk.push(example("push_data.json"), sender="Other")
    assert (no.push_id, no.refusal.reason) == (0, "ERROR_REASON_SENDER_UNKNOWN")
    (no,) = await desk.push(example("push_returngoods.json"), kind=REFUND, sender="1")
    assert no.refusal.reason == "ERROR_REASON_SENDER_UNKNOWN"
    assert sum((await desk.counts()).values()) == 0


async def test_every_version_is_an_event_without_personal_data(desk: Desk) -> None:
    await desk.push(example("push_data.json"))
    await desk.push(example("push_returngoods.json"), kind=REFUND)
    await desk.push(body(refund(status="4")), kind=REFUND)
    events = await desk.rows("event")
    assert [e["subject"].removeprefix("shoudan.events.erp.") for e in events] == [
        "trade.received",
        "refund.received",
        "refund.changed",
    ]
    told = events_pb2.DocumentReceived.FromString(events[2]["body"])
    assert (told.no, told.sender, told.status, told.version) == ("TK1712070002", "24647807", "4", 2)
    names = events_pb2.DocumentReceived.DESCRIPTOR.fields_by_name
    assert set(names) == {"id", "sender", "no", "status", "version"}


async def test_keys_nobody_documented_are_kept(desk: Desk) -> None:
    whole = trade(tid="T1", new_key={"a": 1.50})
    whole["data"]["orders"]["colour"] = "red"
    await desk.push(body(whole))
    shown = await desk.trade("T1")
    assert (shown["extra"], shown["orders"][0]["extra"]) == (["new_key"], ["colour"])


async def test_two_processes_can_take_the_same_new_trade_at_once(desk: Desk) -> None:
    import asyncio

    bodies = [body(trade(tid=f"T{n % 5}", msg_id=str(n))) for n in range(40)]
    whole = [json.loads(b) | {"msg_id": str(n)} for n, b in enumerate(bodies)]
    answers = await asyncio.gather(*(desk.push(body(one)) for one in whole))
    assert not any(r.HasField("refusal") for answer in answers for r in answer)
    counts = await desk.counts()
    assert (counts["trade"], counts["push"], counts["history"]) == (5, 40, 0)


def test_kinds_of_the_contract_are_those_of_the_tables() -> None:
    assert (TRADE, REFUND) == (1, 2)
