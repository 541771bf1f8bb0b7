"""Promises of the keys that sign tokens: published before use, dropped after, replaced when lost."""

from __future__ import annotations

import base64
import os
from typing import Any

import jwt
import pytest

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan_identity import housekeeping
from shoudan_kit.config import Secret
from shoudan_kit.secrets.sealing_settings import DEMO_KEYS
from shoudan_kit.secrets.tokens import TokenRefused, TokenVerifier, read_key_set
from tests.identity.harness import SYSTEM, IdentityHarness, open_desk, reason, refusal


async def published(harness: IdentityHarness) -> tuple[dict[str, Any], str]:
    answer = await harness.stub.PublishedKeys(pb.PublishedKeysRequest())
    return read_key_set(answer.key_set), answer.signing_key_id


def signed_by(token: str) -> str:
    return jwt.get_unverified_header(token)["kid"]


async def aged(harness: IdentityHarness, days: int) -> None:
    """As if all keys were so much older."""
    await harness.sql(
        "UPDATE signing_key SET create_time = create_time - $1 * interval '1 day',"
        " use_time = use_time - $1 * interval '1 day', retire_time = retire_time - $1 * interval '1 day'",
        days,
    )


async def test_the_next_key_is_published_before_it_signs(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    before, current = await published(harness)
    assert len(before) == 2
    rotate = harness.stub.RotateKeys(pb.RotateKeysRequest(), metadata=admin.auth)
    assert await reason(rotate) == "KEY_TOO_YOUNG"
    await aged(harness, 1)
    done = await harness.stub.RotateKeys(pb.RotateKeysRequest(), metadata=admin.auth)
    after, now = await published(harness)
    assert {done.signing_key_id, current} == set(before)
    assert (now, len(after)) == (done.signing_key_id, 3)
    me = await harness.stub.WhoAmI(
        pb.WhoAmIRequest(), metadata=admin.auth
    )  # a token of the old key
    assert me.operator.name == "admin"
    await harness.login(admin)
    assert signed_by(admin.tokens.access_token) == now


async def test_a_key_is_dropped_when_all_it_signed_has_expired(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    _, current = await published(harness)
    await aged(harness, 1)
    await harness.stub.RotateKeys(pb.RotateKeysRequest(), metadata=admin.auth)
    await housekeeping.look(harness.context)
    assert current in (await published(harness))[0]
    await aged(harness, 1)
    await housekeeping.look(harness.context)
    harness.context.keys.forget()
    assert current not in (await published(harness))[0]


async def test_keys_rotate_by_themselves_when_they_have_signed_for_long(
    harness: IdentityHarness,
) -> None:
    _, current = await published(harness)
    await housekeeping.look(harness.context)
    assert (await published(harness))[1] == current
    await aged(harness, 31)
    await housekeeping.look(harness.context)
    assert (await published(harness))[1] != current
    assert [row["caller_ref"] for row in await harness.audit("rotate keys")] == ["identity"]


async def test_tokens_of_a_compromised_key_are_refused_at_once(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    old = admin.tokens.access_token
    await harness.stub.RotateKeys(pb.RotateKeysRequest(at_once=True), metadata=admin.auth)
    keys, _ = await published(harness)
    verifier = TokenVerifier(SYSTEM)
    verifier.trust("identity", keys)
    with pytest.raises(TokenRefused, match="unknown key"):
        verifier.verify(old)
    await harness.login(admin)
    assert verifier.verify(admin.tokens.access_token).name == "admin"


async def test_two_processes_sign_with_one_key(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    async with open_desk(harness.urls) as other:
        assert await published(other) == await published(harness)
        assert await reason(other.login(admin, totp="")) == "TOTP_REQUIRED"
        me = await other.stub.WhoAmI(pb.WhoAmIRequest(), metadata=admin.auth)
        assert me.operator.name == "admin"


async def test_without_its_sealing_key_the_service_says_what_it_cannot_read(
    harness: IdentityHarness,
) -> None:
    admin = await harness.admin()
    lost = "other:" + base64.b64encode(os.urandom(32)).decode()
    async with open_desk(harness.urls, personal_keys=Secret(lost)) as other:
        refused = await refusal(other.login(admin))
        assert refused.reason == "ERROR_REASON_SECRET_UNREADABLE"
        assert refused.metadata["what"] == "authenticator of operator admin"
        rotate = other.stub.RotateKeys(pb.RotateKeysRequest(at_once=True), metadata=admin.auth)
        assert (await rotate).signing_key_id
    async with open_desk(harness.urls, personal_keys=Secret(f"{lost},{DEMO_KEYS}")) as both:
        await both.login(admin)
