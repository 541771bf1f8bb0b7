"""Each scripted account ends as documented; nothing unknown is guessed and nothing is sent twice."""

import pytest

from tests.delivery.conftest import House
from tests.poll import eventually

SUCCEEDED, SENDING, FAILED = 0, 30, 90
NOTIFY, QUERY, SYNC = 1, 2, 3


@pytest.mark.parametrize(
    ("tail", "status", "source"),
    [
        ("0000", SUCCEEDED, SYNC),
        ("0001", FAILED, SYNC),
        ("0002", SUCCEEDED, QUERY),
        ("0005", SUCCEEDED, SYNC),
        ("0009", SUCCEEDED, QUERY),
        ("0010", SUCCEEDED, QUERY),
        ("0011", SUCCEEDED, QUERY),
        ("0012", SUCCEEDED, QUERY),
        ("0013", SUCCEEDED, QUERY),
        ("0014", SUCCEEDED, QUERY),
        ("0016", SUCCEEDED, QUERY),
        ("4242", SUCCEEDED, SYNC),
    ],
)
async def test_a_delivery_ends_by_the_first_certain_word(
    running: House, tail: str, status: int, source: int
) -> None:
    (number,) = await running.send(f"10001100000{tail}")
    ended = await running.ends(number)
    assert (ended.status, ended.result_source) == (status, source)
    assert ended.succ_face_micros == (100_000_000 if status == SUCCEEDED else 0)
    assert running.orders.told[number].succeeded is (status == SUCCEEDED)
    running.witness()


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        ("0009", "not the documented JSON"),
        ("0011", "another amount"),
        ("0012", "another order number"),
        ("0013", "not the documented JSON"),
        ("0016", "HTTP 500"),
    ],
)
async def test_an_unusable_answer_is_kept_as_an_incident(
    running: House, tail: str, words: str
) -> None:
    (number,) = await running.send(f"10001100000{tail}")
    await running.ends(number)
    assert any(words in one for one in await running.incidents(number))


async def test_an_unknown_delivery_stays_unknown_and_is_asked_again_and_again(
    running: House,
) -> None:
    (number,) = await running.send("100011000000003")

    async def asked_thrice() -> bool:
        return (await running.query(number)).query_count >= 3

    await eventually(asked_thrice, 15)
    stands = await running.query(number)
    assert stands.status == SENDING
    assert number not in running.orders.told
    assert running.sandbox.journal.attempts == 1


async def test_a_slow_supplier_is_asked_after_the_time_out(running: House) -> None:
    await running.apply(timeout_s=0.3)
    (number,) = await running.send("100011000000007")
    ended = await running.ends(number)
    assert (ended.status, ended.result_source) == (SUCCEEDED, QUERY)
    assert running.sandbox.journal.attempts == 1
    running.witness()


async def test_an_order_in_parts_is_delivered_in_part(running: House) -> None:
    numbers = await running.send(*["100011000000004"] * 3, order_id="77")
    ends = [(await running.ends(number)).status for number in numbers]
    assert sorted(ends) == [SUCCEEDED, FAILED, FAILED]


@pytest.mark.parametrize(("tail", "status"), [("0020", 90), ("0021", 0)])
async def test_a_return_ends_by_its_own_script(running: House, tail: str, status: int) -> None:
    await running.apply(service_class=21)
    (delivered,) = await running.send(f"1000{tail}")
    assert (await running.ends(delivered)).status == SUCCEEDED
    (returned,) = await running.send(f"1000{tail}", service_class=21)
    assert (await running.ends(returned, 21)).status == status
    assert running.orders.told[returned].is_return
