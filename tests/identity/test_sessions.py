"""Promises of sessions, API tokens and operators: what begins, what ends it, who may."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan_kit.ids import milliseconds
from shoudan_kit.secrets.tokens import TokenVerifier, read_key_set
from tests.identity.harness import SYSTEM, IdentityHarness, Person, open_desk, reason, refusal

OPERATORS = "SELECT operator_id, name FROM operator"


async def refresh(harness: IdentityHarness, token: str) -> Any:
    return (await harness.stub.Refresh(pb.RefreshRequest(refresh_token=token))).tokens


async def test_a_refresh_token_is_good_once_and_its_reuse_ends_the_session(
    harness: IdentityHarness,
) -> None:
    eve = await harness.person(await harness.admin(), "eve", "ops")
    first = eve.tokens.refresh_token
    second = await refresh(harness, first)
    # The answer was lost: the same tokens again, as long as no one used them.
    assert (await refresh(harness, first)).refresh_token == second.refresh_token
    await harness.sql("UPDATE session SET use_time = use_time - interval '1 minute'")
    assert (await refusal(refresh(harness, first))).metadata[
        "why"
    ] == "a used refresh token came again"
    assert await reason(refresh(harness, second.refresh_token)) == "SESSION_ENDED"
    assert (await harness.reasons("refresh"))[0] == "a used refresh token came again"


async def test_a_guess_ends_no_session(harness: IdentityHarness) -> None:
    eve = await harness.person(await harness.admin(), "eve", "ops")
    number, family, _ = eve.tokens.refresh_token.split(".")
    for guess in (f"{number}.x.y", f"{number}.{family}", "x", "", "9" * 30 + ".a.b", "\0.\0.\0"):
        assert await reason(refresh(harness, guess)) == "SESSION_ENDED"
    assert await refresh(harness, eve.tokens.refresh_token)


async def test_operators_log_in_when_numbers_have_a_digit_more(harness: IdentityHarness) -> None:
    """From July 2027 on: sessions, API tokens and operators are named by their numbers."""
    late = milliseconds(datetime(2028, 1, 1, tzinfo=UTC))
    harness.context.app.ids.lease(1, late, late + 3_600_000)
    eve = await harness.person(await harness.admin(), "eve", "ops")
    number, _, _ = eve.tokens.refresh_token.split(".")
    assert len(number) == 19
    assert await refresh(harness, eve.tokens.refresh_token)
    listed = await harness.stub.ListSessions(pb.ListSessionsRequest(), metadata=eve.auth)
    assert [str(one.session_id) for one in listed.sessions] == [number]
    token = pb.CreateApiTokenRequest(name="later", roles=["ops"], days=1)
    made = await harness.stub.CreateApiToken(token, metadata=eve.auth)
    exchange = pb.ExchangeApiTokenRequest(api_token=made.secret)
    assert (await harness.stub.ExchangeApiToken(exchange)).access_token


async def test_two_refreshes_at_once_give_the_same_next_token(harness: IdentityHarness) -> None:
    eve = await harness.person(await harness.admin(), "eve", "ops")
    both = await asyncio.gather(*(refresh(harness, eve.tokens.refresh_token) for _ in range(2)))
    assert both[0].refresh_token == both[1].refresh_token


@pytest.mark.parametrize(
    ("column", "why"), [("use_time", "idle"), ("end_time", "its time is over")]
)
async def test_a_session_ends_idle_and_at_its_end(
    harness: IdentityHarness, column: str, why: str
) -> None:
    eve = await harness.person(await harness.admin(), "eve", "ops")
    await harness.sql(f"UPDATE session SET {column} = {column} - interval '13 hours'")
    assert (await refusal(refresh(harness, eve.tokens.refresh_token))).metadata["why"] == why
    listed = await harness.stub.ListSessions(pb.ListSessionsRequest(), metadata=eve.auth)
    assert not listed.sessions


async def test_an_operator_sees_and_ends_its_own_sessions_and_an_admin_those_of_others(
    harness: IdentityHarness,
) -> None:
    admin = await harness.admin()
    eve, bob = [await harness.person(admin, name, "ops") for name in ("eve", "bob")]
    other = Person("eve")
    await harness.login(other, agent="another machine\n")
    listed = await harness.stub.ListSessions(pb.ListSessionsRequest(), metadata=eve.auth)
    assert [one.agent for one in listed.sessions] == ["another machine", ""]
    assert {one.address for one in listed.sessions} == {"127.0.0.1"}
    of_eve = pb.EndSessionRequest(name="eve", session_id=other.tokens.session_id)
    assert await reason(harness.stub.EndSession(of_eve, metadata=bob.auth)) == "NOT_ALLOWED"
    of_bob = pb.EndSessionRequest(session_id=other.tokens.session_id)
    assert await reason(harness.stub.EndSession(of_bob, metadata=bob.auth)) == "NOT_FOUND"
    assert (await harness.stub.EndSession(of_eve, metadata=admin.auth)).sessions_ended == 1
    assert await reason(refresh(harness, other.tokens.refresh_token)) == "SESSION_ENDED"
    assert (await harness.stub.EndSession(pb.EndSessionRequest(), metadata=eve.auth)).sessions_ended
    assert await reason(refresh(harness, eve.tokens.refresh_token)) == "SESSION_ENDED"


async def test_logout_ends_the_session_and_repeats_change_nothing(harness: IdentityHarness) -> None:
    eve = await harness.person(await harness.admin(), "eve", "ops")
    request = pb.LogoutRequest(refresh_token=eve.tokens.refresh_token)
    for _ in range(2):
        await harness.stub.Logout(request)
    assert await reason(refresh(harness, eve.tokens.refresh_token)) == "SESSION_ENDED"
    assert len(await harness.audit("logout")) == 1


async def test_an_api_token_has_at_most_the_roles_its_operator_still_has(
    harness: IdentityHarness,
) -> None:
    admin = await harness.admin()
    eve = await harness.person(admin, "eve", "ops", "support")
    create = harness.stub.CreateApiToken
    for roles, wanted in (
        (["admin"], "NOT_ALLOWED"),
        ([], "FIELD_INVALID"),
        (["x"], "FIELD_INVALID"),
    ):
        request = pb.CreateApiTokenRequest(name="job", roles=roles)
        assert await reason(create(request, metadata=eve.auth)) == wanted
    request = pb.CreateApiTokenRequest(name="job", roles=["ops", "support"])
    made = await create(request, metadata=eve.auth)
    assert await reason(create(request, metadata=eve.auth)) == "NAME_TAKEN"
    exchange = pb.ExchangeApiTokenRequest(api_token=made.secret)
    keys = await harness.stub.PublishedKeys(pb.PublishedKeysRequest())
    verifier = TokenVerifier(SYSTEM)
    verifier.trust("identity", read_key_set(keys.key_set))
    got = await harness.stub.ExchangeApiToken(exchange)
    assert verifier.verify(got.access_token).roles == {"ops", "support"}
    less = pb.SetRolesRequest(name="eve", roles=["ops"])
    await harness.stub.SetRoles(less, metadata=admin.auth)
    got = await harness.stub.ExchangeApiToken(exchange)
    assert verifier.verify(got.access_token).roles == {"ops"}
    listed = await harness.stub.ListApiTokens(pb.ListApiTokensRequest(), metadata=eve.auth)
    assert [one.name for one in listed.tokens] == ["job"]
    assert listed.tokens[0].HasField("use_time")
    assert made.secret not in str(listed)


async def test_an_api_token_ends_revoked_expired_or_with_its_operator(
    harness: IdentityHarness,
) -> None:
    admin = await harness.admin()
    eve = await harness.person(admin, "eve", "ops")
    secrets: dict[str, str] = {}
    for name in ("revoked", "expired", "kept"):
        request = pb.CreateApiTokenRequest(name=name, roles=["ops"], days=1)
        made = await harness.stub.CreateApiToken(request, metadata=eve.auth)
        secrets[name] = made.secret

    async def exchanged(name: str) -> Any:
        return await harness.stub.ExchangeApiToken(
            pb.ExchangeApiTokenRequest(api_token=secrets[name])
        )

    revoke = pb.RevokeApiTokenRequest(name="revoked")
    await harness.stub.RevokeApiToken(revoke, metadata=eve.auth)
    assert await reason(harness.stub.RevokeApiToken(revoke, metadata=eve.auth)) == "NOT_FOUND"
    query = "UPDATE api_token SET expire_time = now() - interval '1 s' WHERE name = 'expired'"
    await harness.sql(query)
    secrets |= {"guess": secrets["kept"][:-1] + "x", "none": "", "odd": "shoudan-api.x.y"}
    for name in ("revoked", "expired", "guess", "none", "odd"):
        assert await reason(exchanged(name)) == "API_TOKEN_REFUSED"
    assert await exchanged("kept")
    await harness.stub.DisableOperator(pb.DisableOperatorRequest(name="eve"), metadata=admin.auth)
    assert await reason(exchanged("kept")) == "API_TOKEN_REFUSED"


async def test_a_disabled_operator_acts_no_more_and_comes_back_enabled(
    harness: IdentityHarness,
) -> None:
    admin = await harness.admin()
    eve = await harness.person(admin, "eve", "ops")
    await harness.stub.DisableOperator(pb.DisableOperatorRequest(name="eve"), metadata=admin.auth)
    assert await reason(refresh(harness, eve.tokens.refresh_token)) == "SESSION_ENDED"
    assert await reason(harness.stub.WhoAmI(pb.WhoAmIRequest(), metadata=eve.auth)) == "NOT_ALLOWED"
    await harness.stub.EnableOperator(pb.EnableOperatorRequest(name="eve"), metadata=admin.auth)
    await harness.login(eve)


async def test_a_reset_forgets_the_authenticator_and_ends_what_is_open(
    harness: IdentityHarness,
) -> None:
    admin = await harness.admin()
    pat = await harness.person(admin, "pat", "finance-checker")
    done = await harness.stub.ResetOperator(
        pb.ResetOperatorRequest(name="pat"), metadata=admin.auth
    )
    assert await reason(refresh(harness, pat.tokens.refresh_token)) == "SESSION_ENDED"
    assert await reason(harness.login(pat)) == "LOGIN_REFUSED"
    again = await harness.login(
        Person("pat"), password=done.one_time_password, new_password="quite another one"
    )
    assert again.totp_enrolment_required


async def test_the_last_admin_is_neither_disabled_nor_changed_even_by_two_at_once(
    harness: IdentityHarness,
) -> None:
    admin = await harness.admin()
    disable, roles = harness.stub.DisableOperator, harness.stub.SetRoles
    alone = pb.DisableOperatorRequest(name="admin")
    assert await reason(disable(alone, metadata=admin.auth)) == "LAST_ADMIN"
    less = pb.SetRolesRequest(name="admin", roles=["ops"])
    assert await reason(roles(less, metadata=admin.auth)) == "LAST_ADMIN"
    await harness.person(admin, "root", "admin")
    both = [
        disable(pb.DisableOperatorRequest(name=n), metadata=admin.auth) for n in ("admin", "root")
    ]
    answers = await asyncio.gather(*both, return_exceptions=True)
    assert len([one for one in answers if isinstance(one, pb.DisableOperatorResponse)]) == 1
    left = "SELECT count(*) FROM operator WHERE 'admin' = ANY(roles) AND NOT disabled"
    assert (await harness.sql(left))[0][0] == 1


async def test_only_an_admin_changes_operators_and_only_while_it_is_one(
    harness: IdentityHarness,
) -> None:
    admin = await harness.admin()
    root = await harness.person(admin, "root", "admin")
    eve = await harness.person(admin, "eve", "ops", "support")
    calls: list[tuple[Any, Any]] = [
        (harness.stub.CreateOperator, pb.CreateOperatorRequest(name="new")),
        (harness.stub.SetRoles, pb.SetRolesRequest(name="eve", roles=["admin"])),
        (harness.stub.DisableOperator, pb.DisableOperatorRequest(name="admin")),
        (harness.stub.EnableOperator, pb.EnableOperatorRequest(name="admin")),
        (harness.stub.ResetOperator, pb.ResetOperatorRequest(name="admin")),
        (harness.stub.ListOperators, pb.ListOperatorsRequest()),
        (harness.stub.ListSessions, pb.ListSessionsRequest(name="admin")),
        (harness.stub.ListApiTokens, pb.ListApiTokensRequest(name="admin")),
        (harness.stub.RotateKeys, pb.RotateKeysRequest(at_once=True)),
    ]
    await harness.stub.SetRoles(pb.SetRolesRequest(name="root", roles=["ops"]), metadata=admin.auth)
    for call, request in calls:
        assert await reason(call(request, metadata=eve.auth)) == "NOT_ALLOWED"
        assert await reason(call(request, metadata=root.auth)) == "NOT_ALLOWED"  # its old token
        assert await reason(call(request)) in {"TOKEN_REFUSED", "NO_CALLER"}
    for name, wanted in (("eve", "NAME_TAKEN"), ("Eve", "FIELD_INVALID"), ("", "FIELD_INVALID")):
        request = pb.CreateOperatorRequest(name=name)
        call = harness.stub.CreateOperator(request, metadata=admin.auth)
        assert await reason(call) == wanted


async def test_operators_are_listed_in_pages_by_name(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    for name in ("c", "a", "b"):
        await harness.stub.CreateOperator(pb.CreateOperatorRequest(name=name), metadata=admin.auth)
    names, token = [], ""
    for _ in range(3):
        request = pb.ListOperatorsRequest(page_size=2, page_token=token)
        page = await harness.stub.ListOperators(request, metadata=admin.auth)
        names += [one.name for one in page.operators]
        token = page.next_page_token
        if not token:
            break
    assert (names, token) == (["a", "admin", "b", "c"], "")


async def test_every_change_is_in_the_audit_with_who_and_from_where(
    harness: IdentityHarness,
) -> None:
    admin = await harness.admin()
    await harness.person(admin, "eve", "ops")
    await harness.stub.SetRoles(
        pb.SetRolesRequest(name="eve", roles=["support"]),
        metadata=(*admin.auth, ("x-request-id", "r-17")),
    )
    (row,) = await harness.audit("roles")
    number = {one["name"]: str(one["operator_id"]) for one in await harness.sql(OPERATORS)}
    assert (row["caller_ref"], row["subject_kind"], row["subject_key"]) == (
        number["admin"],
        "operator",
        number["eve"],
    )
    assert (row["address"], row["request_id"]) == ("127.0.0.1", "r-17")
    assert (row["before"], row["after"]) == ('{"roles":["ops"]}', '{"roles":["support"]}')
    made = [(row["caller_kind"], row["caller_ref"]) for row in await harness.audit("created")]
    assert made == [("service", "bootstrap"), ("operator", number["admin"])]
    events = await harness.sql("SELECT subject, text FROM event ORDER BY event_id")
    assert ("shoudan.events.identity.operator.changed", "roles") in [tuple(e) for e in events]


async def test_a_session_too_many_ends_the_oldest(harness: IdentityHarness) -> None:
    eve = await harness.person(await harness.admin(), "eve", "ops")
    oldest = eve.tokens.refresh_token
    for _ in range(20):
        await harness.login(eve)
    assert await reason(refresh(harness, oldest)) == "SESSION_ENDED"
    listed = await harness.stub.ListSessions(pb.ListSessionsRequest(), metadata=eve.auth)
    assert len(listed.sessions) == 20


async def test_a_token_of_another_system_is_refused(
    harness: IdentityHarness, new_database: Any
) -> None:
    eve = await harness.person(await harness.admin(), "eve", "ops")
    async with open_desk(await new_database("identity"), system_id="other") as other:
        refused = await refusal(other.stub.WhoAmI(pb.WhoAmIRequest(), metadata=eve.auth))
        assert refused.reason == "ERROR_REASON_TOKEN_REFUSED"


async def test_while_identity_is_away_tokens_go_on_and_no_one_new_logs_in(
    harness: IdentityHarness,
) -> None:
    eve = await harness.person(await harness.admin(), "eve", "ops")
    verifier = TokenVerifier(SYSTEM)
    keys = await harness.stub.PublishedKeys(pb.PublishedKeysRequest())
    verifier.trust("identity", read_key_set(keys.key_set))
    await harness.process.stop()
    assert verifier.verify(eve.tokens.access_token).name == "eve"
    with pytest.raises(Exception, match=r"UNAVAILABLE|CANCELLED"):
        await harness.login(eve)


async def test_what_is_over_for_long_is_deleted(harness: IdentityHarness) -> None:
    from shoudan_identity import housekeeping

    eve = await harness.person(await harness.admin(), "eve", "ops")
    query = "UPDATE session SET end_time = end_time - $1::interval WHERE session_id = $2"
    await harness.sql(query, timedelta(days=100), eve.tokens.session_id)
    await harness.sql("UPDATE login_attempt SET update_time = update_time - interval '2 days'")
    before = (await harness.sql("SELECT count(*) FROM session"))[0][0]
    await housekeeping.look(harness.context)
    assert (await harness.sql("SELECT count(*) FROM session"))[0][0] == before - 1
    assert (await harness.sql("SELECT count(*) FROM login_attempt"))[0][0] == 0
