"""Promises about who may decide: money is for finance, the rest for support and ops."""

from __future__ import annotations

from typing import Any

import pytest

from shoudan.core.v1 import work_service_pb2 as pb
from shoudan_kit.rpc import callers
from shoudan_kit.rpc.caller import Caller
from shoudan_kit.rpc.callers import LOCAL_OWNER, NotAllowed
from shoudan_kit.rpc.rights import ROLES
from shoudan_kit.tasks.open_work import OpenWork


class Kind:
    """One kind of which nothing waits."""

    def __init__(self, kind: str, *, moves_money: bool) -> None:
        self.kind, self.moves_money = kind, moves_money

    async def find(self, key: str) -> None:
        return None

    async def decided(self, key: str, asked: Any) -> Any:
        return asked


KINDS: Any = [Kind("pay", moves_money=True), Kind("notice", moves_money=False)]


async def decide(kind: str, caller: Caller) -> None:
    token = callers._current.set(caller)
    try:
        request = pb.DecideWorkRequest(kind=kind, key="1", decision="x", by="li", reason="why")
        no_context: Any = None
        assert (await OpenWork(KINDS).DecideWork(request, no_context)).repeated
    finally:
        callers._current.reset(token)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("kind", "may"), [("pay", {"finance-checker"}), ("notice", {"support", "ops"})]
)
async def test_a_kind_is_decided_by_those_whose_business_it_is(
    kind: str, may: set[str], role: str
) -> None:
    caller = Caller("operator", "li", frozenset({role}))
    if role in may:
        await decide(kind, caller)
        return
    with pytest.raises(NotAllowed) as refused:
        await decide(kind, caller)
    assert refused.value.method == f"/shoudan.core.v1.WorkService/DecideWork of {kind}"


async def test_the_local_owner_decides_everything() -> None:
    for one in KINDS:
        await decide(one.kind, LOCAL_OWNER)
