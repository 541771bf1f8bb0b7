"""Promises about two persons at the ledger: what one proposes another approves, and it is booked once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from grpc import aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from shoudan.core.v1 import proposal_service_pb2 as pb
from shoudan.core.v1 import proposal_service_pb2_grpc as proposal_stubs
from shoudan.pay.v1 import ledger_service_pb2 as ledger
from shoudan_kit.db.pool import Database
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.proposals.calls import REQUEST_BYTES_MAX
from shoudan_kit.proposals.refusals import ProposalRequired
from shoudan_kit.proposals.watch import OPEN, OPEN_AGE_SECONDS, look
from shoudan_kit.proposals.work import METHOD as DECIDE_WORK
from shoudan_kit.rpc import client
from shoudan_kit.rpc.caller import Caller
from shoudan_kit.rpc.callers import LOCAL_OWNER
from shoudan_kit.rpc.refusal import Refused
from shoudan_kit.rpc.rights import ADMIN, FINANCE_CHECKER, FINANCE_MAKER, ROLES, SUPPORT, methods
from shoudan_pay.app import NAMES
from shoudan_pay.config import PaySettings
from tests.credentials import metadata_as, trusted_keys
from tests.pay.ledger.harness import (
    YUAN,
    LedgerHarness,
    deduct,
    posting,
    reason,
    refusal_of,
    reverse_add,
    told,
)
from tests.pay.ledger.office import LEDGER, SETTINGS, SYSTEM, Office
from tests.pay.ledger.process import PayProcess

APPLIED, FAILED = pb.PROPOSAL_STATE_APPLIED, pb.PROPOSAL_STATE_FAILED


async def as_owner(office: Office, sql: str, **binds: Any) -> None:
    owner = Database(office.harness.urls.owner)
    async with owner.begin() as db:
        await db.execute(text(sql), binds)
    await owner.dispose()


async def late(office: Office, proposal: pb.Proposal) -> None:
    """Its time is over."""
    sql = "UPDATE proposal SET expire_time = shoudan_now() - interval '1 s' WHERE proposal_id = :id"
    await as_owner(office, sql, id=proposal.proposal_id)


def direct(office: Office, method: str, request: Message, *roles: str) -> Any:
    """The call itself, by one operator."""
    call = getattr(office.harness.stub, method)
    return told(call(request, metadata=metadata_as(SYSTEM, "m", *(roles or (FINANCE_MAKER,)))))


def test_every_method_with_approvers_is_a_kind_of_the_service(office: Office) -> None:
    proposals = office.harness.process.proposals
    assert proposals is not None
    found = {f"{name}/{method}" for name, method, right in methods(*NAMES) if right.approvers}
    assert set(proposals.kinds) == found | {DECIDE_WORK}
    assert len(found) >= 4


async def test_one_operator_alone_moves_no_money(office: Office) -> None:
    key = await office.harness.account(10 * YUAN)
    group = ledger.PostEntriesRequest.Group(postings=[posting(key, YUAN)])
    item = ledger.CreateAccountsRequest.Item(
        key=ledger.AccountKey(ident="oms", groups="-", eid="by-one"), credit_micros=YUAN
    )
    calls = {
        "Post": ledger.PostRequest(posting=posting(key, YUAN)),
        "PostEntries": ledger.PostEntriesRequest(groups=[group]),
        "UpdateAccount": ledger.UpdateAccountRequest(key=key, credit_micros=YUAN),
        "CreateAccounts": ledger.CreateAccountsRequest(items=[item]),
    }
    for method, request in calls.items():
        for roles in ((FINANCE_MAKER,), ROLES):
            refused = await refusal_of(direct(office, method, request, *roles))
            assert reason(refused) == "PROPOSAL_REQUIRED", method
            assert refused.metadata["command"] == "shoudan proposal make"
    assert await office.harness.balance(key) == 10 * YUAN


async def test_what_moves_no_money_one_operator_does_alone(office: Office) -> None:
    key = await office.harness.account()
    lock = ledger.UpdateAccountRequest(key=key, locked=True)
    assert (await direct(office, "UpdateAccount", lock)).account.locked
    item = ledger.CreateAccountsRequest.Item(
        key=ledger.AccountKey(ident="oms", groups="-", eid="plain")
    )
    request = ledger.CreateAccountsRequest(items=[item])
    assert not (await direct(office, "CreateAccounts", request)).results[0].HasField("refusal")


async def test_what_one_proposes_another_approves(office: Office) -> None:
    key = await office.harness.account(10 * YUAN)
    made = await office.post(posting(key, 5 * YUAN, "tp1"))
    assert (made.state, made.maker, made.amount_micros) == (1, "op-m", 5 * YUAN)
    assert made.subject == f"add 5 元, oms/down_channel/{key.eid}, trade tp1"
    assert list(made.approvers) == [FINANCE_CHECKER]
    assert '"trade_no":"tp1"' in made.request_json.replace(" ", "")
    (effect,) = made.dry_run
    assert effect.what == f"balance of oms/down_channel/{key.eid}, 元"
    assert (effect.before, effect.after) == ("10", "15")
    assert await office.harness.balance(key) == 10 * YUAN
    done = await office.approve(made)
    assert (done.proposal.state, done.repeated) == (APPLIED, False)
    assert (done.proposal.decider, done.proposal.decide_reason) == ("op-c", "seen")
    assert list(done.proposal.result) == list(made.dry_run)
    assert await office.harness.balance(key) == 15 * YUAN
    assert await office.harness.findings() == []


async def test_the_maker_approves_never_whatever_roles_or_token_it_has(office: Office) -> None:
    key = await office.harness.account(YUAN)
    made = await office.post(posting(key, YUAN))
    refused = await refusal_of(office.approve(made, "m", *ROLES))
    assert reason(refused) == "PROPOSAL_OWNER"
    # A later token of the same person, under another name.
    again = await refusal_of(office.approve(made, "m", FINANCE_CHECKER))
    assert reason(again) == "PROPOSAL_OWNER"
    assert reason(await refusal_of(office.refuse(made, "m"))) == "PROPOSAL_OWNER"
    for roles in ((FINANCE_MAKER,), (ADMIN, SUPPORT)):
        assert reason(await refusal_of(office.approve(made, "x", *roles))) == "NOT_ALLOWED"
    without = office.stub.ApproveProposal(
        pb.ApproveProposalRequest(proposal_id=made.proposal_id)  # this machine's owner: no person
    )
    assert reason(await refusal_of(told(without))) == "NOT_ALLOWED"
    assert (await office.get(made)).state == pb.PROPOSAL_STATE_OPEN
    assert await office.harness.balance(key) == YUAN


async def test_of_a_hundred_approvals_at_once_one_books(office: Office) -> None:
    key = await office.harness.account()
    made = await office.post(posting(key, YUAN))
    answers = await asyncio.gather(
        *(office.approve(made, f"c{n % 10}") for n in range(100)), return_exceptions=True
    )
    told_so = [one for one in answers if not isinstance(one, BaseException)]
    (first,) = [one for one in told_so if not one.repeated]
    assert first.proposal.state == APPLIED
    # Every other call of that checker repeats it; those of the others say who was first.
    assert len(told_so) == 10
    assert {one.proposal.decider for one in told_so} == {first.proposal.decider}
    for one in answers:
        if isinstance(one, BaseException):
            assert isinstance(one, Refused)
            assert reason(one) == "PROPOSAL_ENDED"
            assert one.metadata["by"] == first.proposal.decider
    assert await office.harness.balance(key) == YUAN
    assert len(await office.harness.records(key)) == 1


async def test_a_repeat_is_answered_as_the_first(office: Office) -> None:
    key = await office.harness.account()
    request = ledger.PostRequest(posting=posting(key, YUAN))
    first = await office.propose("Post", request, key="k1")
    assert (await office.propose("Post", request, key="k1")).proposal_id == first.proposal_id
    other = ledger.PostRequest(posting=posting(key, 2 * YUAN))
    refused = await refusal_of(office.propose("Post", other, key="k1"))
    assert reason(refused) == "PROPOSAL_DIFFERS"
    assert refused.metadata["proposal_id"] == str(first.proposal_id)
    another = await office.propose("Post", request, "n", key="k1")
    assert another.proposal_id != first.proposal_id  # keys are the maker's own
    done = await office.approve(first)
    again = await office.approve(first)
    assert (again.proposal, again.repeated) == (done.proposal, True)
    # The second proposal of the same trade is the same posting: nothing is booked twice.
    twin = (await office.approve(another)).proposal
    assert (twin.state, twin.result[0].before, twin.result[0].after) == (APPLIED, "1", "1")
    assert await office.harness.balance(key) == YUAN


async def test_what_is_too_late_is_not_approved(office: Office) -> None:
    key = await office.harness.account()
    made = await office.post(posting(key, YUAN))
    await late(office, made)
    refused = await refusal_of(office.approve(made))
    assert (reason(refused), refused.metadata["state"]) == ("PROPOSAL_ENDED", "expired")
    assert (await office.get(made)).state == pb.PROPOSAL_STATE_EXPIRED
    assert reason(await refusal_of(office.withdraw(made))) == "PROPOSAL_ENDED"
    assert await office.harness.balance(key) == 0


async def test_what_nobody_decides_expires_and_is_counted_until_then(office: Office) -> None:
    key = await office.harness.account()
    proposals = office.harness.process.proposals
    assert proposals is not None
    await look(proposals)
    before = OPEN()._value.get()
    made = await office.post(posting(key, YUAN))
    await look(proposals)
    assert OPEN()._value.get() == before + 1
    assert OPEN_AGE_SECONDS()._value.get() >= 0
    await late(office, made)
    await look(proposals)
    assert OPEN()._value.get() == before
    assert (await office.get(made)).state == pb.PROPOSAL_STATE_EXPIRED


async def test_a_proposal_whose_account_is_short_meanwhile_has_failed(office: Office) -> None:
    key = await office.harness.account(10 * YUAN)
    made = await office.post(posting(key, -8 * YUAN, change_type=ledger.CHANGE_TYPE_DRAWING))
    await office.harness.post(deduct(key, 5 * YUAN))
    done = await office.approve(made)
    assert (done.proposal.state, done.repeated) == (FAILED, False)
    assert "BALANCE_TOO_LOW" in done.proposal.refusal
    assert "available_micros=5000000" in done.proposal.refusal
    assert not done.proposal.result
    again = await office.approve(made)
    assert (again.proposal, again.repeated) == (done.proposal, True)
    assert reason(await refusal_of(office.approve(made, "d"))) == "PROPOSAL_ENDED"
    assert await office.harness.balance(key) == 5 * YUAN


async def test_a_proposal_of_a_locked_account_has_failed(office: Office) -> None:
    key = await office.harness.account(YUAN)
    made = await office.post(posting(key, YUAN))
    await office.harness.stub.UpdateAccount(ledger.UpdateAccountRequest(key=key, locked=True))
    assert "ACCOUNT_LOCKED" in (await office.approve(made)).proposal.refusal


async def test_what_is_refused_now_is_not_proposed(office: Office) -> None:
    key = await office.harness.account(YUAN)
    drawing = posting(key, -2 * YUAN, change_type=ledger.CHANGE_TYPE_DRAWING)
    assert reason(await refusal_of(office.post(drawing))) == "BALANCE_TOO_LOW"
    assert reason(await refusal_of(office.post(posting(key, 1)))) == "AMOUNT_INVALID"


async def test_a_reversal_names_its_original_and_is_made_once(office: Office) -> None:
    key = await office.harness.account()
    await office.harness.post(posting(key, 3 * YUAN, "orig"))
    made = [await office.post(reverse_add(key, "orig", trade_no=f"rev{n}")) for n in range(2)]
    assert "reversal of add orig" in made[0].subject
    assert (made[0].dry_run[0].before, made[0].dry_run[0].after) == ("3", "0")
    assert (await office.approve(made[0])).proposal.state == APPLIED
    assert "ALREADY_REVERSED" in (await office.approve(made[1])).proposal.refusal
    too_much = reverse_add(key, "orig", micros=-4 * YUAN)
    assert reason(await refusal_of(office.post(too_much))) in {"AMOUNT_INVALID", "ALREADY_REVERSED"}
    assert await office.harness.balance(key) == 0


async def test_groups_of_a_proposal_are_booked_whole_or_not_at_all(office: Office) -> None:
    rich, poor = await office.harness.account(10 * YUAN), await office.harness.account(YUAN)
    groups = [ledger.PostEntriesRequest.Group(postings=[deduct(one, YUAN)]) for one in (rich, poor)]
    made = await office.propose("PostEntries", ledger.PostEntriesRequest(groups=groups))
    assert (made.amount_micros, len(made.dry_run)) == (2 * YUAN, 2)
    await office.harness.post(deduct(poor, YUAN))
    assert (await office.approve(made)).proposal.state == FAILED
    assert await office.harness.balance(rich) == 10 * YUAN


async def test_credit_is_proposed(office: Office) -> None:
    key = await office.harness.account()
    request = ledger.UpdateAccountRequest(key=key, credit_micros=7 * YUAN)
    made = await office.propose("UpdateAccount", request)
    (effect,) = made.dry_run
    assert (effect.before, effect.after) == ("0", "7")
    done = (await office.approve(made)).proposal
    assert list(done.result) == [effect]
    found = await office.harness.stub.GetAccount(ledger.GetAccountRequest(key=key))
    assert found.account.credit_micros == 7 * YUAN


async def test_an_account_with_credit_is_proposed(office: Office) -> None:
    key = ledger.AccountKey(ident="oms", groups="-", eid="with-credit")
    item = ledger.CreateAccountsRequest.Item(key=key, credit_micros=YUAN)
    request = ledger.CreateAccountsRequest(items=[item])
    made = await office.propose("CreateAccounts", request)
    look_for = ledger.GetAccountRequest(key=key)
    assert reason(await refusal_of(told(office.harness.stub.GetAccount(look_for)))) == (
        "ACCOUNT_NOT_FOUND"
    )
    done = (await office.approve(made)).proposal
    assert list(done.result) == list(made.dry_run)
    assert (await office.harness.stub.GetAccount(look_for)).account.credit_micros == YUAN


async def test_a_proposal_is_refused_or_withdrawn_once(office: Office) -> None:
    key = await office.harness.account()
    made = await office.post(posting(key, YUAN))
    assert reason(await refusal_of(office.withdraw(made, "n"))) == "PROPOSAL_OWNER"
    assert (await office.refuse(made)).proposal.state == pb.PROPOSAL_STATE_REFUSED
    assert (await office.refuse(made)).repeated
    ended = await refusal_of(office.approve(made))
    assert (ended.metadata["state"], ended.metadata["why"]) == ("refused", "no such bank")
    made = await office.post(posting(key, YUAN))
    assert (await office.withdraw(made)).proposal.state == pb.PROPOSAL_STATE_WITHDRAWN
    assert (await office.withdraw(made)).repeated
    assert reason(await refusal_of(office.approve(made))) == "PROPOSAL_ENDED"
    assert await office.harness.balance(key) == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"request": b"\xff\xff\xff"}, "PROPOSAL_INVALID request"),
        ({"request": b"\xfa\x7f\x01a"}, "PROPOSAL_INVALID request"),  # a field of another release
        ({"request": b"\0" * (REQUEST_BYTES_MAX + 1)}, "PROPOSAL_INVALID request"),
        ({"method": f"{LEDGER}/Steal"}, "PROPOSAL_INVALID method"),
        ({"method": f"{LEDGER}/GetAccount"}, "PROPOSAL_INVALID method"),
        ({"method": "shoudan.order.v1.AuditService/DecideAudit"}, "PROPOSAL_INVALID method"),
        ({"reason": "x" * 257}, "PROPOSAL_INVALID reason"),
        ({"reason": "a\x1b[31m"}, "PROPOSAL_INVALID reason"),
        ({"evidence": "x" * 1025}, "PROPOSAL_INVALID evidence"),
        ({"key": "x" * 65}, "PROPOSAL_INVALID key"),
    ],
)
async def test_what_is_no_proposal_is_refused(
    office: Office, given: dict[str, Any], expected: str
) -> None:
    refused = await refusal_of(office.propose("Post", ledger.PostRequest(), **given))
    assert f"{reason(refused)} {refused.metadata['field']}" == expected


async def test_only_who_may_make_the_call_proposes_it(office: Office) -> None:
    asked = pb.ProposeRequest(method=f"{LEDGER}/Post", reason="r", key="k")
    metadata = metadata_as(SYSTEM, "s", SUPPORT, FINANCE_CHECKER)
    refused = await refusal_of(told(office.stub.Propose(asked, metadata=metadata)))
    assert (reason(refused), refused.metadata["needed"]) == ("NOT_ALLOWED", "finance-maker")


async def test_a_number_of_elsewhere_is_not_found(office: Office) -> None:
    for number in (1, 0, -1, 2**63 - 1):
        asked = pb.Proposal(proposal_id=number)
        assert reason(await refusal_of(office.get(asked))) == "PROPOSAL_NOT_FOUND"
        assert reason(await refusal_of(office.approve(asked))) == "PROPOSAL_NOT_FOUND"


async def test_a_token_of_another_system_proposes_nothing(office: Office) -> None:
    asked = pb.ProposeRequest(method=f"{LEDGER}/Post", reason="r", key="k")
    call = office.stub.Propose(asked, metadata=metadata_as("elsewhere", "m", FINANCE_MAKER))
    assert reason(await refusal_of(told(call))) == "TOKEN_REFUSED"


async def test_services_and_what_is_small_enough_need_one(office: Office) -> None:
    proposals = office.harness.process.proposals
    assert proposals is not None
    key = await office.harness.account()
    path, request = f"/{LEDGER}/Post", ledger.PostRequest(posting=posting(key, 5 * YUAN))
    for caller in (Caller("service", "gateway"), LOCAL_OWNER):
        await proposals.check_alone(path, request, caller)
    li = Caller("operator", "li", frozenset({FINANCE_MAKER}), "1")
    usual = proposals._settings
    try:
        proposals._settings = usual.model_copy(update={"alone_max_micros": 5 * YUAN})
        await proposals.check_alone(path, request, li)
        dearer = ledger.PostRequest(posting=posting(key, 5 * YUAN + 10))
        await office.harness.post(posting(key, 6 * YUAN, "large"))
        unsaid = ledger.PostRequest(posting=reverse_add(key, "large"))
        for one in (dearer, unsaid):
            with pytest.raises(Exception, match="PROPOSAL_REQUIRED"):
                await proposals.check_alone(path, one, li)
    finally:
        proposals._settings = usual


async def test_what_one_operator_does_alone_adds_up_over_the_day(office: Office) -> None:
    proposals = office.harness.process.proposals
    assert proposals is not None
    key, usual = await office.harness.account(), proposals._settings
    path = f"/{LEDGER}/Post"

    async def alone(who: str, yuan: int, trade_no: str) -> bool:
        request = ledger.PostRequest(posting=posting(key, yuan * YUAN, trade_no))
        caller = Caller("operator", "li", frozenset({FINANCE_MAKER}), who)
        try:
            await proposals.check_alone(path, request, caller)
        except ProposalRequired:
            return False
        return True

    try:
        proposals._settings = usual.model_copy(update={"alone_max_micros": 10 * YUAN})
        at_once = await asyncio.gather(*(alone("31", 1, f"sum-{n}") for n in range(30)))
        assert sum(at_once) == 10
        assert not await alone("31", 1, "one more")
        made = at_once.index(True)
        assert await alone("31", 1, f"sum-{made}")  # a repeat is the same call
        assert await alone("32", 10, "another operator")
        await as_owner(office, "UPDATE alone_call SET day = day - 1 WHERE operator_id = '31'")
        assert await alone("31", 10, "the next day")
        assert not await alone("31", 1, "and no more")
    finally:
        proposals._settings = usual


def test_prod_needs_two_persons_and_demo_one() -> None:
    url = "postgresql://shoudan_pay@/shoudan_pay?host=/tmp"
    assert not PaySettings(database_url=url).needs_two
    assert PaySettings(database_url=url, two_persons="on").needs_two
    prod = PaySettings.model_construct(profile="prod", two_persons="auto")
    assert prod.needs_two


async def test_proposals_are_listed_newest_first_page_by_page(office: Office) -> None:
    key = await office.harness.account()
    made = [(await office.post(posting(key, YUAN))).proposal_id for _ in range(3)]
    states = [pb.PROPOSAL_STATE_OPEN]
    first = await office.stub.ListProposals(pb.ListProposalsRequest(states=states, page_size=2))
    assert [one.proposal_id for one in first.proposals] == made[:0:-1]
    after = pb.ListProposalsRequest(states=states, page_size=1, page_token=first.next_page_token)
    second = await office.stub.ListProposals(after)
    assert [one.proposal_id for one in second.proposals] == made[:1]
    for wrong in ({"page_size": 1001}, {"page_size": -1}, {"page_token": "x"}, {"states": [99]}):
        request = pb.ListProposalsRequest(**wrong)
        refused = await refusal_of(told(office.stub.ListProposals(request)))
        assert reason(refused) == "PROPOSAL_INVALID"


amounts = st.lists(
    st.integers(-5 * YUAN, 5 * YUAN).map(lambda n: n // 10 * 10).filter(bool),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(amounts=amounts)
async def test_the_dry_run_is_what_is_booked(office: Office, amounts: list[int]) -> None:
    key = await office.harness.account(100 * YUAN)
    flats = [posting(key, one, change_type=ledger.CHANGE_TYPE_BALANCE_FLAT) for one in amounts]
    group = ledger.PostEntriesRequest.Group(postings=flats)
    made = await office.propose("PostEntries", ledger.PostEntriesRequest(groups=[group]))
    assert await office.harness.balance(key) == 100 * YUAN
    done = (await office.approve(made)).proposal
    assert (done.state, list(done.result)) == (APPLIED, list(made.dry_run))
    assert made.amount_micros == sum(map(abs, amounts))
    assert await office.harness.balance(key) == 100 * YUAN + sum(amounts)


async def test_an_approval_whose_answer_was_lost_is_answered_by_a_repeat(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], tmp_path: Path
) -> None:
    given = {**SETTINGS, "token_keys": str(trusted_keys(tmp_path))}
    pay = PayProcess(await new_database("pay"), tmp_path, **given)
    for fault, balance in (("before_commit", 0), ("after_commit", YUAN)):
        stub = await pay.start(f"proposal_apply.{fault}:exit")
        key = ledger.AccountKey(ident="oms", groups="down_channel", eid=fault)
        item = ledger.CreateAccountsRequest.Item(key=key)
        await stub.CreateAccounts(ledger.CreateAccountsRequest(items=[item]))
        async with client.connect(pay.target, retry=False) as channel:
            office = Office(_bank(stub), proposal_stubs.ProposalServiceStub(channel))
            made = await office.post(posting(key, YUAN, fault))
            with pytest.raises(aio.AioRpcError):
                await office.approve(made)
            await pay.ended()
        stub = await pay.start()
        async with client.connect(pay.target) as channel:
            office = Office(_bank(stub), proposal_stubs.ProposalServiceStub(channel))
            assert await office.harness.balance(key) == balance
            done = await office.approve(made)
            assert (done.proposal.state, done.repeated) == (APPLIED, balance > 0)
            assert await office.harness.balance(key) == YUAN
        await pay.stop()


def _bank(stub: Any) -> Any:
    made: Any = LedgerHarness.__new__(LedgerHarness)
    made.stub = stub
    return made
