"""Promises about two persons beside the ledger's postings: packages, configurations, who may act alone."""

from __future__ import annotations

from typing import Any

import pytest

from shoudan.pay.v1 import ledger_service_pb2 as ledger
from shoudan.pay.v1 import setup_service_pb2 as setup
from shoudan_kit.proposals.proposals import Asked, Proposals, effects_of
from shoudan_kit.proposals.refusals import ProposalRequired
from shoudan_kit.proposals.states import ProposalState
from shoudan_kit.rpc.caller import Caller
from shoudan_kit.rpc.rights import ADMIN, FINANCE_CHECKER, ROLES
from shoudan_pay.refusals import FieldInvalid
from tests.pay.ledger.harness import YUAN
from tests.pay.ledger.office import LEDGER, Office

SETUP = "shoudan.pay.v1.SetupService/ApplySetup"
ADMINISTRATOR = Caller("operator", "ann", frozenset({ADMIN}), "a")
CHECKER = Caller("operator", "cho", frozenset({FINANCE_CHECKER}), "c")


def proposals_of(office: Office) -> Proposals:
    made = office.harness.process.proposals
    assert made is not None
    return made


def configuration(eid: str, **given: Any) -> setup.ApplySetupRequest:
    key = ledger.AccountKey(ident="oms", groups="down_channel", eid=eid)
    account = setup.SetupAccount(key=key, **given)
    return setup.ApplySetupRequest(accounts=[account], by="ann")


async def test_a_configuration_with_money_is_applied_by_two(office: Office) -> None:
    proposals, path = proposals_of(office), f"/{SETUP}"
    await proposals.check_alone(path, configuration("plain"), ADMINISTRATOR)
    request = configuration("rich", opening_micros=5 * YUAN, credit_micros=YUAN)
    with pytest.raises(ProposalRequired):
        await proposals.check_alone(path, request, ADMINISTRATOR)
    asked = Asked(SETUP, request.SerializeToString(), "opened today", "", "s1")
    row, _ = await proposals.propose(ADMINISTRATOR, asked)
    assert row.amount_micros == 6 * YUAN
    done, _ = await proposals.approve(CHECKER, row.proposal_id, "")
    assert (done.status, done.result) == (ProposalState.APPLIED, row.dry_run)
    assert await office.harness.balance(request.accounts[0].key) == 5 * YUAN
    await proposals.check_alone(path, request, ADMINISTRATOR)  # by now it changes nothing
    wrong = configuration("rich", opening_micros=6 * YUAN)
    with pytest.raises(FieldInvalid):
        await proposals.check_alone(path, wrong, ADMINISTRATOR)


async def test_capacity_of_packages_is_moved_by_two(office: Office) -> None:
    key = await office.harness.account()
    made = await office.propose(
        "CreatePackage", ledger.CreatePackageRequest(account=key, spkg_id="p1", total_capacity=10)
    )
    assert [made.dry_run[0].before, made.dry_run[0].after] == ["no package", "10"]
    done = (await office.approve(made)).proposal
    assert list(done.result) == list(made.dry_run)
    move = ledger.MoveCapacityRequest.Move(
        account=key, spkg_id="p1", trade_no="m1", change_type=ledger.CHANGE_TYPE_ADD, num=5
    )
    request = ledger.MoveCapacityRequest(moves=[move])
    proposals = proposals_of(office)
    with pytest.raises(ProposalRequired):
        await proposals.check_alone(f"/{LEDGER}/MoveCapacity", request, ADMINISTRATOR)
    moved = await office.propose("MoveCapacity", request)
    assert [moved.dry_run[0].before, moved.dry_run[0].after] == ["10", "15"]
    done = (await office.approve(moved)).proposal
    assert (done.state, list(done.result)) == (int(ProposalState.APPLIED), list(moved.dry_run))


async def test_the_owners_certificate_sets_a_system_up_alone(office: Office) -> None:
    owner = Caller("operator", "cli", frozenset(ROLES))
    request = configuration("first", opening_micros=YUAN)
    await proposals_of(office).check_alone(f"/{SETUP}", request, owner)
    assert effects_of("") == []
