"""Promises of the supervisor: ready before the next, back after a death, drained at the end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from shoudan_kit.process.child import tail
from shoudan_kit.process.ports import free_port, http_status
from shoudan_kit.process.supervise import NotStarted, Process, Program, Restart, Supervisor, shorten
from tests.poll import eventually

# Answers its own pid over HTTP; drains on SIGTERM; turns sick when it is told to.
SERVER = """
import http.server, os, signal, sys
class Answer(http.server.BaseHTTPRequestHandler):
    sick = False
    def do_GET(self):
        if self.path == "/sicken":
            Answer.sick = True
        self.send_response(503 if Answer.sick else 200)
        self.end_headers()
    def log_message(self, *_):
        pass
def drain(*_):
    print("drained", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, drain)
print("serving", os.environ.get("GREETING", ""), flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


@pytest.fixture
def reports():
    return []


@pytest.fixture
async def supervisor(reports):
    made = Supervisor(reports.append, watch_s=0.02, unhealthy_max=2)
    yield made
    await made.aclose()


def server(name: str, folder: Path, **changed: object) -> tuple[Process, int]:
    port = free_port()

    async def healthy() -> bool:
        return await http_status(port, "/") == 200

    program = Program(
        name, (sys.executable, "-S", "-c", SERVER, str(port)), {"GREETING": name}, healthy
    )
    return Process(program, folder / f"{name}.log"), port


async def test_what_is_started_is_healthy(supervisor, tmp_path):
    first, port = server("first", tmp_path)
    second, _ = server("second", tmp_path)
    await supervisor.start(first, second)
    assert await http_status(port, "/") == 200
    assert supervisor.names == ["first", "second"]
    assert supervisor.tail("first") == "serving first"


async def test_a_killed_process_comes_back_and_the_death_is_reported(supervisor, reports, tmp_path):
    process, _ = server("pay", tmp_path)
    await supervisor.start(process)
    before = supervisor.pid("pay")
    for count in (1, 2):
        await supervisor.kill("pay")
        await supervisor.wait_healthy("pay")
        assert reports[-1] == Restart("pay", -signal.SIGKILL, count)
    assert str(reports[-1]) == "pay ended: SIGKILL; restart 2"
    assert supervisor.pid("pay") != before
    assert supervisor.restarts("pay") == 2


async def test_a_process_killed_by_somebody_else_comes_back(supervisor, reports, tmp_path):
    process, _ = server("pay", tmp_path)
    await supervisor.start(process)
    os.kill(supervisor.pid("pay"), signal.SIGTERM)
    await eventually(lambda: reports == [Restart("pay", 0, 1)])
    await supervisor.wait_healthy("pay")


async def test_a_stopped_process_drains_and_stays_away_until_it_is_wanted(
    supervisor, reports, tmp_path
):
    process, port = server("pay", tmp_path)
    await supervisor.start(process)
    await supervisor.stop("pay")
    assert supervisor.tail("pay").endswith("drained")
    assert await http_status(port, "/") == 0
    with pytest.raises(NotStarted, match="not healthy"):
        await supervisor.wait_healthy("pay", 0.1)
    await supervisor.start_again("pay")
    await supervisor.wait_healthy("pay")
    await supervisor.restart("pay")
    await supervisor.wait_healthy("pay")
    assert reports == []


async def test_a_living_process_that_no_longer_answers_is_started_again(
    supervisor, reports, tmp_path
):
    process, port = server("nats", tmp_path)
    await supervisor.start(process, watch=True)
    await http_status(port, "/sicken")
    await eventually(lambda: reports == [Restart("nats", None, 1)])
    await supervisor.wait_healthy("nats")
    assert str(reports[0]) == "nats does not answer; restart 1"


async def test_a_paused_process_neither_answers_nor_is_lost(supervisor, reports, tmp_path):
    process, port = server("pay", tmp_path)
    await supervisor.start(process)
    supervisor.pause("pay")
    assert await http_status(port, "/", timeout_s=0.2) == 0
    supervisor.resume("pay")
    await supervisor.wait_healthy("pay")
    supervisor.pause("pay")
    await supervisor.stop("pay")
    assert reports == []


async def test_what_never_comes_up_is_told_with_its_last_words(supervisor, tmp_path):
    good, port = server("good", tmp_path)
    bad = Process(
        Program("bad", (sys.executable, "-S", "-c", "raise SystemExit('no database')"), {}, _never),
        tmp_path / "bad.log",
    )
    late, _ = server("late", tmp_path)
    with pytest.raises(NotStarted, match=r"(?s)bad ended with 1; .*no database"):
        await supervisor.start(good, bad)
    assert await http_status(port, "/") == 0
    assert supervisor.names == []
    await supervisor.start(good)
    await supervisor.start(late)
    assert supervisor.names == ["good", "late"]
    with pytest.raises(ValueError, match="already a process good"):
        await supervisor.start(good)


async def test_what_was_healthy_once_has_started_though_the_next_look_says_no(supervisor, tmp_path):
    looks: list[int] = []

    async def healthy() -> bool:
        looks.append(1)
        return len(looks) == 1

    program = Program(
        "moody", (sys.executable, "-S", "-c", "import time; time.sleep(60)"), {}, healthy
    )
    await supervisor.start(Process(program, tmp_path / "moody.log"))
    assert supervisor.names == ["moody"]


async def test_a_process_that_cannot_come_back_is_tried_again_and_again(
    supervisor, reports, tmp_path
):
    flag = tmp_path / "flag"
    flag.touch()
    code = f"import os, time; os.stat({str(flag)!r}); time.sleep(60)"

    async def healthy() -> bool:
        return flag.exists()

    program = Program("moody", (sys.executable, "-S", "-c", code), {}, healthy)
    await supervisor.start(Process(program, tmp_path / "moody.log"))
    flag.unlink()
    await supervisor.kill("moody")
    await eventually(lambda: sum("does not come back" in str(one) for one in reports) >= 2)
    flag.touch()
    await supervisor.wait_healthy("moody")
    assert supervisor.restarts("moody") == 1


async def test_closing_stops_everything_the_last_started_first(tmp_path):
    supervisor = Supervisor()
    order: list[str] = []

    class Told(Process):
        async def stop(self) -> None:
            order.append(self.name)
            await super().stop()

    for name in ("first", "second"):
        process, _ = server(name, tmp_path)
        await supervisor.start(Told(process.program, process.log_path))
    pids = [supervisor.pid(name) for name in supervisor.names]
    await supervisor.aclose()
    assert order == ["second", "first"]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_cancelled_start_leaves_nothing_behind(supervisor, tmp_path):
    process = Process(
        Program("slow", (sys.executable, "-S", "-c", SERVER, str(free_port())), {}, _never),
        tmp_path / "slow.log",
    )
    starting = asyncio.ensure_future(supervisor.start(process))
    await eventually(lambda: "serving" in tail(process.log_path))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


async def _never() -> bool:
    return False


def test_a_log_that_grew_too_long_is_moved_aside(tmp_path):
    log = tmp_path / "pay.log"
    writer = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(writer, b"old\n" * 10)
    shorten(log, bytes_max=40)
    assert log.stat().st_size == 40
    shorten(log, bytes_max=39)
    os.write(writer, b"new\n")
    os.close(writer)
    assert log.read_text() == "new\n"
    assert (tmp_path / "pay.log.1").read_text() == "old\n" * 10


def test_only_the_end_of_a_log_is_shown(tmp_path):
    log = tmp_path / "pay.log"
    log.write_text("\n".join(f"line {number}" for number in range(5000)))
    assert tail(log, 2) == "line 4998\nline 4999"
    assert tail(tmp_path / "none") == ""
