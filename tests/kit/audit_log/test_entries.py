"""A row of the audit log is written with the change it is of, says who by reference, and hides secrets."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text

from shoudan_kit import log
from shoudan_kit.audit_log.entries import (
    FACTS_BYTES_MAX,
    Entry,
    Origin,
    Who,
    facts_text,
    masked_text,
    record,
    row_of,
)
from shoudan_kit.db.pool import Database
from shoudan_kit.ids import IdMaker
from shoudan_kit.rpc import callers
from shoudan_kit.rpc.caller import NO_CALLER, Caller
from shoudan_kit.rpc.callers import LOCAL_OWNER
from shoudan_kit.tasks.unit_of_work import UnitOfWork

ORIGIN = Origin("pay", frozenset({"mobile"}))


async def rows(database: Database) -> list[dict[str, Any]]:
    async with database.connect() as db:
        found = await db.execute(text("SELECT * FROM audit_log ORDER BY id"))
        return [dict(one) for one in found.mappings()]


async def unsealed(database: Database) -> list[int]:
    async with database.connect() as db:
        found = await db.execute(text("SELECT id FROM audit_log_unsealed ORDER BY id"))
        return list(found.scalars())


@contextmanager
def called_by(caller: Caller) -> Generator[None]:
    token = callers._current.set(caller)
    try:
        yield
    finally:
        callers._current.reset(token)


async def test_rows_are_written_with_the_change_and_wait_to_be_sealed(
    database: Database, ids: IdMaker
) -> None:
    with called_by(Caller("operator", "li", frozenset({"ops"}), "77")), log.bound(request_id="r-1"):
        async with UnitOfWork(database, ids, None, None, origin=ORIGIN) as work:
            for n in range(2):
                before, after = {"locked": False}, {"locked": True, "password": "x"}
                record(work, Entry("account", n, before, after, "why", 5, action="Lock"))
    first, second = await rows(database)
    assert first | {"id": 0, "create_time": 0} == {
        "id": 0,
        "create_time": 0,
        "service": "pay",
        "action": "Lock",
        "caller_kind": "operator",
        "caller_ref": "77",
        "address": "",
        "subject_kind": "account",
        "subject_key": "0",
        "before": '{"locked":false}',
        "after": '{"locked":true,"password":"***"}',
        "reason": "why",
        "request_id": "r-1",
        "proposal_id": 5,
        "outcome": "done",
    }
    assert await unsealed(database) == [first["id"], second["id"]]


async def test_what_is_rolled_back_leaves_no_row(database: Database, ids: IdMaker) -> None:
    async def failing() -> None:
        async with UnitOfWork(database, ids, None, None, origin=ORIGIN) as work:
            record(work, Entry("account", 1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await failing()
    assert await rows(database) == []
    assert await unsealed(database) == []


@pytest.mark.parametrize(
    ("caller", "kind", "ref"),
    [
        (Caller("operator", "li", frozenset(), "77"), "operator", "77"),
        (Caller("operator", "cli"), "operator", "cli"),  # the owner's certificate has no number
        (Caller("service", "pay"), "service", "pay"),
        (LOCAL_OWNER, "local", ""),
        (NO_CALLER, "none", ""),
    ],
)
def test_who_called_is_a_reference(caller: Caller, kind: str, ref: str) -> None:
    with called_by(caller):
        row = row_of(ORIGIN, Entry("b", "c"))
    assert (row.caller_kind, row.caller_ref) == (kind, ref)


def test_work_that_was_handed_on_names_its_caller() -> None:
    row = row_of(ORIGIN, Entry("b", "c", who=Who("service", "pay", "::1"), request_id="r"))
    assert (row.caller_kind, row.caller_ref, row.address, row.request_id) == (
        "service",
        "pay",
        "::1",
        "r",
    )


def test_secrets_and_persons_are_masked_however_deep() -> None:
    facts = {
        "a": [{"app_secret": "s", "mobile": "13800138000"}],
        "b": "call 13800138000 about order 1380013800012345",
        "token": "t",
    }
    assert json.loads(facts_text(facts, ORIGIN.masked)) == {
        "a": [{"app_secret": "***", "mobile": "***"}],
        "b": "call 138******00 about order 1380013800012345",
        "token": "***",
    }
    row = row_of(ORIGIN, Entry("phone", "13800138000", reason="of 13800138000"))
    assert (row.subject_key, row.reason) == ("***", "of 138******00")
    row = row_of(ORIGIN, Entry("order", "13800138000", after={"account": "p@example.com"}))
    assert (row.subject_key, row.after) == ("138******00", '{"account":"***"}')
    assert facts_text({"account": {"eid": "1"}}) == '{"account":{"eid":"1"}}'  # one of the ledger
    assert masked_text("12345678901") == "12345678901"  # no number of a mobile


def test_long_facts_leave_their_digest_and_nul_is_left_out() -> None:
    long = json.loads(facts_text({"rows": [str(n) * 100 for n in range(200)]}))
    assert set(long) == {"bytes", "sha256"}
    assert long["bytes"] > FACTS_BYTES_MAX
    row = row_of(ORIGIN, Entry("b", "c\0", None, {"d": "e\0"}, "f\0" * 2000, action="a\0"))
    assert (row.action, row.subject_key, row.after, row.reason) == (
        "a",
        "c",
        '{"d":"e"}',
        "f" * 1000,
    )
