"""Promises of the group commit: few statements, poison stays alone, grants, alerts, events, revisions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from grpc import aio
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from shoudan.core.v1 import operations_service_pb2, operations_service_pb2_grpc
from shoudan.pay.v1 import events_pb2
from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.db.migrate import differences
from shoudan_kit.db.pool import Database
from shoudan_kit.db.text_statements import watched
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.rpc.refusal import Refused
from shoudan_pay.app import SERVICE
from shoudan_pay.ledger import accounts, events
from shoudan_pay.ledger.store import accounts as account_store
from tests.pay.ledger.harness import YUAN, LedgerHarness, deduct, posting, reason, refusal_of, told
from tests.pay.ledger.invariants import broken
from tests.poll import eventually


@pytest.fixture
async def owner(harness: LedgerHarness) -> AsyncIterator[Database]:
    """Somebody who may do what the service may not."""
    database = Database(harness.urls.owner)
    yield database
    await database.dispose()


async def rows(database: Database, sql: str, **binds: object) -> list[Any]:
    async with database.connect() as db:
        return list((await db.execute(text(sql), binds)).all())


async def test_the_revisions_make_the_tables_declared(
    new_database: Callable[[str], Awaitable[DatabaseUrls]],
) -> None:
    assert SERVICE.schema is not None
    assert await differences(SERVICE.schema, (await new_database("pay")).owner) == []


@pytest.mark.parametrize("table", ["account_record", "package_record"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET memo = ''", "TRUNCATE {}"])
async def test_the_service_itself_cannot_change_a_record(
    harness: LedgerHarness, table: str, change: str
) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        async with harness.process.app.db.begin() as db:
            await db.execute(text(change.format(table)))


async def statements(harness: LedgerHarness, groups: list[list[pb.Posting]]) -> int:
    """How many statements these groups cost."""
    await harness.days_closed()
    seen: list[str] = []
    with watched(seen.append):
        await harness.groups(*groups)
    # The relay works in the background; its statements know no accounts and make no events.
    return sum("account_" in sql or "INTO event" in sql for sql in seen)


async def test_a_thousand_postings_cost_as_many_statements_as_one(harness: LedgerHarness) -> None:
    key = await harness.account(1000 * YUAN)
    keys = [await harness.account(1000 * YUAN) for _ in range(10)]
    one = await statements(harness, [[deduct(key, 10)]])
    many = await statements(harness, [[deduct(k, 10)] for k in keys for _ in range(100)])
    assert (one, many) == (5, 5)


async def test_locking_to_post_reads_no_moments_of_a_thousand_rows(harness: LedgerHarness) -> None:
    """One costs the driver as much as twenty numbers: it was a tenth of what a posting costs."""
    keys = [await harness.account(YUAN) for _ in range(3)]
    wanted = [(key.ident, key.groups, key.eid) for key in keys]
    async with harness.process.app.db.begin() as db:
        rows = (await db.execute(account_store.LOCK_TO_POST, account_store.arrays(wanted))).all()
    assert len(rows) == 3
    assert [value for row in rows for value in row if isinstance(value, datetime)] == []


async def test_accounts_that_were_locked_before_are_found_by_their_ids(
    harness: LedgerHarness, owner: Database
) -> None:
    keys = [await harness.account(YUAN) for _ in range(2)]
    new, known = await harness.account(), [[deduct(key, 10)] for key in keys]

    async def locked(groups: list[list[pb.Posting]]) -> list[bool]:
        seen: list[str] = []
        with watched(seen.append):
            results = await harness.groups(*groups)
        for group, result in zip(groups, results, strict=True):
            assert result.records[0].account == group[0].account
        return ["account_id = ANY" in sql for sql in seen if "FOR UPDATE OF a" in sql]

    assert await locked(known) == [True]
    assert await locked([[deduct(keys[0], 10)], [posting(new, 10)]]) == [False]
    # As after a database was put back: the ids that were known are of others now.
    swap = """UPDATE account_info a SET eid = given.eid
        FROM unnest(CAST(:old AS text[]), CAST(:new AS text[])) AS given(old, eid) WHERE a.eid = given.old"""
    one, two = (key.eid for key in keys)
    for old, eids in (([one], ["away"]), ([two], [one]), (["away"], [two])):
        async with owner.begin() as db:
            await db.execute(text(swap), {"old": old, "new": eids})
    assert await locked([[deduct(keys[0], 10)]]) == [True, False]
    assert await locked([[deduct(keys[0], 10)]]) == [True]
    assert await locked([[deduct(key, 10)] for key in keys]) == [False]
    assert await broken(owner) == {}


async def test_an_account_ahead_of_the_clock_keeps_its_time_beside_others(
    harness: LedgerHarness, owner: Database
) -> None:
    ahead, other = await harness.account(YUAN), await harness.account(YUAN)
    move = """UPDATE account_info SET moved_time = moved_time + CAST('1 hour' AS interval)
        WHERE eid = :eid RETURNING moved_time"""
    async with owner.begin() as db:
        later = (await db.execute(text(move), {"eid": ahead.eid})).scalar_one()
    first, second = (await harness.groups([deduct(ahead, 10), deduct(other, 10)]))[0].records
    (third,) = (await harness.groups([deduct(ahead, 10)]))[0].records
    times = [one.create_time.ToDatetime(UTC) for one in (first, second, third)]
    assert times[0] == times[2] == later
    assert times[1] < later - timedelta(minutes=50)
    moved = "SELECT moved_time FROM account_info WHERE eid = ANY(CAST(:eids AS text[])) ORDER BY account_id"
    found = await rows(owner, moved, eids=[ahead.eid, other.eid])
    assert [row[0] for row in found] == [later, times[1]]


async def test_no_group_commit_reads_the_records_one_after_the_other(
    harness: LedgerHarness, owner: Database
) -> None:
    scans = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'account_record'"
    key = await harness.account(1000 * YUAN)
    await harness.groups(*[[deduct(key, 10)] for _ in range(500)])
    plan = """EXPLAIN SELECT record_id FROM account_record
        WHERE trade_no = 'x' AND account_id = 1 AND trade_type = 1 AND change_type = 1"""
    async with owner.begin() as db:
        await db.execute(text("SELECT set_config('enable_seqscan', 'off', true)"))
        lines = (await db.execute(text(plan))).scalars().all()
    assert "account_record_key" in lines[0]
    assert await rows(owner, scans)


async def test_postings_of_persons_share_a_commit_and_each_leaves_its_row(
    harness: LedgerHarness, owner: Database
) -> None:
    key = await harness.account(39 * YUAN)
    wanted = [deduct(key, YUAN, f"person-{key.eid}-{n:02d}") for n in range(40)]
    seen: list[str] = []
    with watched(seen.append):
        answers = await asyncio.gather(*map(harness.post, wanted), return_exceptions=True)
    commits = sum("INTO account_record" in sql for sql in seen)
    rows_of_calls = sum("INTO audit_log (" in sql for sql in seen)
    assert max(commits, rows_of_calls) <= 20  # by when they arrive, about 6 for 40 calls
    written = "SELECT after, outcome FROM audit_log WHERE action LIKE '%/Post' AND after LIKE :like"
    found = await rows(owner, written, like=f"%person-{key.eid}-%")
    refused = [n for n, answer in enumerate(answers) if isinstance(answer, Refused)]
    assert len(refused) == 1
    assert sorted((orjson.loads(after)["posting"]["trade_no"], how) for after, how in found) == [
        (one.trade_no, "refused" if n in refused else "done") for n, one in enumerate(wanted)
    ]


async def test_a_poisoned_group_fails_alone(harness: LedgerHarness, owner: Database) -> None:
    poison = """CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF NEW.memo = 'poison' THEN RAISE EXCEPTION 'poisoned'; END IF; RETURN NEW; END $$"""
    trigger = """CREATE TRIGGER poison BEFORE INSERT ON account_record
        FOR EACH ROW EXECUTE FUNCTION poison()"""
    key = await harness.account(100 * YUAN)
    async with owner.begin() as db:
        await db.execute(text(poison))
        await db.execute(text(trigger))
    try:
        asked = [[deduct(key, YUAN, memo="poison" if n == 5 else "")] for n in range(12)]
        results = await harness.groups(*asked)
    finally:
        async with owner.begin() as db:
            await db.execute(text("DROP TRIGGER poison ON account_record"))
            await db.execute(text("DROP FUNCTION poison"))
    assert reason(results[5]) == "POSTING_FAILED"
    assert "poisoned" not in str(results[5].metadata)
    assert [r.records[0].seq for n, r in enumerate(results) if n != 5] == list(range(2, 13))
    (again,) = await harness.groups(asked[5])
    assert again.records[0].balance_micros == 88 * YUAN


async def test_postings_without_turn_on_the_same_accounts_never_deadlock(
    harness: LedgerHarness, owner: Database
) -> None:
    keys = [await harness.account(1000 * YUAN) for _ in range(6)]
    asked = [
        harness.groups([deduct(keys[(n * k) % 6], YUAN) for k in (1, 2, 5)]) for n in range(60)
    ]
    for (result,) in await asyncio.gather(*asked):
        assert len(result.records) == 3
    assert sum([await harness.balance(key) for key in keys]) == 6000 * YUAN - 180 * YUAN
    assert await broken(owner) == {}


async def test_accounts_are_made_once_however_often_they_are_asked_for(
    harness: LedgerHarness,
) -> None:
    key = pb.AccountKey(ident="race", groups="down_channel", eid="1")
    item = pb.CreateAccountsRequest.Item(key=key, name="x", credit_micros=5 * YUAN)
    request = pb.CreateAccountsRequest(items=[item, item])
    answers = await asyncio.gather(*[harness.stub.CreateAccounts(request) for _ in range(8)])
    results = [one for answer in answers for one in answer.results]
    assert len({one.account.account_id for one in results}) == 1
    assert [one.existed for one in results].count(False) == 1
    assert results[0].account.account_id >= 86_000
    bad = [
        pb.CreateAccountsRequest.Item(key=pb.AccountKey(ident="race", groups="platform", eid="1")),
        pb.CreateAccountsRequest.Item(key=pb.AccountKey(ident="race"), name="x"),
        pb.CreateAccountsRequest.Item(key=key, credit_micros=-10),
    ]
    refused = await harness.stub.CreateAccounts(pb.CreateAccountsRequest(items=[*bad, item]))
    assert [one.WhichOneof("outcome") for one in refused.results] == ["refusal"] * 3 + ["account"]


async def test_accounts_are_listed_by_what_is_asked(harness: LedgerHarness) -> None:
    for n in range(3):
        await harness.account(groups=f"up_{n}", ident="listed")
    ask = pb.ListAccountsRequest(ident="listed", groups_prefix="up_", page_size=2)
    first = await told(harness.stub.ListAccounts(ask))
    assert (first.count, [a.key.groups for a in first.accounts]) == (3, ["up_0", "up_1"])
    ask.page_token = first.next_page_token
    second = await told(harness.stub.ListAccounts(ask))
    assert [a.key.groups for a in second.accounts] == ["up_2"]
    assert not second.next_page_token
    ask.page_token = str(2**63 - 1)  # as long as numbers get
    assert not (await told(harness.stub.ListAccounts(ask))).accounts
    one = first.accounts[0].key
    await told(harness.stub.UpdateAccount(pb.UpdateAccountRequest(key=one, locked=True)))
    locked = pb.ListAccountsRequest(ident="listed", status=1)
    assert [a.key for a in (await told(harness.stub.ListAccounts(locked))).accounts] == [one]


async def test_a_balance_running_low_is_told_once_until_it_has_recovered(
    harness: LedgerHarness, owner: Database
) -> None:
    key = await harness.account(100 * YUAN)
    limits = {"threshold_micros": 50 * YUAN, "hysteresis_micros": 10 * YUAN}
    made = await told(harness.stub.SetAlert(pb.SetAlertRequest(key=key, **limits)))
    assert list(made.threshold_micros) == [50 * YUAN]
    for micros in (-60, 15, -10, 20, -30):  # 40 low, 55 quiet, 45 quiet, 65 recovered, 35 low
        kind = pb.CHANGE_TYPE_BALANCE_FLAT
        await harness.post(posting(key, micros * YUAN, change_type=kind))
    account = (await told(harness.stub.GetAccount(pb.GetAccountRequest(key=key)))).account
    sql = """SELECT subject, body FROM event WHERE key = :key AND subject LIKE '%account.%'
        ORDER BY event_id"""
    found = await rows(owner, sql, key=str(account.account_id))
    assert [row.subject for row in found] == [events.LOW, events.RECOVERED, events.LOW]
    alert = events_pb2.BalanceAlert.FromString(found[-1].body)
    assert (alert.balance_micros, alert.threshold_micros) == (35 * YUAN, 50 * YUAN)
    assert (alert.ident, alert.seq, alert.low) == (key.ident, 6, True)
    listed = [
        one
        for one in (await told(harness.stub.ListAlerts(pb.ListAlertsRequest()))).alerts
        if one.account_id == account.account_id
    ]
    assert [(one.key, one.low, one.seq, one.balance_micros) for one in listed] == [
        (key, True, 6, 35 * YUAN)
    ]
    assert listed[0].HasField("crossed_time")
    gone = await told(harness.stub.SetAlert(pb.SetAlertRequest(key=key, remove=True, **limits)))
    assert not gone.threshold_micros
    sql = "SELECT before, after FROM audit_log WHERE action LIKE '%/SetAlert' ORDER BY id DESC LIMIT 2"
    with_one, without = {"thresholds_micros": [50 * YUAN]}, {"thresholds_micros": []}
    found = [tuple(map(orjson.loads, row)) for row in await rows(owner, sql)]
    assert found == [(with_one, without), (without, with_one)]


async def test_what_left_an_account_is_reckoned_from_the_last_day_or_from_as_many_records(
    harness: LedgerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await harness.account(100 * YUAN)
    kind = pb.CHANGE_TYPE_BALANCE_FLAT
    for micros in (-30, 5, -12):
        await harness.post(posting(key, micros * YUAN, change_type=kind))
    request = pb.GetSpendingRequest(key=key)
    spent = await told(harness.stub.GetSpending(request))
    assert (spent.spent_micros, spent.window_s) == (42 * YUAN, 86_400)
    assert (spent.balance_micros, spent.credit_micros) == (63 * YUAN, 0)
    monkeypatch.setattr(accounts, "SPENT_RECORDS_MAX", 2)
    spent = await told(harness.stub.GetSpending(request))
    assert spent.spent_micros == 12 * YUAN
    assert 1 <= spent.window_s < 600


async def test_thresholds_are_listed_page_by_page(harness: LedgerHarness) -> None:
    key = await harness.account(100 * YUAN)
    for yuan in (10, 20, 30):
        await told(harness.stub.SetAlert(pb.SetAlertRequest(key=key, threshold_micros=yuan * YUAN)))
    found: list[int] = []
    token = ""
    while True:
        request = pb.ListAlertsRequest(page_size=2, page_token=token)
        page = await told(harness.stub.ListAlerts(request))
        found += [one.threshold_micros for one in page.alerts if one.key == key]
        token = page.next_page_token
        if not token:
            break
    assert found == [10 * YUAN, 20 * YUAN, 30 * YUAN]
    with pytest.raises(aio.AioRpcError):
        await harness.stub.ListAlerts(pb.ListAlertsRequest(page_token="x"))


async def test_each_group_is_told_once_and_repeats_are_not(
    harness: LedgerHarness, owner: Database
) -> None:
    one, two = await harness.account(100 * YUAN), await harness.account(100 * YUAN)
    group = [deduct(one, YUAN, "ev1"), deduct(two, YUAN, "ev1")]
    await harness.groups(group, [deduct(one, YUAN, "ev2")])
    await harness.groups(group)
    sql = "SELECT body FROM event WHERE subject = :subject"
    found = await rows(owner, sql, subject=events.POSTED)
    told = [g for row in found for g in events_pb2.PostedGroups.FromString(row.body).groups]
    (posted,) = [group for group in told if group.trade_no == "ev1"]
    assert [line.eid for line in posted.lines] == [one.eid, two.eid]
    assert {line.balance_micros for line in posted.lines} == {99 * YUAN}
    assert [group.trade_no for group in told].count("ev2") == 1


async def test_many_groups_are_told_in_bounded_messages(
    harness: LedgerHarness, owner: Database
) -> None:
    key = await harness.account(100 * YUAN)
    long = [deduct(key, 10, f"long{n}") for n in range(events.LINES_MAX + 1)]
    await harness.groups(long, *[[deduct(key, 10, f"many{n}")] for n in range(events.LINES_MAX)])
    found = await rows(
        owner, "SELECT body FROM event WHERE subject = :subject", subject=events.POSTED
    )
    bodies = [events_pb2.PostedGroups.FromString(row.body).groups for row in found]
    sizes = [sum(len(group.lines) for group in groups) for groups in bodies]
    told = [group.trade_no for groups in bodies for group in groups]
    assert max(sizes) <= events.LINES_MAX
    assert sum(number.startswith("many") for number in told) == events.LINES_MAX
    assert {number for number in told if number.startswith("long")} == {"long0", "long200"}


async def test_the_history_of_a_trade_number_is_what_was_posted_under_it(
    harness: LedgerHarness,
) -> None:
    one, two = await harness.account(100 * YUAN), await harness.account(100 * YUAN)
    await harness.groups([deduct(one, YUAN, "hi1"), deduct(two, 2 * YUAN, "hi1")])
    await harness.groups([deduct(one, YUAN, "hi2")])
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        stub: Any = operations_service_pb2_grpc.OperationsServiceStub(channel)
        request = operations_service_pb2.GetHistoryRequest(keys=["hi2", "hi1", "nobody"])
        answer = await stub.GetHistory(request)
    assert [event.key for event in answer.events] == ["hi1", "hi2"]
    first = answer.events[0]
    words = f"down_channel/{one.eid} -1, down_channel/{two.eid} -2"
    assert (first.subject, first.text) == (events.POSTED, words)
    posted = events_pb2.Posted.FromString(first.body)
    assert [line.amount_micros for line in posted.lines] == [-YUAN, -2 * YUAN]


async def test_too_much_at_once_is_refused_whole(harness: LedgerHarness) -> None:
    key = await harness.account(YUAN)
    refused = await refusal_of(harness.groups(*[[posting(key, 10)] for _ in range(1001)]))
    assert reason(refused) == "FIELD_INVALID"
    assert reason((await harness.groups([]))[0]) == "FIELD_INVALID"


async def test_the_database_may_come_and_go(harness: LedgerHarness, postgres: Any) -> None:
    key = await harness.account(YUAN)
    await postgres.restart()

    async def posted() -> bool:
        posting = harness.post(deduct(key, 10, "after"))
        [answer] = await asyncio.gather(posting, return_exceptions=True)
        return not isinstance(answer, Exception)

    await eventually(posted, 20, every_s=0.1)
    assert await harness.balance(key) == YUAN - 10
