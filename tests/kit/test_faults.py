"""Fault points: nothing happens unless a test asked for it, and never in prod."""

import os
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


def test_what_nobody_foresaw_and_a_lost_connection_are_raised_once():
    kit_faults.arm("test", "a:raise,b:drop@2")
    with pytest.raises(kit_faults.FaultRaised, match="a"):
        kit_faults.hit("a")
    kit_faults.hit("a")
    kit_faults.hit("b")
    with pytest.raises(ConnectionResetError):
        kit_faults.hit("b")
    kit_faults.hit("b")


def test_a_pause_stops_everything_for_longer_than_a_lease(monkeypatch):
    slept = []
    monkeypatch.setattr(kit_faults.time, "sleep", slept.append)
    kit_faults.arm("test", "a:pause")
    kit_faults.hit("a")
    kit_faults.hit("a")
    assert slept == [kit_faults.PAUSE_S]


def test_a_file_arms_a_running_process_and_says_what_fired(tmp_path):
    file = tmp_path / "faults"
    kit_faults.arm("test", f"file:{file}")
    kit_faults.hit("a")
    file.write_text("a:raise")
    with pytest.raises(kit_faults.FaultRaised):
        kit_faults.hit("a")
    kit_faults.hit("a")
    assert file.with_suffix(".fired").read_text().split() == ["a"]
    assert file.read_text() == ""
    os.utime(file, (1, 1))
    kit_faults.hit("a")


def test_a_file_that_says_so_records_what_is_passed(tmp_path):
    file = tmp_path / "faults"
    file.write_text(kit_faults.RECORD)
    kit_faults.arm("test", f"file:{file}")
    for name in ("a", "b", "a"):
        kit_faults.hit(name)
    assert file.with_suffix(".passed").read_text().split() == ["a", "b", "a"]


def test_no_fault_can_be_armed_in_prod():
    with pytest.raises(ValueError, match="prod"):
        kit_faults.arm("prod", "x:exit")
    with pytest.raises(ValueError, match="prod"):
        kit_faults.arm("prod", "file:/tmp/x")
    kit_faults.hit("x")
    kit_faults.arm("prod", "")
