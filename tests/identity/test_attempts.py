"""Promises: failed logins slow down who fails, and no one else; a flood of logins starves no one."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan_identity import logins
from shoudan_identity.attempts import network_of
from shoudan_identity.passwords import PasswordRoom
from shoudan_identity.refusals import LoginRefused, Overloaded, TooManyAttempts
from tests.identity.harness import PASSWORD, IdentityHarness, Person, open_desk, reason

HOME, STRANGER = "203.0.113.7", "198.51.100.66"
FREE = 5


async def outcome(harness: IdentityHarness, address: str, person: Person, **more: Any) -> str:
    """What a login from an address comes to."""
    try:
        await logins.login(harness.context, harness.from_(address, person, **more))
    except (LoginRefused, Overloaded, TooManyAttempts) as refusal:
        return type(refusal).__name__
    return "done"


async def eve_of(harness: IdentityHarness) -> Person:
    return await harness.person(await harness.admin(), "eve", "ops")


async def fail(harness: IdentityHarness, address: str, person: Person, times: int) -> list[str]:
    wrong = {"password": "not her password", "device": ""}
    return [await outcome(harness, address, person, **wrong) for _ in range(times)]


async def test_who_fails_waits_and_the_wait_grows(harness: IdentityHarness) -> None:
    eve = await eve_of(harness)
    assert await fail(harness, STRANGER, eve, FREE + 1) == [
        *["LoginRefused"] * FREE,
        "TooManyAttempts",
    ]
    assert (
        await outcome(harness, STRANGER, eve, device="") == "TooManyAttempts"
    )  # though it is right
    waits: list[float] = []
    for _ in range(4):
        await harness.sql(
            "UPDATE login_attempt SET next_time = now() - interval '1 ms' WHERE scope = 2"
        )
        assert await fail(harness, STRANGER, eve, 1) == ["LoginRefused"]
        query = (
            "SELECT extract(epoch FROM next_time - update_time) FROM login_attempt WHERE scope = 2"
        )
        waits.append(float(max(await harness.sql(query))[0]))
    assert waits == [2, 4, 8, 16]


async def test_a_stranger_locks_out_neither_her_address_nor_her_device(
    harness: IdentityHarness,
) -> None:
    eve = await eve_of(harness)
    await fail(harness, STRANGER, eve, FREE + 3)
    assert await outcome(harness, HOME, eve, device="") == "done"
    await fail(harness, HOME, eve, FREE + 3)  # from her own network, without her device
    assert await outcome(harness, HOME, eve, device="") == "TooManyAttempts"
    assert await outcome(harness, HOME, eve) == "done"
    assert await outcome(harness, STRANGER, eve) == "done"  # her device, wherever it is


async def test_a_device_of_someone_else_is_no_known_device(harness: IdentityHarness) -> None:
    eve = await eve_of(harness)
    admin = Person("admin")
    other = await harness.sql("SELECT count(*) FROM known_device")
    await fail(harness, STRANGER, eve, FREE + 1)
    assert await outcome(harness, STRANGER, eve, device="chosen by a stranger") == "TooManyAttempts"
    assert await harness.sql("SELECT count(*) FROM known_device") == other
    assert admin.device == ""


async def test_an_address_that_tries_many_names_waits_and_who_logged_in_there_does_not(
    harness: IdentityHarness,
) -> None:
    eve = await eve_of(harness)
    assert await outcome(harness, HOME, eve, device="") == "done"
    tried = [
        await outcome(harness, HOME, Person(f"name{n}"), device="") for n in range(4 * FREE + 1)
    ]
    assert tried[-1] == "TooManyAttempts"
    assert set(tried[:-1]) == {"LoginRefused"}
    assert await outcome(harness, HOME, eve, device="") == "done"
    assert await outcome(harness, STRANGER, eve, device="") == "done"


async def test_a_success_takes_back_its_own_count_only(harness: IdentityHarness) -> None:
    eve = await eve_of(harness)
    for n in range(3):
        await outcome(harness, STRANGER, Person(f"name{n}"))
    await outcome(harness, STRANGER, eve, device="")
    query = "SELECT scope, failures FROM login_attempt WHERE failures > 0 ORDER BY scope, failures"
    counts = await harness.sql(query)
    assert [tuple(row) for row in counts] == [(1, 3), (2, 1), (2, 1), (2, 1)]


async def test_attempts_at_the_same_moment_do_not_pass_one_count(harness: IdentityHarness) -> None:
    eve = await eve_of(harness)
    wrong = {"password": "not her password", "device": ""}
    tried = await asyncio.gather(
        *(outcome(harness, STRANGER, eve, **wrong) for _ in range(4 * FREE))
    )
    assert tried.count("LoginRefused") <= FREE


async def test_an_unknown_name_takes_as_long_as_a_known_one(harness: IdentityHarness) -> None:
    """The password is checked either way; in turn and the quickest, because the machine is shared."""
    eve = await eve_of(harness)

    async def took(person: Person, n: int) -> float:
        began = time.perf_counter()
        address = f"192.0.2.{n}"
        assert await fail(harness, address, person, 1) == ["LoginRefused"]
        return time.perf_counter() - began

    known: list[float] = []
    unknown: list[float] = []
    for n in range(15):
        known.append(await took(eve, n))
        unknown.append(await took(Person("mallory"), 100 + n))
    assert 0.5 < min(known) / min(unknown) < 2


async def test_a_flood_from_one_address_leaves_room_for_others() -> None:
    room = PasswordRoom(1, 6)
    stored = await room.hash("", PASSWORD)
    flood = [asyncio.ensure_future(room.verify(f"10.0.0.{n % 3}", stored, "x")) for n in range(60)]
    assert await room.verify(HOME, stored, PASSWORD)
    answers = await asyncio.gather(*flood, return_exceptions=True)
    assert len([one for one in answers if isinstance(one, Overloaded)]) >= 50
    assert not [one for one in answers if one is True]
    await room.close()


async def test_other_calls_go_on_during_a_flood_of_logins(new_database: Any) -> None:
    async with open_desk(await new_database("identity"), password_threads=1) as harness:
        eve = await eve_of(harness)
        flood = [
            asyncio.ensure_future(outcome(harness, f"10.0.{n}.1", Person("mallory")))
            for n in range(30)
        ]
        request = pb.RefreshRequest(refresh_token=eve.tokens.refresh_token)
        refreshed = await harness.stub.Refresh(request, timeout=5)
        assert refreshed.tokens.access_token
        assert not all(one.done() for one in flood)
        await asyncio.gather(*flood, return_exceptions=True)


async def test_a_refused_login_that_was_not_checked_counts_nothing(new_database: Any) -> None:
    async with open_desk(await new_database("identity"), password_waiting_max=2) as harness:
        eve = await eve_of(harness)
        given = harness.from_(STRANGER, eve, device="", password="not her password")
        answers = await asyncio.gather(
            *(logins.login(harness.context, given) for _ in range(FREE)), return_exceptions=True
        )
        refused = [one for one in answers if isinstance(one, LoginRefused)]
        counts = await harness.sql("SELECT failures FROM login_attempt WHERE scope = 2")
        assert [row[0] for row in counts] == [len(refused)]
        assert len(refused) < FREE


def test_an_address_of_ipv6_counts_as_its_network() -> None:
    assert (
        network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    )
    assert network_of("203.0.113.7") == "203.0.113.7"


async def test_an_address_that_hammers_is_not_looked_at(harness: IdentityHarness) -> None:
    eve = await eve_of(harness)
    tried = await asyncio.gather(
        *(outcome(harness, STRANGER, Person("mallory"), device="") for _ in range(80))
    )
    assert tried.count("TooManyAttempts") >= 40
    assert await outcome(harness, HOME, eve) == "done"


@pytest.mark.parametrize("name", ["", "Eve", "eve\0", "x" * 70_000, "eve' OR 1=1 --"])
async def test_a_name_that_is_none_is_refused_like_an_unknown_one(
    harness: IdentityHarness, name: str
) -> None:
    assert await reason(harness.login(Person(name))) == "LOGIN_REFUSED"
