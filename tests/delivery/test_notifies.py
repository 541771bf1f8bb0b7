"""Notifies end deliveries when verified, repeats change nothing, contradictions are parked, never applied."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shoudan_fakes.wire import signature
from tests.delivery.conftest import House, house
from tests.poll import eventually

SUCCEEDED, SENDING, FAILED = 0, 30, 90
NOTIFY, QUERY, SYNC = 1, 2, 3


async def tell(running: House, body: Any, channel_no: str = "up") -> tuple[int, str]:
    """POST a notify as a supplier would; HTTP status and body of the answer."""
    url = f"{running.process.settings.public_url}/vds/notify/{channel_no}/10"
    async with aiohttp.ClientSession() as http, http.post(url, json=body) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize(("tail", "status"), [("0018", SUCCEEDED), ("0019", FAILED)])
async def test_a_notify_ends_a_delivery_that_cannot_be_asked_about(
    running: House, tail: str, status: int
) -> None:
    await running.apply(can_query=False)
    (number,) = await running.send(f"1000{tail}")
    ended = await running.ends(number)
    assert (ended.status, ended.result_source) == (status, NOTIFY)
    assert running.sandbox.journal.attempts == 1


async def test_a_notify_before_the_answer_ends_it_and_the_answer_changes_nothing(
    running: House,
) -> None:
    running.sandbox.supplier.knobs["*"].notify_after_s = 0
    (number,) = await running.send("10000006")
    ended = await running.ends(number)
    assert (ended.status, ended.result_source, ended.conflict) == (SUCCEEDED, NOTIFY, False)
    assert not await running.incidents(number)


async def test_a_late_success_after_the_time_out_is_heard(running: House) -> None:
    running.sandbox.supplier.knobs["*"].late_s = 0.6
    await running.apply(timeout_s=0.2, can_query=False)
    (number,) = await running.send("10000008")
    ended = await running.ends(number)
    assert (ended.status, ended.result_source) == (SUCCEEDED, NOTIFY)
    running.witness()


async def test_a_repeated_notify_is_answered_success_and_changes_nothing(running: House) -> None:
    (number,) = await running.send("0000")
    ended = await running.ends(number)
    body = {"order_no": ended.order_no, "code": "R_0000", "amount": "100"}
    for _ in range(3):
        assert await tell(running, body) == (200, "success")
    after = await running.query(number)
    assert (after.result_source, after.conflict) == (SYNC, False)
    assert running.orders.calls == 1


async def test_a_contradiction_is_parked_for_a_person_and_never_applied(running: House) -> None:
    (number,) = await running.send("10000015")
    assert (await running.ends(number)).status == FAILED

    async def flagged() -> bool:
        return (await running.query(number)).conflict

    await eventually(flagged)
    assert (await running.query(number)).status == FAILED
    assert [one for one in await running.incidents(number) if "contradicts failed" in one]
    subjects = await running.rows("SELECT subject FROM event ORDER BY event_id")
    assert subjects[-1].subject == "shoudan.events.delivery.delivery.conflict"
    assert running.orders.told[number].succeeded is False


@pytest.mark.parametrize(
    "changes",
    [{"code": "R_7777"}, {"amount": "99"}, {"amount": ""}, {"code": "R_9999"}],
)
async def test_a_notify_without_a_certain_word_ends_nothing(
    running: House, changes: dict[str, str]
) -> None:
    await running.apply(can_query=False)
    (number,) = await running.send("0003")

    async def sent() -> bool:
        return (await running.query(number)).result_code == "R_9999"

    await eventually(sent)
    body = {"order_no": (await running.query(number)).order_no, "code": "R_0000", "amount": "100"}
    assert await tell(running, body | changes) == (200, "success")
    assert (await running.query(number)).status == SENDING


@pytest.mark.parametrize("order_no", ["1", "99999999999999999999999", "x", "-1", "１"])
async def test_a_notify_about_nothing_of_ours_is_not_thanked_for(
    running: House, order_no: str
) -> None:
    body = {"order_no": order_no, "code": "R_0000", "amount": "100"}
    assert (await tell(running, body))[0] == 404


async def test_a_notify_of_another_channel_cannot_end_a_delivery(running: House) -> None:
    await running.apply("other")
    await running.apply(can_query=False)
    (number,) = await running.send("0003")
    body = {"order_no": (await running.query(number)).order_no, "code": "R_0000", "amount": "100"}
    assert (await tell(running, body, "other"))[0] == 404
    assert (await running.query(number)).status != SUCCEEDED


async def test_with_a_secret_only_signed_notifies_count_and_requests_are_signed(
    new_database: Callable[[str], Awaitable[Any]],
    tmp_path: Path,
) -> None:
    urls = await new_database("delivery")
    (tmp_path / "supplier_key").write_text("s3cret\n")
    async with house(
        urls.service, tmp_path / "j.jsonl", secret=b"s3cret", secrets_dir=str(tmp_path)
    ) as running:
        await running.apply(secret_name="supplier_key", can_query=False)
        (number,) = await running.send("10000018", params={"ext_product_no": "x"})
        assert (await running.ends(number)).result_source == NOTIFY
        (open_,) = await running.send("10000003")
        order_no = (await running.query(open_)).order_no
        body = {"order_no": order_no, "code": "R_0000", "amount": "100", "channel_no": "up"}
        for sign in ("", "00", signature(body, b"other")):
            assert (await tell(running, body | {"sign": sign}))[0] == 403
        foreign = body | {"channel_no": "other"}
        assert (await tell(running, foreign | {"sign": signature(foreign, b"s3cret")}))[0] == 403
        assert (await running.query(open_)).status != SUCCEEDED
        assert await tell(running, body | {"sign": signature(body, b"s3cret")}) == (200, "success")
        assert (await running.query(open_)).status == SUCCEEDED
