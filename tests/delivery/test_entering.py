"""Codes that come late, of a person or the supplier: issued where the delivery succeeded without them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from typer.testing import CliRunner

from shoudan.delivery.v1 import card_service_pb2 as pb
from shoudan.delivery.v1 import card_service_pb2_grpc as stubs
from shoudan.delivery.v1 import delivery_service_pb2 as delivery_pb
from shoudan_delivery.card_commands import app
from shoudan_delivery.inbound import NotifyTokens
from shoudan_delivery.stock import encrypted
from shoudan_fakes import cards as sandbox_cards
from shoudan_kit.rpc.refusal import refused_from_rpc
from tests.delivery.conftest import House, key
from tests.delivery.test_cards import everything, opened, send, stored
from tests.delivery.test_notifies import SUPPLIER
from tests.poll import eventually

CLASS = 20
SUCCEEDED, FAILED, SENDING = 0, 90, 30
RESERVED, ISSUED, VOID = 20, 30, 90
WITHOUT = "0110"  # a success without cards: unknown
HALF = "0112"  # with half of them
LINES = (("NUM-1", "PWD-1"), ("NUM-2", "PWD-2"))


def table(lines: Sequence[tuple[str, str]], expiry: str = "") -> bytes:
    rows = "".join(f"{number},{password},{expiry}\n" for number, password in lines)
    return f"number,password,expiry\n{rows}".encode()


@pytest.fixture
async def house(running: House) -> House:
    """With a channel of vouchers that must deliver cards."""
    await running.apply(service_class=CLASS, delivers_cards=True)
    return running


class Desk:
    """CardService as an operator calls it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.channel = aio.insecure_channel(f"127.0.0.1:{house.process.port}")
        self.stub = stubs.CardServiceStub(self.channel)

    async def file(self, plain: bytes) -> bytes:
        answer = await self.stub.GetImportKey(pb.GetImportKeyRequest())
        return encrypted(plain, answer.public_key)

    async def enter(self, number: int, file: bytes, **more: Any) -> int:
        request = pb.EnterCardsRequest(
            **{"key": key(number, CLASS), "file": file, "reason": "by telephone", "by": "t"} | more
        )
        return (await self.stub.EnterCards(request)).cards

    async def missing(self, **more: Any) -> pb.ListMissingCardsResponse:
        return await self.stub.ListMissingCards(pb.ListMissingCardsRequest(**more))

    async def shown(self, number: int) -> list[Any]:
        request = pb.FetchCardsRequest(keys=[key(number, CLASS)], order_id="1")
        return list((await self.stub.FetchCards(request)).cards)

    async def rows_of(self, sql: str, count: int) -> bool:
        return len(await self.house.rows(sql)) == count

    async def refused(self, number: int, file: bytes, **more: Any) -> tuple[str, str]:
        with pytest.raises(grpc.RpcError) as error:
            await self.enter(number, file, **more)
        refusal = refused_from_rpc(error.value)
        assert refusal is not None
        return refusal.reason, str(refusal.metadata)


async def decide(house: House, number: int, status: int) -> None:
    """A person ends the delivery, without a word about its cards."""
    await house.deliveries.ResolveDelivery(
        delivery_pb.ResolveDeliveryRequest(
            key=key(number, CLASS), status=status, by="t", reason="seen at the supplier"
        )
    )


async def decided(house: House, number: int, status: int) -> bool:
    """Whether the decision was taken: what a channel must deliver is known within a moment."""
    try:
        await decide(house, number, status)
    except grpc.RpcError:
        return False
    return True


async def undecided(house: House) -> int:
    number = await send(house, WITHOUT)
    await eventually(lambda: house.rows("SELECT 1 FROM vds_order_query"), 15)
    return number


