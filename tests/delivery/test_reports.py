"""Every end reaches the order service, however long it is away; one bad result holds back no other."""

from grpc import StatusCode

from tests.delivery.conftest import House, numbers
from tests.poll import eventually


async def test_results_are_told_until_the_order_service_acknowledges(running: House) -> None:
    running.orders.refuse = StatusCode.UNAVAILABLE
    (number,) = await running.send("0000")

    async def waiting() -> bool:
        rows = await running.rows("SELECT notify_count FROM vds_order_notify WHERE status = 20")
        return bool(rows)

    await eventually(waiting)
    running.orders.refuse = None
    await running.ends(number)

    async def acknowledged() -> bool:
        rows = await running.rows("SELECT status, notify_count FROM vds_order_notify")
        return rows[0].status == 0 and rows[0].notify_count >= 2

    await eventually(acknowledged)
    assert await running.rows("SELECT 1 FROM task WHERE name = 'delivery.report'") == []


async def test_one_bad_result_holds_back_nobody_else(running: House) -> None:
    running.orders.poison = next(numbers) + 3
    sent = await running.send(*["0000"] * 6)
    assert running.orders.poison in sent
    for number in sent:
        if number != running.orders.poison:
            await running.ends(number)
    assert running.orders.poison not in running.orders.told


async def test_finished_work_leaves_no_task_behind(running: House) -> None:
    for number in await running.send(*["0000", "0001", "0002", "0010"] * 5):
        await running.ends(number)

    async def idle() -> bool:
        return await running.rows("SELECT 1 FROM task WHERE status IN (20, 30)") == []

    await eventually(idle)
    running.witness()
