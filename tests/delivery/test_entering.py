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
from shoudan_kit.rpc.refusal import refused_from_rpc
from tests.delivery.conftest import House, key
from tests.delivery.test_cards import everything, opened, send, stored
from tests.delivery.test_notifies import SUPPLIER
from tests.poll import eventually

CLASS = 20
SUCCEEDED, FAILED, ISSUED = 0, 90, 30
WITHOUT = "0110"  # a success without cards: unknown
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


async def undecided(house: House) -> int:
    number = await send(house, WITHOUT)
    await eventually(lambda: house.rows("SELECT 1 FROM vds_order_query"), 15)
    return number


async def test_cards_are_entered_where_a_person_has_decided_a_success_without(
    house: House, tmp_path: Path
) -> None:
    desk, number = Desk(house), await undecided(house)
    good = await desk.file(table(LINES))
    assert "decide it first" in (await desk.refused(number, good))[1]
    await decide(house, number, SUCCEEDED)
    assert await stored(house, number) == []
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
    rows = await stored(house, number)
    assert [(row.seq, row.status) for row in rows] == [(1, ISSUED), (2, ISSUED)]
    assert [opened(house, row) for row in rows] == [
        {"number": one, "password": two} for one, two in LINES
    ]
    other = await desk.file(table([("N3", "P3"), ("N4", "P4")]))
    assert "has cards already" in (await desk.refused(number, other))[1]
    shown = await everything(house)
    assert not any(text in shown for line in LINES for text in line)
    assert "by telephone" in shown
    await desk.channel.close()


async def test_cards_of_another_delivery_are_not_entered_again(house: House) -> None:
    desk = Desk(house)
    first, second = await undecided(house), await send(house, WITHOUT)
    for number in (first, second):
        await decide(house, number, SUCCEEDED)
    file = await desk.file(table(LINES))
    assert await desk.enter(first, file) == 2
    assert "issued for another" in (await desk.refused(second, file))[1]
    assert await stored(house, second) == []
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
    await decide(house, number, SUCCEEDED)
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
