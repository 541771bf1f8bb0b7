"""Promises about two persons at order: results and prices that one proposes and another one approves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import Message

from shoudan.core.v1 import work_service_pb2 as work_pb
from shoudan.order.v1 import audit_service_pb2 as pb
from shoudan.order.v1 import catalogue_service_pb2 as catalogue_pb
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.proposals.proposals import Asked, Proposals, effects_of
from shoudan_kit.proposals.refusals import ProposalEnded, ProposalRequired
from shoudan_kit.proposals.states import ProposalEvent, ProposalState
from shoudan_kit.proposals.store import End, Row
from shoudan_kit.proposals.watch import look
from shoudan_kit.proposals.work import METHOD as DECIDE_WORK
from shoudan_kit.rpc.caller import Caller
from shoudan_kit.rpc.rights import ADMIN, FINANCE_CHECKER, OPS, SUPPORT, methods
from shoudan_order import audits as rules
from shoudan_order.app import NAMES
from shoudan_order.refusals import AuditRefused, CatalogueInvalid
from shoudan_order.store import audits as audit_store
from tests.order.harness import Inbox, OrderHarness, down_product, running
from tests.order.test_audits import audits, unknown, waiting

__all__ = ["audits"]  # the fixture

DECIDE = "shoudan.order.v1.AuditService/DecideAudit"
APPLY = "shoudan.order.v1.CatalogueService/ApplyCatalogue"
MAKER = Caller("operator", "maker", frozenset({SUPPORT, ADMIN}), "m")
CHECKER = Caller("operator", "checker", frozenset({FINANCE_CHECKER}), "c")
_keys = itertools.count()


def proposals_of(harness: OrderHarness) -> Proposals:
    made = harness.process.proposals
    assert made is not None
    return made


async def propose(harness: OrderHarness, method: str, request: Message) -> Row:
    asked = Asked(
        method, request.SerializeToString(), "seen at the supplier", "", f"k{next(_keys)}"
    )
    return (await proposals_of(harness).propose(MAKER, asked))[0]


async def approve(harness: OrderHarness, row: Row, who: Caller = CHECKER) -> Row:
    return (await proposals_of(harness).approve(who, row.proposal_id, "yes"))[0]


def decision(audit: pb.Audit, status: int) -> pb.DecideAuditRequest:
    return pb.DecideAuditRequest(audit_id=audit.audit_id, status=status, reason="told by phone")


def test_every_method_with_approvers_is_a_kind_of_the_service(harness: OrderHarness) -> None:
    found = {f"{name}/{method}" for name, method, right in methods(*NAMES) if right.approvers}
    assert set(proposals_of(harness).kinds) == found | {DECIDE_WORK}
    assert len(found) == 2


@pytest.mark.parametrize("status", [0, 90])
async def test_a_decision_is_made_once_and_as_its_dry_run_says(
    harness: OrderHarness, audits: Any, status: int
) -> None:
    audit = await unknown(harness, audits)
    row = await propose(harness, DECIDE, decision(audit, status))
    order = await harness.get(audit.order_id)
    assert len(await waiting(audits)) == 1
    assert order.parked_reason
    planned = effects_of(row.dry_run)
    assert [planned[0].before, planned[0].after] == [
        "waiting",
        "success" if not status else "failed",
    ]
    assert any(one.what.endswith("order_status") for one in planned)
    done = await approve(harness, row)
    assert (done.status, effects_of(done.result)) == (ProposalState.APPLIED, planned)
    assert (await harness.get(audit.order_id)).state.status == status
    assert await waiting(audits) == []
    again, repeated = await proposals_of(harness).approve(CHECKER, row.proposal_id, "yes")
    assert (again, repeated) == (done, True)


async def test_of_ten_approvals_at_once_one_decides(harness: OrderHarness, audits: Any) -> None:
    audit = await unknown(harness, audits)
    row = await propose(harness, DECIDE, decision(audit, 0))
    checkers = [Caller("operator", f"c{n}", frozenset({OPS}), f"c{n}") for n in range(10)]
    answers = await asyncio.gather(
        *(approve(harness, row, one) for one in checkers), return_exceptions=True
    )
    done = [one for one in answers if isinstance(one, Row)]
    assert [one.status for one in done] == [ProposalState.APPLIED]
    assert sum(isinstance(one, ProposalEnded) for one in answers) == 9
    assert (await harness.get(audit.order_id)).state.status == 0


async def test_an_audit_decided_meanwhile_fails_the_proposal(
    harness: OrderHarness, audits: Any
) -> None:
    audit = await unknown(harness, audits)
    row = await propose(harness, DECIDE, decision(audit, 0))
    await audits.DecideAudit(
        pb.DecideAuditRequest(audit_id=audit.audit_id, status=90, by="li", reason="no")
    )
    done = await approve(harness, row)
    assert done.status is ProposalState.FAILED
    assert "decided before" in done.refusal
    with pytest.raises(AuditRefused):
        await propose(harness, DECIDE, decision(audit, 0))


@pytest.mark.parametrize("effects_done", [False, True])
async def test_a_decision_whose_process_died_is_made_by_another(
    harness: OrderHarness, audits: Any, effects_done: bool
) -> None:
    audit = await unknown(harness, audits)
    row = await propose(harness, DECIDE, decision(audit, 0))
    proposals = proposals_of(harness)
    begun = End(ProposalEvent.APPROVED, CHECKER.id, CHECKER.name, "yes")
    await proposals._end(CHECKER, row.proposal_id, begun)
    if effects_done:
        async with harness.process.app.db.connect() as db:
            there = await audit_store.lock_audit(db, audit.audit_id)
        assert there is not None
        word = rules.Decision(rules.AuditStatus.SUCCEEDED, "maker", "told by phone")
        await rules._EFFECTS[there.change_type](harness.context, there, word)
    await look(proposals)
    assert (await proposals.get(row.proposal_id)).status is ProposalState.APPROVED  # may be running
    await harness.sql("UPDATE proposal SET end_time = end_time - interval '2 min'")
    await look(proposals)
    done = await proposals.get(row.proposal_id)
    assert (done.status, done.decider_name) == (ProposalState.APPLIED, "checker")
    assert (await harness.get(audit.order_id)).state.status == 0


async def test_open_work_is_decided_by_two(harness: OrderHarness, audits: Any) -> None:
    audit = await unknown(harness, audits)
    request = work_pb.DecideWorkRequest(
        kind="delivery", key=str(audit.audit_id), decision="success", reason="told by phone"
    )
    row = await propose(harness, DECIDE_WORK, request)
    done = await approve(harness, row)
    assert (done.status, effects_of(done.result)) == (
        ProposalState.APPLIED,
        effects_of(row.dry_run),
    )
    assert (await harness.get(audit.order_id)).state.status == 0


@pytest.fixture
async def strict(
    new_database: Callable[[str], Awaitable[DatabaseUrls]], inbox: Inbox
) -> AsyncIterator[OrderHarness]:
    """An order service that needs two persons, but for price changes of up to a hundredth."""
    urls = await new_database("order")
    async with running(urls, inbox, two_persons="on", price_alone_max_ppm=10_000) as made:
        yield made


async def test_prices_are_changed_by_two_and_small_ones_by_one(strict: OrderHarness) -> None:
    proposals, path = proposals_of(strict), f"/{APPLY}"
    there = (await strict.apply()).version
    cheaper = catalogue_pb.ApplyCatalogueRequest(
        catalogue=catalogue_pb.Catalogue(down_products=[down_product()]), by="maker"
    )
    (product,) = cheaper.catalogue.down_products
    await proposals.check_alone(path, cheaper, MAKER)  # as it is
    product.sell_discount_ppm -= product.sell_discount_ppm // 200
    await proposals.check_alone(path, cheaper, MAKER)
    product.sell_discount_ppm //= 2
    new = catalogue_pb.ApplyCatalogueRequest()
    new.CopyFrom(cheaper)
    new.catalogue.down_products[0].product_id = 777_777
    new.catalogue.down_products[0].province_no = "ZJ"
    for one in (cheaper, new):
        with pytest.raises(ProposalRequired):
            await proposals.check_alone(path, one, MAKER)
        one.dry_run = True
        await proposals.check_alone(path, one, MAKER)
        one.dry_run = False
    row = await propose(strict, APPLY, cheaper)
    assert any("sell_discount" in one.what for one in effects_of(row.dry_run))
    assert (await strict.apply()).version == there
    done = await approve(strict, row)
    assert (done.status, done.result) == (ProposalState.APPLIED, row.dry_run)
    product.shelf_id = 999_999
    with pytest.raises(CatalogueInvalid):
        await propose(strict, APPLY, cheaper)


async def test_small_price_changes_of_one_operator_add_up_over_the_day(
    strict: OrderHarness,
) -> None:
    proposals, path = proposals_of(strict), f"/{APPLY}"
    await strict.apply()
    (usual,) = (down_product(),)

    async def alone(caller: Caller, lower_ppm: int, name: str = "sell_discount_ppm") -> bool:
        product = down_product()
        setattr(product, name, getattr(usual, name) * (1_000_000 - lower_ppm) // 1_000_000)
        request = catalogue_pb.ApplyCatalogueRequest(
            catalogue=catalogue_pb.Catalogue(down_products=[product])
        )
        try:
            await proposals.check_alone(path, request, caller)
        except ProposalRequired:
            return False
        return True

    other = replace(MAKER, id="another")
    assert await alone(MAKER, 4_000)
    assert await alone(MAKER, 5_000)
    assert not await alone(MAKER, 2_000), "11 000 millionths in one day"
    assert not await alone(MAKER, 2_000, "face_micros"), "another price counts, too"
    assert await alone(MAKER, 5_000), "a repeat is the same call"
    assert await alone(MAKER, 0), "no price changes"
    assert await alone(other, 10_000)
    await strict._as_owner("UPDATE alone_price SET day = day - 1")
    assert await alone(MAKER, 2_000), "the next day"


async def test_other_calls_go_on_while_a_large_catalogue_is_weighed(strict: OrderHarness) -> None:
    await strict.apply()
    large = catalogue_pb.ApplyCatalogueRequest(
        catalogue=catalogue_pb.Catalogue(down_products=[down_product()] * 20_000)
    )
    loop, turns, weighed = asyncio.get_running_loop(), 0, False

    def turn() -> None:
        nonlocal turns
        turns += 1
        if not weighed:
            loop.call_soon(turn)

    turn()
    await proposals_of(strict).check_alone(f"/{APPLY}", large, MAKER)
    weighed = True
    assert turns > 20


async def test_an_operator_decides_no_result_alone(strict: OrderHarness) -> None:
    proposals = proposals_of(strict)
    with pytest.raises(ProposalRequired):
        await proposals.check_alone(f"/{DECIDE}", pb.DecideAuditRequest(), MAKER)
    for kind, alone in (("delivery", False), ("notify", True), ("parked_order", True)):
        request = work_pb.DecideWorkRequest(kind=kind)
        if alone:
            await proposals.check_alone(f"/{DECIDE_WORK}", request, MAKER)
        else:
            with pytest.raises(ProposalRequired):
                await proposals.check_alone(f"/{DECIDE_WORK}", request, MAKER)
