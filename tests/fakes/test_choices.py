"""What a person chooses for the sandbox supplier goes before the account, and ends what hangs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shoudan_fakes.choices import CHOSEN_MAX, Choice, Choices, Knobs
from shoudan_fakes.sandbox import Sandbox


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(tmp_path / "journal.jsonl") as running:
        yield running


class Caller:
    """Who calls the supplier, and chooses for it."""

    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
        self._url, self._http = f"{sandbox.url}/supplier", http

    async def choose(self, kind: str, key: str, script: str = "") -> int:
        choice = {"kind": kind, "key": key, "script": script}
        async with self._http.post(f"{self._url}/choices", json=choice) as answer:
            return answer.status

    async def chosen(self) -> dict[str, Any]:
        async with self._http.get(f"{self._url}/choices") as answer:
            found: dict[str, Any] = await answer.json()
        return found

    async def deliver(self, no: str, account: str = "4242", order_id: str = "7") -> str:
        asked = {"order_no": no, "channel_no": "up", "service_class": 10, "order_id": order_id}
        asked |= {"face": "100", "num": 1, "amount": "100", "account": account}
        async with self._http.post(f"{self._url}/request", json=asked) as answer:
            return (
                str((await answer.json())["code"]) if answer.status == 200 else f"{answer.status}"
            )

    async def query(self, no: str) -> str:
        asked = {"order_no": no, "channel_no": "up"}
        async with self._http.post(f"{self._url}/query", json=asked) as answer:
            return (
                str((await answer.json())["code"]) if answer.status == 200 else f"{answer.status}"
            )


@pytest.fixture
async def caller(sandbox: Sandbox) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as http:
        yield Caller(sandbox, http)


async def test_an_order_goes_before_its_account_and_both_before_the_channel(caller: Caller) -> None:
    assert await caller.choose("channel", "up", "0003") == 200
    assert await caller.deliver("1") == "R_9999"
    assert await caller.choose("account", "4242", "0001") == 200
    assert await caller.deliver("2") == "R_5124"
    assert await caller.choose("order", "7", "0000") == 200
    assert await caller.deliver("3") == "R_0000"
    assert await caller.choose("order", "7") == 200
    assert await caller.deliver("4") == "R_5124"
    assert await caller.choose("account", "4242") == 200
    assert await caller.choose("channel", "up") == 200
    assert await caller.deliver("5") == "R_0000"
    assert (await caller.chosen())["choices"] == []


async def test_what_hangs_ends_as_chosen_with_its_next_query(caller: Caller) -> None:
    for no, script, code in (("1", "0000", "R_0000"), ("2", "0001", "R_5124")):
        assert await caller.deliver(no, account="0003", order_id=no) == "R_9999"
        assert await caller.query(no) == "R_9999"
        await caller.choose("order", no, script)
        assert [await caller.query(no) for _ in "12"] == [code] * 2
    assert await caller.query("none") == "R_4040"


async def test_a_channel_that_is_down_answers_nothing_until_it_is_taken_back(
    caller: Caller,
) -> None:
    await caller.deliver("1")
    assert await caller.choose("channel", "up", "down") == 200
    assert (await caller.deliver("2"), await caller.query("1")) == ("503", "503")
    shown = await caller.chosen()
    assert shown["choices"] == [{"kind": "channel", "key": "up", "script": "down"}]
    assert {
        "script": "0003",
        "about": "unknown for ever",
        "about_zh": "一直未知，转人工处理",
    } in shown["scripts"]
    await caller.choose("channel", "up")
    assert await caller.query("1") == "R_0000"


@pytest.mark.parametrize(
    "choice",
    [
        ("account", "1", "no-such"),
        ("account", "1", "down"),
        ("order", "", "0001"),
        ("shop", "1", "0001"),
    ],
)
async def test_what_cannot_be_played_is_refused(
    caller: Caller, choice: tuple[str, str, str]
) -> None:
    assert await caller.choose(*choice) == 400
    assert (await caller.chosen())["choices"] == []


def test_only_so_many_are_kept_the_newest() -> None:
    choices = Choices({"*": Knobs()})
    for number in range(CHOSEN_MAX + 1):
        assert choices.choose(Choice("account", str(number), "0001")) == ""
    assert choices.of("", "0") is None
    newest = choices.of("", str(CHOSEN_MAX))
    assert newest is not None
    assert newest.tail == "0001"
