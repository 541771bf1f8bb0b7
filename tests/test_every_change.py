"""Promise: in every service a call of an operator that changes something leaves one row."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.rpc.rights import changes, right_of
from tests.credentials import metadata_of, trusted_keys
from tests.test_every_field import CALL_S, filled, methods, serving
from tests.valid import VALID

SYSTEM = "here"
# What answers in an empty database; the rest of the methods refuse, because nothing is there yet.
DONE = {
    "order": {"RetryTasks", "PauseQueue", "ReplayEvents", "ResendNotifies", "WalkAccounts"},
    "pay": {
        "RetryTasks",
        "PauseQueue",
        "ReplayEvents",
        "CreateAccounts",
        "SetUmsApp",
        "SetDomain",
        "ApplySetup",
    },
    "delivery": {"RetryTasks", "PauseQueue", "ReplayEvents", "WalkAccounts"},
    "erp_ingest": {"RetryTasks", "PauseQueue", "ReplayEvents", "Reprocess", "EraseSubject"},
    "finance": {"RetryTasks", "PauseQueue", "ReplayEvents", "RunReconciliation", "StorePart"},
}


@pytest.fixture(params=DONE)
async def service(
    request: pytest.FixtureRequest, new_database: Any, tmp_path: Path
) -> AsyncIterator[tuple[str, DatabaseUrls, Any, aio.Channel]]:
    """A service that enforces its callers."""
    urls = await new_database(request.param)
    trusted = {"system_id": SYSTEM, "token_keys": [str(trusted_keys(tmp_path))]}
    async with serving(request.param, urls.service, callers="enforce", **trusted) as made:
        yield request.param, urls, *made


# What sets a thing says what it was before, when it was there.
BEFORE = {"PauseQueue", "SetUmsApp", "SetDomain"}


async def recorded(urls: DatabaseUrls) -> list[tuple[str, str, str]]:
    """Action, outcome and what was before of every row."""
    db = await asyncpg.connect(urls.owner.replace("+asyncpg", ""))
    try:
        rows = await db.fetch("SELECT action, outcome, before FROM audit_log ORDER BY id")
    finally:
        await db.close()
    return [(row["action"], row["outcome"], row["before"]) for row in rows]


async def answered(channel: aio.Channel, path: str, method: Any) -> bool:
    """Whether a plain request of the method was done, with the operator's token."""
    message = GetMessageClass(method.input_type)()
    VALID.get(path.rpartition(".")[2], lambda _: None)(filled(message))
    if "dry_run" in message.DESCRIPTOR.fields_by_name:
        message.dry_run = False
    try:
        call = channel.unary_unary(path)
        body = message.SerializeToString()
        await call(body, timeout=CALL_S, metadata=metadata_of(SYSTEM))
    except aio.AioRpcError:
        return False
    return True


async def test_what_an_operator_changed_is_in_the_audit_log_once(
    service: tuple[str, DatabaseUrls, Any, aio.Channel],
) -> None:
    name, urls, process, channel = service
    done: list[str] = []
    for path, method in methods(process):
        if right_of(method.containing_service.full_name, method.name).roles and changes(
            method.name
        ):
            before = len(await recorded(urls))
            was_done = await answered(channel, path, method)
            now = (await recorded(urls))[before:]
            if was_done:  # with a refusal for each of its items, or not
                assert [action for action, _, _ in now] == [path.rpartition(".")[2]]
            else:
                assert {outcome for _, outcome, _ in now} <= {"refused"}, path
            if method.name in BEFORE:
                assert await answered(channel, path, method)
                assert (await recorded(urls))[-1][2], path
            done += [method.name] if was_done else []
    assert set(done) >= DONE[name]
