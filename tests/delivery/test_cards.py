"""Cards of suppliers: checked against what was ordered, stored sealed with the result, and nowhere else."""

import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from shoudan_fakes import cards as sandbox_cards
from shoudan_fakes.scripts import SCRIPTS, Cards
from shoudan_kit.config import Secret
from shoudan_kit.secrets.sealing import KeyRing
from tests.delivery.conftest import House
from tests.delivery.conftest import house as started
from tests.poll import eventually
from tests.sealed import reseal

CLASS = 20
SUCCEEDED, SENDING = 0, 30
NOTIFY, QUERY, SYNC = 1, 2, 3
ISSUED = 30
K1, K2 = (f"{name}:{base64.b64encode(name.encode() * 16).decode()}" for name in ("k1", "k2"))
PRODUCT = {"ext_product_no": "P1"}

# Everything delivery stores for good, as text; bytes are shown as hexadecimal.
TABLES = (
    "vds_order_info",
    "vds_order_query",
    "vds_order_notify",
    "vds_order_exp",
    "vds_card",
    "vds_card_missing",
    "event",
    "outbox",
    "task",
    "audit_log",
)


@pytest.fixture
async def house(running: House) -> House:
    """With a channel of vouchers that must deliver cards."""
    await running.apply(service_class=CLASS, delivers_cards=True)
    return running


async def send(house: House, tail: str, num: int = 2) -> int:
    (number,) = await house.send(f"10001100000{tail}", service_class=CLASS, num=num, params=PRODUCT)
    return number


async def stored(house: House, number: int) -> list[Any]:
    """The cards of a delivery as they are stored."""
    return await house.rows(
        "SELECT card.* FROM vds_card card JOIN vds_order_info USING (order_no)"
        " WHERE coop_order_id = :number ORDER BY seq",
        number=str(number),
    )


def opened(house: House, row: Any) -> dict[str, str]:
    ring: KeyRing = house.process.app.settings.key_ring()
    return ring.open_fields("vds_card", row.card_id, row.sealed)


async def everything(house: House) -> str:
    found = [
        str(row)
        for table in TABLES
        for row in await house.rows(f"SELECT {table}::text FROM {table}")
    ]
    return "\n".join(found)


# Script, units, how its end is learnt.
GOOD = (
    ("0000", 1, SYNC),
    ("0000", 3, SYNC),
    ("0002", 2, QUERY),
    ("0100", 1, SYNC),
    ("0101", 2, SYNC),
    ("0102", 2, SYNC),
    ("0103", 2, SYNC),
    ("0104", 2, SYNC),
    ("0111", 2, QUERY),
    ("0123", 2, SYNC),
    ("0124", 2, QUERY),
)
BAD = (
    ("0110", "0 of 2 cards"),
    ("0112", "1 of 2 cards"),
    ("0113", "3 of 2 cards"),
    ("0114", "a card stands there twice"),
    ("0115", "a card has another face"),
    ("0116", "a card is of another order"),
    ("0117", "a card is of another product"),
    ("0119", "a card has expired"),
    ("0120", "a card has no number, password, link or QR text"),
    ("0121", "a card has a field that is not known"),
    ("0122", "the expiry of a card is no date"),
)


async def test_cards_are_sealed_with_the_result_and_stand_nowhere_in_clear(house: House) -> None:
    """The channel that cannot be queried is notified."""
    sent = [(await send(house, tail, num), num, source) for tail, num, source in GOOD]
    for number, _, _ in sent:
        await eventually(lambda number=number: number in house.orders.told, 15)
    await house.apply(service_class=CLASS, delivers_cards=True, can_query=False)
    sent.append((await send(house, "0018"), 2, NOTIFY))
    ends = [(await house.ends(number, CLASS), num, source) for number, num, source in sent]
    await eventually(lambda: house.rows("SELECT 1 FROM vds_order_notify"), 10)
    shown = f"{await everything(house)} {ends} {house.orders.told}"
    for ended, num, source in ends:
        assert (ended.status, ended.result_source) == (SUCCEEDED, source)
        rows = await stored(house, int(ended.key.coop_order_id))
        assert [(row.seq, row.status, row.face_micros) for row in rows] == [
            (at, ISSUED, 100_000_000) for at in range(1, num + 1)
        ]
        for row in rows:
            card, clear = sandbox_cards.card(ended.order_no, row.seq), opened(house, row)
            assert card["number"] in "".join(clear.values())
            for text in (card["number"], card["password"], *clear.values()):
                assert text not in shown
                assert text.encode().hex() not in shown


