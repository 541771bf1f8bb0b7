"""Promises of notices to Dingdang domains: one that hangs delays itself."""

from __future__ import annotations

import asyncio

from shoudan.pay.v1 import platform_service_pb2 as pb
from tests.pay.dingdang.test_dingdang import Partner, Sides, listening, receiver, sides
from tests.pay.payserver.harness import number
from tests.poll import eventually

__all__ = ["receiver", "sides"]  # fixtures


async def test_a_domain_that_hangs_does_not_hold_up_the_notices_of_another(
    sides: Sides, receiver: Partner
) -> None:
    taken: list[asyncio.StreamWriter] = []

    async def take(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(writer)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    dead_mode, dead = await sides.harness.payserver.component_mode(), number("d")
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    await sides.harness.domain(
        pb.ROLE_PLATFORM, dead_mode.merchant_uuid, domain_id=dead, paid_url=url, refunded_url=url
    )
    try:
        for _ in range(40):
            await sides.harness.paid(dead_mode, payAmount=100)

        async def hang() -> bool:
            return len(taken) >= 8

        await eventually(hang)
        mode, _ = await listening(sides, receiver)
        pay = await sides.harness.paid(mode, payAmount=100)

        async def done() -> bool:
            rows = await sides.notices(pay["tractionNo"])
            return bool(rows) and rows[0][1] == "done"

        await eventually(done, 4, every_s=0.1)
        assert len(taken) == 8
    finally:
        for writer in taken:
            writer.close()
        server.close()
