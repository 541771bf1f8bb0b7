"""Promises: who logged in, failed or changed something is in the audit log by number; a name can go."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan_identity import attempts, housekeeping, logins
from shoudan_identity.refusals import LoginRefused, TooManyAttempts
from shoudan_kit.audit_log.sealing import look
from shoudan_kit.audit_log.verify import verify
from shoudan_kit.cell import audit_log_keys
from shoudan_kit.seal_keys import SealKeys
from tests.identity.harness import IdentityHarness, Person, open_desk, reason
from tests.poll import eventually

STRANGER = "198.51.100.66"
ROWS = "SELECT * FROM audit_log ORDER BY id"


@pytest.fixture
async def harness(new_database: Any) -> AsyncIterator[IdentityHarness]:
    async with open_desk(await new_database("identity")) as one:
        yield one


def keys_of(harness: IdentityHarness) -> SealKeys:
    return audit_log_keys(harness.context.settings)


async def findings(harness: IdentityHarness) -> list[Any]:
    """What a proof of everything that is sealed now finds."""
    app = harness.context.app
    await look(app.db, app.work, app.name, keys_of(harness))
    token, found = "", []
    while True:
        proof = await verify(app.db, app.name, keys_of(harness), token)
        found += proof.findings
        token = proof.token
        if not token:
            return found


async def test_an_operator_is_erased_and_the_chain_stays_whole(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    eve = await harness.person(admin, "eve", "ops", "admin")
    await harness.stub.CreateOperator(pb.CreateOperatorRequest(name="tom"), metadata=eve.auth)
    assert await findings(harness) == []
    request = pb.EraseOperatorRequest(name="eve", reason="she left")
    erased = (await harness.stub.EraseOperator(request, metadata=admin.auth)).operator
    assert erased.name == f"erased-{erased.operator_id}"
    assert erased.disabled
    assert await findings(harness) == []
    assert await reason(harness.login(eve)) == "LOGIN_REFUSED"
    assert await reason(harness.stub.WhoAmI(pb.WhoAmIRequest(), metadata=eve.auth)) == "NOT_ALLOWED"
    for table in ("operator", "audit_log", "audit_log_block", "session", "api_token", "event"):
        shown = json.dumps(
            [dict(row) for row in await harness.sql(f"SELECT * FROM {table}")], default=str
        )
        assert "eve" not in shown.replace("event", ""), table
    ours = [row for row in await harness.sql(ROWS) if row["caller_ref"] == str(erased.operator_id)]
    assert {"login", "created"} <= {row["action"] for row in ours}
    again = pb.EraseOperatorRequest(name=erased.name, reason="again")
    done = await harness.stub.EraseOperator(again, metadata=admin.auth)
    assert done.operator.name == erased.name


async def test_the_last_admin_is_not_erased(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    request = pb.EraseOperatorRequest(name="admin", reason="why not")
    assert await reason(harness.stub.EraseOperator(request, metadata=admin.auth)) == "LAST_ADMIN"


async def test_names_are_given_to_those_who_read_audit_logs(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    ops = await harness.person(admin, "eve", "ops")
    viewer = await harness.person(admin, "tom", "viewer")
    request = pb.GetOperatorNamesRequest(operator_ids=[1, 999])
    found = await harness.stub.GetOperatorNames(request, metadata=ops.auth)
    assert dict(found.names) == {1: "admin"}
    assert (
        await reason(harness.stub.GetOperatorNames(request, metadata=viewer.auth)) == "NOT_ALLOWED"
    )
    many = pb.GetOperatorNamesRequest(operator_ids=range(1001))
    assert await reason(harness.stub.GetOperatorNames(many, metadata=ops.auth)) == "FIELD_INVALID"


async def test_a_change_that_an_operator_may_not_make_is_recorded(harness: IdentityHarness) -> None:
    viewer = await harness.person(await harness.admin(), "tom", "viewer")
    request = pb.ResetOperatorRequest(name="admin")
    assert await reason(harness.stub.ResetOperator(request, metadata=viewer.auth)) == "NOT_ALLOWED"

    async def recorded() -> list[Any]:
        return await harness.audit("IdentityService/ResetOperator")

    await eventually(recorded)
    (row,) = await recorded()
    number = (await harness.sql("SELECT operator_id FROM operator WHERE name = 'tom'"))[0][0]
    assert (row["outcome"], row["caller_ref"]) == ("refused", str(number))


async def test_a_change_leaves_the_row_of_its_rule_alone(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    before = len(await harness.sql(ROWS))
    await harness.stub.CreateOperator(pb.CreateOperatorRequest(name="tom"), metadata=admin.auth)
    wrong = pb.ChangePasswordRequest(password="wrong", new_password="another battery staple")
    assert await reason(harness.stub.ChangePassword(wrong, metadata=admin.auth)) == "LOGIN_REFUSED"
    rows = (await harness.sql(ROWS))[before:]
    assert [(row["action"], row["outcome"]) for row in rows] == [
        ("created", "done"),
        ("password", "refused"),
    ]


async def test_a_name_that_was_tried_is_not_stored_and_the_same_name_is_told(
    harness: IdentityHarness,
) -> None:
    for name in ("my-password-by-mistake", "my-password-by-mistake", "other"):
        with pytest.raises(LoginRefused):
            await logins.login(harness.context, harness.from_(STRANGER, Person(name), password="x"))
    rows = await harness.audit("login")
    assert "my-password" not in str([dict(row) for row in rows])
    first, second, other = [row["subject_key"] for row in rows]
    assert first == second != other
    assert {(row["caller_kind"], row["address"]) for row in rows} == {("none", STRANGER)}


async def test_attempts_refused_for_a_wait_are_counted_and_the_first_ones_written(
    harness: IdentityHarness,
) -> None:
    counted = logins.LOGINS_TOTAL(TooManyAttempts.__name__)
    before, refused = counted._value.get(), 0
    for _ in range(5 + attempts.WAIT_ROWS + 4):
        try:
            await logins.login(
                harness.context, harness.from_(STRANGER, Person("nobody"), password="x")
            )
        except TooManyAttempts:
            refused += 1
        except LoginRefused:
            pass
    assert refused > attempts.WAIT_ROWS
    assert counted._value.get() - before == refused
    why = await harness.reasons("login")
    assert why.count("too many attempts") == attempts.WAIT_ROWS


async def test_rows_of_the_earlier_audit_move_with_references_for_names(
    harness: IdentityHarness,
) -> None:
    admin = await harness.admin()
    await harness.person(admin, "eve", "ops")
    eve = (await harness.sql("SELECT operator_id FROM operator WHERE name = 'eve'"))[0][0]
    old = [
        (5, "login", "done", eve, "eve", "session 7", "{}"),
        (6, "login", "unknown name", 0, "mallory", "", "{}"),
        (7, "roles", "done", 1, "admin", "operator eve", '{"before": ["ops"]}'),
        (8, "rotate keys", "done", 0, "identity", "key k", "{}"),
        (9, "revoke token", "done", 1, "admin", "token ci", '{"operator": "eve"}'),
    ]
    for row in old:
        await harness.sql(
            "INSERT INTO operator_audit (audit_id, action, outcome, actor_id, actor, subject, facts,"
            " address, request_id, create_time)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, '::1', 'r', '2026-01-02T00:00:00Z')",
            *row,
        )
    for _ in range(2):
        await housekeeping.move_old_audit(harness.context)
    moved = await harness.sql("SELECT * FROM audit_log WHERE id < 10 ORDER BY id")
    assert [
        (r["caller_kind"], r["caller_ref"], r["subject_kind"], r["subject_key"], r["outcome"])
        for r in moved
    ] == [
        ("operator", str(eve), "session", "7", "done"),
        ("none", "", "", "", "refused"),
        ("operator", "1", "operator", str(eve), "done"),
        ("service", "identity", "key", "k", "done"),
        ("operator", "1", "token", "ci", "done"),
    ]
    assert "mallory" not in str([dict(row) for row in moved])
    assert {row["create_time"].year for row in moved} == {2026}
    assert json.loads(moved[1]["after"]) == {"why": "unknown name"}
    assert await findings(harness) == []