async def test_cards_are_entered_before_a_person_decides_a_success(
    house: House, tmp_path: Path
) -> None:
    desk, number = Desk(house), await undecided(house)
    good = await desk.file(table(LINES))
    with pytest.raises(grpc.RpcError) as without:
        await decide(house, number, SUCCEEDED)
    refusal = refused_from_rpc(without.value)
    assert refusal is not None
    assert refusal.reason == "ERROR_REASON_CARDS_MISSING"
    assert (await house.query(number, CLASS)).status == SENDING
    for plain, words in (
        (table(LINES[:1]), "1 of 2 cards"),
        (table([LINES[0], LINES[0]]), "stands there twice"),
        (table([LINES[0], ("", "")]), "line 3"),
        (table(LINES, "2001-01-01"), "expired"),
        (b"", "lines below"),
    ):
        assert words in (await desk.refused(number, await desk.file(plain)))[1]
    assert "not encrypted" in (await desk.refused(number, b"x" * 100))[1]
    assert "FIELD_INVALID" in (await desk.refused(number, good, reason=" "))[0]
    assert "NOT_FOUND" in (await desk.refused(number + 10**6, good))[0]
    assert await stored(house, number) == []

    file = tmp_path / "cards"
    file.write_bytes(good)
    arguments = ["enter", str(number), str(file), "--partner", "down", "--reason", "by telephone"]
    target = ["--target", f"127.0.0.1:{house.process.port}"]
    done = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, *target])
    assert (done.exit_code, done.output.strip()) == (0, "2 cards")
    assert await desk.enter(number, good) == 2  # a repeat
    assert await desk.shown(number) == []  # the partner has none of them yet
    assert {row.status for row in await stored(house, number)} == {RESERVED}
    await decide(house, number, SUCCEEDED)
    rows = await stored(house, number)
    assert [(row.seq, row.status) for row in rows] == [(1, ISSUED), (2, ISSUED)]
    assert [opened(house, row) for row in rows] == [
        {"number": one, "password": two} for one, two in LINES
    ]
    assert await desk.enter(number, good) == 2  # a repeat, after all
    other = await desk.file(table([("N3", "P3"), ("N4", "P4")]))
    assert "has cards already" in (await desk.refused(number, other))[1]
    shown = await everything(house)
    assert not any(text in shown for line in LINES for text in line)
    assert "by telephone" in shown
    await desk.channel.close()


async def test_what_lacks_its_cards_is_listed_with_the_masked_answer_until_it_has_ended(
    house: House,
) -> None:
    desk = Desk(house)
    without, half = await undecided(house), await send(house, HALF)
    answered = (
        "SELECT 1 FROM vds_card_missing WHERE order_no IN (SELECT order_no FROM vds_order_info)"
    )
    await eventually(lambda: desk.rows_of(answered, 2), 15)
    first, second = (await desk.missing()).missing
    assert [int(one.key.coop_order_id) for one in (first, second)] == [without, half]
    assert (first.why, first.status, first.num) == ("cards: 0 of 2 cards", SENDING, 2)
    assert (second.why, second.entered) == ("cards: 1 of 2 cards", 0)
    answer = json.loads(second.answer)
    assert (answer["code"], answer["order_no"]) == (
        "R_0000",
        f"{len(str(second.order_no))} characters",
    )
    assert [set(one) >= {"number", "password"} for one in answer["cards"]] == [True]
    code = sandbox_cards.card(str(second.order_no), 1)
    assert not any(text in second.answer for text in (code["number"], code["password"]))

    target = ["--target", f"127.0.0.1:{house.process.port}"]
    listed = await asyncio.to_thread(CliRunner().invoke, app, ["missing", *target])
    assert f"delivery {half} of order 1, partner down  sending" in listed.output
    assert listed.output.count("cards: 1 of 2 cards") == 1
    again = ["ask", str(half), "--partner", "down", *target]
    asked = await asyncio.to_thread(CliRunner().invoke, app, again)
    assert "asked; it stood sending" in asked.output

    page = await desk.missing(page_size=1)
    rest = await desk.missing(page_size=1, page_token=page.next_page_token)
    assert [one.order_no for one in (*page.missing, *rest.missing)] == [
        first.order_no,
        second.order_no,
    ]
    await decide(house, half, FAILED)
    await desk.enter(without, await desk.file(table(LINES)))
    (left,) = (await desk.missing()).missing
    assert (left.order_no, left.entered) == (first.order_no, 2)
    await decide(house, without, SUCCEEDED)
    assert list((await desk.missing()).missing) == []
    await desk.channel.close()


