"""Whatever is sent to a method, it is answered or refused by a code that is documented: never INTERNAL, never
UNKNOWN, and no text of an exception. A slice in every run; `just fuzz` draws the rest."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from tests.fuzz.messages import requests
from tests.fuzz.values import INPUTS, counted, drawn
from tests.test_every_field import BUGS, CALL_S, SERVICES, bearer, methods, serving
from tests.valid import VALID

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180 + INPUTS // 10)]

AT_ONCE = 16
SLICE = 2  # inputs of each method in every run
METHODS = 200  # about so many there are, in all services
EACH = max(INPUTS // METHODS, SLICE)
TOGETHER = 400  # drawn and then sent
# What no answer may show, whatever went wrong: the insides of a process.
# A path of the code that runs is one of the insides, wherever it lies.
ROOT = Path(__file__).parents[2]
INSIDES = re.compile(
    r"Traceback|File \"|site-packages|asyncpg|psycopg|sqlalchemy|SELECT .* FROM|/home/|"
    + re.escape(f"{ROOT}/")
)
Input = tuple[str, Any, bytes]


async def said(channel: aio.Channel, path: str, method: Any, body: bytes, metadata: Any) -> str:
    """What is wrong with the answer; empty when nothing is."""
    try:
        if method.server_streaming:
            async for _ in channel.unary_stream(path)(body, timeout=CALL_S, metadata=metadata):
                pass
        else:
            await channel.unary_unary(path)(body, timeout=CALL_S, metadata=metadata)
    except aio.AioRpcError as error:
        if error.code() in BUGS or INSIDES.search(error.details() or ""):
            return f"{path}: {error.code().name} {error.details()}"
    return ""


def inputs(process: Any) -> Iterator[Input]:
    """For every method so many, in the order of methods turned so that each is met early."""
    for path, method in methods(process):
        valid = VALID.get(path.rpartition(".")[2], lambda _: None)
        for body in drawn(requests(GetMessageClass(method.input_type), valid), EACH):
            yield path, method, body


@pytest.mark.parametrize("service", SERVICES)
async def test_no_input_of_any_method_leads_to_internal_or_unknown(service, new_database):
    wrong: dict[str, bytes] = {}
    places, sent = asyncio.Semaphore(AT_ONCE), 0
    async with serving(service, (await new_database(service)).service) as (process, channel):
        operator = await bearer(process)

        async def ask(path: str, method: Any, body: bytes) -> None:
            async with places:
                line = await said(channel, path, method, body, operator)
            if line:  # the shortest that does it
                wrong[line] = min(body, wrong.get(line, body), key=len)

        made, count = inputs(process), len(list(methods(process)))
        while batch := list(islice(made, TOGETHER)):
            await asyncio.gather(*(ask(*one) for one in batch))
            sent += len(batch)
    counted("grpc methods", count)
    counted("grpc inputs", sent)
    assert wrong == {}
    assert sent == EACH * count
