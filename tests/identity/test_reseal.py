"""Promises: authenticators and the keys that sign tokens come under a new key and go on working."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable

from shoudan_kit.config import Secret
from shoudan_kit.embedded import DatabaseUrls
from tests.identity.harness import open_desk
from tests.sealed import reseal

K1, K2 = (f"{name}:{base64.b64encode(name.encode() * 16).decode()}" for name in ("k1", "k2"))


async def test_an_authenticator_and_the_signing_keys_outlive_the_key_they_were_sealed_under(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
) -> None:
    urls = await new_database("identity")
    async with open_desk(urls, personal_keys=Secret(K1)) as harness:
        admin = await harness.admin()
    async with open_desk(urls, personal_keys=Secret(f"{K2},{K1}")) as harness:
        done = await reseal(harness.process.port)
        assert done.counts == {
            "operator.totp_sealed": {"k1": 1},
            "operator.totp_next_sealed": {},
            "signing_key.sealed": {"k1": 2},
        }
        assert (done.resealed, done.unreadable) == (3, 0)
    async with open_desk(urls, personal_keys=Secret(K2)) as harness:
        assert (await harness.login(admin)).tokens.access_token
