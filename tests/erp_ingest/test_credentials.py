"""Promises of senders' stored credentials: they sign pushes, beside the secret of the settings, and end."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

import pytest

from shoudan.erp.v1 import erp_service_pb2 as pb
from shoudan_erp_ingest import signatures
from shoudan_kit.config import Secret
from shoudan_kit.embedded import DatabaseUrls
from tests.erp_ingest.conftest import open_desk
from tests.erp_ingest.harness import APP_KEY, REFUND, ErpHarness, body, refund
from tests.stored import Stored

RULES = {APP_KEY: {"scheme": "top-md5", "secret": "of-the-settings"}}


async def taken(harness: ErpHarness, secret: str) -> bool:
    """Whether a push signed with the secret is stored."""
    raw = body(refund())
    params = {"app_key": APP_KEY, "timestamp": "2026-11-20 12:00:00"}
    params["sign"] = signatures.top_md5(params, secret, raw)
    push = pb.IngestPushesRequest.Push(
        kind=REFUND, sender=APP_KEY, body=raw, remote_ip="127.0.0.1", query=urlencode(params)
    )
    (result,) = (await harness.stub.IngestPushes(pb.IngestPushesRequest(pushes=[push]))).results
    return not result.HasField("refusal")


@pytest.mark.parametrize("rules", [RULES, {APP_KEY: {"scheme": "top-md5"}}])
async def test_a_stored_secret_signs_and_the_one_of_the_settings_stays(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], rules: dict[str, dict[str, str]]
) -> None:
    urls = await new_database("erp_ingest")
    async with open_desk(urls, sender_rules=Secret(json.dumps(rules))) as harness:
        stored = Stored(harness.process.port)
        assert not await taken(harness, "0" * 64)
        made = await stored.issue("erp", APP_KEY)
        assert await taken(harness, made.secret)
        assert await taken(harness, "of-the-settings") == ("secret" in rules[APP_KEY])
        new = await stored.rotate("erp", APP_KEY)
        assert await taken(harness, made.secret)
        assert await taken(harness, new.secret)
        await stored.revoke(made)
        assert not await taken(harness, made.secret)
        assert await taken(harness, new.secret)


async def test_a_sender_with_a_credential_and_no_scheme_is_not_believed(
    harness: ErpHarness,
) -> None:
    """What it would be compared with is not known, so the credential must not open the door."""
    assert await taken(harness, "anything")
    await Stored(harness.process.port).issue("erp", APP_KEY)
    assert not await taken(harness, "anything")
