"""Promises of recordings: no person and no order of a partner is in one, and what was the same stays so."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from shoudan.order.v1.request_log_service_pb2 import LoggedRequest
from shoudan_cli import replay, replayed

BEGAN = datetime(2026, 11, 30, 4, tzinfo=UTC)
KEY = b"k" * 32


def logged(after_s: float, path: str, *, admitted: bool = True, **params: str) -> LoggedRequest:
    made = LoggedRequest(method="GET", path=path, http_status=200, took_ms=10, admitted=admitted)
    made.params.update(params)
    made.time.FromDatetime(BEGAN + timedelta(seconds=after_s))
    return made


ORDER = logged(
    0, "/order/request", channel_no="test", request_no="ACME-17", amount="198", notify_url="https://acme.cn/***",
    rechage_account="138***00", sign="***", sign_type="MD5", timestamp="1",
)  # fmt: skip
QUERY = logged(2.5, "/order/query", channel_no="test", request_no="ACME-17")


def params(*given: LoggedRequest, key: bytes = KEY) -> list[dict[str, str]]:
    return [one["params"] for one in replay.recording(given, key)[0]["requests"]]


def test_numbers_accounts_and_urls_are_stand_ins() -> None:
    found, left_out = replay.recording([ORDER, QUERY], KEY)
    text = json.dumps(found)
    assert not any(one in text for one in ("ACME", "acme", "138", "sign", "***"))
    assert left_out == 0
    first, second = found["requests"]
    assert first["params"]["request_no"] == second["params"]["request_no"]
    assert first["params"]["amount"] == "198"
    assert first["params"]["rechage_account"].isdecimal()
    assert (first["at_ms"], second["at_ms"]) == (0, 2_500)


def test_a_stand_in_is_the_same_under_one_key_and_another_under_another() -> None:
    assert params(ORDER) == params(ORDER)
    assert params(ORDER)[0]["request_no"] != params(ORDER, key=b"x" * 32)[0]["request_no"]


def test_what_a_sandbox_s_account_chooses_is_kept() -> None:
    fails = logged(0, "/order/request", request_no="1", rechage_account="100***01")
    assert params(fails)[0]["rechage_account"].endswith("0001")


def test_what_was_refused_unread_or_is_hidden_is_left_out() -> None:
    stranger = logged(0, "/order/request", admitted=False, request_no="1")
    hidden = logged(0, "/open/request", request_no="1", password="***")
    assert replay.recording([stranger, hidden, QUERY], KEY)[1] == 2


def test_what_differs_is_listed_but_not_what_the_old_one_does_differently_itself() -> None:
    old: dict[str, Any] = {"a": 1, "b": 1, "noise": 1, "gone": 1}
    new = {"a": 1, "b": 2, "noise": 3, "more": 1}
    again = {"a": 1, "b": 1, "noise": 2, "gone": 1}
    assert replayed.differences(old, new, again) == {
        "b": (1, 2),
        "gone": (1, None),
        "more": (None, 1),
    }
    assert replayed.differences(old, old, again) == {}
    assert replayed.differences({}, {"late": 1}, {"late": 1}) == {}


def test_every_leaf_of_an_answer_is_a_fact() -> None:
    body = replayed.said('{"a": [1, {"b": "x"}], "c": null}')
    assert replayed.flat(body, "at") == {"at.a[0]": 1, "at.a[1].b": "x", "at.c": None}
    assert replayed.said("a=1&b=2") == {"a": "1", "b": "2"}
    assert replayed.said("success") == "success"
