"""Promises of posting: signs, repeats, limits, refunds, reversals, groups - through gRPC on PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest

from shoudan.pay.v1 import ledger_service_pb2 as pb
from tests.pay.ledger.harness import (
    YUAN,
    LedgerHarness,
    deduct,
    posting,
    reason,
    refund,
    refusal_of,
    reverse_add,
)


async def test_an_add_and_a_deduct_leave_the_difference(harness: LedgerHarness) -> None:
    key = await harness.account(100 * YUAN)
    made = await harness.post(deduct(key, 30 * YUAN, "o1"))
    assert (made.record.amount_micros, made.record.balance_micros) == (-30 * YUAN, 70 * YUAN)
    assert made.record.seq == 2
    assert made.record.account == key
    assert not made.existed


async def test_a_repeat_gives_the_first_record(harness: LedgerHarness) -> None:
    key = await harness.account(100 * YUAN)
    first = await harness.post(deduct(key, 30 * YUAN, "o1"))
    again = await harness.post(deduct(key, 30 * YUAN, "o1"))
    assert again.existed
    assert again.record == first.record
    assert await harness.balance(key) == 70 * YUAN


async def test_repeats_in_one_batch_post_once(harness: LedgerHarness) -> None:
    key = await harness.account(100 * YUAN)
    results = await harness.groups(*[[deduct(key, 30 * YUAN, "o1")] for _ in range(3)])
    assert [one.existed for one in results] == [False, True, True]
    assert await harness.balance(key) == 70 * YUAN


async def test_a_group_is_made_whole_or_not_at_all(harness: LedgerHarness) -> None:
    key, poor = await harness.account(100 * YUAN), await harness.account()
    results = await harness.groups(
        [deduct(key, YUAN, "g1"), deduct(poor, YUAN, "g1")],
        [deduct(key, 100 * YUAN, "g2")],
    )
    assert reason(results[0]) == "BALANCE_TOO_LOW"
    assert results[0].metadata["available_micros"] == "0"
    assert results[1].records[0].balance_micros == 0
    assert len(await harness.records(key)) == 2


async def test_an_order_moves_its_three_accounts_as_one(harness: LedgerHarness) -> None:
    channel = await harness.account(1000 * YUAN)
    commission = await harness.account(groups="down_commission")
    service = await harness.account(groups="down_service")
    (result,) = await harness.groups(
        [
            deduct(channel, 200 * YUAN, "o9"),
            deduct(commission, -2 * YUAN, "o9", trade_type=pb.TRADE_TYPE_COMMISSION),
            deduct(service, YUAN, "o9", trade_type=pb.TRADE_TYPE_SERVICE),
        ]
    )
    assert [r.balance_micros for r in result.records] == [800 * YUAN, 2 * YUAN, -YUAN]


async def test_only_down_channel_and_foreign_groups_are_limited(harness: LedgerHarness) -> None:
    for groups in ("up_channel", "up_commission", "up_service", "down_commission"):
        key = await harness.account(groups=groups)
        assert (await harness.post(deduct(key, YUAN))).record.balance_micros == -YUAN
    for groups in ("down_channel", "member"):
        key = await harness.account(groups=groups)
        assert reason(await refusal_of(harness.post(deduct(key, YUAN)))) == "BALANCE_TOO_LOW"


async def test_credit_is_spent_to_the_last_step_and_no_further(harness: LedgerHarness) -> None:
    key = await harness.account(credit=50 * YUAN)
    assert (await harness.post(deduct(key, 50 * YUAN))).record.balance_micros == -50 * YUAN
    assert reason(await refusal_of(harness.post(deduct(key, 10)))) == "BALANCE_TOO_LOW"


@pytest.mark.parametrize(
    "micros", [0, -10, 5, 2**53 + 8, -(2**53) - 8], ids=["0", "<0", "fine", ">2^53", "<-2^53"]
)
async def test_an_amount_that_is_none_is_refused(harness: LedgerHarness, micros: int) -> None:
    key = await harness.account(YUAN)
    refused = await refusal_of(harness.post(posting(key, micros)))
    assert reason(refused) == "AMOUNT_INVALID"
    assert len(await harness.records(key)) == 1


async def test_a_balance_beyond_what_numbers_hold_is_refused(harness: LedgerHarness) -> None:
    key = await harness.account(2**53 - 2)
    assert reason(await refusal_of(harness.post(posting(key, 10)))) == "AMOUNT_INVALID"


async def test_an_unknown_account_is_refused(harness: LedgerHarness) -> None:
    nobody = pb.AccountKey(ident="oms", groups="down_channel", eid="nobody")
    assert reason(await refusal_of(harness.post(posting(nobody, YUAN)))) == "ACCOUNT_NOT_FOUND"


async def test_a_platform_account_cannot_be_posted_to(harness: LedgerHarness) -> None:
    await harness.account()
    platform = pb.AccountKey(ident="oms", groups="platform", eid="down_channel")
    assert reason(await refusal_of(harness.post(posting(platform, YUAN)))) == "FIELD_INVALID"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("trade_no", ""),
        ("trade_no", "x" * 65),
        ("trade_no", "a\x00b"),
        ("memo", "a\x1b[2Jb"),
        ("memo", "x" * 1025),
        ("ext_no", "quotes nothing"),
        ("change_type", 9),
        ("trade_type", 5),
    ],
)
async def test_a_malformed_posting_is_refused_alone(
    harness: LedgerHarness, field: str, value: object
) -> None:
    key = await harness.account()
    bad = posting(key, YUAN)
    setattr(bad, field, value)
    results = await harness.groups([posting(key, YUAN)], [bad], [posting(key, YUAN)])
    assert reason(results[1]) == "FIELD_INVALID"
    assert results[1].metadata["field"] == field
    assert await harness.balance(key) == 2 * YUAN


async def test_refunds_may_be_partial_and_repeated_up_to_the_deduct(harness: LedgerHarness) -> None:
    key = await harness.account(100 * YUAN)
    await harness.post(deduct(key, 100 * YUAN, "o1"))
    await harness.post(refund(key, 60 * YUAN, "o1", "r1"))
    await harness.post(refund(key, 30 * YUAN, "o1", "r2"))
    refused = await refusal_of(harness.post(refund(key, 20 * YUAN, "o1", "r3")))
    assert reason(refused) == "REFUND_TOO_HIGH"
    assert refused.metadata["refunded_micros"] == str(90 * YUAN)
    await harness.post(refund(key, 10 * YUAN, "o1", "r3"))
    assert await harness.balance(key) == 100 * YUAN


async def test_refunds_in_one_batch_share_what_is_left(harness: LedgerHarness) -> None:
    key = await harness.account(100 * YUAN)
    results = await harness.groups(
        [deduct(key, 50 * YUAN, "o1")],
        [refund(key, 30 * YUAN, "o1", "r1")],
        [refund(key, 30 * YUAN, "o1", "r2")],
        [refund(key, 20 * YUAN, "o1", "r3")],
    )
    assert reason(results[2]) == "REFUND_TOO_HIGH"
    assert results[3].records[0].balance_micros == 100 * YUAN


async def test_a_refund_of_an_unknown_deduct_is_refused(harness: LedgerHarness) -> None:
    key = await harness.account(YUAN)
    refused = await refusal_of(harness.post(refund(key, YUAN, "nothing")))
    assert (reason(refused), refused.metadata["ext_no"]) == ("RECORD_NOT_FOUND", "nothing")


async def test_a_refund_takes_back_a_commission_with_the_opposite_sign(
    harness: LedgerHarness,
) -> None:
    key = await harness.account(groups="down_commission")
    kind = {"trade_type": pb.TRADE_TYPE_COMMISSION}
    await harness.post(deduct(key, -2 * YUAN, "o1", **kind))
    wrong = await refusal_of(harness.post(refund(key, 2 * YUAN, "o1", "r1", **kind)))
    assert reason(wrong) == "AMOUNT_INVALID"
    await harness.post(refund(key, -2 * YUAN, "o1", "r1", **kind))
    assert await harness.balance(key) == 0


async def test_a_reversal_is_whole_and_once(harness: LedgerHarness) -> None:
    key = await harness.account()
    await harness.post(posting(key, 80 * YUAN, "a1"))
    part = await refusal_of(harness.post(reverse_add(key, "a1", -30 * YUAN)))
    assert reason(part) == "AMOUNT_INVALID"
    first = await harness.post(reverse_add(key, "a1", trade_no="x1"))
    assert first.record.amount_micros == -80 * YUAN
    assert (await harness.post(reverse_add(key, "a1", trade_no="x1"))).existed
    other = await refusal_of(harness.post(reverse_add(key, "a1", trade_no="x2")))
    assert reason(other) == "ALREADY_REVERSED"


async def test_a_reversal_of_what_was_spent_is_refused(harness: LedgerHarness) -> None:
    key = await harness.account()
    await harness.post(posting(key, 80 * YUAN, "a1"))
    await harness.post(deduct(key, 10 * YUAN))
    refused = await refusal_of(harness.post(reverse_add(key, "a1")))
    assert reason(refused) == "BALANCE_TOO_LOW"


async def test_a_drawing_is_reversed_too(harness: LedgerHarness) -> None:
    key = await harness.account(80 * YUAN)
    await harness.post(posting(key, -50 * YUAN, "d1", change_type=pb.CHANGE_TYPE_DRAWING))
    back = posting(
        key,
        0,
        ext_no="d1",
        change_type=pb.CHANGE_TYPE_DRAWING,
        trade_type=pb.TRADE_TYPE_REVERSE,
    )
    assert (await harness.post(back)).record.balance_micros == 80 * YUAN


async def test_flats_move_either_way_and_keep_to_the_limit(harness: LedgerHarness) -> None:
    key = await harness.account(10 * YUAN)
    flat = {"trade_type": pb.TRADE_TYPE_FLAT}
    await harness.post(posting(key, -4 * YUAN, change_type=pb.CHANGE_TYPE_TRADE_FLAT, **flat))
    await harness.post(posting(key, 5 * YUAN, change_type=pb.CHANGE_TYPE_BALANCE_FLAT, **flat))
    low = posting(key, -12 * YUAN, change_type=pb.CHANGE_TYPE_BALANCE_FLAT, **flat)
    assert reason(await refusal_of(harness.post(low))) == "BALANCE_TOO_LOW"
    assert await harness.balance(key) == 11 * YUAN


async def test_a_void_closes_a_key_that_was_not_used(harness: LedgerHarness) -> None:
    key = await harness.account(100 * YUAN)
    void = deduct(key, 0, "late", void=True)
    made = await harness.post(void)
    assert (made.record.amount_micros, made.existed) == (0, False)
    assert (await harness.post(void)).existed
    late = await refusal_of(harness.post(deduct(key, 5 * YUAN, "late")))
    assert reason(late) == "POSTING_DIFFERS"
    assert await harness.balance(key) == 100 * YUAN


async def test_a_void_that_comes_too_late_tells_what_was_posted(harness: LedgerHarness) -> None:
    key = await harness.account(100 * YUAN)
    await harness.post(deduct(key, 5 * YUAN, "early"))
    told = await harness.post(deduct(key, 0, "early", void=True))
    assert (told.existed, told.record.amount_micros) == (True, -5 * YUAN)


async def test_many_at_once_on_one_account_leave_no_hole_and_no_debt(
    harness: LedgerHarness,
) -> None:
    key = await harness.account(100 * YUAN)
    answers = await asyncio.gather(
        *[harness.post(deduct(key, YUAN)) for _ in range(150)], return_exceptions=True
    )
    refused = [one for one in answers if isinstance(one, Exception)]
    assert len(refused) == 50
    assert await harness.balance(key) == 0
    records = await harness.records(key, page_size=1000)
    assert [r.seq for r in records] == list(range(101, 0, -1))
    assert await harness.findings() == []
