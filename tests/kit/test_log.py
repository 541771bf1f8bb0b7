"""Log lines: one JSON object each, nothing secret, and never a reason for a caller to fail."""

import io
import logging
import subprocess
import sys

import orjson
import pytest

from shoudan_kit import log
from shoudan_kit.config import Secret


@pytest.fixture
def lines():
    """A function that gives the lines written so far; stdout again afterwards."""
    stream = io.BytesIO()
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    log.setup("order", "info", stream, masked=frozenset({"receiver_mobile"}))
    yield lambda: [orjson.loads(line) for line in stream.getvalue().splitlines()]
    log.setup("order", "info")
    root.handlers, root.level = handlers, level


def test_a_line_has_time_level_service_source_and_facts(lines):
    log.get_logger("orders").info("created", order_id=5, channel="a")
    (line,) = lines()
    assert isinstance(line.pop("ts"), float)
    assert line == {
        "level": "info",
        "service": "order",
        "source": "orders",
        "event": "created",
        "order_id": 5,
        "channel": "a",
    }


def test_what_is_below_the_level_is_not_written(lines):
    log.get_logger("orders").debug("noise")
    assert lines() == []


def test_a_line_break_in_a_value_cannot_forge_a_line(lines):
    log.get_logger("orders").info("created", request_no='x\n{"level":"error"}\r\x00')
    (line,) = lines()
    assert line["request_no"] == 'x\n{"level":"error"}\r\x00'


def test_secrets_and_personal_fields_are_masked(lines):
    log.get_logger("orders").info(
        "created", receiver_mobile="15012345678", sign="abc", key=Secret("k")
    )
    (line,) = lines()
    assert (line["receiver_mobile"], line["sign"]) == (log.MASK, log.MASK)
    assert line["key"] == "**********"


def test_bound_fields_are_on_every_line_of_the_block_only(lines):
    with log.bound(request_id="r1"):
        assert log.context("request_id") == "r1"
        with log.bound(order_no="o1"):
            log.get_logger("a").info("in")
    log.get_logger("a").info("out")
    inside, outside = lines()
    assert (inside["request_id"], inside["order_no"]) == ("r1", "o1")
    assert "request_id" not in outside
    assert log.context("request_id") is None


def test_an_exception_is_one_field_of_the_line(lines):
    try:
        raise ValueError("boom")
    except ValueError:
        log.get_logger("a").error("failed", exc_info=True)
    (line,) = lines()
    assert line["exception"].endswith("ValueError: boom")
    assert "exc_info" not in line


class Broken:
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize("value", [2**70, "\ud800", Broken(), {1: b"x"}, object()])
def test_a_value_json_cannot_hold_is_still_logged(lines, value):
    log.get_logger("a").info("odd", value=value)
    (line,) = lines()
    assert line["event"].strip("'") == "odd"


def test_warnings_of_libraries_come_in_the_same_form_and_info_does_not(lines):
    logging.getLogger("lib").info("quiet")
    logging.getLogger("lib").warning("pool of %d is full", 8)
    (line,) = lines()
    assert (line["source"], line["level"], line["event"]) == ("lib", "warning", "pool of 8 is full")


def test_a_malformed_warning_of_a_library_is_written_as_it_came(lines):
    record = logging.LogRecord("lib", logging.WARNING, __file__, 1, "broken %d", ("x",), None)
    log._FromLibraries().emit(record)
    assert lines()[0]["event"] == "broken %d"


def test_a_reader_that_went_away_does_not_stop_the_writer(lines):
    lost = log.lost_lines()
    stream = io.BytesIO()
    log.setup("order", "info", stream)
    stream.close()
    log.get_logger("a").info("nobody listens")
    assert log.lost_lines() > lost


def test_without_a_stream_lines_go_to_stdout():
    code = "from shoudan_kit import log; log.setup('x', 'info'); log.get_logger('a').info('hello')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert orjson.loads(done.stdout)["event"] == "hello"


def test_a_line_stays_short_however_long_its_values_are(lines):
    log.get_logger("orders").info("created", request_no="x" * 1_000_000, items=["y" * 1_000_000])
    (line,) = lines()
    assert line["request_no"] == "x" * log.VALUE_CHARS_MAX
    assert len(orjson.dumps(line)) < log.LINE_BYTES_MAX
    assert line["event"] == "created"


def test_a_command_that_sets_nothing_up_logs_beside_its_answer() -> None:
    code = "from shoudan_kit import log; log.get_logger('a').info('said'); print('answer')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "answer\n"
    assert "said" in ran.stderr
