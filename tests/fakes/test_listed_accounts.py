"""Each scripted account that partners read of is placed by a test that looks at how it ends."""

from __future__ import annotations

from shoudan_fakes.scripts import chinese
from tests.system import test_mixed, test_scripts


def test_no_account_is_listed_that_nothing_tries() -> None:
    tried = {case.tail for case in (*test_scripts.CASES, *test_scripts.AT_OVERTIME)}
    tried |= {kind.tail for kind in test_mixed.KINDS}
    assert set(chinese()) <= tried
