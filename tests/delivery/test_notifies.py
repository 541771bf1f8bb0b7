"""Notifies end deliveries when verified, repeats change nothing, contradictions are parked, never applied."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from grpc import StatusCode, aio

from shoudan_delivery.config import DeliverySettings
from shoudan_delivery.inbound import NotifyTokens
from shoudan_delivery.store.rows import Supplier
from shoudan_fakes.wire import signature
from shoudan_kit.config import Secret
from shoudan_kit.metrics import NOTIFIES_TAKEN
from tests.delivery.conftest import House, house
from tests.poll import eventually
from tests.stored import Stored

SUCCEEDED, SENDING, FAILED = 0, 30, 90
NOTIFY, QUERY, SYNC = 1, 2, 3
SUPPLIER = Supplier(
    1, "up", 10, "default", "http://a", "http://told", "", 1, 1, 1, True, True, False, 1, 1.0, ""
)


def token(running: House, order_no: str, channel_no: str = "up", service_class: int = 10) -> str:
    """The query that the supplier of this channel was given for this number."""
    settings = running.process.settings
    supplier = replace(SUPPLIER, channel_no=channel_no, service_class=service_class)
    tokens = NotifyTokens(settings.notify_keys())
    return tokens.url(supplier, int(order_no)).removeprefix(SUPPLIER.notify_url)


async def tell(
    running: House,
    body: Any,
    channel_no: str = "up",
    query: str | None = None,
    service_class: int = 10,
) -> tuple[int, str]:
    """POST a notify as a supplier would, with its delivery's token; HTTP status and body of the answer."""
    if query is None:
        query = token(running, body["order_no"], channel_no, service_class)
    url = f"{running.process.settings.public_url}/vds/notify/{channel_no}/{service_class}{query}"
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


@pytest.mark.parametrize("first", [FAILED, SUCCEEDED])
@pytest.mark.parametrize("service_class", [10, 21])
async def test_a_contradiction_is_reported_once_until_acknowledged_and_never_applied(
    running: House, first: int, service_class: int
) -> None:
    await running.apply(service_class=service_class)
    (number,) = await running.send(
        "0001" if first == FAILED else "0000", service_class=service_class
    )
    ended = await running.ends(number, service_class)
    assert (ended.status, running.orders.told[number].succeeded) == (first, first == SUCCEEDED)
    running.orders.refuse = StatusCode.UNAVAILABLE
    calls = running.orders.calls
    code = "R_0000" if first == FAILED else "R_5124"
    body = {"order_no": ended.order_no, "code": code, "amount": "100"}
    for _ in range(3):
        assert await tell(running, body, service_class=service_class) == (200, "success")
    await eventually(lambda: running.orders.calls > calls)
    running.orders.refuse = None
    await eventually(lambda: number in running.orders.against)

    async def idle() -> bool:
        return await running.rows("SELECT 1 FROM task WHERE name = 'delivery.conflict'") == []

    await eventually(idle)
    (later,) = running.orders.against[number]
    assert (later.succeeded, later.is_return) == (first == FAILED, service_class == 21)
    assert running.orders.told[number].succeeded is (first == SUCCEEDED)
    after = await running.query(number, service_class)
    assert (after.status, after.conflict) == (first, True)
    assert len([one for one in await running.incidents(number) if "contradicts" in one]) == 1
    events = await running.rows("SELECT 1 FROM event WHERE subject LIKE '%.delivery.conflict'")
    assert len(events) == 1


async def test_a_late_success_of_another_amount_contradicts_a_failure_too(running: House) -> None:
    (number,) = await running.send("0001")
    ended = await running.ends(number)
    body = {"order_no": ended.order_no, "code": "R_0000", "amount": "99"}
    assert await tell(running, body) == (200, "success")
    await eventually(lambda: number in running.orders.against)
    assert (await running.query(number)).status == FAILED


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


