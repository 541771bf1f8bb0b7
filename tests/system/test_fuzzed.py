"""Whatever is asked of the gateway, on any path that it serves, it answers as it is documented: no 5xx but
those of a system that is busy or away, and nothing of the inside. `just fuzz` asks more often."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import strategies as st
from yarl import URL

from shoudan_gateway.partners import load
from shoudan_gateway.protocol import Endpoint
from tests.fuzz.values import INPUTS, bodies, counted, drawn, numbers, texts

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(300 + INPUTS // 10)]

AT_ONCE = 12
SLICE = 3  # requests of each endpoint in every run
ENDPOINTS = 80  # about so many there are
EACH = max(INPUTS // ENDPOINTS, SLICE)
# A path of the code that runs is one of the insides, wherever it lies.
ROOT = Path(__file__).parents[2]
INSIDES = re.compile(
    r"Traceback|File \"|site-packages|asyncpg|sqlalchemy|grpc\._|SELECT .* FROM|/home/|"
    + re.escape(f"{ROOT}/")
)
DOCUMENTED = {503, 504}  # busy, or an unknown end: every protocol has words for both
OWN_CODES = re.compile(
    r'"code"\s*:\s*"?9\d{3}"?'
)  # PayServer answers refusals with 500 and its code
PLAUSIBLE = {
    "channel_no": ["test", "ycdown", "closed", "nobody"],
    "customerid": ["BudweiserTmall"],
    "line_id": ["1", "2", "3"],
    "carrier_no": ["ZSH", "DZQ", "YD"],
    "face": ["200", "50"],
    "amount": ["198", "47.5"],
    "num": ["1"],
    "invoice_type": ["1"],
    "rechage_account": ["100011000000000"],
}
TYPES = [
    "",
    "application/json",
    "application/x-www-form-urlencoded",
    "text/xml",
    "application/json; charset=gbk",
]
Request = tuple[str, str, str, bytes, str]


def endpoints() -> Iterator[Any]:
    """Every path that partners and suppliers may call."""
    for partner in load().values():
        yield from partner.endpoints


def value_of(name: str) -> st.SearchStrategy[str]:
    """Of a parameter: often what it may be."""
    plausible = st.sampled_from(PLAUSIBLE.get(name, ["1", "a"]))
    return st.one_of(plausible, plausible, texts, numbers.map(str))


@st.composite
def requests(draw: st.DrawFn, endpoint: Any) -> Request:
    """A request of an endpoint: its own parameters and others; as a query, a form, JSON, or no such thing."""
    method = draw(st.sampled_from(sorted(endpoint.methods)))
    path = re.sub(r"\{(\w+)\}", lambda _: quote(draw(texts), safe="") or "1", endpoint.path)
    fields = endpoint.fields if isinstance(endpoint, Endpoint) else ()
    given = {
        one.wire.rpartition(".")[2]: draw(value_of(one.wire))
        for one in fields
        if one.required or draw(st.booleans())
    }
    if draw(st.integers(0, 3)) == 0:
        given[draw(texts)] = draw(texts)
    kind = draw(st.sampled_from(TYPES))
    match draw(st.integers(0, 3)):
        case 0:
            return method, path, _query(given), b"", ""
        case 1:
            return method, path, "", json.dumps(given).encode(), "application/json"
        case 2:
            return method, path, _query(given), draw(bodies), kind
        case _:
            return method, path, "", _query(given).encode(), "application/x-www-form-urlencoded"


def _query(given: dict[str, str]) -> str:
    return "&".join(f"{quote(name)}={quote(value)}" for name, value in given.items())


async def wrong(http: aiohttp.ClientSession, url: str, request: Request) -> str:
    """What is wrong with the answer; empty when nothing is."""
    method, path, query, body, kind = request
    where = URL(url + path + (f"?{query}" if query else ""), encoded=True)
    headers = {"Content-Type": kind} if kind else {}
    async with http.request(method, where, data=body or None, headers=headers) as answer:
        text = (await answer.read()).decode("utf-8", "replace")
    undocumented = (
        answer.status >= 500 and answer.status not in DOCUMENTED and not OWN_CODES.search(text)
    )
    if undocumented or INSIDES.search(text):
        return f"{method} {path}: {answer.status} {text[:200]}"
    return ""


async def test_no_request_of_any_endpoint_is_answered_with_an_undocumented_error(
    system, partner
) -> None:
    found: dict[str, Request] = {}
    places, count = asyncio.Semaphore(AT_ONCE), 0

    async def ask(request: Request) -> None:
        async with places:
            line = await wrong(partner.http, system.gateway_url, request)
        if line:
            found.setdefault(line, request)

    for endpoint in endpoints():
        batch = drawn(requests(endpoint), EACH)
        await asyncio.gather(*(ask(one) for one in batch))
        count += len(batch)
    counted("http inputs", count)
    assert found == {}
    assert count >= EACH * 40
