"""Promises of the sandbox payment component: the bar code's last digits choose what happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from shoudan_fakes.component import SCRIPTS, Component


@pytest.fixture
async def component() -> AsyncIterator[Component]:
    """One component; what hangs, hangs shortly."""
    async with Component(hang_s=0.05, later_s=0.01) as made:
        yield made


async def post(url: str, body: dict[str, Any]) -> Any:
    async with aiohttp.ClientSession() as http, http.post(url, json=body) as answer:
        return answer.status, await answer.json(content_type=None)


def pay(tail: str, number: str = "1795205078000787") -> dict[str, Any]:
    return {"tractionNo": number, "payAmount": 50, "payParams": {"payBarCode": f"13{tail}"}}


@pytest.mark.parametrize(
    ("tail", "said", "asked"),
    [
        ("0000", "success", "success"),
        ("9999", "success", "success"),
        ("1001", "failed", "failed"),
        ("1002", "running", "success"),
        ("1003", "running", "failed"),
        ("1004", "success", "success"),
        ("1006", "running", "running"),
    ],
)
async def test_the_tail_of_the_bar_code_chooses(
    component: Component, tail: str, said: str, asked: str
) -> None:
    number = pay(tail)["tractionNo"]
    status, answer = await post(f"{component.url}/pay", pay(tail))
    assert (status, answer["ret"], answer["tractionNo"]) == (200, said, number)
    _, told = await post(f"{component.url}/query", {"tractionNo": number})
    assert told["ret"] == asked
    assert component.taken_fen == (50 if asked == "success" else 0)


async def test_what_it_never_noted_it_does_not_know(component: Component) -> None:
    with pytest.raises(aiohttp.ClientError):
        await post(f"{component.url}/pay", pay("1007"))
    _, told = await post(f"{component.url}/query", {"tractionNo": pay("1007")["tractionNo"]})
    assert told["ret"] == "notFound"


async def test_its_page_lists_every_script(component: Component) -> None:
    root = component.url.removesuffix("/component")
    async with aiohttp.ClientSession() as http, http.get(f"{root}/") as answer:
        page = await answer.text()
    assert all(f"…{tail}" in page for tail in SCRIPTS)
