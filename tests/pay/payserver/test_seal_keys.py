"""Promises about the key that pay seals credentials with: without one in prod none is stored."""

from __future__ import annotations

from typing import Any

import pytest

from shoudan_kit.config import ConfigError, Secret
from shoudan_kit.credentials.book import Credentials
from shoudan_kit.credentials.refusals import NoSealKey
from shoudan_kit.credentials.rows import NewCredential
from shoudan_kit.secrets.sealing_settings import DEMO_INDEX_KEY, DEMO_KEYS
from shoudan_pay.config import PaySettings
from shoudan_pay.credential_kinds import KINDS
from tests.pay.payserver.harness import PayserverHarness
from tests.stored import Stored

KEY = "k1:" + "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="


def settings(**given: Any) -> PaySettings:
    return PaySettings(profile="prod", database_url=Secret("postgresql://x/y"), **given)


def test_in_prod_pay_starts_without_a_key_and_the_demos_is_none() -> None:
    bare = settings()
    assert [one for one in bare.cross_check() if "personal_keys" in one] == []
    assert bare.own_key_ring() is None
    own = settings(personal_keys=Secret(KEY), index_key=Secret(KEY.removeprefix("k1:")))
    ring = own.own_key_ring()
    assert ring is not None
    assert list(ring.keys) == ["k1"]
    half = settings(personal_keys=Secret(KEY))
    assert [one for one in half.cross_check() if "both, or neither" in one]
    demo = settings(personal_keys=Secret(DEMO_KEYS), index_key=Secret(DEMO_INDEX_KEY))
    assert [one for one in demo.cross_check() if one.startswith("personal_keys")]


async def test_without_a_key_nothing_is_stored_and_what_is_stored_stops_the_start(
    harness: PayserverHarness,
) -> None:
    keyless = Credentials(harness.pay.app, KINDS, None, "shoudan.events.pay.")
    await keyless.open()
    new = NewCredential("k", "chinaums", "app", "li", "test")
    with pytest.raises(NoSealKey):
        await keyless.store(new)
    await Stored(harness.pay.port).issue("chinaums", "app")
    later = Credentials(harness.pay.app, KINDS, None, "shoudan.events.pay.")
    with pytest.raises(ConfigError, match="1 credentials are stored"):
        await later.open()
