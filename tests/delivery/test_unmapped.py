"""Promises about codes that no error code explains: counted, bounded, and gone once they are explained."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from shoudan.delivery.v1 import delivery_service_pb2 as pb
from shoudan_delivery.store import unmapped
from tests.delivery.conftest import House
from tests.poll import eventually

UNEXPLAINED = [("R_0000", 0), ("R_1", 10), ("R_9999", 90)]
REFUSED = "100011000000001"  # the sandbox answers R_5124
FAILED = 90


async def listed(house: House, channel_no: str = "up") -> list[Any]:
    request = pb.ListUnmappedCodesRequest(channel_no=channel_no)
    return list((await house.suppliers.ListUnmappedCodes(request)).codes)


async def test_a_code_that_nothing_explains_is_listed_until_it_is_explained(
    running: House,
) -> None:
    await running.apply(given=UNEXPLAINED)
    (number,) = await running.send(REFUSED)

    async def came() -> bool:
        return bool(await listed(running))

    await eventually(came, 30)
    (code,) = await listed(running)
    assert (code.channel_no, code.service_class, code.error_code) == ("up", 10, "R_5124")
    assert code.coop_order_id == str(number)
    assert code.answers >= 1
    assert REFUSED not in code.desc
    assert await listed(running, "another") == []
    await running.apply()
    assert (await running.ends(number)).status == FAILED
    assert await listed(running) == []


async def test_a_code_that_is_explained_is_not_listed(running: House) -> None:
    (number,) = await running.send(REFUSED)
    await running.ends(number)
    assert await listed(running) == []


def seen(code: str, desc: str = "x", answers: int = 1) -> unmapped.Seen:
    return unmapped.Seen("up", 10, code, desc, answers, "7")


async def test_so_many_codes_of_a_channel_are_kept_and_no_more(running: House) -> None:
    most = unmapped.CODES_MAX
    async with running.process.app.db.begin() as db:
        await unmapped.note(db, [seen(f"c{number:03}") for number in range(most - 1)])
        await unmapped.note(db, [seen("new"), seen("one too many"), seen("c000", "later", 4)])
    found = {one.error_code: one for one in await listed(running)}
    assert len(found) == most
    assert "new" in found
    assert "one too many" not in found
    assert (found["c000"].answers, found["c000"].desc) == (5, "later")


async def test_a_code_that_has_not_come_for_long_makes_room(running: House) -> None:
    async with running.process.app.db.begin() as db:
        await unmapped.note(db, [seen("old"), seen("young")])
    admin = text(
        "UPDATE vds_unmapped_code SET last_update_time = now() - interval '31 days'"
        " WHERE error_code = 'old'"
    )
    async with running.process.app.db.begin() as db:
        await db.execute(admin)
    assert [one.error_code for one in await listed(running)] == ["young"]
    async with running.process.app.db.begin() as db:
        await unmapped.drop(db, [("up", 10)])
        left = await db.execute(text("SELECT error_code FROM vds_unmapped_code"))
        assert list(left.scalars()) == ["young"]