async def open_number(running: House, **channel: Any) -> tuple[int, str]:
    """A delivery that only a notify can end: its owner's number and the supplier's."""
    await running.apply(can_query=False, **channel)
    (number,) = await running.send("0003")

    async def sent() -> bool:
        return (await running.query(number)).result_code == "R_9999"

    await eventually(sent)
    return number, (await running.query(number)).order_no


async def test_whatever_is_not_believed_looks_alike_and_changes_nothing(running: House) -> None:
    await running.apply("other")
    number, order_no = await open_number(running)
    right = token(running, order_no)
    good = {"order_no": order_no, "code": "R_0000", "amount": "100"}
    told = [
        await tell(running, good, query=""),
        await tell(running, good, query="?token="),
        await tell(running, good, query="?token=AAAAAAAAAAAAAAAAAAAAAA"),
        await tell(running, good, query=f"{right[:-1]}"),
        await tell(running, good, query=f"{right}&token=1"),
        await tell(running, good, query=f"?token={'%20' * 400}"),
        await tell(running, good, query=f"?token={'é'}"),
        await tell(running, good | {"order_no": str(int(order_no) + 1)}, query=right),
        await tell(running, good | {"order_no": "1"}),
        await tell(running, good, "other", query=right),
        await tell(running, good, "other"),  # the other supplier's own token for this number
        await tell(running, good, "unknown", query=right),
    ]
    told += [
        await tell(running, good | {"order_no": name}, query=right)
        for name in ("99999999999999999999999", "x", "-1", "１", str(2**63))
    ]
    assert set(told) == {(403, "PERMISSION_DENIED")}
    assert (await running.query(number)).status == SENDING
    assert await tell(running, good) == (200, "success")
    assert (await running.query(number)).status == SUCCEEDED


async def test_guesses_are_limited_and_counted_and_lock_nobody_out(running: House) -> None:
    number, order_no = await open_number(running)
    good = {"order_no": order_no, "code": "R_0000", "amount": "100"}
    outcomes = ("accepted", "refused", "limited")
    before = [NOTIFIES_TAKEN(one)._value.get() for one in outcomes]
    first = int(order_no) - 131
    told = [
        (await tell(running, good | {"order_no": str(first + n)}, query=""))[1] for n in range(263)
    ]
    assert told[0] == "PERMISSION_DENIED"
    assert told.count("RESOURCE_EXHAUSTED") > 200
    assert await tell(running, good) == (200, "success")
    assert (await running.query(number)).status == SUCCEEDED
    now = [NOTIFIES_TAKEN(one)._value.get() for one in outcomes]
    accepted, refused, limited = (b - a for a, b in zip(before, now, strict=True))
    assert (accepted, refused + limited) == (1, 263)
    assert limited == told.count("RESOURCE_EXHAUSTED")


async def test_a_channel_that_loses_the_query_is_believed_from_its_networks_alone(
    running: House,
) -> None:
    number, order_no = await open_number(
        running, notify_without_token=True, notify_networks=["203.0.113.0/24"]
    )
    good = {"order_no": order_no, "code": "R_0000", "amount": "100"}
    assert (await tell(running, good, query=""))[0] == 403
    await running.apply(
        can_query=False, notify_without_token=True, notify_networks=["127.0.0.0/8", "::1/128"]
    )

    async def notify() -> bool:
        return await tell(running, good, query="") == (200, "success")

    await eventually(notify)
    assert (await running.query(number)).status == SUCCEEDED


@pytest.mark.parametrize(
    "changes",
    [
        {"notify_without_token": True},
        {"notify_networks": ["203.0.113.1/24"]},
        {"notify_networks": ["somewhere"]},
        {"notify_networks": ["10.0.0.0/8"] * 51},
        {"notify_url": "http://127.0.0.1/told#here"},
    ],
)
async def test_a_channel_whose_notifies_nothing_proves_is_refused(
    running: House, changes: dict[str, Any]
) -> None:
    with pytest.raises(aio.AioRpcError) as refused:
        await running.apply("other", **changes)
    assert refused.value.code() is StatusCode.INVALID_ARGUMENT


