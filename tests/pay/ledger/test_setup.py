"""SetupService: a configuration costs as many statements however much it holds, and is applied once."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import aio

from shoudan.pay.v1 import ledger_service_pb2 as ledger
from shoudan.pay.v1 import payment_service_pb2 as payment
from shoudan.pay.v1 import setup_service_pb2 as pb
from shoudan.pay.v1.setup_service_pb2_grpc import SetupServiceStub
from shoudan_kit.db.text_statements import watched
from shoudan_kit.rpc.refusal import Refused
from tests.audit_rows import last_change
from tests.pay.ledger.harness import YUAN, LedgerHarness, told

FEW, MANY = 2, 60


def key(name: str) -> ledger.AccountKey:
    return ledger.AccountKey(ident="oms", groups="down_channel", eid=name)


def package(owner: str, number: str) -> pb.SetupPackage:
    return pb.SetupPackage(account=key(owner), spkg_id=number, name="p", total_capacity=100)


def setup(prefix: str, count: int, *, name: str = "a", locked: bool = False) -> Any:
    names = [f"{prefix}{n}" for n in range(count)]
    return pb.ApplySetupRequest(
        by="t",
        accounts=[
            pb.SetupAccount(key=key(one), name=name, locked=locked, opening_micros=YUAN)
            for one in names
        ],
        templates=[
            pb.SetupTemplate(template_id=one, terms=payment.Terms(name=name)) for one in names
        ],
        packages=[package(one, "p1") for one in names],
    )


async def applied(harness: LedgerHarness, request: Any) -> tuple[list[str], int]:
    """What changed, and how many statements it took."""
    await harness.days_closed()
    seen: list[str] = []
    async with aio.insecure_channel(f"127.0.0.1:{harness.process.port}") as channel:
        stub: Any = SetupServiceStub(channel)
        with watched(seen.append):
            answer = await told(stub.ApplySetup(request))
    ours = ("account_", "package_info", "pay_mode_template")
    return list(answer.changes), sum(any(one in sql for one in ours) for sql in seen)


async def test_a_setup_costs_as_many_statements_however_much_it_holds(
    harness: LedgerHarness,
) -> None:
    for given in ({}, {"name": "b"}, {"locked": True}, {}, {"name": "b", "locked": True}):
        few, many = setup("f", FEW, **given), setup("m", MANY, **given)
        changed, cost = await applied(harness, few)
        changed_many, cost_many = await applied(harness, many)
        assert len(changed_many) * FEW == len(changed) * MANY
        assert len(changed) >= FEW
        assert cost_many == cost
    again, _ = await applied(harness, setup("m", MANY, name="b", locked=True))
    assert again == []
    account = await harness.stub.GetAccount(ledger.GetAccountRequest(key=key("m59")))
    assert (account.account.name, account.account.locked) == ("b", True)
    assert account.account.balance_micros == YUAN


async def test_the_audit_log_has_what_accounts_and_templates_were(harness: LedgerHarness) -> None:
    await applied(harness, setup("before", 1))
    await applied(harness, setup("before", 1, name="b", locked=True))
    before, after = await last_change(harness.process.app.db, "setup")
    account, template = "account oms/down_channel/before0", "pay mode template before0"
    assert before == {account: {"name": "a", "locked": False}, template: {"name": "a"}}
    assert after == {account: {"name": "b", "locked": True}, template: {"name": "b"}}


async def test_an_account_keeps_what_a_configuration_does_not_name(harness: LedgerHarness) -> None:
    def of(**given: Any) -> pb.ApplySetupRequest:
        return pb.ApplySetupRequest(by="t", accounts=[pb.SetupAccount(key=key("kept"), **given)])

    await applied(harness, of(name="a", credit_micros=5 * YUAN, locked=True))
    assert (await applied(harness, of()))[0] == []
    account = (await harness.stub.GetAccount(ledger.GetAccountRequest(key=key("kept")))).account
    assert (account.name, account.credit_micros, account.locked) == ("a", 5 * YUAN, True)
    with pytest.raises(Refused) as refused:  # an opening alone opens no lock
        await applied(harness, of(opening_micros=YUAN))
    assert refused.value.reason == "ERROR_REASON_ACCOUNT_LOCKED"
    changed, _ = await applied(harness, of(credit_micros=0, locked=False))
    assert changed == [f"account oms/down_channel/kept: {one}" for one in ("credit 0", "unlocked")]


async def test_a_package_given_twice_is_made_once_and_one_of_nobody_undoes_all(
    harness: LedgerHarness,
) -> None:
    twice = pb.ApplySetupRequest(
        by="t",
        accounts=[pb.SetupAccount(key=key("x"))],
        packages=[package("x", "p"), package("x", "p")],
    )
    changed, _ = await applied(harness, twice)
    assert changed == ["account oms/down_channel/x: new", "package oms/down_channel/x/p: new"]
    nobody = pb.ApplySetupRequest(
        by="t", accounts=[pb.SetupAccount(key=key("y"))], packages=[package("z", "p")]
    )
    with pytest.raises(Refused) as refused:
        await applied(harness, nobody)
    assert refused.value.reason == "ERROR_REASON_ACCOUNT_NOT_FOUND"
    with pytest.raises(Refused):
        await told(harness.stub.GetAccount(ledger.GetAccountRequest(key=key("y"))))
