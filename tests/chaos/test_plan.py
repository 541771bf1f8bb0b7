"""Promises of the plan: a seed is a plan, and a whole run leaves no kind of fault out."""

from __future__ import annotations

from collections import Counter

import pytest

from shoudan_configuration.document import parse
from tests.chaos import plan
from tests.chaos.nemesis import MOODS, Nemesis
from tests.chaos.stage import CHANNEL, CREDIT_MICROS, catalogue


@pytest.mark.parametrize("tier", plan.TIERS)
def test_a_seed_is_one_plan(tier: str) -> None:
    assert plan.drawn(11, tier) == plan.drawn(11, tier)
    assert plan.drawn(11, tier).faults != plan.drawn(12, tier).faults


@pytest.mark.parametrize("seed", range(5))
def test_the_tier_of_a_commit_has_every_kind_and_as_much_as_it_promises(seed: int) -> None:
    made = plan.drawn(seed, "commit")
    kinds = Counter(one.kind for one in made.faults)
    assert set(kinds) == set(plan.KINDS)
    assert len(made.faults) >= 80
    assert len(made.orders) >= 500
    assert {one.kind for one in made.orders} == set(plan.ORDERS)
    assert any(one.refund for one in made.orders)
    assert any(one.twice for one in made.orders)


def test_the_tier_of_an_hour_is_as_large_as_it_promises() -> None:
    size = plan.TIERS["hour"]
    assert size.faults >= 4_000
    assert size.orders >= 50_000
    assert size.faults * size.gap_s < 3_600


def test_every_kind_of_fault_has_somebody_who_does_it() -> None:
    on_links = {kind for kind, one in plan.KINDS.items() if set(one.where) <= set(plan.ANY_LINK)}
    of_partners = {kind for kind in plan.KINDS if kind.startswith("partner_")}
    others = set(plan.KINDS) - on_links - of_partners - set(MOODS)
    missing = [one for one in others if not hasattr(Nemesis, f"_{one.removeprefix('operator_')}")]
    assert not missing


def test_an_operator_who_applies_the_catalogue_takes_no_credit_away() -> None:
    found = parse(catalogue(), "catalogue.yaml", {"SHOUDAN_SANDBOX_URL": "http://127.0.0.1:1"})
    (credit,) = [one.credit_yuan for one in found.accounts if one.eid == CHANNEL]
    assert credit == CREDIT_MICROS
