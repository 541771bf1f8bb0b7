"""The folders of tests mirror those of the code: what a folder holds is tested in the folder of its name."""

from __future__ import annotations

from pathlib import Path

from tests.test_tidy import ROOT, tracked

# Tests of what no single folder of code is: whole systems, clusters of servers, how it is deployed.
WHOLE = {"chaos", "cluster", "deploy", "fuzz", "mutants", "mutation", "simulation", "system"}
DATA = {"examples", "vectors"}  # files that tests read


def code_folder(folder: Path) -> Path:
    """tests/pay/ledger is about services/pay/shoudan_pay/ledger, tests/cli about cli/shoudan_cli."""
    first, *rest = folder.parts
    roots = (Path(first), Path("services") / first)
    root = next((one for one in roots if (ROOT / one / f"shoudan_{first}").is_dir()), roots[0])
    return ROOT / root / f"shoudan_{first}" / Path(*rest)


def test_each_folder_of_tests_is_a_folder_of_the_code() -> None:
    folders = {
        Path(name).relative_to("tests").parent for name in tracked() if name.startswith("tests/")
    }
    mirrored = {
        one
        for one in folders
        if one.parts and one.parts[0] not in WHOLE and not DATA & set(one.parts)
    }
    assert len(mirrored) > 20
    strange = sorted(str(one) for one in mirrored if not code_folder(one).is_dir())
    assert not strange, f"tests of no folder of the code: {strange}"
