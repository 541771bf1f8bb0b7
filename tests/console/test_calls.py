"""Promises about the calls of the console: every one is in the contract, and its right is read from there."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor_pool import Default

from shoudan_console import calls, sessions
from shoudan_console.backend import SERVICES, Rpc
from shoudan_console.page import Entry
from shoudan_console.pages import NAVIGATION, login

OF_ANY = (
    calls.list_work,
    calls.decide_work,
    calls.propose,
    calls.list_proposals,
    calls.get_proposal,
    calls.approve,
    calls.refuse,
    calls.withdraw,
    calls.get_history,
    calls.list_tasks,
    calls.retry_tasks,
    calls.list_audit_log,
)
CALLS = [
    *(
        one
        for module in (calls, login, sessions)
        for one in vars(module).values()
        if isinstance(one, Rpc)
    ),
    *(make("order") for make in OF_ANY),
]


@pytest.mark.parametrize("rpc", CALLS, ids=lambda one: one.path)
def test_a_call_is_in_the_contract_and_its_stub_has_it(rpc: Rpc) -> None:
    service, _, method = rpc.path.partition("/")
    found = Default().FindServiceByName(service)
    assert method in found.methods_by_name
    assert rpc.stub.__name__ == f"{found.name}Stub"
    assert rpc.service in SERVICES


def test_every_entry_of_the_navigation_is_named_once() -> None:
    assert len({one.path for one in NAVIGATION}) == len(NAVIGATION)
    assert all(isinstance(one, Entry) and one.label and one.group for one in NAVIGATION)


def test_who_may_decide_is_read_from_the_contract() -> None:
    decide = calls.decide_work("order")
    assert decide.allows(frozenset({"ops"}))
    assert not decide.allows(frozenset({"viewer"}))
    assert calls.LIST_ORDERS.allows(frozenset({"viewer"}))
    assert not calls.LIST_ORDERS.allows(frozenset())