def test_a_token_belongs_to_one_delivery_and_outlives_a_change_of_keys() -> None:
    old, new = b"an old key of sixteen", b"a new key of sixteen!"
    before, during, after = NotifyTokens([old]), NotifyTokens([new, old]), NotifyTokens([new])
    given = before.url(SUPPLIER, 7).rpartition("=")[2]
    assert before.fits(SUPPLIER.key, 7, given)
    assert during.fits(SUPPLIER.key, 7, given)
    assert not after.fits(SUPPLIER.key, 7, given)
    assert not before.fits(SUPPLIER.key, 8, given)
    assert not before.fits(("up", 20), 7, given)
    assert after.fits(SUPPLIER.key, 7, during.url(SUPPLIER, 7).rpartition("=")[2])
    asked = replace(SUPPLIER, notify_url="http://a/b?c=d")
    assert before.url(asked, 7) == f"http://a/b?c=d&token={given}"
    assert before.url(replace(SUPPLIER, notify_without_token=True), 7) == SUPPLIER.notify_url


@pytest.mark.parametrize(
    "key", ["", "short", "one-of-sixteen-chars two-of-sixteen-chars three-of-sixteen"]
)
def test_notify_keys_that_can_be_guessed_are_mistakes_in_the_settings(key: str) -> None:
    settings = DeliverySettings(database_url=Secret("postgresql://x/y"), notify_key=Secret(key))
    assert [one for one in settings.cross_check() if one.startswith("notify_key")]


def test_prod_does_not_start_with_the_notify_key_of_the_demo() -> None:
    settings = DeliverySettings(profile="prod", database_url=Secret("postgresql://x/y"))
    assert [one for one in settings.cross_check() if one.startswith("notify_key")]


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


async def test_a_stored_secret_signs_requests_and_any_in_force_a_notify(
    new_database: Callable[[str], Awaitable[Any]], tmp_path: Path
) -> None:
    first, second = "a-secret-of-supplier-1", "a-secret-of-supplier-2"
    urls = await new_database("delivery")
    async with house(urls.service, tmp_path / "j.jsonl", secret=first.encode()) as running:
        stored = Stored(running.process.port)
        await running.apply(can_query=False)
        made = await stored.issue("supplier", "up", first)
        await eventually(lambda: running.process.running.context.suppliers.get("up", 10).secret)
        (number,) = await running.send("10000018")
        assert (await running.ends(number)).result_source == NOTIFY
        newest = await stored.issue("supplier", "up", second)
        await eventually(
            lambda: running.process.running.context.suppliers.get("up", 10).older_secrets
        )
        running.sandbox.supplier.secret = second.encode()  # requests are signed with the newest
        used = running.process.running.context.suppliers._stored._used
        assert newest.credential.credential_id not in used
        for secret in (first, second):
            (open_,) = await running.send("10000003")
            order_no = (await running.query(open_)).order_no
            # By the call that was signed with it; no notify has come under it yet.
            await eventually(lambda: newest.credential.credential_id in used)
            body = {"order_no": order_no, "code": "R_0000", "amount": "100", "channel_no": "up"}
            assert (await tell(running, body | {"sign": signature(body, b"other")}))[0] == 403
            signed = body | {"sign": signature(body, secret.encode())}
            assert await tell(running, signed) == (200, "success")
        await stored.revoke(made)
        await eventually(
            lambda: not running.process.running.context.suppliers.get("up", 10).older_secrets
        )
        (open_,) = await running.send("10000003")
        order_no = (await running.query(open_)).order_no
        body = {"order_no": order_no, "code": "R_0000", "amount": "100", "channel_no": "up"}
        assert (await tell(running, body | {"sign": signature(body, first.encode())}))[0] == 403
