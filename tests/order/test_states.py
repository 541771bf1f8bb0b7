"""The lifecycles are closed: every documented number is reachable or listed as unused, and can end."""

from __future__ import annotations

from typing import Any

import pytest

from shoudan_kit.state_machine import IllegalMove, Machine
from shoudan_order.states import MACHINES, ORDER, UNUSED, OrderEvent, OrderStatus

machines = pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)


@machines
def test_every_number_is_reached_or_listed_as_unused(machine: Machine[Any, Any]) -> None:
    assert machine.unreachable == UNUSED.get(machine.name, frozenset())


@machines
def test_every_state_can_reach_an_end(machine: Machine[Any, Any]) -> None:
    ends = set(machine.final)
    while more := {s for (s, _), t in machine.moves.items() if t in ends} - ends:
        ends |= more
    # A partly refunded order may be refunded further; an endpoint goes with its row.
    assert ends or machine.name in {"order", "endpoint"}
    assert machine.states <= ends | {s for s, _ in machine.moves}


@machines
def test_it_can_be_drawn(machine: Machine[Any, Any]) -> None:
    assert machine.mermaid().startswith("stateDiagram-v2")


def test_a_failed_order_never_moves_again() -> None:
    for event in OrderEvent:
        with pytest.raises(IllegalMove):
            ORDER.next(OrderStatus.FAILED, event)


def test_the_documented_numbers_are_the_stored_ones() -> None:
    assert {s.name: s.value for s in OrderStatus} == {
        "SUCCEEDED": 0,
        "PAYING": 10,
        "DELIVERING": 20,
        "FAILED": 90,
        "PARTIAL": 91,
    }
