"""Lifecycles as tables: allowed moves, refused moves, and the diagram."""

from enum import IntEnum, StrEnum

import pytest

from shoudan_kit.state_machine import IllegalMove, Machine


class State(IntEnum):
    PAYING = 10
    DELIVERING = 20
    DONE = 0
    FAILED = 90


class Event(StrEnum):
    PAID = "paid"
    DELIVERED = "delivered"
    REFUSED = "refused"
    NOTED = "noted"


MOVES = {
    (State.PAYING, Event.PAID): State.DELIVERING,
    (State.PAYING, Event.REFUSED): State.FAILED,
    (State.DELIVERING, Event.DELIVERED): State.DONE,
    (State.DELIVERING, Event.REFUSED): State.FAILED,
    (State.FAILED, Event.NOTED): State.FAILED,
}
ORDER = Machine("order", State.PAYING, MOVES)


class Word(StrEnum):
    OPEN = "open"
    HALF = "half"
    SHUT = "shut"


DOOR = Machine(
    "door",
    Word.OPEN,
    {(was, told): told for was in (Word.HALF, Word.OPEN) for told in (Word.HALF, Word.SHUT)},
)


def test_states_may_be_words_and_are_listed_in_the_order_of_their_enum() -> None:
    assert DOOR.sources(Word.SHUT) == (Word.OPEN, Word.HALF)
    assert DOOR.final == {Word.SHUT}
    assert 'state "HALF half" as HALF' in DOOR.mermaid()


@pytest.mark.parametrize(
    ("was", "told", "after"),
    [
        (Word.OPEN, Word.SHUT, Word.SHUT),
        (Word.HALF, Word.HALF, None),
        (Word.SHUT, Word.OPEN, None),
    ],
)
def test_nothing_moves_where_the_state_stays_or_the_event_may_not_happen(was, told, after):
    assert DOOR.moved(was, told) is after


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_a_move_is_made_exactly_when_the_table_has_it(state, event):
    if (state, event) in MOVES:
        assert ORDER.allows(state, event)
        assert ORDER.next(state, event) is MOVES[state, event]
        return
    assert not ORDER.allows(state, event)
    with pytest.raises(IllegalMove) as refused:
        ORDER.next(state, event)
    assert str(refused.value) == f"order: no move from {state.name} {state.value} on {event}"
    assert (refused.value.state, refused.value.event) == (state, event)


def test_a_state_with_no_way_out_is_final_even_if_it_returns_to_itself():
    assert ORDER.final == {State.DONE, State.FAILED}


def test_the_sources_of_an_event_are_the_where_of_its_update():
    assert ORDER.sources(Event.REFUSED) == (State.PAYING, State.DELIVERING)
    assert ORDER.sources(Event.PAID) == (State.PAYING,)


def test_states_that_no_path_reaches_are_found():
    assert ORDER.unreachable == frozenset()
    gap = {(State.PAYING, Event.REFUSED): State.FAILED}
    assert Machine("gap", State.PAYING, gap).unreachable == {State.DELIVERING, State.DONE}


def test_the_diagram_shows_names_numbers_and_ends():
    assert Machine("small", State.PAYING, {(State.PAYING, Event.PAID): State.DONE}).mermaid() == (
        "stateDiagram-v2\n"
        '    state "DONE 0" as DONE\n'
        '    state "PAYING 10" as PAYING\n'
        "    [*] --> PAYING\n"
        "    PAYING --> DONE: paid\n"
        "    DONE --> [*]"
    )


def test_a_statement_takes_its_numbers_from_the_table():
    machine = Machine(name="delivery", initial=State.PAYING, moves=MOVES)
    assert machine.where(Event.PAID) == "status = 10"
    assert machine.where(Event.REFUSED, "a.status") == "a.status IN (10, 20)"
    assert machine.between(Event.REFUSED) == "status BETWEEN 10 AND 20"
    assert machine.between(Event.NOTED) == "status BETWEEN 90 AND 90"
    assert machine.target(Event.REFUSED) is State.FAILED


def test_a_range_that_would_take_in_another_state_and_a_target_that_is_not_one_are_bugs():
    moves = {
        **MOVES,
        (State.DONE, Event.REFUSED): State.DONE,
        (State.FAILED, Event.PAID): State.DONE,
    }
    machine = Machine(name="delivery", initial=State.PAYING, moves=moves)
    with pytest.raises(AssertionError):
        machine.between(Event.PAID)
    with pytest.raises(AssertionError):
        machine.target(Event.REFUSED)