async def test_a_success_whose_cards_cannot_be_issued_is_unknown(house: House) -> None:
    sent = [(await send(house, tail), words) for tail, words in BAD]

    async def all_asked() -> bool:
        rows = await house.rows("SELECT 1 FROM vds_order_query WHERE query_count >= 2")
        return len(rows) == len(sent)

    await eventually(all_asked, 15)
    shown = await everything(house)
    for number, words in sent:
        stands = await house.query(number, CLASS)
        assert (stands.status, stands.result_desc) == (SENDING, f"cards: {words}")
        assert f"cards: {words}" in await house.incidents(number)
        for at in (1, 2, 3):
            assert sandbox_cards.card(stands.order_no, at)["number"] not in shown
    assert not house.orders.told
    assert await house.rows("SELECT 1 FROM vds_card") == []


async def test_every_script_of_cards_is_tried() -> None:
    """What the sandbox can say of cards is in the tables above, and below."""
    assert {one.cards for one in SCRIPTS.values()} == set(Cards)


async def test_a_card_is_issued_once_whoever_it_was_issued_to(house: House) -> None:
    first = await send(house, "0118")
    assert (await house.ends(first, CLASS)).status == SUCCEEDED
    second, third = await send(house, "0118"), await send(house, "0000")
    assert (await house.ends(third, CLASS)).status == SUCCEEDED

    async def refused() -> bool:
        return "cards: a card was issued for another delivery" in await house.incidents(second)

    await eventually(refused, 15)
    assert (await house.query(second, CLASS)).status == SENDING
    assert len(await stored(house, first)) == 2
    assert await stored(house, second) == []


async def test_of_two_answers_at_once_with_the_same_cards_one_succeeds(house: House) -> None:
    numbers = await house.send(
        *["100011000000118"] * 20, service_class=CLASS, num=1, params=PRODUCT
    )
    await eventually(lambda: any(one in house.orders.told for one in numbers), 15)

    async def judged() -> bool:
        rows = await house.rows("SELECT DISTINCT coop_order_id FROM vds_order_exp")
        return len(rows) >= len(numbers) - 1

    await eventually(judged, 15)
    assert len(await house.rows("SELECT 1 FROM vds_card")) == 1
    assert [one for one in numbers if one in house.orders.told] != numbers
    assert len([one for one in numbers if one in house.orders.told]) == 1


async def test_a_channel_that_need_not_deliver_cards_succeeds_without_and_seals_them(
    running: House,
) -> None:
    await running.apply(service_class=CLASS)
    for tail, cards in (("0110", 0), ("0000", 2), ("0103", 2), ("0112", 0)):
        number = await send(running, tail)
        assert (await running.ends(number, CLASS)).status == SUCCEEDED
        assert len(await stored(running, number)) == cards
        if tail == "0112":
            assert "cards: 1 of 2 cards" in await running.incidents(number)


async def test_cards_come_under_the_first_key_of_the_ring(
    new_database: Callable[[str], Awaitable[Any]], tmp_path: Path
) -> None:
    urls, journal = await new_database("delivery"), tmp_path / "journal.jsonl"
    async with started(urls.service, journal, personal_keys=Secret(K1)) as house:
        await house.apply(service_class=CLASS, delivers_cards=True)
        await house.ends(number := await send(house, "0000"), CLASS)
    async with started(urls.service, journal, personal_keys=Secret(f"{K2},{K1}")) as house:
        done = await reseal(house.process.port)
        assert done.counts["vds_card.sealed"] == {"k1": 2}
        assert done.unreadable == 0
    async with started(urls.service, journal, personal_keys=Secret(K2)) as house:
        order_no = (await house.query(number, CLASS)).order_no
        assert [opened(house, row)["number"] for row in await stored(house, number)] == [
            sandbox_cards.card(order_no, at)["number"] for at in (1, 2)
        ]


async def test_goods_without_cards_store_none(running: House) -> None:
    """A recharge whose supplier sends cards all the same: they are nothing of ours, and no row."""
    (number,) = await running.send("100011000000000")
    assert (await running.ends(number)).status == SUCCEEDED
    assert await running.rows("SELECT 1 FROM vds_card") == []
