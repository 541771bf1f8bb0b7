"""Promises of what alerts say: in the form of each target, with its signature, and which answers take it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from shoudan_finance import alert_messages
from shoudan_finance.alert_targets import Target
from shoudan_finance.pay_client import Spending
from shoudan_finance.store.alerts import Edge
from shoudan_kit.http.client import Answered, HttpResult, NoAnswer, NotSent
from shoudan_signing import robots, webhooks

YUAN = 1_000_000
AT = datetime(2026, 11, 30, 4, tzinfo=UTC)
AT_MS = 1_700_000_000_000
DAY_S = 86_400


def edge(*, low: bool = True) -> Edge:
    return Edge(86_001, 50 * YUAN, 7, "oms", "down_channel", "yc", low, 40 * YUAN, AT)


def target(kind: Literal["wecom", "dingtalk", "feishu", "webhook", "mail"], **more: Any) -> Target:
    return Target("t", kind, url="https://robot.example/send?key=k", **more)


@pytest.mark.parametrize(
    ("spending", "hours"),
    [
        (Spending(24 * YUAN, DAY_S, 52 * YUAN), "52.0"),
        (Spending(24 * YUAN, 3600, 60 * YUAN), "2.5"),
        (Spending(1, DAY_S, -5 * YUAN), "0.0"),
        (Spending(0, DAY_S, 60 * YUAN), ""),
        (None, ""),
    ],
)
def test_how_long_the_balance_lasts_is_said_in_hours(spending: Spending | None, hours: str) -> None:
    made = alert_messages.of_edge(edge(), spending)
    assert made.facts["runway_hours"] == hours
    assert (f"约可用 {hours} 小时" in made.text) == bool(hours)


def test_a_crossing_is_said_to_people_and_to_programs() -> None:
    made = alert_messages.of_edge(edge(), Spending(24 * YUAN, DAY_S, 40 * YUAN))
    assert made.key == "alert_86001_50000000_7"
    assert made.text.splitlines() == [
        "【余额不足预警】oms/down_channel/yc",
        "余额 40 元，预警线 50 元",
        "按近 24 小时支出，约可用 40.0 小时",
        "时间 2026-11-30 12:00:00",
    ]
    assert orjson.loads(made.body()) == {
        "event": "balance_low",
        "channel_no": "yc",
        "account": "down_channel",
        "balance": "40",
        "threshold": "50",
        "runway_hours": "40.0",
        "time": "2026-11-30 12:00:00",
    }
    back = alert_messages.of_edge(edge(low=False), None)
    assert back.facts["event"] == "balance_recovered"
    assert back.text.startswith("【余额已恢复】")


def test_wecom_is_sent_a_text() -> None:
    made = alert_messages.of_test("t", "k1")
    call = alert_messages.call(target("wecom"), made, AT_MS)
    assert call.url == "https://robot.example/send?key=k"
    assert orjson.loads(call.body) == {"msgtype": "text", "text": {"content": made.text}}


def test_dingtalk_is_signed_in_its_address() -> None:
    made = alert_messages.of_test("t", "k1")
    call = alert_messages.call(target("dingtalk", secret="SEC"), made, AT_MS)
    query = parse_qs(urlsplit(call.url).query)
    assert (query["key"], query["timestamp"]) == (["k"], [str(AT_MS)])
    assert call.url == robots.dingtalk("https://robot.example/send?key=k", "SEC", AT_MS)
    assert orjson.loads(call.body)["text"]["content"] == made.text
    assert "sign=" not in alert_messages.call(target("dingtalk"), made, AT_MS).url


def test_feishu_is_signed_in_its_body() -> None:
    made = alert_messages.of_test("t", "k1")
    body = orjson.loads(alert_messages.call(target("feishu", secret="SEC"), made, AT_MS).body)
    expected = {"msg_type": "text", "content": {"text": made.text}}
    assert body == expected | robots.feishu("SEC", AT_MS // 1000)
    assert orjson.loads(alert_messages.call(target("feishu"), made, AT_MS).body) == expected


def test_a_webhook_is_signed_as_notifies_are() -> None:
    made = alert_messages.of_edge(edge(), None)
    call = alert_messages.call(target("webhook", secret="whsec_c2VjcmV0"), made, AT_MS)
    webhooks.verify(["whsec_c2VjcmV0"], call.headers, call.body, AT_MS // 1000)
    assert call.headers["webhook-id"] == made.key


def answered(status: int, body: str) -> Answered:
    return Answered(status, {}, body.encode())


@pytest.mark.parametrize(
    ("kind", "outcome", "why"),
    [
        ("wecom", answered(200, '{"errcode":0}'), ""),
        ("wecom", answered(200, '{"errcode":45009}'), "errcode 45009"),
        ("wecom", answered(200, '{"errcode":"0"}'), "no errcode"),
        ("wecom", answered(200, "[]"), "no errcode"),
        ("wecom", answered(200, "ok"), "no JSON"),
        ("wecom", answered(502, '{"errcode":0}'), "HTTP 502"),
        ("dingtalk", answered(200, '{"errcode":310000}'), "errcode 310000"),
        ("feishu", answered(200, '{"code":0}'), ""),
        ("feishu", answered(200, '{"StatusCode":0}'), ""),
        ("feishu", answered(200, '{"code":19021}'), "code 19021"),
        ("webhook", answered(204, ""), ""),
        ("webhook", answered(302, ""), "HTTP 302"),
        ("webhook", NotSent("no route"), "no route"),
        ("wecom", NoAnswer("timeout"), "timeout"),
    ],
)
def test_only_a_documented_answer_takes_it(
    kind: Literal["wecom", "dingtalk", "feishu", "webhook"], outcome: HttpResult, why: str
) -> None:
    assert alert_messages.refusal(target(kind), outcome) == why
