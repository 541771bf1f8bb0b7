"""Promises of partners' accounts: no roles, channels of their own, an authenticator, nothing of others."""

from __future__ import annotations

from typing import Any

import pytest

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan_kit.secrets.tokens import TokenVerifier, read_key_set
from tests.identity.harness import PASSWORD, SYSTEM, IdentityHarness, Person, reason


async def account(harness: IdentityHarness, admin: Person, *channels: str) -> Person:
    request = pb.CreateOperatorRequest(name="zhou", channels=channels)
    made = await harness.stub.CreateOperator(request, metadata=admin.auth)
    assert list(made.operator.channels) == list(channels)
    person = Person("zhou")
    done = await harness.login(person, password=made.one_time_password, new_password=PASSWORD)
    assert done.totp_enrolment_required
    await harness.enrol(person)
    return person


async def caller_of(harness: IdentityHarness, token: str) -> Any:
    verifier = TokenVerifier(SYSTEM)
    published = await harness.stub.PublishedKeys(pb.PublishedKeysRequest())
    verifier.trust("identity", read_key_set(published.key_set))
    return verifier.caller_of(token)


async def test_an_account_s_token_names_its_channels_and_no_role(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    zhou = await account(harness, admin, "A-1", "B-2")
    caller = await caller_of(harness, zhou.tokens.access_token)
    assert (caller.kind, caller.roles) == ("partner", frozenset())
    assert caller.channels == {"A-1", "B-2"}
    (row,) = (await harness.audit("created"))[-1:]
    assert '"A-1"' in row["after"]
    less = pb.SetChannelsRequest(name="zhou", channels=["B-2"])
    shown = await harness.stub.SetChannels(less, metadata=admin.auth)
    assert list(shown.operator.channels) == ["B-2"]
    request = pb.RefreshRequest(refresh_token=zhou.tokens.refresh_token)
    renewed = (await harness.stub.Refresh(request)).tokens
    assert (await caller_of(harness, renewed.access_token)).channels == {"B-2"}
    (row,) = (await harness.audit("channels"))[-1:]
    assert '"A-1"' in row["before"]


async def test_before_its_authenticator_an_account_has_no_channel(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    request = pb.CreateOperatorRequest(name="zhou", channels=["A-1"])
    made = await harness.stub.CreateOperator(request, metadata=admin.auth)
    done = await harness.login(
        Person("zhou"), password=made.one_time_password, new_password=PASSWORD
    )
    caller = await caller_of(harness, done.tokens.access_token)
    assert (caller.kind, caller.roles, caller.channels) == ("operator", frozenset(), frozenset())
    assert not done.tokens.refresh_token


async def test_an_account_gets_no_role_and_an_operator_no_channel(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    await account(harness, admin, "A-1")
    await harness.person(admin, "eve", "ops")
    stub, auth = harness.stub, admin.auth
    both = pb.CreateOperatorRequest(name="li", roles=["ops"], channels=["A-1"])
    for call in (
        stub.CreateOperator(both, metadata=auth),
        stub.SetRoles(pb.SetRolesRequest(name="zhou", roles=["viewer"]), metadata=auth),
        stub.SetChannels(pb.SetChannelsRequest(name="eve", channels=["A-1"]), metadata=auth),
        stub.SetChannels(pb.SetChannelsRequest(name="zhou"), metadata=auth),
    ):
        assert await reason(call) == "FIELD_INVALID"
    listed = await stub.ListOperators(pb.ListOperatorsRequest(channel_no="A-1"), metadata=auth)
    assert [one.name for one in listed.operators] == ["zhou"]


@pytest.mark.parametrize("channels", [["A"] * 21, ["x" * 65], ["A\n"], [""]])
async def test_channels_have_a_form_and_a_bound(
    harness: IdentityHarness, channels: list[str]
) -> None:
    admin = await harness.admin()
    request = pb.CreateOperatorRequest(name="zhou", channels=channels)
    assert (
        await reason(harness.stub.CreateOperator(request, metadata=admin.auth)) == "FIELD_INVALID"
    )


async def test_an_account_reaches_its_own_session_alone(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    zhou = await account(harness, admin, "A-1")
    stub, auth = harness.stub, zhou.auth
    own = await stub.ListSessions(pb.ListSessionsRequest(), metadata=auth)
    assert len(own.sessions) == 1
    for call in (
        stub.ListSessions(pb.ListSessionsRequest(name="admin"), metadata=auth),
        stub.EndSession(pb.EndSessionRequest(name="admin"), metadata=auth),
        stub.CreateApiToken(pb.CreateApiTokenRequest(name="x", roles=["viewer"]), metadata=auth),
        stub.ListOperators(pb.ListOperatorsRequest(channel_no="A-1"), metadata=auth),
        stub.SetChannels(pb.SetChannelsRequest(name="zhou", channels=["B-2"]), metadata=auth),
    ):
        assert await reason(call) == "NOT_ALLOWED"
