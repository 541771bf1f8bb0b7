"""Nonces are used up in the transaction of the write, each call alone, at no more round trips."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from shoudan.order.v1 import order_service_pb2 as pb
from shoudan_kit.db.text_statements import watched
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.embedded.postgres import Postgres
from shoudan_order import nonces
from shoudan_order.store import nonces as store
from tests.order.harness import YUAN, Inbox, OrderHarness, running
from tests.order.test_refunds import delivered

calls = itertools.count(1)


def nonce(text: str, call_id: int = 0) -> pb.CallNonce:
    return pb.CallNonce(nonce=text.ljust(16, "n"), call_id=call_id or next(calls), keep_s=600)


def outcome(result: Any) -> str:
    return result.refusal.reason.removeprefix("ERROR_REASON_") if result.refusal.reason else "taken"


async def kept(harness: OrderHarness) -> set[str]:
    rows = await harness.sql("SELECT nonce FROM oms_used_nonce")
    return {row.nonce.rstrip("n") for row in rows}


async def test_each_call_of_a_batch_answers_for_its_own_nonce(harness: OrderHarness) -> None:
    await harness.create(harness.new(nonce=nonce("old")))
    batch = [
        harness.new(nonce=nonce("a")),
        harness.new(nonce=nonce("old")),
        harness.new(nonce=nonce("b"), amount_micros=YUAN),
        harness.new(),
        harness.new(nonce=nonce("a")),
        harness.new(nonce=nonce("c")),
    ]
    results = await harness.create(*batch)
    assert [outcome(one) for one in results] == [
        "taken", "NONCE_USED", "PRICE_DIFFERS", "taken", "NONCE_USED", "taken",
    ]  # fmt: skip
    assert await kept(harness) == {"old", "a", "b", "c"}
    stored = {r.request_no for r in await harness.sql("SELECT request_no FROM oms_order_info")}
    assert stored >= {batch[0].request_no, batch[3].request_no, batch[5].request_no}
    assert not stored & {batch[1].request_no, batch[2].request_no, batch[4].request_no}


async def test_a_replay_beside_the_same_request_signed_anew_stops_nothing(
    harness: OrderHarness,
) -> None:
    await harness.create(harness.new(nonce=nonce("spent")))
    replay = harness.new(nonce=nonce("spent"))
    anew = pb.NewOrder()
    anew.CopyFrom(replay)
    anew.nonce.CopyFrom(nonce("anew"))
    anew.num = 2
    anew.amount_micros *= 2
    refused, taken = await harness.create(replay, anew)
    assert (outcome(refused), outcome(taken)) == ("NONCE_USED", "taken")
    assert not taken.existed
    whole = await harness.get(taken.order.order_id)
    assert whole.request.num == anew.num


async def test_the_same_call_sent_again_is_no_replay(harness: OrderHarness) -> None:
    new = harness.new(nonce=nonce("again"))
    (first,), (second,) = await harness.create(new), await harness.create(new)
    assert first.order.order_id == second.order.order_id
    assert (first.existed, second.existed) == (False, True)
    new.nonce.call_id = next(calls)
    (third,) = await harness.create(new)
    assert outcome(third) == "NONCE_USED"


async def test_an_unreadable_nonce_is_refused_alone(harness: OrderHarness) -> None:
    bad = [
        pb.CallNonce(nonce="short", call_id=1, keep_s=600),
        pb.CallNonce(nonce="n" * 65, call_id=1, keep_s=600),
        pb.CallNonce(nonce="n" * 15 + "\0", call_id=1, keep_s=600),
        pb.CallNonce(nonce="n" * 16, keep_s=600),
        pb.CallNonce(nonce="n" * 16, call_id=1),
        pb.CallNonce(nonce="n" * 16, call_id=1, keep_s=10**6),
    ]
    results = await harness.create(*(harness.new(nonce=one) for one in bad), harness.new())
    assert [outcome(one) for one in results] == ["FIELD_INVALID"] * len(bad) + ["taken"]


async def test_refunds_use_nonces_up_too(harness: OrderHarness) -> None:
    order = await delivered(harness)
    key = order.request.request_no

    async def ask(refund_no: str, used: pb.CallNonce) -> Any:
        new = pb.NewRefund(
            channel_no="test",
            request_no=key,
            refund_no=refund_no,
            refund_num=1,
            notify_url=harness.inbox.url,
            type=pb.REFUND_TYPE_GENERAL,
            nonce=used,
        )
        answer = await harness.orders.CreateRefunds(pb.CreateRefundsRequest(refunds=[new]))
        return answer.results[0]

    first = nonce("refund")
    assert outcome(await ask("f1", first)) == "taken"
    assert (await ask("f1", first)).existed, "the same call sent again"
    assert outcome(await ask("f1", nonce("refund"))) == "NONCE_USED"
    assert (await ask("f1", nonce("refund2"))).existed, "signed anew"


async def test_expired_nonces_are_forgotten_and_may_be_used_again(
    harness: OrderHarness, postgres: Postgres
) -> None:
    await harness.create(*(harness.new(nonce=nonce(f"x{i}")) for i in range(3)))
    await harness.turn_clock(postgres, 601)
    (again,) = await harness.create(harness.new(nonce=nonce("x0")))
    assert outcome(again) == "taken"
    async with harness.process.app.work("test") as work:
        assert not await store.forget_expired(work.db)
    assert await kept(harness) == {"x0"}


@pytest.fixture
async def idle(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], inbox: Inbox
) -> AsyncIterator[OrderHarness]:
    """An order service that only takes orders: what a batch sends can be counted."""
    roles = frozenset({"rpc"})
    async with running(await new_database("order"), inbox, roles=roles) as made:
        yield made


async def statements(harness: OrderHarness, send: Callable[[], Awaitable[Any]]) -> list[str]:
    """The first words of what one batch sends to the database on tables of its own."""
    seen: list[str] = []
    with watched(seen.append):
        await send()
    return [" ".join(one.split()[:6]) for one in seen if "oms_" in one or "INSERT" in one]


async def test_nonces_add_no_statement_to_a_batch_of_orders(idle: OrderHarness) -> None:
    plain = [idle.new() for _ in range(100)]
    signed = [idle.new(nonce=nonce(f"s{i}")) for i in range(100)]
    without = await statements(idle, lambda: idle.create(*plain))
    beside = await statements(idle, lambda: idle.create(*signed))
    assert len(beside) == len(without), (beside, without)
    assert len(await kept(idle)) == 100


async def test_nonces_add_one_statement_to_a_batch_of_refunds(idle: OrderHarness) -> None:
    def refunds(begin: int, **more: Any) -> pb.CreateRefundsRequest:
        news = [
            pb.NewRefund(
                channel_no="test",
                request_no="none",
                refund_no=f"f{begin + i}",
                refund_num=1,
                type=pb.REFUND_TYPE_GENERAL,
                nonce=nonce(f"r{begin + i}") if more else None,
            )
            for i in range(50)
        ]
        return pb.CreateRefundsRequest(refunds=news)

    plain, signed = refunds(0), refunds(50, signed=True)
    without = await statements(idle, lambda: idle.orders.CreateRefunds(plain))
    beside = await statements(idle, lambda: idle.orders.CreateRefunds(signed))
    assert len(beside) == len(without) + 1, (beside, without)
    assert len(await kept(idle)) == 50


def test_a_nonce_repeated_in_a_batch_is_used_by_the_first() -> None:
    class New:
        def __init__(self, text: str, call_id: int) -> None:
            self.nonce = store.CallNonce("test", text, call_id, 600)

    news = [New("a", 1), New("a", 2), New("b", 3), New("a", 1)]
    fresh, repeated = nonces.distinct(news)
    assert [one.call_id for one in fresh] == [1, 3]
    assert repeated == {2}
