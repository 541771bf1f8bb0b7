"""Promises of stored credentials: believed, and refused, by two gateways within a second."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from shoudan.core.v1 import credential_service_pb2 as pb
from shoudan.core.v1 import credential_service_pb2_grpc as stubs
from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan_gateway.channel_cache import ChannelCache
from shoudan_kit.clock import TurnedClock
from shoudan_kit.credentials.book import POLL_S
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.rpc.client import connect
from shoudan_kit.rpc.refusal import refused_from_rpc
from shoudan_signing import channel as signing
from tests.order.harness import OrderHarness, inboxes, running
from tests.poll import eventually

LIVE_S = 1.0  # what is promised: POLL_S and what two calls take
ORDER = {
    "channel_no": "test",
    "line_id": "1",
    "carrier_no": "ZSH",
    "invoice_type": "1",
    "num": "1",
    "face": "200",
    "amount": "198",
    "rechage_account": "100011000000000",
}


@dataclass
class Two:
    """An order service with two gateways before it."""

    harness: OrderHarness
    fronts: list[Any]
    credentials: Any
    keys: Any = field(default_factory=lambda: itertools.count(1))

    async def issue(self, **changes: Any) -> pb.IssueCredentialResponse:
        facts = {
            "request_key": f"k{next(self.keys)}",
            "kind": "channel",
            "owner": "test",
            "by": "li",
            "reason": "new partner",
        }
        return await self.credentials.IssueCredential(pb.IssueCredentialRequest(**facts | changes))

    async def rotate(self, **changes: Any) -> pb.RotateCredentialResponse:
        facts = {
            "request_key": f"k{next(self.keys)}",
            "kind": "channel",
            "owner": "test",
            "by": "li",
            "reason": "yearly",
        }
        return await self.credentials.RotateCredential(
            pb.RotateCredentialRequest(**facts | changes)
        )

    async def revoke(self, credential_id: int) -> pb.RevokeCredentialResponse:
        return await self.credentials.RevokeCredential(
            pb.RevokeCredentialRequest(credential_id=credential_id, by="li", reason="leaked")
        )

    async def listed(self, *, ended: bool = True) -> list[pb.Credential]:
        request = pb.ListCredentialsRequest(kind="channel", owner="test", ended=ended)
        return list((await self.credentials.ListCredentials(request)).credentials)

    async def order(self, secret: str, front: int = 0) -> int:
        """The HTTP status of an order signed with the secret."""
        params = ORDER | {
            "request_no": f"s{secrets.token_hex(6)}",
            "sign_type": "HMAC-SHA256-V2",
            "timestamp": str(int(time.time())),
            "nonce": secrets.token_hex(8),
        }
        key = secret.encode()
        params["sign"] = signing.hmac_v2_sign("GET", "/order/request", params, b"", key)
        status, _ = await self.fronts[front].ask("/order/request", params=params)
        return status

    async def poll_both(self, secret: str, status: int, within_s: float = LIVE_S) -> None:
        """Both gateways answer so within the time."""
        began = time.monotonic()
        for front in (0, 1):

            async def as_wanted(front: int = front) -> bool:
                return await self.order(secret, front) == status

            await eventually(as_wanted, max(0.2, began + within_s - time.monotonic()))

    async def sql(self, query: str) -> list[Any]:
        return await self.harness.sql(query)


@pytest.fixture
async def two(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], open_gateway: Any
) -> AsyncIterator[Two]:
    """Channel `test` must sign; nothing is in files or the environment."""
    async with inboxes() as inbox, running(await new_database("order"), inbox) as harness:
        channel = catalogue_pb.DownChannel(
            channel_no="test", channel_name="测试", enabled=True, auth_mode="hmac2"
        )
        await harness.apply(down_channels=[channel])
        target = f"127.0.0.1:{harness.process.port}"
        fronts = [await open_gateway(order_target=target) for _ in range(2)]
        channel_to = connect(target)
        stub: Any = stubs.CredentialServiceStub(channel_to)
        yield Two(harness, fronts, stub)
        await channel_to.close()


async def test_an_issued_secret_is_believed_by_every_gateway_within_a_second(two: Two) -> None:
    assert await two.order("0" * 64) == 403
    made = await two.issue()
    assert len(made.secret) == 64
    await two.poll_both(made.secret, 200)
    assert await two.order("0" * 64) == 403
    (listed,) = await two.listed()
    assert listed == made.credential
    assert made.secret not in str(listed)


async def test_a_repeat_gives_the_same_credential_without_its_secret(two: Two) -> None:
    first = await two.issue(request_key="once")
    again = await two.issue(request_key="once")
    assert (again.credential, again.secret, again.repeated) == (first.credential, "", True)
    await refused("ERROR_REASON_CREDENTIAL_DIFFERS", two.issue(request_key="once", owner="other"))
    assert len(await two.listed()) == 1


async def test_both_secrets_are_good_while_one_replaces_the_other_then_the_new_one_alone(
    two: Two,
) -> None:
    old = await two.issue()
    await two.poll_both(old.secret, 200)
    new = await two.rotate(overlap_s=3600)
    assert [one.credential_id for one in new.retiring] == [old.credential.credential_id]
    await two.poll_both(new.secret, 200)
    await two.poll_both(old.secret, 200)
    turned(two, 3601)
    await two.poll_both(old.secret, 403)
    over = "UPDATE credential SET expire_time = now(), version = version + 1 WHERE status = 20"
    await two.harness._as_owner(over)

    async def moved() -> bool:
        rows = await two.sql("SELECT status FROM credential ORDER BY credential_id")
        return [row.status for row in rows] == [91, 10]

    await eventually(moved)


async def test_a_rotation_without_overlap_ends_the_old_secret_at_once(two: Two) -> None:
    old = await two.issue()
    await two.poll_both(old.secret, 200)
    new = await two.rotate(overlap_s=0)
    await two.poll_both(old.secret, 403)
    await two.poll_both(new.secret, 200)


async def test_a_revoked_secret_is_refused_everywhere_within_a_second(two: Two) -> None:
    one, other = await two.issue(), await two.issue()
    await two.poll_both(one.secret, 200)
    ended = await two.revoke(one.credential.credential_id)
    assert (ended.credential.status, ended.repeated) == (pb.CREDENTIAL_STATUS_REVOKED, False)
    await two.poll_both(one.secret, 403)
    assert await two.order(other.secret) == 200
    again = await two.revoke(one.credential.credential_id)
    assert again.repeated
    await refused("ERROR_REASON_NO_CREDENTIAL", two.revoke(1))


async def test_who_has_everything_waits_for_a_change_and_is_let_go_when_the_service_stops(
    two: Two,
) -> None:
    await two.issue()
    book = two.harness.context.credentials

    def asked(wait_ms: int) -> pb.FetchCredentialsRequest:
        return pb.FetchCredentialsRequest(kinds=["channel"], version=book.version, wait_ms=wait_ms)

    assert (await two.credentials.FetchCredentials(asked(1))).unchanged
    waiting = two.credentials.FetchCredentials(asked(2000))  # a call under way
    began = time.monotonic()
    await two.issue()
    answer = await waiting
    assert (answer.unchanged, len(answer.secrets)) == (False, 2)
    waiting = two.credentials.FetchCredentials(asked(2000))  # a call under way
    book.let_go()
    assert (await waiting).unchanged
    assert time.monotonic() - began < 1.5, "neither waited for its time to end"
    for wrong in (-1, 2001):
        await refused(
            "ERROR_REASON_CREDENTIAL_FIELD_INVALID", two.credentials.FetchCredentials(asked(wrong))
        )


async def test_of_two_rotations_at_once_one_is_made_and_the_other_refused(two: Two) -> None:

    await two.issue()
    asked = [two.rotate(overlap_s=60) for _ in range(2)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    made = [one for one in answers if isinstance(one, pb.RotateCredentialResponse)]
    failed = [one for one in answers if isinstance(one, grpc.RpcError)]
    assert (len(made), len(failed)) == (1, 1)
    told = refused_from_rpc(failed[0])
    assert told is not None
    assert told.reason == "ERROR_REASON_ROTATION_UNDER_WAY"
    assert len(await two.listed(ended=False)) == 2


async def test_a_gateway_goes_on_with_what_it_has_while_the_owner_is_away_and_says_its_age(
    two: Two,
) -> None:
    made = await two.issue()
    await two.poll_both(made.secret, 200)
    await two.harness.process.stop()
    (stored,) = [
        run.__self__._stored
        for run in two.fronts[0].process.running.background
        if isinstance(getattr(run, "__self__", None), ChannelCache)
    ]
    await eventually(lambda: stored.age_s > 2 * POLL_S)
    assert await two.order(made.secret) in {503, 504}  # believed, and the order service away
    assert await two.order("0" * 64) == 403


async def test_a_secret_moved_to_another_channel_is_not_read(two: Two) -> None:
    """Who can write to the table still cannot make one channel's secret another's."""
    made = await two.issue(owner="other")
    await two.harness._as_owner(
        "UPDATE credential SET owner = 'test', version = version + 1", "SELECT 1"
    )
    book = two.harness.context.credentials
    await eventually(lambda: bool(book.unreadable))
    assert await two.order(made.secret) == 403
    (listed,) = await two.listed()
    assert not listed.readable


async def test_what_fitted_is_noted_off_the_hot_path(two: Two) -> None:
    made = await two.issue()
    await two.poll_both(made.secret, 200)
    (stored,) = [
        run.__self__._stored
        for run in two.fronts[0].process.running.background
        if isinstance(getattr(run, "__self__", None), ChannelCache)
    ]
    stored._reported_at -= 60
    book = two.harness.context.credentials
    await eventually(lambda: made.credential.credential_id in book.live._used)
    book._reported_at -= 60

    async def noted() -> bool:
        (row,) = await two.sql("SELECT last_used_time FROM credential")
        return row.last_used_time is not None

    await eventually(noted)


async def test_no_secret_is_in_an_event_a_row_a_log_line_or_an_error(
    two: Two, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = "canary-9b7c1f0e5d3a4b2c"
    await two.issue(secret=canary, request_key="canary")
    await two.rotate(overlap_s=0, secret=canary + "-2")
    failure = await refused(
        "ERROR_REASON_CREDENTIAL_FIELD_INVALID", two.issue(secret=f"{canary} with spaces")
    )
    assert canary not in json.dumps(dict(failure.metadata))
    await two.poll_both(canary + "-2", 200)
    rows = await two.harness.sql("SELECT CAST(e AS text) AS line FROM event AS e")
    rows += await two.harness.sql("SELECT CAST(c AS text) AS line FROM credential AS c")
    audited = await two.harness.sql(
        "SELECT CAST(a AS text) AS line FROM audit_log AS a WHERE subject_kind = 'credential'"
    )
    assert len(audited) == 3  # issued, the new one issued, the old one replaced
    replaced = "SELECT before FROM audit_log WHERE subject_kind = 'credential' AND before <> ''"
    (was,) = await two.harness.sql(replaced)
    assert json.loads(was.before)["status"] == "ACTIVE"
    rows += audited
    shown = "".join(row.line for row in rows) + "".join(capsys.readouterr())
    assert len(rows) >= 5
    for form in (canary, canary.encode().hex()):
        assert form not in shown


@pytest.mark.parametrize(
    ("field_name", "wrong"),
    [
        ("kind", "nope"),
        ("owner", ""),
        ("owner", "a b"),
        ("owner", "a|b"),
        ("secret", "short"),
        ("secret", "x" * 9000),
        ("reason", ""),
        ("by", ""),
        ("request_key", ""),
    ],
)
async def test_what_cannot_be_taken_is_refused_by_name(
    two: Two, field_name: str, wrong: str
) -> None:
    failure = await refused(
        "ERROR_REASON_CREDENTIAL_FIELD_INVALID", two.issue(**{field_name: wrong})
    )
    assert failure.metadata["field"] == field_name
    assert await two.listed() == []


async def test_an_owner_has_no_more_than_five_at_once(two: Two) -> None:
    for _ in range(5):
        await two.issue()
    await refused("ERROR_REASON_TOO_MANY_CREDENTIALS", two.issue())
    await refused("ERROR_REASON_NO_CREDENTIAL", two.rotate(owner="nobody"))


async def refused(reason: str, call: Awaitable[Any]) -> Any:
    with pytest.raises(grpc.RpcError) as raised:
        await call
    found = refused_from_rpc(raised.value)
    assert found is not None
    assert found.reason == reason
    return found


def turned(two: Two, seconds: float) -> list[TurnedClock]:
    """The gateways judge by clocks of their own, so many seconds ahead."""
    clocks: list[TurnedClock] = []
    for front in two.fronts:
        for run in front.process.running.background:
            owner = getattr(run, "__self__", None)
            if isinstance(owner, ChannelCache):
                clock = TurnedClock(owner._stored._clock.now())
                clock.advance(seconds)
                owner._stored._clock = clock
                clocks.append(clock)
    return clocks
