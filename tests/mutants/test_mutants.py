"""The list of bugs stays one: each is still a change of the code it was written for, and still compiles.

That the tests find them is shown by `just mutants`, which takes some minutes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
MANY = 40


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    assert len(MUTANTS) >= MANY
    assert len({one.name for one in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_bug_is_one_change_of_the_code_that_compiles(mutant: Mutant) -> None:
    text = (ROOT / mutant.path).read_text()
    assert text.count(mutant.was) == 1, "the code has changed: say the bug anew"
    compile(text.replace(mutant.was, mutant.now), mutant.path, "exec")
    assert mutant.tests
    assert all((ROOT / one).exists() for one in mutant.tests)
