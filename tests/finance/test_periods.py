"""Promises of opening periods again: by two persons, nothing of it forgotten, and no fact moved by it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date, timedelta
from typing import Any

import pytest
from grpc import aio

from shoudan.core.v1 import proposal_service_pb2 as proposal_pb
from shoudan.core.v1 import proposal_service_pb2_grpc as proposal_stubs
from shoudan.finance.v1 import book_service_pb2 as pb
from shoudan_finance import book_commands
from shoudan_finance.periods import METHOD
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.rpc.rights import FINANCE_CHECKER, FINANCE_MAKER
from tests.credentials import metadata_as, trusted_keys
from tests.finance.books import TRADE_DAY
from tests.finance.harness import FinanceHarness, opened
from tests.finance.test_exceptions import SYSTEM
from tests.finance.test_trade_books import refused
from tests.pay.ledger.harness import YUAN, LedgerHarness, posting

MONTH = """INSERT INTO period (first_day, last_day, accounts, opening_micros, debits_micros, credits_micros,
    closing_micros, digest, closed_by, close_time) VALUES ($1, $2, 0, 0, 0, 0, 0, '', 'zhang', now())"""

FETCHED = TRADE_DAY.replace("DO NOTHING", "(day) DO UPDATE SET status = 20")


@pytest.fixture(scope="module")
async def office(
    database: Callable[[str], Awaitable[DatabaseUrls]],
    ledger: LedgerHarness,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[FinanceHarness]:
    """A finance service that needs two persons; without a token its caller is the owner."""
    keys = trusted_keys(tmp_path_factory.mktemp("keys"))
    more: dict[str, Any] = {"system_id": SYSTEM, "two_persons": "on", "token_keys": [str(keys)]}
    async with opened(await database("finance"), ledger, **more) as made:
        yield made


async def closed(office: FinanceHarness) -> tuple[date, pb.Period]:
    """A day that has been closed."""
    await office.ledger.account(10 * YUAN)
    day = await office.close_day()
    await office.completed(day)
    await office.sql(FETCHED, day)
    request = pb.ClosePeriodRequest(first_day=str(day), last_day=str(day), by="zhang")
    return day, (await office.book_stub.ClosePeriod(request)).period


async def proposed(office: FinanceHarness, day: date, reason: str) -> proposal_pb.Proposal:
    """Opening a day again, proposed by one and approved by another."""
    request = pb.ReopenPeriodRequest(first_day=str(day), reason=reason)
    asked = proposal_pb.ProposeRequest(
        method=METHOD, request=request.SerializeToString(), reason=reason, key=secrets.token_hex(8)
    )
    async with aio.insecure_channel(f"127.0.0.1:{office.process.port}") as channel:
        stub: Any = proposal_stubs.ProposalServiceStub(channel)
        maker = metadata_as(SYSTEM, "m", FINANCE_MAKER)
        made = (await stub.Propose(asked, metadata=maker)).proposal
        approve = proposal_pb.ApproveProposalRequest(proposal_id=made.proposal_id, reason="yes")
        checker = metadata_as(SYSTEM, "c", FINANCE_CHECKER)
        return (await stub.ApproveProposal(approve, metadata=checker)).proposal


async def listed(office: FinanceHarness) -> list[str]:
    found = await office.book_stub.ListPeriods(pb.ListPeriodsRequest())
    return [one.first_day for one in found.periods]


async def test_a_closed_day_is_opened_again_by_two_persons_and_closed_anew(
    office: FinanceHarness,
) -> None:
    day, period = await closed(office)
    request = pb.ReopenPeriodRequest(first_day=str(day), reason="one was late")
    alone = metadata_as(SYSTEM, "m", FINANCE_MAKER)
    call = office.book_stub.ReopenPeriod(request, metadata=alone)
    assert await refused(call) == "PROPOSAL_REQUIRED"
    assert str(day) in await listed(office)
    done = await proposed(office, day, "one was late")
    assert done.state == proposal_pb.PROPOSAL_STATE_APPLIED
    assert str(day) not in await listed(office)
    (kept,) = (await office.book_stub.ListReopenings(pb.ListReopeningsRequest())).reopenings
    assert (kept.digest, kept.closed_by, kept.reason) == (period.digest, "zhang", "one was late")
    assert kept.closing_micros == period.closing_micros
    assert kept.reopened_by
    # What is posted meanwhile is of a later day: closed anew, the period is what it was.
    key = await office.ledger.account(5 * YUAN)
    await office.ledger.post(posting(key, YUAN))
    later = await office.close_day()
    assert later > day
    again = pb.ClosePeriodRequest(first_day=str(day), last_day=str(day), by="li")
    anew = await office.book_stub.ClosePeriod(again)
    assert (anew.existed, anew.period.digest, anew.period.closed_by) == (False, period.digest, "li")
    shown = await office.run("reopenings", app=book_commands.app)
    assert "closed by zhang" in shown.stdout


async def test_what_is_not_closed_or_is_within_what_is_stays(office: FinanceHarness) -> None:
    day, _ = await closed(office)
    call = office.book_stub.ReopenPeriod

    def asked(which: date, **more: Any) -> pb.ReopenPeriodRequest:
        return pb.ReopenPeriodRequest(**{"first_day": str(which), "reason": "r", **more})

    assert await refused(call(asked(day + timedelta(days=90)))) == "PERIOD_NOT_CLOSED"
    assert await refused(call(asked(day, reason=""))) == "FIELD_INVALID"
    assert await refused(call(asked(day, first_day="yesterday"))) == "FIELD_INVALID"
    first = day.replace(day=1)
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    await office.sql(MONTH, first, last)
    assert await refused(call(asked(day))) == "PERIOD_WITHIN"
    await call(asked(first, last_day=str(last)))
    await call(asked(day))
    assert str(day) not in await listed(office)
