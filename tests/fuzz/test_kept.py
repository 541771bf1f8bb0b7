"""What coverage-guided fuzzing has kept of each area is read or refused, as it was."""

from __future__ import annotations

import pytest

from tests.fuzz.areas import AREAS, SAMPLES, answer_of_a_server, keep, kept, tried


@pytest.mark.parametrize("area", AREAS)
def test_what_was_kept_is_read_or_refused(area: str) -> None:
    inputs = kept(area)
    assert inputs
    samples = [bytes([at]) + one for one in SAMPLES[area] for at in range(len(AREAS[area]))]
    for data in [*inputs, *samples]:
        tried(area, data)


def test_an_error_of_a_parser_is_not_taken_for_a_refusal(monkeypatch) -> None:
    def wrong(data: bytes) -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(AREAS, "amounts", [wrong])
    with pytest.raises(ZeroDivisionError):
        tried("amounts", b"\x00")


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", b"\xff" * 99]
)
def test_whatever_a_server_sends_the_asker_has_an_end(data: bytes) -> None:
    answer_of_a_server(data)


def test_bytes_are_kept_as_they_are(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("tests.fuzz.areas.CORPUS", tmp_path)
    inputs = [bytes(range(256)), b"\n", b"\\n", b"", "金额".encode()]
    keep("urls", inputs)
    assert sorted(kept("urls")) == sorted(inputs)
