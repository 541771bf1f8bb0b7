"""Cards are shown to their partner page by page, to operators a few at a time, and to nobody once void."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from shoudan.delivery.v1 import card_service_pb2 as pb
from shoudan.delivery.v1 import card_service_pb2_grpc as stubs
from shoudan_fakes import cards as sandbox_cards
from shoudan_kit.config import Secret
from shoudan_kit.rpc.refusal import refused_from_rpc
from tests.delivery.conftest import House, key
from tests.delivery.conftest import house as started
from tests.delivery.test_cards import K1, K2

CLASS, RETURN = 20, 21
ISSUED, REVEALED, REDEEMED, VOID = 30, 40, 50, 90
SUCCEEDED, FAILED = 0, 90


class Cards:
    """CardService as the order service and operators call it."""

    def __init__(self, house: House, channel: aio.Channel) -> None:
        self.house, self.stub = house, stubs.CardServiceStub(channel)

    async def bought(self, num: int = 3, tail: str = "0000", **changed: Any) -> tuple[int, str]:
        """A delivery of cards that has succeeded: its owner's number and the supplier's."""
        (number,) = await self.house.send(
            f"10001100000{tail}", service_class=CLASS, num=num, **changed
        )
        return number, (await self.house.ends(number, CLASS)).order_no

    async def fetch(self, number: int, page_size: int = 0, token: str = "") -> Any:
        request = pb.FetchCardsRequest(
            keys=[key(number, CLASS)], page_size=page_size, page_token=token, order_id="1"
        )
        return await self.stub.FetchCards(request)

    async def notified(self, number: int) -> Any:
        request = pb.FetchCardsRequest(keys=[key(number, CLASS)], order_id="1", in_notify=True)
        return await self.stub.FetchCards(request)

    async def listed(self, **wanted: Any) -> list[Any]:
        return list((await self.stub.ListCards(pb.ListCardsRequest(**wanted))).cards)

    async def give_back(self, number: int, num: int, tail: str = "0000") -> int:
        (returned,) = await self.house.send(
            f"10001100000{tail}",
            service_class=RETURN,
            num=num,
            params={"delivery_id": str(number)},
        )
        return returned

    async def states(self, number: int) -> list[str]:
        return [one.status for one in (await self.fetch(number)).cards]

    async def refused(self, call: Any) -> str:
        with pytest.raises(grpc.RpcError) as error:
            await call
        found = refused_from_rpc(error.value)
        assert found is not None, error.value
        return found.reason.removeprefix("ERROR_REASON_")


@pytest.fixture
async def cards(running: House) -> AsyncIterator[Cards]:
    for service_class in (CLASS, RETURN):
        await running.apply(service_class=service_class, delivers_cards=True)
    async with aio.insecure_channel(f"127.0.0.1:{running.process.port}") as channel:
        yield Cards(running, channel)


async def test_cards_are_fetched_page_by_page_and_again_and_each_fetch_is_recorded(
    cards: Cards,
) -> None:
    number, order_no = await cards.bought(3)
    first = await cards.fetch(number, 2)
    second = await cards.fetch(number, 2, first.next_page_token)
    assert second.next_page_token == ""
    got = [*first.cards, *second.cards]
    wanted = [sandbox_cards.card(order_no, at) for at in (1, 2, 3)]
    assert [(one.number, one.password) for one in got] == [
        (one["number"], one["password"]) for one in wanted
    ]
    assert {one.status for one in got} == {"revealed"}
    assert list((await cards.fetch(number)).cards) == got
    rows = await cards.house.rows(
        "SELECT reader, cards, order_id, coop_id FROM vds_card_fetch ORDER BY fetch_id"
    )
    assert [tuple(row) for row in rows] == [("partner", n, "1", "down") for n in (2, 1, 3)]
    other = pb.FetchCardsRequest(keys=[key(number + 1, CLASS)])
    assert not (await cards.stub.FetchCards(other)).cards
    for wrong in ({"page_size": 101}, {"page_size": -1}, {"page_token": "x"}, {"page_token": "1-"}):
        request = pb.FetchCardsRequest(keys=[key(number, CLASS)], **wrong)
        assert await cards.refused(cards.stub.FetchCards(request)) == "FIELD_INVALID"


async def test_cards_that_go_along_with_a_notify_are_revealed_and_recorded_as_such(
    cards: Cards,
) -> None:
    number, _ = await cards.bought(2)
    assert [one.status for one in (await cards.notified(number)).cards] == ["revealed"] * 2
    rows = await cards.house.rows("SELECT reader, cards, remote_ip FROM vds_card_fetch")
    assert [tuple(row) for row in rows] == [("notify", 2, "")]
    assert {row[0] for row in await cards.house.rows("SELECT status FROM vds_card")} == {REVEALED}


async def test_the_cards_of_several_notifies_are_one_call_and_each_order_stands_by_itself(
    cards: Cards,
) -> None:
    bought = [await cards.bought(num) for num in (2, 1, 3)]
    async with cards.house.process.app.work("test") as work:
        await work.db.exec_driver_sql(
            f"UPDATE vds_card SET sealed = '\\x046c6f7374' WHERE order_no = {bought[1][1]}"
        )
    orders = [
        pb.FetchNotifyCardsRequest.Order(keys=[key(number, CLASS)], order_id=str(at))
        for at, (number, _) in enumerate(bought)
    ]
    orders.append(pb.FetchNotifyCardsRequest.Order(keys=[key(10**6, CLASS)], order_id="none"))
    request = pb.FetchNotifyCardsRequest(orders=orders)
    first, lost, third, none = (await cards.stub.FetchNotifyCards(request)).results
    for result, (_, order_no), num in ((first, bought[0], 2), (third, bought[2], 3)):
        assert [one.number for one in result.page.cards] == [
            sandbox_cards.card(order_no, at)["number"] for at in range(1, num + 1)
        ]
    assert lost.refusal.reason == "ERROR_REASON_CARDS_UNREADABLE"
    assert list(none.page.cards) == []
    rows = await cards.house.rows("SELECT order_id, cards, reader FROM vds_card_fetch")
    assert {tuple(row) for row in rows} == {("0", 2, "notify"), ("2", 3, "notify")}
    states = await cards.house.rows("SELECT status FROM vds_card ORDER BY order_no")
    assert [row.status for row in states].count(ISSUED) == 1, "nothing of the second was shown"
    assert (await cards.stub.FetchNotifyCards(pb.FetchNotifyCardsRequest())).results == []
    many = pb.FetchNotifyCardsRequest(orders=[orders[0]] * 51)
    assert await cards.refused(cards.stub.FetchNotifyCards(many)) == "FIELD_INVALID"


async def test_operators_see_cards_masked_and_reveal_a_few_with_a_reason(cards: Cards) -> None:
    number, order_no = await cards.bought(2)
    listed = await cards.listed(order_id="1")
    assert [one.masked for one in listed] == [
        sandbox_cards.card(order_no, at)["number"][-4:] for at in (2, 1)
    ]
    assert await cards.listed(channel_no="up", statuses=[ISSUED]) == listed
    assert await cards.listed(channel_no="other") == []
    wanted = pb.RevealCardsRequest(card_ids=[listed[0].card_id], reason="the customer calls")
    (shown,) = (await cards.stub.RevealCards(wanted)).cards
    assert shown.number == sandbox_cards.card(order_no, 2)["number"]
    assert shown.status == "issued", "its partner has not seen it yet"
    rows = await cards.house.rows("SELECT cards, reason FROM vds_card_fetch")
    assert [tuple(row) for row in rows] == [(1, "the customer calls")]
    for request, reason in (
        (pb.RevealCardsRequest(card_ids=[listed[0].card_id]), "FIELD_INVALID"),
        (pb.RevealCardsRequest(card_ids=range(1, 12), reason="all"), "FIELD_INVALID"),
        (pb.RevealCardsRequest(card_ids=[7], reason="x"), "CARD_NOT_FOUND"),
    ):
        assert await cards.refused(cards.stub.RevealCards(request)) == reason
    assert await cards.states(number) == ["revealed", "revealed"]


async def test_cards_that_no_key_opens_are_refused_by_number_and_revealed_to_nobody(
    cards: Cards,
) -> None:
    number, _ = await cards.bought(2)
    async with cards.house.process.app.work("test") as work:
        await work.db.exec_driver_sql("UPDATE vds_card SET sealed = '\\x046c6f7374' WHERE seq = 2")
    assert await cards.refused(cards.fetch(number)) == "CARDS_UNREADABLE"
    listed = await cards.listed()
    assert [(one.unreadable, one.status) for one in listed] == [(True, ISSUED), (False, ISSUED)]
    assert await cards.house.rows("SELECT 1 FROM vds_card_fetch") == []
    asked = pb.RevealCardsRequest(card_ids=[one.card_id for one in listed], reason="he calls")
    assert await cards.refused(cards.stub.RevealCards(asked)) == "CARDS_UNREADABLE"
    (row,) = await cards.house.rows(
        "SELECT audit_log::text AS row FROM audit_log WHERE action LIKE '%RevealCards'"
    )
    assert "unreadable" in row.row
    assert "he calls" in row.row


async def test_with_its_key_back_a_card_opens_as_if_it_had_never_been_away(
    new_database: Callable[[str], Awaitable[Any]], tmp_path: Path
) -> None:
    """Lost: the ring has another key alone. Nothing is changed, sold again or taken for another."""
    urls, journal = await new_database("delivery"), tmp_path / "journal.jsonl"
    seen: list[list[tuple[str, str]]] = []
    number = 0
    for at, ring in enumerate((K1, K2, f"{K2},{K1}")):
        async with (
            started(urls.service, journal, personal_keys=Secret(ring)) as house,
            aio.insecure_channel(f"127.0.0.1:{house.process.port}") as channel,
        ):
            cards = Cards(house, channel)
            await house.apply(service_class=CLASS, delivers_cards=True)
            if at == 0:
                number, _ = await cards.bought(2)
            if at == 1:
                assert await cards.refused(cards.fetch(number)) == "CARDS_UNREADABLE"
                assert {one.unreadable for one in await cards.listed()} == {True}
                other, _ = await cards.bought(1)
                assert await cards.states(other) == ["revealed"], "others are sold meanwhile"
            else:
                found = (await cards.fetch(number)).cards
                seen.append([(one.number, one.password) for one in found])
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 2


async def test_a_return_makes_cards_void_before_the_supplier_is_asked(cards: Cards) -> None:
    number, _ = await cards.bought(3)
    first = await cards.fetch(number, 1)
    cards.house.sandbox.supplier.knobs["*"].latency_s = 0.5
    returned = await cards.give_back(number, 2)
    # Those that were never shown, at once.
    page = await cards.fetch(number)
    assert [one.status for one in page.cards] == ["revealed", "void", "void"]
    assert [bool(one.number) for one in page.cards] == [True, False, False]
    assert page.cards[0].number == first.cards[0].number
    assert returned not in cards.house.orders.told
    assert (await cards.house.ends(returned, RETURN)).status == SUCCEEDED
    assert await cards.states(number) == ["revealed", "void", "void"]


async def test_a_return_that_fails_gives_the_cards_back_as_they_were(cards: Cards) -> None:
    number, _ = await cards.bought(2)
    await cards.fetch(number, 1)
    returned = await cards.give_back(number, 2, tail="0001")
    assert (await cards.house.ends(returned, RETURN)).status == FAILED
    rows = await cards.house.rows("SELECT status FROM vds_card ORDER BY seq")
    assert [row.status for row in rows] == [REVEALED, ISSUED]
    again = await cards.give_back(number, 2)
    assert (await cards.house.ends(again, RETURN)).status == SUCCEEDED
    assert await cards.states(number) == ["void", "void"]


async def test_what_is_redeemed_is_not_returned_and_the_supplier_is_not_asked(cards: Cards) -> None:
    number, _ = await cards.bought(2)
    used = (await cards.listed())[0].card_id
    request = pb.SetCardStateRequest(card_ids=[used], status=REDEEMED, reason="it was used")
    await cards.stub.SetCardState(request)
    await cards.stub.SetCardState(request)
    back = pb.SetCardStateRequest(card_ids=[used], status=VOID, reason="no")
    assert await cards.refused(cards.stub.SetCardState(back)) == "CARD_STATE"
    asked = cards.house.sandbox.journal.attempts
    returned = await cards.give_back(number, 2)
    ended = await cards.house.ends(returned, RETURN)
    assert (ended.status, ended.result_code) == (FAILED, "CARDS_REDEEMED")
    assert cards.house.sandbox.journal.attempts == asked
    assert await cards.states(number) == ["revealed", "redeemed"]
    one = await cards.give_back(number, 1)
    assert (await cards.house.ends(one, RETURN)).status == SUCCEEDED
    assert await cards.states(number) == ["void", "redeemed"]


async def test_goods_without_cards_are_returned_as_before(cards: Cards) -> None:
    await cards.house.apply(service_class=CLASS)
    number, _ = await cards.bought(2, "0110")
    returned = await cards.give_back(number, 2)
    assert (await cards.house.ends(returned, RETURN)).status == SUCCEEDED