async def test_cards_entered_anew_replace_those_before_and_a_failure_issues_none(
    house: House,
) -> None:
    desk, number = Desk(house), await undecided(house)
    await desk.enter(number, await desk.file(table(LINES)))
    await desk.enter(number, await desk.file(table([LINES[0], ("NUM-3", "PWD-3")])))
    assert [opened(house, row)["number"] for row in await stored(house, number)] == [
        "NUM-1",
        "NUM-3",
    ]
    await decide(house, number, FAILED)
    rows = await house.rows("SELECT status, order_no FROM vds_card")
    assert {tuple(row) for row in rows} == {(VOID, None)}
    assert len(rows) == 3
    await desk.channel.close()


async def test_what_the_supplier_brings_after_all_goes_before_what_was_entered(
    house: House,
) -> None:
    desk, number = Desk(house), await undecided(house)
    order_no = (await house.query(number, CLASS)).order_no
    mine = [(CODES[0]["number"], CODES[0]["password"]), LINES[0]]
    await desk.enter(number, await desk.file(table(mine)))
    await notified(house, number, order_no, CODES)
    rows = await stored(house, number)
    assert [opened(house, row) for row in rows] == CODES
    assert {row.status for row in rows} == {ISSUED}
    assert [row.status for row in await house.rows("SELECT status FROM vds_card")].count(VOID) == 1
    assert list((await desk.missing()).missing) == []
    await desk.channel.close()


async def test_cards_of_another_delivery_are_not_entered_again(house: House) -> None:
    desk = Desk(house)
    first, second = await undecided(house), await send(house, WITHOUT)
    await eventually(lambda: desk.rows_of("SELECT 1 FROM vds_card_missing", 2), 15)
    file = await desk.file(table(LINES))
    done = await asyncio.gather(
        *(desk.enter(number, file) for number in (first, second)), return_exceptions=True
    )
    assert sorted(isinstance(one, int) for one in done) == [False, True]
    (lost,) = [
        number
        for number, one in zip((first, second), done, strict=True)
        if not isinstance(one, int)
    ]
    assert "issued for another" in (await desk.refused(lost, file))[1]
    assert await stored(house, lost) == []
    await desk.channel.close()


async def notified(house: House, number: int, order_no: str, cards: list[dict[str, str]]) -> None:
    """The supplier says that it succeeded, with these."""
    supplier = replace(SUPPLIER, channel_no="up", service_class=CLASS)
    url = NotifyTokens((b"demo-key-of-notify-tokens",)).url(supplier, int(order_no))
    body = {"order_no": order_no, "code": "R_0000", "amount": "200", "cards": cards}
    await house.deliveries.TakeNotify(
        delivery_pb.TakeNotifyRequest(
            channel_no="up",
            service_class=CLASS,
            method="POST",
            query=url.partition("?")[2],
            body=json.dumps(body).encode(),
            remote_ip="127.0.0.1",
        )
    )


CODES = [{"number": f"LN{at}", "password": f"LP{at}"} for at in (1, 2)]


async def test_a_supplier_that_brings_cards_after_the_decision_issues_them_once(
    house: House,
) -> None:
    number = await undecided(house)
    await house.apply(service_class=CLASS, delivers_cards=False)  # then a success needs none
    await eventually(lambda: decided(house, number, SUCCEEDED), 10)
    order_no = (await house.query(number, CLASS)).order_no
    more = [{"number": f"XN{at}", "password": f"XP{at}"} for at in (1, 2)]
    await asyncio.gather(*(notified(house, number, order_no, one) for one in (CODES, CODES)))
    await notified(house, number, order_no, more)
    rows = await stored(house, number)
    assert [opened(house, row) for row in rows] == CODES
    assert not (await house.query(number, CLASS)).conflict


async def test_cards_for_a_delivery_that_failed_are_a_contradiction_and_never_issued(
    house: House,
) -> None:
    desk, number = Desk(house), await undecided(house)
    await decide(house, number, FAILED)
    await eventually(lambda: number in house.orders.told, 15)
    stands = await house.query(number, CLASS)
    assert "ALREADY_FINAL" in (await desk.refused(number, await desk.file(table(LINES))))[0]
    await notified(house, number, stands.order_no, CODES)
    await eventually(lambda: number in house.orders.against, 15)
    after = await house.query(number, CLASS)
    assert (after.status, after.conflict) == (FAILED, True)
    assert await house.rows("SELECT 1 FROM vds_card") == []
    shown = await everything(house)
    assert not any(one["number"] in shown for one in CODES)
    await desk.channel.close()
