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
from tests.identity.desk import SYSTEM, Desk, open_desk, reason, refusal


async def published(desk: Desk) -> tuple[dict[str, Any], str]:
    answer = await desk.stub.PublishedKeys(pb.PublishedKeysRequest())
    return read_key_set(answer.key_set), answer.signing_key_id


def signed_by(token: str) -> str:
    return jwt.get_unverified_header(token)["kid"]


async def aged(desk: Desk, days: int) -> None:
    """As if all keys were so much older."""
    await desk.sql(
        "UPDATE signing_key SET create_time = create_time - $1 * interval '1 day',"
        " use_time = use_time - $1 * interval '1 day', retire_time = retire_time - $1 * interval '1 day'",
        days,
    )


async def test_the_next_key_is_published_before_it_signs(desk: Desk) -> None:
    admin = await desk.admin()
    before, current = await published(desk)
    assert len(before) == 2
    rotate = desk.stub.RotateKeys(pb.RotateKeysRequest(), metadata=admin.auth)
    assert await reason(rotate) == "KEY_TOO_YOUNG"
    await aged(desk, 1)
    done = await desk.stub.RotateKeys(pb.RotateKeysRequest(), metadata=admin.auth)
    after, now = await published(desk)
    assert {done.signing_key_id, current} == set(before)
    assert (now, len(after)) == (done.signing_key_id, 3)
    me = await desk.stub.WhoAmI(pb.WhoAmIRequest(), metadata=admin.auth)  # a token of the old key
    assert me.operator.name == "admin"
    await desk.login(admin)
    assert signed_by(admin.tokens.access_token) == now


async def test_a_key_is_dropped_when_all_it_signed_has_expired(desk: Desk) -> None:
    admin = await desk.admin()
    _, current = await published(desk)
    await aged(desk, 1)
    await desk.stub.RotateKeys(pb.RotateKeysRequest(), metadata=admin.auth)
    await housekeeping.look(desk.context)
    assert current in (await published(desk))[0]
    await aged(desk, 1)
    await housekeeping.look(desk.context)
    desk.context.keys.forget()
    assert current not in (await published(desk))[0]


async def test_keys_rotate_by_themselves_when_they_have_signed_for_long(desk: Desk) -> None:
    _, current = await published(desk)
    await housekeeping.look(desk.context)
    assert (await published(desk))[1] == current
    await aged(desk, 31)
    await housekeeping.look(desk.context)
    assert (await published(desk))[1] != current
    assert [row["caller_ref"] for row in await desk.audit("rotate keys")] == ["identity"]


async def test_tokens_of_a_compromised_key_are_refused_at_once(desk: Desk) -> None:
    admin = await desk.admin()
    old = admin.tokens.access_token
    await desk.stub.RotateKeys(pb.RotateKeysRequest(at_once=True), metadata=admin.auth)
    keys, _ = await published(desk)
    verifier = TokenVerifier(SYSTEM)
    verifier.trust("identity", keys)
    with pytest.raises(TokenRefused, match="unknown key"):
        verifier.verify(old)
    await desk.login(admin)
    assert verifier.verify(admin.tokens.access_token).name == "admin"


async def test_two_processes_sign_with_one_key(desk: Desk) -> None:
    admin = await desk.admin()
    async with open_desk(desk.urls) as other:
        assert await published(other) == await published(desk)
        assert await reason(other.login(admin, totp="")) == "TOTP_REQUIRED"
        me = await other.stub.WhoAmI(pb.WhoAmIRequest(), metadata=admin.auth)
        assert me.operator.name == "admin"


async def test_without_its_sealing_key_the_service_says_what_it_cannot_read(desk: Desk) -> None:
    admin = await desk.admin()
    lost = "other:" + base64.b64encode(os.urandom(32)).decode()
    async with open_desk(desk.urls, personal_keys=Secret(lost)) as other:
        refused = await refusal(other.login(admin))
        assert refused.reason == "ERROR_REASON_SECRET_UNREADABLE"
        assert refused.metadata["what"] == "authenticator of operator admin"
        rotate = other.stub.RotateKeys(pb.RotateKeysRequest(at_once=True), metadata=admin.auth)
        assert (await rotate).signing_key_id
    async with open_desk(desk.urls, personal_keys=Secret(f"{lost},{DEMO_KEYS}")) as both:
        await both.login(admin)
