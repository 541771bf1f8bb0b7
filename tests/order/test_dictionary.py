"""Promises of the data dictionary: every documented type, a name for every value, areas as catalogued."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import grpc
import pytest

from shoudan.order.v1 import dictionary_service_pb2 as pb
from shoudan.order.v1 import dictionary_service_pb2_grpc as rpc
from shoudan.pay.v1 import ledger_service_pb2 as pay
from shoudan_order import dictionary, states
from tests.order.harness import OrderHarness, catalogue_pb

# The types the web pages of the original ask for (000 dds).
DOCUMENTED = (
    *("Status", "CarrierNo", "ServiceClass", "InvoiceType", "ChangeType", "TradeType", "CanRefund"),
    *("CanSplitOrder", "CanQuery", "DeliveryStatus", "UpPaymentStatus", "NotifyStatus"),
    *("NotifyType", "OrderStatus", "PaymentStatus", "DeliveryBindStatus", "OrderFailRefundStatus"),
    *("RefundStatus", "RefundType", "UpReturnStatus", "DownRefundStatus", "RefundNotifyStatus"),
    *("ReturnStatus", "UpRefundStatus", "CompleteUpPay", "CompleteUpRefund", "IsRefund"),
    *("DeliveryPause", "AuditStatus", "AuditType", "TaskStatus", "ResultSource", "Groups"),
    *("LineId", "DownChannelNo", "UpChannelNo", "ShelfId", "AccountId"),
)
CANTONS = [
    catalogue_pb.Canton(canton_code="CQ", chinese_name="重庆", spell="chongqing", grade=1),
    catalogue_pb.Canton(canton_code="SC", chinese_name="四川", spell="sichuan", grade=1),
    catalogue_pb.Canton(canton_code="CQS", chinese_name="重庆市", grade=2, parent="CQ"),
    catalogue_pb.Canton(canton_code="CD", chinese_name="成都", grade=2, parent="SC"),
    catalogue_pb.Canton(canton_code="YB", chinese_name="渝北区", grade=3, parent="CQS"),
]


@pytest.fixture
async def dic(harness: OrderHarness) -> Any:
    """A client of the dictionary."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        yield rpc.DictionaryServiceStub(channel)


async def rows(dic: Any, dic_type: str) -> dict[str, str]:
    answer = await dic.GetDictionary(pb.GetDictionaryRequest(dic_type=dic_type))
    assert [one.sort_no for one in answer.rows] == list(range(1, len(answer.rows) + 1))
    assert {one.type for one in answer.rows} <= {dic_type}
    return {one.value: one.name for one in answer.rows}


async def areas(dic: Any, **asked: Any) -> list[str]:
    answer = await dic.ListAreas(pb.ListAreasRequest(**asked))
    return [one.canton_code for one in answer.areas]


async def test_every_documented_type_has_named_rows(harness: OrderHarness, dic: Any) -> None:
    for dic_type in DOCUMENTED:
        found = await rows(dic, dic_type)
        assert found, dic_type
        assert all(found.values()), dic_type


def test_every_status_of_the_order_service_is_in_the_dictionary() -> None:
    told = {(word.value, word.english) for words in dictionary.WORDS.values() for word in words}
    enums = [
        one
        for one in vars(states).values()
        if isinstance(one, type) and issubclass(one, IntEnum) and one.__module__ == states.__name__
    ]
    kept = {(str(one.value), one.name.lower()) for enum in enums for one in enum}
    assert kept <= told


def test_a_value_without_a_name_is_found_when_the_service_starts() -> None:
    with pytest.raises(ValueError, match="values without names"):
        dictionary._named(states.NotifyType, "ORDER=订单通知")


async def test_rows_of_the_catalogue_are_those_enabled(harness: OrderHarness, dic: Any) -> None:
    await harness.apply(
        down_channels=[catalogue_pb.DownChannel(channel_no="shut", channel_name="停用")]
    )
    found = await rows(dic, "DownChannelNo")
    assert "test" in found
    assert "shut" not in found


async def test_a_locked_account_is_not_asked_for(harness: OrderHarness, dic: Any) -> None:
    assert await rows(dic, "AccountId") == {"86001": "测试渠道账户"}
    (asked,) = harness.ledger.listed
    assert (asked.ident, asked.status) == ("oms", 0)


async def test_areas_by_grade_and_parent_and_as_a_dictionary(
    harness: OrderHarness, dic: Any
) -> None:
    await harness.apply(cantons=CANTONS)
    assert await areas(dic) == ["CQ", "SC", "CD", "CQS", "YB"]
    assert await areas(dic, grade=2) == ["CD", "CQS"]
    assert await areas(dic, grade=2, parent_code="CQ") == ["CQS"]
    assert await areas(dic, grade=1, parent_code="CQ") == []
    assert await rows(dic, "province") == {"CQ": "重庆", "SC": "四川"}
    assert await rows(dic, "city") == {"CD": "成都", "CQS": "重庆市"}
    assert len(await rows(dic, "region")) == 5


async def test_a_type_nobody_knows_has_no_rows_and_an_empty_one_is_refused(
    harness: OrderHarness, dic: Any
) -> None:
    assert await rows(dic, "Nothing") == {}
    for asked in ("", "x" * 33):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await dic.GetDictionary(pb.GetDictionaryRequest(dic_type=asked))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_contract_of_the_ledger_is_whole_in_the_dictionary() -> None:
    stored = {str(number) for number in pay.ChangeType.values() if number}
    assert {word.value for word in dictionary.WORDS["ChangeType"]} == stored
