"""Fault points: nothing happens unless a test asked for it, and never in prod."""

import subprocess
import sys

import pytest

from shoudan_kit import faults as kit_faults

CODE = """
from shoudan_kit import faults
faults.arm("test")
for n in range(5):
    print(n, flush=True)
    faults.hit("other")
    faults.hit("pay.before_commit")
"""


@pytest.fixture(autouse=True)
def disarmed():
    yield
    kit_faults.arm("test", "")


@pytest.mark.parametrize(
    ("faults", "code", "lines"),
    [
        ("", 0, 5),
        ("pay.before_commit:exit", kit_faults.EXIT_CODE, 1),
        ("else:exit,pay.before_commit:exit@3", kit_faults.EXIT_CODE, 3),
    ],
)
def test_the_process_dies_at_the_hit_asked_for(faults, code, lines):
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        check=False,
        env={kit_faults.VARIABLE: faults},
    )
    assert (done.returncode, len(done.stdout.splitlines())) == (code, lines)


@pytest.mark.parametrize(
    "text", ["x", "x:", ":exit", "x:kill", "x:exit@0", "x:exit@-1", "x:exit@y"]
)
def test_a_fault_that_cannot_be_read_is_told(text):
    with pytest.raises(ValueError, match="not of the form"):
        kit_faults.arm("test", text)


def test_no_fault_can_be_armed_in_prod():
    with pytest.raises(ValueError, match="prod"):
        kit_faults.arm("prod", "x:exit")
    kit_faults.hit("x")
    kit_faults.arm("prod", "")
