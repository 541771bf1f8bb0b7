"""Two calls at the same moment through two gateways have the effect of one after the other, each time.

Three repetitions in every run of the tests; `just races 200` makes as many as it is asked for.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.poll import eventually
from tests.system.beside import beside
from tests.system.invariants import rows_of

pytestmark = [pytest.mark.system, pytest.mark.slow]

TIMES = int(os.environ.get("SHOUDAN_RACES", "3"))
AT_ONCE = 10  # repetitions under way
VOUCHER = {"line_id": "2", "carrier_no": "DZQ", "face": "50", "amount": "47.5"}
PRICE = 47_500_000
_SUM = """
SELECT coalesce(sum(r.amount_micros), 0)::bigint AS micros, count(*) AS records
FROM account_record r JOIN account_info a USING (account_id)
WHERE a.ident = 'oms' AND a.groups = 'down_channel' AND r.trade_no = ANY($1)
"""
_IDS = """
SELECT order_id::text AS id FROM oms_order_info WHERE request_no = $1
UNION ALL SELECT refund_id::text FROM oms_refund_info WHERE request_no = $1
UNION ALL SELECT 'r' || order_id FROM oms_order_info WHERE request_no = $1
"""


class Race:
    """Calls that wait for each other before they begin, each at a gateway of its own."""

    def __init__(self, partner: Any, urls: tuple[str, str]) -> None:
        self.partner, self._urls = partner, urls

    def number(self) -> str:
        """Of a new order; none is the beginning of another."""
        return f"{self.partner.number()}."

    async def ask(self, url: str, path: str, params: dict[str, str]) -> tuple[int, Any]:
        async with self.partner.http.get(url + path, params=params) as answer:
            return answer.status, await answer.json(content_type=None)

    async def both(self, *calls: tuple[str, dict[str, str]]) -> list[tuple[int, Any]]:
        """The answers of two calls that begin together."""
        barrier = asyncio.Barrier(len(calls))

        async def one(url: str, path: str, params: dict[str, str]) -> tuple[int, Any]:
            await barrier.wait()
            return await self.ask(url, path, params)

        return await asyncio.gather(
            *(one(url, *call) for url, call in zip(self._urls, calls, strict=True))
        )

    def order(self, number: str, **changed: str) -> tuple[str, dict[str, str]]:
        inbox = f"{self.partner.system.sandbox_url}/inbox/races"
        values = {
            "channel_no": "test",
            "request_no": number,
            "invoice_type": "1",
            "num": "1",
            **VOUCHER,
        }
        values |= {"rechage_account": "100011000000000", "notify_url": inbox}
        return "/order/request", values | changed

    def refund(self, number: str, no: str, kind: str = "general") -> tuple[str, dict[str, str]]:
        values = {
            "channel_no": "test",
            "request_no": number,
            "refund_no": f"{no}-{number}",
            "refund_num": "1",
        }
        inbox = f"{self.partner.system.sandbox_url}/inbox/races"
        return f"/refund/{kind}", {**values, "notify_url": inbox}

    async def delivered(self) -> str:
        """A new order that has ended well."""
        number = self.number()
        path, params = self.order(number)
        assert (await self.ask(self._urls[0], path, params))[0] == 200
        await self.partner.all_ended(number, 1)
        return number

    async def moved(self, number: str) -> tuple[int, int]:
        """What an order and its refunds moved on the channel's account, and in how many records."""
        ids = [one["id"] for one in await rows_of(self.partner.system, "order", _IDS, number)]
        row = (await rows_of(self.partner.system, "pay", _SUM, ids))[0]
        return row["micros"], row["records"]

    async def refunded(self, number: str) -> None:
        """Exactly once: the money is back, and nothing comes after it."""

        async def back() -> bool:
            return await self.moved(number) == (0, 2)

        await eventually(back, 60)
        query = "SELECT count(*) FROM oms_refund_info WHERE request_no = $1"
        assert await self.partner.sql("order", query, number) == 1

    async def bought(self, number: str) -> None:
        """One order, paid once."""
        await self.partner.all_ended(number, 1)
        assert await self.moved(number) == (-PRICE, 1)


@pytest.fixture(scope="module")
async def race(system, partner) -> AsyncIterator[Race]:
    """Beside the system's gateway runs another."""
    other = beside(system, "gateway", {})
    await system.supervisor.start(other.process)
    yield Race(partner, (system.gateway_url, f"http://{other.target}"))
    await system.stop(other.process.name)


async def one_key(race: Race) -> None:
    number = race.number()
    answers = await race.both(race.order(number), race.order(number))
    assert [status for status, _ in answers] == [200, 200]
    assert len({body["order_id"] for _, body in answers}) == 1
    await race.bought(number)


async def one_key_two_contents(race: Race) -> None:
    number = race.number()
    other = race.order(number, rechage_account="100011000100000")
    answers = await race.both(race.order(number), other)
    assert sorted(status for status, _ in answers) == [200, 409]
    await race.bought(number)


async def one_refund_twice(race: Race) -> None:
    number = await race.delivered()
    answers = await race.both(race.refund(number, "a"), race.refund(number, "a"))
    assert [status for status, _ in answers] == [200, 200]
    assert len({body["refund_id"] for _, body in answers}) == 1
    await race.refunded(number)


async def two_refunds_of_one_unit(race: Race) -> None:
    number = await race.delivered()
    answers = await race.both(race.refund(number, "a"), race.refund(number, "b"))
    assert sorted(status for status, _ in answers) == [200, 400]
    await race.refunded(number)


async def general_and_mandatory(race: Race) -> None:
    number = await race.delivered()
    answers = await race.both(race.refund(number, "a"), race.refund(number, "b", "mandatory"))
    assert sorted(status for status, _ in answers) == [200, 400]
    await race.refunded(number)


async def order_and_query(race: Race) -> None:
    number = race.number()
    query = ("/order/query", {"channel_no": "test", "request_no": number})
    (status, _), (asked, body) = await race.both(race.order(number), query)
    assert status == 200
    assert asked == 200 or body["code"] == 404
    await race.partner.all_ended(number, 1, queried=True)
    assert await race.moved(number) == (-PRICE, 1)


async def answer_and_notify_of_the_supplier(race: Race) -> None:
    """Its notifies come before and after its answer: the delivery ends once."""
    first, second = race.number(), race.number()
    tails = ("100011000000006", "100011000000005")
    calls = [
        race.order(no, rechage_account=tail)
        for no, tail in zip((first, second), tails, strict=True)
    ]
    assert [status for status, _ in await race.both(*calls)] == [200, 200]
    await race.bought(first)
    await race.bought(second)


RACES = (
    one_key,
    one_key_two_contents,
    one_refund_twice,
    two_refunds_of_one_unit,
    general_and_mandatory,
    order_and_query,
    answer_and_notify_of_the_supplier,
)


@pytest.mark.timeout(120 + TIMES * 10)
async def test_of_two_at_once_one_comes_first(race: Race) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def run(one: Callable[[Race], Awaitable[None]]) -> None:
        async with places:
            await one(race)

    ends = await asyncio.gather(*(run(one) for one in RACES * TIMES), return_exceptions=True)
    wrong = [
        f"{one.__name__}: {end!r}" for one, end in zip(RACES * TIMES, ends, strict=True) if end
    ]
    assert not wrong, "\n".join(wrong)
